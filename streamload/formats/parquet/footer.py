"""The footer of a file, read and checked by ourselves: pyarrow aborts the process on some that contradict themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamload.errors import UnsupportedFeatureError, damaged
from streamload.formats.parquet.thrift import ThriftError, read_struct
from streamload.storage.files import Fingerprint, regular_file

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
MOST_NBYTES = 1024**3
"""Of a footer."""
TYPES = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
CODECS = ("uncompressed", "snappy", "gzip", "lzo", "brotli", "lz4", "zstd", "lz4 raw")
REQUIRED, OPTIONAL, REPEATED = range(3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """A column as it is stored."""

    path: tuple[str, ...]
    """Names from the top of the schema down."""
    physical: str
    """Its type: "INT32"."""
    length: int
    """Bytes of a value of fixed length, else 0."""
    definition_levels: int
    """The highest: how many of the names on the way are optional or repeated."""
    repetition_levels: int
    """The highest: how many of them are repeated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """One stored column in one row group."""

    codec: str
    values: int
    """Nulls included."""
    nbytes: int
    """Stored, page headers included."""
    unpacked: int
    """The same uncompressed, as the footer claims."""
    offset: int
    """Of the first page."""
    dictionary: bool
    """Whether this is a page of a dictionary."""
    encrypted: bool
    nulls: int | None = None
    """How many there are, where statistics say so."""
    encodings: tuple[int, ...] = ()
    """Of its pages, dictionaries included."""
    text_nbytes: int | None = None
    """Of all strings of bytes in it, without their lengths, where statistics say so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footer:
    """What the footer says, once it was found to agree with itself."""

    records: int
    leaves: tuple[Leaf, ...]
    groups: tuple[tuple[int, tuple[Chunk, ...]], ...]
    """Of each row group: its records, and its columns in the order of `leaves`."""


class FooterError(ValueError):
    """A footer that contradicts itself."""


def read_footer(was: Fingerprint, path: str) -> Footer:
    """The footer of a file. Raises CorruptDataError for one that is damaged, UnsupportedFeatureError for one that is encrypted."""
    with open(was.path, "rb", opener=regular_file) as file:
        file.seek(max(0, was.nbytes - 8))
        tail = file.read(8)
        if tail[4:] == ENCRYPTED:
            raise UnsupportedFeatureError(f"{path} is encrypted.", hint="Decrypt it first; keys are never asked for.", path=path)
        if tail[4:] != MAGIC or was.nbytes < 12:
            raise damaged(
                f"{path} ({was.nbytes:,} bytes) begins as a Parquet file and does not end as one: it is cut short, or still being written.",
                path=path,
            )
        nbytes = int.from_bytes(tail[:4], "little")
        try:
            if nbytes > min(was.nbytes - 12, MOST_NBYTES):
                raise FooterError(f"it claims {nbytes:,} bytes of a file of {was.nbytes:,}")
            file.seek(-8 - nbytes, os.SEEK_END)
            said, _ = read_struct(file.read(nbytes))
            return _checked(said, was.nbytes)
        except (FooterError, ThriftError, UnicodeDecodeError) as error:
            raise damaged(f"{path} has a footer that cannot be read: {error}.", path=path) from error


def _checked(said: dict[int, Any], file_nbytes: int) -> Footer:
    elements, groups = said.get(2), said.get(4, [])
    if not isinstance(elements, list) or not isinstance(groups, list) or not all(isinstance(one, dict) for one in (*elements, *groups)):
        raise FooterError("it has no schema")
    leaves: list[Leaf] = []
    stop = _walk(elements, 0, (), 0, 0, leaves)
    if stop != len(elements):
        raise FooterError(f"its schema has {len(elements):,} elements, of which {stop:,} hang together")
    records = _count(said, 3, "the number of records")
    found = tuple((_count(group, 3, "the records of a row group"), _chunks(group, leaves, file_nbytes)) for group in groups)
    if sum(rows for rows, _ in found) != records:
        raise FooterError(f"it claims {records:,} records, and its row groups hold {sum(rows for rows, _ in found):,}")
    return Footer(records=records, leaves=tuple(leaves), groups=found)


def _walk(elements: Sequence[dict[int, Any]], at: int, above: tuple[str, ...], defined: int, repeated: int, leaves: list[Leaf]) -> int:
    """Collect the leaves below the element `at`; returns the element after them."""
    if at >= len(elements) or len(above) > 64:
        raise FooterError("its schema ends too soon, or is nested too deeply")
    element = elements[at]
    name, children, how = element.get(4), element.get(5), element.get(3, REQUIRED)
    if not isinstance(name, bytes) or how not in (REQUIRED, OPTIONAL, REPEATED):
        raise FooterError(f"element {at} of its schema has no name, or no known repetition")
    if at:
        above = (*above, name.decode())
        defined, repeated = defined + (how != REQUIRED), repeated + (how == REPEATED)
    if children or not at:
        count = _count(element, 5, "the children of an element")
        at += 1
        for _ in range(count):
            at = _walk(elements, at, above, defined, repeated, leaves)
        return at
    kind, length = element.get(1), element.get(2, 0)
    if type(kind) is not int or not 0 <= kind < len(TYPES) or type(length) is not int or length < 0:
        raise FooterError(f"column {'.'.join(above)!r} has no known type")
    length = length if TYPES[kind] == "FIXED_LEN_BYTE_ARRAY" else 0
    leaves.append(Leaf(path=above, physical=TYPES[kind], length=length, definition_levels=defined, repetition_levels=repeated))
    return at + 1


def _chunks(group: dict[int, Any], leaves: Sequence[Leaf], file_nbytes: int) -> tuple[Chunk, ...]:
    columns = group.get(1)
    if not isinstance(columns, list) or len(columns) != len(leaves) or not all(isinstance(one, dict) for one in columns):
        raise FooterError(f"a row group does not have the {len(leaves):,} columns of the schema")
    return tuple(_chunk(column, leaf, file_nbytes) for column, leaf in zip(columns, leaves, strict=True))


def _chunk(column: dict[int, Any], leaf: Leaf, file_nbytes: int) -> Chunk:
    said, name = column.get(3), ".".join(leaf.path)
    encrypted = 8 in column
    if column.get(1):
        raise FooterError(f"column {name!r} lies in another file")
    if not isinstance(said, dict):
        if encrypted:
            return Chunk(codec="", values=0, nbytes=0, unpacked=0, offset=0, dictionary=False, encrypted=True)
        raise FooterError(f"column {name!r} is not described")
    kind, codec, path = said.get(1), said.get(4), said.get(3)
    if type(kind) is not int or not 0 <= kind < len(TYPES) or TYPES[kind] != leaf.physical:
        raise FooterError(f"column {name!r} is {leaf.physical} in the schema and of type {kind} in a row group")
    if not isinstance(path, list) or [part.decode() if isinstance(part, bytes) else "" for part in path] != list(leaf.path):
        raise FooterError(f"a row group has another column where the schema has {name!r}")
    if type(codec) is not int or not 0 <= codec < len(CODECS):
        raise FooterError(f"column {name!r} has an unknown codec, {codec}")
    data, dictionary = _count(said, 9, "the offset of a page"), said.get(11)
    first = dictionary if type(dictionary) is int and 0 < dictionary < data else data
    nbytes, values = _count(said, 7, "the bytes of a column"), _count(said, 5, "the values of a column")
    encodings = said.get(2)
    unpacked = said.get(6)  # Some writers count it in their own way, so nothing is refused for it.
    if nbytes and values and (first < 4 or first + nbytes > file_nbytes):
        raise FooterError(f"column {name!r} lies at bytes {first:,} to {first + nbytes:,} of a file of {file_nbytes:,}")
    return Chunk(
        codec=CODECS[codec],
        values=values,
        nbytes=nbytes,
        unpacked=unpacked if type(unpacked) is int and 0 <= unpacked < 2**62 else nbytes,
        offset=first,
        dictionary=first != data,
        encrypted=encrypted,
        nulls=_number(said.get(12), 3),
        encodings=tuple(one for one in encodings if type(one) is int) if isinstance(encodings, list) else (),
        text_nbytes=_number(said.get(16), 1),
    )


def _number(statistics: Any, field: int) -> int | None:
    """What statistics say, if they are there, and say it."""
    found = statistics.get(field) if isinstance(statistics, dict) else None
    return found if type(found) is int and found >= 0 else None


def _count(fields: dict[int, Any], number: int, what: str) -> int:
    value = fields.get(number)
    if type(value) is not int or not 0 <= value < 2**62:
        raise FooterError(f"{what} is given as {value!r}")
    return value
