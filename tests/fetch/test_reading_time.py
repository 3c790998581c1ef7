"""Time of storage is time in which a process reads and does not run, whoever reads."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import numpy as np
import pytest

from streamload.fetch.reading_time import ReadingTime
from streamload.source import ReadStats

READ_NS = 10_000_000


@pytest.fixture
def meter() -> ReadStats:
    """Counters of a reader."""
    return ReadStats()


def wait(meter: ReadStats, reading: ReadingTime) -> None:
    """Sleep for twice as long as is said to have been read for."""
    with reading:
        time.sleep(2 * READ_NS / 1e9)
        meter.read_ns += READ_NS


def test_a_wait_counts_as_far_as_something_was_read(meter: ReadStats) -> None:
    """A function of the user's that sleeps is no storage."""
    reading = ReadingTime(meter)
    wait(meter, reading)
    assert reading.disk_ns == READ_NS
    with reading:
        time.sleep(0.001)
    assert reading.disk_ns == READ_NS


def test_what_is_told_ahead_counts_too(meter: ReadStats) -> None:
    """A full queue of the device's makes whoever tells it more wait."""
    reading = ReadingTime(meter)
    reading.tell(lambda: time.sleep(0.005))
    assert reading.disk_ns >= 4_000_000


def test_what_is_mapped_is_timed_once_pages_had_to_be_fetched(meter: ReadStats, tmp_path: Path) -> None:
    """Not before, and not any more when there were none."""
    reading = ReadingTime(meter)
    reading.note_all_mapped()
    wait(meter, reading)
    assert reading.disk_ns == 0
    path = tmp_path / "data"
    path.write_bytes(bytes(2**20))
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        pages = np.frombuffer(mapped, np.uint8)
        pages.sum()
        reading.look_for_faults()
        mapped.madvise(getattr(mmap, "MADV_PAGEOUT", 21))
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        pages.sum()
        del pages
        mapped.close()
    reading.look_for_faults()
    if not reading.is_timed:
        pytest.skip("this file system keeps its pages in memory")
    wait(meter, reading)
    assert reading.disk_ns == READ_NS
    reading.look_for_faults()
    assert not reading.is_timed
