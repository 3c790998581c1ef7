"""What holds for every command: JSON and nothing else, plain text in pipes, files of no and of one record, sources left alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file, image_folder, said
from foreign_files import cifar, idx_files, noise, tfrecord, webdataset
from store_files import _end_threads, database, zarr_store  # noqa: F401 - a fixture

from streamload.tools import progress
from streamload.tools.__main__ import main

CALLS = {
    "info": ("info", "a.h5"),
    "head": ("head", "a.h5"),
    "show": ("show", "a.h5"),
    "show to a file": ("show", "a.h5", "-o", "sheet.png"),
    "plan": ("plan", "a.h5"),
    "convert": ("convert", "a.h5", "b.parquet"),
    "convert, dry": ("convert", "a.h5", "b.parquet", "--dry-run"),
    "convert to a folder": ("convert", "a.h5", "b", "--split", "0.5,0.5", "--shuffle"),
    "verify": ("verify", "a.h5", "--against", "a.h5", "--duplicates"),
    "doctor": ("doctor", "--no-measure"),
}


@pytest.mark.parametrize("records", [0, 1], ids=["no record", "one record"])
@pytest.mark.parametrize("words", CALLS.values(), ids=CALLS)
def test_every_command_works_on_next_to_nothing(
    words: tuple[str, ...], records: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """And says one JSON document, or text without colours and escape codes; "1 record", and not "1 records"."""
    code: list[int] = []
    for name, more in (("first", ["--json"]), ("second", [])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        hdf5_file(tmp_path / name / "a.h5", arrays(records))
        code.append(main([*words, *more]))
        if more:
            assert isinstance(json.loads(capfd.readouterr().out), dict)
    assert code[0] == code[1]
    assert code[0] == 0 or words[0] == "doctor"
    text = "".join(capfd.readouterr())
    assert text.strip()
    assert "\033" not in text
    assert not re.search(r"\b1 (records|files|images|steps)\b", text.replace("1 records/s", "")), text


def folder(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Images in folders."""
    image_folder(path, {"a": 3, "b": 2})
    return path


def hdf5(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Chunks."""
    return hdf5_file(path, {"image": images, "label": labels}, chunks=(2, 32, 32, 3), compression="gzip")


def examples(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Messages."""
    return tfrecord(path, [{"label": [int(one)]} for one in labels])


def store(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Zarr."""
    return zarr_store(path, {"image": images, "label": labels})


SOURCES = [folder, hdf5, examples, store, webdataset, cifar, idx_files]


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_sources_are_left_as_they_were(
    make: Callable[[Path, np.ndarray, np.ndarray], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Bytes, times and names; whatever is done with them."""
    (tmp_path / "in").mkdir()
    source = make(tmp_path / "in" / "x", noise((5, 32, 32, 3)), np.arange(5))
    before = state(tmp_path / "in")
    for words in (("info",), ("head",), ("convert", tmp_path / "b.h5", "--shuffle", "--workers", "1")):
        assert said(capsys, words[0], source, *words[1:])[0] == 0
    assert answer(capsys, "verify", tmp_path / "b.h5", "--against", source, "--any-order")[0] == 0
    assert state(tmp_path / "in") == before


def state(path: Path) -> dict[str, tuple[int, bytes]]:
    """Times and bytes of all files of a folder."""
    found = [one for one in sorted(path.rglob("*")) if one.is_file()]
    return {str(one): (os.stat(one).st_mtime_ns, one.read_bytes()) for one in found}


class TestProgress:
    """Bars."""

    def test_a_pipe_gets_one_line(self, capsys: pytest.CaptureFixture[str]):
        """When all is done; of nothing, all is."""
        with progress.PlainBar("writing", total=8) as shown:
            shown.show(2, "2 records, 2 KB")
            shown.show(8, "8 records, 8 KB")
        assert capsys.readouterr().err == f"{'writing':<24} [{'#' * 30}] 100 % 8 records, 8 KB\n"
        with progress.PlainBar("writing", total=0) as shown:
            shown.show(0, "0 records, 0 B")
        assert "100 % 0 records" in capsys.readouterr().err

    def test_a_terminal_sees_records_bytes_and_the_time_left(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        """With rich, and nothing more than a line that is written over without it."""
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        with progress.bar("writing", total=8) as shown:
            assert isinstance(shown, progress.RichBar)
            shown.show(8, "8 records, 8 KB")
        text = capsys.readouterr().err
        assert "8 records, 8 KB" in text
        assert "0:00:00" in text
        with progress.PlainBar("writing", total=8) as shown:
            shown.show(4, "4 records, 4 KB")
        assert "\r" in capsys.readouterr().err
