"""Decoded chunks that a reader keeps, because records of them were left over and may be wanted next."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from streamload.reuse.scratch import watch

KEPT_NBYTES = 16 * 1024**2
"""As many bytes of chunks are kept, or two chunks if that is more."""
KEPT_MOST = 1024
"""The most chunks kept, however small."""


def most_nbytes(chunk_nbytes: int) -> int:
    """The most memory that chunks of one size take, with the one that is being decoded."""
    return max(2 * chunk_nbytes, KEPT_NBYTES) + chunk_nbytes


class ChunkCache:
    """The chunks used last, by (part, chunk); the one used longest ago goes first, and its buffer serves the next."""

    def __init__(self) -> None:
        self._chunks: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._nbytes = 0
        self._spare: NDArray[np.uint8] | None = None
        watch(self)

    def __len__(self) -> int:
        return len(self._chunks)

    def of(self, part: int) -> list[int]:
        """The chunks of a part that are kept."""
        return [chunk for index, chunk in self._chunks if index == part]

    def use(self, part: int, chunk: int) -> NDArray[np.uint8]:
        """A chunk that is kept, which counts as used now."""
        self._chunks.move_to_end((part, chunk))
        return self._chunks[part, chunk]

    def room(self, nbytes: int) -> NDArray[np.uint8]:
        """A buffer to decode a chunk of `nbytes` into; give it back with `keep` or `let_go`."""
        spare, self._spare = self._spare, None
        if spare is not None and len(spare) == nbytes:
            return spare
        while self._chunks and (self._nbytes + nbytes > max(2 * nbytes, KEPT_NBYTES) or len(self._chunks) >= KEPT_MOST):
            _, oldest = self._chunks.popitem(last=False)
            self._nbytes -= len(oldest)
            if len(oldest) == nbytes:
                return oldest
        return np.empty(nbytes, np.uint8)

    def keep(self, part: int, chunk: int, room: NDArray[np.uint8]) -> None:
        """Keep the chunk that was decoded into `room`."""
        self._chunks[part, chunk] = room
        self._nbytes += len(room)

    def let_go(self, room: NDArray[np.uint8]) -> None:
        """Give a buffer back whose chunk is not wanted again."""
        self._spare = room

    def overwrite(self, value: int) -> None:
        """Fill the buffer that no chunk lies in with a byte."""
        if self._spare is not None:
            self._spare[:] = value

    def clear(self) -> None:
        """Let go of everything."""
        self._chunks.clear()
        self._nbytes = 0
        self._spare = None
