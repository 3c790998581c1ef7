"""The orders that a loader takes: all records, blocks, as stored, or the user's own."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, shortened
from streamload.lru import LRU
from streamload.order.block_shuffle import BlockOrder
from streamload.order.digests import digest_of, within
from streamload.order.layout import WINDOW_NBYTES, Layout
from streamload.order.permutation import EXACT, TABLE_LIMIT, Permutation, key
from streamload.order.sequential_blocks import SequentialBlockOrder
from streamload.order.subset import listed_numbers
from streamload.sizes import parse_nbytes

EXACT_RECORD_NBYTES = 16 * 1024
"""From this size on, records that can be had singly are read well in any order."""
MOST_LANES = TABLE_LIMIT
"""A round of blocks is dealt by a table."""


@runtime_checkable
class Order(Protocol):
    """An order of the user's own: a pure function from positions of an epoch to records.

    It may repeat records or leave some out. With `__len__` it says how many positions an epoch has; without, as many as there
    are records. With `indices=`, its numbers count within the subset. It is copied to the workers, and each asks it by
    itself: the same question must have the same answer everywhere and always, so it must not draw from a generator that it
    keeps, but from one seeded by the epoch.
    """

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.integer]:
        """The record numbers, shape (stop - start,), at positions [start, stop) of an epoch."""
        ...


class BoundOrder(Protocol):
    """An order of the records of one layout, under one seed. Pickles, its arrays out of band."""

    @property
    def mode(self) -> str:
        """ "exact", "block", "sequential" or "user"."""
        ...

    @property
    def n(self) -> int:
        """Positions of an epoch."""
        ...

    @property
    def fingerprint(self) -> str:
        """Short hexadecimal text; equal where equal seeds and epochs give equal orders."""
        ...

    @property
    def table_nbytes(self) -> int:
        """Bytes of the tables of one epoch."""
        ...

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of an epoch, shape (stop - start,)."""
        ...


class OrderSpec(Protocol):
    """What a user asks for, before the data is known."""

    def bind(self, layout: Layout, seed: int) -> BoundOrder:
        """The order of the records of `layout`."""
        ...


@dataclass(frozen=True)
class Exact:
    """Shuffle all records: every record is equally likely at every position, whatever lies beside it in storage.

    Right where single records can be read, and the only full shuffle. Where blocks must be decoded to get at a record, each
    record costs a block.
    """

    def bind(self, layout: Layout, seed: int) -> ExactOrder:
        """The order of the records of `layout` under `seed`."""
        return ExactOrder(layout, seed=seed)


@dataclass(frozen=True)
class Block:
    """Shuffle blocks, and the records of a window of them: storage is read a block at a time, each once an epoch.

    A window takes one block from each of many equal stretches of the data, so that it looks like the whole even where the
    data is sorted.
    """

    window: int | str = "512 MB"
    """Stored bytes that are mixed together: more mixes better, and costs that much memory, twice."""
    lanes: int | None = field(default=None, kw_only=True)
    """How many parts the blocks are dealt to, each with an order and windows of its own, all together one window: a rank that has
    lanes of its own decodes their blocks alone. None: as many as there are ranks when a run begins. The number belongs to the order,
    and a saved state keeps it; ranks may change, and decode least where they divide the lanes, and these the records of a step."""

    def __post_init__(self) -> None:
        if self.window_nbytes < 1:
            raise ConfigError(f"Block(window={self.window!r}) holds nothing.", hint='Give a size such as window="512 MB".')
        if isinstance(self.lanes, np.integer):
            object.__setattr__(self, "lanes", int(self.lanes))
        if self.lanes is not None and (type(self.lanes) is not int or not 1 <= self.lanes <= MOST_LANES):
            raise ConfigError(
                f"Block(lanes={self.lanes!r}) cannot be.",
                hint=f"Give a whole number from 1 to {MOST_LANES:,}, a multiple of the ranks, or leave it out.",
            )

    def __repr__(self) -> str:
        return f"Block(window={self.window!r}{'' if self.lanes is None else f', lanes={self.lanes}'})"

    @property
    def window_nbytes(self) -> int:
        """The window in bytes."""
        return parse_nbytes(self.window, name="window")

    def bind(self, layout: Layout, seed: int) -> BlockOrder:
        """The order of the records of `layout` under `seed`, of one lane: `laned_order` binds several.

        Raises ConfigError where a block is larger than the window.
        """
        if self.lanes not in (None, 1):
            raise ConfigError(f"{self!r} is {self.lanes:,} orders, not one.", hint="Leave `lanes` out, or share the steps out among ranks.")
        return BlockOrder(layout, seed=seed, window_nbytes=self.window_nbytes)


