"""Masks whose images have a palette keep their numbers through a conversion: where it is asked for, and where their name says so."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, said
from PIL import Image

import streamload as sl

CLASSES = np.random.default_rng(0).choice(np.array([0, 2, 6, 7, 10, 255], np.uint8), (6, 24, 32))
PALETTE = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
WORD = "'mask' is taken for a mask, by its name: the numbers of its palette are kept (--masks none)"


def table(path: Path, name: str) -> Path:
    """A Parquet file of PNGs with a palette."""
    encoded: list[bytes] = []
    for classes in CLASSES:
        image = Image.fromarray(classes, "P")
        image.putpalette(PALETTE.tobytes())
        image.save(stream := io.BytesIO(), "PNG")
        encoded.append(stream.getvalue())
    pq.write_table(pa.table({name: encoded, "label": np.arange(len(encoded))}), path)
    return path


@pytest.mark.parametrize(
    ("name", "words", "wanted", "told"),
    [
        ("mask", [], CLASSES[..., None], True),
        ("mask", ["--masks", "mask"], CLASSES[..., None], False),
        ("classes", ["--masks", "classes"], CLASSES[..., None], False),
        ("mask", ["--masks", "none"], PALETTE[CLASSES], False),
        ("classes", [], PALETTE[CLASSES], False),
    ],
)
def test_what_a_conversion_takes_for_a_mask(
    name: str, words: list[str], wanted: np.ndarray, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Its numbers, or the colours that a palette shows them in; a guess is told, and `verify` reads the source in the same way."""
    source, target = table(tmp_path / "a.parquet", name), tmp_path / "b.h5"
    code, text = said(capsys, "convert", source, target, *words)
    assert (code, WORD in text) == (0, told)
    np.testing.assert_array_equal(sl.open(target)[:][name], wanted)
    assert answer(capsys, "verify", target, "--against", source)[0] == 0


def test_images_that_are_kept_are_masks_still(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Byte for byte as they were."""
    source, target = table(tmp_path / "a.parquet", "mask"), tmp_path / "b.parquet"
    assert said(capsys, "convert", source, target, "--store", "keep")[0] == 0
    with sl.open(source, decode=False) as before, sl.open(target, decode=False) as after:
        assert before[:]["mask"].to_list() == after[:]["mask"].to_list()
    assert answer(capsys, "verify", target, "--against", source)[0] == 0
