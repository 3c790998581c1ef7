"""Runs the steps of records, compiled or plain, in planes of its own that are used again for every record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.frame import FRAME_WORDS, ITEM_NBYTES, KINDS, OUT_KIND, PLANES, SOURCE_KIND, SPARE, STREAM, TABLE, WORDS
from streamload.kernels.augment.plain import run as run_plain
from streamload.scratch import Scratch


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """What is to be done with some records: steps with parameters, and for each record which of them in which order."""

    kernels: tuple[str, ...]
    """Of each step."""
    columns: NDArray[np.int64]
    """Where in a row of `values` the parameters of each step begin: shape (steps,)."""
    values: NDArray[np.float64]
    """Parameters: shape (records, parameters)."""
    order: NDArray[np.int64]
    """Steps of each record, those below 0 left out: shape (records, places)."""
    elements: int
    """The most elements, all channels together, that a record has between two steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelFormat:
    """What records look like as they are stored and as they come out."""

    dtype: np.dtype
    """Of a stored element."""
    channels: int
    planar: bool
    """Whether channels lie one after the other (CHW), not woven (HWC)."""
    plane_nbytes: int
    """Of an element between two steps."""
    out_nbytes: int
    """Of a record as it comes out."""
    out_kind: str = "float32"
    """One of `KINDS`, for kernels that take any."""


class Runner(Protocol):
    """Does steps."""

    def run(
        self,
        steps: Steps,
        records: NDArray[np.int64],
        form: PixelFormat,
        *,
        words: NDArray[np.uint32],
        past_caches: bool,
        start: int,
        stop: int,
    ) -> None:
        """Do the steps of records [start, stop).

        A row of `records`, shape (records, 5), is the address of a stored record, its height and width, the address where it
        goes, and its number.
        """
        ...


class CompiledRunner:
    """With compiled kernels; `load` gives the module of the loop and kernels by name."""

    def __init__(self, load: Any) -> None:
        self._load = load
        self._addresses: dict[tuple[str, ...], NDArray[np.int64]] = {}
        self._frame = np.zeros(FRAME_WORDS, np.int64)
        self._planes, self._tables = Scratch(), Scratch()

    def kernels(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Addresses of kernels, compiled or loaded where they have not been: shape (len(names),)."""
        names = tuple(names)
        if names not in self._addresses:
            run, found = self._load(names)
            self._run = run.run
            self._addresses[names] = run.kernel_addresses(found)
        return self._addresses[names]

    def run(
        self,
        steps: Steps,
        records: NDArray[np.int64],
        form: PixelFormat,
        *,
        words: NDArray[np.uint32],
        past_caches: bool,
        start: int,
        stop: int,
    ) -> None:
        """Do the steps of records [start, stop); see `Runner.run`."""
        kernels, frame = self.kernels(steps.kernels), self._frame
        apart = -(-(steps.elements * form.plane_nbytes + 64) // 64) * 64
        planes = self._planes.room(2 * apart + 64)
        tables = self._tables.room(256 * max(form.channels, 3))  # Grey images may become colour.
        first = -(-planes.ctypes.data // 64) * 64  # Planes begin with a line of the cache.
        frame[PLANES], frame[SPARE], frame[TABLE] = first, first + apart, tables.ctypes.data
        frame[STREAM], frame[ITEM_NBYTES], frame[WORDS] = past_caches, form.dtype.itemsize, words.ctypes.data
        frame[SOURCE_KIND] = KINDS.index(form.dtype.name) if form.dtype.name in KINDS else -1
        frame[OUT_KIND] = KINDS.index(form.out_kind)
        self._run(frame, kernels, steps.columns, steps.values, steps.order, records, form.channels, int(form.planar), start, stop)


class PlainRunner:
    """With the plain kernels, which `load` gives by name."""

    def __init__(self, load: Any) -> None:
        self._load = load

    def run(
        self,
        steps: Steps,
        records: NDArray[np.int64],
        form: PixelFormat,
        *,
        words: NDArray[np.uint32],
        past_caches: bool,
        start: int,
        stop: int,
    ) -> None:
        """Do the steps of records [start, stop); see `Runner.run`."""
        run_plain.run(
            [self._load(name) for name in steps.kernels],
            steps.columns,
            steps.values,
            steps.order,
            records,
            words=words,
            dtype=form.dtype,
            channels=form.channels,
            planar=form.planar,
            out_nbytes=form.out_nbytes,
            out_kind=form.out_kind,
            start=start,
            stop=stop,
        )
