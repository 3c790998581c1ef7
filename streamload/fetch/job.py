"""Everything that a worker must know, said once: pickled into shared memory, its arrays out of band, mapped by all."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.fetch.unpicklable import part_that_cannot_travel
from streamload.memory.shared_memory import SharedBlock, aligned
from streamload.memory.slots import SlotLayout
from streamload.order import BoundOrder, StepPiece
from streamload.schema import Field, Schema
from streamload.source import Column
from streamload.storage.files import Fingerprint
from streamload.transforms.augmentation import Augmentation
from streamload.transforms.collation import Collation

Transform = Callable[..., dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """One source of records as the work sees it: its fields, its files, and the orders in which it is read.

    A loader of one source has one stream of one lane.
    """

    columns: tuple[Column, ...]
    """The same fields, in the same order, in every stream of a job."""
    fingerprints: Sequence[Fingerprint]
    """Of the files that the columns count by number."""
    seed: int
    """Of whatever is drawn for its records."""
    lanes: tuple[BoundOrder, ...]
    """Orders that go side by side, each over records of its own."""
    own: range
    """The lanes that go by windows here, if their orders have windows. Records of the others are read by themselves: this process
    takes few of them, and another one decodes their blocks."""
    least: int
    """Windows of fewer positions are not decoded as a whole, and their records read by themselves: so a step touches few windows."""
    arena: ArenaLayout | None
    """Where decoded windows go; None where every record is read by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is to be done, whoever does it and however often."""

    streams: tuple[Stream, ...]
    """What steps are made of; their pieces name them by number."""
    layout: SlotLayout | None
    """Where in a slot things go; None while it is still to be found out what a transform returns."""
    transform: Transform | None
    workers: int
    """How many share the work; 1 for the calling process itself."""
    mapped: bool
    """Whether files may be mapped."""
    direct: bool
    """Whether large raw records are read past the page cache."""
    on_bad: str
    """What becomes of records that cannot be decoded: see `bad_records`."""
    fills: bool
    """Whether a record that is left out leaves a row that does not count, so that all ranks stay in step."""
    augmentation: Augmentation | None = None
    """What is done with records and batches before a function of the user's sees them."""
    batch_transform: Transform | None = None
    """A function of whole batches, which comes after that."""
    known: Schema | None = None
    """The fields of a record once it has been transformed; None while that is still to be found out."""
    made: Schema | None = None
    """The fields of a batch once it has been transformed, where there is a function of batches."""
    collation: Collation | None = None
    """What becomes of its ragged fields in the end."""

    @property
    def batched(self) -> Schema:
        """The fields of a batch once it has been transformed: what is collated."""
        return self.transformed if self.made is None else self.made

    @property
    def augmented(self) -> Schema:
        """The fields of a record once it has been augmented."""
        return self.schema if self.augmentation is None else self.augmentation.schema

    @property
    def transformed(self) -> Schema:
        """The fields of a record once it has been augmented and transformed: what a batch transform is given."""
        return self.augmented if self.known is None else self.known

    @property
    def schema(self) -> Schema:
        """The fields of a record as they are stored: those of every stream."""
        return Schema(tuple(column.field for column in self.streams[0].columns))

    @property
    def fingerprints(self) -> Sequence[Fingerprint]:
        """Of all files, stream after stream."""
        if len(self.streams) == 1:
            return self.streams[0].fingerprints
        return tuple(fingerprint for stream in self.streams for fingerprint in stream.fingerprints)

    @property
    def parts(self) -> int:
        """Parts of the arena, over all streams: those of a stream follow on those of the stream before it."""
        return sum(stream.arena.parts for stream in self.streams if stream.arena is not None)

    @property
    def arena_nbytes(self) -> int:
        """Bytes of the arena, in which the streams' parts lie one after the other."""
        return sum(stream.arena.nbytes for stream in self.streams if stream.arena is not None)

    def records(self, piece: StepPiece) -> NDArray[np.int64]:
        """The record numbers of a piece of a step, shape (stop - start,)."""
        return self.streams[piece.stream].lanes[piece.lane].records(piece.epoch, piece.start, piece.stop)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArenaLayout:
    """Parts of the arena, each for one window: a region for each field that must be decoded, records in block order.

    A ragged field's region holds, for each record, where its elements begin (-1 where its block did not fit), and how many
    there are; then the elements, each block's in a stretch of its own, so that workers need not agree on where to write.
    """

    fields: tuple[Field, ...]
    """As they are kept: stored bytes of encoded fields."""
    records: int
    """The most records that a window holds."""
    offsets: tuple[int, ...]
    """Bytes from a part's begin to each field's region."""
    rooms: tuple[NDArray[np.int64] | None, ...]
    """For each field, elements that each block of the layout has room for, shape (blocks,); None of fixed fields."""
    capacities: tuple[int, ...]
    """The most of them that a window has room for; 0 of other fields."""
    part_nbytes: int
    lane_parts: tuple[int, ...]
    """Of each lane, its windows in flight: as many as a batch can touch, and one more."""

    @classmethod
    def of(
        cls,
        fields: Sequence[Field],
        *,
        records: int,
        lane_parts: Sequence[int],
        rooms: Mapping[str, NDArray[np.int64]],
        capacities: Mapping[str, int],
    ) -> ArenaLayout:
        """The layout for windows of up to `records` records of the fields; `rooms` and `capacities` are of the ragged ones."""
        offsets: list[int] = []
        at = 0
        for field in fields:
            offsets.append(at)
            if field.ragged:
                at += 2 * aligned(8 * records) + aligned(field.nbytes * capacities[field.name])
            else:
                at += aligned(field.nbytes * records)
        return cls(
            fields=tuple(fields),
            records=records,
            offsets=tuple(offsets),
            rooms=tuple(rooms.get(field.name) for field in fields),
            capacities=tuple(capacities.get(field.name, 0) for field in fields),
            part_nbytes=aligned(at, 4096),
            lane_parts=tuple(lane_parts),
        )

    @property
    def parts(self) -> int:
        """Windows in flight, of all lanes."""
        return sum(self.lane_parts)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole arena."""
        return self.part_nbytes * self.parts

    def views(self, memory: NDArray[np.uint8], part: int) -> dict[str, NDArray[Any]]:
        """One part as arrays, by field; of ragged fields, their elements. `memory` has the shape (nbytes,)."""
        found: dict[str, NDArray[Any]] = {}
        for field, offset, capacity in zip(self.fields, self.offsets, self.capacities, strict=True):
            at = part * self.part_nbytes + offset + (2 * aligned(8 * self.records) if field.ragged else 0)
            found[field.name] = np.ndarray((capacity if field.ragged else self.records, *field.shape), field.dtype, memory, at)
        return found

    def places(self, memory: NDArray[np.uint8], part: int) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Of each ragged field in one part: where the elements of each record begin, and how many there are."""
        found: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for field, offset in zip(self.fields, self.offsets, strict=True):
            if field.ragged:
                at = part * self.part_nbytes + offset
                starts = np.ndarray((self.records,), np.int64, memory, at)
                found[field.name] = starts, np.ndarray((self.records,), np.int64, memory, at + aligned(8 * self.records))
        return found


