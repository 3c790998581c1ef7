"""Every command on every kind of dataset: the same records, counted alike, and calls that can be pasted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, in_this_thread, said
from every_kind import IMAGES, KINDS, LABELS, PLANES, RECORDS, SEQUENTIAL
from PIL import Image
from store_files import _end_threads  # noqa: F401

import streamload as sl
from streamload.tools.benchmark.measure_epoch import run_pass
from streamload.tools.commands import bench, tune
from streamload.tools.convert import executors

UNITS = {"folder": 24, "pairs": 48, "tars": 3, "lmdb": 2, "idx": 2, "idx.gz": 2, "cifar": 2, "pickled cifar": 2}
"""Files that are found, where it is not one."""
HIDDEN = {"lmdb": "hidden, or of the system"}
"""What is left out, where something is: the lock beside a database."""
UNLABELLED = ("pairs", "npy")
CLASSES = {"folder": ["cat", "dog"], "cifar": [*"abcdefghij"], "pickled cifar": [*"aaaaaaaaaj"]}


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """A kind, its data, and a folder to write to."""
    here = tmp_path_factory.mktemp("kind")
    (here / "data").mkdir()
    (here / "written").mkdir()
    return request.param, KINDS[request.param](here / "data"), here / "written"


def pictures(name: str) -> np.ndarray:
    """What the records of a kind look like."""
    if "cifar" in name:
        return PLANES.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return IMAGES[..., 0] if "idx" in name else IMAGES


def position(name: str) -> list[int]:
    """The number of each record as it was made; folders of classes come one after the other."""
    return [*range(0, RECORDS, 2), *range(1, RECORDS, 2)] if name == "folder" else [*range(RECORDS)]


def account(name: str) -> dict[str, Any]:
    """What must be said of files that were found, and of those that were left out."""
    left = [{"what": "file", "why": HIDDEN[name], "count": 1}] if name in HIDDEN else []
    found = UNITS.get(name, 1)
    return {"unit": "store" if "zarr" in name else "file", "found": found, "taken": found - len(left), "left_out": left}


def accounted(document: dict[str, Any]) -> dict[str, Any]:
    """The same out of an answer."""
    found = document["account"]
    return found | {"left_out": [{key: one[key] for key in ("what", "why", "count")} for one in found["left_out"]]}


def stored(name: str) -> list[str]:
    """What a command must be told of a kind that is read in no other order."""
    return ["--order", "stored"] if name in SEQUENTIAL else []


def called(text: str) -> Any:
    """What a call that was printed gives."""
    return eval(text, {"sl": sl})


def test_info_counts_the_records_and_what_was_found(kind: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]):
    """And its call opens the same fields; names of classes are said."""
    name, path, _ = kind
    code, document = answer(capsys, "info", path, "--no-measure")
    assert (code, document["records"], accounted(document)) == (0, RECORDS, account(name))
    assert document["forward_only"] == (name in SEQUENTIAL)
    assert document["classes"] == ({"label": CLASSES[name]} if name in CLASSES else {})
    with called(document["call"]) as source:
        assert source.schema.names == tuple(field["name"] for field in document["fields"])
        assert len(source) == RECORDS
    code, text = said(capsys, "info", path, "--no-measure")
    left = f"left out: 1 file: {HIDDEN[name]}" if name in HIDDEN else "nothing left out"
    assert (code, text.count(left)) == (0, 1)


def test_head_and_show_give_the_records(kind: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]):
    """Their pixels and labels, the last ones too."""
    name, path, written = kind
    for start, number in ((0, 0), (-1, RECORDS - 1)):
        code, document = answer(capsys, "head", path, "-n", 1, "--start", start)
        (record,) = document["records"]
        assert (code, document["of"], record["record"]) == (0, RECORDS, number)
        made, (shown, *more) = position(name)[number], [record[field] for field in record if field != "record"]
        np.testing.assert_array_equal(shown, pictures(name)[made])
        if name == "pairs":
            np.testing.assert_array_equal(more[0], (IMAGES[made, ..., :1] % 4))
        elif name not in UNLABELLED:
            assert more == [LABELS[made]]
    code, document = answer(capsys, "show", path, "-n", 3, "-o", written / "sheet.png")
    assert (code, document["records"], document["damaged"]) == (0, [0, 1, 2], [])
    with Image.open(written / "sheet.png") as sheet:
        assert min(sheet.size) > 10


def test_plan_ends_with_a_call_that_delivers_every_record(kind: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]):
    """In batches of the size that was asked for."""
    name, path, _ = kind
    words = ["plan", path, "--batch", 10, "--workers", 0, "--no-measure"]
    if name in SEQUENTIAL:
        code, text = said(capsys, *words)
        assert (code, text.count("Give --order stored; or, to shuffle them, convert once: `streamload convert")) == (2, 1)
    code, document = answer(capsys, *words, *stored(name))
    assert (code, document["records"], document["steps"]) == (0, RECORDS, 3)
    assert (document["order"] == "sequential") == (name in SEQUENTIAL)
    with called(document["call"]) as loader:
        batches = [batch.records.tolist() for batch in loader]
    assert [len(one) for one in batches] == [10, 10, 4]
    assert sorted(record for batch in batches for record in batch) == [*range(RECORDS)]


def test_what_convert_writes_is_verified_against_where_it_came_from(
    kind: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """The same counts by every command."""
    monkeypatch.setattr(executors, "ProcessExecutor", in_this_thread)
    name, path, written = kind
    code, document = answer(capsys, "verify", path)
    assert (code, document["found"], accounted(document)) == (0, [], account(name))
    assert f"{RECORDS} records decoded" in document["checked"][0]
    code, document = answer(capsys, "convert", path, written / "out.h5")
    assert (code, document["records"], accounted(document)) == (0, RECORDS, account(name))
    code, text = said(capsys, "verify", written / "out.h5", "--against", path)
    assert code == 0, text
    assert re.search(rf"\b{RECORDS} records", text)


def test_bench_and_tune_measure_it(kind: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """The passes are made in this process."""
    for command in (bench, tune):
        monkeypatch.setattr(command, "passed", lambda config, cold=False: {**run_pass(json.loads(json.dumps(config))), "cache": "warm"})
    for limits in ("copy_limits", "device_limits"):
        monkeypatch.setattr(bench, limits, lambda *_: [])
    monkeypatch.setattr(tune, "worker_trials", lambda cores: [0])
    name, path, _ = kind
    code, document = answer(capsys, "bench", path, "--batch", 10, "--workers", 0, "--seconds", 0.02, *stored(name))
    assert code == 0
    assert all(one["records"] >= RECORDS and one["rate"] > 0 for one in document["passes"])
    code, document = answer(capsys, "tune", path, "--batch", 10, "--seconds", 0.1, *stored(name))
    assert code == 0
    with called(document["call"]) as loader:
        assert sum(len(batch.records) for batch in loader) == RECORDS
