"""What becomes of records that are no images is what the user says, not what the first of them looks like."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import photograph
from PIL import Image

import streamload as sl


@pytest.mark.parametrize("good", [1, 2])
def test_the_policy_decides_of_bad_images_however_many_they_are(good: int, tmp_path: Path):
    """Where images are asked for, one that is good is enough; without a wish, bytes that mostly are none stay bytes."""
    image = io.BytesIO()
    Image.fromarray(photograph(6, 5)).save(image, "PNG")
    values = [image.getvalue()] * good + [b""] * 3
    pq.write_table(pa.table({"image": values}), tmp_path / "a.parquet")
    asked = sl.open(tmp_path / "a.parquet", decode={"image": (6, 5)})
    with asked, sl.Loader(asked, batch_size=5, num_workers=0, on_bad_record="skip") as loader:
        assert [len(batch.records) for batch in loader] == [good]
        assert len(loader.bad_records) == 3
    with sl.open(tmp_path / "a.parquet") as data:
        assert data.schema["image"].ragged == "bytes"