_HEAD = struct.Struct("<QQ")


def write_job(job: Job) -> SharedBlock:
    """The job in shared memory. Raises ConfigError, saying what, if a part of it cannot be pickled."""
    import cloudpickle

    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    try:
        cloudpickle.Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(job)
    except Exception as error:
        raise ConfigError(
            f"{_unpicklable(job)} cannot be sent to worker processes: {error}.",
            hint="Open files, locks and h5py objects cannot travel: open them inside the function, or use num_workers=0.",
        ) from error
    raws = [buffer.raw() for buffer in buffers]
    lengths = struct.pack(f"<{len(raws)}Q", *(raw.nbytes for raw in raws))
    pickled = stream.getvalue()
    at = aligned(_HEAD.size + len(lengths) + len(pickled))
    total = at + sum(aligned(raw.nbytes) for raw in raws)
    block = SharedBlock.create(total, purpose="the index of the data")
    head = _HEAD.pack(len(raws), len(pickled)) + lengths + pickled
    block.bytes[: len(head)] = np.frombuffer(head, np.uint8)
    for raw in raws:
        block.bytes[at : at + raw.nbytes] = np.frombuffer(raw, np.uint8)
        at += aligned(raw.nbytes)
    return block


def read_job(block: SharedBlock) -> Job:
    """The job that `write_job` wrote; its arrays are read-only views of the block."""
    whole = block.bytes.data
    count, pickled_nbytes = _HEAD.unpack_from(whole)
    lengths = struct.unpack_from(f"<{count}Q", whole, _HEAD.size)
    begin = _HEAD.size + 8 * count
    at = aligned(begin + pickled_nbytes)
    buffers: list[memoryview] = []
    for length in lengths:
        buffers.append(whole[at : at + length])
        at += aligned(length)
    return pickle.loads(whole[begin : begin + pickled_nbytes], buffers=buffers)


def _unpicklable(job: Job) -> str:
    """Which part of the job does not pickle, as the user knows it."""
    orders = [("the order", order) for stream in job.streams for order in stream.lanes]
    columns = [(f"field '{column.field.name}'", column) for stream in job.streams for column in stream.columns]
    functions = [("transform", job.transform), ("batch_transform", job.batch_transform), ("augment", job.augmentation)]
    named = (part_that_cannot_travel(name, part) for name, part in (*functions, *orders, *columns))
    return next((text for text in named if text is not None), "the job")
