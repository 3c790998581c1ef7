"""`streamload tune`: few trials, each in a process of its own, and a call with its reasons."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import answer, arrays, hdf5_file, said

from streamload.errors import ResourceError
from streamload.tools.commands.tune import Settings, Trials, more_trials, worker_trials
from streamload.tools.console import Console
from streamload.tools.files.page_cache import EVICT_ONLY

BATCH = 64


@pytest.fixture(autouse=True)
def spare_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the test's own files leave the page cache."""
    monkeypatch.setenv(EVICT_ONLY, "1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of images and labels."""
    return hdf5_file(tmp_path / "train.h5", arrays(600))


def config(path: Path, **more: Any) -> dict[str, Any]:
    """What a pass over a file is told."""
    return {"paths": [str(path)], "files": [str(path)], "batch": BATCH, "workers": 0, "seconds": 0.2, **more}


@pytest.mark.slow
def test_tune_prints_a_call_and_why(path: Path, capsys: pytest.CaptureFixture[str]):
    """The call can be pasted, and names what a trial was made of."""
    code, document = answer(capsys, "tune", path, "--seconds", "4", "--batch", BATCH, "--fields", "image")
    assert code == 0
    tried = {(one["workers"], one["io"], one["window"]) for one in document["trials"]}
    assert (document["workers"], document["io"], document["window"]) in tried
    assert document["call"].startswith(
        f"sl.Loader(sl.open('{path}', fields=['image']), batch_size={BATCH}, shuffle=True, seed=0, num_workers="
    )
    assert re.search(r"records/s, the mean of \d+ trials?$", document["why"][0])
    compile(document["call"], "call", "eval")


@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
def test_trials_of_workers_are_few_and_include_none(cores: int):
    """Rising, with 0 and 1, never more than 16."""
    tried = worker_trials(cores)
    assert tried == sorted(set(tried))
    assert {0, 1} <= set(tried)
    assert len(tried) <= 6
    assert max(tried) <= 16


def test_more_is_tried_only_where_it_means_something():
    """Windows in block order that nobody fixed; direct reads of large records; no mapping without workers."""
    small = [str(means) for means in more_trials(Settings(workers=0), "exact", direct=False, window=None)]
    assert small == ["0 workers, io=read"]
    large = [means.io for means in more_trials(Settings(workers=2), "exact", direct=True, window=None)]
    assert large == ["mmap", "read", "direct"]
    assert [m.window for m in more_trials(Settings(workers=1), "block", direct=False, window=None)][-2:] == ["256 MB", "1 GB"]
    assert all(m.window is None for m in more_trials(Settings(workers=1), "block", direct=False, window="1 MB"))


def test_of_means_that_are_as_fast_the_cheapest_is_taken(path: Path):
    """A twentieth is not worth a process."""
    trials = Trials(config(path), Console(), seconds=10, planned=2, cold=False)
    trials.rates = {
        Settings(workers=4): [100.0],
        Settings(workers=1): [97.0],
        Settings(workers=0): [80.0],
        Settings(workers=1, io="mmap"): [99.0],
    }
    assert trials.best == Settings(workers=4)
    assert trials.thriftiest() == Settings(workers=1)


@pytest.mark.parametrize(
    ("words", "message"), [(["--order", "blok"], "Did you mean 'block'?"), (["--seconds", "-1"], "--seconds -1 is out")]
)
def test_tune_says_what_cannot_be_right(words: list[str], message: str, path: Path, capsys: pytest.CaptureFixture[str]):
    """Exit code 2."""
    code, text = said(capsys, "tune", path, *words)
    assert code == 2
    assert message in text


def test_what_does_not_fit_is_left_out_and_said(path: Path, capsys: pytest.CaptureFixture[str]):
    """A trial that cannot be made does not end the others; where none can be made, the error is the user's."""
    trials = Trials({**config(path), "window": None, "memory": "1 KB"}, Console(), seconds=30, planned=2, cold=False)
    with pytest.raises(ResourceError, match="is too little"):
        trials.make(Settings(workers=0))
    trials.rates = {Settings(workers=0): [1.0]}
    trials.make(Settings(workers=1))
    assert "is too little" in trials.failed[Settings(workers=1)]
    assert "1 worker, io=auto: does not fit: " in capsys.readouterr().out


def test_what_there_was_no_time_for_is_named(path: Path, capsys: pytest.CaptureFixture[str]):
    """The call comes of one trial then, and says so."""
    code, document = answer(capsys, "tune", path, "--seconds", "0.1", "--batch", BATCH)
    assert (code, document["workers"], [one["workers"] for one in document["trials"]]) == (0, 0, [0])
    assert "1 worker, io=auto" in document["left"]
    assert document["why"][0].endswith("the mean of 1 trial")
    assert document["why"][1].startswith("no time was left to try 1 worker, io=auto")


def test_both_commands_have_their_arguments():
    """The same choice of fields as everywhere."""
    from streamload.tools.commands import bench, tune

    for command in (bench, tune):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        assert parser.parse_args(["x.h5", "--fields", "image"]).fields == "image"
    assert os.environ[EVICT_ONLY] == "1"
