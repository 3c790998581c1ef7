"""What a record is made of: named fields, each with a dtype and a shape."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

ARRAY, BYTES, TEXT = "array", "bytes", "text"
"""How a field can be ragged."""
PADDED, ROWS = "padded", "rows"
"""How a field of batches can be an array whose shape differs by batch: padded to its longest record, or packed into rows."""


@dataclass(frozen=True, slots=True)
class Field:
    """One named array of every record."""

    name: str
    """The key under which a batch holds it."""
    dtype: np.dtype
    """In native byte order."""
    shape: tuple[int, ...]
    """The shape of one record: () for a number, (height, width, channels) for most images. Of one element where it is ragged."""
    ragged: str = ""
    """How records differ in length: "" not at all; "array", (n, *shape) values of `dtype`, n by record; "bytes", any
    number of them; "text", as UTF-8. Of batches also "padded", an array (records, n, *shape), n by batch; and "rows", an array
    (n, *shape) that is not one row a record."""

    @property
    def nbytes(self) -> int:
        """Bytes of one record of this field; of one element where it is ragged."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def as_ragged(self) -> bool:
        """Whether batches hold it as a `Ragged`; else they hold an array."""
        return self.ragged in (ARRAY, BYTES, TEXT)

    def __str__(self) -> str:
        if self.ragged == PADDED:
            return f"{self.name} {self.dtype} ({', '.join(['longest', *map(str, self.shape)])}{'' if self.shape else ','})"
        if self.ragged == ROWS:
            return f"{self.name} {self.dtype} {self.shape} (packed)"
        if self.ragged == ARRAY:
            return f"{self.name} {self.dtype} ({', '.join(['*', *map(str, self.shape)])}{'' if self.shape else ','})"
        return f"{self.name} {self.ragged} (ragged)" if self.ragged else f"{self.name} {self.dtype} {self.shape}"


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
        """Bytes of one record, all fields together, ragged ones left out: theirs differ."""
        return sum(field.nbytes for field in self.fields if not field.ragged)

    @property
    def ragged(self) -> tuple[Field, ...]:
        """The fields whose records differ in length."""
        return tuple(field for field in self.fields if field.ragged)

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


def dtype_text(dtype: np.dtype) -> Any:
    """A dtype in a form that JSON can hold: NumPy's own text, the description of a structured one, or the name of another package's."""
    if dtype.names is not None:
        return [list(part) for part in np.lib.format.dtype_to_descr(dtype)]
    return dtype.name if np.dtype(dtype.str) != dtype else dtype.str


def dtype_of(text: Any) -> np.dtype:
    """The dtype that `dtype_text` wrote down. Names that NumPy does not know are those of ml_dtypes."""
    if not isinstance(text, str):
        members: Any = [tuple(tuple(p) if isinstance(p, list) else p for p in part) for part in text]
        return np.lib.format.descr_to_dtype(members)
    try:
        return np.dtype(text)
    except TypeError:
        importlib.import_module("ml_dtypes")
        return np.dtype(text)
