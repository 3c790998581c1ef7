"""A loader that is called while a batch of it is being taken, in the same thread, and one that is used when the program ends."""

from __future__ import annotations

import copy
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from loader_files import gzip, write

import streamload as sl
from streamload.errors import LoaderBusyError

AT = 33
"""The record at which the signal comes, while its batch is being filled."""


@contextmanager
def interrupted(path: Path, act: Callable[[sl.Loader], object]) -> Generator[tuple[sl.Loader, list[Any]]]:
    """A loader that a handler of a signal calls within `next`, and what came of it."""
    came: list[Any] = []

    def handle(_: int, __: FrameType | None) -> None:
        try:
            came.append(act(loader))
        except sl.StreamloadError as error:
            came.append((type(error), str(error)))

    def change(record: dict[str, Any]) -> dict[str, Any]:
        if record["label"] == AT * 3 - 7 and not came:
            signal.raise_signal(signal.SIGUSR1)
        return record

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with sl.Loader(sl.open(path), batch_size=10, num_workers=0, shuffle=False, transform=change) as loader:
            yield loader, came
    finally:
        signal.signal(signal.SIGUSR1, before)


REFUSED: dict[str, Callable[[sl.Loader], object]] = {
    "a pass began": lambda loader: next(loader.epochs(9)),
    "next() was called": lambda loader: next(iter(loader)),
    "load_state_dict() was called": lambda loader: loader.load_state_dict(loader.state_dict()),
    "seek() was called": lambda loader: loader.seek(epoch=5),
}


@pytest.mark.parametrize("said", REFUSED)
def test_a_handler_cannot_move_a_loader_that_is_taking_a_batch(said: str, tmp_path: Path) -> None:
    """It is told so, and the loop that it has interrupted goes on as if nothing had been: no record is lost, none comes twice."""
    with interrupted(write(tmp_path / "a.h5"), REFUSED[said]) as (loader, came):
        assert [record for batch in loader for record in batch.records.tolist()] == list(range(100))
        ((kind, text),) = came
        assert kind is LoaderBusyError
        assert text == (
            f"{said} while a batch of the same loader was being taken, by a handler of a signal or by something that was collected. "
            "Have a handler note what is to be done, and do it in the loop; it may ask for the state, and close the loader."
        )
        assert [batch.epoch for batch in loader] == [1] * 10


def test_a_handler_may_ask_for_the_state(tmp_path: Path) -> None:
    """Which is that after the last batch that was handed out; what had to be made first is asked for again."""
    with interrupted(write(tmp_path / "a.h5"), lambda loader: loader.state_dict()) as (loader, came):
        assert [record for batch in loader for record in batch.records.tolist()] == list(range(100))
    assert [state["position"] for state in came] == [AT // 10 * 10]


def test_a_handler_may_close_a_loader(tmp_path: Path) -> None:
    """The loop ends with the sentence that says so."""
    with interrupted(write(tmp_path / "a.h5"), lambda loader: loader.close()) as (loader, came):
        with pytest.raises(sl.LoaderClosedError, match="closed: the loader was closed"):
            list(loader)
        assert came == [None]
        assert loader.state_dict()["position"] == AT // 10 * 10


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda how: how.__name__)
def test_an_iterator_is_not_copied(how: Callable[[object], object], tmp_path: Path) -> None:
    data = sl.open(write(tmp_path / "a.h5"))
    refused = pytest.raises(TypeError, match=r"an iterator over an epoch cannot be copied: copy its loader, whose epochs\(\) goes on")
    with sl.Loader(data, batch_size=10, num_workers=0) as loader, refused:
        how(iter(loader))


ENDING = """
import atexit, sys
def late():
    for workers, one, iterator in loaders:
        try:
            next(iterator)
        except sl.LoaderClosedError as error:
            print(workers, error.message)
        print(workers, sum(len(batch.records) for batch in one))
atexit.register(late)
import streamload as sl
loaders = []
for workers in (0, 1):
    one = sl.Loader(sl.open(sys.argv[1]), batch_size=10, num_workers=workers)
    iterator = iter(one)
    next(iterator)
    loaders.append((workers, one, iterator))
"""


def test_a_loader_works_to_the_very_end_of_a_program(tmp_path: Path) -> None:
    """Its workers have ended by then: what began before says that it was closed, and a new pass starts others."""
    done = subprocess.run([sys.executable, "-c", ENDING, gzip(tmp_path / "a.h5")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["0 this loader was closed.", "0 100", "1 this loader was closed.", "1 100"]
