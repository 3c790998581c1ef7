"""Fields in which images of several kinds lie, and bytes that are none: what is said of them is what is delivered."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from image_files import photograph

import streamload as sl


def write(folder: Path, *files: bytes) -> Path:
    """A folder of files that are called images."""
    folder.mkdir()
    for number, data in enumerate(files):
        (folder / f"{number}.png").write_bytes(data)
    return folder


def test_images_of_8_and_of_16_bits_are_not_promised_in_one_mode(tmp_path: Path):
    """They stay bytes, with a note, where nobody says what they are to be; a mode that is asked for is refused image by image."""
    small, large = photograph(12, 10), np.full((12, 10, 3), 40_000, np.uint16)
    path = write(tmp_path / "a", imagecodecs.png_encode(small), imagecodecs.png_encode(large), imagecodecs.png_encode(small))
    with sl.open(path) as source:
        assert source.schema["image"].ragged == "bytes"
        said = "some of 16 bits, delivered as bytes: how to scale their values is not known here"
        assert any(note.endswith(said) for note in source.notes)
    with (
        sl.open(path, decode=sl.Decode(mode="RGB")) as source,
        sl.Loader(source, batch_size=3, shuffle=False, num_workers=0, on_bad_record="skip") as loader,
    ):
        (batch,) = loader
        assert batch.records.tolist() == [0, 2]


@pytest.mark.parametrize("bad", [b"", b"<html>404</html>"], ids=["empty", "a page"])
def test_files_that_are_no_images_are_said(bad: bytes, tmp_path: Path):
    """Where so many of those that are looked at are none that the others are left as they are, too."""
    good = imagecodecs.png_encode(photograph(12, 10))
    with sl.open(write(tmp_path / "a", good, bad, good, bad)) as source:
        assert source.schema["image"].ragged == "bytes"
        assert any(
            note.startswith("'image' is delivered as bytes: 2 of 4 records looked at are no images (one is ") for note in source.notes
        )
    with (
        sl.open(tmp_path / "a", decode={"image": (224, 224)}) as source,
        sl.Loader(source, batch_size=4, shuffle=False, num_workers=0, on_bad_record="skip") as loader,
    ):
        (batch,) = loader
        assert batch.records.tolist() == [0, 2]
