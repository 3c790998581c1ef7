"""What a conversion that fails leaves, and says of it; and what is chosen by fields that are not written."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import finished, image_folder, in_this_thread, names_in, said

import streamload as sl
from streamload.tools.convert import executors


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the folder, and in this process."""
    monkeypatch.setattr(executors, "ProcessExecutor", in_this_thread)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", ["--to parquet --split 0.5,0.5", "b.h5 --where label>=0", "--to hdf5 --shard-size 1KB --split 0.5,0.5"])
def test_images_that_are_not_alike_leave_nothing(words: str, capsys: pytest.CaptureFixture[str]):
    """Whatever had been found out before that was known: the same command would be refused again."""
    image_folder(Path("in"), {"a": 4})
    image_folder(Path("in"), {"b": 4}, shape=(9, 10, 3))
    target = words.split() if words.startswith("b.h5") else ["out", *words.split()]
    code, text = said(capsys, "convert", "in", *target)
    assert (code, "4 images of 8 differ from the first" in " ".join(text.split())) == (1, True), text
    assert names_in(Path()) == {"in"}


def test_a_damaged_record_leaves_what_is_finished_and_says_so(capsys: pytest.CaptureFixture[str]):
    """Behind what can be done about it; where nothing is finished, nothing is left."""
    image_folder(Path("in"), {"a": 10, "b": 10})
    whole = Path("in/b/005.png").read_bytes()
    Path("in/b/005.png").write_bytes(whole[:-40])
    code, text = said(capsys, "convert", "in", "b.h5", "--where", "label >= 0")
    assert code == 1
    assert "Replace it, or leave it out with --on-bad skip." in text
    assert names_in(Path()) == {"in"}
    code, text = finished("convert", "in", "out", "--to", "parquet", "--shard-size", "1KB", "--workers", 1)
    told = "Replace it, or leave it out with --on-bad skip. 7 of 10 files are finished; the same command goes on with the others."
    assert (code, told in " ".join(text.split())) == (1, True), text
    assert names_in(Path()) == {"in", ".out.converting"}
    assert said(capsys, "convert", "in", "out", "--to", "parquet", "--shard-size", "1KB", "--on-bad", "skip")[0] == 1
    assert names_in(Path()) == {"in", "out"}


@pytest.mark.parametrize("fields", [[], ["--fields", "images,labels"]], ids=["all fields", "chosen ones"])
def test_a_field_of_other_records_chooses_none(fields: list[str], capsys: pytest.CaptureFixture[str]):
    """As many numbers as there are records, and no others, say which of them are written."""
    with h5py.File("a.h5", "w") as file:
        file["images"], file["labels"] = np.zeros((100, 8, 8, 3), np.uint8), np.arange(100)
        file["other"], file["more"] = np.arange(50), np.arange(100)
    for words in (["b.h5", "--where", "other > 3"], ["b", "--split", "0.5,0.5", "--stratify", "other"]):
        code, text = said(capsys, "convert", "a.h5", *words, *fields)
        told = "other: 50)" if fields else f"{words[-2]} other: there are 50 records of that, and 100 of what is converted. Name a field"
        assert (code, told in " ".join(text.split())) == (1 if fields else 2, True), text
        assert names_in(Path()) == {"a.h5"}
    assert said(capsys, "convert", "a.h5", "b.h5", "--where", "more > 3", *fields)[0] == (0 if fields else 1)
    with sl.open("b.h5") as data:
        assert data["labels"].tolist() == list(range(4, 100))


def test_what_is_said_of_fields_holds_where_others_choose_records(capsys: pytest.CaptureFixture[str]):
    """Axes and stand-ins, by the names that fields are given; of fields that nobody asks for it is refused."""
    with h5py.File("a.h5", "w") as file:
        file["img"], file["label"] = np.zeros((8, 8, 20), np.uint8) + np.arange(20, dtype=np.uint8), np.arange(20)
    code, text = said(capsys, "convert", "a.h5", "b.h5", "--fields", "i=img", "--record-axis", "i=-1", "--where", "label > 3")
    assert code == 0, text
    with sl.open("b.h5") as data:
        assert [one["i"][0, 0] for one in data] == list(range(4, 20))
    pq.write_table(pa.table({"x": pa.array([None, 1, 2]), "label": [0, 1, 2]}), "t.parquet")
    assert said(capsys, "convert", "t.parquet", "c.h5", "--fields", "y=x", "--fill", "y=7", "--where", "label < 2")[0] == 0
    assert said(capsys, "convert", "t.parquet", "d.h5", "--fields", "label", "--fill", "x=7", "--where", "x > 1")[0] == 0
    with sl.open("c.h5") as one, sl.open("d.h5") as other:
        assert (one["y"].tolist(), other["label"].tolist()) == ([7, 1], [0, 2])
    code, text = said(capsys, "convert", "t.parquet", "e.h5", "--fields", "label", "--fill", "x=7")
    assert (
        code,
        "--fill x=... is of a field that --fields does not take: label. Leave it out, or take the field." in " ".join(text.split()),
    ) == (
        2,
        True,
    )


def test_moments_that_are_none_are_no_labels(capsys: pytest.CaptureFixture[str]):
    """As NaN is none, of which one is never like another; complex numbers are some, in an order of their own."""
    pq.write_table(pa.table({"day": pa.array([1, None, 2, None], pa.date32()), "x": [1, 2, 3, 4]}), "t.parquet")
    code, text = said(capsys, "convert", "t.parquet", "out", "--split", "0.5,0.5", "--stratify", "day")
    told = "--stratify day: some values are NaT. Name a field of labels, or leave those records out."
    assert (code, told in " ".join(text.split())) == (2, True), text
    assert names_in(Path()) == {"t.parquet"}
    np.savez("c.npz", z=np.array([1j, 2, 1j, 2, 1j, 2, 1j, 2]), x=np.arange(8))
    assert said(capsys, "convert", "c.npz", "out", "--split", "0.5,0.5", "--stratify", "z")[0] == 0
    for part in ("train", "test"):
        with sl.open(f"out/{part}-*.h5") as data:
            assert sorted(data["z"].tolist(), key=abs) == [1j, 1j, 2, 2]
