"""Masks: numbers come as they are stored, another size makes no new ones, and what may be a mask is said, as a guess."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, said
from PIL import Image

import streamload as sl
from streamload.errors import SchemaMismatchError, SourceError
from streamload.images import named_as_mask, nearest

CLASSES = np.array([0, 2, 6, 7, 10, 255], np.uint8)
RECORDS = 12


def mask(record: int, height: int = 21, width: int = 34) -> np.ndarray:
    """Patches of classes, some of them a pixel wide."""
    rng = np.random.default_rng(record)
    return CLASSES[np.kron(rng.integers(0, len(CLASSES), (7, 17)), np.ones((3, 2), int))][:height, :width]


def as_png(pixels: np.ndarray, *, palette: bool = False, bits: int = 8) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    if palette:
        image = Image.frombytes("P", pixels.shape[::-1], pixels.tobytes())
        image.putpalette([one * 37 % 256 for one in range(768)])
        image.save(stream, "PNG", bits=bits)
    else:
        image.save(stream, "PNG")
    return stream.getvalue()


def table(path: Path, masks: list[bytes], **more: Any) -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    photo = [imagecodecs.png_encode(np.random.default_rng(k).integers(0, 256, (21, 34, 3), np.uint8)) for k in range(len(masks))]
    columns = {
        "image": pa.array([{"bytes": bytes(one), "path": None} for one in photo], kind),
        "mask": pa.array([{"bytes": one, "path": None} for one in masks], kind),
        "label": pa.array(np.arange(len(masks))),
    }
    pq.write_table(pa.table(columns | more), path)
    return path


@pytest.fixture(scope="module", params=[False, True], ids=["grey", "palette"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    masks = [as_png(mask(k), palette=request.param) for k in range(RECORDS)]
    return table(tmp_path_factory.mktemp("masks") / "train.parquet", masks)


def by_pillow(pixels: np.ndarray, size: tuple[int, int], fit: str) -> np.ndarray:
    """The middle cut out, as `fitted` does, then Pillow's nearest neighbour."""
    height, width = pixels.shape
    if fit == "crop":
        scale = min(height / size[0], width / size[1])
        tall, wide = round(size[0] * scale), round(size[1] * scale)
        top, left = (height - tall) // 2, (width - wide) // 2
        pixels = pixels[top : top + tall, left : left + wide]
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.NEAREST))


@pytest.mark.parametrize("fit", ["crop", "resize"])
@pytest.mark.parametrize("size", [(32, 32), (9, 13), (21, 34), (47, 20), (1, 1)])
def test_nearest_is_pillows(size: tuple[int, int], fit: str) -> None:
    """At sizes where no pixel's middle falls between two, which either might then take."""
    for record in range(5):
        np.testing.assert_array_equal(nearest(mask(record), size, fit), by_pillow(mask(record), size, fit))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_decoded_masks_hold_what_is_stored(path: Path, fit: str, workers: int) -> None:
    """As they are, and at another size, in one channel."""
    for size in (None, (32, 32)):
        spec = sl.Decode(size=size, fit=fit, mask=True)
        with (
            sl.open(path, decode={"image": (32, 32), "mask": spec}) as data,
            sl.Loader(data, batch_size=5, num_workers=workers) as loader,
        ):
            assert "numbers as they are" in repr(data)
            assert "may be a mask" not in repr(data)
            for batch in loader:
                for row, record in enumerate(batch.records.tolist()):
                    expected = mask(record) if size is None else by_pillow(mask(record), size, fit)
                    np.testing.assert_array_equal(batch["mask"][row][:, :, 0], expected)


def test_what_may_be_a_mask_is_said_where_it_is_mixed(path: Path) -> None:
    """A guess, and how to say that it is right."""
    with sl.open(path, decode={"mask": (32, 32)}) as data:
        notes = [note for note in data.notes if note.startswith("'mask' may be a mask (a guess, by its name and ")]
        assert len(notes) == 1
        assert notes[0].endswith("so scaling mixes them; decode={'mask': sl.Decode(mask=True)} keeps the numbers")
    with sl.open(path, decode={"image": (32, 32)}) as data:
        assert not any("'image' may be a mask" in note for note in data.notes)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_levels_are_numbers(tmp_path: Path, bits: int) -> None:
    """However few bits a pixel has, grey or from a palette: 0, 1, 2, ... come as they are stored."""
    pixels = np.random.default_rng(0).integers(0, 2**bits, (9, 13), dtype=np.uint8)
    stored = [as_png(pixels, palette=True, bits=bits)]
    if bits == 1:
        stream = io.BytesIO()
        Image.fromarray(pixels.astype(bool)).save(stream, "PNG")
        stored.append(stream.getvalue())
    with sl.open(table(tmp_path / "a.parquet", stored), decode={"mask": sl.Decode(mask=True)}) as data:
        for found in data[:]["mask"]:
            np.testing.assert_array_equal(found[:, :, 0], pixels)


