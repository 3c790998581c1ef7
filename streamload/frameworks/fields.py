"""Which fields of a batch a framework is given, and whether as a dict, a tuple or one array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.loader.batch import Batch
from streamload.loader.loader import Loader
from streamload.loader.options import did_you_mean
from streamload.schema import BYTES, TEXT, Field

DECODED = "Images that are stored as bytes become arrays of one size by sl.open(path, decode=(224, 224))."
VALID = "valid"
"""The name of an extra field that says which records of a batch count: bool, shape (records,). A field of the data with this name goes
before it."""

PLACE = "place"
"""The name of an extra field, one int64 for each batch: the steps that are done after it, counted through epochs."""

DICT, TUPLE, ONE = "dict", "tuple", "one"

WantedFields = str | Sequence[str] | None
"""What adapters take as `fields`: names, for a tuple of arrays; one name, for an array; None, for a dict of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFields:
    """The fields that a framework is given, and the container that they come in."""

    fields: tuple[Field, ...]
    """In the order of delivery, with the extra fields that were asked for."""
    container: str
    """DICT, TUPLE, or ONE for a single array."""
    computed: frozenset[str]
    """The names of the extra fields among them: VALID, PLACE."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(field.name for field in self.fields)

    @property
    def has_valid(self) -> bool:
        """Whether the extra field VALID is among them."""
        return VALID in self.computed

    def is_place(self, field: Field) -> bool:
        """Whether a field is the extra field PLACE, which has one number for each batch."""
        return field.name == PLACE and PLACE in self.computed

    def value(self, batch: Batch, name: str) -> Any:
        """The field of a batch with this name: an array of shape (records, *shape), or a `Ragged`; an int64 for PLACE."""
        if name not in self.computed:
            return batch[name]
        return batch.valid if name == VALID else np.int64(batch.total_step + 1)

    def arranged(self, made: Sequence[Any]) -> Any:
        """What was made of each field, in the order of `fields`, in the container."""
        if self.container == DICT:
            return dict(zip(self.names, made, strict=True))
        return made[0] if self.container == ONE else tuple(made)


def chosen_fields(loader: Loader, fields: WantedFields, *, asked: str, with_valid: bool = False, with_place: bool = False) -> BatchFields:
    """The fields that `fields` asks for. `with_valid` adds VALID to a dict of all fields; `with_place` allows to ask for PLACE. `asked` is
    the function that errors name.

    Raises ConfigError for an object that is no loader, and for a name that the data does not have.
    """
    if not isinstance(cast(object, loader), Loader):
        raise ConfigError(
            f"{asked} takes a loader, not {type(loader).__name__}.", hint=f"Write {asked}(sl.Loader(data, batch_size=256), ...)."
        )
    schema = loader.schema
    computed = {VALID: Field(VALID, np.dtype(bool), ())} | ({PLACE: Field(PLACE, np.dtype(np.int64), ())} if with_place else {})
    known = {**computed, **{field.name: field for field in schema}}
    if fields is None:
        names = [*schema.names, *([VALID] if with_valid and VALID not in schema else [])]
        container = DICT
    else:
        names = list(field_names(fields, asked=asked))
        container = ONE if isinstance(fields, str) else TUPLE
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{asked} is asked for {name!r}, and a batch has no such field.",
                hint=f"Give names of fields.{did_you_mean(str(name), schema.names)}",
            )
    if not names:
        raise ConfigError(f"{asked} is asked for no field.", hint=f"Give some of {', '.join(schema.names)}, or None for all.")
    return BatchFields(
        fields=tuple(known[name] for name in names), container=container, computed=frozenset(names) & computed.keys() - set(schema.names)
    )


def field_names(fields: object, *, asked: str) -> tuple[str, ...]:
    """The names that `fields` gives, as a tuple. Raises ConfigError for values that are not text."""
    if isinstance(fields, str):
        return (fields,)
    names = tuple(cast(Iterable[object], fields)) if isinstance(fields, Iterable) and not isinstance(fields, bytes) else (fields,)
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"{asked} takes fields by their names, not {name!r}.", hint="Give a name, or several in a tuple.")
    return cast(tuple[str, ...], names)


def filled_up(array: NDArray[Any], size: int) -> NDArray[Any]:
    """An array of `size` records: the array itself if it has so many, otherwise a copy in which its last record is repeated."""
    missing = size - len(array)
    return array if missing <= 0 else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


SHORT_FLOATS = frozenset({"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"})
"""Names of dtypes that the package ml_dtypes adds to NumPy, and that frameworks have under the same names."""


def is_number(field: Field) -> bool:
    """Whether a field has a dtype of numbers that frameworks know: bool, integers and floats of up to 64 bits, complex of up to 128."""
    if field.dtype.name in SHORT_FLOATS:
        return True
    return field.dtype.kind in "biufc" and field.dtype.itemsize <= (16 if field.dtype.kind == "c" else 8)


def is_text(field: Field) -> bool:
    """Whether records of a field are bytes or text, of any length or of a fixed one."""
    return field.ragged in (BYTES, TEXT) or field.dtype.kind in "SU"


def refused(field: Field, framework: str, *, why: str = "") -> ConfigError:
    """The error for a field that a framework has no arrays for."""
    decode = f" {DECODED}" if field.ragged == BYTES else ""
    return ConfigError(
        f"{framework} has no array for the field '{field}'{why}.",
        hint=f"Name other fields by fields=, or make an array of numbers of it in the loader's transform=.{decode}",
        field=field.name,
    )
