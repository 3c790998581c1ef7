"""A first image that is damaged says nothing of the others: it is a bad record, in folders and in tars."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from examples.tar import write
from PIL import Image

import streamload as sl
from streamload.errors import CorruptDataError, NullValueError


def jpeg(number: int, size: tuple[int, int] = (24, 32)) -> bytes:
    """An image of noise."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)).save(file, "jpeg")
    return file.getvalue()


DAMAGED = {
    "empty": b"",
    "a few bytes": jpeg(0)[:10],
    "cut in its head": jpeg(0)[:160],
    "cut in its pixels": jpeg(0)[:900],
    "zeros": bytes(2000),
    "a page": b"<!DOCTYPE html><html>404</html>",
}


def folder_of(path: Path, files: Sequence[bytes]) -> Path:
    """Two classes, each with every other of the files."""
    for name in ("ant", "bee"):
        (path / name).mkdir(parents=True)
    for number, data in enumerate(files):
        (path / ("ant", "bee")[number % 2] / f"{number:03}.jpg").write_bytes(data)
    return path


def tar_of(path: Path, files: Sequence[bytes]) -> Path:
    """An archive of them."""
    write(path, [(f"{number:03}.jpg", data) for number, data in enumerate(files)])
    return path


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("made", [folder_of, tar_of])
def test_a_damaged_first_image_is_a_bad_record(made: Callable[[Path, Sequence[bytes]], Path], data: bytes, count: int, tmp_path: Path):
    """The others are decoded as if it were whole, whatever is wrong with it, and however few they are."""
    path = made(tmp_path / "x", [data, *map(jpeg, range(1, count))])
    with sl.open(path) as source:
        assert source.schema["image"].shape == (24, 32, 3)
        with pytest.raises(CorruptDataError, match="record 0 of 'image'"):
            source[0]
        settings = {"batch_size": 4, "num_workers": 0, "shuffle": False}
        with sl.Loader(source, on_bad_record="skip", **settings) as loader:
            assert np.concatenate([batch.records for batch in loader]).tolist() == list(range(1, count))
        with sl.Loader(source, **settings) as loader, pytest.raises(CorruptDataError, match="record 0 of 'image'"):
            next(iter(loader))


@pytest.mark.parametrize("made", [folder_of, tar_of])
def test_a_damaged_first_image_does_not_hide_that_others_differ_in_size(made: Callable[[Path, Sequence[bytes]], Path], tmp_path: Path):
    """As many are looked at as if it were whole: of 40, those of another size stand in the middle."""
    files = [b"no image" * 9, *(jpeg(number, (24, 32) if number % 5 else (30, 20)) for number in range(1, 40))]
    with sl.open(made(tmp_path / "x", files)) as source:
        assert source.schema["image"].ragged
        assert any("of different sizes, delivered as bytes" in note for note in source.notes)
    with sl.open(tmp_path / "x", decode=(16, 16)) as source:
        assert source[5]["image"].shape == (16, 16, 3)


@pytest.mark.parametrize("made", [folder_of, tar_of])
def test_where_none_is_an_image_that_is_said(made: Callable[[Path, Sequence[bytes]], Path], tmp_path: Path):
    """They are bytes, and the note says why."""
    with sl.open(made(tmp_path / "x", [b"", b"", b""])) as source:
        assert source.schema["image"].ragged
        said = "'image' is delivered as bytes: none of 3 records looked at is an image (one is empty, where an image should be)"
        assert said in source.notes


def lacking(path: Path, lack: Sequence[int]) -> Path:
    """An archive of 80 records with a number each, all but some with an image; that of the first that has one is damaged."""
    there = [key for key in range(80) if key not in lack]
    files = [(f"{key:03}.jpg", b"" if key == there[0] else jpeg(key)) for key in there]
    write(path, sorted([*files, *((f"{key:03}.json", b'{"x": 1}') for key in range(80))]))
    return path


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_records_that_lack_an_image_say_nothing_of_the_others(name: str, tmp_path: Path):
    """Half of them may, in front of all others: they are nulls, and a damaged one is still a bad record."""
    with sl.open(lacking(tmp_path / name, range(40))) as source:
        assert source.schema["image"].shape == (24, 32, 3)
        assert "'image' holds 40 nulls, which are bad records: on_bad_record= says what becomes of them" in source.notes
        with sl.Loader(source, batch_size=8, num_workers=0, shuffle=False, on_bad_record="skip") as loader:
            assert np.concatenate([batch.records for batch in loader]).tolist() == list(range(41, 80))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("lack", [range(70), range(10, 80), [key for key in range(80) if key % 8 != 7]], ids=["first", "last", "spread"])
def test_an_image_that_most_records_lack_stays_bytes(lack: Sequence[int], name: str, tmp_path: Path):
    """They are nulls, of which the note tells, wherever they lie; whoever asks for images has those that are there."""
    there = [key for key in range(80) if key not in lack]
    with sl.open(lacking(tmp_path / name, lack)) as source:
        said = "'image' is delivered as bytes: 70 of 80 records have none; decode={'image': (224, 224)} takes the others, "
        assert f"{said}and on_bad_record= says what becomes of these" in source.notes
        with pytest.raises(NullValueError, match=f"null at row {lack[0]} of column 'jpg'|column 'image'"):
            source[lack[0]]
        assert source[there[1]]["image"] == jpeg(there[1])
    with sl.open(tmp_path / name, decode={"image": (16, 16)}) as source:
        assert source.schema["image"].shape == (16, 16, 3)
        with sl.Loader(source, batch_size=8, num_workers=0, shuffle=False, on_bad_record="skip") as loader:
            assert np.concatenate([batch.records for batch in loader]).tolist() == there[1:]


def test_a_damaged_image_is_no_mask(tmp_path: Path):
    """The first of each of two classes, whose names pair: what cannot be read is not taken for numbers."""
    for name, data in (("ant", b""), ("bee", jpeg(1))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(data)
    with sl.open(tmp_path) as source:
        assert source.classes == {"label": ("ant", "bee")}
