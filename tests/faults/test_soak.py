"""A long life: batches by the hundred thousand while workers are killed and loaders dropped at random.

`STREAMLOAD_SOAK_SECONDS` says how long (8 unless said); ten minutes make over 10^6 batches on two cores.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

import streamload as sl

SECONDS = float(os.environ.get("STREAMLOAD_SOAK_SECONDS", "8"))
RECORDS = 4000
KILLS = 0.05
"""How often a turn kills a worker."""
TURNS_AFTER = 5
"""The fewest turns between the two looks at what is held."""
BATCHES_A_TURN = 20
"""Fewer than any turn makes that is not ended by a killed worker."""


class Soak:
    """A loader that is iterated over, killed, dropped and made again; every batch is compared with the data."""

    def __init__(self, folder: Path) -> None:
        self.random = random.Random(0)
        self.images = np.random.default_rng(0).integers(0, 256, (RECORDS, 8, 8), np.uint8)
        self.data: list[sl.Source] = []
        for name, options in (("raw", {}), ("gzip", {"chunks": (64, 8, 8), "compression": "gzip"})):
            with h5py.File(folder / f"{name}.h5", "w") as file:
                file.create_dataset("image", data=self.images, **options)
                file["label"] = np.arange(RECORDS)
            self.data.append(sl.open(folder / f"{name}.h5"))
        self.batches = self.kills = self.loaders = 0
        self.loader = self.made()

    def made(self) -> sl.Loader:
        self.loaders += 1
        pick = self.random.random
        workers = self.random.choice([0, 1, 2, 3])
        shuffle = self.random.choice([True, False, sl.Block(window="64 KB")])
        size = self.random.choice([7, 32, 100])
        return sl.Loader(self.data[pick() < 0.5], batch_size=size, shuffle=shuffle, num_workers=workers, memory="256 MB")

    def turn(self) -> None:
        """A few hundred batches, and perhaps something bad."""
        fate = self.random.random()
        killing = fate < KILLS
        try:
            for batch in self.loader:
                self.batches += 1
                if self.batches % 16 == 0:
                    assert (batch["image"] == self.images[batch["label"]]).all()
                if killing and batch.step == 3 and self.loader.worker_pids:
                    with suppress(ProcessLookupError):  # It may have been restarted just now.
                        os.kill(self.random.choice(self.loader.worker_pids), signal.SIGKILL)
                    self.kills += 1
                if fate > 0.9 and batch.step > 20:
                    break
        except sl.WorkerCrashedError:
            if self.kills % 2:
                self.loader = self.made()  # The old one is dropped, and not closed: here and below.
        if fate > 0.97:
            self.loader = self.made()
        elif fate > 0.95:
            self.loader.close()
            self.loader = self.made()

    def holdings(self) -> tuple[int, int, int]:
        """Memory (private, in KB), descriptors and processes, with all rubbish collected."""
        gc.collect()
        gc.collect()  # What the first one's finalizers have let go of.
        process = psutil.Process()
        return process.memory_full_info().uss // 1024, process.num_fds(), len(process.children(recursive=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A window mixes only")
def test_a_long_life_leaves_memory_descriptors_and_processes_as_they_were(tmp_path: Path) -> None:
    """After the first fifth of the time nothing grows, however many workers died and loaders were dropped meanwhile."""
    soak = Soak(tmp_path)
    began = time.monotonic()
    settled: tuple[int, int, int] | None = None
    turns_left = TURNS_AFTER  # A busy machine may take all the time for one turn.
    while (passed := time.monotonic() - began) < SECONDS or turns_left > 0:
        soak.turn()
        if settled is not None:
            turns_left -= 1
        elif passed > SECONDS / 5:
            soak.loader.close()
            settled = soak.holdings()
            soak.loader = soak.made()
    soak.loader.close()
    memory, descriptors, processes = soak.holdings()
    assert settled is not None
    print(f"{soak.batches:,} batches, {soak.loaders} loaders, {soak.kills} kills")
    print(f"KB, descriptors and processes before: {settled}; after: {(memory, descriptors, processes)}")
    assert soak.batches > BATCHES_A_TURN * TURNS_AFTER
    assert soak.kills > 0 or SECONDS < 10
    assert memory <= settled[0] + 16 * 1024
    assert descriptors <= settled[1]
    assert processes <= settled[2]
    for source in soak.data:
        source.close()
