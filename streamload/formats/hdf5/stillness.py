"""Whether a process that should get on stands still, told by its own processor time: a busy machine is no fault of a file."""

from __future__ import annotations

import os

ASLEEP = "SD"
"""States of a process, as /proc has them, in which it waits for something else than a processor."""


class Stillness:
    """What a process has spent since it last got on: processor time, and time in which it waited for no processor."""

    def __init__(self, now: float, *, busy_seconds: float, asleep_seconds: float) -> None:
        self._limits = busy_seconds, asleep_seconds
        self._looked = now
        self._used: float | None = None
        self._busy = self._asleep = 0.0

    def look(self, now: float, *, moved: bool, pid: int) -> None:
        """Note what process `pid` has done since the last look; `moved` says that it got on meanwhile."""
        since, self._looked = now - self._looked, now
        used, state = _spent(pid)
        spent = 0.0 if used is None or self._used is None else used - self._used
        self._used = used
        if moved:
            self._busy = self._asleep = 0.0
        elif used is None:
            self._asleep += since  # Nothing is known of it: time alone counts.
        elif spent:
            self._busy += spent
        elif state in ASLEEP:
            self._asleep += since

    def verdict(self) -> str:
        """Where it stands still: for how long, in words; "" as long as it may go on."""
        busy, asleep = self._limits
        if self._busy > busy:
            return f"in {busy:g} s of processor time"
        return f"in {asleep:g} s of waiting" if self._asleep > asleep else ""


def _spent(pid: int) -> tuple[float | None, str]:
    """Seconds of processor time that a process has used, and its state; None where that cannot be known."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, *numbers = file.read().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None, ""
    return (int(numbers[10]) + int(numbers[11])) / os.sysconf("SC_CLK_TCK"), state
