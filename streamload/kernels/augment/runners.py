"""Runs the steps of records, compiled or plain, in planes of its own that are used again for every record."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ResourceError
from streamload.kernels.augment.frame import (
    FRAME_WORDS,
    ITEM_NBYTES,
    KINDS,
    OUT_KIND,
    PLANES,
    SOURCE_HEIGHT,
    SOURCE_KIND,
    SOURCE_WIDTH,
    SPARE,
    STREAM,
    TABLE,
    UNFINISHED,
    WORDS,
)
from streamload.kernels.augment.plain import run as run_plain
from streamload.reuse.scratch import Scratch

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
"""A kernel as the interpreter calls it, which lets go of its lock meanwhile."""


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


Work = Callable[[int, int], None]
"""Does the steps of records [start, stop), once a runner has been told of all of them."""


class Runner(Protocol):
    """Does steps."""

    def prepared(
        self, steps: Steps, records: NDArray[np.int64], form: PixelFormat, *, words: NDArray[np.uint32], past_caches: bool
    ) -> Work:
        """What does the steps of some of these records, as `records` and `steps.values` are by then.

        A row of `records`, shape (records, 5), is the address of a stored record, its height and width, the address where it
        goes, and its number. Nothing else may run in between in which a record has more elements.
        """
        ...


class CompiledDraw:
    """The compiled hash."""

    def __init__(self, address: int) -> None:
        self._draw = KERNEL(address)

    def draw(self, words: NDArray[np.uint32], records: NDArray[np.int64], first: int, step: int, out: NDArray[np.uint32]) -> None:
        """Put into out[k, j] the draw of number `first + step * j` for record `records[k]`; shape (records, draws)."""
        given = (ctypes.c_int64 * 7)(address_of(words), address_of(records), address_of(out), first, step, *out.shape)
        self._draw(0, ctypes.addressof(given))


class CompiledRunner:
    """With compiled kernels; `load` gives the addresses of kernels by their names."""

    def __init__(self, load: Callable[[tuple[str, ...]], Sequence[int]]) -> None:
        self._load = load
        self._addresses: dict[tuple[str, ...], NDArray[np.int64]] = {}
        self._planes, self._tables = Scratch(), Scratch()
        self._run: Callable[[int, int], object] | None = None

    def kernels(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Addresses of kernels, compiled or loaded where they have not been: shape (len(names),)."""
        names = tuple(names)
        if names not in self._addresses:
            self._addresses[names] = np.array(self._load(names), np.int64)
        return self._addresses[names]

    def prepared(
        self, steps: Steps, records: NDArray[np.int64], form: PixelFormat, *, words: NDArray[np.uint32], past_caches: bool
    ) -> Work:
        """What does the steps of some of these records; see `Runner.prepared`."""
        if self._run is None:
            self._run = KERNEL(self._load(("run",))[0])
        kernels, frame, run = self.kernels(steps.kernels), (ctypes.c_int64 * FRAME_WORDS)(), self._run
        apart = -(-(steps.elements * form.plane_nbytes + 64) // 64) * 64
        planes = self._planes.room(2 * apart + 64)
        tables = self._tables.room(256 * max(form.channels, 3))  # Grey images may become colour.
        first = -(-address_of(planes) // 64) * 64  # Planes begin with a line of the cache.
        frame[PLANES], frame[SPARE], frame[TABLE] = first, first + apart, address_of(tables)
        frame[STREAM], frame[ITEM_NBYTES], frame[WORDS] = past_caches, form.dtype.itemsize, address_of(words)
        frame[SOURCE_KIND], frame[OUT_KIND] = _kind_of(form.dtype), KINDS.index(form.out_kind)
        held = (kernels, steps.columns, steps.values, steps.order, records)
        places = (steps.values.shape[1], steps.order.shape[1])
        given = (ctypes.c_int64 * 11)(*map(address_of, held), *places, form.channels, form.planar, 0, 0)
        at, arguments = ctypes.addressof(frame), ctypes.addressof(given)

        def work(start: int, stop: int, _held: tuple[Any, ...] = (held, words, planes, tables, frame)) -> None:
            given[9], given[10] = start, stop
            run(at, arguments)
            if frame[UNFINISHED]:
                frame[UNFINISHED] = 0
                raise _no_memory(frame[SOURCE_HEIGHT], frame[SOURCE_WIDTH])

        return work


def _no_memory(height: int, width: int) -> ResourceError:
    return ResourceError(
        f"augmenting {height} x {width} elements needs memory, and the system does not give it.",
        hint="Lower `memory=` or num_workers, or free memory on this machine.",
        errno=errno.ENOMEM,
    )


@cache
def _kind_of(dtype: np.dtype) -> int:
    """Which of `KINDS` a dtype is; -1 for none. To ask a dtype for its name takes 6 us."""
    return KINDS.index(dtype.name) if dtype.name in KINDS else -1


class PlainRunner:
    """With the plain kernels, which `load` gives by name."""

    def __init__(self, load: Any) -> None:
        self._load = load

    def prepared(
        self, steps: Steps, records: NDArray[np.int64], form: PixelFormat, *, words: NDArray[np.uint32], past_caches: bool
    ) -> Work:
        """What does the steps of some of these records; see `Runner.prepared`."""

        def work(start: int, stop: int) -> None:
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

        return work


def address_of(array: NDArray[Any]) -> int:
    """Where an array lies, which must be C-contiguous."""
    return array.__array_interface__["data"][0]
