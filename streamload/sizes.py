"""Numbers as people give them: whole ones of any kind, True and False, and byte counts: "512 MB" in, 536870912 out, and back."""

from __future__ import annotations

import operator
import re
from typing import Any

from streamload.errors import ConfigError

_UNITS = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def index_of(value: Any) -> int | None:
    """A whole number as an int: Python's, NumPy's, or an array or tensor that holds one; None for anything else, a bool too."""
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return operator.index(value)
    except Exception:  # Whatever somebody else's class makes of being asked.
        return None


def flag_of(value: Any, name: str) -> bool:
    """True or False of a value that is one of them: Python's, NumPy's, or 1 and 0. Raises ConfigError for any other, naming `name`."""
    alone = getattr(value, "ndim", 0) == 0 and str(getattr(value, "dtype", "")) == "bool"
    number = int(bool(value)) if isinstance(value, bool) or alone else index_of(value)
    if number not in (0, 1):
        raise ConfigError(f"{name}={value!r} is neither True nor False.", hint="Give one of them.")
    return bool(number)


def parse_nbytes(size: int | str, *, name: str) -> int:
    """`size`, an int (NumPy's too) or text, in bytes. Units count in 1024s (1 MB is 1,048,576 bytes); `name` is what an error names.

    Raises ConfigError for a size that is negative or cannot be read.
    """
    nbytes = index_of(size)
    if nbytes is not None and nbytes >= 0:
        return nbytes
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
    return f"{nbytes:.3g} TB" if abs(nbytes) < 1000 else f"{nbytes:,.0f} TB"


def format_decimal(nbytes: float) -> str:
    """Bytes for people, in units of 1000, as those of disks and networks are: 7.8e9 is "7.8 GB". For what is measured."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(nbytes) < 999.5:
            return f"{nbytes:.3g} {unit}" if unit != "B" else f"{int(nbytes)} B"
        nbytes /= 1000
    return f"{nbytes:.3g} TB" if abs(nbytes) < 1000 else f"{nbytes:,.0f} TB"


def format_rate(nbytes_per_second: float) -> str:
    """Bytes a second for people, in units of 1000."""
    return f"{format_decimal(nbytes_per_second)}/s"


def format_times(times: float) -> str:
    """How many times, for people: 1.5, 20, 5,000."""
    return f"{times:,.0f}" if times >= 100 else f"{times:.3g}"
