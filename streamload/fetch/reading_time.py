"""Measures how long a process waits for storage: the time during which it is in a read and its thread does not run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from streamload.source import ReadStats


class ReadingTime:
    """A context that is entered while a step or a block is read; adds the time that the thread spent waiting to `disk_ns`.

    Reading mapped pages that are in memory needs no waiting, and a small step takes hardly longer than reading the clock. So once all
    files are mapped and present, nothing is timed, until a page has had to be fetched from storage after all (a major fault).
    """

    def __init__(self, meter: ReadStats) -> None:
        self.disk_ns = 0
        """Nanoseconds of waiting so far."""
        self.is_timed = True
        """Whether entering measures anything; otherwise it may be left out."""
        self._meter = meter
        self._all_mapped = False
        self._faults = 0
        self._began: tuple[int, int, int] | None = None

    def note_all_mapped(self) -> None:
        """Stop timing: all files are mapped, and their pages are in memory."""
        self._all_mapped, self.is_timed, self._faults = True, False, _major_faults()

    def look_for_faults(self) -> None:
        """Time again if pages had to be fetched from storage since the last call. To be called every few steps."""
        if self._all_mapped:
            faults = _major_faults()
            self.is_timed, self._faults = faults > self._faults, faults

    def __enter__(self) -> None:
        self._began = (self._meter.read_ns, time.perf_counter_ns(), time.thread_time_ns()) if self.is_timed else None

    def __exit__(self, *_: object) -> None:
        if self._began is not None:
            read, wall, ran = self._began
            blocked = time.perf_counter_ns() - wall - (time.thread_time_ns() - ran)
            self.disk_ns += max(0, min(blocked, self._meter.read_ns - read))

    def tell(self, ahead: Callable[[], None]) -> None:
        """Call `ahead`, which gives advice, and count its time as reading: it may wait for storage itself."""
        with self:
            began = time.perf_counter_ns()
            ahead()
            self._meter.read_ns += time.perf_counter_ns() - began


def _major_faults() -> int:
    """How many pages this thread has had to wait for, in its life. 0 on systems that do not count them by thread."""
    if sys.platform != "linux":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
