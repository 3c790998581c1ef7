"""Weights: an epoch of draws in place of an epoch of records, in record order, so that blocks of records are blocks of draws.

An epoch has N draws. Draw j falls into the j-th of N equal stretches of the cumulated weights, at a place that is drawn for
(seed, epoch, j): a record of weight w comes floor or ceil of its share of the draws, on average its share. Orders permute draws
where they permuted records. Where all weights are equal, and there are as many draws as records, nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.kernels import draw_kernels
from streamload.order.digests import digest_of
from streamload.order.given_arrays import given_array
from streamload.order.permutation import WEIGHTS, key

UNIT = 1 << 20
"""The weight of one draw, in whole numbers."""
APART = 256
"""Ranks, on average, between two that are known beforehand: a search begins there. They take a thirtieth of a byte a record."""
MOST_DRAWS = (1 << 33) - 1
"""All draws together must be exact in float64."""
_STRETCH = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The cumulated weights of all records of a layout, and how many draws an epoch has."""

    n: int
    """Records."""
    draws: int
    """Draws of an epoch."""
    edges: NDArray[np.int64] | None
    """Rank i owns [edges[i], edges[i + 1]) of draws * UNIT, shape (n + 1,); None where every record is drawn once."""
    guide: NDArray[np.int64] | None
    """The least rank of every 2**shift-th draw, and the number of ranks: where a search begins."""

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in (self.edges, self.guide) if array is not None)

    @property
    def shift(self) -> int:
        """Two draws whose ranks are known beforehand are 2**shift apart."""
        return _shift(self.n, self.draws)

    @cached_property
    def digest(self) -> str:
        """Tells these weights from others, in a saved state."""
        return digest_of("weights", self.n, self.draws, self.edges)

    def epoch(self, seed: int, epoch: int) -> WeightedDraws:
        """The draws of one epoch."""
        return WeightedDraws(self, key(seed, epoch, WEIGHTS, 0))


