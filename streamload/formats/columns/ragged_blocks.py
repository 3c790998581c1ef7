"""Ragged records out of blocks that must be decoded: measured first, then put where they are wanted, decoded once for both."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.formats.columns.blocks import LastBlock, by_block
from streamload.ragged import Ragged
from streamload.schema import Field
from streamload.source import Lengths, Measured, ReadStats
from streamload.storage.files import OpenFiles

KEPT_NBYTES = 32 * 1024**2
"""A block of at most so many bytes is kept when only some of its records were wanted."""


class RaggedSlice(NamedTuple):
    """Some neighbouring records of a block."""

    first: int
    """Counted in the block."""
    values: NDArray[np.generic]
    """Their elements, one record's after the other's: shape (elements, *shape), C-contiguous."""
    offsets: NDArray[np.int64]
    """Where each begins, and their end."""
    wrong: NDArray[np.bool_] | None = None
    """Which of them have a null that is an error; None where none has."""


class RaggedBlocks:
    """What was decoded for the records that were measured last, and the last block where it is small."""

    def __init__(
        self,
        cuts: NDArray[np.int64],
        field: Field,
        decode: Callable[[int], Iterator[RaggedSlice]],
        nbytes: NDArray[np.int64],
        refuse_nulls: Callable[[int, NDArray[np.int64], NDArray[np.bool_]], None],
    ) -> None:
        """`decode` gives the stretches of a block, which has about so many `nbytes`; `refuse_nulls` raises where one of its records
        is wrong."""
        self._cuts = cuts
        self._nbytes = field.nbytes
        self._decode = decode
        self._sizes = nbytes
        self._refuse_nulls = refuse_nulls
        self._records: NDArray[np.int64] | None = None
        self._found: list[tuple[NDArray[np.intp], NDArray[np.int64], RaggedSlice]] = []
        """Which of the records lie in a stretch, which of its records they are, and the stretch."""
        self._last = LastBlock[list[RaggedSlice]]()

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record."""
        self._records, self._found = None, []
        lengths = np.zeros(len(records), np.int64)
        for block, chosen, local in by_block(self._cuts, records):
            size = int(self._cuts[block + 1] - self._cuts[block])
            for stretch in self._stretches(block, whole=len(local) == size):
                low, high = np.searchsorted(local, [stretch.first, stretch.first + len(stretch.offsets) - 1])
                if low == high:
                    continue
                rows, where = local[low:high] - stretch.first, chosen[low:high]
                if stretch.wrong is not None:
                    self._refuse_nulls(block, local[low:high], stretch.wrong[rows])
                lengths[where] = stretch.offsets[rows + 1] - stretch.offsets[rows]
                if 2 * len(rows) < len(stretch.offsets) and self._last.held(block) is None:
                    some = Ragged(stretch.values, stretch.offsets)[rows]
                    rows, stretch = np.arange(len(rows)), RaggedSlice(0, some.values, some.offsets)
                self._found.append((where, rows, stretch))
                if high == len(local) and self._sizes[block] > KEPT_NBYTES:
                    break  # The rest of it is neither wanted nor kept.
        self._records = records
        return lengths

    def gather(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of the records that were measured where they are wanted."""
        if self._records is not records and (self._records is None or not np.array_equal(self._records, records)):
            self.lengths(records)
        copy = kernels.gather_kernels().copy_ragged
        address = values.ctypes.data
        for where, rows, stretch in self._found if self._nbytes else ():
            begin, end = stretch.offsets[rows], stretch.offsets[rows + 1]
            copy(stretch.values.ctypes.data + begin * self._nbytes, (end - begin) * self._nbytes, address, starts[where] * self._nbytes)
        self._records, self._found = None, []

    def forget(self) -> None:
        """Let go of everything that was decoded."""
        self._records, self._found = None, []
        self._last.clear()

    def _stretches(self, block: int, *, whole: bool) -> Iterator[RaggedSlice]:
        kept = self._last.held(block)
        if kept is not None:
            yield from kept
            return
        if whole:
            yield from self._decode(block)
            return
        self._last.clear()
        kept = list[RaggedSlice]()
        room = KEPT_NBYTES
        for stretch in self._decode(block):
            room -= stretch.values.nbytes
            if room >= 0:
                kept.append(stretch)
            yield stretch
        if room >= 0:
            self._last.keep(block, kept)


def scratch_nbytes(largest_nbytes: int) -> int:
    """Private memory of a reader whose largest block has so many bytes: one on its way, one measured, and a small one kept."""
    return 2 * largest_nbytes + min(KEPT_NBYTES, largest_nbytes)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RaggedRows(ColumnDefaults):
    """One ragged field that must be decoded, a block after the other: what its format's blocks need is said by its kinds."""

    rows: Any
    """Where its blocks lie: a column of the format."""
    lengths: Lengths
    block_elements: NDArray[np.int64]
    """Elements of each block that holds records, as far as is known without decoding."""
    measured: Measured | None = None  # pyright: ignore[reportIncompatibleMethodOverride]  (frozen: it can be read alone)
    """What they really hold, where that was found out, and differs."""

    @property
    def field(self) -> Field:
        """As it is delivered."""
        return self.rows.field

    @property
    def addressable(self) -> bool:
        """Never: a block is decoded whole."""
        return False

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where blocks begin."""
        return self.rows.cuts

    @property
    def largest_nbytes(self) -> int:
        """Bytes of the elements of the largest block."""
        return int(self.elements.max(initial=0)) * self.field.nbytes

    @property
    def elements(self) -> NDArray[np.int64]:
        """Of each block, as well as is known."""
        return self.block_elements if self.measured is None else self.measured.elements

    def filled(self) -> Self:
        """The same with something in the place of nulls, for whoever will not ask for them."""
        return replace(self, rows=self.rows.filled())

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """The records that have a null for which nothing stands: every block is decoded to find them."""
        return self.rows.null_records(files)

    @property
    def amplification(self) -> float:
        """As of the blocks."""
        return self.rows.amplification

    @property
    def file_nbytes(self) -> int | None:
        """As of the blocks."""
        return self.rows.file_nbytes

    def describe(self) -> str:
        """How it is stored."""
        return self.rows.label


class RaggedRowsReader(ReaderDefaults, ABC):
    """Decodes blocks, each once a call; `_stretches` is what a format adds."""

    def __init__(self, column: RaggedRows, rows: Any, meter: ReadStats) -> None:
        """`rows` is the reader of the column's rows, which is closed with this one."""
        self._rows = rows
        self._meter = meter
        cuts = column.cuts
        assert cuts is not None
        self._cuts = cuts
        self._blocks = RaggedBlocks(cuts, column.field, self._stretches, column.elements * column.field.nbytes, self._refuse_nulls)

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record. Raises CorruptDataError or ChecksumError, with file and records."""
        began, read_before = time.perf_counter_ns(), self._meter.read_ns
        found = self._blocks.lengths(records)
        self._meter.decode_ns += time.perf_counter_ns() - began - (self._meter.read_ns - read_before)
        return found

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`."""
        self._blocks.gather(records, values, starts)

    def close(self) -> None:
        """Close the files and forget what was kept."""
        self._rows.close()
        self._blocks.forget()

    def _refuse_nulls(self, block: int, local: NDArray[np.int64], wrong: NDArray[np.bool_]) -> None:
        self._rows.refuse_nulls(block, local, wrong)

    @abstractmethod
    def _stretches(self, block: int) -> Iterator[RaggedSlice]:
        """The records of a block, some at a time."""
