"""The fields that a function of records makes, worked out from what it returned for a few of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from streamload.errors import ConfigError
from streamload.masked_arrays import refuse_masked
from streamload.ragged import Ragged
from streamload.schema import ARRAY, BYTES, TEXT, Field, Schema


class ReturnedForm(NamedTuple):
    """What a function returned under one name, for one record."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    kind: str
    """`TEXT`, `BYTES`, `ARRAY` for a value that must be ragged, or "" for an array."""


class Trial(NamedTuple):
    """What a function returned for one record."""

    forms: Mapping[str, ReturnedForm]
    lengths: Mapping[str, int]
    """Elements of each ragged field of the record that it was given."""
    real: bool
    """Whether the record is one that is stored, as it is; else it was shortened to see what follows its length."""


def form_of(name: str, value: Any, stored: Schema) -> ReturnedForm:
    """What is returned under a name. Raises ConfigError for what cannot lie in shared memory."""
    if isinstance(value, Ragged):
        if len(value) != 1:
            raise ConfigError(
                f"the transform's field {name!r} is a Ragged of {len(value):,} records, where one was expected.",
                hint="Return sl.Ragged.of([array]), or the array itself.",
            )
        return ReturnedForm(value.values.dtype.newbyteorder("="), value.values.shape[1:], value.kind)
    if (width := stored_width(name, value, stored)) is not None:
        return ReturnedForm(width, np.shape(value), "")
    if isinstance(text := scalar_of(value), (str, bytes)):
        return ReturnedForm(np.dtype(np.uint8), (), TEXT if isinstance(text, str) else BYTES)
    refuse_masked(value, f"the transform's field {name!r}")
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise ConfigError(
            f"the transform's field {name!r} is of dtype {array.dtype}, which cannot lie in shared memory.",
            hint="Return numbers, arrays of numbers, or fixed-length bytes.",
        )
    return ReturnedForm(array.dtype.newbyteorder("="), array.shape, "")


def trial_of(result: Mapping[str, Any], given: Mapping[str, Any], stored: Schema, *, real: bool = True) -> Trial:
    """What became of one record, `given` to the function as it is or shortened."""
    forms = {str(name): form_of(str(name), value, stored) for name, value in result.items()}
    return Trial(forms, {field.name: len(given[field.name]) for field in stored.ragged}, real)


def schema_of(trials: Sequence[Trial], stored: Schema) -> Schema:
    """The fields of what a function returns: what it returned decides which of them are ragged.

    The first trial has the names and dtypes. An array is ragged where its first axis differed between records. Where it did
    not, it is fixed; unless it bears the name of a ragged field, no two records of different lengths were seen, and it is as
    long as the record that it was made of.
    """
    return Schema(tuple(_field(name, form, trials, stored) for name, form in trials[0].forms.items()))


def _field(name: str, form: ReturnedForm, trials: Sequence[Trial], stored: Schema) -> Field:
    if form.kind or not form.shape:
        return Field(name, form.dtype, form.shape, form.kind)
    same_name = name in stored and stored[name].ragged == ARRAY
    seen = [one for one in trials if (one.real or same_name) and name in one.forms]
    alike = [one for one in seen if one.forms[name].shape and one.forms[name].shape[1:] == form.shape[1:]]
    ragged = len({one.forms[name].shape[0] for one in alike}) > 1
    if same_name and not ragged and len({one.lengths[name] for one in alike}) == 1:
        ragged = form.shape[0] == trials[0].lengths[name] and len(form.shape) == 1 + len(stored[name].shape)
    return Field(name, form.dtype, form.shape[1:], ARRAY) if ragged else Field(name, form.dtype, form.shape)


def shortened_record(record: Mapping[str, Any], stored: Schema, trial: Trial) -> dict[str, Any] | None:
    """A record whose ragged fields are all shorter, to see which results follow their length; None where that cannot tell.

    Fields of the same length stay so. They are cut below the shortest of what was returned under names of ragged fields, so
    that a function that cuts is told from one that pads.
    """
    names = [field.name for field in stored.ragged if field.ragged == ARRAY]
    made = [form.shape[0] for name, form in trial.forms.items() if name in names and form.shape and not form.kind]
    longest = max((trial.lengths[name] for name in names), default=0)
    kept = min([longest // 2, *(one - 1 for one in made)])
    if not made or kept < 0:
        return None
    return {name: value[:kept] if name in names else value for name, value in record.items()}


def stored_width(name: str, value: Any, stored: Schema) -> np.dtype[Any] | None:
    """The dtype of the stored byte strings that NumPy's byte strings under the same name are kept in; None of anything else."""
    field = next((one for one in stored if one.name == name), None)
    if field is None or field.ragged or field.dtype.kind != "S" or type(value) is bytes:
        return None
    dtype = np.asarray(value).dtype
    return field.dtype if dtype.kind == "S" and dtype.itemsize <= field.dtype.itemsize else None


def scalar_of(value: Any) -> Any:
    """A string of NumPy's that lies in an array without axes, out of it; anything else as it is."""
    return value[()] if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "SU" else value
