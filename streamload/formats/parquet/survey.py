"""What footers say: the columns of a file as fields, and where their chunks lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError, UnsupportedFeatureError
from streamload.files import Fingerprint, fingerprint, recheck
from streamload.formats import arrow_values
from streamload.formats.arrow_values import AsideError, NullFoundError, RefusedError, UnequalError, Values
from streamload.formats.parquet.access import FAILURES, open_file, unreadable
from streamload.formats.parquet.pages import ColumnChunk
from streamload.formats.tables import Stored, Table

PHYSICAL = {
    **dict.fromkeys(("int8", "uint8", "int16", "uint16", "int32", "uint32"), ("INT32", 4)),
    **dict.fromkeys(("int64", "uint64"), ("INT64", 8)),
    "float": ("FLOAT", 4),
    "double": ("DOUBLE", 8),
    "halffloat": ("FIXED_LEN_BYTE_ARRAY", 2),
}
"""How Parquet stores a number of each Arrow type: its physical type, and bytes of a value."""

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Facts:
    """What the footer of one file says of one column."""

    name: str
    values: Values
    groups: NDArray[np.int64]
    """Records of each row group."""
    nbytes: NDArray[np.int64]
    """Stored bytes of the column in each row group."""
    unpacked: NDArray[np.int64]
    """The same, uncompressed, as the footer claims."""
    chunks: list[ColumnChunk] | None
    """Where its pages lie, if they may be raw."""
    value_nbytes: int
    """Of a raw value, as stored."""
    optional: bool
    """Whether raw values have definition levels."""
    codec: str
    """For people."""


def survey(path: str, wanted: frozenset[str] | None, shapes: Shapes) -> Table:
    """The columns of a file: all of them, or those wanted."""
    was = fingerprint(path)
    _refuse_encrypted(was, path)
    try:
        with open_file(was.path) as file:
            table = _table(file, was, path, wanted, shapes)
    except FAILURES as error:
        if isinstance(error, (ConfigError, CorruptDataError, UnsupportedFeatureError)):
            raise
        recheck(was)
        raise unreadable(path, error) from error
    recheck(was)
    return table


def _refuse_encrypted(was: Fingerprint, path: str) -> None:
    with open(was.path, "rb") as file:
        file.seek(-4, 2)
        tail = file.read(4)
    if tail == b"PARE":
        raise UnsupportedFeatureError(f"{path} is encrypted.", hint="Decrypt it first; keys are never asked for.", path=path)
    if tail != b"PAR1":
        raise CorruptDataError(
            f"{path} ({was.nbytes:,} bytes) begins as a Parquet file and does not end as one: it is cut short, or still being written.",
            hint="Fetch or write it again.",
            path=path,
        )


def _table(file: Any, was: Fingerprint, path: str, wanted: frozenset[str] | None, shapes: Shapes) -> Table:
    schema, metadata = file.schema_arrow, file.metadata
    names = [field.name for field in schema]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise UnsupportedFeatureError(f"{path} holds two columns called '{twice}'.", hint="Rename one of them.", path=path, dataset=twice)
    groups = np.array([metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)], np.int64)
    records = metadata.num_rows
    if (groups < 0).any() or int(groups.sum()) != records:
        raise CorruptDataError(
            f"{path}: its footer claims {records:,} records, and its row groups hold {int(groups.sum()):,}.",
            hint="The file is damaged; write it again.",
            path=path,
        )
    leaves = _leaves(metadata)
    columns: dict[str, Stored] = {}
    aside: dict[str, str] = {}
    refused: dict[str, str] = {}
    for field in schema:
        if wanted is not None and field.name not in wanted:
            aside[field.name] = "was not asked for"
            continue
        try:
            values = arrow_values.values_of(field, shapes.get(field.name))
            if None in values.lists:
                values = _looked_up(file, path, field.name, values)
            facts = _facts(metadata, leaves, field.name, values, groups)
        except RefusedError as error:
            refused[field.name] = error.why
        except AsideError as error:
            aside[field.name] = error.why
        else:
            kind = f"{field.type}" if not values.shape or values.plain else f"{field.type} as {values.dtype} {values.shape}"
            columns[field.name] = Stored(dtype=values.dtype.newbyteorder("="), shape=values.shape, kind=kind, detail=facts)
    return Table(path=path, fingerprint=was, records=records, columns=columns, aside=aside, refused=refused)


def _leaves(metadata: Any) -> dict[str, list[int]]:
    """Numbers of the stored columns below each column of the schema."""
    found: dict[str, list[int]] = {}
    for number in range(metadata.num_columns):
        path = metadata.schema.column(number).path
        found.setdefault(path, []).append(number)
        while "." in path:
            path = path.rpartition(".")[0]
            found.setdefault(path, []).append(number)
    return found


def _facts(metadata: Any, leaves: Mapping[str, list[int]], name: str, values: Values, groups: NDArray[np.int64]) -> Facts:
    numbers = leaves.get(name, [])
    if len(numbers) != 1:
        raise AsideError(f"is stored as {len(numbers)} columns")
    stored = metadata.schema.column(numbers[0])
    physical, value_nbytes = ("FIXED_LEN_BYTE_ARRAY", values.binary) if values.binary else PHYSICAL.get(values.raw, ("", 0))
    length = stored.length if physical == "FIXED_LEN_BYTE_ARRAY" else value_nbytes
    raw = values.plain and stored.physical_type == physical and length == value_nbytes > 0
    raw = raw and stored.max_repetition_level == 0 and stored.max_definition_level <= 1
    nbytes, unpacked, chunks = np.zeros(len(groups), np.int64), np.zeros(len(groups), np.int64), []
    codec = ""
    for group, rows in enumerate(groups.tolist()):
        chunk = metadata.row_group(group).column(numbers[0])
        if chunk.file_path:
            raise AsideError(f"lies in another file, {chunk.file_path}")
        codec = chunk.compression
        nbytes[group], unpacked[group] = chunk.total_compressed_size, chunk.total_uncompressed_size
        raw = raw and codec == "UNCOMPRESSED" and not chunk.has_dictionary_page and chunk.num_values == rows
        if raw and rows:
            chunks.append(ColumnChunk(offset=chunk.data_page_offset, nbytes=chunk.total_compressed_size, rows=rows))
    return Facts(
        name=name,
        values=values,
        groups=groups,
        nbytes=nbytes,
        unpacked=unpacked,
        chunks=chunks if raw else None,
        value_nbytes=value_nbytes,
        optional=stored.max_definition_level == 1,
        codec=codec.lower(),
    )


def _looked_up(file: Any, path: str, name: str, values: Values) -> Values:
    """Values whose lists have the lengths that the first records show."""
    for batch in file.iter_batches(batch_size=16, columns=[name], use_threads=False):
        column = batch.column(batch.schema.get_field_index(name))
        lengths = arrow_values.lengths_in(column, values)
        if lengths is not None:
            return arrow_values.with_lengths(values, lengths, name)
    return arrow_values.with_lengths(values, tuple(length or 0 for length in values.lists), name)


def wrong_value(path: str, column: str, first: int, error: NullFoundError | UnequalError) -> CorruptDataError:
    """The error for a null, or a list of another length; `first` is the record at which the array at hand begins."""
    from streamload.errors import SchemaMismatchError

    record = first + error.row
    details: dict[str, Any] = {"path": path, "dataset": column, "records": (record, record + 1)}
    if isinstance(error, NullFoundError):
        return CorruptDataError(
            f"{path}: null at row {record:,} of column '{column}'.",
            hint=f"Say what stands for it: fill={{{column!r}: 0}}; or leave the record out when you write the file.",
            **details,
        )
    return SchemaMismatchError(  # pyright: ignore[reportReturnType]
        f"{path}: row {record:,} of column '{column}' holds {error.length:,} values where {error.expected:,} are expected.",
        hint="Records of a field have one shape: pad them, or leave the column out with fields=[...].",
        **details,
    )
