"""What can be converted: a schema, a number of records, any of them by number, and what was left out of them and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.nulls import Nulls
from streamload.omissions import Omission
from streamload.schema import Field, Schema

BATCH_NBYTES = 16 * 1024**2
"""Records are read so many bytes at a time."""
MOST_BATCH_RECORDS = 8192


class RecordSource(Protocol):
    """Records that can be converted.

    `record_source_defaults.RecordSourceDefaults` has what most sources say of themselves; one that changes the records of another
    says what that one says, by `ForwardingSource`. A source of the library is one by `readers.library.LibraryRecords`.
    """

    @property
    def schema(self) -> Schema:
        """The fields of a record, as `take` delivers them."""
        ...

    @property
    def title(self) -> str:
        """What it is, for people."""
        ...

    @property
    def format_name(self) -> str:
        """The format of its files: "HDF5", "TFRecord"."""
        ...

    @property
    def addressable(self) -> bool:
        """Whether any record can be had without decoding others."""
        ...

    @property
    def record_nbytes(self) -> int:
        """Bytes that a record takes in memory while it is read, on average where records differ in length."""
        ...

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """What the numbers of labels mean, by field, where something says so: words[label]."""
        ...

    @property
    def attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """What files say of fields besides, such as their units: texts, lists of texts, and numbers."""
        ...

    @property
    def nulls(self) -> Mapping[str, Nulls]:
        """Fields that may hold nulls for which nothing stands."""
        ...

    @property
    def identity(self) -> list[Any]:
        """Values that JSON can hold, and that stay the same as long as the records do."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What a manifest says of it: its "format", the names of its "files", "classes" of labels, and fields that were "left_out"."""
        ...

    @property
    def paths(self) -> Sequence[str]:
        """The files, or the folder that they lie in."""
        ...

    @property
    def files(self) -> Sequence[str] | None:
        """Every file that is read; None where the path is one thing, whatever files it consists of."""
        ...

    @property
    def left_out(self) -> Mapping[str, str]:
        """Fields that are there and are not delivered, and why."""
        ...

    @property
    def omissions(self) -> Sequence[Omission]:
        """What else is there and not taken: files, by names relative to the folder, members of files, and fields without a name."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What was found out about its files."""
        ...

    @property
    def cautions(self) -> Sequence[str]:
        """Those of the notes that people should know before they convert it."""
        ...

    @property
    def stored(self) -> Mapping[str, str]:
        """How fields lie in storage, in a few words, where that is known."""
        ...

    @property
    def stored_nbytes(self) -> Mapping[str, int]:
        """Bytes that all encoded images take as they are stored, by field, where that is known."""
        ...

    @property
    def encoded_fields(self) -> tuple[str, ...]:
        """Fields that are stored as the bytes of an image."""
        ...

    def __len__(self) -> int:
        """How many records there are."""
        ...

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """Arrays of the given records, in the order given; a Ragged of a field whose records differ in length.

        Raises SourceError for a record that is damaged, or of another shape.
        """
        ...

    def take_encoded(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """As `take`, but for a Ragged of the stored bytes of each encoded field. Each image is decoded all the same: none is damaged."""
        ...

    def begin_take(self, records: NDArray[np.int64]) -> Callable[[], dict[str, Any]]:
        """As `take`, under way: what is returned waits for it, and may be called once."""
        ...

    def values(self, name: str, records: NDArray[np.int64]) -> Any:
        """One field of the given records, as `take` delivers it; other fields are not made."""
        ...

    def image_shapes(self, number: int) -> Iterator[tuple[Field, str, tuple[tuple[int, ...], np.dtype[Any]]]]:
        """Of each encoded image of a record: its field, its name for people, and the shape and dtype that its header says.

        Nothing where that cannot be had without decoding. Raises SourceError for a header that is damaged.
        """
        ...

    def is_no_data(self, name: str) -> bool:
        """Whether nobody takes a file of this name, beside those that are read, for data."""
        ...

    def close(self) -> None:
        """Let go of files, threads and memory. A wrapper closes what it opened itself."""
        ...


def batch_records(origin: RecordSource) -> int:
    """How many records make a batch of bounded size."""
    return max(1, min(MOST_BATCH_RECORDS, BATCH_NBYTES // max(1, origin.record_nbytes)))
