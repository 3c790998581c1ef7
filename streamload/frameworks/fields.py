"""Which fields of a batch a framework is given, and in what: a dict, a tuple or one array."""

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

VALID = "valid"
"""The name that stands for which records of a batch count, where no field of the data has it: bool, shape (records,)."""

PLACE = "place"
"""The name that stands for the steps that were done after a batch, counted through epochs: int64, one number a batch."""

DICT, TUPLE, ONE = "dict", "tuple", "one"

WantedFields = str | Sequence[str] | None
"""What adapters take as `fields`: names, for a tuple of arrays; one name, for an array; None, for a dict of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFields:
    """Fields of a batch, and what they are handed out in."""

    fields: tuple[Field, ...]
    """In the order in which they are handed out; `valid` is among them where it was asked for."""
    container: str
    """ "dict", "tuple" or "one"."""
    computed: frozenset[str]
    """The names among these that no field of the data has."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(field.name for field in self.fields)

    @property
    def has_valid(self) -> bool:
        """Whether what counts of a batch is handed out too."""
        return VALID in self.computed

    def is_place(self, field: Field) -> bool:
        """Whether it is one number a batch."""
        return field.name == PLACE and PLACE in self.computed

    def value(self, batch: Batch, name: str) -> Any:
        """What a batch has under a name: an array of shape (records, *shape), or a Ragged."""
        if name not in self.computed:
            return batch[name]
        return batch.valid if name == VALID else np.int64(batch.total_step + 1)

    def arranged(self, made: Sequence[Any]) -> Any:
        """What was made of each field, in the container."""
        if self.container == DICT:
            return dict(zip(self.names, made, strict=True))
        return made[0] if self.container == ONE else tuple(made)


def chosen_fields(loader: Loader, fields: WantedFields, *, asked: str, with_valid: bool = False, with_place: bool = False) -> BatchFields:
    """The fields that were asked for by name, or all; `with_valid` adds `valid` to a dict of all, and `with_place` knows `place`.

    Raises ConfigError for what is no loader and for a name that the data does not have.
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
    """The names that were given. Raises ConfigError for what are none."""
    if isinstance(fields, str):
        return (fields,)
    names = tuple(cast(Iterable[object], fields)) if isinstance(fields, Iterable) and not isinstance(fields, bytes) else (fields,)
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"{asked} takes fields by their names, not {name!r}.", hint="Give a name, or several in a tuple.")
    return cast(tuple[str, ...], names)


def filled_up(array: NDArray[Any], size: int) -> NDArray[Any]:
    """`size` records: the array itself where it has them, else a copy that repeats its last one."""
    missing = size - len(array)
    return array if missing <= 0 else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


SHORT_FLOATS = frozenset({"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"})
"""Names of dtypes that NumPy has from ml_dtypes alone, and that frameworks have under the same names."""


def is_number(field: Field) -> bool:
    """Whether a field is of bool, integers, floats or complex numbers that frameworks know: of up to 64 bits, or twice that."""
    if field.dtype.name in SHORT_FLOATS:
        return True
    return field.dtype.kind in "biufc" and field.dtype.itemsize <= (16 if field.dtype.kind == "c" else 8)


def is_text(field: Field) -> bool:
    """Whether records of a field are bytes or text: of any length, or of one."""
    return field.ragged in (BYTES, TEXT) or field.dtype.kind in "SU"


def refused(field: Field, framework: str, *, why: str = "") -> ConfigError:
    """The error for a field that a framework has no arrays for."""
    return ConfigError(
        f"{framework} has no array for the field '{field}'{why}.",
        hint="Name the fields that it shall have by fields=, or make an array of numbers of it in the loader's transform=.",
        field=field.name,
    )
