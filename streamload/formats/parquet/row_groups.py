"""Row groups as blocks: a column decoded by pyarrow a stretch at a time, checksums verified, memory bounded."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ResourceError, StreamloadError, damaged
from streamload.formats.arrow_types.decoded_blocks import DecodedBlocks, DecodedBlocksReader
from streamload.formats.columns.blocks import by_block
from streamload.formats.parquet.open_files import FOOTERS_NBYTES, parquet_files
from streamload.formats.parquet.page_headers import PageError
from streamload.formats.parquet.page_index import tile
from streamload.memory.limits import available_nbytes
from streamload.schema import Field
from streamload.sizes import format_nbytes
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles

FOOTER_NBYTES, GROUP_NBYTES = 1024, 256
"""About what a footer takes, and each row group in it."""
PARSED = 5
"""About how many times as much they take parsed."""
STRETCH_NBYTES = 4 * 1024**2
"""Decoded bytes of a column at a time."""
LARGE_PAGE_NBYTES = 64 * 1024**2
"""Pages that unpack to more are looked at twice: whether there is memory for them."""
KEPT_NBYTES = 32 * 1024**2
"""A row group of at most so many bytes is kept when only some of its records were wanted."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowGroupFile:
    """One column in one file."""

    number: int
    """Of the file, among the source's fingerprints."""
    groups: NDArray[np.int64]
    """Records of each row group."""
    offsets: NDArray[np.int64]
    """The byte at which the column begins in each."""
    nbytes: NDArray[np.int64]
    """Its stored bytes in each."""
    unpacked: NDArray[np.int64]
    """The same uncompressed, as the footer claims."""
    counts: NDArray[np.int64]
    """Its values in each."""
    compressed: NDArray[np.bool_]
    """Whether its pages are, in each."""
    path: tuple[str, ...]
    """The name of the column, and those of members that lead to it where it is one."""
    leaf: str
    """What of it is read, as pyarrow names it. Files may differ in it, and in:"""
    values: Any
    """How Arrow's values become records: an `element_types.ArrowValues`, or a `ragged_types.RaggedValues`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowGroups(DecodedBlocks):
    """One field that must be decoded, a row group after the other."""

    field: Field
    """As it is delivered."""
    column: str
    """Its name in the files."""
    fill: Any
    """What stands for nulls; None where they are errors."""
    parts: tuple[RowGroupFile, ...]
    """The files, in order."""
    largest_page_nbytes: int
    """An estimate of the most that one page takes, stored or decoded."""
    label: str
    """How it is stored, for people."""

    @property
    def block_sizes(self) -> Sequence[NDArray[np.int64]]:
        """Records of the row groups of each file."""
        return [part.groups for part in self.parts]

    @property
    def scratch_nbytes(self) -> int:
        """Pages and stretches on their way through pyarrow, and the row group that is kept."""
        stretch = max(STRETCH_NBYTES, self.field.nbytes)
        cuts = self.cuts
        largest = int(np.diff(cuts).max(initial=0)) * self.field.nbytes if cuts is not None else 0
        footers = PARSED * min(FOOTERS_NBYTES, sum(FOOTER_NBYTES + GROUP_NBYTES * len(part.groups) for part in self.parts))
        return 3 * stretch + 2 * self.largest_page_nbytes + min(KEPT_NBYTES, largest) + footers

    @property
    def file_nbytes(self) -> int:
        """As stored, of all files."""
        return sum(int(part.nbytes.sum()) for part in self.parts)

    def value_range(self, files: OpenFiles) -> tuple[Any, Any] | None:
        """What footers say of whole numbers, in all row groups; of fractions they do not say whether there are NaN."""
        if self.field.shape or self.field.ragged or self.field.dtype.kind not in "iu":
            return None
        ends: list[int] = []
        for part in self.parts:
            metadata = parquet_files(files).file(part.number, files.fingerprints[part.number].path).metadata
            number = next((at for at in range(metadata.num_columns) if metadata.schema.column(at).path == part.leaf), None)
            for group in np.flatnonzero(part.groups).tolist() if number is not None else ():
                statistics = metadata.row_group(group).column(number).statistics
                if statistics is None or not statistics.has_min_max or not isinstance(statistics.min, int):
                    return None
                ends += [statistics.min, statistics.max]
        return (min(ends), max(ends)) if ends else None

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader that opens files in the calling process when it is asked for records."""
        return RowGroupReader(self, files, meter)


