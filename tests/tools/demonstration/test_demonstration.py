"""The demo does what it shows, small: it makes real pixels, streams them, learns, measures, and leaves nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from time_limits import GUARD_SECONDS

from streamload.tools.__main__ import main
from streamload.tools.benchmark.cgroup import homes
from streamload.tools.benchmark.memory_usage import MemoryWatch
from streamload.tools.demonstration.classifier import Classifier, features
from streamload.tools.demonstration.dataset import PHOTOGRAPHS, make_crops, records_of, write_crops
from streamload.tools.progress import PlainBar


def run(*words: str, folder: Path) -> str:
    """What the demo prints on standard output."""
    command = [sys.executable, "-m", "streamload.tools.demonstration.main", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=GUARD_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def figures(title: str, text: str) -> list[str]:
    """The cells of one line of the demo's table."""
    line = next(line for line in text.splitlines() if line.startswith(title + "  "))
    return re.split(r"\s{2,}", line.strip())


def groups() -> set[Path]:
    """Control groups that demos have made and not removed."""
    return {group for home, _ in homes() for group in home.glob("streamload-*")}


def test_the_demo_learns_from_shuffled_epochs_and_not_from_sorted_ones(tmp_path: Path):
    """Every line of the table is there, shuffling beats none by far, and the file is gone afterwards."""
    before = groups()
    text = run("--size", "36 MB", "--memory", "32 MB", "--epochs", "3", "--batch-size", "64", "--folder", str(tmp_path), folder=tmp_path)
    reached = {title: float(figures(title, text)[-1]) for title in ("block shuffle", "exact shuffle", "no shuffle")}
    assert min(reached["block shuffle"], reached["exact shuffle"]) > reached["no shuffle"] + 0.2, text
    assert len(figures("block, no model", text)) == 7
    assert "what each loop waited for" in text
    assert list(tmp_path.iterdir()) == []
    assert groups() <= before


def test_the_demo_streams_a_file_of_the_users(tmp_path: Path):
    """`tools/demo FILE.h5` says what the file holds and how fast it went."""
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["x"] = np.zeros((500, 8, 8), np.uint8)
        file["y"] = np.arange(500)
    text = run("mine.h5", "--epochs", "2", "--batch-size", "50", folder=tmp_path)
    assert "500 records" in text
    assert figures("mine.h5", text)[1] != "0"
    assert text.rstrip().splitlines()[-1].startswith("  streamload info mine.h5    # what it holds")  # nothing there to be shown


def test_the_demo_streams_a_folder_of_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`tools/demo photos/`: of different sizes, decoded to one; it ends with what to do next, and that works as it stands there."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(np.full((40, 40 + number, 3), 40 * number, np.uint8)).save(tmp_path / "photos" / name / f"{number}.png")
    text = run("photos", "--epochs", "2", "--batch-size", "5", folder=tmp_path)
    assert "12 records · image uint8 (224, 224, 3) · label int64 ()" in text
    assert figures("photos", text)[1] != "0"
    assert "accuracy" not in text
    monkeypatch.chdir(tmp_path)
    program = re.search(r"^in a program of yours:\n((?:  .*\n)+)at the prompt", text, re.MULTILINE)
    assert program is not None, text
    names: dict[str, Any] = {}
    exec(textwrap.dedent(program[1]), names)
    assert names["batch"]["image"].shape == (2, 224, 224, 3)
    commands = re.findall(r"^  streamload (.*?) +#", text[program.end() :], re.MULTILINE)
    assert commands == ["info photos", "show photos", "init photos --decode 224x224"]
    assert [main(command.split()) for command in commands] == [0, 0, 0]
    assert "sl.open(given.path, (IMAGE, LABEL), decode=(224, 224))" in Path("train_torch.py").read_text()


def test_the_demo_says_what_is_wrong_with_a_file(tmp_path: Path):
    """An error of the library's is one line, not a traceback."""
    command = [sys.executable, "-m", "streamload.tools.demonstration.main", str(tmp_path / "missing.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GUARD_SECONDS)
    assert done.returncode == 1
    assert re.match(r"\w+Error: .*missing\.h5", done.stderr)
    assert "Traceback" not in done.stderr


def test_crops_are_real_sorted_by_class_and_the_same_each_time(tmp_path: Path):
    """As many crops of each photograph, class by class; the same seed gives the same bytes."""
    nbytes = 60 * 64 * 64 * 3
    told: list[int] = []
    for name in ("a.h5", "b.h5"):
        assert write_crops(tmp_path / name, nbytes=nbytes, seed=3, progress=told.append) == records_of(nbytes) == 60
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        labels = a["label"][:]
        assert np.array_equal(labels, np.repeat(np.arange(len(PHOTOGRAPHS)), 5))
        assert np.array_equal(a["image"][:], b["image"][:])
        assert a["image"].chunks is None
        assert a["image"][:].std(axis=(1, 2, 3)).min() > 0
    assert told[-1] == 60


def test_the_classifier_learns_and_its_features_have_one_row_a_record():
    """Accuracy on crops it has not seen is far above guessing after a few steps."""
    crops, test = make_crops(1200, seed=5), make_crops(240, seed=6)
    assert features(crops.images[:7]).shape[0] == 7
    model = Classifier(inputs=features(crops.images[:1]).shape[1], classes=len(PHOTOGRAPHS), steps=120, rate=0.1)
    rng = np.random.default_rng(0)
    losses = [model.learn(crops.images[rows], crops.labels[rows]) for rows in (rng.integers(1200, size=64) for _ in range(120))]
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:5])
    assert model.accuracy(test.images, test.labels) > 3 / len(PHOTOGRAPHS)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what processes hold is read from /proc")
def test_the_watch_sees_memory_of_this_process_and_of_its_children():
    """A child that fills 64 MB is in the peak, and so is this process."""
    filled = "a = bytearray(b'x') * (64 << 20); print(flush=True); input()"
    with MemoryWatch() as watch, subprocess.Popen([sys.executable, "-c", filled], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        watch.look()
        child.communicate(b"\n")
    assert watch.peak.own_nbytes - watch.start.own_nbytes > 60 * 1024**2
    assert watch.peak.processes - watch.start.processes == 1


def test_a_bar_that_nobody_watches_is_one_line(capsys: pytest.CaptureFixture[str]):
    """Without a terminal the last state is printed once."""
    with PlainBar("counting", total=4) as shown:
        for done in range(5):
            shown.show(done, f"{done} done")
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "100 % 4 done" in printed
