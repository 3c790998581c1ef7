"""The counters of a loader (`loader.stats`), and what they say about the bottleneck, in one line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from streamload.sizes import format_rate

KEEPS_UP = 0.1
"""If the user's loop waits for less than this share of the time, the loader is fast enough, and the loop sets the pace."""

COUNTED = ("copies", "copied_nbytes", "overflows", "overflown_nbytes", "ragged_nbytes")
"""Counters that the scheduler keeps."""
ELSEWHERE = "a faster disk, smaller records or shuffle=Block()"
"""What helps where storage is slow and records are read one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """A snapshot of a loader's counters, since it was made. Times are in seconds."""

    steps: int
    """Batches handed out."""
    records: int
    """Records handed out."""
    nbytes: int
    """Bytes of those records, as delivered."""
    copies: int
    """Batches that were copied to private memory, because the user held too many."""
    copied_nbytes: int
    """Bytes of those batches."""
    overflows: int
    """Batches whose ragged records were longer than their slot has room for: each came in memory of its own."""
    overflown_nbytes: int
    """Bytes of that memory, which the loader's budget does not count."""
    bad_records: int
    """Records that could not be delivered, and were left out or replaced; see `loader.bad_records`."""
    start_seconds: float
    """How long the loop waited for the very first batch, while workers started. Not part of `wait_seconds`."""
    wait_seconds: float
    """How long the user's loop waited for batches."""
    consumer_seconds: float
    """How long the user's loop worked on batches."""
    disk_seconds: float
    """How long workers waited for storage, added up over workers."""
    decode_seconds: float
    """How long workers decoded, or ran the transform, added up over workers."""
    transport_seconds: float
    """How long workers copied, sent replies, or were idle while the user waited, added up over workers."""
    read_nbytes: int
    """Stored bytes that workers read."""
    by_blocks: bool
    """Whether the order reads whole blocks, or records as they are stored: no other order would be faster to read."""

    @property
    def bottleneck(self) -> str:
        """What sets the pace: "disk", "decode", "transport" or "consumer"."""
        both = self.wait_seconds + self.consumer_seconds
        if both == 0 or self.wait_seconds < KEEPS_UP * both:
            return "consumer"
        shares = {"disk": self.disk_seconds, "decode": self.decode_seconds, "transport": self.transport_seconds}
        return max(shares, key=lambda name: shares[name])

    @property
    def verdict(self) -> str:
        """One line: what sets the pace, how many records and bytes a second there were, and what would help."""
        both = self.wait_seconds + self.consumer_seconds
        if not self.steps or both == 0:
            return "nothing has been handed out yet"
        return f"{self.bottleneck}: {self.records / both:,.0f} records/s, {format_rate(self.nbytes / both)}; {self.cause}"

    @property
    def cause(self) -> str:
        """What sets the pace, and what would help, without rates."""
        both = self.wait_seconds + self.consumer_seconds
        waited = f"the loop waited {100 * self.wait_seconds / max(1e-9, both):.0f} % of the time"
        cure = {
            "consumer": "the loader keeps up; your own code sets the pace",
            "disk": f"for storage: {'a faster disk or smaller records' if self.by_blocks else ELSEWHERE} would help",
            "decode": "for decoding or the transform: more workers or a lighter codec would help",
            "transport": "for copying and handing over: memory bandwidth is the limit, or the workers lack cores",
        }[self.bottleneck]
        if self.bad_records:
            cure += f"; {self.bad_records:,} bad records, see loader.bad_records"
        return f"{waited}: {cure}" if self.bottleneck != "consumer" else f"{waited}; {cure}"

    def __str__(self) -> str:
        return self.verdict


class Counters:
    """What a loader counts itself, and the sums of its engines that have ended."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._steps = self._records = self._start_ns = self._wait_ns = self._consumer_ns = 0
        self._worked: dict[str, int] = {}
        self._handed_ns: int | None = None

    def pause(self) -> None:
        """Do not count the time until the next batch is asked for as work of the user's loop."""
        self._handed_ns = None

    def handed(self, records: int, asked_ns: int) -> None:
        """A batch of so many records is handed out, which was asked for at that moment, in nanoseconds of `time.perf_counter_ns`."""
        now = time.perf_counter_ns()
        if self._handed_ns is not None:
            self._consumer_ns += asked_ns - self._handed_ns
        self._handed_ns = now
        if self._steps:
            self._wait_ns += now - asked_ns
        else:
            self._start_ns += now - asked_ns
        self._steps += 1
        self._records += records

    def keep(self, counted: Mapping[str, int], worked: Mapping[str, int]) -> None:
        """Add the counters of an engine that ends: those of its scheduler, and of its workers."""
        for sums, more in ((self._counts, counted), (self._worked, worked)):
            for name, value in more.items():
                sums[name] = sums.get(name, 0) + value

    def stats(
        self, *, counted: Mapping[str, int], worked: Mapping[str, int], record_nbytes: int, bad_records: int, by_blocks: bool
    ) -> Stats:
        """Everything together with what the machinery that runs has counted so far. `record_nbytes` are of fixed fields."""
        counts = {name: value + counted.get(name, 0) for name, value in self._counts.items()}
        work = {name: self._worked.get(name, 0) + worked.get(name, 0) for name in {*self._worked, *worked}}
        disk, decode = work.get("disk_ns", 0), work.get("decode_ns", 0)
        waiting_idle = min(work.get("idle_ns", 0), self._wait_ns)
        return Stats(
            steps=self._steps,
            records=self._records,
            nbytes=self._records * record_nbytes + counts["ragged_nbytes"],
            copies=counts["copies"],
            copied_nbytes=counts["copied_nbytes"],
            overflows=counts["overflows"],
            overflown_nbytes=counts["overflown_nbytes"],
            bad_records=bad_records,
            start_seconds=self._start_ns / 1e9,
            wait_seconds=self._wait_ns / 1e9,
            consumer_seconds=self._consumer_ns / 1e9,
            disk_seconds=disk / 1e9,
            decode_seconds=decode / 1e9,
            transport_seconds=max(0, work.get("busy_ns", 0) - disk - decode + waiting_idle) / 1e9,
            read_nbytes=work.get("read_nbytes", 0),
            by_blocks=by_blocks,
        )
