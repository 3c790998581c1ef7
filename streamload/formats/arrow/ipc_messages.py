"""The messages of an Arrow IPC file or stream: the schema, and where the buffers of each record batch lie in the file."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamload.formats.arrow.flatbuffers import FlatError, FlatTable, root
from streamload.formats.tables.table import read_exactly
from streamload.storage.files import OpenFiles

MAGIC = b"ARROW1"
CONTINUED = b"\xff\xff\xff\xff"
SCHEMA, DICTIONARIES, RECORDS = 1, 2, 3
V4, V5 = 3, 4
"""The versions of the format that messages say they have, since Arrow 0.8, and since Arrow 1.0."""
MESSAGE_NBYTES = 40
"""Of the message that is put before a table, to be its header."""
MOST_METADATA = 256 * 1024**2
"""Bytes of the metadata of one message."""
BLOCK = np.dtype({"names": ["offset", "metadata", "body"], "formats": ["<i8", "<i4", "<i8"], "offsets": [0, 8, 16], "itemsize": 24})
PAIR = np.dtype([("first", "<i8"), ("second", "<i8")])
CODECS = ("lz4", "zstd")
EARLY_CODEC = b"ARROW:experimental_compression"
"""Where version 0.17 said how buffers are packed: in what is said of a message besides, of version 4 of the format."""
ALIGNMENTS = (8, 16, 32, 64)
"""Bytes at whose multiples buffers begin: writers choose one of these."""


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
    unions: bool
    """Whether the buffers of unions can be told apart: they were others before version 5 of the format."""
    dictionaries: dict[int, list[tuple[BatchBuffers, bool]]]
    """By their identifiers: the batches of words, and whether each goes on where the one before ended."""
    again: bytes | None
    """The message of the schema once more, as the footer has it; None where there is no footer, or the schema is out of it."""

    def dictionary_of(self, numbers: Sequence[int]) -> list[tuple[BatchBuffers, bool]]:
        """The dictionary of a column, which has one: `numbers` are its own in the schema, and those of members of structs.

        Raises MessageError where it is not there, FlatError as the schema may.
        """
        header = root(self.schema[8:]).table(2)
        fields, encoding = header.tables(1) if header is not None else [], None
        for number in numbers:
            if number >= len(fields):
                raise MessageError(f"column {numbers[0]} has no member {number}")
            fields, encoding = fields[number].tables(5), fields[number].table(4)
        if encoding is None:
            raise MessageError(f"column {numbers[0]} has no dictionary")
        return self.dictionaries.get(encoding.number(0, "q"), [])


def read_contents(files: OpenFiles, number: int = 0) -> IpcContents:
    """The messages of a file or stream. Raises MessageError, or FlatError, where they are damaged or end too soon."""
    nbytes = files.fingerprints[number].nbytes
    head = bytes(read_exactly(files, number, 0, min(16, nbytes)))
    is_file = head.startswith(MAGIC)
    listed = _listed(files, number) if is_file else None
    # Some writers begin with another mark, or pad it, and leave it to the footer to say where messages are.
    by_footer = listed is not None and not begins_message(head[8:])
    found = _Found()
    if listed is not None and by_footer:
        found.schema, found.little = listed.schema, listed.little
        messages = listed.messages(files, number)
    else:
        messages = _messages(files, number, 8 if is_file else 0)
    for message in messages:
        found.add(message, nbytes)
    if found.schema is None:
        raise MessageError("there is no schema")
    if listed is not None:
        offsets, places = listed.batches["offset"].tolist(), {at: place for place, at in enumerate(found.seen)}
        if sorted(offsets) != found.seen:
            raise MessageError(f"its footer lists {len(listed.batches):,} record batches, and {len(found.seen):,} were found")
        # Their order is the footer's, wherever they lie.
        found.batches = [found.batches[places[at]] for at in offsets]
    return IpcContents(
        schema=found.schema,
        little=found.little,
        batches=found.batches,
        dictionaries=found.dictionaries,
        unions=found.version >= V5,
        again=None if listed is None or by_footer else listed.schema,
    )


class Message(NamedTuple):
    """One message: where it begins, its metadata, and where its body begins."""

    at: int
    metadata: bytes
    body: int


class _Found:
    """What the messages met so far say."""

    def __init__(self) -> None:
        self.schema: bytes | None = None
        self.little = True
        self.version = V5
        self.batches: list[BatchBuffers] = []
        self.dictionaries: dict[int, list[tuple[BatchBuffers, bool]]] = {}
        self.seen: list[int] = []

    def add(self, one: Message, nbytes: int) -> None:
        """Take in the next message of a file of so many bytes."""
        message = root(one.metadata)
        kind, header, claimed = message.number(1, "B"), message.table(2), message.number(3, "q")
        version = message.number(0, "h")
        if not V4 <= version <= V5:
            raise MessageError(f"the message at byte {one.at:,} is of version {version + 1} of the format, and 4 and 5 are read")
        self.version = min(self.version, version)
        if header is None or claimed < 0 or one.body + claimed > nbytes:
            raise MessageError(f"the message at byte {one.at:,} claims a body of {claimed:,} bytes, beyond the end of the file")
        if kind == SCHEMA and self.schema is None:
            self.schema, self.little = framed(one.metadata), header.number(0, "h") == 0
        elif kind == RECORDS and self.schema is not None:
            self.batches.append(_batch(header, one.body, claimed, _early_codec(message)))
            self.seen.append(one.at)
        elif kind == DICTIONARIES and (words := header.table(1)) is not None:
            found = _batch(words, one.body, claimed, _early_codec(message)), bool(header.number(2, "b"))
            self.dictionaries.setdefault(header.number(0, "q"), []).append(found)
        else:
            raise MessageError(f"the message at byte {one.at:,} is of no kind that is expected there ({kind})")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Listed:
    """What the footer of a file says."""

    schema: bytes
    little: bool
    dictionaries: NDArray[Any]
    """Blocks of messages, of the dtype BLOCK."""
    batches: NDArray[Any]

    def messages(self, files: OpenFiles, number: int) -> Iterator[Message]:
        """Dictionaries and record batches, in the order of the file."""
        blocks = np.concatenate([self.dictionaries, self.batches])
        blocks = blocks[np.argsort(blocks["offset"], kind="stable")]
        stop = 0
        for offset, metadata, body in blocks.tolist():
            if offset < stop or metadata < 8:
                raise MessageError(f"its footer lists a message at byte {offset:,}, within another one")
            found = _message(files, number, offset, marked=True)
            if found is None or found.body != offset + metadata or root(found.metadata).number(3, "q") != body:
                raise MessageError(f"at byte {offset:,} stands no message such as its footer lists there")
            stop = found.body + body
            yield found


def _listed(files: OpenFiles, number: int) -> _Listed:
    """The footer of a file."""
    nbytes = files.fingerprints[number].nbytes
    tail = bytes(read_exactly(files, number, max(0, nbytes - 10), min(10, nbytes)))
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or not 0 < length < min(nbytes - 18, MOST_METADATA):
        raise MessageError("it does not end as an Arrow file does: it is cut short, or still being written")
    data = bytes(read_exactly(files, number, nbytes - 10 - length, length))
    footer = root(data)
    schema = footer.table(1)
    if schema is None:
        raise MessageError("its footer has no schema")
    return _Listed(
        schema=framed(as_message(data, schema.at, SCHEMA)),
        little=schema.number(0, "h") == 0,
        dictionaries=footer.structures(2, BLOCK),
        batches=footer.structures(3, BLOCK),
    )


def framed(metadata: bytes) -> bytes:
    """The metadata of a message as it stands in a file: behind a mark and its length."""
    padded = metadata + bytes(-len(metadata) % 8)
    return CONTINUED + len(padded).to_bytes(4, "little") + padded


def as_message(data: bytes, at: int, kind: int) -> bytes:
    """A table that stands in other data, of which it is the table at byte `at`, as the header of a message of its own."""
    table, vtable = 16, struct.pack("<6H", 12, 24, 16, 18, 4, 8)
    header = MESSAGE_NBYTES + at - (table + 4)
    return struct.pack("<I", table) + vtable + struct.pack("<iIqhBxxxxx", table - 4, header, 0, V5, kind) + data


def begins_message(head: bytes) -> bool:
    """Whether bytes are the beginning of a message, with its mark, or, as versions before 0.15 wrote it, without."""
    if head.startswith(CONTINUED):
        return True
    length, table = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:8], "little")
    return 16 <= length <= MOST_METADATA and length % 4 == 0 and 4 <= table < length and table % 4 == 0


def is_schema(read: Callable[[int, int], bytes]) -> bool:
    """Whether a file begins with the message of a schema that has no mark; `read` gives bytes at (offset, how many)."""
    head = read(0, 16)
    if not begins_message(head):
        return False
    metadata = read(4, int.from_bytes(head[:4], "little"))
    try:
        message = root(metadata)
        header = message.table(2)
        if message.number(1, "B") != SCHEMA or header is None or message.number(3, "q") or not 0 <= message.number(0, "h") <= V5:
            return False
        return all(field.place(2) is not None or field.place(3) is not None for field in header.tables(1))
    except FlatError:
        return False


def _messages(files: OpenFiles, number: int, at: int) -> Iterator[Message]:
    """Each message up to the end mark."""
    marked = bytes(read_exactly(files, number, at, min(4, max(0, files.fingerprints[number].nbytes - at)))) == CONTINUED
    while (found := _message(files, number, at, marked=marked)) is not None:
        yield found
        at = found.body + root(found.metadata).number(3, "q")
        if at < found.body:
            raise MessageError("a message has a body of negative size")


def _message(files: OpenFiles, number: int, at: int, *, marked: bool) -> Message | None:
    """The message at a byte; None where the end mark stands there, which is shorter where messages are not `marked`."""
    nbytes = files.fingerprints[number].nbytes
    if at + 4 > nbytes:
        raise MessageError("it has no end mark: it is cut short, or still being written")
    head = bytes(read_exactly(files, number, at, min(16, nbytes - at)))
    if head[:4] == bytes(4) and not marked:
        return None
    if not begins_message(head):
        raise MessageError(f"at byte {at:,} stands no message")
    begin = at + 8 if head.startswith(CONTINUED) else at + 4
    if begin > nbytes:
        raise MessageError("it has no end mark: it is cut short, or still being written")
    length = int.from_bytes(head[begin - at - 4 : begin - at], "little")
    if not length:
        return None
    if length > min(MOST_METADATA, nbytes - begin):
        raise MessageError(f"the message at byte {at:,} is cut short")
    return Message(at, bytes(read_exactly(files, number, begin, length)), begin + length)


def _early_codec(message: FlatTable) -> str:
    """How buffers are packed as files of version 0.17 say it; "" where they say nothing."""
    pairs = message.tables(4) if message.number(0, "h") < V5 else []
    name = next((pair.text(1) for pair in pairs if pair.text(0) == EARLY_CODEC), b"")
    found = name.decode("ascii", "replace").lower().removesuffix("_frame")
    if found and found not in CODECS:
        raise MessageError(f"a record batch has an unknown codec, {found[:40]!r}")
    return found


def _batch(header: FlatTable, body: int, body_nbytes: int, codec: str) -> BatchBuffers:
    """A record batch whose body begins at a byte; `codec` is what is said of it besides."""
    nodes, buffers = header.structures(1, PAIR), header.structures(2, PAIR)
    records, offsets, nbytes = header.number(0, "q"), buffers["first"].astype(np.int64), buffers["second"].astype(np.int64)
    if records < 0 or (nodes["first"] < 0).any() or (nodes["second"] < 0).any() or (nodes["second"] > nodes["first"]).any():
        raise MessageError("a record batch claims negative lengths, or more nulls than records")
    ends = np.concatenate([[0], offsets + nbytes])
    begins = np.stack([-(-ends[:-1] // step) * step for step in ALIGNMENTS])
    if (nbytes < 0).any() or ends.max() > body_nbytes or not (offsets == begins).any(axis=0).all():
        raise MessageError("the buffers of a record batch do not lie one after the other in its body")
    compression = header.table(3)
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
