"""Short digests that tell one order of records from another, for saved states."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError

_STRETCH = 1 << 22


def digest_of(*parts: str | int | NDArray[np.int64] | None) -> str:
    """Sixteen hexadecimal digits over the parts."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if not isinstance(part, np.ndarray):
            digest.update(f"{part};".encode())
            continue
        digest.update(f"{len(part)}:".encode())
        for first in range(0, len(part), _STRETCH):
            digest.update(np.ascontiguousarray(part[first : first + _STRETCH], "<i8").data)
    return digest.hexdigest()


def within(start: int, stop: int, n: int) -> None:
    """Raise ConfigError unless [start, stop) lies among n positions."""
    if not 0 <= start <= stop <= n:
        raise ConfigError(f"Positions [{start}, {stop}) were asked for; an epoch has [0, {n}).", hint="Ask within the epoch.")
