"""What the catalogue of faults says of one of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault."""

    fault: str
    tests: tuple[str, ...]
    """As "folder/file.py::function", below tests/."""
    note: str = ""
