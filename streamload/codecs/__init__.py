"""Filters of HDF5 and codecs of Zarr, undone outside their libraries: which can be, and how a stored chunk becomes its bytes again."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from streamload.codecs.array_codecs import ARRAY_STEPS
from streamload.codecs.filters import STEPS as HDF5_STEPS
from streamload.codecs.filters import FilterStep, Undo
from streamload.errors import CorruptDataError, StreamloadError
from streamload.reuse.scratch import Scratch

Filters = Sequence[tuple[int, Sequence[int]]]
"""A dataset's filters in the order in which they were applied: HDF5's number, and the values stored with it."""

STEPS: dict[int, FilterStep] = {**HDF5_STEPS, **ARRAY_STEPS}
SHUFFLE = 2
"""The filter that does nothing to elements of one byte."""
MOST_PLANS = 64
"""Different filter masks for which the steps are remembered: honest files have a few, damaged ones any number."""
NAMES = {number: step.name for number, step in HDF5_STEPS.items()}
"""What people call the filters that can be undone here, by HDF5's number."""


def supported(filters: Filters, dtype: np.dtype) -> bool:
    """Whether chunks of `dtype`, as it is stored, with these filters can be decoded here; if not, libhdf5 has to."""
    if dtype.hasobject or find_spec("imagecodecs") is None:
        return False
    return all(number in HDF5_STEPS and HDF5_STEPS[number].accepts(tuple(values)) for number, values in filters)


class FilterPipeline:
    """The way back from stored bytes to a chunk's elements, for one list of filters. Not shared between threads.

    Whatever the stored bytes say, no more than `scratch_nbytes` of memory is used: damage is an error.
    """

    def __init__(self, filters: Filters, itemsize: int, chunk_nbytes: int) -> None:
        self._filters = [(number, tuple(values)) for number, values in filters]
        self._itemsize = itemsize
        self._chunk_nbytes = chunk_nbytes
        self._undos: dict[int, Undo] = {}
        self._plans: dict[int, list[tuple[str, Undo, NDArray[np.uint8] | None]]] = {}
        self._rooms = Scratch(), Scratch()
        self._bounds = [chunk_nbytes]
        self._idle = 0
        for i, (number, values) in enumerate(self._filters):
            self._bounds.append(STEPS[number].most(self._bounds[-1]))
            self._idle |= (number == SHUFFLE and (values[0] if values else itemsize) <= 1) << i

    @property
    def scratch_nbytes(self) -> int:
        """The most memory that decoding uses besides its input and its output, in bytes."""
        writing = [i for i, (number, _) in enumerate(self._filters) if STEPS[number].writes and not self._idle >> i & 1]
        inner = writing[1:] if writing[:1] == [0] else writing
        extra = sum(STEPS[number].scratch(nbytes) for (number, _), nbytes in zip(self._filters, self._bounds, strict=False))
        return max(self._bounds[:-1], default=0) * min(2, len(inner)) + extra

    def decode(self, stored: NDArray[np.uint8] | memoryview, mask: int = 0, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The chunk that `stored` holds, in `out` (`chunk_nbytes` of uint8, contiguous) or in a new array.

        Bit i of `mask` says that filter i was not applied to this chunk. Raises ChecksumError where a checksum is wrong
        and CorruptDataError where the bytes cannot be what the filters wrote; the text names neither file nor chunk.
        """
        if out is None:
            out = np.empty(self._chunk_nbytes, np.uint8)
        plan = self._plans.get(mask)
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[mask] = self._planned(mask)
        data = stored if isinstance(stored, np.ndarray) else np.frombuffer(stored, np.uint8)
        name = ""
        try:
            for name, undo, room in plan:  # noqa: B007 - the handlers below say which step it was
                data = undo(data, out if room is None else room)
        except (StreamloadError, MemoryError):
            raise
        except Exception as error:
            raise CorruptDataError(f"{name} cannot decode {len(data):,} bytes ({error}).") from error
        if len(data) != self._chunk_nbytes:
            raise CorruptDataError(f"{name} gave {len(data):,} bytes where the chunk has {self._chunk_nbytes:,}.")
        return out

    def _planned(self, mask: int) -> list[tuple[str, Undo, NDArray[np.uint8] | None]]:
        """The steps for a mask, last filter first; the very last writes to the caller's buffer (None)."""
        applied = [i for i in range(len(self._filters)) if not (mask | self._idle) >> i & 1]
        writing = [i for i in applied if STEPS[self._filters[i][0]].writes]
        plan: list[tuple[str, Undo, NDArray[np.uint8] | None]] = []
        for i in reversed(applied):
            number, values = self._filters[i]
            if i not in self._undos:
                self._undos[i] = STEPS[number].make(values, self._itemsize)
            room = None if i not in writing or i == applied[0] else self._room(writing.index(i) % 2)
            plan.append((STEPS[number].name, self._undos[i], room))
        if not writing or writing[0] != applied[0]:
            plan.append((plan[-1][0] if plan else "a chunk without filters", copied, None))
        return plan

    def _room(self, which: int) -> NDArray[np.uint8]:
        """One of the two buffers between steps: they take turns, so that no step writes where it reads."""
        return self._rooms[which].room(max(self._bounds[:-1]))


def copied(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`data` in `room`, or as it is where it does not fit."""
    if len(data) != len(room):
        return data
    room[:] = data
    return room
