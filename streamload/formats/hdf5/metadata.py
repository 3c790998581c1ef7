"""What planning learns about datasets, as plain values that pickle: no handle of the HDF5 library outlives planning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.formats.attributes import attributes_from_json
from streamload.formats.derived.packing import Packing
from streamload.images.image_fields import LookedAt
from streamload.storage.files import Fingerprint

Beat = Callable[[int, int, int], None]
"""Told that something was done: number of the file at hand, chunks of it that are noted, and how many there are."""

CONTIGUOUS, CHUNKED, COMPACT, VIRTUAL = "contiguous", "chunked", "compact", "virtual"
CLASSES, FIELD_NAME = "classes", "field_name"
"""Attributes of a dataset: the names of what its numbers stand for; and its path, where all of that is the name of the field."""
RUNS = "runs"
"""Many contiguous datasets, one after the other, which are told by their places alone."""


def no_progress(file: int, done: int, total: int) -> None:
    """A beat where nobody listens."""


@dataclass(frozen=True, slots=True)
class FilterInfo:
    """One step of a filter pipeline."""

    number: int
    """The registered identifier: 1 is deflate."""
    values: tuple[int, ...]
    """The client data stored in the file."""
    name: str
    """The name stored in the file; may be empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """One dataset, or one member of a compound dataset, as it lies in one file."""

    path: str
    """The dataset's full path in its file, without the leading slash."""
    alias: str = ""
    """The path that leads to it from the file that was asked for, where links do; "" where that is `path`."""
    member: tuple[str, ...]
    """Names of nested compound members down to this one; () for a plain dataset."""
    shape: tuple[int, ...]
    """Records first; the shape of an array type included at the end."""
    dtype: np.dtype
    """As h5py gives it, in the byte order of the file, without HDF5's metadata."""
    layout: str
    """CONTIGUOUS, CHUNKED, COMPACT or VIRTUAL; RUNS where it stands for many."""
    axis: int | None = 0
    """The axis of the dataset that counts records; None where all of it is one. `shape` and `chunk` have that axis first."""
    datasets: int = 1
    """How many datasets it stands for: they lie one after the other, and are alike but for what the index of chunks says."""
    raw: bool
    """Whether the stored bytes of an element are exactly NumPy's."""
    packed: bool
    """Whether the bytes of one record lie together, axes aside: not so for a member of several compound values a record."""
    offset: int | None
    """The byte in the file of the dataset's first (contiguous only); None where nothing is stored."""
    member_offset: int
    """The byte of a compound member within its record."""
    stride_nbytes: int
    """Bytes from one record of the dataset to the next: more than `record_nbytes` for a compound member."""
    stored_nbytes: int
    """Bytes of the file that the dataset takes."""
    listed: bool
    """Whether the library says rightly where the chunks lie."""
    chunk: tuple[int, ...]
    """Shape of a chunk, records first, array type included; () where not chunked."""
    chunks: int
    """How many chunks are stored."""
    filters: tuple[FilterInfo, ...]
    """In the order in which they were applied in writing."""
    fill: bytes
    """The value of an element that was never written, in the file's byte order."""
    sources: tuple[str, ...]
    """Paths of the other files that a virtual dataset draws on, links resolved; absolute."""
    packing: Packing | None = None
    """How physical values were packed into these."""
    attributes: str = ""
    """What it says of itself, as `attributes_to_json` has it; "" for nothing."""
    ragged: str = ""
    """How records differ in length, as `Field.ragged` has it; `dtype` is then that of an element."""
    mean: float = 1.0
    """Elements of a record on average."""
    deviation: float = 0.0
    """Standard deviation of that."""
    span: int = 0
    """Records of variable length that are read together."""
    block_elements: tuple[int, ...] = ()
    """Elements of each such span; () where nobody has counted."""

    def attribute(self, name: str) -> Any:
        """What it says of itself under a name; None for nothing."""
        return attributes_from_json(self.attributes).get(name) if self.attributes else None

    @property
    def key(self) -> str:
        """The name by which a user can ask for it: "train/image", "table.image"."""
        return ".".join((self.place, *self.member))

    @property
    def place(self) -> str:
        """The path by which a user can ask for its dataset."""
        return self.alias or self.path

    @property
    def records(self) -> int:
        """How many records there are."""
        return self.shape[0]

    @property
    def written(self) -> bool:
        """Whether anything was ever written to it: elsewhere every element is the fill value. Where there are none, nothing is to write."""
        return 0 in self.shape[1:] or not (
            (self.layout == CONTIGUOUS and self.offset is None) or (self.layout == CHUNKED and not self.chunks)
        )

    @property
    def together(self) -> bool:
        """Whether the bytes of one record lie together."""
        return self.packed and not self.axis

    @property
    def native(self) -> np.dtype:
        """The dtype as it is delivered."""
        return self.dtype.newbyteorder("=")

    @property
    def record_nbytes(self) -> int:
        """Bytes of one record as it is delivered, on average."""
        return math.ceil(self.mean * self.dtype.itemsize * math.prod(self.shape[1:]))

    @property
    def nbytes(self) -> int:
        """Bytes of all records as they are delivered."""
        return self.record_nbytes * self.records

    @property
    def grid(self) -> tuple[int, ...]:
        """How many chunks there are along each axis."""
        return tuple(-(-length // size) for length, size in zip(self.shape, self.chunk, strict=True))

    def __str__(self) -> str:
        return f"{self.native} {self.shape[1:]}" + (f", {self.ragged} of variable length" if self.ragged else "")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChunkIndex:
    """Where each chunk of one dataset lies, in C order of the chunk grid; where there are RUNS, where each of them begins."""

    offsets: NDArray[np.int64]
    """Byte offset in the file; -1 where a chunk was never written."""
    nbytes: NDArray[np.int64]
    """Stored size."""
    masks: NDArray[np.uint32]
    """Filter masks: a bit set means that the filter was left out for this chunk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some records of a field: one dataset, or several that are alike, in one file."""

    file: int
    """Its number among the survey's files."""
    stored: DatasetInfo
    index: ChunkIndex | None
    """None where it is not chunked, or is read through the HDF5 library."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Which columns of a sparse matrix its values stand in."""

    count: int
    """Of the matrix."""
    pieces: tuple[Piece, ...]
    """A number for each value, where they lie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilesInfo:
    """All that is known of a source's files."""

    names: tuple[str, ...]
    """The fields' names as delivered."""
    asked: tuple[str, ...]
    """For each field, the path or pattern that asks for it."""
    files: tuple[Fingerprint, ...]
    """The files that were asked for, then those beside them that they draw on."""
    records: tuple[int, ...]
    """Of each file that was asked for."""
    fields: tuple[tuple[Piece, ...], ...]
    """For each field, what it is made of, in the order of records."""
    notes: tuple[str, ...]
    """What was guessed, and what was left out."""
    values: Mapping[int, NDArray[np.generic]] = field(default_factory=dict[int, NDArray[np.generic]])
    """By number of the field, the values of small fields that only the HDF5 library can read; at -1 - number where records begin in
    those of a ragged one."""
    starts: Mapping[int, NDArray[np.int64]] = field(default_factory=dict[int, NDArray[np.int64]])
    """By number of the field, where its records begin among those of its pieces, and their end: each dataset is one, of a length of
    its own."""
    sparse: Mapping[int, Columns] = field(default_factory=dict[int, Columns])
    """By number of the field, the columns of a sparse matrix whose rows, of which the pieces are the values, are delivered dense."""
    ragged: Mapping[int, str] = field(default_factory=dict[int, str])
    """By number of such a field, how its records differ in length."""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """By name of a field that says which group a record is from, the names of the groups. It has values, and no pieces."""

    looked_at: Mapping[int, LookedAt] = field(default_factory=dict[int, LookedAt])
    """By number of the field, what the first records of bytes that the HDF5 library alone can read begin as."""

    @property
    def total(self) -> int:
        """Records of all files."""
        return sum(self.records)