class WeightedDraws:
    """Which rank each draw of one epoch is."""

    def __init__(self, weights: Weights, words: NDArray[np.uint32]) -> None:
        self._weights = weights
        self._edges = None if weights.edges is None else _for_kernels(weights.edges)
        self._guide = None if weights.guide is None else _for_kernels(weights.guide)
        self._draws, self._shift = weights.draws, weights.shift
        self._words = words

    def ranks(self, draws: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rank of each of `draws`, numbers in [0, N) in any order; rising where these rise."""
        if self._edges is None:
            return draws
        out = np.empty(len(draws), np.int64)
        draw_kernels().drawn_ranks(self._edges, self._guide, self._shift, self._words, np.ascontiguousarray(draws, np.int64), out)
        return out

    def cuts(self, cuts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Blocks of ranks as blocks of draws: the first draw whose rank is not below each cut. Blocks may have no draw."""
        if self._edges is None:
            return cuts
        firsts = np.minimum(self._edges[cuts] // UNIT, self._draws)
        # Only the draw in whose stretch the border lies can fall on either side of it.
        inside = np.flatnonzero(firsts < self._draws)
        firsts[inside] += self.ranks(firsts[inside]) < cuts[inside]
        return firsts


class _Interface:
    """The memory of an array, as one that may be written to."""

    def __init__(self, array: NDArray[np.int64]) -> None:
        described = array.__array_interface__
        self.__array_interface__ = {**described, "data": (described["data"][0], False)}


def _for_kernels(array: NDArray[np.int64]) -> NDArray[np.int64]:
    """A view that kernels take: they know no read-only arrays, which these are in a worker, and write to none. Keep `array` beside it."""
    return array if array.flags.writeable else np.asarray(_Interface(array))


def weights_of(stretches: Callable[[], Iterable[NDArray[Any]]], n: int, *, draws: int | None = None) -> Weights:
    """The weights of n records, given a stretch at a time: `stretches` begins a pass over them.

    Raises ConfigError for weights that are negative, not finite, or all zero, for another number of them, and for draws
    that cannot be. Takes 8 bytes a record, and a stretch.
    """
    count = _whole_draws(draws, n)
    sums = np.zeros(n + 1, np.float64)
    at, least, most = 0, np.inf, -np.inf
    for stretch in stretches():
        values = _checked(stretch, at, n)
        if len(values):
            least, most = min(least, float(values.min())), max(most, float(values.max()))
            with np.errstate(over="ignore"):
                sums[at : at + len(values) + 1] = np.cumsum(np.append(sums[at], values))
        at += len(values)
    if at != n:
        raise ConfigError(f"weights= holds {at:,} weights; the data has {n:,} records.", hint="Give one weight for each record.")
    if n and least == most and most > 0 and count == n:
        return Weights(n=n, draws=count, edges=None, guide=None)
    total = float(sums[-1])
    if count and not 0 < total < np.inf:
        what, hint = "are all zero", "Give weights above 0 for the records that you want."
        if total > 0:
            what, hint = "add up to more than a float64 can hold", "Divide them all by the largest: what counts is how they compare."
        raise ConfigError(f"weights= {what}: no record can be drawn.", hint=hint)
    edges = sums.view(np.int64)
    for first in range(0, n + 1, _STRETCH):
        stretch = sums[first : first + _STRETCH]
        edges[first : first + _STRETCH] = (stretch / total * float(count * UNIT)).astype(np.int64) if count else 0
    return Weights(n=n, draws=count, edges=edges, guide=_guide_of(edges, count, _shift(n, count)))


def _shift(n: int, draws: int) -> int:
    return max(0, (APART * draws // max(n, 1)).bit_length() - 1)


def _guide_of(edges: NDArray[np.int64], draws: int, shift: int) -> NDArray[np.int64]:
    """The least rank of every 2**shift-th draw, and the number of ranks: shape (ceil(draws / 2**shift) + 1,)."""
    guide = np.empty(((draws + (1 << shift) - 1) >> shift) + 1, np.int64)
    for start in range(0, len(guide), _STRETCH):
        firsts = np.arange(start, min(start + _STRETCH, len(guide)), dtype=np.int64) << shift
        guide[start : start + _STRETCH] = edges.searchsorted(np.minimum(firsts, draws) * UNIT, "right") - 1
    return guide


def _whole_draws(draws: int | None, n: int) -> int:
    count = n if draws is None else draws
    if not 0 <= count <= MOST_DRAWS or (count and not n):
        hint = f"Give as many draws as an epoch shall have, at most {MOST_DRAWS:,}." if n else "No record is chosen: look at indices=."
        raise ConfigError(f"draws={count:,} of {n:,} records cannot be.", hint=hint)
    return count


def _checked(stretch: NDArray[Any], at: int, n: int) -> NDArray[np.float64]:
    """Weights as float64, none of them impossible; `at` is the number of the first."""
    values = np.asarray(stretch)
    if values.ndim != 1 or values.dtype.kind not in "buif":
        raise ConfigError(f"weights= holds {values.dtype} of shape {values.shape}.", hint="Give one number a record, in one dimension.")
    if at + len(values) > n:
        raise ConfigError(f"weights= holds more than the data's {n:,} records.", hint="Give one weight for each record.")
    with np.errstate(over="ignore"):  # What is too large for float64 is named below.
        values = values.astype(np.float64)
    wrong = np.flatnonzero(~((values >= 0) & (values < np.inf)))
    if wrong.size:
        raise ConfigError(f"weights[{at + int(wrong[0])}] is {values[wrong[0]]}.", hint="Weights are finite numbers, 0 (never) or above.")
    return values


def stretches_of(weights: Any, indices: NDArray[np.int64] | None, n: int) -> Callable[[], Iterator[NDArray[Any]]]:
    """Passes over the weights that a user gives: an array or the path of a .npy file, one a record of the data's n.

    With `indices`, those of the chosen records. Raises ConfigError for what is no array of n numbers.
    """
    if isinstance(weights, Mapping):
        raise ConfigError(
            f"weights= is a dict, and the data is no mixture, but one source of {n:,} records.",
            hint="Give one weight for each record, such as np.array([0.2, 0.8])[data['label']] of two classes; "
            "or the name of a field, each value of which is then drawn equally often.",
        )
    values = given_array(weights, name="weights=", holds="one number a record")
    if values.shape != (n,):
        raise ConfigError(
            f"weights= has shape {values.shape}; the data has {n:,} records.",
            hint="Give one weight for each record of the data"
            + (", also those that `indices=` leaves out." if indices is not None else "."),
        )

    def begin() -> Iterator[NDArray[Any]]:
        for first in range(0, n if indices is None else len(indices), _STRETCH):
            yield values[first : first + _STRETCH] if indices is None else values[indices[first : first + _STRETCH]]

    return begin


def balanced(codes: Callable[[], Iterable[NDArray[np.int64]]], counts: NDArray[np.int64]) -> Callable[[], Iterator[NDArray[np.float64]]]:
    """Weights that draw every class alike: a record weighs one over the records of its class.

    `codes` begins a pass over the class of each record; `counts` are the records of each class.
    """
    each = 1.0 / np.maximum(counts, 1)

    def begin() -> Iterator[NDArray[np.float64]]:
        return (each[stretch] for stretch in codes())

    return begin
