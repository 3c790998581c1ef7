"""The device itself: reads that pass the page cache by, at a chosen size and queue depth."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

from streamload.storage.direct_io import DirectReads
from streamload.tools.benchmark.peers.serving import Clock, Config, Sink

SECTOR = 512
PAGE = 4_096


class Direct:
    """A file opened for direct reads, with the alignment that its device asks for."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        self.nbytes = os.fstat(self.fd).st_size
        self.align = SECTOR
        with mmap.mmap(-1, PAGE) as buffer:
            try:
                os.preadv(self.fd, [memoryview(buffer)[:SECTOR]], SECTOR)
            except OSError:
                self.align = PAGE

    def read(self, offsets: list[int], nbytes: int, depth: int) -> int:
        """Read `nbytes` at each offset, rounded to the alignment, `depth` at once; the bytes that came."""
        length = -(-nbytes // self.align) * self.align
        places = [offset // self.align * self.align for offset in offsets]
        reads = DirectReads(depth * length, most=depth, alignment=self.align)
        begun = came = 0
        try:
            for k in range(len(places)):
                while begun < len(places) and reads.begin(begun, self.fd, places[begun], min(length, self.nbytes - places[begun])):
                    begun += 1
                here = reads.take(k)
                came += 0 if here is None else len(here)
                reads.done(k)
        finally:
            reads.close()
        return came


def make(config: Config) -> Any:
    """Passes over a file: `order` "random" or "sequential", in reads of `size` bytes, `depth` at once.

    A pass reads the whole file, or `most` bytes of it at random places.
    """
    file = Direct(config["path"])
    rng = np.random.default_rng(0)
    sink = Sink(1, 1)

    def one_pass(request: Config) -> dict[str, Any]:
        size, depth = request.get("size", config.get("size")), request.get("depth", config.get("depth"))
        order, most = request.get("order", config.get("order", "random")), request.get("most", file.nbytes)
        slots = max(1, file.nbytes // size)
        count = max(1, min(slots, most // size))
        places = rng.permutation(slots)[:count] if order == "random" else np.arange(count)
        clock = Clock(sink, request)
        came = file.read((places * size).tolist(), size, depth)
        sink.records, sink.nbytes = count, min(came, count * size)
        return clock.stop()

    return one_pass
