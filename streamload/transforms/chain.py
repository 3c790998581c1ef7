"""A chain of operations at work: what was drawn for some records, operation by operation, and the steps that come of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.transforms.draws import Draws
from streamload.transforms.placement import Placement, Where, Whole

GEOMETRY, COLOR, NORMALIZE, ERASE = range(4)
"""Phases of a chain, in the order in which they run."""
PHASES = ("geometry", "colour", "normalisation", "erasing")


class Operation(Protocol):
    """One operation of a chain: a plain value, named as torchvision's `v2` names it where it has it."""

    @property
    def phases(self) -> tuple[int, int]:
        """The first and the last phase that it has a part in."""
        ...

    def apply(self, chain: Chain) -> None:
        """Draw for every record, and add what it does to the chain.

        Raises ConfigError for images that it cannot work on; `chain.known` and `chain.channels` say what is known of them.
        """
        ...


def is_operation(value: object) -> bool:
    """Whether a value is an operation: one that was made, and not the class of one."""
    return hasattr(value, "apply") and hasattr(value, "phases") and not isinstance(value, type)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Step:
    """A kernel with its parameters."""

    kernel: str
    parameters: Sequence[Any]
    """Each a number for all records, or an array of one a record."""
    where: Where = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Group:
    """Steps that each record does in an order of its own."""

    steps: tuple[Step, ...]
    order: NDArray[np.int64]
    """Shape (records, steps)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What one operation drew, for `explain`."""

    operation: str
    depth: int
    """In how many others it stands."""
    where: Where
    values: dict[str, Any]
    """By name: the same for all records, or an array whose first axis is records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """A rectangle that is erased, of the records that it applies to."""

    top: Whole
    left: Whole
    height: Whole
    width: Whole
    value: tuple[float, ...]
    """In what is delivered: of each channel, or one for all."""
    where: Where


@dataclass(kw_only=True, slots=True)
class Chain:
    """What operations share while they are put together for some records."""

    draws: Draws
    placement: Placement
    channels: int
    """Of the images, as colour finds them: `set_channels` changes it."""
    most_channels: int = field(init=False, default=0)
    """The most that they have had between two steps so far: what planes must have room for."""
    depth: Placement | None = None
    """Of volumes, where planes come from: as `placement`, of an image that is one pixel wide. None of images."""
    crop: int = 0
    """Which of several crops of a record is made."""
    colors: list[Step | Group] = field(default_factory=list[Step | Group])
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    erased: list[Erased] = field(default_factory=list[Erased])
    drawn: list[Drawn] = field(default_factory=list[Drawn])
    where: Where = None
    """The records that the operation at hand applies to, since those around it say so."""
    _names: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.most_channels = self.channels

    @property
    def sizes(self) -> tuple[Whole, Whole]:
        """Heights and widths as they are now; one number for all where it is known of those at hand."""
        return self.placement.known or self.placement.size

    def set_channels(self, channels: int) -> None:
        """Images have so many channels from here on."""
        self.channels, self.most_channels = channels, max(self.most_channels, channels)

    def run(self, operations: Sequence[Operation]) -> None:
        """Let operations add what they do, one after the other."""
        for operation in operations:
            self.draws.begin_operation()
            self._names.append(type(operation).__name__)
            operation.apply(self)
            self._names.pop()

    @contextmanager
    def only(self, where: Where) -> Generator[None]:
        """What is added meanwhile applies to these records alone; their size stays known afterwards if it is what it was."""
        before, known = self.where, self.placement.known
        self.where = self._both(where)
        yield
        self.where = before
        if where is not None and where is not before and self.placement.known != known:
            self.placement.known = None

    def chance(self, p: float) -> Where:
        """The records that an operation with a chance of `p` applies to, of those that it may; None for all."""
        return self._both(None if p >= 1 else self.draws.fractions(1)[0] < p)

    def _both(self, where: Where) -> Where:
        if where is None or self.where is None:
            return self.where if where is None else where
        return self.where & where

    def note(self, where: Where = None, **values: Any) -> None:
        """Say what was drawn, for `explain`."""
        self.drawn.append(Drawn(operation=self._names[-1], depth=len(self._names) - 1, where=self._both(where), values=values))

    def color(self, kernel: str, *parameters: Any, where: Where = None) -> None:
        """Add a step of colour; each parameter is a number, or an array of one a record."""
        self.colors.append(Step(kernel=kernel, parameters=parameters, where=self._both(where)))
