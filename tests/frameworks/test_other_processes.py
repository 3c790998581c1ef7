"""Loaders and tensors in other processes that PyTorch starts: worker processes of a DataLoader, forks, and copies that are spawned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from framework_data import write

torch = pytest.importorskip("torch")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """100 records."""
    return write(tmp_path / "data.h5", 100)


def lines(script: Path, text: str, path: Path) -> list[str]:
    """What a script prints, which must end well."""
    script.write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(script.parent)}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout.splitlines()


IN_A_DATALOADER = """
import sys, warnings
import streamload as sl
from torch.utils.data import DataLoader, IterableDataset

class Making(IterableDataset):
    def __init__(self, path, indices):
        self.path, self.indices = path, indices
    def __iter__(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loader = sl.Loader(sl.open(self.path), batch_size=30, num_workers=0, indices=self.indices)
        yield [str(one.message) for one in caught]
        loader.close()

if __name__ == "__main__":
    path = sys.argv[1]
    with sl.Loader(sl.open(path), batch_size=30, num_workers=1) as loader:
        data = sl.for_torch(loader, "number")
        print(sum(len(one) for one in DataLoader(data, batch_size=None, num_workers=0)), len(DataLoader(data, batch_size=None)))
        for how, workers in (("fork", 2), ("spawn", 1)):
            try:
                list(DataLoader(data, batch_size=None, num_workers=workers, multiprocessing_context=how))
            except sl.LoaderClosedError as error:
                print(how, str(error).strip().splitlines()[-1])
    for workers, indices in ((2, None), (2, range(50)), (1, None)):
        texts = DataLoader(Making(path, indices), batch_size=None, num_workers=workers)
        print(workers, indices, {text for some in texts for text in some})
"""


def test_worker_processes_of_a_dataloader_are_told(path: Path, tmp_path: Path) -> None:
    """Each of them would hand out every record: an error for copies of one loader, a warning for loaders made there."""
    said = lines(tmp_path / "script.py", IN_A_DATALOADER, path)
    cure = "Use DataLoader(..., batch_size=None, num_workers=0), or iterate over the loader itself: streamload has worker processes"
    assert said[0] == "100 4"
    for line, how, workers in ((said[1], "fork", 2), (said[2], "spawn", 1)):
        assert line.startswith(f"{how} streamload.errors.LoaderClosedError: this loader is in worker process 0 of a PyTorch DataLoader")
        assert line.endswith(f"num_workers={workers}, each of which has a copy of it, and would hand out every record. {cure} of its own.")
    assert said[3] == (
        "2 None {'A loader is made in each of the 2 worker processes of a PyTorch DataLoader, and each hands out every record. "
        f"{cure} of its own. Or share the records out among the workers with indices=.'}}"
    )
    assert said[4:] == ["2 range(0, 50) set()", "1 None set()"]


TENSORS_IN_A_FORK = """
import os, sys, torch, streamload as sl
torch.set_num_threads(1)  # A thread of PyTorch's own does not live on in a fork.
with sl.Loader(sl.open(sys.argv[1]), batch_size=9, num_workers=1) as loader:
    batches = iter(sl.for_torch(loader, ("x", "number")))
    held = [next(batches) for _ in range(2)]
    views = [held[0][0][2:5].T, held[1][1]]
    expected = [one.clone() for one in views]
    wait, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(wait, 1)  # Until the parent has overwritten and reused everything.
        os._exit(0 if all(torch.equal(one, there) for one, there in zip(views, expected)) else 1)
    for one in held:
        one[0].fill_(7)
        one[1].fill_(7)
    del held, views, one
    for _ in range(3):
        for _ in loader:
            pass
    os.write(go, b"x")
    print(os.waitpid(pid, 0)[1])
"""


def test_tensors_are_in_a_fork_what_they_were(path: Path, tmp_path: Path) -> None:
    """Whatever the parent does with the batch's memory since."""
    assert lines(tmp_path / "script.py", TENSORS_IN_A_FORK, path) == ["0"]


SPAWNED = """
import sys, streamload as sl
import torch.multiprocessing

def count(rank, batches, answers):
    answers.put([(rank, numbers.tolist()) for numbers in batches])

if __name__ == "__main__":
    with sl.Loader(sl.open(sys.argv[1]), batch_size=30, num_workers=1) as loader:
        for dataloader in (False, True):
            batches = sl.for_torch(loader, "number", dataloader=dataloader)
            batches.seek(epoch=3, step=1)
            answers = torch.multiprocessing.get_context("spawn").SimpleQueue()
            torch.multiprocessing.spawn(count, (batches, answers), nprocs=1)
            assert answers.get() == [(0, numbers.tolist()) for numbers in batches]
            print(loader.state_dict()["epoch"])
"""


def test_spawned_processes_are_given_copies_that_stand_where_the_original_stands(path: Path, tmp_path: Path) -> None:
    """As trainers start a process for each device."""
    assert lines(tmp_path / "script.py", SPAWNED, path) == ["3", "3"]
