"""What the surveyor and its parent say to each other, besides a descriptor: three numbers in all."""

from __future__ import annotations

import struct

PROGRESS = struct.Struct("<qqqq")
"""At the beginning of the shared file: how often something was done, number of the file at hand, chunks noted in it, of how many."""
ANSWER = struct.Struct("<iq")
"""What is sent when a child has ended: its status (minus a signal's number), and how many bytes of result there are."""
CANNOT_FORK = 1000
"""A status that says that no child could be made."""