class RowGroupReader(DecodedBlocksReader):
    """Decodes row groups, each once a call, and puts records where they are wanted as they come."""

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`.

        Raises CorruptDataError or ChecksumError, with file and records, and NullValueError for records that are null.
        """
        began = time.perf_counter_ns()
        for block, chosen, local in by_block(self._cuts, records):
            self.require_file(block)
            targets = rows[chosen]
            size = int(self._cuts[block + 1] - self._cuts[block])
            if self._last.held(block) is not None or (len(local) < size and size * self._column.field.nbytes <= KEPT_NBYTES):
                self._put(block, 0, *self._last.get(block, self._whole), local, out, targets)
                continue
            for first, values, wrong in self._stretches(block):
                low, high = np.searchsorted(local, [first, first + len(values)])
                self._put(block, first, values, wrong, local[low:high], out, targets[low:high])
                if high == len(local):
                    break  # The rest of it is neither wanted nor kept.
        self._meter.decode_ns += time.perf_counter_ns() - began

    def _whole(self, block: int) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """All records of a row group, and which of them have a null that is an error; None where none has."""
        size = int(self._cuts[block + 1] - self._cuts[block])
        whole, nulls = np.empty((size, *self._column.field.shape), self._column.field.dtype), np.zeros(size, bool)
        for first, values, wrong in self._stretches(block):
            whole[first : first + len(values)] = values
            if wrong is not None:
                nulls[first : first + len(values)] = wrong
        return whole, nulls if nulls.any() else None

    def place(self, block: int) -> tuple[str, tuple[int, int]]:
        """The file that holds a row group, and the records of it there."""
        part, group = self._places[block]
        first = int(part.groups[:group].sum())
        return self._files.fingerprints[part.number].path, (first, first + int(part.groups[group]))

    def advise(self, records: NDArray[np.int64]) -> None:
        """Nothing: pyarrow alone knows where pages lie, and it reads them in order."""

    def _stretches(self, block: int) -> Iterator[tuple[int, NDArray[np.generic], NDArray[np.bool_] | None]]:
        """The records of a row group, some at a time: where in it they begin, their values, and which of them are null."""
        from streamload.formats.arrow_types.element_types import to_numpy

        most = max(1, STRETCH_NBYTES // max(1, self._column.field.nbytes))
        return self.stretches(block, most, to_numpy)

    def nulls_in(self, block: int) -> NDArray[np.bool_]:
        """Which records of a row group have a null for which nothing stands: shape (records,)."""
        from streamload.formats.arrow_types.nulls import refused_nulls
        from streamload.formats.arrow_types.ragged_types import member_of

        field = self._column.field
        self.require_file(block)
        most = max(1, STRETCH_NBYTES // max(1, field.nbytes))
        stretches = self.stretches(block, most, lambda array, values, fill: refused_nulls(member_of(array, values), field, fill))
        return np.concatenate([nulls for _, nulls, _ in stretches])

    def require_file(self, block: int) -> None:
        """Touch the file of a row group, so that it is verified. Raises SourceChangedError where it is another one now."""
        self._files.descriptor(self._places[block][0].number)

    def stretches(self, block: int, most: int, make: Callable[[Any, Any, Any], Any]) -> Iterator[tuple[int, Any, NDArray[np.bool_] | None]]:
        """The records of a row group, up to `most` at a time: where in it they begin, what `make` makes of Arrow's array, and
        which of them have a null that is an error; None where none has.

        `make` is given the array, how its values become records, and what stands for nulls.
        """
        from streamload.formats.arrow_types.element_types import NullFoundError, UnequalLengthError, wrong_value
        from streamload.formats.arrow_types.nulls import made_of
        from streamload.formats.parquet.pyarrow_file import FAILURES, decoded_nbytes, release_unused, unreadable

        column, (part, group) = self._column, self._places[block]
        path, (start, stop) = self.place(block)
        size, done = stop - start, 0
        largest = self._require_whole(block)
        arrays, array = self._arrays(block, most), None
        try:
            for array in arrays:
                try:
                    values, wrong = made_of(array, part.values, column.field, column.fill, make)
                except (NullFoundError, UnequalLengthError) as error:
                    raise wrong_value(path, column.column, start + done, error, column.field) from None
                if done + len(array) > size:
                    break
                self._meter.read_nbytes += decoded_nbytes(array)
                yield done, values, wrong
                done += len(array)
        except StreamloadError:
            self._files.verify()
            raise
        except FAILURES as error:
            self._files.verify()
            raise unreadable(path, error, column.column, (start, stop)) from error
        finally:
            if largest > LARGE_PAGE_NBYTES:
                arrays.close()
                array = None
                release_unused()
        if done != size:
            self._files.verify()
            raise damaged(
                f"{path}: row group {group} of column '{column.column}' holds {done:,} records or more, and the footer says {size:,}.",
                path=path,
                dataset=column.column,
                records=(start, stop),
            )

    def _arrays(self, block: int, most: int) -> Generator[Any]:
        """Arrow's arrays of the records of a row group, up to `most` in each. Raises as pyarrow does, and for times that it wrapped."""
        from streamload.formats.parquet.int96 import coarse_batches, refuse_wrapped

        column, (part, group) = self._column, self._places[block]
        path, (row, _) = self.place(block)
        files = parquet_files(self._files)
        asked: dict[str, Any] = {"batch_size": most, "row_groups": [group], "use_threads": False}
        others: Iterator[Any] = repeat(None)
        if column.field.dtype.kind == "M":
            others = coarse_batches(files, part.number, path, part.leaf, **asked)
        for batch, other in zip(files.file(part.number, path).iter_batches(columns=[part.leaf], **asked), others, strict=False):
            array = _values_in(batch, part.path)
            if other is not None:
                refuse_wrapped(array, _values_in(other, part.path), path, column.column, row)
            yield array
            row += len(array)

    def _require_whole(self, block: int) -> int:
        """Look at the page headers of a row group before they are decoded: pyarrow believes them. Returns the bytes of the largest page."""
        part, group = self._places[block]
        fd = self._files.descriptor(part.number)
        try:
            largest = tile(
                lambda offset, nbytes: os.pread(fd, nbytes, offset),
                offset=int(part.offsets[group]),
                nbytes=int(part.nbytes[group]),
                values=int(part.counts[group]),
                unpacked=int(part.unpacked[group]),
                compressed=bool(part.compressed[group]),
            )
        except PageError as error:
            self._files.verify()
            path, records = self.place(block)
            raise damaged(
                f"{path}: column '{self._column.column}' cannot be read: {error}.",
                path=path,
                dataset=self._column.column,
                records=records,
            ) from error
        if largest > LARGE_PAGE_NBYTES:
            self._require_memory(part, group, largest)
        return largest

    def _require_memory(self, part: RowGroupFile, group: int, nbytes: int) -> None:
        """Raise ResourceError where a page that unpacks to so many bytes would take what memory there is: once itself, once as values."""
        available = available_nbytes()
        if 2 * nbytes > available:
            path = self._files.fingerprints[part.number].path
            raise ResourceError(
                f"{path}: a page of column '{self._column.column}' in row group {group} unpacks to {format_nbytes(nbytes)}, which needs "
                f"{format_nbytes(2 * nbytes)} of memory, and {format_nbytes(available)} are free.",
                hint="Free memory, or leave the column out with fields=[...].",
                errno=errno.ENOMEM,
                needed_nbytes=2 * nbytes,
                available_nbytes=available,
            )


def _values_in(batch: Any, path: tuple[str, ...]) -> Any:
    """The values of a column, or of a member of it, in a batch."""
    from streamload.formats.arrow_types.schema_columns import member_at

    return member_at(batch.column(batch.schema.get_field_index(path[0])), path[1:])
