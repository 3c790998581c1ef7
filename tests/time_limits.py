"""Limits of time that grow with the slowness of the machine, measured only where a limit is passed.

A limit is written as it holds on an idle machine. Whoever passes it is judged by how long a Python process takes to start at
that moment: on a busy machine everything takes so much longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

GUARD_SECONDS = 600.0
"""For what ends by itself unless it hangs: long enough on any machine."""
IDLE_START_SECONDS = 0.03
"""What starting Python without its libraries takes on an idle machine."""
MOST_TIMES_SLOWER = 60.0
"""A machine that is slower still is not to be told from one that hangs."""


def slowness() -> float:
    """How many times slower than an idle machine this one is now: at least 1, and at least the processes that wait per core."""
    began = time.monotonic()
    for _ in range(3):
        subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
    taken = (time.monotonic() - began) / 3
    running = os.getloadavg()[0] / (os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count() or 1)
    return min(MOST_TIMES_SLOWER, max(1.0, running, taken / IDLE_START_SECONDS))


def within(taken: float, limit: float) -> bool:
    """Whether something took at most `limit` seconds of an idle machine."""
    return taken <= limit or taken <= limit * slowness()


class Deadline:
    """A moment that moves away from who is slowed down by others."""

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
        self._seconds = self._scaled = seconds

    @property
    def passed(self) -> bool:
        """Whether the time is over, also as the machine is now."""
        taken = time.monotonic() - self._began
        if taken <= self._scaled:
            return False
        self._scaled = max(self._scaled, self._seconds * slowness())
        return time.monotonic() - self._began > self._scaled
