"""How much memory a loader needs, computed and checked before anything is read, and how that decides the sizes of its parts."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from weakref import WeakSet

from streamload.errors import ConfigError, ResourceError
from streamload.memory.limits import available_nbytes, usable_cores
from streamload.order import WINDOWED, BlockOrder, BoundOrder, DrawnLane, window_beyond_memory
from streamload.processes.distributed import find_neighbours
from streamload.sizes import enough_nbytes, format_nbytes
from streamload.source import Column

SPARE_SLOTS = 3
"""Batches that a user may hold without causing copies: the present one, the one before it, and one more."""
LEAST_SPARE_SLOTS = 2
SLOTS_NBYTES = 13 * 1024**2 // 2
"""Small batches get more slots, up to this many bytes and MOST_SLOTS, so that workers go on while the user's loop pauses, and the other
way round. With more bytes it was slower (1.06 times at 786 KB a batch), since the batches that a worker has written have left the
processor's caches before the user reads them."""
MOST_SLOTS = 24
DECODED_SLOTS_NBYTES, MOST_DECODED_SLOTS = 24 * 1024**2, 32
"""The same limits if blocks are decoded: while one worker decodes a block, the others must have room to go on. With blocks of 12 MB,
12 MB of slots were 4 % slower than 16 MB, and 24 MB are 2 % faster."""
AHEAD_RECORDS = 256
AHEAD_NBYTES = 32 * 1024**2
"""How far ahead of the steps that are sent the operating system is advised of what will be read: the larger of the two."""
ADVISED_NBYTES = 16 * 1024**2
"""The most bytes that are advised of with one step: a step waits for its advice, and the first steps must not wait for a whole window."""
PAGE_TABLE_SHARE = 512
"""So many mapped bytes need one byte of page tables."""
READING = ("auto", "mmap", "read", "direct")
"""The values of `io=`."""
DIRECT_FROM = 2
"""Files are read past the page cache if they have so many times the bytes of the free memory: of random reads, the page cache would then
serve an eighth or less."""
LAUNCHER_NBYTES = 64 * 1024**2
WORKER_NBYTES = 16 * 1024**2
"""The memory of the launcher process, and of each worker process, by itself. It is kept free, but not counted as the loader's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """The memory of a loader in bytes, by what it is for."""

    slots: int
    """The slots of batches. Ragged fields have room for lengths that batches hardly ever exceed; a batch that does is in memory of its
    own, which is not part of this and is counted in `stats.overflows`."""
    arena: int
    """Decoded windows."""
    tables: int
    """Window tables of two epochs."""
    scratch: int
    """Private memory of the workers: for decoders, and for batches between transforms."""
    index: int
    """Places of records, and small fields that are held in memory: one copy for all workers."""
    page_tables: int
    """Page tables of mapped files; 0 if files are not mapped."""
    budget: int
    """The most that the loader may use (`memory=`)."""

    @property
    def total(self) -> int:
        """The sum, without the budget."""
        return self.slots + self.arena + self.tables + self.scratch + self.index + self.page_tables

    def __str__(self) -> str:
        parts = [
            f"{f.name.replace('_', ' ')} {format_nbytes(getattr(self, f.name))}"
            for f in fields(self)
            if f.name != "budget" and getattr(self, f.name)
        ]
        return f"{format_nbytes(self.total)} of {format_nbytes(self.budget)}: " + " · ".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizing:
    """The sizes that were chosen for a loader."""

    slots: int
    """How many slots there are."""
    spare: int
    """How many batches the user may hold without causing copies."""
    mapped: bool
    """Whether files are mapped."""
    direct: bool
    """Whether large raw records are read past the page cache."""
    ahead: int
    """Positions that the operating system is advised of ahead of the steps."""
    advised: int
    """The most positions that are advised of with one step; a step of more positions is advised of as a whole."""
    footprint: Footprint

    @property
    def reading(self) -> str:
        """What is done with files, for texts: they are "mapped", "read past the page cache" or "read"."""
        return "mapped" if self.mapped else "read past the page cache" if self.direct else "read"


class Claim:
    """The memory and workers of one loader of this process, which reduce the defaults of loaders that are made while it exists."""

    def __init__(self, *, memory_nbytes: int, workers: int) -> None:
        self.memory_nbytes = memory_nbytes
        self.workers = workers
        _claims.add(self)

    def end(self) -> None:
        """Note that the loader has ended."""
        _claims.discard(self)


_claims: WeakSet[Claim] = WeakSet()


def default_memory_nbytes() -> int:
    """The default of `memory=`: a quarter of what the machine and the control group leave free, divided by the ranks on this machine,
    less what other loaders of this process have claimed."""
    others = sum(claim.memory_nbytes for claim in _claims)
    return max(0, available_nbytes() // find_neighbours(os.environ).count - others) // 4


MOST_WORKERS = 8


def default_workers() -> int:
    """The default of `num_workers=`: the cores that this process may use, divided by the ranks on this machine, less one, less the
    workers of its other loaders; at most MOST_WORKERS."""
    ranks, others = find_neighbours(os.environ).count, sum(claim.workers for claim in _claims)
    least = 1 if ranks > 1 or others else 0
    return max(least, min(MOST_WORKERS, usable_cores() // ranks - 1 - others))


def asked_workers(num_workers: int | None) -> int:
    """The number of workers that `num_workers=` asks for; by default none where there can be none. Raises ConfigError for such there."""
    if num_workers is None:
        return default_workers() if sys.platform == "linux" else 0
    if num_workers and sys.platform != "linux":
        raise ConfigError(
            f"num_workers={num_workers}: worker processes need Linux.", hint="Use num_workers=0, which reads in this process."
        )
    return num_workers


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryDemand:
    """The bytes that a loader needs for each of its parts, before the number of slots and the way of reading are chosen."""

    slot: int
    """One slot."""
    arena: int
    tables: int
    scratch: int
    """Private memory of all processes: of readers, and for batches between transforms."""
    index: int
    mapped: int
    """Bytes of all files that may be mapped."""
    rings: int
    """Further private memory of all processes, if files are read past the page cache."""
    processes: int
    """Processes that share the work."""
    memory: int
    """The most that the loader may use."""

    def footprint(self, slots: int, *, mapped: bool = False, direct: bool = False) -> Footprint:
        """The memory of a loader with so many slots, which maps its files, reads past the page cache, or neither."""
        return Footprint(
            slots=slots * self.slot,
            arena=self.arena,
            tables=self.tables,
            scratch=self.scratch + (self.rings if direct else 0),
            index=self.index,
            page_tables=self.mapped // PAGE_TABLE_SHARE * self.processes if mapped else 0,
            budget=self.memory,
        )


def sizing_of(
    demand: MemoryDemand,
    *,
    columns: Sequence[Column],
    orders: Sequence[BoundOrder],
    record_nbytes: int,
    stored_nbytes: int,
    workers: int,
    io: str,
    mappable: bool,
    fitting_window: Callable[[], str | None],
) -> Sizing:
    """Choose sizes that fit into `demand.memory`, with fewer slots if memory is scarce.

    `orders`: those that this process reads, of all parts and lanes. `record_nbytes`: stored bytes of a record. `stored_nbytes`: of all
    files. `mappable`: whether there are workers, and few enough files, to map them. `fitting_window`: finds a window that would fit,
    for the text of the error; None if there is none.

    Raises ResourceError if even the smallest sizes do not fit, and says what would.
    """
    available = max(0, available_nbytes() - (LAUNCHER_NBYTES + workers * WORKER_NBYTES if workers else 0))
    io = "read" if io == "mmap" and not mappable else io
    few = LEAST_SPARE_SLOTS + demand.processes
    least = demand.footprint(few, mapped=io == "mmap", direct=io == "direct")
    _check_fits(least, orders, available, fitting_window)
    half = (available - least.total) // 2 if mappable else 0
    beyond = stored_nbytes > DIRECT_FROM * available and any(_scattered(one, orders) for one in columns)
    mapped, direct = _ways_to_read(demand, io, few, half_nbytes=half, beyond=beyond)
    slots = _slots_that_fit(demand, few, workers, most_nbytes=min(demand.memory, available), mapped=mapped, direct=direct)
    ahead = _ahead(orders, record_nbytes, available) if any(one.addressable and one.held is None for one in columns) else 0
    return Sizing(
        slots=slots,
        spare=min(SPARE_SLOTS, slots - demand.processes),
        mapped=mapped,
        direct=direct,
        ahead=ahead,
        advised=min(-(-ahead // demand.processes), ADVISED_NBYTES // max(1, record_nbytes)),
        footprint=demand.footprint(slots, mapped=mapped, direct=direct),
    )


def _slots_that_fit(demand: MemoryDemand, few: int, workers: int, *, most_nbytes: int, mapped: bool, direct: bool) -> int:
    """How many slots there are: as many as are worth having, fewer if that is more than `most_nbytes`, but at least `few`."""
    slots = SPARE_SLOTS + _slots_in_use(demand.slot, workers, decoded=demand.arena > 0)
    while slots > few and demand.footprint(slots, mapped=mapped, direct=direct).total > most_nbytes:
        slots -= 1
    return slots


def _slots_in_use(slot_nbytes: int, workers: int, *, decoded: bool) -> int:
    """How many slots, beside those that the user holds, are worth having if memory suffices."""
    most, room = (MOST_DECODED_SLOTS, DECODED_SLOTS_NBYTES) if decoded else (MOST_SLOTS, SLOTS_NBYTES)
    return max(2 * workers + 1, min(most, room // slot_nbytes)) if workers else 1


def _ways_to_read(demand: MemoryDemand, io: str, few: int, *, half_nbytes: int, beyond: bool) -> tuple[bool, bool]:
    """(mapped, direct): whether files are mapped, and whether they are read past the page cache.

    `few` is the least number of slots; `half_nbytes` is the memory that mapped files may fill; `beyond` says that files are larger
    than memory and read from all over.
    """
    fits = io == "auto" and demand.mapped <= half_nbytes and _fits(demand.footprint(few, mapped=True))
    mapped = demand.mapped > 0 and (io == "mmap" or fits)
    pays = io == "auto" and not mapped and beyond and _fits(demand.footprint(few, direct=True))
    return mapped, demand.rings > 0 and (io == "direct" or pays)


def _scattered(column: Column, orders: Sequence[BoundOrder]) -> bool:
    """Whether a column is read in many small pieces from all over its files, if it is read past the page cache: in block order,
    addressable records are read in long stretches instead."""
    return column.direct_nbytes > 0 and not (column.addressable and all(isinstance(order, WINDOWED) for order in orders))


def _fits(footprint: Footprint) -> bool:
    return footprint.total <= footprint.budget


def _check_fits(least: Footprint, orders: Sequence[BoundOrder], available: int, fitting_window: Callable[[], str | None]) -> None:
    """Raise ResourceError if the least memory that works is more than the budget, or than what is available."""
    if not _fits(least):
        raise _too_little(least, orders, fitting_window)
    if least.total > available:
        raise ResourceError(
            f"The loader needs {format_nbytes(least.total)} ({least}), "
            f"and this machine or its control group leaves {format_nbytes(available)} free.",
            hint="Free memory, raise the limit, or lower batch_size, num_workers or the window.",
            needed_nbytes=least.total,
            available_nbytes=available,
        )


def _ahead(orders: Sequence[BoundOrder], record_nbytes: int, available: int) -> int:
    if not any(order.n for order in orders):
        return 0
    record_nbytes = max(1, record_nbytes)
    most = max(1, available // 4 // record_nbytes)
    windowed = [order.most_window_records for order in orders if isinstance(order, WINDOWED)]
    if windowed:
        return min(sum(windowed), most)
    return min(max(AHEAD_RECORDS, AHEAD_NBYTES // record_nbytes), most)


def _too_little(least: Footprint, orders: Sequence[BoundOrder], fitting_window: Callable[[], str | None]) -> Exception:
    blocks = [order for order in orders if isinstance(order, (BlockOrder, DrawnLane))]
    if blocks and least.arena * 2 > least.total:
        window_nbytes = sum(order.most_window_nbytes for order in blocks)
        return window_beyond_memory(window_nbytes, needed_nbytes=least.total, memory_nbytes=least.budget, fitting=fitting_window())
    return ResourceError(
        f'memory="{format_nbytes(least.budget)}" is too little: the least that works here is {format_nbytes(least.total)} ({least}).',
        hint=f'Give memory="{enough_nbytes(least.total)}", or lower batch_size or num_workers.',
        needed_nbytes=least.total,
        available_nbytes=least.budget,
    )


def index_nbytes(columns: Sequence[Column]) -> int:
    """Bytes of the arrays that columns hold: places of records, and values of small fields."""
    buffers: list[pickle.PickleBuffer] = []
    pickle.dumps(columns, protocol=5, buffer_callback=buffers.append)
    return sum(buffer.raw().nbytes for buffer in buffers)
