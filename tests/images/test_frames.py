"""Images of several frames are no records of one picture: they are left as bytes, or refused where they are asked for as pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import streamload as sl
from streamload.images.headers import read_header


def frames(name: str, count: int) -> bytes:
    """An animation of noise."""
    chance = np.random.default_rng(0)
    first, *others = (Image.fromarray(chance.integers(0, 256, (9, 8, 3), dtype=np.uint8)) for _ in range(count))
    file = io.BytesIO()
    first.save(file, name, save_all=True, append_images=others)
    return file.getvalue()


@pytest.mark.parametrize("name", ["GIF", "WebP", "PNG"])
def test_frames_are_not_lost_in_silence(name: str, tmp_path: Path):
    """All of them as bytes, with a word; asked for as pictures, refused by name."""
    path = tmp_path / "a.parquet"
    data = frames(name, 3)
    pq.write_table(pa.table({"image": [data] * 4}), path)
    what = f"is a {name} of several frames, of which only the first would be decoded"
    with sl.open(path) as source:
        assert source[0]["image"] == data
        assert f"'image' is delivered as bytes: its first record {what}" in source.notes
    with pytest.raises(sl.StreamloadError, match=what) as caught:
        sl.open(path, decode={"image": sl.Decode(size=(4, 4))})[0]
    assert caught.value.hint in ("Leave it out of decode=.", "Write each frame as an image of its own, or store them as an array field.")


@pytest.mark.parametrize("name", ["GIF", "WebP", "PNG"])
def test_an_animation_of_one_frame_is_a_picture(name: str):
    """Also where the data is cut behind its header, which is found out when it is decoded."""
    assert read_header(frames(name, 1)).size == (9, 8)
    assert read_header(frames(name, 1)[:-30]).size == (9, 8)
