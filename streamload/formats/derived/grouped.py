"""Ragged records that are stretches of another column's records: datasets of different lengths, rows of a sparse matrix."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.formats.columns.byte_ranges import fetch_ranges
from streamload.formats.columns.raw import RawRecords
from streamload.schema import Field
from streamload.source import Column, Lengths, NullableColumn, ReadStats
from streamload.storage.files import OpenFiles


def first_in_blocks(starts: NDArray[np.int64], cuts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which records begin in another block of elements than the one before them, and how many there are: shape (blocks + 1,).

    `starts` are the elements at which records begin, shape (records,); `cuts` are those at which blocks do, the end last.
    """
    blocks = np.searchsorted(cuts, starts, side="right")
    return np.append(np.flatnonzero(np.diff(blocks, prepend=-1)), len(starts)).astype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grouped(ColumnDefaults):
    """One ragged field: record r is records `starts[r]` to `starts[r + 1]` of the column of its elements."""

    field: Field
    elements: Column
    """A record of it is an element here: it has the field's dtype and shape, and is not ragged."""
    starts: NDArray[np.int64]
    """Where each record begins among the elements, and their end: shape (records + 1,), rising from 0."""
    lengths: Lengths

    @classmethod
    def of(cls, field: Field, elements: Column, starts: NDArray[np.int64]) -> Grouped:
        """The records of a field that begin at `starts` among elements."""
        return cls(field=field, elements=elements, starts=starts, lengths=Lengths.of(np.diff(starts)))

    @property
    def addressable(self) -> bool:
        """Where elements are: a record is then read without any other."""
        return self.elements.addressable

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Records that begin in other blocks of elements than those before them."""
        inner = self.elements.cuts
        return None if inner is None else first_in_blocks(self.starts[:-1], inner)

    @property
    def block_elements(self) -> NDArray[np.int64] | None:
        """Elements of each block."""
        cuts = self.cuts
        return None if cuts is None else np.diff(self.starts[cuts])

    @property
    def scratch_nbytes(self) -> int:
        """As the column of elements, and numbers of a few thousand of them."""
        return self.elements.scratch_nbytes + self.starts.nbytes

    @property
    def mappable(self) -> bool:
        """As elements are."""
        return self.elements.mappable

    @property
    def direct_nbytes(self) -> int:
        """As elements, where each record does not lie in one piece."""
        return self.elements.direct_nbytes if _places(self) is None else 0

    @property
    def file_nbytes(self) -> int | None:
        """As elements'."""
        return self.elements.file_nbytes

    def filled(self) -> Grouped:
        """The same of elements that may be null, with something in their place."""
        return replace(self, elements=cast(NullableColumn, self.elements).filled())

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """The records that hold a null, where elements may be null."""
        nulls = cast(NullableColumn, self.elements).null_records(files)
        return np.unique(np.searchsorted(self.starts, nulls, side="right") - 1)

    def reader(self, files: OpenFiles, meter: ReadStats) -> GroupedReader:
        """A reader for the calling process."""
        return GroupedReader(self, files, meter)

    @property
    def single_threaded(self) -> bool:
        """As elements are."""
        return self.elements.single_threaded

    def describe(self) -> str:
        """As elements are stored."""
        return f"{self.elements.describe()}, records of different lengths"


class GroupedReader(ReaderDefaults):
    """Reads stretches of elements: by offset where each lies in one piece, else as the elements' own reader does."""

    def __init__(self, column: Grouped, files: OpenFiles, meter: ReadStats) -> None:
        self._starts = np.array(column.starts, np.int64)
        self._files = files
        self._meter = meter
        self._field = column.field
        self._elements = column.elements.reader(files, meter)
        self._places = _places(column)

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record."""
        return self._starts[records + 1] - self._starts[records]

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[Any], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`."""
        firsts, lengths = self._starts[records], self.lengths(records)
        some = np.flatnonzero(lengths)
        if not len(some) or not self._field.nbytes:
            return
        if self._places is None:
            self._elements.gather(spread(firsts[some], lengths[some]), values, spread(starts[some], lengths[some]))
            return
        began = time.perf_counter_ns()
        numbers, offsets = self._places[0][records[some]], self._places[1][records[some]]
        sizes, places = lengths[some] * self._field.nbytes, starts[some] * self._field.nbytes
        for number in np.unique(numbers).tolist():
            chosen = np.flatnonzero(numbers == number)
            fetch_ranges(self._files, number, self._field.name, offsets[chosen], sizes[chosen], values.ctypes.data, places[chosen])
        self._meter.read_ns += time.perf_counter_ns() - began
        self._meter.read_nbytes += int(sizes.sum())

    def advise(self, records: NDArray[np.int64]) -> None:
        """Ask the kernel to begin reading these records."""
        if not len(records) or not self._field.nbytes:
            return
        firsts, lengths = self._starts[records], self.lengths(records)
        if self._places is None:
            self._elements.advise(spread(firsts, lengths))
            return
        if not hasattr(os, "posix_fadvise"):
            return
        numbers, offsets, sizes = self._places[0][records], self._places[1][records], lengths * self._field.nbytes
        for number, offset, nbytes in zip(numbers.tolist(), offsets.tolist(), sizes.tolist(), strict=True):
            if nbytes and self._files.address(number) is None:
                os.posix_fadvise(self._files.descriptor(number), offset, nbytes, os.POSIX_FADV_WILLNEED)

    def expect(self, records: NDArray[np.int64]) -> None:
        """Pass it on, where the elements' reader will be asked."""
        if self._places is None and len(records):
            self._elements.expect(spread(self._starts[records], self.lengths(records)))

    def close(self) -> None:
        """Let go of the reader of elements."""
        self._elements.close()


def spread(firsts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of all elements of stretches: [5, 9] of lengths [2, 3] are [5, 6, 9, 10, 11]."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64) + np.repeat(firsts - (ends - lengths), lengths)


def _places(column: Grouped) -> tuple[NDArray[np.int32], NDArray[np.int64]] | None:
    """The file and the byte at which each record begins, if all lie in one piece each, as they are delivered; else None."""
    raw = column.elements
    if not isinstance(raw, RawRecords) or raw.stored != raw.field.dtype or (raw.strides != raw.field.nbytes).any():
        return None
    firsts, stops = column.starts[:-1], column.starts[1:]
    if not len(raw.offsets):
        return np.zeros(len(firsts), np.int32), np.zeros(len(firsts), np.int64)
    runs = np.clip(np.searchsorted(raw.starts, firsts, side="right") - 1, 0, len(raw.offsets) - 1)
    if ((stops > firsts) & (stops > raw.starts[runs + 1])).any():
        return None
    return raw.numbers[runs], raw.offsets[runs] + (firsts - raw.starts[runs]) * raw.strides[runs]
