"""What is asked of a command at the prompt is done, or refused: no argument is left aside without a word."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, arrays, hdf5_file, said
from foreign_files import noise, png, tar_of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of ten images and one without records, in which commands run."""
    hdf5_file(tmp_path / "a.h5", arrays(10))
    hdf5_file(tmp_path / "none.h5", arrays(0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def odd_values(path: Path) -> Path:
    """NaN in the second record alone, in a number, in a list and in a part of a compound; a list of labels that goes up to 9."""
    compound = np.zeros(4, [("a", np.int32), ("b", np.float32, (2,))])
    compound["b"][1, 1] = np.nan
    with h5py.File(path, "w") as file:
        file["number"], file["compound"] = np.array([0, np.nan, 1, 2]), compound
        for name, dtype in (("list", np.float64), ("tags", np.int64)):
            file.create_dataset(name, (4,), h5py.vlen_dtype(dtype))
        for at, values in enumerate([[], [1.0, np.nan], [2.0], []]):
            file["list"][at] = values
            file["tags"][at] = np.arange(3 * at + 1)
    return path


@pytest.mark.parametrize("kept", [False, True], ids=["no manifest", "manifest"])
def test_nan_is_found_wherever_it_stands(kept: bool, here: Path, capsys: pytest.CaptureFixture[str]):
    """In lists and in parts of compounds, and also where checksums say that nothing has changed."""
    path = odd_values(here / "odd.h5")
    text = said(capsys, "verify", path, *(["--write-manifest"] if kept else []))[1]
    assert "NaN in 'compound.b' in 1, 'list' in 1, 'number' in 1" in " ".join(text.split())
    code, told = answer(capsys, "verify", path, "--nan")
    assert (code, told["manifest"], told["counts"]) == (1, kept, {"NaN": 3})
    assert told["found"] == [f"record 1: '{name}' holds NaN" for name in ("compound.b", "list", "number")]


def test_labels_of_any_length_are_held_against_their_classes(here: Path, capsys: pytest.CaptureFixture[str]):
    """A list of labels is one of numbers too; text is not, nor is a name that is not there."""
    path = odd_values(here / "odd.h5")
    assert answer(capsys, "verify", path, "--labels", "tags=10")[0] == 0
    code, told = answer(capsys, "verify", path, "--labels", "tags=7")
    assert (code, told["found"]) == (1, ["record 3: 'tags' is [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], not in 0 to 6"])
    pq.write_table(pa.table({"text": ["a", "b"]}), here / "text.parquet")
    for words, text in (
        (["text.parquet", "--labels", "text=3"], "--labels is for numbers, and the field is text text (ragged)."),
        (["odd.h5", "--labels", "tag=3"], "There is no field 'tag'. Did you mean 'tags'?"),
        (["odd.h5", "--labels", "=3"], "--labels =3 cannot be read."),
        (["odd.h5", "--labels", ""], "--labels cannot be read."),
    ):
        code, told = said(capsys, "verify", *words)
        assert (code, text in " ".join(told.split())) == (2, True), told


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("verify a.h5 --any-order", "--any-order is for a comparison, and there is nothing to compare with."),
        ("verify a.h5 --mode grey", "--mode is for a comparison, and there is nothing to compare with."),
        ("info a.h5 --cold --no-measure", "--cold says how to measure, and --no-measure not to. Leave one of them out."),
        ("bench a.h5 --order exact --window 1MB", "--window means something in block order only, not in exact order."),
        ("tune a.h5 --order stored --window 1MB", "--window means something in block order only, not in stored order."),
        ("bench a.h5 --batch 0", "--batch 0 is out of range. Give 1 or more."),
        ("bench a.h5 --batch 100 --model resnet50", "how long ResNet-50 computes is known for steps of 400 records."),
        ("show a.h5 -n -3", "--records -3 cannot be shown. Give 0 or more."),
    ],
)
def test_what_would_be_left_aside_is_refused(words: str, text: str, here: Path, capsys: pytest.CaptureFixture[str]):
    """Exit code 2, before anything is measured."""
    code, told = said(capsys, *words.split())
    assert (code, text in " ".join(told.split())) == (2, True), told


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("--start -2", [8, 9]),
        ("--start -99 -n 1", [0]),
        ("--start 4 --spread -n 3", [4, 6, 9]),
        ("--spread -n 2", [0, 9]),
        ("--start 10", []),
    ],
)
def test_show_begins_where_it_is_told(words: str, numbers: list[int], here: Path, capsys: pytest.CaptureFixture[str]):
    """From the end too, as `head` does, and also where images are taken from all over the file."""
    assert answer(capsys, "show", "a.h5", *words.split())[1]["records"] == numbers


