"""The user's function: one record in, one record out, with randomness that depends on seed, epoch and record alone."""

from __future__ import annotations

import inspect
import random
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.column import Fault
from streamload.errors import ConfigError, SchemaMismatchError, StreamloadError, TransformError, from_plain, shortened, without_frames
from streamload.masked_arrays import refuse_masked
from streamload.order import key
from streamload.ragged import Ragged
from streamload.schema import ARRAY, BYTES, TEXT, Field, Schema
from streamload.transforms.draws import AUGMENTATION
from streamload.transforms.trial import Trial, scalar_of, shortened_record, trial_of

_MEANINGFUL = (StopIteration, StopAsyncIteration)
"""What a loop takes for its ordinary end: an error of a transform must never be one."""
STRINGS = " Single bytes or str are of any length; give arrays of strings their width, as in np.asarray(value, 'S16')."

LENGTHS = " Where its length is meant to differ, return sl.Ragged.of([array]), for every record."


class RecordTransform:
    """A transform at work: stored records in, in arrays of a batch; its results out, into a slot."""

    def __init__(self, function: Callable[..., dict[str, Any]], *, stored: Schema, stored_arrays: Mapping[str, NDArray[Any]]) -> None:
        """`stored_arrays`: where the fixed fields of the records at hand are found, by name, of shape (batch size, *field.shape).

        It is looked at anew for each record: an array that the function keeps something of may be replaced by another.
        """
        self._function = function
        self._wants_random = takes_random(function)
        self._stored = stored
        self._fixed = [field.name for field in stored if not field.ragged]
        self._stored_arrays = stored_arrays
        self.stored_ragged: dict[str, Ragged] = {}
        """Ragged fields of the records at hand, a record for each row."""

    def trials(self, record: int, *, seed: int, shortened: bool) -> list[Trial]:
        """What it makes of the stored record in row 0; and, if asked for, of that record with ragged fields that are shorter.

        Raises TransformError for a record that it fails on, as it is.
        """
        given = self._record(0)
        trials = [trial_of(self._call(dict(given), seed, 0, record), given, self._stored)]
        less = shortened_record(given, self._stored, trials[0]) if shortened else None
        if less is not None:
            try:
                trials.append(trial_of(self._call(dict(less), seed, 0, record), less, self._stored, real=False))
            except StreamloadError:
                pass  # So short a record is none that it can work with, which says nothing.
        return trials

    def apply(
        self,
        records: NDArray[np.int64],
        out: dict[str, NDArray[Any]],
        *,
        seed: int,
        epoch: int,
        start: int,
        first_row: int = 0,
        ragged: Sequence[Field] = (),
        faults: list[Fault] | None = None,
    ) -> dict[str, list[NDArray[Any]]]:
        """Transform the stored records in the rows from `first_row` on, which stand at positions from `start` on of an epoch.

        Results go into the same rows of `out`; those of ragged fields are given back, an array a record. Raises
        TransformError, naming the record; where `faults` are collected, a record that the function raises for is noted there,
        its row of `out` left as it is, and an empty array given back.
        """
        elements_of: dict[str, list[NDArray[Any]]] = {field.name: [] for field in ragged}
        fields = {field.name: field for field in ragged}
        words = key(seed, epoch, AUGMENTATION, -1 - start)
        random.seed(int(words[0]) | int(words[1]) << 32)
        np.random.seed(int(words[2]))
        for row, record in enumerate(records.tolist(), first_row):
            try:
                result = self._call(self._record(row), seed, epoch, record)
            except TransformError as error:
                if faults is None or not is_of_data(error):
                    raise
                faults.append(Fault(row, record, cast(StreamloadError, without_frames(error))))
                for name, field in fields.items():
                    elements_of[name].append(np.empty((0, *field.shape), field.dtype))
                continue
            if result.keys() != out.keys() | elements_of.keys():
                names = sorted({*out, *elements_of})
                raise SchemaMismatchError(
                    f"the transform returned fields {sorted(result)} for record {record}, and {names} for the first record.",
                    hint="Return the same fields for every record.",
                    records=(record, record + 1),
                )
            for name, value in result.items():
                if name in elements_of:
                    elements_of[name].append(_elements(value, fields[name], record))
                    continue
                if type(value) is not np.ndarray:
                    refuse_masked(value, f"the transform's field {name!r} of record {record}")
                array, place = np.asarray(value), out[name]
                if array.shape != place.shape[1:] or not _fits(array.dtype, place.dtype):
                    raise SchemaMismatchError(
                        f"the transform's field {name!r} is {array.dtype} {array.shape} for record {record}, "
                        f"and {place.dtype} {place.shape[1:]} for the first record.",
                        hint="Return the same dtype and shape for every record: crop, pad or cast in the transform."
                        + (STRINGS if array.dtype.kind in "SU" else "")
                        + (LENGTHS if array.shape[1:] == place.shape[2:] and array.shape and place.shape[1:] else ""),
                        dataset=name,
                        records=(record, record + 1),
                    )
                place[row] = array
        return elements_of

    def _record(self, row: int) -> dict[str, Any]:
        stored = {name: self._stored_arrays[name][row] for name in self._fixed}
        if self.stored_ragged:
            stored |= {name: ragged[row] for name, ragged in self.stored_ragged.items()}
            stored = {name: stored[name] for name in self._stored.names}
        return stored

    def _call(self, stored: dict[str, Any], seed: int, epoch: int, record: int) -> dict[str, Any]:
        try:
            if self._wants_random:
                words = key(seed, epoch, AUGMENTATION, record)
                state = [int(words[0]) | int(words[1]) << 32, int(words[2]) | int(words[3]) << 32]
                result = self._function(stored, np.random.Generator(np.random.Philox(key=np.array(state, np.uint64))))
            else:
                result = self._function(stored)
        except (SystemExit, MemoryError) as error:
            if isinstance(error, SystemExit):
                raise
            raise transform_error(error, record) from None
        except BaseException as error:
            raise transform_error(error, record) from None
        if not isinstance(cast(object, result), dict):
            raise ConfigError(
                f"the transform returned {type(result).__name__} for record {record}, where a dict of arrays was expected.",
                hint='Return the fields by name: return {"image": image, "label": label}.',
            )
        return result


