"""A source out of Parquet files: raw pages by offset where the bytes allow it, row groups through pyarrow elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np

from streamload.errors import UnsupportedFeatureError
from streamload.formats.naming.field_names import Fields
from streamload.formats.parquet import page_index
from streamload.formats.parquet.checksummed_pages import ChecksummedPages
from streamload.formats.parquet.compressed_page_index import INDEXED, walk_compressed
from streamload.formats.parquet.compressed_pages import CompressedPages
from streamload.formats.parquet.lists import with_lists
from streamload.formats.parquet.metadata import ParquetColumnInfo, Shapes, group_file, read_metadata
from streamload.formats.parquet.page_headers import ColumnChunk, NotRawError, PageError
from streamload.formats.parquet.page_index import RawPages
from streamload.formats.parquet.ragged_row_groups import RaggedRowGroups
from streamload.formats.parquet.ragged_sizes import ragged_groups
from streamload.formats.parquet.row_groups import KEPT_NBYTES, RowGroups
from streamload.formats.tables.fields import Table, TablePart, WantedColumns, refuse_unknown_columns
from streamload.formats.tables.table import RESIDENT_RECORD_NBYTES, RawRuns, assemble, raw_records_of
from streamload.schema import Field
from streamload.sizes import format_nbytes, format_times
from streamload.source import Column, Source
from streamload.storage.files import Fingerprint, OpenFiles

Found = TypeVar("Found")

LARGEST_GROUP_NBYTES = 1024**3
"""Decoded bytes of one column in a row group above which a file is refused."""
REWRITTEN_NBYTES = 64 * 1024**2
"""Of a row group when such a file is written anew."""
PAGE_NBYTES = 1024**2
"""What writers cut pages at, unless a record is larger."""


def plan_files(paths: Sequence[str], fields: Fields | None, *, shapes: Shapes, fill: Any, verify: bool) -> Source:
    """A source over Parquet files of one schema."""
    wanted = WantedColumns(fields)
    tables = with_lists([read_metadata(path, wanted, shapes) for path in paths])
    refuse_unknown_columns(tables[0], shapes, "shapes")
    refuse_unknown_columns(tables[0], fill, "fill", fields)
    fingerprints = [table.fingerprint for table in tables]

    def column_of(field: Field, parts: Sequence[TablePart], stands: Any) -> Column:
        facts: list[ParquetColumnInfo] = [part.stored.detail for part in parts]
        if all(fact.chunks is not None for fact in facts):
            files = OpenFiles(fingerprints)
            try:
                return _raw(field, parts, files, verify=verify)
            except (NotRawError, PageError):
                pass  # pyarrow knows more kinds of pages, and more ways to count them.
            finally:
                files.close()
        alike = all(fact.packed is not None and fact.value_nbytes == field.nbytes for fact in facts)  # int8 is stored in four bytes.
        if facts and alike and field.nbytes > RESIDENT_RECORD_NBYTES and _can_unpack():
            files = OpenFiles(fingerprints)
            try:
                return _packed(field, parts, files, verify=verify)
            except (NotRawError, PageError):
                pass
            finally:
                files.close()
        rows = _row_groups(field, parts, tables, fill=stands)
        return ragged_groups(rows, facts, fingerprints) if field.ragged else rows

    def nullable(column: Column) -> bool:
        return isinstance(column, (RowGroups, RaggedRowGroups))

    return assemble("Parquet", tables, fields, column_of, fill=fill, nullable=nullable, costs=_costs)


def _costs(column: Column) -> list[str]:
    """What a reader of `repr` should know about the price of a field."""
    if not isinstance(column, (RowGroups, RaggedRowGroups, CompressedPages)):
        return []
    notes: list[str] = []
    if column.amplification > 1:
        times = format_times(column.amplification)
        notes.append(f"'{column.field.name}': exact order decodes {times} records for each one delivered; block order decodes each once")
    if isinstance(column, RowGroups) and column.parts and column.parts[0].values.lists and column.field.dtype.itemsize < 4:
        notes.append(
            f"'{column.field.name}': lists of {column.field.dtype} are stored as 4 bytes a value; "
            "`streamload convert` writes fixed-size binary, which is read by offset"
        )
    return notes


def _raw(field: Field, parts: Sequence[TablePart], files: OpenFiles, *, verify: bool) -> Column:
    """Pages by offset. Raises NotRawError where one must be decoded."""
    found = [_pages(field, part, files) for part in parts]
    runs = [
        RawRuns(
            firsts=one.firsts,
            offsets=one.offsets,
            stride=part.stored.detail.value_nbytes,
            dtype=part.stored.detail.values.dtype.newbyteorder("<"),
        )
        for one, part in zip(found, parts, strict=True)
    ]
    most = max((int(np.diff([*one.firsts, part.records]).max(initial=0)) for one, part in zip(found, parts, strict=True)), default=0)
    raw = raw_records_of(field, parts, runs, blocks=True, label=f"raw pages of up to {most:,} records")
    checksums = np.concatenate([one.checksums for one in found] or [np.zeros(0, np.int64)])
    if not verify or (checksums < 0).all():
        return raw
    return ChecksummedPages(
        raw=raw,
        bodies=np.concatenate([one.bodies for one in found]),
        nbytes=np.concatenate([one.nbytes for one in found]),
        checksums=checksums,
    )


def _can_unpack() -> bool:
    """Whether there are the decoders that pages are unpacked with, and numbers lie in memory as in the files."""
    return find_spec("imagecodecs") is not None and sys.byteorder == "little"


def _packed(field: Field, parts: Sequence[TablePart], files: OpenFiles, *, verify: bool) -> CompressedPages:
    """Pages that are unpacked by ourselves. Raises NotRawError where one is of another kind."""
    found = [_walked(part, files, walk_compressed, part.stored.detail.packed) for part in parts]
    firsts = np.cumsum([0, *(part.records for part in parts)])
    ends = np.cumsum([0, *(len(one.dictionaries) for one in found)])
    for one, end in zip(found, ends.tolist(), strict=False):
        one.pages[one.pages[:, INDEXED] >= 0, INDEXED] += end
    facts: list[ParquetColumnInfo] = [part.stored.detail for part in parts]
    if len({fact.optional for fact in facts}) > 1:
        raise NotRawError
    sizes = np.concatenate([fact.groups for fact in facts])
    groups = np.cumsum([0, *sizes[sizes > 0]])
    starts = np.concatenate([*(one.firsts + first for one, first in zip(found, firsts, strict=False)), firsts[-1:]]).astype(np.int64)
    most = int(np.diff(starts).max(initial=0))
    kinds = dict.fromkeys(fact.codec for fact in facts)
    stored, whole = sum(int(fact.nbytes.sum()) for fact in facts), int(firsts[-1]) * field.nbytes
    return CompressedPages(
        field=field,
        column=facts[0].name,
        blocks=starts if int(sizes.max(initial=0)) * field.nbytes > KEPT_NBYTES else groups.astype(np.int64),
        starts=starts,
        numbers=np.repeat(np.array([part.number for part in parts], np.int32), [len(one.firsts) for one in found]),
        pages=np.concatenate([one.pages for one in found]),
        dictionaries=np.concatenate([one.dictionaries for one in found]),
        optional=facts[0].optional,
        verify=verify,
        label=f"pages of up to {most:,} records, {' or '.join(kinds)}, {format_nbytes(stored)} stored of {format_nbytes(whole)}",
    )


def _pages(field: Field, part: TablePart, files: OpenFiles) -> RawPages:
    return _walked(part, files, page_index.walk, part.stored.detail.chunks)


def _walked(part: TablePart, files: OpenFiles, walk: Callable[..., Found], chunks: Sequence[ColumnChunk]) -> Found:
    """What a walk over the pages of a column in one file finds. Raises NotRawError and PageError as the walk does."""
    facts: ParquetColumnInfo = part.stored.detail
    fd = files.descriptor(part.number)

    def read(offset: int, nbytes: int) -> bytes:
        return os.pread(fd, nbytes, offset)

    return walk(read, chunks, value_nbytes=facts.value_nbytes, optional=facts.optional)


def _row_groups(field: Field, parts: Sequence[TablePart], tables: Sequence[Table], *, fill: Any) -> RowGroups:
    largest = 0
    kinds: dict[str, None] = {}
    for part in parts:
        facts: ParquetColumnInfo = part.stored.detail
        _refuse_oversized(facts, field, tables[part.number].fingerprint)
        largest = max(largest, int(facts.groups.max(initial=0)))
        kinds[facts.codec] = None
    first: ParquetColumnInfo = parts[0].stored.detail
    stored = sum(int(part.stored.detail.nbytes.sum()) for part in parts)
    whole = sum(int(part.stored.detail.unpacked.sum()) if field.ragged else part.records * field.nbytes for part in parts)
    label = f"row groups of up to {largest:,} records, {' or '.join(kinds) or 'empty'}"
    return RowGroups(
        field=field,
        column=first.name,
        fill=fill,
        parts=tuple(group_file(part.stored.detail, part.number) for part in parts),
        largest_page_nbytes=_largest_page_nbytes(field, parts),
        label=f"{label}, {format_nbytes(stored)} stored of {format_nbytes(whole)}, decoded by pyarrow",
    )


def _largest_page_nbytes(field: Field, parts: Sequence[TablePart]) -> int:
    """An estimate: a page holds a few records, if these are large, and no more than its row group."""
    if not field.ragged:
        return max(PAGE_NBYTES, 4 * field.nbytes)
    most = max((int(part.stored.detail.unpacked.max(initial=0)) for part in parts), default=0)
    mean = sum(int(part.stored.detail.unpacked.sum()) for part in parts) / max(1, sum(part.records for part in parts))
    return max(PAGE_NBYTES, min(most, int(4 * mean)))


def _rewriting(path: str, record_nbytes: float) -> str:
    """The command that writes a file anew in row groups of some 64 MB, whatever it holds, in little memory."""
    size = 1 << max(1, int(REWRITTEN_NBYTES / max(1.0, record_nbytes))).bit_length() - 1
    new = f"{path.removesuffix('.parquet')}-small.parquet"
    return (
        f'python -c "import pyarrow.parquet as pq; f = pq.ParquetFile({path!r}); w = pq.ParquetWriter({new!r}, f.schema_arrow); '
        f'[w.write_batch(b) for b in f.iter_batches({size})]; w.close()"'
    )


def _refuse_oversized(facts: ParquetColumnInfo, field: Field, was: Fingerprint) -> None:
    """Raise for row groups that are too large to decode, or claim to be."""
    claimed = np.maximum(facts.groups * float(max(1, field.nbytes)), facts.unpacked.astype(np.float64))
    if len(claimed) and claimed.max() > LARGEST_GROUP_NBYTES:
        group = int(claimed.argmax())
        raise UnsupportedFeatureError(
            f"{was.path}: row group {group} of column '{facts.name}' has {int(facts.groups[group]):,} records, "
            f"{format_nbytes(float(claimed[group]))} decoded; the limit is {format_nbytes(LARGEST_GROUP_NBYTES)}.",
            hint=f"Rewrite it in smaller row groups: {_rewriting(was.path, float(claimed[group]) / max(1, int(facts.groups[group])))}",
            path=was.path,
            dataset=facts.name,
        )
