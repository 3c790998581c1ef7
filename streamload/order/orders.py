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
from streamload.masked_arrays import refuse_masked
from streamload.order.block_shuffle import BlockOrder
from streamload.order.digests import digest_of, within
from streamload.order.layout import WINDOW_NBYTES, Layout
from streamload.order.permutation import EXACT, TABLE_LIMIT, Permutation, key
from streamload.order.sequential_blocks import SequentialBlockOrder
from streamload.order.subset import listed_numbers
from streamload.reuse.lru import LRU
from streamload.sizes import parse_nbytes

EXACT_RECORD_NBYTES = 16 * 1024
"""Addressable records of this size and more are read fast in any order."""
MOST_LANES = TABLE_LIMIT
"""Blocks are given to lanes by a table with an entry for each lane."""


@runtime_checkable
class Order(Protocol):
    """An order of your own, for `shuffle=`: any object with this method, a pure function from positions of an epoch to records.

    ```python
    class Reversed:
        def __init__(self, n):
            self.n = n

        def records(self, epoch, start, stop):
            return self.n - 1 - np.arange(start, stop)

    loader = sl.Loader(data, batch_size=256, shuffle=Reversed(len(data)))
    ```

    It may repeat records and leave some out. `__len__` says how many positions an epoch has; without it, an epoch has as many as there
    are records. With `indices=`, its numbers count within the subset. Each worker has a copy of it, and equal arguments must give equal
    records in all of them: to draw at random, make a generator from the epoch in each call, and keep none.
    """

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.integer]:
        """The record numbers, shape (stop - start,), at positions [start, stop) of an epoch."""
        ...


class BoundOrder(Protocol):
    """An order of the records of one layout, with one seed: what `bind` of an `OrderSpec` makes. It is pickled to workers."""

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
        """A digest of everything but seed and epoch that the order depends on, as hexadecimal text."""
        ...

    @property
    def table_nbytes(self) -> int:
        """Bytes of the window table of one epoch; 0 without windows."""
        ...

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of an epoch, shape (stop - start,)."""
        ...


class OrderSpec(Protocol):
    """An order as users ask for it, which is not yet of any data."""

    def bind(self, layout: Layout, seed: int) -> BoundOrder:
        """The order of the records of `layout`."""
        ...


@dataclass(frozen=True)
class Exact:
    """Shuffle all records: each is equally likely at every position of an epoch, wherever it is stored.

    For data whose records can be read one by one. If whole blocks must be decoded, as with compressed chunks of many records, every
    record costs the decoding of its block: use `Block` then.
    """

    def bind(self, layout: Layout, seed: int) -> ExactOrder:
        """The order of the records of `layout` under `seed`."""
        return ExactOrder(layout, seed=seed)


@dataclass(frozen=True)
class Block:
    """Shuffle storage blocks, and the records within windows of blocks: every block is read and decoded once an epoch.

    A window takes one block from each of many equal stretches of the data, so that it resembles all of the data even if that is sorted.
    """

    window: int | str = "512 MB"
    """Stored bytes of a window, within which records are shuffled. A larger one mixes better, and needs twice as many bytes of memory."""
    lanes: int | None = field(default=None, kw_only=True)
    """Into how many lanes the blocks are divided, each with an order and windows of its own, which together are as large as one window. A
    rank with lanes of its own is the only one that decodes their blocks. None: as many as there are ranks when a run begins. The number
    belongs to the order, and saved states keep it. The number of ranks may change; no block is decoded twice if it divides the lanes, and
    the lanes divide the records of a step."""

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
    """Deliver records in the order in which they are stored, the same in every epoch (`shuffle=False`)."""

    def bind(self, layout: Layout, seed: int) -> SequentialOrder | SequentialBlockOrder:
        """The order of the records of `layout`; the seed changes nothing."""
        return SequentialOrder(layout) if layout.addressable or layout.cuts is None else SequentialBlockOrder(layout)


@dataclass(frozen=True, eq=False)
class Custom:
    """An `Order` of the user's, as an `OrderSpec`."""

    order: Order

    def bind(self, layout: Layout, seed: int) -> CustomOrder:
        """The order of the records of `layout`; the seed is not used."""
        return CustomOrder(self.order, layout)


@dataclass(frozen=True, eq=False)
class Listed:
    """Deliver the records of a list in the order of the list, the same in every epoch: for example what a sampler has drawn.

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
    """One permutation of all records for each epoch. Any position is computed in O(1), and above 65,536 records without a table."""

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
    """Records in the order in which they are stored."""

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
    """An `Order` of the user's over one layout: what it returns is checked before any record is read."""

    mode = "user"
    table_nbytes = 0

    def __init__(self, order: Order, layout: Layout) -> None:
        self.order = order
        self.layout = layout
        self.n = _length(order) if isinstance(order, Sized) else layout.n
        kind = type(order)
        self.fingerprint = digest_of(self.mode, layout.indices, layout.n, self.n, f"{kind.__module__}.{kind.__qualname__}")
        """Made of the class and the numbers of records and positions; what the order computes is not known."""

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of an epoch. Raises ConfigError for an answer that cannot be right."""
        within(start, stop, self.n)
        name = f"{type(self.order).__name__}.records({epoch}, {start}, {stop})"
        try:
            returned = self.order.records(epoch, start, stop)
        except Exception as error:  # Also StopIteration, which would silently end the loop that asked.
            raise _failed(name, error) from error
        refuse_masked(returned, f"What {name} returned")
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
        f"{name}, of the order that shuffle= gave, failed with {type(error).__name__}: {shortened(str(error)).rstrip('.')}.",
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
