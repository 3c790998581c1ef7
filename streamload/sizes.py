"""Byte counts as people write them: "512 MB" in, 536870912 out, and back."""

from __future__ import annotations

import re

from streamload.errors import ConfigError

_UNITS = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_nbytes(size: int | str, *, name: str) -> int:
    """`size` in bytes. Units count in 1024s (1 MB is 1,048,576 bytes); `name` is the argument that an error names.

    Raises ConfigError for a size that is negative or cannot be read.
    """
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]?)(?:i?B)?\s*", size, re.IGNORECASE) if isinstance(size, str) else None
    if match is None:
        raise ConfigError(f"{name}={size!r} is not a size.", hint='Give bytes as an int, or text such as "512 MB" or "4 GB".')
    return int(float(match[1]) * _UNITS[match[2].upper()])


def enough_nbytes(nbytes: int) -> str:
    """A size of at least `nbytes`, for people to give: what they read must suffice, whatever was rounded."""
    text = format_nbytes(nbytes)
    return text if parse_nbytes(text.replace(",", ""), name="size") >= nbytes else format_nbytes(nbytes * 1.01)


def format_nbytes(nbytes: float) -> str:
    """`nbytes` for people, in units of 1024: 150528 is "147 KB"."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(nbytes) < 1000:
            return f"{nbytes:.3g} {unit}" if unit != "B" else f"{int(nbytes)} B"
        nbytes /= 1024
    return f"{nbytes:,.3g} TB"