def test_show_says_why_it_shows_nothing(here: Path, capsys: pytest.CaptureFixture[str]):
    """A file that has records is not said to have none."""
    for words, text in (("a.h5 --start 10", "a.h5: 10 records; there is no record 10"), ("none.h5", "none.h5: 0 records; there are none")):
        assert said(capsys, "show", *words.split()) == (0, f"{text}\n")
    assert said(capsys, "show", "a.h5", "-n", 0)[1] == "a.h5: 10 records; none was asked for\n"


def test_a_manifest_remembers_what_was_asked_when_it_was_written(here: Path, capsys: pytest.CaptureFixture[str]):
    """A file whose bytes are as they were is not called wrong because somebody asks for other fields of it, or for none by name."""
    assert answer(capsys, "verify", "a.h5", "--fields", "label", "--write-manifest")[0] == 0
    code, told = answer(capsys, "verify", "a.h5", "--deep")
    assert (code, told["found"], "read as when the manifest was written: --fields=label" in told["checked"]) == (0, [], True)
    assert answer(capsys, "verify", "a.h5", "--deep", "--fields", "image")[0] == 0
    with h5py.File("a.h5", "r+") as file:
        file["label"][3] = 5
    assert answer(capsys, "verify", "a.h5", "--deep")[0] == 1
    Path("a.h5.manifest.json").unlink()
    code, text = said(capsys, "verify", "*.h5", "--write-manifest")
    assert (code, "*.h5 may be several files, and a manifest is written beside one file. Name one of them." in " ".join(text.split())) == (
        2,
        True,
    )


def test_a_file_with_nulls_is_the_same_as_itself(here: Path, capsys: pytest.CaptureFixture[str]):
    """What stands for nulls stands for them in what it is compared with, too; what has none is compared as it is."""
    for name, values in (("nulls", [1, None, 3]), ("other", [1, 0, 3])):
        pq.write_table(pa.table({"y": pa.array(values, pa.int64()), "x": [1.5, 2.5, 3.5]}), f"{name}.parquet")
    assert answer(capsys, "verify", "nulls.parquet", "--against", "nulls.parquet", "--fill", "y=0")[0] == 0
    assert answer(capsys, "verify", "nulls.parquet", "--against", "other.parquet", "--fill", "y=0")[0] == 0
    assert answer(capsys, "verify", "nulls.parquet", "--against", "other.parquet", "--fill", "y=7")[0] == 1
    hdf5_file(here / "other.h5", {"y": np.array([1, 0, 3]), "x": np.array([1.5, 2.5, 3.5])})
    assert answer(capsys, "verify", "nulls.parquet", "--against", "other.h5", "--fill", "y=0", "--any-order")[0] == 0


def test_show_says_where_augmented_pictures_are(here: Path, capsys: pytest.CaptureFixture[str]):
    """What was drawn in words comes without a picture, and nothing does not come without a word."""
    Path("chain.py").write_text('import streamload as sl\nAUGMENT = sl.Augment("image", sl.RandomCrop(4))\n')
    words = ["show", "a.h5", "--augment", "chain.py", "-n", "1"]
    assert said(capsys, *words)[1].endswith("\nA picture of them is written with -o sheet.png.\n")
    assert said(capsys, *words, "--start", "10") == (0, "a.h5: none of its records is to be shown\n")


def test_whole_numbers_are_told_to_their_last_digit(here: Path, capsys: pytest.CaptureFixture[str]):
    """And what is not a number is left out of a mean, and named."""
    numbers = np.array([[10_000_000_000, 10_000_000_039]] * 3)
    hdf5_file(here / "ids.h5", {"user": numbers, "x": np.array([[1.0, np.nan, 3.0]] * 3)})
    text = said(capsys, "info", "ids.h5", "--no-measure")[1]
    assert "10,000,000,000 to 10,000,000,039" in text
    text = said(capsys, "head", "ids.h5", "-n", 1)[1]
    assert "10,000,000,000 to 10,000,000,039" in text
    assert "[1 nan 3] float64 (3,), mean 2, 1 to 3 and NaN" in text


def test_advice_counts_the_images_that_are_there(here: Path, capsys: pytest.CaptureFixture[str]):
    """Of a tar in which few records hold one: those, and not the records."""
    members = [(f"{at:03}.cls", b"1") for at in range(30)] + [(f"{at:03}.png", png(noise())) for at in (7, 9)]
    Path("rare.tar").write_bytes(tar_of(sorted(members)))
    code, told = answer(capsys, "info", "rare.tar", "--no-measure")
    assert (code, "up to 2 of 2 images in a field" in told["looked_at"]) == (0, True)
    assert not any("nothing to do" in line for line in told["advice"])
    code, text = said(capsys, "convert", "rare.tar", "a.npz", "--mode", "grey")
    assert code == 2
    assert "of the 30 records of" in text
    assert "only 2 hold one, 'image': it is left as bytes. Write these records alone" in " ".join(text.split())
