"""The messages of an Arrow IPC file or stream: the schema, and where the buffers of each record batch lie in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.formats.arrow.flatbuffers import FlatTable, root
from streamload.formats.table import read_exactly
from streamload.storage.files import OpenFiles

MAGIC = b"ARROW1"
CONTINUED = b"\xff\xff\xff\xff"
SCHEMA, DICTIONARIES, RECORDS = 1, 2, 3
MOST_METADATA = 256 * 1024**2
"""Bytes of the metadata of one message."""
BLOCK = np.dtype({"names": ["offset", "metadata", "body"], "formats": ["<i8", "<i4", "<i8"], "offsets": [0, 8, 16], "itemsize": 24})
PAIR = np.dtype([("first", "<i8"), ("second", "<i8")])
CODECS = ("lz4", "zstd")


class MessageError(ValueError):
    """Messages that contradict themselves."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchBuffers:
    """One record batch."""

    records: int
    lengths: NDArray[np.int64]
    """Of each array, parents before their children."""
    nulls: NDArray[np.int64]
    """In each of them."""
    offsets: NDArray[np.int64]
    """The byte in the file at which each buffer begins."""
    nbytes: NDArray[np.int64]
    """Of each buffer, as stored."""
    codec: str
    """Of the buffers: "" for none."""
    pieces: NDArray[np.int64]
    """How many more buffers each column of views has, in the order of the columns."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IpcContents:
    """What the messages of one file say."""

    schema: bytes
    """The message that describes the columns, as pyarrow reads it."""
    little: bool
    """Whether numbers are little-endian."""
    batches: list[BatchBuffers]
    dictionaries: dict[int, list[tuple[BatchBuffers, bool]]]
    """By their identifiers: the batches of words, and whether each goes on where the one before ended."""

    def dictionary_of(self, column: int) -> list[tuple[BatchBuffers, bool]]:
        """The dictionary of a column, which has one. Raises MessageError where it is not there, FlatError as the schema may."""
        header = root(self.schema[8:]).table(2)
        fields = header.tables(1) if header is not None else []
        encoding = fields[column].table(4) if column < len(fields) else None
        if encoding is None:
            raise MessageError(f"column {column} has no dictionary")
        return self.dictionaries.get(encoding.number(0, "q"), [])


def read_contents(files: OpenFiles, number: int = 0) -> IpcContents:
    """The messages of a file or stream. Raises MessageError, or FlatError, where they are damaged or end too soon."""
    nbytes = files.fingerprints[number].nbytes
    head = bytes(read_exactly(files, number, 0, min(8, nbytes)))
    is_file = head.startswith(MAGIC)
    places = _listed(files, number) if is_file else None
    schema: bytes | None = None
    little = True
    batches: list[BatchBuffers] = []
    dictionaries: dict[int, list[tuple[BatchBuffers, bool]]] = {}
    seen: list[int] = []
    for at, metadata, body, whole in _messages(files, number, 8 if is_file else 0):
        message = root(metadata)
        kind, header, claimed = message.number(1, "B"), message.table(2), message.number(3, "q")
        if header is None or claimed < 0 or body + claimed > nbytes:
            raise MessageError(f"the message at byte {at:,} claims a body of {claimed:,} bytes, beyond the end of the file")
        if kind == SCHEMA and schema is None:
            schema, little = whole, header.number(0, "h") == 0
        elif kind == RECORDS and schema is not None:
            batches.append(_batch(header, body, claimed))
            seen.append(at)
        elif kind == DICTIONARIES and (words := header.table(1)) is not None:
            dictionaries.setdefault(header.number(0, "q"), []).append((_batch(words, body, claimed), bool(header.number(2, "b"))))
        else:
            raise MessageError(f"the message at byte {at:,} is of no kind that is expected there ({kind})")
    if schema is None:
        raise MessageError("there is no schema")
    if places is not None and places != seen:
        raise MessageError(f"its footer lists {len(places):,} record batches, and {len(seen):,} were found")
    return IpcContents(schema=schema, little=little, batches=batches, dictionaries=dictionaries)


def _listed(files: OpenFiles, number: int) -> list[int]:
    """Where the footer of a file says that its record batches begin."""
    nbytes = files.fingerprints[number].nbytes
    tail = bytes(read_exactly(files, number, max(0, nbytes - 10), min(10, nbytes)))
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or not 0 < length < min(nbytes - 18, MOST_METADATA):
        raise MessageError("it does not end as an Arrow file does: it is cut short, or still being written")
    footer = root(bytes(read_exactly(files, number, nbytes - 10 - length, length)))
    return sorted(footer.structures(3, BLOCK)["offset"].tolist())


def _messages(files: OpenFiles, number: int, at: int) -> Iterator[tuple[int, bytes, int, bytes]]:
    """Each message up to the end mark: where it begins, its metadata, where its body begins, and it whole but for the body."""
    nbytes = files.fingerprints[number].nbytes
    while True:
        if at + 8 > nbytes:
            raise MessageError("it has no end mark: it is cut short, or still being written")
        head = bytes(read_exactly(files, number, at, 8))
        length = int.from_bytes(head[4:], "little")
        if head[:4] != CONTINUED:
            raise MessageError(f"at byte {at:,} stands no message")
        if not length:
            return
        if length > min(MOST_METADATA, nbytes - at - 8):
            raise MessageError(f"the message at byte {at:,} is cut short")
        metadata = bytes(read_exactly(files, number, at + 8, length))
        body = at + 8 + length
        yield at, metadata, body, head + metadata
        at = body + root(metadata).number(3, "q")
        if at < body:
            raise MessageError("a message has a body of negative size")


def _batch(header: FlatTable, body: int, body_nbytes: int) -> BatchBuffers:
    nodes, buffers = header.structures(1, PAIR), header.structures(2, PAIR)
    records, offsets, nbytes = header.number(0, "q"), buffers["first"].astype(np.int64), buffers["second"].astype(np.int64)
    if records < 0 or (nodes["first"] < 0).any() or (nodes["second"] < 0).any() or (nodes["second"] > nodes["first"]).any():
        raise MessageError("a record batch claims negative lengths, or more nulls than records")
    ends = np.concatenate([[0], offsets + nbytes])
    near, far = -(-ends[:-1] // 8) * 8, -(-ends[:-1] // 64) * 64
    if (nbytes < 0).any() or ends.max() > body_nbytes or not ((offsets == near) | (offsets == far)).all():
        raise MessageError("the buffers of a record batch do not lie one after the other in its body")
    compression = header.table(3)
    codec = ""
    if compression is not None:
        which = compression.number(0, "b")
        if not 0 <= which < len(CODECS):
            raise MessageError(f"a record batch has an unknown codec, {which}")
        codec = CODECS[which]
    return BatchBuffers(
        records=records,
        lengths=nodes["first"].astype(np.int64),
        nulls=nodes["second"].astype(np.int64),
        offsets=offsets + body,
        nbytes=nbytes,
        codec=codec,
        pieces=_pieces(header),
    )


def _pieces(header: FlatTable) -> NDArray[np.int64]:
    found = header.structures(4, np.dtype("<i8")).astype(np.int64)
    if len(found) and (int(found.min()) < 0 or int(found.max()) > len(header.data)):
        raise MessageError("a record batch claims an impossible number of buffers")
    return found
