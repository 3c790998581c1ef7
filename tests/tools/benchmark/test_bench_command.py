"""`streamload bench` and `streamload tune`: figures that hang together, caches that are what they are called, errors by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, arrays, hdf5_file, said
from time_limits import Deadline

import streamload
from streamload.errors import ConfigError, ResourceError, StreamloadError, UnsupportedFeatureError
from streamload.tools.benchmark.advice import verdict
from streamload.tools.benchmark.cgroup import confined
from streamload.tools.benchmark.comparison import Competitor, module_of
from streamload.tools.benchmark.competitors import COPY, PEERS, chosen_peers, copied, hdf5_names, told
from streamload.tools.benchmark.environment import mount_of
from streamload.tools.benchmark.runs import passed
from streamload.tools.benchmark.workloads import utilisation
from streamload.tools.commands.bench import worked_out, worker_counts
from streamload.tools.files.page_cache import EVICT_ONLY

RECORDS, BATCH = 600, 64


@pytest.fixture(autouse=True)
def spare_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the test's own files leave the page cache."""
    monkeypatch.setenv(EVICT_ONLY, "1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of images and labels."""
    return hdf5_file(tmp_path / "train.h5", arrays(RECORDS))


def config(path: Path, **more: Any) -> dict[str, Any]:
    """What a pass over a file is told."""
    return {"paths": [str(path)], "files": [str(path)], "batch": BATCH, "workers": 0, "seconds": 0.2, **more}


def on_a_disk(path: Path) -> bool:
    """Whether the page cache of a file can be emptied."""
    return mount_of(path.parent)[1] not in ("tmpfs", "ramfs")


def test_a_pass_over_one_epoch_counts_every_record_once(path: Path):
    """The first batch apart, whose coming is timed by itself."""
    one = passed(config(path, once=True, seconds=100))
    assert one["first_records"] + one["records"] == RECORDS
    assert one["steps"] + 1 == -(-RECORDS // BATCH)
    assert one["used_nbytes"] == RECORDS * (8 * 8 * 3 + 8)
    assert sum(one["waits"]["counts"]) == one["steps"]
    assert 0 <= one["waits"]["p50"] <= one["waits"]["p99"] <= one["waits"]["most"]
    assert "mincore finds 100.0 % in memory" in one["cache"]
    assert one["memory"]["rss_nbytes"] >= one["memory"]["own_nbytes"] > 0


def test_a_pass_whose_chunks_must_be_decoded_is_held_up_by_that(tmp_path: Path):
    """The verdict follows the data: the same command on the same records, compressed."""
    rng = np.random.default_rng(0)
    images = (np.arange(400 * 30_720).reshape(400, 30_720) // 7_000 % 200 + rng.integers(16, size=(400, 30_720))).astype(np.uint8)
    with h5py.File(tmp_path / "gzip.h5", "w") as file:
        file.create_dataset("image", data=images, chunks=(50, 30_720), compression="gzip")
    one, deadline = passed(config(tmp_path / "gzip.h5", batch=50, order="block")), Deadline(10)
    while one["bottleneck"] != "decode" and not deadline.passed:  # Others may take the core while something else is done.
        one = passed(config(tmp_path / "gzip.h5", batch=50, order="block"))
    assert one["bottleneck"] == "decode"
    one = worked_out(one, [], stored=False)
    assert [limit["kind"] for limit in one["limits"]] == ["decode"]
    assert one["limits"][0]["name"] == "1 worker doing nothing but decoding, at the pace of this pass"
    assert verdict(one).endswith("; decoding set the pace")


def test_a_cold_pass_finds_the_cache_empty_and_reads_the_device(path: Path):
    """By mincore, and by what the kernel says that the processes had brought in."""
    if not on_a_disk(path):
        pytest.skip("temporary files lie in memory here")
    assert "mincore finds 0.00 % in memory" in passed(config(path, once=True), cold=True)["cache"]


def test_a_pass_under_a_ceiling_says_what_its_group_held_or_why_there_is_none(path: Path):
    """Where the rights suffice, the peak; else an error that names what is missing."""
    if not on_a_disk(path):
        pytest.skip("temporary files lie in memory here")
    if confined(1 << 30) is None:
        with pytest.raises(
            ResourceError, match=r"may not make a control group with a limit of 1 GB: .* Run it as root, or in a group that"
        ):
            passed(config(path, once=True, limit_nbytes=1 << 30))
        return
    one = passed(config(path, once=True, limit_nbytes=1 << 30))
    assert one["cache"].endswith(", under a ceiling of 1 GB")
    assert 0 < one["memory"]["group_peak_nbytes"] <= one["memory"]["group_limit_nbytes"] == 1 << 30


def test_an_error_of_a_pass_comes_from_its_process_as_it_was(tmp_path: Path, path: Path):
    """Kind, message and hint."""
    with pytest.raises(ConfigError, match="batch_size=0"):
        passed(config(path, batch=0))


def test_a_pass_whose_process_ends_otherwise_is_named(path: Path, monkeypatch: pytest.MonkeyPatch):
    """With its status and its last words."""
    monkeypatch.setattr("streamload.tools.benchmark.runs.MODULE", "streamload.tools.nothing_here")
    with pytest.raises(StreamloadError, match=r"The process of a pass ended with status 1: .*nothing_here.*--debug"):
        passed(config(path))


def test_a_killed_pass_says_that_memory_ran_out(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the limit, and what to lower."""
    (tmp_path / "ends_itself.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("streamload.tools.benchmark.runs.MODULE", "ends_itself")
    with pytest.raises(ResourceError, match=r"was killed: memory ran out. Give a higher --limit-memory"):
        passed(config(path))


def test_a_file_that_somebody_maps_is_not_called_cold(path: Path):
    """An error instead of a figure."""
    if not on_a_disk(path):
        pytest.skip("temporary files lie in memory here")
    mapped = np.memmap(path, np.uint8, "r")
    assert mapped.sum()
    with pytest.raises(ResourceError, match=r"The page cache cannot be emptied of train.h5: .* End what maps the file"):
        passed(config(path), cold=True)


def test_steps_that_compute_take_as_long_as_they_say(path: Path):
    """Utilisation is compute time over total time, the first step left out: with long steps nearly one."""
    one = passed(config(path, compute_seconds=0.02, seconds=0.3))
    assert one["seconds"] >= one["steps"] * 0.02
    assert 0.2 < utilisation(one, 0.02) <= 1.0


def test_bench_says_everything_and_hangs_together(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Rates, limits, waits, memory, verdict, model and page, in one document."""
    page = tmp_path / "report.html"
    words = ["bench", path, "--workers", "0,1", "--seconds", "0.2", "--batch", BATCH, "--model", "0.001", "--html", page]
    code, document = answer(capsys, *words)
    assert code == (document["model"]["feeds"] < 1)  # as the machine has it
    assert [one["workers"] for one in document["passes"]] == [0, 1]
    for one in document["passes"]:
        assert one["rate"] * 200 == pytest.approx(one["byte_rate"])
        assert one["limits"][0]["ratio"] == pytest.approx(one["byte_rate"] / one["limits"][0]["byte_rate"])
        assert one["read_per_used"] > 0.9  # labels are held in memory, and not read again
    assert document["model"]["feeds"] >= 0
    assert set(document["model"]["utilisation"]) >= {"1"}
    assert "records/s with" in document["verdict"]
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_bench_in_words_shows_the_limit_beside_the_figure(path: Path, capsys: pytest.CaptureFixture[str]):
    """Every part of the answer has its line."""
    code, text = said(capsys, "bench", path, "--workers", "0", "--seconds", "0.1", "--batch", BATCH)
    assert code == 0
    for words in (
        "limit: one core copying",
        " x one core copying",
        "first batch",
        "a step waits",
        "s a GB",
        "RSS",
        "PSS",
        "bytes a byte used",
    ):
        assert words in text


def test_one_batch_is_not_taken_for_a_pace(tmp_path: Path):
    """Where an epoch is one step, nothing has been waited for but the start; nobody says that the loader keeps up."""
    small = hdf5_file(tmp_path / "small.h5", arrays(20))
    found = passed(config(small, once=True, seconds=0.1))
    assert (found["steps"], found["bottleneck"]) == (0, "start")
    assert found["verdict"] == "start: there was one batch, and nothing to be said of others"


def test_limits_are_those_of_records_as_long_as_these_are_on_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A record of bytes of any length has its mean length, and not that of its fixed fields alone."""
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": ["x" * (2000 * (k % 2) + 1000) for k in range(64)], "label": np.arange(64)}), path)
    _, info = answer(capsys, "info", path)
    code, document = answer(capsys, "bench", path, "--workers", "0", "--seconds", "0.1", "--batch", 16)
    assert code == 0
    assert document["record_nbytes"] == info["record_nbytes"] == 2000 + 8
    assert document["limits"][0]["name"] == "one core copying 2,008 B in order"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0,two"], "--workers 0,two cannot be read. Give numbers from 0 to 256"),
        (["--workers", "-1"], "--workers -1 cannot be read."),
        (["--order", "exakt"], "--order exakt is not known. Did you mean 'exact'?"),
        (["--seconds", "0"], "--seconds 0 is out of range."),
        (["--model", "resnet"], "--model resnet is neither a model that is known nor seconds a step. Did you mean 'resnet50'?"),
        (["--contenders", "torch_mmap"], "--contenders torch_mmap is not known. Did you mean 'torch_memmap'?"),
    ],
    ids=["workers in words", "fewer than none", "an order", "no time", "a model", "a contender"],
)
def test_what_cannot_be_right_is_said_before_anything_is_measured(
    words: list[str], message: str, path: Path, capsys: pytest.CaptureFixture[str]
):
    """Exit code 2, what is wrong, what to give instead."""
    code, text = said(capsys, "bench", path, *words)
    assert code == 2
    assert message in " ".join(text.split()).removeprefix("streamload: ")


def test_contenders_read_the_same_records(tmp_path: Path):
    """Images as bytes and labels, whatever the format and the type were; a second time nothing is written."""
    held = {"depth": np.arange(30 * 4, dtype=np.float32).reshape(30, 4), "class": np.arange(30, dtype=np.int32) % 3}
    data = streamload.open(hdf5_file(tmp_path / "x.h5", held))
    made = copied(data, tmp_path, most_nbytes=16 * 20)
    assert (made.records, made.image, made.label) == (20, "depth", "class")
    assert hdf5_names(data, made, {}) == {"image": "depth", "label": "class"}
    again = made.path.stat().st_mtime_ns
    assert copied(data, tmp_path, most_nbytes=16 * 20).path.stat().st_mtime_ns == again
    data.close()
    copy = streamload.open(made.path)
    np.testing.assert_array_equal(copy[:]["image"].view(np.float32), held["depth"][:20])
    np.testing.assert_array_equal(copy[:]["label"], held["class"][:20])
    copy.close()


def test_records_without_a_fixed_size_leave_contenders_out(tmp_path: Path):
    """By name, with what to do."""
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file.create_dataset("text", data=["a", "bcd", "ef"], dtype=h5py.string_dtype())
    data = streamload.open(tmp_path / "r.h5")
    with pytest.raises(UnsupportedFeatureError, match=r"no field of a fixed size.*Leave --contenders out"):
        copied(data, tmp_path)
    data.close()


@pytest.mark.slow
def test_contenders_are_compared_or_left_out_by_name(path: Path, capsys: pytest.CaptureFixture[str]):
    """Each has its ratio, or the reason why not."""
    asked = "ffcv_beton,tf_data,torch_memmap"
    code, document = answer(capsys, "bench", path, "--workers", "0", "--seconds", "0.1", "--batch", BATCH, "--contenders", asked)
    assert code == 0
    found = {one["name"]: one for one in document["contenders"]}
    assert [name for name in found if name != COPY] == chosen_peers(asked)
    for name, one in found.items():
        if "missing" in one:
            assert one["missing"].startswith(f"{name} is left out: ")
            continue
        assert one["ratio"] > 0 < one["limit_ratio"]
        assert one["limit"].startswith("one core copying")
        assert one["text"] == told(one)
        assert one["reads"].startswith(("your files, ", "a plain copy, ", "a decoded copy, "))


def test_a_contender_is_told_with_its_limit_and_what_its_format_takes():
    """In one line: rates, limit, ratio, order; size and writing time where it has a format of its own."""
    one = {"name": "X", "rate": 2e3, "byte_rate": 5e6, "limit": "a copy", "limit_ratio": 0.05, "ratio": 3.0, "order": "full shuffle"}
    one["reads"] = "a decoded copy, 9 MB"
    line = (
        "X: 2,000 records/s, 5 MB/s, 5.0 % of a copy; streamload over that copy is 3.00 times as fast; "
        "it reads a decoded copy, 9 MB; its order: full shuffle"
    )
    assert told(one) == line
    assert told(one | {"written_nbytes": 3 << 20, "written_seconds": 1.25}) == f"{line}; its own format: 3.15 MB, written in 1.2 s"


@pytest.mark.parametrize("peer", [*dict.fromkeys(peer for peer, _ in PEERS.values())])
def test_every_contender_is_there_or_missing_by_name(peer: str):
    """No module of a contender is misspelt."""
    assert module_of(peer) == f"bench.peers.{peer}"


def test_a_contender_says_which_records_it_handed_out(tmp_path: Path):
    """Numbers that stand in the first eight bytes: the order that quality is measured by."""
    images = np.zeros((100, 16), np.uint8)
    images[:, :8] = np.arange(100)[:, None].view(np.uint8)
    made = hdf5_file(tmp_path / "numbered.h5", {"image": images, "label": np.arange(100)})
    with Competitor("streamload", "ours", {"path": str(made), "batch": 32, "workers": 0, "settle": 0}) as loader:
        seen = loader.run(watch=True).extra["seen"]
        assert "seen" not in loader.run().extra
    assert [len(batch) for batch in seen] == [32, 32, 32, 4]
    assert sorted(record for batch in seen for record in batch) == list(range(100))


def test_workers_that_are_asked_for_are_tried_once_each():
    """In the order given."""
    assert worker_counts("2,0,2") == [2, 0]
    assert worker_counts(None)[0] == 0
