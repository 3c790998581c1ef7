"""What `plan` and `info` say about speed and layout: what limits, how sure it is, and folders that only `convert` can read."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file, image_folder, in_this_thread, said
from foreign_files import noise, png, tar_of, tfrecord
from store_files import _end_threads, zarr_store  # noqa: F401 - a fixture

import streamload as sl
import streamload.tools.commands.speed as speed
from streamload.source import Column
from streamload.storage.files import is_cached
from streamload.tools.commands import conversion_gain, plan
from streamload.tools.commands.conversion_gain import gain_text
from streamload.tools.convert import executors


def test_a_plan_says_how_fast_and_what_limits_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Decoding where blocks are decoded; nothing where it was asked not to measure, or nothing is there to be read."""
    path = hdf5_file(tmp_path / "a.h5", arrays(200), chunks=(64, 8, 8, 3), compression="gzip")
    code, document = answer(capsys, "plan", path, "--workers", 1, "--order", "exact")
    assert code in (0, 1)
    assert document["speed"]["warm"] > 0
    assert document["speed"]["limit"] == "decoding on 1 core"
    assert "cold" not in document["speed"]  # a file of a few kilobytes says nothing about the device
    assert "records/s, limit: decoding on 1 core" in said(capsys, "plan", path, "--workers", 1, "--order", "exact")[1]
    assert "speed" not in answer(capsys, "plan", path, "--no-measure")[1]
    assert "speed" not in answer(capsys, "plan", hdf5_file(tmp_path / "b.h5", arrays(0)))[1]


def test_a_large_file_is_predicted_from_the_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Never faster than warm; the page cache keeps what it holds."""
    path = hdf5_file(tmp_path / "a.h5", arrays(100, (256, 256, 3)))
    found = answer(capsys, "info", path)[1]["speed"]
    assert set(found) >= {"exact_warm", "stored_warm"}
    source = sl.open(path)
    try:
        rate = speed.device_rate(source)
        if rate:  # where the file system reads past the page cache
            assert 0 < found["exact_cold"] <= found["exact_warm"]
            assert "the disk" in str(answer(capsys, "plan", path)[1]["speed"]) or rate > 0
        assert speed.read_nbytes(source, exact=True) == 256 * 256 * 3 + 8
    finally:
        source.close()
    assert speed.copy_rate() > 0


def test_a_plan_says_what_a_parquet_file_of_a_folder_would_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Measured on a part of it, where its files leave the page cache; not of other formats, nor where nothing is to be measured."""
    image_folder(tmp_path / "photos", {"cat": 40, "dog": 40})
    code, document = answer(capsys, "plan", tmp_path / "photos")
    assert code in (0, 1)
    assert "conversion" not in answer(capsys, "plan", tmp_path / "photos", "--no-measure")[1]
    assert "conversion" not in answer(capsys, "plan", hdf5_file(tmp_path / "a.h5", arrays(50)))[1]
    if "conversion" not in document:
        pytest.skip("the file system keeps files in the page cache")
    gain = document["conversion"]
    assert 32 <= gain["records"] <= 80
    assert gain["what"] == "this folder"
    assert 0 < gain["source"] <= document["speed"]["warm"]
    assert 0 < gain["parquet"] <= document["speed"]["warm"]
    words = gain_text(gain)
    found = re.search(
        r"this folder gives [0-9,]+ images/s cold, a Parquet file of it would give [0-9,]+ \(measured on [0-9]+ of its", words
    )
    assert found, words


