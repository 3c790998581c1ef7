"""The first steps, while workers are still starting: done in the calling process, the same to the bit, and each done once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from loader_files import Backwards, epochs, gzip, taken, window, write

import streamload as sl
from streamload.loader.first_steps import KEPT_STEPS
from streamload.workers.launcher import Launcher

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows


@contextmanager
def starting(data: sl.Source, **options: Any) -> Iterator[tuple[sl.Loader, int]]:
    """A loader whose workers do not get anywhere, and the process that is to fork them: SIGCONT lets it."""
    Launcher.shutdown()
    with sl.Loader(data, **{"batch_size": 9, "num_workers": 2, **options}) as loader:
        pid = Launcher.current().pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield loader, pid
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def go_on(pid: int) -> None:
    """Let the launcher work, until it can fork workers."""
    os.kill(pid, signal.SIGCONT)
    while not Launcher.current().ready:
        Launcher.current().report(-1)  # Takes in what the launcher has said.
        time.sleep(0.01)


def here(loader: sl.Loader) -> int:
    """How many steps the calling process has done."""
    first = loader._live._first
    return len(first._done) if first is not None else 0


def alone(data: sl.Source, stop: int, **options: Any) -> list[Any]:
    """What a loader without workers gives."""
    with sl.Loader(data, **{"batch_size": 9, "num_workers": 0, **options}) as loader:
        return epochs(loader, stop)


ORDERS: dict[str, Any] = {"exact": sl.Exact(), "block": window(24), "one window": sl.Block(), "stored": False}


@pytest.mark.parametrize(
    ("layout", "order"),
    [("contiguous", "exact"), ("contiguous", "block"), ("chunks", "block"), ("chunks", "stored"), ("npy", "one window")],
    ids=str,
)
def test_they_are_the_same_batches(tmp_path: Path, layout: str, order: str) -> None:
    """Across the border of an epoch, and across the moment at which workers take over."""
    if layout == "npy":
        np.savez(tmp_path / "data.npz", image=np.arange(6000, dtype="u2").reshape(100, 60), label=np.arange(100))
        data = sl.open(tmp_path / "data.npz")
    else:
        data = sl.open(write(tmp_path / "data.h5", **({"chunks": (8, 5, 4, 3)} if layout == "chunks" else {})))
    expected = alone(data, 4, shuffle=ORDERS[order])
    with starting(data, shuffle=ORDERS[order]) as (loader, pid):
        batches = (batch for epoch in loader.epochs(4) for batch in epoch)
        first = [taken([next(batches)])[0] for _ in range(15)]
        assert here(loader) == 15
        assert loader.worker_pids == []
        wide = data[0]["image"].nbytes  # Labels are held in memory.
        assert loader.stats.read_nbytes == 127 * wide
        go_on(pid)
        assert first + taken(batches) == expected
        assert here(loader) == 15 + KEPT_STEPS
        assert len(loader.worker_pids) == 2
        assert loader.stats.copies == 0


def test_texts_of_any_length_are_read_here_too(tmp_path: Path) -> None:
    """Raw records that differ in length, and batches that do not fit their slot."""
    texts = ["x" * (number % 7 if number < 900 else 3_000) for number in range(1_000)]
    with pa.ipc.new_file(str(tmp_path / "data.arrow"), pa.schema([("text", pa.large_string())])) as out:
        out.write_batch(pa.record_batch({"text": pa.array(texts, pa.large_string())}))
    with starting(sl.open(tmp_path / "data.arrow"), batch_size=10, shuffle=False) as (loader, _):
        found = [text for batch in loader for text in batch["text"].to_list()]
        assert here(loader) == 100
    assert found == texts


def test_breaking_off_and_moving_needs_no_workers(tmp_path: Path) -> None:
    """What was kept for nobody is called off at once."""
    data = sl.open(write(tmp_path / "data.h5"))
    expected = alone(data, 3)
    with starting(data) as (loader, pid):
        assert taken([next(iter(loader))]) == expected[:1]
        assert taken([next(iter(loader))]) == expected[12:13]
        loader.seek(total_step=5)
        batches = (batch for epoch in loader.epochs(3) for batch in epoch)
        some = [taken([next(batches)])[0] for _ in range(3)]
        go_on(pid)
        assert some + taken(batches) == expected[5:]


def test_workers_that_are_forked_too_late_do_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A loader that is closed before anybody could be forked waits for nobody; its file is gone by then."""
    data, other = (sl.open(write(tmp_path / name)) for name in ("data.h5", "other.h5"))
    expected = alone(other, 1)
    with starting(data) as (loader, pid):
        next(iter(loader))
        loader.close()
        assert not Launcher.current().ready
        (tmp_path / "data.h5").unlink()
        go_on(pid)
        with sl.Loader(other, batch_size=9, num_workers=1) as later:
            assert taken(later) == expected
    assert capfd.readouterr().err == ""


