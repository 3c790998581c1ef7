"""A subset of the records, as users give it: integers, booleans, or a file of either."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError

_STRETCH = 1 << 22


def subset(indices: Sequence[int] | Sequence[bool] | NDArray[Any] | str | os.PathLike[str], n: int) -> NDArray[np.int64]:
    """The chosen record numbers, rising, each once.

    `indices` are record numbers in any order (repeats count once), one boolean for each of the n records, or the path
    of a .npy file of either, which is mapped and, where it is in order already, never copied. Raises ConfigError for
    numbers outside [0, n), another length of booleans, anything else than one dimension of these, and a file that
    cannot be read.
    """
    numbers = _loaded(indices)
    if numbers.ndim != 1 or (numbers.dtype.kind not in "iub" and numbers.size):
        raise ConfigError(
            f"indices= holds {numbers.dtype} of shape {numbers.shape}.",
            hint="Give record numbers as integers, or one boolean a record, in one dimension.",
        )
    if numbers.dtype.kind == "b":
        if len(numbers) != n:
            raise ConfigError(
                f"indices= has {len(numbers):,} booleans; the data has {n:,} records.",
                hint="Give one boolean for each record, or record numbers.",
            )
        return np.flatnonzero(numbers).astype(np.int64)
    rising = _checked(numbers, n)
    if rising and numbers.dtype == np.int64:
        return numbers
    return np.unique(numbers.astype(np.int64)) if not rising else numbers.astype(np.int64)


def _loaded(indices: object) -> NDArray[Any]:
    if not isinstance(indices, (str, os.PathLike)):
        try:
            return np.asarray(indices)
        except ValueError as error:
            raise ConfigError(f"indices= is not an array: {error}.", hint="Give record numbers, or one boolean a record.") from error
    path = os.fspath(indices)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        found.close()
        raise ValueError("it is an archive of arrays")
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"indices={path!r} cannot be read: {error}.", hint="Name a .npy file of record numbers or booleans (numpy.save)."
        ) from error


def _checked(numbers: NDArray[Any], n: int) -> bool:
    """Whether the numbers rise without repeats. A stretch at a time: a file of them may be larger than memory."""
    rising, last = True, -1
    for first in range(0, len(numbers), _STRETCH):
        stretch = numbers[first : first + _STRETCH]
        for number, at in ((int(stretch.min()), stretch.argmin()), (int(stretch.max()), stretch.argmax())):
            if not 0 <= number < n:
                raise ConfigError(
                    f"indices[{first + int(at)}] is {number}; the data has {n:,} records.",
                    hint="Record numbers count from 0" + (f" to {n - 1}." if n else ", and here there are none."),
                )
        rising = rising and int(stretch[0]) > last and bool((stretch[1:] > stretch[:-1]).all())
        last = int(stretch[-1])
    return rising
