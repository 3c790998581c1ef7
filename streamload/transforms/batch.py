"""The user's function of a whole batch: arrays of records in, arrays of as many records out, with other shapes, dtypes and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, SchemaMismatchError
from streamload.masked_arrays import refuse_masked
from streamload.ragged import Ragged
from streamload.schema import Field, Schema
from streamload.transforms.draws import batch_words
from streamload.transforms.record import takes_random, transform_error


class BatchTransform:
    """A batch transform at work."""

    def __init__(self, function: Callable[..., dict[str, Any]]) -> None:
        self._function = function
        self._wants_random = takes_random(function)

    def call(self, batch: Mapping[str, Any], records: NDArray[np.int64], *, seed: int, epoch: int, position: int) -> dict[str, Any]:
        """What becomes of a batch: by name, arrays of shape (records, ...), or a Ragged of as many records.

        A random generator, where the function takes one, is that of (seed, epoch, position of the batch's first record). Raises
        TransformError, naming the first record, for whatever the function raises, and ConfigError for what is no batch.
        """
        try:
            if self._wants_random:
                words = batch_words(seed, epoch, position)[4:8].astype(np.uint64)
                generator = np.random.Generator(np.random.Philox(key=words[0::2] | words[1::2] << np.uint64(32)))
                result = self._function(dict(batch), generator)
            else:
                result = self._function(dict(batch))
        except (SystemExit, MemoryError) as error:
            if isinstance(error, SystemExit):
                raise
            raise transform_error(error, int(records[0]), what="batch transform") from None
        except BaseException as error:
            raise transform_error(error, int(records[0]), what="batch transform") from None
        if not isinstance(cast(object, result), dict):
            raise ConfigError(
                f"the batch transform returned {type(result).__name__}, where a dict of arrays was expected.",
                hint='Return the fields by name: return {"image": images, "label": labels}.',
            )
        for name, value in result.items():
            refuse_masked(value, f"the batch transform's field {name!r}")
        return {str(name): value if isinstance(value, Ragged) else _native(np.asarray(value)) for name, value in result.items()}

    @staticmethod
    def schema(result: Mapping[str, Any], count: int) -> Schema:
        """The fields of what a batch of `count` records became. Raises ConfigError for what cannot be delivered."""
        fields: list[Field] = []
        for name, value in result.items():
            if isinstance(value, Ragged):
                fields.append(Field(name, value.values.dtype, value.values.shape[1:], value.kind))
                continue
            if value.dtype.hasobject:
                raise ConfigError(
                    f"the batch transform's field {name!r} is of dtype {value.dtype}, which cannot lie in shared memory.",
                    hint="Return arrays of numbers, or of fixed-length bytes.",
                )
            if value.ndim == 0 or len(value) != count:
                raise ConfigError(
                    f"the batch transform's field {name!r} has shape {value.shape} for a batch of {count} records.",
                    hint="Return arrays with a row for each record.",
                )
            fields.append(Field(name, value.dtype, value.shape[1:]))
        return Schema(tuple(fields))

    @staticmethod
    def check(result: Mapping[str, Any], count: int, schema: Schema) -> None:
        """Raise SchemaMismatchError where a batch became something else than the first one did."""
        if set(result) != set(schema.names):
            raise SchemaMismatchError(
                f"the batch transform returned fields {sorted(result)}, and {sorted(schema.names)} for the first batch.",
                hint="Return the same fields for every batch.",
            )
        for field in schema:
            value = result[field.name]
            values = value.values if isinstance(value, Ragged) else value
            rows = len(value)
            kind = value.kind if isinstance(value, Ragged) else ""
            if (kind, values.dtype, values.shape[1:]) != (field.ragged, field.dtype, field.shape) or rows != count:
                raise SchemaMismatchError(
                    f"the batch transform's field {field.name!r} is {values.dtype} {values.shape[1:]} of {rows} records, "
                    f"and was {field.dtype} {field.shape} for the first batch; this one has {count} records.",
                    hint="Return the same dtype and shape for every batch, with a row for each record.",
                    dataset=field.name,
                )


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """An array in this machine's order of bytes."""
    return array.astype(array.dtype.newbyteorder("=")) if array.dtype.byteorder == ">" else array