def test_sixteen_bits_stay(tmp_path: Path) -> None:
    """Instance numbers above 255."""
    pixels = np.random.default_rng(0).integers(0, 5000, (9, 13), dtype=np.uint16)
    with sl.open(table(tmp_path / "a.parquet", [as_png(pixels)]), decode={"mask": sl.Decode(size=(9, 13), mask=True)}) as data:
        np.testing.assert_array_equal(data[:]["mask"][0][:, :, 0], pixels)


def test_colours_among_numbers_are_refused(tmp_path: Path) -> None:
    """Such a record has no one number a pixel; where all have colours, these are kept, unmixed."""
    colours = CLASSES[np.random.default_rng(0).integers(0, 6, (21, 34, 3))]
    stored = [as_png(mask(0)), bytes(imagecodecs.png_encode(colours))]
    with (
        sl.open(table(tmp_path / "b.parquet", stored), decode={"mask": sl.Decode(size=(8, 8), mask=True, mode="L")}) as data,
        pytest.raises(SourceError, match="it has colours, where a mask has one number a pixel"),
    ):
        data[:]
    with sl.open(table(tmp_path / "c.parquet", stored[1:]), decode={"mask": sl.Decode(size=(8, 8), mask=True)}) as data:
        assert data.schema["mask"].shape == (8, 8, 3)
        assert set(np.unique(data[:]["mask"])) <= set(CLASSES.tolist())


def test_exact_sizes_are_kept(path: Path) -> None:
    with sl.open(path, decode={"mask": sl.Decode(size=(20, 34), fit="exact", mask=True)}) as data, pytest.raises(SchemaMismatchError):
        data[:]


@pytest.mark.parametrize("words", [("--size", "16x16"), ("--mode", "grey"), ("--size", "16x16", "--store", "jpeg")], ids=" ".join)
def test_convert_never_mixes_them(path: Path, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says which fields it takes for masks, and how to say otherwise."""
    target = tmp_path / "out.parquet"
    code, text = said(capsys, "convert", path, target, *words)
    assert code == 0
    assert "'mask' is taken for a mask, by its name: its pixels are never mixed (--masks none mixes them)" in text
    with sl.open(target, decode={"mask": sl.Decode(mask=True)} if "--store" in words else None) as data:
        found = data[:]["mask"]
    size = (16, 16) if "--size" in words else (21, 34)
    for record in range(RECORDS):
        np.testing.assert_array_equal(found[record].reshape(size), by_pillow(mask(record), size, "crop"))


def test_convert_is_told_which_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name, none, or one that is not there; in arrays as in encoded images."""
    pixels = np.stack([mask(k, 20, 34) for k in range(RECORDS)])
    np.savez(tmp_path / "a.npz", classes=pixels, label=np.arange(RECORDS))
    code, _ = said(capsys, "convert", tmp_path / "a.npz", tmp_path / "b.h5", "--size", "16x16", "--masks", "classes")
    assert code == 0
    with sl.open(tmp_path / "b.h5") as data:
        np.testing.assert_array_equal(data[3]["classes"], by_pillow(mask(3, 20, 34), (16, 16), "crop"))
    code, _ = said(capsys, "convert", tmp_path / "a.npz", tmp_path / "c.h5", "--size", "16x16", "--masks", "none")
    assert code == 0
    with sl.open(tmp_path / "c.h5") as data:
        assert len(np.unique(data[:]["classes"])) > len(CLASSES)
    code, text = said(capsys, "convert", tmp_path / "a.npz", tmp_path / "d.h5", "--size", "16x16", "--masks", "mask")
    assert code != 0
    assert "--masks names 'mask', which is no field." in text


def test_info_guesses_and_says_so(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From few values in one channel, and from a name; never of photographs, numbers or what has been said already."""
    _, document = answer(capsys, "info", path, "--no-measure")
    assert sum("'mask' may be a mask (a guess" in note for note in document["notes"]) == 1
    digits = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", image=digits, areas=np.stack([mask(k, 20, 34) for k in range(30)]), label=np.arange(30))
    _, document = answer(capsys, "info", tmp_path / "a.npz", "--no-measure")
    assert document["maybe_masks"] == {"areas": "one channel, 6 distinct values in 16 records seen"}
    assert any(note.startswith("'areas' may be a mask (a guess: one channel, 6 distinct values") for note in document["notes"])


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *((name, True) for name in ("mask", "seg_map", "imageMask", "trimap", "annotations", "label")),
        *((name, False) for name in ("unmasked", "image", "segment", "masking")),
    ],
)
def test_names(name: str, is_one: bool) -> None:
    assert named_as_mask(name) == is_one
