"""How long storage is waited for: what a wait looks like from within is that this process reads, and does not run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from streamload.source import ReadStats


class ReadingTime:
    """Entered for as long as a step or a block is read, by whichever reader; counts the time that this process did not run.

    What is mapped and present is copied without a wait, and a small step takes hardly longer than telling the time does: once all
    files are at hand nothing is timed, as long as no page had to be fetched from storage after all (a major fault) when that was
    last looked at.
    """

    def __init__(self, meter: ReadStats) -> None:
        self.disk_ns = 0
        """Nanoseconds of waiting so far."""
        self.is_timed = True
        """Whether it is worth entering."""
        self._meter = meter
        self._at_hand = False
        self._faults = 0
        self._began: tuple[int, int, int] | None = None

    def find_at_hand(self) -> None:
        """All files are mapped, and their pages present."""
        self._at_hand, self.is_timed, self._faults = True, False, _major_faults()

    def look_for_faults(self) -> None:
        """See whether pages had to be fetched since the last look. To be called every few steps."""
        if self._at_hand:
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
        """Tell the kernel, or readers, what comes next: that may wait for the device, or for tables that are read for it."""
        with self:
            began = time.perf_counter_ns()
            ahead()
            self._meter.read_ns += time.perf_counter_ns() - began


def _major_faults() -> int:
    """Pages that this thread has had to wait for."""
    if sys.platform != "linux":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
