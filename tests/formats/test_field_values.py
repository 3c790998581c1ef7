"""`data["label"]`: one field of all records, with no other read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import streamload as sl
from streamload.errors import ConfigError, NullValueError


def test_the_classes_of_a_folder_without_its_images(tmp_path: Path):
    """Whatever becomes of the images: here no image could be read any more."""
    for number in range(7):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        Image.new("RGB", (8 + number, 6)).save(tmp_path / "ab"[number % 2] / f"{number}.png")
    with sl.open(tmp_path) as data:
        for path in tmp_path.glob("*/*.png"):
            path.write_bytes(b"")
        assert data["label"].tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_more_records_than_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Numbers of any dtype, and texts, in the order in which they are stored; none of no records."""
    monkeypatch.setattr("streamload.source.SCAN_RECORDS", 4)
    fields = {"label": np.arange(10, dtype=np.int16), "score": np.linspace(0, 1, 10), "name": [f"n{number}" for number in range(10)]}
    pq.write_table(pa.table(fields), tmp_path / "ten.parquet")
    pq.write_table(pa.table(fields).slice(0, 0), tmp_path / "none.parquet")
    with sl.open(tmp_path / "ten.parquet") as data, sl.open(tmp_path / "none.parquet") as none:
        for name, values in fields.items():
            assert data[name].tolist() == list(values)
            assert (none[name].shape, none[name].dtype.kind) == ((0,), data[name].dtype.kind)
        assert data["label"].dtype == np.int16


def test_fields_of_more_than_one_value_are_refused(tmp_path: Path):
    """With what to write instead; a name that is none is said to be none."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"], file["label"] = np.zeros((5, 4, 4, 3), np.uint8), np.arange(5)
    with sl.open(tmp_path / "a.h5") as data:
        with pytest.raises(TypeError) as caught:
            data["image"]
        assert str(caught.value) == (
            "data['image']: image uint8 (4, 4, 3) is not one number or text a record, and is not read of all of them at once. "
            "Write data[:100]['image'] or data[5]['image']."
        )
        with pytest.raises(ConfigError, match=r"a\.h5 has no field 'lable'\. Did you mean 'label'\?$"):
            data["lable"]


def test_a_value_that_is_missing_is_named(tmp_path: Path):
    """As it is where records are read."""
    pq.write_table(pa.table({"x": list(range(5)), "label": pa.array([1, None, 2, 3, 4])}), tmp_path / "a.parquet")
    with sl.open(tmp_path / "a.parquet") as data:
        assert data["x"].tolist() == [0, 1, 2, 3, 4]
        with pytest.raises(NullValueError, match="label"):
            data["label"]
