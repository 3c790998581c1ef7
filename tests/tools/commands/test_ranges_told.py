"""Ranges that `info` shows: of all records where that is cheap, or of as many as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, said

LABELS = np.concatenate([[3, 4, 5, 5], np.arange(2996) % 10])
"""Whose first records do not show their range."""


def hdf5(path: Path, image: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image, LABELS


def parquet(path: Path, image: np.ndarray) -> None:
    columns: dict[str, Any] = {"image": pa.array([one.tobytes() for one in image], pa.binary(image[0].nbytes)), "label": LABELS}
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("write", [hdf5, parquet], ids=lambda write: write.__name__)
def test_labels_have_the_range_of_all_and_images_that_of_those_seen(write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """It is said how many were looked at."""
    image = np.random.default_rng(0).integers(0, 200, (3000, 40, 40, 3), np.uint8)
    write(tmp_path / "a", image)
    code, document = answer(capsys, "info", tmp_path / "a", "--no-measure")
    found = {one["name"]: one["range"] for one in document["fields"]}
    assert code == 0
    assert found["label"] == {"least": 0, "greatest": 9, "nan": False, "records": 3000, "all": True}
    seen = found["image"]["records"]
    assert (found["image"]["all"], seen) == (False, 256 if write is hdf5 else 4)
    text = " ".join(said(capsys, "info", tmp_path / "a", "--no-measure")[1].split())
    assert "label int64 () 0 to 9 " in text
    assert f"199, of {seen} seen " in text