@dataclass(frozen=True)
class Sequential:
    """Deliver records as they are stored, every epoch alike."""

    def bind(self, layout: Layout, seed: int) -> SequentialOrder | SequentialBlockOrder:
        """The order of the records of `layout`; the seed changes nothing."""
        return SequentialOrder(layout) if layout.addressable or layout.cuts is None else SequentialBlockOrder(layout)


@dataclass(frozen=True, eq=False)
class Custom:
    """An order of the user's own, made to look like a built-in one."""

    order: Order

    def bind(self, layout: Layout, seed: int) -> CustomOrder:
        """The order of the records of `layout`; the seed is the user's own affair."""
        return CustomOrder(self.order, layout)


@dataclass(frozen=True, eq=False)
class Listed:
    """Deliver the records of a list, in its order, every epoch alike: what a sampler has drawn, a curriculum, a hard subset.

    The list may be of any length, repeat records and leave some out. With `indices=`, its numbers count within the subset.
    """

    numbers: Sequence[int] | NDArray[Any] | str | os.PathLike[str]
    """Record numbers in one dimension, or the path of a .npy file of them, which is mapped."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", listed_numbers(self.numbers))

    def __len__(self) -> int:
        return len(cast("NDArray[np.int64]", self.numbers))

    def __repr__(self) -> str:
        return f"Listed({len(self):,} records)"

    def bind(self, layout: Layout, seed: int) -> ListedOrder:
        """The order of the records of `layout`; the seed changes nothing. Raises ConfigError for numbers that are no records."""
        return ListedOrder(cast("NDArray[np.int64]", self.numbers), layout)


class ExactOrder:
    """One permutation of all records an epoch; no memory above 65,536 records, and O(1) to any position."""

    mode = "exact"
    table_nbytes = 0

    def __init__(self, layout: Layout, *, seed: int) -> None:
        self.layout = layout
        self.seed = seed
        self.n = layout.n
        self.fingerprint = digest_of(self.mode, layout.indices, layout.n)
        self._permutations = LRU[int, Permutation](limit=2)

    def _made_permutation(self, epoch: int) -> Permutation:
        return Permutation(self.n, key(self.seed, epoch, EXACT, 0))

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of an epoch."""
        if not 0 <= start <= stop <= self.n:
            within(start, stop, self.n)
        return self.layout.records(self._permutations.get(epoch, self._made_permutation).forward(start, stop))


