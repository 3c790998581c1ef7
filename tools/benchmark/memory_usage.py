"""How much memory this process and all below it hold, watched by a thread."""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

PERIOD_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryUsage:
    """Memory of some processes at one moment; memory that several share is counted once (PSS)."""

    own_nbytes: int
    """Private and shared memory that must stay: heaps, slots, arenas."""
    file_nbytes: int
    """Mapped files, program code included: page cache, which the kernel may take back."""
    processes: int
    resident_nbytes: int = 0
    """RSS, added up: memory that several share is counted in each."""


def below(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                found += map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def held(pid: int) -> MemoryUsage:
    """What a process and its descendants hold now; nothing where the kernel does not say."""
    own = files = processes = resident = 0
    for each in below(pid):
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        sizes = {name: 1024 * int(size) for name, size in re.findall(r"^(Pss\w*|Rss):\s+(\d+) kB", rollup, re.MULTILINE)}
        own += sizes.get("Pss_Anon", sizes.get("Pss", 0)) + sizes.get("Pss_Shmem", 0)
        files += sizes.get("Pss_File", 0)
        resident += sizes.get("Rss", 0)
        processes += 1
    return MemoryUsage(own_nbytes=own, file_nbytes=files, processes=processes, resident_nbytes=resident)


class MemoryWatch:
    """Watches this process and its descendants between `with` and its end; `peak` is the most they held at once.

    `moments` are all looks, with the seconds since the first.
    """

    def __init__(self) -> None:
        self.moments: list[tuple[float, MemoryUsage]] = []
        self._began = time.monotonic()
        self.peak = self.start = MemoryUsage(own_nbytes=0, file_nbytes=0, processes=0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self.peak = self.start = held(os.getpid())
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            self.look()

    def look(self) -> None:
        """Look now, not only when the time has come."""
        now = held(os.getpid())
        self.moments.append((time.monotonic() - self._began, now))
        self.peak = max(self.peak, now, key=lambda moment: moment.own_nbytes)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self.look()
