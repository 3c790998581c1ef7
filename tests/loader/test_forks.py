"""What a forked child of the user's reads of batches that are held: what they were when the program forked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loader_files import write

HELD = """
import os, sys, numpy as np, streamload as sl

def in_a_fork(look):
    pid = os.fork()
    if pid == 0:
        try:
            look()
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, status

path, workers = sys.argv[1], int(sys.argv[2])
"""

READ = (
    HELD
    + """
with sl.Loader(sl.open(path), batch_size=9, num_workers=workers) as loader:
    epochs = iter(loader)
    held = [next(epochs), next(epochs)]
    views = [held[0]["image"][2:5].T, memoryview(held[1]["label"]), held[1]["image"]]
    expected = [np.asarray(view).copy() for view in views]
    go, come = os.pipe()
    def look():
        os.close(come)
        os.read(go, 1)  # Until the parent has overwritten and reused everything.
        assert all(np.array_equal(np.asarray(view), one) for view, one in zip(views, expected))
        np.asarray(views[2])[:] = 7  # The child's own: nobody sees it.
        def grandchild():
            assert (np.asarray(views[2]) == 7).all()
            assert np.array_equal(np.asarray(views[0]), expected[0])
        in_a_fork(grandchild)
        with sl.Loader(sl.open(path), batch_size=9, num_workers=workers) as own:
            assert sum(len(batch["label"]) for batch in own) == 100
    pid = os.fork()
    if pid == 0:
        try:
            look()
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    os.close(go)
    np.asarray(views[2])[:] = 3  # The parent's own, too.
    keep = views.pop()
    del held, views
    for _ in range(4):
        for batch in loader:
            batch["image"][:] = 0
    os.close(come)
    assert os.waitpid(pid, 0)[1] == 0
    assert (np.asarray(keep) == 3).all()
"""
)

AFTERWARDS = (
    HELD
    + """
loader = sl.Loader(sl.open(path), batch_size=9, num_workers=workers)
batch = next(iter(loader))
expected = batch["image"].copy()
loader.close()
del loader
in_a_fork(lambda: np.testing.assert_array_equal(batch["image"], expected))
mappings = lambda: open("/proc/self/maps").read().count("memfd:streamload")
before = mappings()
del batch
assert mappings() < before
in_a_fork(lambda: None)
"""
)

OVERFLOWN = (
    HELD
    + """
with sl.Loader(sl.open(path), batch_size=9, num_workers=workers, shuffle=False, memory="400 MB") as loader:
    batches = list(loader)
    assert loader.stats.overflows
    expected = [batch["text"].to_list() for batch in batches]
    go, come = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(come)
        os.read(go, 1)
        os._exit([batch["text"].to_list() for batch in batches] != expected)
    os.close(go)
    for batch in batches:
        batch["text"].values[:] = 65
    os.close(come)
    assert os.waitpid(pid, 0)[1] == 0
"""
)

BUSY = (
    HELD
    + """
import threading
held, done = {}, threading.Event()
def take():
    while not done.is_set():
        for batch in loader:
            held["at"] = (batch, batch.records.copy())
with sl.Loader(sl.open(path), batch_size=9, num_workers=workers) as loader:
    images = sl.open(path)[:]["image"]
    taking = threading.Thread(target=take)
    taking.start()
    while not held:
        pass
    def look():
        batch, records = held["at"]
        assert np.array_equal(batch["image"], images[records])
    for _ in range(40):
        in_a_fork(look)
    done.set()
    taking.join()
"""
)


def run(text: str, path: Path, workers: int) -> None:
    """A script that must end well, and say nothing."""
    command = [sys.executable, "-W", "ignore", "-c", text, str(path), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONFAULTHANDLER": "1"})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_a_fork_reads_what_was_there_and_nobody_else_writes_it(tmp_path: Path, workers: int) -> None:
    """However much the parent, its workers and the child write afterwards; also in a fork of the fork."""
    run(READ, write(tmp_path / "data.h5"), workers)


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_batches_that_outlive_their_loader_are_right_in_a_fork(tmp_path: Path, workers: int) -> None:
    """And forks keep nothing alive."""
    run(AFTERWARDS, write(tmp_path / "data.h5"), workers)


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_batches_in_memory_of_their_own_are_right_in_a_fork(tmp_path: Path, workers: int) -> None:
    """Texts that are longer than their slot has room for."""
    texts = ["x" * (2 if number < 900 else 4_000) for number in range(1_000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "data.parquet", row_group_size=100)
    run(OVERFLOWN, tmp_path / "data.parquet", workers)


def test_forks_in_the_middle_of_a_loop_of_another_thread(tmp_path: Path) -> None:
    """What that thread was just given is whole."""
    run(BUSY, write(tmp_path / "data.h5"), 2)