@pytest.mark.parametrize("pays", [True, False], ids=["that pays", "that does not pay"])
def test_a_plan_names_the_conversion_that_pays(
    pays: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """What it prints is what it measured, and the command that it names makes a file of the same images, each as it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(executors, "ProcessExecutor", in_this_thread)
    monkeypatch.setattr(conversion_gain, "PAYS", 0.0 if pays else 1e9)  # how fast they are read here is chance
    image_folder(tmp_path / "photos", {"cat": 20, "dog": 20})
    code, text = said(capsys, "plan", "photos", "--workers", 0)
    assert code in (0, 1)
    (words,) = re.findall(r"this folder gives [0-9,]+ images/s cold, a Parquet file of it would give [0-9,]+", text) or [""]
    if not words:
        pytest.skip("the file system keeps files in the page cache")
    commands = re.findall(r"`(streamload convert [^`]+)`", text)
    assert len(commands) == pays, text
    for command in commands:
        assert said(capsys, *command.split()[1:])[0] == 0
        with sl.open("photos", decode=False) as folder, sl.open(command.split()[3], decode=False) as file:
            assert (len(file), file.classes) == (40, folder.classes)
            assert list(file[:]["image"]) == list(folder[:]["image"])
            assert file[:]["label"].tolist() == folder[:]["label"].tolist()


@pytest.mark.parametrize("kind", ["tar", "tars", "tfrecord", "tar.gz"])
def test_a_plan_says_what_a_parquet_file_of_archives_would_give(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """By their places in the files, some of which have no image; of what is compressed as a whole from its beginning."""
    for part in range(2):
        records = [{"image": png(noise(seed=number)), "label": [number % 2]} for number in range(60)]
        if kind == "tfrecord":
            tfrecord(tmp_path / f"{part}.tfrecord", records)
            continue
        members = [(f"{number}.png", one["image"]) for number, one in enumerate(records) if number != 7]
        members += [(f"{number}.cls", str(one["label"][0]).encode()) for number, one in enumerate(records)]
        data = tar_of(sorted(members))
        (tmp_path / f"{part}.{kind.removesuffix('s')}").write_bytes(gzip.compress(data) if kind == "tar.gz" else data)
    path = tmp_path if kind == "tars" else tmp_path / f"0.{kind}"
    order = ["--order", "stored"] if kind == "tar.gz" else []
    document = answer(capsys, "plan", path, "--workers", 2, *order)[1]
    if "conversion" not in document:
        pytest.skip("the file system keeps files in the page cache")
    gain = document["conversion"]
    assert gain["records"] == {"tar": 59, "tars": 118}.get(kind, 60)
    assert 0 < gain["source"] <= document["speed"]["warm"]
    assert gain["parquet"] > 0
    words = gain_text(gain)
    begin = {"tars": "these files give", "tfrecord": "this TFRecord file gives"}.get(kind, "this tar gives")
    assert re.search(rf"{begin} [0-9,]+ records/s cold, a Parquet file of (it|them) would give [0-9,]+ \(measured on", words), words


def test_a_compressed_file_is_unpacked_by_one_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Its plan counts one core for that, however many workers there are, and a core for each of several files."""
    monkeypatch.setattr(plan, "usable_cores", lambda: 4)
    data = tar_of([(f"{number}.png", png(noise(seed=number))) for number in range(20)])
    for part in range(3):
        (tmp_path / f"{part}.tar.gz").write_bytes(gzip.compress(data))
    for path, limit in ((tmp_path / "0.tar.gz", "unpacking on 1 core, one a file"), (tmp_path, "unpacking on 3 cores, one a file")):
        speeds = answer(capsys, "plan", path, "--workers", 4, "--order", "stored")[1]["speed"]
        assert set(speeds["limits"]) >= {"one core that copies batches out", "decoding on 4 cores", limit}
        assert speeds["warm"] == min(speeds["limits"].values()) == speeds["limits"][speeds["limit"]]
    (tmp_path / "x.tar").write_bytes(data)
    assert "reading on 4 cores" in answer(capsys, "plan", tmp_path / "x.tar", "--workers", 4)[1]["speed"]["limits"]


class TestTheModel:
    """What comes from the device for a record, on the mean over an epoch."""

    def test_what_fits_into_memory_is_read_once(self, tmp_path: Path):
        """Chunks that are decoded again are in the page cache by then; of more than memory, as often as it holds a share of all."""
        source = sl.open(hdf5_file(tmp_path / "a.h5", arrays(640), chunks=(64, 8, 8, 3), compression="gzip"))
        each, cost = (sum(one.file_nbytes * factor(one) for one in source.columns) / 640 for factor in (lambda one: 1, amplification))
        source.close()
        assert cost > 50 * each
        assert speed.read_nbytes(source, exact=True, free_nbytes=1 << 30) == pytest.approx(each)
        assert speed.read_nbytes(source, exact=True, free_nbytes=0) == pytest.approx(cost)
        assert speed.read_nbytes(source, exact=True, free_nbytes=int(320 * each)) == pytest.approx((each + cost) / 2, rel=0.01)
        assert speed.read_nbytes(source, exact=False, free_nbytes=0) == pytest.approx(each)

    def test_a_record_by_itself_costs_a_page(self, tmp_path: Path):
        """However small it is; not where records are read one after the other."""
        source = sl.open(hdf5_file(tmp_path / "a.h5", {"x": np.zeros((6000, 60), np.uint8), "y": np.zeros((6000, 50), np.uint8)}))
        source.close()
        held = [one.held is None for one in source.columns]
        pages = sum(4096 if alone else size for alone, size in zip(held, (60, 50), strict=True))
        assert speed.read_nbytes(source, exact=True, free_nbytes=0) == pages
        assert speed.read_nbytes(source, exact=False, free_nbytes=0) == 110


def amplification(column: Column) -> float:
    """What a record costs in exact order, in records."""
    return column.amplification


def test_a_prediction_is_called_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """With what it rests on; a measurement is called a measurement."""
    path = hdf5_file(tmp_path / "a.h5", arrays(100, (256, 256, 3)))
    code, document = answer(capsys, "info", path)
    text = said(capsys, "info", path)[1]
    assert "records/s of one process here, measured warm: exact order " in text
    assert code == 0
    if document["predicted"]:  # where the file system reads past the page cache
        assert "records/s from the disk, predicted and not measured (--cold does): exact order " in text
    measured = said(capsys, "info", path, "--cold")[1]
    assert "records/s from the disk, measured: exact order " in measured
    assert answer(capsys, "info", path, "--cold")[1]["predicted"] == []


def test_a_device_that_cannot_be_asked_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Then nothing is said of it."""
    source = sl.open(hdf5_file(tmp_path / "a.h5", arrays(100, (256, 256, 3))))

    def refused(path: str) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(speed, "Direct", refused)
    assert speed.device_rate(source) == 0.0
    source.close()


def test_info_says_how_sure_a_layout_is_and_what_overrides_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Found by looking, or as it was said."""
    path = hdf5_file(tmp_path / "a.h5", {"x": np.zeros((4, 6)), "y": np.arange(4)})
    found = answer(capsys, "info", path, "--no-measure")[1]["layout"]
    assert found["certainty"] == "guessed, see the notes below"
    assert "--fields" in found["override"]
    assert answer(capsys, "info", path, "--no-measure", "--fields", "x,y")[1]["layout"]["certainty"] == "as you said"


def on_disk(path: Path) -> bool:
    """Whether a file can be had out of the page cache, as those of file systems in memory cannot."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return not is_cached(file.fileno(), 0)


def test_info_shows_a_folder_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Records, fields, classes, and what to do; a damaged image does not keep it from being shown."""
    image_folder(tmp_path / "in", {"ant": 3, "bee": 4})
    disk = {on_disk(path) for path in (tmp_path / "in").glob("*/*.png")} == {True}
    code, document = answer(capsys, "info", tmp_path / "in")
    assert (code, document["format"], document["records"]) == (0, "Images", 7)
    assert document["classes"] == {"label": ["ant", "bee"]}
    assert document["fields"][0] | {"range": None} == {
        "name": "image",
        "dtype": "uint8",
        "shape": [12, 10, 3],
        "ragged": "",
        "stored": "PNG 12 x 10 (RGB), decoded as (12, 10, 3) RGB; a file a record",
        "stored_nbytes": sum(path.stat().st_size for path in (tmp_path / "in").glob("*/*.png")),
        "addressable": True,
        "blocks": None,
        "amplification": 1.0,
        "range": None,
    }
    assert document["fields"][1]["range"] == {"least": 0, "greatest": 1, "nan": False, "records": 7, "all": True}
    assert document["layout"]["certainty"] == "guessed, see the notes below"
    assert "'image' is decoded: the 7 images looked at are all PNG 12 x 10 (RGB); decode=False leaves bytes" in document["notes"]
    assert document["speed"]["stored_warm"] > 0
    if disk:
        assert 0 < document["speed"]["stored_cold"] < document["speed"]["stored_warm"]
        assert " from the disk" in said(capsys, "info", tmp_path / "in")[1]
    text = said(capsys, "info", tmp_path / "in")[1]
    assert "classes of 'label': ant, bee" in text
    assert "records are  addressable: any can be read by itself" in text
    assert "label  int64  ()           0 to 1" in text
    assert "`streamload convert" in text
    (tmp_path / "in" / "bee" / "002.png").write_bytes(b"no image")
    assert answer(capsys, "info", tmp_path / "in")[1]["records"] == 7


def test_info_shows_chunks_and_codecs_of_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A store says itself what it holds; one record costs its chunk."""
    path = zarr_store(tmp_path / "a.zarr", arrays(9), chunks=(4, 8, 8, 3))
    document = answer(capsys, "info", path)[1]
    assert document["layout"]["certainty"].startswith("certain")
    assert document["fields"][0]["addressable"] is False
    assert document["fields"][0]["stored"].startswith("chunks of 4 records (8, 8, 3), ")
    text = said(capsys, "info", path)[1]
    assert "records are  decoded a block at a time" in text
    assert "chunks of 4 records," in text
    assert answer(capsys, "info", path, "--fields", "image")[1]["layout"]["certainty"] == "as you said"


def test_info_predicts_archives_from_the_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Decoding and reading one after the other; texts are fields like others."""
    path = tfrecord(
        tmp_path / "a.tfrecord", [{"image": png(noise((200, 200, 3), at)), "label": [at], "name": b"x" * at} for at in range(20)]
    )
    document = answer(capsys, "info", path)[1]
    assert document["account"]["left_out"] == []
    assert [field["name"] for field in document["fields"]] == ["image", "label", "name"]
    if speed.device_rate_of(str(path)):
        assert 0 < document["speed"]["stored_cold"] < document["speed"]["stored_warm"]


def test_info_counts_the_parts_of_a_folder_and_names_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The first part is looked at, and the others are not forgotten."""
    image_folder(tmp_path / "in", {"ant": 6, "bee": 4})
    assert answer(capsys, "convert", tmp_path / "in", tmp_path / "out", "--split", "0.6,0.4", "--shuffle")[0] == 0
    document = answer(capsys, "info", tmp_path / "out")[1]
    assert document["parts"] == {"train": 6, "test": 4}
    assert document["classes"] == {"label": ["ant", "bee"]}
    text = said(capsys, "info", tmp_path / "out")[1]
    assert "the first of train 6, test 4" in text
    assert "classes of 'label': ant, bee" in text


@pytest.mark.parametrize("options", [{}, {"chunks": (64, 8, 8, 3), "compression": "gzip"}], ids=["mapped", "decoded"])
def test_rates_are_those_of_a_first_and_of_a_later_epoch(options: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Files that a worker would map are mapped for the later one, unless they are too large for a moment."""
    source = sl.open(hdf5_file(tmp_path / "a.h5", arrays(200), **options))
    mapped: list[int] = []
    real = speed.OpenFiles.map
    monkeypatch.setattr(speed.OpenFiles, "map", lambda files, number: (mapped.append(number), real(files, number))[1])
    first, again = speed.rates(source, np.arange(200)[::-1], 64)
    assert min(first, again) > 0
    assert mapped == ([0] if source.addressable else [])
    monkeypatch.setattr(speed, "MAPPED_NBYTES", 10)
    speed.rates(source, np.arange(200), 64)
    assert len(mapped) == source.addressable
    source.close()
