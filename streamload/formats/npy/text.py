"""Text in NumPy's own arrays, four bytes a character and padded to one width: delivered as text of any length."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.errors import CorruptDataError
from streamload.formats.columns.raw import RawRecords
from streamload.schema import TEXT, Field
from streamload.source import Lengths, ReadStats
from streamload.storage.files import Fingerprint, OpenFiles

LOOKED_AT = 1024
"""Records, evenly over all, that say how long text is."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PaddedText(ColumnDefaults):
    """A field of text whose records lie at a stride, each as wide as the widest."""

    field: Field
    """Text."""
    characters: RawRecords
    """The same records as numbers: code points, zeros behind the last."""
    lengths: Lengths
    """Of records, in bytes of UTF-8."""

    @property
    def addressable(self) -> bool:
        """Always: a record is read by its offset."""
        return True

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """None: a block may begin at any record."""
        return self.characters.cuts

    @property
    def block_elements(self) -> NDArray[np.int64] | None:
        """None: there are no blocks."""
        return None

    @property
    def scratch_nbytes(self) -> int:
        """Little: a batch of records on their way."""
        return 0

    def reader(self, files: OpenFiles, meter: ReadStats) -> PaddedTextReader:
        """A reader by offset."""
        return PaddedTextReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return f"{self.characters.describe()}, {self.characters.field.shape[0]:,} characters wide"


class PaddedTextReader(ReaderDefaults):
    """Reads records by offset and encodes them; what was measured is kept until it is gathered."""

    def __init__(self, column: PaddedText, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        self._inner = column.characters.reader(files, meter)
        self._kept: tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]] | None = None

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes of each record. Raises CorruptDataError, with file and record, where characters are none."""
        field = self._column.characters.field
        points = np.empty((len(records), *field.shape), field.dtype)
        self._inner.gather(records, points, np.arange(len(records), dtype=np.int64))
        began = time.perf_counter_ns()
        try:
            values, offsets = encoded(points)
        except UnicodeError as error:
            self._files.verify()
            raise self._no_text(records, points) from error
        self._meter.decode_ns += time.perf_counter_ns() - began
        self._kept = records, values, offsets
        return np.diff(offsets)

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the bytes of record `records[k]` into `values[starts[k]:]`."""
        if self._kept is None or (self._kept[0] is not records and not np.array_equal(self._kept[0], records)):
            self.lengths(records)
        assert self._kept is not None
        _, found, offsets = self._kept
        self._kept = None
        kernels.gather_kernels().copy_ragged(found.ctypes.data + offsets[:-1], np.diff(offsets), values.ctypes.data, starts)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Ask the kernel to begin reading these records."""
        self._inner.advise(records)

    def close(self) -> None:
        """Let go of what was measured."""
        self._kept = None
        self._inner.close()

    def _no_text(self, records: NDArray[np.int64], points: NDArray[Any]) -> CorruptDataError:
        column = self._column
        wrong = ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any(axis=1)
        record = int(records[int(wrong.argmax())])
        run = int(np.searchsorted(column.characters.starts, record, side="right")) - 1
        path = self._files.fingerprints[int(column.characters.numbers[run])].path
        return CorruptDataError(
            f"{path}: record {record:,} of '{column.field.name}' holds a number that is no character.",
            hint="The file is damaged, or was written with surrogates: write it again.",
            path=path,
            dataset=column.field.name,
            records=(record, record + 1),
        )


def encoded(points: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Text of shape (records, width), as code points in native order, as UTF-8: its bytes, and where each record begins.

    Zeros at the end of a record are padding, as in NumPy. Raises UnicodeError where a number is no character.
    """
    count, width = points.shape
    there = np.flip(np.logical_or.accumulate(np.flip(points != 0, axis=1), axis=1), axis=1)
    flat = points[there].astype("<u4", copy=False)
    data = np.frombuffer(flat.tobytes().decode("utf-32-le").encode(), np.uint8)
    # Bytes of UTF-8 that each character takes.
    sizes = np.zeros((count, width), np.int64)
    sizes[there] = 1 + (flat >= 0x80).astype(np.int64) + (flat >= 0x800) + (flat >= 0x10000)
    return data, np.concatenate([[0], np.cumsum(sizes.sum(axis=1))]).astype(np.int64)


def padded_text(name: str, characters: RawRecords, fingerprints: list[Fingerprint]) -> PaddedText:
    """The column of text in files; some records are read to see how long they are."""
    column = PaddedText(field=Field(name, np.dtype(np.uint8), (), TEXT), characters=characters, lengths=Lengths(mean=0.0, deviation=0.0))
    count = int(characters.starts[-1])
    if not count:
        return column
    files = OpenFiles(fingerprints)
    reader = column.reader(files, ReadStats())
    try:
        found = Lengths.of(reader.lengths(np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64))))
        files.verify()
    finally:
        reader.close()
        files.close()
    return PaddedText(field=column.field, characters=characters, lengths=found)
