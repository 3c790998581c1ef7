"""What footers say: the columns of a file as fields, and where their chunks lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError, UnsupportedFeatureError
from streamload.files import Fingerprint, fingerprint, recheck
from streamload.formats import arrow_values
from streamload.formats.arrow_values import AsideError, RefusedError, Values
from streamload.formats.parquet.access import FAILURES, open_file, unreadable
from streamload.formats.parquet.footer import Footer, read_footer
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
    offsets: NDArray[np.int64]
    """The byte at which the column begins in each row group."""
    nbytes: NDArray[np.int64]
    """Stored bytes of the column in each row group."""
    unpacked: NDArray[np.int64]
    """The same, uncompressed, as the footer claims."""
    counts: NDArray[np.int64]
    """Values of the column in each row group: more than records where they are lists."""
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


def _table(file: Any, footer: Footer, was: Fingerprint, path: str, wanted: frozenset[str] | None, shapes: Shapes) -> Table:
    schema = file.schema_arrow
    names = [field.name for field in schema]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise UnsupportedFeatureError(f"{path} holds two columns called '{twice}'.", hint="Rename one of them.", path=path, dataset=twice)
    numbers: dict[str, list[int]] = {}
    for number, leaf in enumerate(footer.leaves):
        numbers.setdefault(leaf.path[0], []).append(number)
    classes = arrow_values.classes_in(schema)
    columns: dict[str, Stored] = {}
    aside: dict[str, str] = {}
    refused: dict[str, str] = {}
    for field in schema:
        if wanted is not None and field.name not in wanted:
            aside[field.name] = "was not asked for"
            continue
        try:
            _refuse_encrypted(footer, numbers.get(field.name, []))
            values = arrow_values.values_of(field, shapes.get(field.name))
            if None in values.lists:
                values = _looked_up(file, field.name, values)
            facts = _facts(footer, numbers.get(field.name, []), field.name, values)
        except RefusedError as error:
            refused[field.name] = error.why
        except AsideError as error:
            aside[field.name] = error.why
        else:
            kind = f"{field.type}" if not values.shape or values.plain else f"{field.type} as {values.dtype} {values.shape}"
            columns[field.name] = Stored(
                dtype=values.dtype.newbyteorder("="),
                shape=values.shape,
                kind=kind,
                detail=facts,
                classes=classes.get(field.name, ()),
                note=arrow_values.note_of(field),
            )
    return Table(path=path, fingerprint=was, records=footer.records, columns=columns, aside=aside, refused=refused)


def _refuse_encrypted(footer: Footer, numbers: Sequence[int]) -> None:
    if any(chunks[number].encrypted for _, chunks in footer.groups for number in numbers):
        raise RefusedError("is encrypted")


def _facts(footer: Footer, numbers: Sequence[int], name: str, values: Values) -> Facts:
    if len(numbers) != 1:
        raise AsideError(f"is stored as {len(numbers)} columns")
    leaf = footer.leaves[numbers[0]]
    physical, value_nbytes = ("FIXED_LEN_BYTE_ARRAY", values.binary) if values.binary else PHYSICAL.get(values.raw, ("", 0))
    length = leaf.length if physical == "FIXED_LEN_BYTE_ARRAY" else value_nbytes
    raw = values.plain and leaf.physical == physical and length == value_nbytes > 0
    raw = raw and leaf.repetition_levels == 0 and leaf.definition_levels <= 1
    found = [(rows, chunks[numbers[0]]) for rows, chunks in footer.groups]
    raw = raw and all(chunk.codec == "uncompressed" and not chunk.dictionary and chunk.values == rows for rows, chunk in found)
    return Facts(
        name=name,
        values=values,
        groups=np.array([rows for rows, _ in found], np.int64),
        offsets=np.array([chunk.offset for _, chunk in found], np.int64),
        counts=np.array([chunk.values for _, chunk in found], np.int64),
        nbytes=np.array([chunk.nbytes for _, chunk in found], np.int64),
        unpacked=np.array([chunk.unpacked for _, chunk in found], np.int64),
        chunks=[ColumnChunk(offset=chunk.offset, nbytes=chunk.nbytes, rows=rows) for rows, chunk in found if rows] if raw else None,
        value_nbytes=value_nbytes,
        optional=leaf.definition_levels == 1,
        codec=" or ".join(dict.fromkeys(chunk.codec for _, chunk in found)),
    )


def _looked_up(file: Any, name: str, values: Values) -> Values:
    """Values whose lists have the lengths that the first records show."""
    for batch in file.iter_batches(batch_size=16, columns=[name], use_threads=False):
        column = batch.column(batch.schema.get_field_index(name))
        lengths = arrow_values.lengths_in(column, values)
        if lengths is not None:
            return arrow_values.with_lengths(values, lengths, name)
    return arrow_values.with_lengths(values, tuple(length or 0 for length in values.lists), name)
