"""A subset of the records, as users give it: integers, booleans, or a file of either."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.order.given_arrays import given_array

_STRETCH = 1 << 22


def chosen(indices: Sequence[int] | Sequence[bool] | NDArray[Any] | str | os.PathLike[str], n: int) -> NDArray[np.int64]:
    """The chosen record numbers, each once, in the order given.

    `indices` are record numbers, one boolean for each of the n records, or the path of a .npy file of either, which is
    mapped and, where it is in order already, never copied. Raises ConfigError for numbers outside [0, n), numbers that
    come more than once, another length of booleans, bytes that could be either, anything else than one dimension of
    these, and a file that cannot be read.
    """
    numbers = given_array(indices, name="indices=", holds="record numbers or booleans")
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
    if numbers.dtype == np.uint8 and len(numbers) == n and n and int(numbers.max()) <= 1:
        raise ConfigError(
            f"indices= holds {n:,} bytes, each 0 or 1, of {n:,} records: they may be a mask or record numbers.",
            hint="Give a mask as booleans, indices.astype(bool), and record numbers as indices.astype(int).",
        )
    if not _checked(numbers, n):
        numbers = numbers.astype(np.int64)
        _check_repeats(numbers)
    return numbers if numbers.dtype == np.int64 else numbers.astype(np.int64)


def subset(indices: Sequence[int] | Sequence[bool] | NDArray[Any] | str | os.PathLike[str], n: int) -> NDArray[np.int64]:
    """The chosen record numbers, rising; else as `chosen`."""
    return in_order(chosen(indices, n))


def in_order(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Record numbers, rising: the same array where they rise already, perhaps mapped from a file."""
    return numbers if rises(numbers) else np.sort(numbers)


def rises(numbers: NDArray[np.int64]) -> bool:
    """Whether each number is above the one before it. A stretch at a time: a file of them may be larger than memory."""
    for first in range(0, len(numbers), _STRETCH):
        stretch = numbers[first : first + _STRETCH + 1]
        if not (stretch[1:] > stretch[:-1]).all():
            return False
    return True


def _check_repeats(numbers: NDArray[np.int64]) -> None:
    """Raise ConfigError where a number comes more than once."""
    ordered = np.sort(numbers)
    repeats = np.flatnonzero(ordered[1:] == ordered[:-1])
    if repeats.size:
        number = int(ordered[repeats[0]])
        mask = " A mask is given as booleans: indices.astype(bool)." if int(ordered[-1]) == 1 else ""
        raise ConfigError(
            f"indices= holds {len(numbers):,} numbers of {len(numbers) - len(repeats):,} records: "
            f"record {number} comes {int((ordered == number).sum()):,} times.",
            hint="A subset has each record once: np.unique(indices). Records that shall come more often are weighed, weights=..., "
            "or listed, shuffle=sl.Listed(numbers)." + mask,
        )


def listed_numbers(numbers: Sequence[int] | NDArray[Any] | str | os.PathLike[str]) -> NDArray[np.int64]:
    """Record numbers in any order, with repeats, of an array or a .npy file. Raises ConfigError for what is none of these."""
    found = given_array(numbers, name="numbers=", holds="record numbers")
    if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
        raise ConfigError(f"Listed holds {found.dtype} of shape {found.shape}.", hint="Give record numbers as integers, in one dimension.")
    if found.dtype.kind == "u" and found.size and int(found.max()) >= 2**63:
        at = int(found.argmax())
        raise ConfigError(f"Listed: number {at} of the list is record {int(found[at])}.", hint="Record numbers count from 0, below 2**63.")
    return found if found.dtype == np.int64 else found.astype(np.int64)


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
