"""What the user is given for each step: the arrays of its records, by field."""

from __future__ import annotations

import dis
import re
import sys
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.order import RunPosition, source_rows, valid_rows
from streamload.ragged import Ragged
from streamload.workers.scheduler import FinishedStep

UNPACKING = frozenset(dis.opmap[name] for name in ("UNPACK_SEQUENCE", "UNPACK_EX") if name in dis.opmap)
"""Instructions that take something apart into names, as `for image, label in loader` does."""

MOST_LISTED = 6
"""Fields that the text about taking a batch apart lists."""


_new = object.__new__


class StateMaker(Protocol):
    """Knows the states of the run that a batch is of."""

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names of the parts of a mixture; empty for a single source."""
        ...

    def state_at(self, at: RunPosition) -> dict[str, Any]:
        """The loader's state where its run stood at this position, as it was planned when the batch was handed out."""
        ...


class Batch(Mapping[str, Any]):
    """The records of one step: a mapping from field names to arrays with the records along their first axis, or to a `Ragged`.

    The arrays are views of shared memory, without a copy, and are the user's own: they may be written to, and stay as they
    are for as long as anything (a slice, a tensor made from one, a memoryview) looks at them. Holding many batches makes
    the loader copy further ones; see `loader.stats.copies`.

    Two batches are equal only where they are the same one. A batch that somebody makes of a plain mapping, as frameworks do
    that rebuild what they move to a device, has fields and nothing else: asking it for `records` is an AttributeError.
    """

    __slots__ = (
        "_fields",
        "_source",
        "_state",
        "_state_maker",
        "_step",
        "_valid",
        "epoch",
        "records",
        "source_names",
        "step",
        "total_step",
    )  # fmt: skip

    _fields: Mapping[str, Any]
    records: NDArray[np.int64]
    """The record numbers, in order: shape (records in this batch,)."""
    epoch: int
    """The number of the epoch, from 0."""
    step: int
    """The number of the step in its epoch, from 0."""
    total_step: int
    """The number of the step, counting on through epochs."""
    source_names: tuple[str, ...]
    """The parts of a mixture, by their numbers in `source`; empty where there is one source."""
    _step: FinishedStep
    """Of a batch that a loader hands out, what all members but the fields are made of when somebody asks for them."""
    _state_maker: StateMaker
    _state: Callable[[], dict[str, Any]] | None
    _valid: Callable[[], NDArray[np.bool_]] | NDArray[np.bool_] | None
    _source: Callable[[], NDArray[np.int8]] | NDArray[np.int8] | None

    def __init__(
        self,
        fields: Mapping[str, Any],
        *,
        records: NDArray[np.int64] | None = None,
        epoch: int = 0,
        step: int = 0,
        total_step: int = 0,
        state: Callable[[], dict[str, Any]] | None = None,
        valid: Callable[[], NDArray[np.bool_]] | None = None,
        source: Callable[[], NDArray[np.int8]] | None = None,
        source_names: tuple[str, ...] = (),
    ) -> None:
        """`state` gives the loader's state after this batch, `valid` and `source` what the properties of these names say; without
        `records` there are the fields alone."""
        self._fields = fields
        if records is not None:
            self.records = records
            self.epoch = epoch
            self.step = step
            self.total_step = total_step
            self._state = state
            self._valid = valid
            self._source = source
            self.source_names = source_names

    @classmethod
    def of_step(cls, step: FinishedStep, state_maker: StateMaker) -> Batch:
        """The batch of a step.

        One is made for every step, and most are asked for a field or two and nothing else: `__getattr__` makes the rest.
        """
        batch = _new(cls)
        batch._fields = step[2]
        batch._step = step
        batch._state_maker = state_maker
        return batch

    if not TYPE_CHECKING:  # Type checkers should go on to find members that are misspelt.

        def __getattr__(self, name: str) -> Any:
            """A member that nobody has asked for yet: Python calls this where there is no such attribute."""
            make = _MAKERS.get(name)
            if make is None or getattr(self, "_step", None) is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            value = make(self, self._step)
            setattr(self, name, value)
            return value

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which records count, shape (records,): all, but for those that repeat others so that every rank has as many."""
        found = self._valid
        if not isinstance(found, np.ndarray):
            self._valid = found = np.ones(len(self.records), np.bool_) if found is None else found()
        return found

    @property
    def source(self) -> NDArray[np.int8]:
        """Which part of a mixture each record is from, shape (records,): the number of its name in `source_names`."""
        found = self._source
        if not isinstance(found, np.ndarray):
            self._source = found = np.zeros(len(self.records), np.int8) if found is None else found()
        return found

    def state_dict(self) -> dict[str, Any]:
        """The loader's state after this batch, for `load_state_dict`: right for whoever takes batches ahead of using them."""
        state = getattr(self, "_state", None)
        if state is None:
            raise AttributeError("this batch was made of a plain mapping: only one that a loader hands out knows the state after it.")
        return state()

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """What a copy consists of: it needs no loader to say what the state was."""
        if not hasattr(self, "records"):
            return None, {"_fields": self._fields}
        plain = {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}
        state = None if self._state is None else partial(dict, self.state_dict())
        return None, {**plain, "_fields": self._fields, "_state": state, "_valid": self.valid, "_source": self.source}

    def keys(self) -> KeysView[str]:
        """The names of the fields."""
        return self._fields.keys()

    def values(self) -> ValuesView[Any]:
        """The arrays of the fields."""
        return self._fields.values()

    def items(self) -> ItemsView[str, Any]:
        """The fields, each as name and array."""
        return self._fields.items()

    def __getitem__(self, name: str) -> Any:
        """The array of a field, shape (records, *field.shape); a `Ragged` where records differ in length."""
        try:
            return self._fields[name]
        except KeyError:
            raise KeyError(f"no field {name!r} in this batch; it has {', '.join(map(repr, self._fields))}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __len__(self) -> int:
        """How many fields there are, as of any mapping; `len(batch.records)` says how many records."""
        return len(self._fields)

    def __iter__(self) -> Iterator[str]:
        """The names of the fields. Raises TypeError where the batch is taken apart, as in `for image, label in loader`."""
        if unpacks(sys._getframe(1)):  # pyright: ignore[reportPrivateUsage]
            raise TypeError(_unpacked(list(self._fields)))
        return iter(self._fields)

    def _ipython_key_completions_(self) -> list[str]:
        """The names of the fields, which IPython and Jupyter offer after `batch["`."""
        return list(self._fields)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def tuple(self, *names: str) -> tuple[Any, ...]:
        """The arrays of the named fields, for `image, label = batch.tuple("image", "label")`."""
        try:
            return tuple(map(self._fields.__getitem__, names))
        except KeyError:
            return tuple([self[name] for name in names])  # Its error says which fields there are.

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {_kind(array)}" for name, array in self._fields.items())
        return f"<Batch {self.step} of epoch {self.epoch}: {shown}>" if hasattr(self, "records") else f"<Batch: {shown}>"


def _state_of(batch: Batch, step: FinishedStep) -> Callable[[], dict[str, Any]]:
    return partial(batch._state_maker.state_at, step.planned.end)  # pyright: ignore[reportPrivateUsage]


def _source_names(batch: Batch, _: FinishedStep) -> tuple[str, ...]:
    return batch._state_maker.source_names  # pyright: ignore[reportPrivateUsage]


def _left_of(step: FinishedStep) -> tuple[int, ...]:
    """By segment, the rows that are left of it; empty if rows that do not count stand for what was left out, or nothing was."""
    return step.valid if step.valid and len(step.records) < step.planned.rows else ()


def _valid_of(_: Batch, step: FinishedStep) -> Callable[[], NDArray[np.bool_]] | None:
    uneven = (step.valid or step.planned.short) and not _left_of(step)
    return partial(valid_rows, step.planned, step.valid) if uneven else None


_MAKERS: dict[str, Callable[[Batch, FinishedStep], Any]] = {
    # People collect record numbers; a copy of a few bytes spares them a held slot.
    "records": lambda _, step: step.records.copy(),
    "epoch": lambda _, step: step.planned.begin.epoch,
    "step": lambda _, step: step.planned.begin.step,
    "total_step": lambda _, step: step.planned.begin.total_step,
    "source_names": _source_names,
    "_state": _state_of,
    "_valid": _valid_of,
    "_source": lambda batch, step: partial(source_rows, step.planned, _left_of(step)) if batch.source_names else None,
}
"""How the members of a batch are made of its step."""


def unpacks(frame: FrameType) -> bool:
    """Whether what a frame does right now is to take something apart into names.

    Everything else that asks for an iterator (a loop over names, `list`, `dict`, a framework that walks through a tree) is
    another instruction, and is not mistaken for it.
    """
    return frame.f_code.co_code[frame.f_lasti] in UNPACKING


def _unpacked(fields: Sequence[str]) -> str:
    """The error text for code that unpacks a batch."""
    some = fields[:MOST_LISTED]
    names = ", ".join(re.sub(r"\W|^(?=\d)", "_", name) for name in some)
    names += "," if len(some) == 1 else ""
    return (
        f"a batch is a mapping, and unpacking it would give names, not arrays. "
        f"Write {names} = batch.tuple({', '.join(map(repr, some))}), in a loop over batches, or dict(batch)."
    )


def _kind(array: Any) -> str:
    if isinstance(array, np.ndarray):
        return f"{array.dtype} {array.shape}"
    return f"ragged {array.kind}" if isinstance(array, Ragged) else type(array).__name__
