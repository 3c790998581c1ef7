"""Splits, tables of labels and packed values are chosen at the prompt as `sl.open` has them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import answer, said
from PIL import Image

import streamload as sl


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two splits of two classes; three images for training, two for validation."""
    for number, where in enumerate(("train/cat", "train/cat", "train/dog", "val/cat", "val/dog")):
        folder = tmp_path / "photos" / where
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (number * 40, 0, 0)).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_a_split_of_a_folder_is_chosen(photos: Path, capsys: pytest.CaptureFixture[str]):
    """By each command that looks, and by convert, whose records verify finds again."""
    assert answer(capsys, "info", photos, "--no-measure", "--option", "split=val")[1]["records"] == 2
    assert "2 records" in said(capsys, "verify", photos, "--option", "split=val")[1]
    out = photos.parent / "val.h5"
    assert answer(capsys, "convert", photos, out, "--option", "split=val")[0] == 0
    assert len(sl.open(out)) == 2
    assert answer(capsys, "verify", out, "--against", photos)[0] == 0


def test_of_files_of_several_splits_those_for_training_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As of folders of images: tables as the Hugging Face hub has them, and stores; the command says which it took."""
    for name, count in (("train-00000-of-00001", 5), ("test-00000-of-00001", 3)):
        (tmp_path / "hub/data").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "hub/data" / f"{name}.npy", np.arange(count))
        for at in range(2):
            (tmp_path / "arrays" / name[:5].strip("-")).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "arrays" / name[:5].strip("-") / f"{at}.npy", np.arange(count))
    for folder, records in (("hub", 5), ("arrays", 10)):
        code, found = answer(capsys, "info", tmp_path / folder, "--no-measure")
        assert (code, found["records"]) == (1, records), folder  # 1: the others are left out, and nobody asked for that
        assert f"'{tmp_path / folder}', split='train')" in said(capsys, "plan", tmp_path / folder)[1]


def test_what_an_error_says_of_splits_can_be_given(photos: Path, capsys: pytest.CaptureFixture[str]):
    """A split that is not there is refused with those that are, and the hint is an argument of the command."""
    code, text = said(capsys, "info", photos, "--option", "split=test")
    assert code == 2
    assert "It has train, val." in text


def test_a_table_of_labels_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As --labels of convert names it."""
    for number in range(3):
        (tmp_path / "flat").mkdir(exist_ok=True)
        Image.new("RGB", (8, 6), (number * 40, 0, 0)).save(tmp_path / "flat" / f"{number}.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{number}.png,{number * 7}\n" for number in range(3)))
    code, found = answer(capsys, "info", tmp_path / "flat", "--no-measure", "--option", f"labels={table}")
    assert code == 0
    assert "label" in [field["name"] for field in found["fields"]]
    for number, words in enumerate((("--option", f"labels={table}"), ("--labels", table))):
        out = tmp_path / f"{number}.npz"
        assert answer(capsys, "convert", tmp_path / "flat", out, *words)[0] == 0
        assert sl.open(out)[:]["label"].tolist() == [0, 7, 14]


def test_packed_values_are_converted_to_physical_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A note says so at the prompt with the argument that does it; a conversion writes the values as they are meant."""
    with h5py.File(tmp_path / "packed.nc", "w") as file:
        stored = file.create_dataset("t", data=np.arange(12, dtype="i2").reshape(6, 2))
        stored.attrs["scale_factor"] = 0.5
        stored.attrs["add_offset"] = 10.0
    assert "--option scaled=true" in said(capsys, "info", tmp_path / "packed.nc", "--no-measure")[1]
    assert answer(capsys, "convert", tmp_path / "packed.nc", tmp_path / "out.npy", "--option", "scaled=true", "--values-only")[0] == 0
    assert np.load(tmp_path / "out.npy").tolist() == (np.arange(12).reshape(6, 2) * 0.5 + 10).tolist()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("colour=red", "Give one of split=NAME, labels=TABLE, scaled=true, each once."),
        ("split=", "Give one of split=NAME, labels=TABLE, scaled=true, each once."),
        ("scaled=2", "Give scaled=true or scaled=false."),
    ],
)
def test_options_that_are_none_are_refused(text: str, hint: str, photos: Path, capsys: pytest.CaptureFixture[str]):
    """With those that there are."""
    code, said_ = said(capsys, "head", photos, "--option", text)
    assert code == 2
    assert f"--option '{text}' cannot be read." in said_
    assert hint in said_
