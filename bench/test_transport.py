"""Transport: what handing over costs where nothing else does, beside asking another process for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import streamload as sl
from bench.conftest import Measure
from bench.data import Made
from bench.peers.round_trip import Echo
from streamload.fetch.tasks import Frames, StepPiece, StepTask, pack_step

BATCH = 16


def test_framing_a_task(measured: Measure):
    """A task packed and read again, beside the copy of its bytes."""
    frames, task = Frames(), StepTask(0, 1, 2, 3, (StepPiece(0, 0, 2, 768, 1024),), (StepPiece(0, 0, 2, 2048, 2304),))
    frame = pack_step(task)
    got = measured(
        lambda: frames.feed(pack_step(task)), records=1, nbytes=len(frame), limit="a copy of bytes", limited=lambda: bytearray(frame)
    )
    assert got[0][1] == task


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_handing_over_small_batches(measured: Measure, raw_file: Callable[[int], Made], workers: int):
    """An epoch of batches of sixteen records of 784 bytes, beside as many round trips to another process."""
    made = raw_file(784)
    data = sl.open(made.path, fields=["image"])
    count = min(made.records, 50_000)
    with sl.Loader(data, batch_size=BATCH, num_workers=workers, indices=range(count)) as loader, Echo() as echo:
        steps = len(loader)

        def epoch() -> int:
            return sum(1 for _ in loader)

        def trips() -> None:
            for _ in range(steps):
                echo.trip(b"x" * 64)

        got: Any = measured(epoch, records=count, nbytes=count * made.record_nbytes, limit="round trips", limited=trips)
    assert got == steps
