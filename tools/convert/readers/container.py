"""What reads files of one format for `convert`: records as named bytes and numbers, from which fields are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from streamload.errors import SourceError

Raw = Mapping[str, "bytes | NDArray[Any]"]
"""What one record holds: bytes, which may be an image, and numbers."""


class Container(Protocol):
    """Files of one format, and the records in them."""

    @property
    def title(self) -> str:
        """What it is, for people."""
        ...

    @property
    def format_name(self) -> str:
        """The name of the format."""
        ...

    @property
    def paths(self) -> Sequence[str]:
        """The files, or the folder that they lie in."""
        ...

    @property
    def classes(self) -> dict[str, list[str]]:
        """What the numbers of a field mean, by the name of the field."""
        ...

    @property
    def left_out(self) -> dict[str, str]:
        """Fields that are not delivered, and why."""
        ...

    @property
    def set_aside(self) -> Mapping[str, Sequence[str]]:
        """Files in the folder that are not taken, by reason."""
        ...

    @property
    def members_left_out(self) -> Mapping[str, tuple[int, Sequence[str]]]:
        """How many things in the files are not taken, by reason, and the names of some."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What was found out about the files that people should know."""
        ...

    @property
    def damage(self) -> SourceError | None:
        """What keeps the rest of a file from being read; its last record then stands for that rest."""
        ...

    @property
    def addressable(self) -> bool:
        """Whether records cost the same in any order."""
        ...

    @property
    def images(self) -> frozenset[str]:
        """Fields that are images whatever their bytes are; others are images where they begin as such."""
        ...

    def __len__(self) -> int: ...

    def raw(self, number: int) -> Raw:
        """What one record holds. Raises SourceError where it is damaged."""
        ...

    def where(self, number: int) -> str:
        """The name of a record in errors."""
        ...

    @property
    def files(self) -> Sequence[str]:
        """All files that are read."""
        ...

    @property
    def identity(self) -> list[Any]:
        """The same values mean the same records."""
        ...

    def named(self, number: int, stored: str) -> str:
        """The name of one thing in a record, in errors."""
        ...

    def held(self, stored: str) -> NDArray[Any] | None:
        """A field of all records that is in memory; None where it is not, or where a record has none."""
        ...

    def begin(self, number: int, stored: str, most: int) -> bytes | None:
        """The first bytes of an image, at most so many; None where a record has none, or only the whole record can be read."""
        ...

    def image_nbytes(self) -> dict[str, int]:
        """Bytes of all images as they are stored, by field, where that is known without reading them."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...
