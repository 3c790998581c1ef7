"""What a record is made of: named fields, each with a dtype and a shape."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Field:
    """One named array of every record."""

    name: str
    """The key under which a batch holds it."""
    dtype: np.dtype
    """In native byte order."""
    shape: tuple[int, ...]
    """The shape of one record: () for a number, (height, width, channels) for most images."""

    @property
    def nbytes(self) -> int:
        """Bytes of one record of this field."""
        return self.dtype.itemsize * math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {self.shape}"


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of a record, in order."""

    fields: tuple[Field, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields, in order."""
        return tuple(field.name for field in self.fields)

    @property
    def record_nbytes(self) -> int:
        """Bytes of one record, all fields together."""
        return sum(field.nbytes for field in self.fields)

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __str__(self) -> str:
        return " · ".join(map(str, self.fields))
