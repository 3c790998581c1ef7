"""What a worker is given once, before its first task: the job, pickled into shared memory that all workers map.

Arrays of the job lie in that memory as they are, and are not copied into any worker.
"""

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
    """One part of a run as workers read it: its fields, its files, and its orders.

    A loader of one source has one stream. A stream has one lane, unless ranks share a block order.
    """

    columns: tuple[Column, ...]
    """The same fields, in the same order, in every stream of a job."""
    fingerprints: Sequence[Fingerprint]
    """The files of the source; columns name them by their number here."""
    seed: int
    """The seed of whatever is drawn for its records."""
    lanes: tuple[BoundOrder, ...]
    """The orders of its lanes, each over records of its own."""
    own: range
    """The lanes whose windows this rank decodes, if their orders have windows. Of the other lanes it takes few records, and reads these
    one by one; another rank decodes their blocks."""
    least: int
    """Windows of fewer positions are not decoded as a whole: their records are read one by one, so that a step touches few windows."""
    arena: ArenaLayout | None
    """Room for decoded windows; None if every record is read by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Everything that workers must know of a loader; the same for all of its steps and workers."""

    streams: tuple[Stream, ...]
    """The parts of the run; the pieces of steps name them by number."""
    layout: SlotLayout | None
    """Where the fields of a batch lie in a slot; None until it is known what a transform returns."""
    transform: Transform | None
    """The user's function of one record."""
    workers: int
    """How many processes share the work; 1 for the calling process itself."""
    mapped: bool
    """Whether files may be mapped."""
    direct: bool
    """Whether large raw records are read past the page cache."""
    on_bad: str
    """What becomes of records that cannot be delivered: one of `bad_records.POLICIES`."""
    fills: bool
    """Whether a record that is left out leaves a row that does not count, so that batches keep their size on all ranks."""
    augmentation: Augmentation | None = None
    """What is done with records before a function of the user's is given them."""
    batch_transform: Transform | None = None
    """The user's function of a whole batch, which is called after `transform`."""
    known: Schema | None = None
    """The fields that `transform` returns; None without it, and until it has been tried."""
    made: Schema | None = None
    """The fields that `batch_transform` returns; None without it, and until it has been tried."""
    collation: Collation | None = None
    """How ragged fields are padded or packed at the end; None if they stay as they are."""

    @property
    def batched(self) -> Schema:
        """The fields of a batch after all functions of the user's: what collation is given."""
        return self.transformed if self.made is None else self.made

    @property
    def augmented(self) -> Schema:
        """The fields of a record after augmentation: what `transform` is given."""
        return self.schema if self.augmentation is None else self.augmentation.schema

    @property
    def transformed(self) -> Schema:
        """The fields of a record after augmentation and `transform`: what `batch_transform` is given."""
        return self.augmented if self.known is None else self.known

    @property
    def schema(self) -> Schema:
        """The fields of a record as they are stored: those of every stream."""
        return Schema(tuple(column.field for column in self.streams[0].columns))

    @property
    def fingerprints(self) -> Sequence[Fingerprint]:
        """Those of all files, stream after stream."""
        if len(self.streams) == 1:
            return self.streams[0].fingerprints
        return tuple(fingerprint for stream in self.streams for fingerprint in stream.fingerprints)

    @property
    def parts(self) -> int:
        """How many parts the arena has, over all streams. Parts are numbered through, stream after stream."""
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
    """How decoded windows of one stream lie in the arena, which has a part for each window that may be open at a time.

    A part has a region for each field that is decoded by blocks. The region of a fixed field holds its records, in the order of the
    window's blocks. That of a ragged field holds for each record where its elements begin (-1 if its block did not fit) and how many
    they are, and then the elements. There each block has a range of its own, so that workers need not agree on where to write.
    """

    fields: tuple[Field, ...]
    """As they lie in the arena: of encoded fields, their stored bytes."""
    records: int
    """The most records that a window has."""
    offsets: tuple[int, ...]
    """By field, bytes from the beginning of a part to the field's region."""
    rooms: tuple[NDArray[np.int64] | None, ...]
    """By field, the elements that there is room for of each block of the order: shape (blocks,); None for fixed fields."""
    capacities: tuple[int, ...]
    """By field, the elements that there is room for in a part; 0 for fixed fields."""
    part_nbytes: int
    lane_parts: tuple[int, ...]
    """By lane, how many parts it has: the windows that a step can touch, and one more."""

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
        """The layout for windows of up to `records` records. `rooms` and `capacities` are by name, of the ragged fields."""
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
        """How many parts there are, of all lanes."""
        return sum(self.lane_parts)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole arena."""
        return self.part_nbytes * self.parts

    def views(self, memory: NDArray[np.uint8], part: int) -> dict[str, NDArray[Any]]:
        """The arrays of one part, by field, which share `memory` of shape (nbytes,).

        A fixed field is of shape (records, *field.shape), a ragged one, with its elements, of shape (capacity, *field.shape).
        """
        arrays: dict[str, NDArray[Any]] = {}
        for field, offset, capacity in zip(self.fields, self.offsets, self.capacities, strict=True):
            at = part * self.part_nbytes + offset + (2 * aligned(8 * self.records) if field.ragged else 0)
            arrays[field.name] = np.ndarray((capacity if field.ragged else self.records, *field.shape), field.dtype, memory, at)
        return arrays

    def places(self, memory: NDArray[np.uint8], part: int) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """By ragged field of one part: (starts, lengths), which say where the elements of each record lie in the field's array of
        `views`; both of shape (records,), sharing `memory`."""
        places: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for field, offset in zip(self.fields, self.offsets, strict=True):
            if field.ragged:
                at = part * self.part_nbytes + offset
                starts = np.ndarray((self.records,), np.int64, memory, at)
                places[field.name] = starts, np.ndarray((self.records,), np.int64, memory, at + aligned(8 * self.records))
        return places


_HEAD = struct.Struct("<QQ")


def write_job(job: Job) -> SharedBlock:
    """Write the job to new shared memory, which the caller closes. Raises ConfigError, naming the part that cannot be pickled."""
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
    """The job that `write_job` wrote. Its arrays are read-only views of the block, which must stay open as long as they are used."""
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
    """The name of the part of the job that cannot be pickled, in the user's words."""
    orders = [("the order", order) for stream in job.streams for order in stream.lanes]
    columns = [(f"field '{column.field.name}'", column) for stream in job.streams for column in stream.columns]
    functions = [("transform", job.transform), ("batch_transform", job.batch_transform), ("augment", job.augmentation)]
    named = (part_that_cannot_travel(name, part) for name, part in (*functions, *orders, *columns))
    return next((text for text in named if text is not None), "the job")
