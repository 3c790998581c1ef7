"""Copies of a loader, in this process and in others: made by recipe, standing where the original stood, with workers of their own."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from loader_files import Backwards, epochs, gzip, places, taken, whole, window, write

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows

HOW: dict[str, Callable[[sl.Loader], sl.Loader]] = {
    "pickle": lambda loader: pickle.loads(pickle.dumps(loader)),
    "old pickle": lambda loader: pickle.loads(pickle.dumps(loader, protocol=2)),
    "cloudpickle": lambda loader: pickle.loads(cloudpickle.dumps(loader)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
COPIED = pytest.mark.parametrize("how", HOW)


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    """100 records."""
    return sl.open(write(tmp_path / "data.h5"))


def negated(record: dict[str, Any]) -> dict[str, Any]:
    return {"image": ~record["image"], "label": record["label"]}


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "shuffle": window(24),
        "seed": 11,
        "num_workers": 2,
        "drop_last": True,
        "memory": "80 MB",
        "indices": np.arange(5, 95),
        "transform": negated,
        "io": "read",
        "timeout": 60,
        "on_worker_crash": "restart",
        "first_epoch": 2,
    },
    "an order of one's own": {"shuffle": Backwards(100), "num_workers": 1},
}


@pytest.mark.parametrize("how", ["pickle", "cloudpickle", "deepcopy"])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_copy_gives_what_the_original_gives(tmp_path: Path, how: str, options: str) -> None:
    data = sl.open(gzip(tmp_path / "data.h5"))
    with sl.Loader(data, **{"batch_size": 30, "num_workers": 0, **OPTIONS[options]}) as loader, HOW[how](loader) as other:
        assert repr(other) == repr(loader) or OPTIONS[options].get("memory") is None
        stop = loader.state_dict()["epoch"] + 2
        assert epochs(other, stop) == epochs(loader, stop)
        assert not set(other.worker_pids) & set(loader.worker_pids)
        assert len(other.worker_pids) == len(loader.worker_pids)


@COPIED
def test_a_copy_stands_where_the_original_stood(data: sl.Source, how: str) -> None:
    """New, in the middle of an epoch, at its end, after a move, and with an epoch asked for."""
    moves: list[Callable[[sl.Loader], object]] = [
        lambda loader: None,
        lambda loader: next(iter(loader)),
        lambda loader: taken(loader),
        lambda loader: loader.seek(epoch=4, step=2),
        lambda loader: loader.set_epoch(9),
        lambda loader: (loader.seek(epoch=4, step=2), loader.set_epoch(3)),
    ]
    for move in moves:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            move(loader)
            for loop in (lambda one: places(one), lambda one: places(batch for epoch in one.epochs(11) for batch in epoch)):
                with HOW[how](loader) as other, HOW[how](loader) as another:
                    assert other.state_dict() == loader.state_dict()
                    assert loop(other) == loop(another)
                    expected = loop(HOW["copy"](loader))
                with HOW[how](loader) as other:
                    assert loop(other) == expected
            assert places(HOW[how](loader)) == places(loader)


@COPIED
def test_a_copy_goes_its_own_way(data: sl.Source, how: str) -> None:
    with sl.Loader(data, batch_size=30, num_workers=1) as loader:
        iterator = iter(loader)
        next(iterator)
        other = HOW[how](loader)
        assert other.worker_pids == []  # Nothing starts before it is needed.
        other.seek(epoch=7, step=1)
        assert places(other) == whole(7, 1)
        other.close()
        assert places(iterator) == whole(0, 1)
        assert loader.stats.steps == 4


@COPIED
def test_a_closed_loader_can_be_copied(data: sl.Source, how: str) -> None:
    """The copy is a loader like any other."""
    with sl.Loader(data, batch_size=30, num_workers=0) as loader:
        next(iter(loader))
    with HOW[how](loader) as other:
        assert other.state_dict() == loader.state_dict()
        assert places(batch for epoch in other.epochs(1) for batch in epoch) == whole(0, 1)


def test_a_copy_of_data_that_changed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "data.h5")
    with sl.Loader(sl.open(path), batch_size=30, num_workers=0) as loader:
        written = pickle.dumps(loader)
    write(path, 101)
    with pytest.raises(sl.SourceChangedError):
        pickle.loads(written)


def test_a_warning_is_not_said_again(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    data = sl.open(gzip(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=30, num_workers=0, shuffle=window(24)) as loader:
        said = len(recwarn)
        pickle.loads(pickle.dumps(loader)).close()
        assert len(recwarn) == said


SPAWNING = """
import multiprocessing, sys, streamload as sl

def count(loader, answers):
    answers.put([(batch.epoch, batch.records.tolist()) for batch in loader])

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    for workers in (0, 1):
        with sl.Loader(sl.open(sys.argv[1]), batch_size=30, num_workers=workers) as loader:
            loader.seek(epoch=3)
            answers = context.SimpleQueue()
            child = context.Process(target=count, args=(loader, answers))
            child.start()
            assert answers.get() == [(batch.epoch, batch.records.tolist()) for batch in loader]
            child.join()
"""


def run(script: Path, text: str, *arguments: str, quiet: bool = True) -> str:
    """What a script prints, which must end well, and if it is to be quiet say nothing else."""
    script.write_text(text)
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (quiet and done.stderr), done.stderr
    return done.stdout


def test_another_process_is_given_a_copy(data: sl.Source, tmp_path: Path) -> None:
    """As an argument, which is how trainers start a process for each device."""
    run(tmp_path / "script.py", SPAWNING, data.fingerprints[0].path)


IN_A_FORK = """
import copy, os, sys, streamload as sl
with sl.Loader(sl.open(sys.argv[1]), batch_size=30, num_workers=1) as loader:
    expected = [batch.records.tolist() for batch in loader]
    loader.seek(epoch=0)
    if pid := os.fork():
        assert os.waitpid(pid, 0)[1] == 0
    else:
        try:
            next(iter(loader))
        except sl.LoaderClosedError as error:
            assert "belongs to the process that made it, not to a fork of it" in str(error)
            assert "a copy of this one there (copy.copy)" in error.hint
            with copy.copy(loader) as other:
                assert [batch.records.tolist() for batch in other] == expected
            os._exit(0)
        os._exit(1)
"""


def test_a_copy_can_be_made_and_used_in_a_fork(data: sl.Source, tmp_path: Path) -> None:
    """Where the original is refused, and says so."""
    run(tmp_path / "script.py", IN_A_FORK, data.fingerprints[0].path)
