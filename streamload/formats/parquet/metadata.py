"""What footers say: the columns of a file as fields, and where their chunks lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError, UnsupportedFeatureError
from streamload.formats.arrow_types import annotations, element_types, ragged_types
from streamload.formats.arrow_types.element_types import ArrowValues, SkippedColumnError, UnsupportedColumnError
from streamload.formats.arrow_types.list_lengths import ListLengths
from streamload.formats.arrow_types.ragged_types import RaggedValues
from streamload.formats.arrow_types.schema_columns import TableColumn, columns_in, duplicate_in, member_at
from streamload.formats.parquet.compressed_page_index import PACKINGS
from streamload.formats.parquet.footer import Chunk, Footer, Leaf, read_footer
from streamload.formats.parquet.page_headers import ColumnChunk
from streamload.formats.parquet.pyarrow_file import FAILURES, open_file, unreadable
from streamload.formats.parquet.row_groups import RowGroupFile
from streamload.formats.tables.fields import FileColumn, Table, WantedColumns
from streamload.formats.tables.nulls import NullCounts
from streamload.images.spark import HEADER
from streamload.schema import ARRAY
from streamload.storage.files import Fingerprint, fingerprint, recheck

PHYSICAL = {
    **dict.fromkeys(("int8", "uint8", "int16", "uint16", "int32", "uint32"), ("INT32", 4)),
    **dict.fromkeys(("int64", "uint64"), ("INT64", 8)),
    "float": ("FLOAT", 4),
    "double": ("DOUBLE", 8),
    "halffloat": ("FIXED_LEN_BYTE_ARRAY", 2),
}
"""How Parquet stores a number of each Arrow type: its physical type, and bytes of a value."""

AS_THEY_ARE, DELTA_LENGTH = frozenset((0, 3, 4)), 6
"""Encodings: plain, and those of levels; and the one in which lengths stand apart from the strings."""

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParquetColumnInfo:
    """What the footer of one file says of one column."""

    name: str
    field: Any
    """As pyarrow has it."""
    values: ArrowValues | RaggedValues
    """With None for the lengths of lists, as long as nobody has looked."""
    path: tuple[str, ...]
    """Its name, and those of the members that lead to it where it is one."""
    leaf: str
    """What of it is read, as pyarrow names it."""
    dictionary: bool
    """Whether values may stand in a dictionary, each once for many records."""
    groups: NDArray[np.int64]
    """Records of each row group."""
    offsets: NDArray[np.int64]
    """The byte at which the column begins in each row group."""
    nbytes: NDArray[np.int64]
    """Stored bytes of the column in each row group."""
    unpacked: NDArray[np.int64]
    """The same, uncompressed, as the footer claims."""
    counts: NDArray[np.int64]
    """Values of the column in each row group: more than records where they are lists."""
    compressed: NDArray[np.bool_]
    """Whether its pages are, in each row group."""
    chunks: list[ColumnChunk] | None
    """Where its pages lie, if they may be raw."""
    packed: list[ColumnChunk] | None
    """The same, if values are side by side in pages once these are unpacked, or once, in a dictionary; and there are no nulls."""
    value_nbytes: int
    """Of a raw value, as stored."""
    optional: bool
    """Whether raw values have definition levels."""
    nulls: NullCounts
    plain: bool
    """Whether each value stands in its pages as it is, behind its length."""
    text_nbytes: NDArray[np.int64]
    """Bytes of all strings in each row group, or no more than these; -1 where the footer does not say it."""
    codec: str
    """For people."""


def read_metadata(path: str, wanted: WantedColumns, shapes: Shapes) -> Table:
    """The columns of a file: all of them, or those wanted."""
    was = fingerprint(path)
    try:
        footer = read_footer(was, path)
        with open_file(was.path) as file:
            table = _table(file, footer, was, path, wanted, shapes)
    except FAILURES as error:
        if isinstance(error, StreamloadError):
            raise
        recheck(was)
        raise unreadable(path, error) from error
    recheck(was)
    return table


def _table(file: Any, footer: Footer, was: Fingerprint, path: str, wanted: WantedColumns, shapes: Shapes) -> Table:
    schema = file.schema_arrow
    twice = duplicate_in([column.key for column in columns_in(schema)])
    if twice is not None:
        raise UnsupportedFeatureError(f"{path} holds two columns called '{twice}'.", hint="Rename one of them.", path=path, dataset=twice)
    numbers: dict[str, list[int]] = {}
    for number, leaf in enumerate(footer.leaves):
        numbers.setdefault(leaf.path[0], []).append(number)
    classes, said = annotations.classes_in(schema), annotations.attributes_in(schema)
    columns: dict[str, FileColumn] = {}
    aside: dict[str, str] = {}
    refused: dict[str, str] = {}
    for column in columns_in(schema):
        key = column.key
        if key not in wanted:
            aside[key] = "was not asked for"
            continue
        own = [number for number in numbers.get(column.path[0], []) if footer.leaves[number].path[: len(column.path)] == column.path]
        try:
            _refuse_encrypted(footer, own)
            facts = _facts(footer, own, column, _values(file, column, shapes.get(key)))
        except UnsupportedColumnError as error:
            refused[key] = error.why
        except SkippedColumnError as error:
            aside[key] = error.why
        else:
            columns[key] = replace(stored_of(facts, footer.records, classes.get(key, ())), attributes=said.get(key, {}))
    return Table(path=path, fingerprint=was, records=footer.records, columns=columns, aside=aside, refused=refused)


def _refuse_encrypted(footer: Footer, numbers: Sequence[int]) -> None:
    if any(chunks[number].encrypted for _, chunks in footer.groups for number in numbers):
        raise UnsupportedColumnError("is encrypted")


def _values(file: Any, column: TableColumn, shape: Any) -> ArrowValues | RaggedValues:
    """How a column becomes a field, as far as its type says it, and the shape that the user gave."""
    field = column.field
    ragged = ragged_types.ragged_of(field, shape)
    if ragged is not None:
        return ragged
    values = element_types.values_of(field, shape)
    return values if None not in values.lists or shape is None else _looked_up(file, column, values)


def stored_of(facts: ParquetColumnInfo, records: int, classes: tuple[str, ...] = ()) -> FileColumn:
    """The column as a field of records."""
    values, field = facts.values, facts.field
    dtype, note = values.dtype.newbyteorder("="), element_types.note_of(field)
    if isinstance(values, RaggedValues):
        elements = facts.counts.sum() if values.ragged == ARRAY else facts.unpacked.sum() - 4 * facts.counts.sum()
        mean = max(0.0, float(elements) / max(1, records) / max(1, math.prod(values.shape)))
        return FileColumn(
            dtype=dtype,
            shape=values.shape,
            kind=f"{field.type}",
            detail=facts,
            ragged=values.ragged,
            mean=mean,
            note=note,
            nulls=facts.nulls,
        )
    kind = f"{field.type}" if not values.shape or values.plain else f"{field.type} as {values.dtype} {values.shape}"
    return FileColumn(dtype=dtype, shape=values.shape, kind=kind, detail=facts, classes=classes, note=note, nulls=facts.nulls)


def _facts(footer: Footer, numbers: Sequence[int], column: TableColumn, values: ArrowValues | RaggedValues) -> ParquetColumnInfo:
    if isinstance(values, RaggedValues) and values.member:
        numbers = [number for number in numbers if footer.leaves[number].path == (*column.path, values.member)]
    if len(numbers) != 1:
        raise SkippedColumnError(f"is stored as {len(numbers)} columns")
    leaf = footer.leaves[numbers[0]]
    if isinstance(values, RaggedValues):
        return _chunks_of(footer, numbers[0], column, values)
    physical, value_nbytes = ("FIXED_LEN_BYTE_ARRAY", values.binary) if values.binary else PHYSICAL.get(values.raw, ("", 0))
    length = leaf.length if physical == "FIXED_LEN_BYTE_ARRAY" else value_nbytes
    raw = values.plain and leaf.physical == physical and length == value_nbytes > 0
    raw = raw and leaf.repetition_levels == 0 and leaf.definition_levels <= 1
    found = [(rows, chunks[numbers[0]]) for rows, chunks in footer.groups]
    raw = raw and all(chunk.codec == "uncompressed" and not chunk.dictionary and chunk.values == rows for rows, chunk in found)
    packed = values.plain and leaf.physical == physical and length == value_nbytes > 0 and leaf.repetition_levels == 0
    packed = (
        packed
        and leaf.definition_levels <= 1
        and all(
            chunk.codec in PACKINGS and chunk.values == rows and (not leaf.definition_levels or chunk.nulls == 0) for rows, chunk in found
        )
    )
    return _chunks_of(footer, numbers[0], column, values, raw=raw, packed=packed, value_nbytes=value_nbytes)


def _chunks_of(
    footer: Footer,
    number: int,
    column: TableColumn,
    values: ArrowValues | RaggedValues,
    *,
    raw: bool = False,
    packed: bool = False,
    value_nbytes: int = 0,
) -> ParquetColumnInfo:
    header = HEADER.size if isinstance(values, RaggedValues) and values.spark else 0
    leaf, found = footer.leaves[number], [(rows, chunks[number]) for rows, chunks in footer.groups]
    places = [ColumnChunk(offset=chunk.offset, nbytes=chunk.nbytes, rows=rows, codec=chunk.codec) for rows, chunk in found if rows]
    return ParquetColumnInfo(
        name=column.key,
        field=column.field,
        path=column.path,
        values=values,
        leaf=".".join(
            (*column.path, values.member) if isinstance(values, RaggedValues) and not values.spark and values.member else column.path
        ),
        dictionary=any(chunk.dictionary for _, chunk in found),
        groups=np.array([rows for rows, _ in found], np.int64),
        offsets=np.array([chunk.offset for _, chunk in found], np.int64),
        counts=np.array([chunk.values for _, chunk in found], np.int64),
        compressed=np.array([chunk.codec != "uncompressed" for _, chunk in found], bool),
        nbytes=np.array([chunk.nbytes for _, chunk in found], np.int64),
        unpacked=np.array([chunk.unpacked + header * chunk.values for _, chunk in found], np.int64),
        chunks=places if raw else None,
        packed=places if packed else None,
        value_nbytes=value_nbytes,
        optional=leaf.definition_levels == 1,
        nulls=_nulls(leaf, [chunk for _, chunk in found]),
        plain=all(set(chunk.encodings) <= AS_THEY_ARE for _, chunk in found),
        text_nbytes=np.array([_text_nbytes(chunk, header) for _, chunk in found], np.int64),
        codec=" or ".join(dict.fromkeys(chunk.codec for _, chunk in found)),
    )


def _looked_up(file: Any, column: TableColumn, values: ArrowValues) -> ArrowValues:
    """Values whose lists have the lengths that the first records show: the user says that all have these."""
    lengths, top = ListLengths.nothing(len(values.lists)), column.path[0]
    for batch in file.iter_batches(batch_size=16, columns=[".".join(column.path)], use_threads=False):
        array = member_at(batch.column(batch.schema.get_field_index(top)), column.path[1:])
        lengths |= ListLengths.of(array.slice(0, 1), len(values.lists))
        if all(lengths.met):
            break
    return element_types.with_lengths(values, lengths.known, column.key)


def _text_nbytes(chunk: Chunk, header: int) -> int:
    """Bytes of all strings in a row group as its statistics count them, or all that is in its pages, if no more can come of that."""
    if chunk.text_nbytes is not None:
        return chunk.text_nbytes + header * chunk.values
    known = not chunk.dictionary and set(chunk.encodings) <= AS_THEY_ARE | {DELTA_LENGTH}
    return chunk.unpacked + header * chunk.values if known else -1


def _nulls(leaf: Leaf, chunks: Sequence[Chunk]) -> NullCounts:
    """Nulls as the footer counts them: of lists, which may be empty as well, it can say only that there are none."""
    if not leaf.definition_levels:
        return NullCounts()
    counts = [chunk.nulls for chunk in chunks]
    total = None if None in counts else sum(count or 0 for count in counts)
    if leaf.repetition_levels:
        return NullCounts() if total == 0 else NullCounts(None, None, some=total is not None)
    return NullCounts(total, 0)


def group_file(facts: ParquetColumnInfo, number: int) -> RowGroupFile:
    """Where the column lies in the row groups of a file, which has this number among the source's."""
    return RowGroupFile(
        number=number,
        groups=facts.groups,
        offsets=facts.offsets,
        nbytes=facts.nbytes,
        unpacked=facts.unpacked,
        counts=facts.counts,
        compressed=facts.compressed,
        path=facts.path,
        leaf=facts.leaf,
        values=facts.values,
    )