class SequentialOrder:
    """Records as they are stored."""

    mode = "sequential"
    table_nbytes = 0

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.n = layout.n
        self.fingerprint = digest_of(self.mode, layout.indices, layout.n)

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of any epoch."""
        within(start, stop, self.n)
        return self.layout.records(np.arange(start, stop, dtype=np.int64))


class CustomOrder:
    """An order of the user's own over one layout: every answer is checked before anything is read."""

    mode = "user"
    table_nbytes = 0

    def __init__(self, order: Order, layout: Layout) -> None:
        self.order = order
        self.layout = layout
        self.n = _length(order) if isinstance(order, Sized) else layout.n
        kind = type(order)
        self.fingerprint = digest_of(self.mode, layout.indices, layout.n, self.n, f"{kind.__module__}.{kind.__qualname__}")
        """Knows the class and the lengths; what the order does inside is beyond it."""

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of an epoch. Raises ConfigError for an answer that cannot be right."""
        within(start, stop, self.n)
        name = f"{type(self.order).__name__}.records({epoch}, {start}, {stop})"
        try:
            returned = self.order.records(epoch, start, stop)
        except Exception as error:  # StopIteration among them: a loop would take it for its end.
            raise _failed(name, error) from error
        try:
            answer = np.asarray(returned)
        except Exception as error:
            raise ConfigError(
                f"{name} returned a {type(returned).__name__} that is no array: {shortened(str(error))}",
                hint=f"Return record numbers: integers of shape ({stop - start},).",
            ) from error
        if answer.ndim != 1 or (answer.dtype.kind not in "iu" and answer.size):
            raise ConfigError(
                f"{name} returned {answer.dtype} of shape {answer.shape}.",
                hint=f"Return record numbers: integers of shape ({stop - start},).",
            )
        if len(answer) != stop - start:
            raise ConfigError(
                f"{name} returned {len(answer):,} record numbers for {stop - start:,} positions.",
                hint="Return one for each position; `__len__` says how many positions an epoch has.",
            )
        wrong = np.flatnonzero((answer < 0) | (answer >= self.layout.n))
        if wrong.size:
            position, value = start + int(wrong[0]), int(answer[wrong[0]])
            raise ConfigError(
                f"{name} returned record {value} at position {position}; there are {self.layout.n:,} records.",
                hint="Record numbers count from 0"
                + (" within the subset that `indices=` chose." if self.layout.indices is not None else "."),
            )
        return self.layout.records(answer.astype(np.int64))


def _length(order: Sized) -> int:
    """How many positions an order of the user's has. Raises ConfigError where it cannot say."""
    try:
        return len(order)
    except Exception as error:
        raise _failed(f"len({type(order).__name__})", error) from error


def _failed(name: str, error: Exception) -> ConfigError:
    """The error for an exception in an order of the user's, which is named, with its traceback as text."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__.tb_next if error.__traceback__ else None))
    failed = ConfigError(
        f"{name}, of the order that shuffle= gave, failed with {type(error).__name__}: {shortened(str(error))}",
        hint="Its traceback is below.",
        traceback=shortened(trace),
    )
    failed.add_note(f"\n{failed.details['traceback']}")
    return failed


class ListedOrder:
    """A list of records of one layout."""

    mode = "user"
    table_nbytes = 0

    def __init__(self, numbers: NDArray[np.int64], layout: Layout) -> None:
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < layout.n:
            at = int(np.flatnonzero((numbers < 0) | (numbers >= layout.n))[0])
            raise ConfigError(
                f"Listed: number {at} of the list is record {int(numbers[at])}; there are {layout.n:,} records.",
                hint="Record numbers count from 0" + (" within the subset that `indices=` chose." if layout.indices is not None else "."),
            )
        self.numbers = numbers
        self.layout = layout
        self.n = len(numbers)
        self.fingerprint = digest_of("listed", layout.indices, layout.n, numbers)

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of any epoch."""
        within(start, stop, self.n)
        return self.layout.records(self.numbers[start:stop])


def choose(shuffle: object, layout: Layout) -> OrderSpec:
    """The order that `shuffle=` asks for: True and False by the layout alone, an order as it is.

    True is Exact where records are addressable and either a record has 16 KB or all of them fit in one window of 512 MB;
    else Block. It never depends on the machine, so that the same call gives the same order everywhere.
    """
    if isinstance(shuffle, (bool, np.bool_)):
        if not shuffle:
            return Sequential()
        small = layout.nbytes <= WINDOW_NBYTES
        return Exact() if layout.addressable and (layout.record_nbytes >= EXACT_RECORD_NBYTES or small) else Block()
    if isinstance(shuffle, (Exact, Block, Sequential, Listed, Custom)):
        return shuffle
    if isinstance(shuffle, type):
        raise ConfigError(f"shuffle={shuffle.__name__} is a class.", hint=f"Give an instance: shuffle={shuffle.__name__}().")
    if isinstance(shuffle, Order) and callable(cast(object, shuffle.records)):
        return Custom(shuffle)
    raise ConfigError(
        f"shuffle={shuffle!r} is not an order.",
        hint="Give True, False, Exact(), Block(), Sequential(), Listed(numbers), or an object with a method records(epoch, start, stop).",
    )