def test_a_batch_that_is_held_is_never_written_to(tmp_path: Path) -> None:
    """Workers that come late have only steps that nobody has done."""
    data = sl.open(write(tmp_path / "data.h5"))
    with starting(data) as (loader, pid):
        batches = iter(loader)
        held = next(batches)
        held["image"][:] = 7
        go_on(pid)
        for _ in range(3):
            taken(loader)
        assert (held["image"] == 7).all()


@pytest.mark.noisy
def test_a_launcher_that_dies_is_named_all_the_same(tmp_path: Path) -> None:
    """The calling process helps; it does not replace workers."""
    data = sl.open(write(tmp_path / "data.h5"))
    with starting(data) as (loader, pid):
        batches = iter(loader)
        next(batches)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(sl.WorkerStartError, match=rf"the worker launcher \(pid {pid}\) ended while it was starting"):
            taken(batches)


def test_an_error_here_is_the_error_that_a_worker_reports(tmp_path: Path) -> None:
    """A file that was cut short after it was opened."""
    path = write(tmp_path / "data.h5", 5_000)
    data = sl.open(path, fields=["image"])
    with starting(data, batch_size=500, shuffle=False) as (loader, _):
        os.truncate(path, path.stat().st_size - 200_000)
        with pytest.raises(sl.SourceError, match=str(path)):
            deque(loader, maxlen=0)
        assert here(loader) >= 1


@pytest.mark.parametrize(
    ("layout", "options"),
    [("gzip", {}), ("raw", {"transform": lambda record: record}), ("raw", {"shuffle": Backwards(100)})],
    ids=["decoded", "transformed", "an order of one's own"],
)
def test_what_costs_more_or_is_the_users_is_left_to_workers(tmp_path: Path, layout: str, options: dict[str, Any]) -> None:
    Launcher.shutdown()
    data = sl.open(gzip(tmp_path / "data.h5") if layout == "gzip" else write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=9, num_workers=1, **options) as loader:
        assert loader._live._first is None
        assert len(taken(loader)) == 12


AUGMENT = sl.Augment("image", sl.RandomCrop((4, 2)), sl.RandomFlip(), sl.Normalize(0.4, 0.2), layout="CHW")


def test_augmented_steps_are_the_same_here_and_in_workers(tmp_path: Path) -> None:
    """By the same machine code, across the moment at which workers take over."""
    images = np.random.default_rng(0).integers(0, 256, (100, 6, 5, 3), np.uint8)
    np.savez(tmp_path / "data.npz", image=images, label=np.arange(100))
    data = sl.open(tmp_path / "data.npz")
    expected = alone(data, 3, augment=AUGMENT)
    with starting(data, augment=AUGMENT) as (loader, pid):
        batches = (batch for epoch in loader.epochs(3) for batch in epoch)
        first = [taken([next(batches)])[0] for _ in range(7)]
        assert here(loader) == 7
        go_on(pid)
        assert first + taken(batches) == expected
        assert here(loader) == 7 + KEPT_STEPS


PLAIN = """
import sys, streamload as sl, streamload.workers.in_process
path, workers = sys.argv[1], int(sys.argv[2])
augment = sl.Augment("image", sl.RandomCrop(3), stored="HWC") if len(sys.argv) > 3 else None
with sl.Loader(sl.open(path), batch_size=30, num_workers=workers, seed=3, augment=augment) as loader:
    batch = next(iter(loader))
    print("numba" in sys.modules, batch["label"].tolist())
    if not workers:
        loader._live._pool._plain_ns = 0  # As if the work had taken long.
        print([batch["label"].tolist() for batch in loader], "numba" in sys.modules)
"""


@pytest.mark.parametrize("augmented", [False, True], ids=["as stored", "augmented"])
@pytest.mark.parametrize("workers", [0, 1], ids="{} workers".format)
def test_the_first_batch_needs_no_compiler(tmp_path: Path, workers: int, augmented: bool) -> None:
    """It is loaded behind the first steps, where the work is long enough for that to pay."""
    path = write(tmp_path / "data.h5")
    with sl.Loader(sl.open(path), batch_size=30, num_workers=0, seed=3) as loader:
        labels = [batch["label"].tolist() for batch in loader], [batch["label"].tolist() for batch in loader]
    if augmented:  # Kernels are compiled once a machine.
        sl.Loader(sl.open(path), batch_size=30, num_workers=0, augment=sl.Augment("image", sl.RandomCrop(3), stored="HWC")).close()
    asked = [str(path), str(workers), *(["augmented"] if augmented else [])]
    done = subprocess.run([sys.executable, "-c", PLAIN, *asked], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said[0] == f"False {labels[0][0]}"
    assert said[1:] == ([] if workers else [f"{labels[1]} True"])