def _fits(dtype: np.dtype[Any], place: np.dtype[Any]) -> bool:
    """Whether values of a dtype go into a place as they are: of the same in any order of bytes, or shorter strings of its kind."""
    return _is_same(dtype, place) or (dtype.kind == place.kind and dtype.kind in "SU" and dtype.itemsize <= place.itemsize)


def _is_same(dtype: np.dtype[Any], place: np.dtype[Any]) -> bool:
    """Whether two dtypes are the same but for their order of bytes."""
    return dtype == place or dtype.newbyteorder("=") == place


def _elements(value: Any, field: Field, record: int) -> NDArray[Any]:
    """The elements of one record of a ragged field, which is kept while others are transformed, in memory of its own.

    Raises SchemaMismatchError for a value of another kind.
    """
    value = scalar_of(value[0] if isinstance(value, Ragged) and len(value) == 1 else value)
    if field.ragged == TEXT and isinstance(value, str):
        return np.frombuffer(value.encode(), np.uint8)
    if field.ragged == BYTES and isinstance(value, bytes):
        return np.frombuffer(value, np.uint8)
    if type(value) is not np.ndarray:
        refuse_masked(value, f"the transform's field {field.name!r} of record {record}")
    array = np.asarray(value)
    if field.ragged != ARRAY or not _is_same(array.dtype, field.dtype) or array.ndim == 0 or array.shape[1:] != field.shape:
        what = f"{array.dtype} {array.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise SchemaMismatchError(
            f"the transform's field {field.name!r} is {what} for record {record}, and was found to be: {field}.",
            hint="Return a str, bytes or an array that differs in its first axis only, the same kind for every record.",
            dataset=field.name,
            records=(record, record + 1),
        )
    return array.astype(field.dtype)


def is_of_data(error: TransformError) -> bool:
    """Whether an error may be due to the record that the function was given: it is not memory that ran out, nor an order to end."""
    kinds = error.details.get("kinds") or ()
    return "builtins.Exception" in kinds and "builtins.MemoryError" not in kinds


def transform_error(error: BaseException, record: int, *, what: str = "transform") -> TransformError:
    """The user's exception as text and plain fields, which cannot do harm where they arrive."""
    try:
        said = str(error)
    except BaseException:
        said = f"<unprintable {type(error).__name__}>"
    try:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__.tb_next if error.__traceback__ else None))
    except BaseException:
        trace = f"<traceback of {type(error).__name__} cannot be printed>"
    where = f"record {record}" if what == "transform" else f"the batch that begins with record {record},"
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    return TransformError(
        f"the {what} failed on {where} with {type(error).__name__}: {shortened(said).rstrip('.')}.",
        hint="Its traceback is below." if trace else "",
        traceback=shortened(trace),
        kinds=kinds,
        record=record,
    )


def received_error(plain: dict[str, Any]) -> StreamloadError:
    """The error that another process wrote down; a TransformError is also an instance of the user's own exception type.

    That type is looked up among the modules that this process has imported already: nothing is imported, and no object of
    the other process is rebuilt. `except ValueError` therefore catches a ValueError of the transform's. Exceptions by which
    Python itself is steered (KeyboardInterrupt, StopIteration and their like) stay plain TransformErrors.
    """
    error = from_plain(plain)
    for name in error.details.get("kinds") or ():
        module, _, kind_name = str(name).partition(".") if str(name).startswith("builtins.") else str(name).rpartition(".")
        kind = getattr(sys.modules.get(module), kind_name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception and not issubclass(kind, _MEANINGFUL):
            try:
                both = type(f"TransformError({kind.__name__})", (TransformError, kind), {"__module__": __name__})
                error = both(error.message, hint=error.hint, **error.details)
            except Exception:
                continue  # It cannot be made from a text alone; perhaps the kind above it can.
            break
    trace = error.details.get("traceback")
    if trace:
        error.add_note(f"\n{trace}")
    return error


def takes_random(function: Callable[..., Any]) -> bool:
    """Whether a function must be given a second argument: the random generator."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return len(required) == 2
