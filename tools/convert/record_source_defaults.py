"""What sources of records say of themselves where they are nothing special, and wrappers that say what is said beneath them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.nulls import Nulls
from streamload.omissions import Omission
from streamload.schema import Field
from streamload.tools.convert.record_source import RecordSource

NOTHING: Mapping[Any, Any] = MappingProxyType({})


class TakenWhole:
    """What every way to take records comes to where whole records are taken: a base of the two below."""

    encoded_fields: tuple[str, ...] = ()

    def take_encoded(self: RecordSource, records: NDArray[np.int64]) -> dict[str, Any]:
        """As `take`: no field is encoded."""
        return self.take(records)

    def begin_take(self: RecordSource, records: NDArray[np.int64]) -> Callable[[], dict[str, Any]]:
        """Everything is done when it is waited for."""
        return partial(self.take, records)

    def values(self: RecordSource, name: str, records: NDArray[np.int64]) -> Any:
        """One of the fields that are taken."""
        return self.take(records)[name]


class RecordSourceDefaults(TakenWhole):
    """A base for sources: their own are `schema`, `title`, `format_name`, `paths`, `identity`, `take` and the number of records."""

    addressable = True
    classes: Mapping[str, Sequence[str]] = NOTHING
    attributes: Mapping[str, Mapping[str, Any]] = NOTHING
    nulls: Mapping[str, Nulls] = NOTHING
    left_out: Mapping[str, str] = NOTHING
    omissions: Sequence[Omission] = ()
    notes: Sequence[str] = ()
    stored: Mapping[str, str] = NOTHING
    stored_nbytes: Mapping[str, int] = NOTHING

    @property
    def record_nbytes(self: RecordSource) -> int:
        """What the schema says."""
        return self.schema.record_nbytes

    @property
    def facts(self: RecordSource) -> dict[str, Any]:
        """The format and the files; classes and fields that were left out, where there are any."""
        facts: dict[str, Any] = {"format": self.format_name, "files": [os.path.basename(path) for path in self.paths]}
        classes = {name: list(words) for name, words in self.classes.items()}
        return facts | ({"classes": classes} if classes else {}) | ({"left_out": dict(self.left_out)} if self.left_out else {})

    @property
    def files(self: RecordSource) -> Sequence[str] | None:
        """The paths."""
        return self.paths

    @property
    def cautions(self: RecordSource) -> Sequence[str]:
        """All notes."""
        return self.notes

    def image_shapes(self, number: int) -> Iterator[tuple[Field, str, tuple[tuple[int, ...], np.dtype[Any]]]]:
        """Nothing."""
        return iter(())

    def is_no_data(self, name: str) -> bool:
        """No name says that."""
        return False

    def close(self) -> None:
        """Nothing is held but memory."""


def _forwarded(name: str) -> Any:
    """A member that says what the source beneath says, at the time when it is asked."""
    return property(attrgetter(f"_origin.{name}"))


class ForwardingSource(TakenWhole):
    """A base for sources that change records of another (`_origin`): their own are `schema` and `take`, and all that follows from them.

    Encoded images are made into something else by most, so that none are delivered as they are, unless a wrapper says so.
    """

    title = _forwarded("title")
    format_name = _forwarded("format_name")
    addressable = _forwarded("addressable")
    record_nbytes = _forwarded("record_nbytes")
    classes = _forwarded("classes")
    attributes = _forwarded("attributes")
    nulls = _forwarded("nulls")
    identity = _forwarded("identity")
    facts = _forwarded("facts")
    paths = _forwarded("paths")
    files = _forwarded("files")
    left_out = _forwarded("left_out")
    omissions = _forwarded("omissions")
    notes = _forwarded("notes")
    cautions = _forwarded("cautions")
    stored = _forwarded("stored")
    stored_nbytes = _forwarded("stored_nbytes")
    image_shapes = _forwarded("image_shapes")
    is_no_data = _forwarded("is_no_data")

    def __init__(self, origin: RecordSource) -> None:
        self._origin = origin

    def __len__(self) -> int:
        return len(self._origin)

    def close(self) -> None:
        """The source beneath is its owner's."""
