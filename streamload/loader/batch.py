"""What a step hands to the user: arrays of a few records, by field."""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray


class Batch:
    """The records of one step: a mapping from field names to arrays with the records along their first axis, or to a `Ragged`.

    The arrays are views of shared memory, without a copy, and are the user's own: they may be written to, and stay as they
    are for as long as anything (a slice, a tensor made from one, a memoryview) looks at them. Holding many batches makes
    the loader copy further ones; see `loader.stats.copies`.
    """

    __slots__ = ("_fields", "epoch", "records", "step", "total_step")

    def __init__(self, fields: dict[str, Any], *, records: NDArray[np.int64], epoch: int, step: int, total_step: int) -> None:
        self._fields = fields
        self.records = records
        """The record numbers, in order: shape (records in this batch,)."""
        self.epoch = epoch
        """The number of the epoch, from 0."""
        self.step = step
        """The number of the step in its epoch, from 0."""
        self.total_step = total_step
        """The number of the step, counting on through epochs."""

    def keys(self) -> KeysView[str]:
        """The names of the fields."""
        return self._fields.keys()

    def __getitem__(self, name: str) -> Any:
        """The array of a field, shape (records, *field.shape); a `Ragged` where records differ in length."""
        try:
            return self._fields[name]
        except KeyError:
            raise KeyError(f"no field {name!r} in this batch; it has {', '.join(map(repr, self._fields))}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def tuple(self, *names: str) -> tuple[Any, ...]:
        """The arrays of the named fields, for `image, label = batch.tuple("image", "label")`."""
        return tuple(self[name] for name in names)

    def __iter__(self) -> Iterator[NoReturn]:
        names = ", ".join(self._fields)
        quoted = ", ".join(map(repr, self._fields))
        raise TypeError(
            f"a batch is a mapping, and unpacking it would give names, not arrays. Write {names} = batch.tuple({quoted}), or dict(batch)."
        )

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {_kind(array)}" for name, array in self._fields.items())
        return f"<Batch {self.step} of epoch {self.epoch}: {shown}>"


def _kind(array: Any) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else f"ragged {array.kind}"
