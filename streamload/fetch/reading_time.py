"""How long storage is waited for: what a wait looks like from within is that this process reads, and does not run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from streamload.source import ReadStats


class ReadingTime:
    """Entered for as long as a step or a block is read, by whichever reader; counts the time that this process did not run.

    What is mapped and present is copied without a wait, and a small step takes hardly longer than telling the time does: with
    `at_hand` nothing is timed, as long as no page had to be fetched from storage after all (a major fault) when that was last
    looked at.
    """

    def __init__(self, meter: ReadStats) -> None:
        self.disk_ns = 0
        """Nanoseconds of waiting so far."""
        self.at_hand = False
        """Whether all files are mapped, and were present when they were."""
        self._meter = meter
        self._timed = False
        self._faults = 0
        self._faulting = False
        self._began = (0, 0, 0)

    def look_for_faults(self) -> None:
        """See whether pages had to be fetched since the last look. To be called every few steps."""
        if self.at_hand and sys.platform == "linux":
            import resource

            faults = resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
            self._faulting, self._faults = faults > self._faults, faults

    def __enter__(self) -> None:
        self._timed = self._faulting or not self.at_hand
        if self._timed:
            self._began = self._meter.read_ns, time.perf_counter_ns(), time.thread_time_ns()

    def __exit__(self, *_: object) -> None:
        if self._timed:
            read, wall, ran = self._began
            blocked = time.perf_counter_ns() - wall - (time.thread_time_ns() - ran)
            self.disk_ns += max(0, min(blocked, self._meter.read_ns - read))

    def tell(self, ahead: Callable[[], None]) -> None:
        """Tell the kernel, or readers, what comes next: that may wait for the device, or for tables that are read for it."""
        with self:
            began = time.perf_counter_ns()
            ahead()
            self._meter.read_ns += time.perf_counter_ns() - began
