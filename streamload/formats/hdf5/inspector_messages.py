"""What the inspector and its parent say to each other, besides a descriptor: a few numbers."""

from __future__ import annotations

import struct
from typing import NamedTuple

PROGRESS = struct.Struct("<qqqqq")
"""The fields of `InspectionProgress`, at the beginning of the shared file."""
ANSWER = struct.Struct("<iq")
"""What is sent when a child has ended: its status (minus a signal's number), and how many bytes of result there are."""
CANNOT_FORK = 1000
"""A status that says that no child could be made."""


class InspectionProgress(NamedTuple):
    """How far a survey is."""

    beats: int = 0
    """How often something was done."""
    file: int = 0
    """Number of the file at hand."""
    done: int = 0
    """Chunks of it that are noted ..."""
    total: int = 0
    """... of how many; 0 where chunks are not what is being looked at."""
    pid: int = 0
    """The process that does it."""
