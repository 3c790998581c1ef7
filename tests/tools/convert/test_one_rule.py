"""What the library splits and chooses is what the command writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file

import streamload as sl


@pytest.mark.parametrize(
    ("fields", "shuffle"),
    [({}, True), ({"stratify": "label"}, False), ({"group": "id", "stratify": "label"}, True)],
    ids=["chance", "labels", "groups and labels"],
)
def test_a_part_of_the_library_is_what_convert_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, str], shuffle: bool
):
    """The same records, by seed, shares and fields."""
    number = {"number": np.arange(300), "id": np.arange(300) // 4}
    source = hdf5_file(tmp_path / "a.h5", arrays(300, (2, 2), labels=7) | number)
    words = [f"--{name}={value}" for name, value in fields.items()] + ["--shuffle"] * shuffle
    code, _ = answer(capsys, "convert", source, tmp_path / "out", "--split", "0.7,0.2,0.1", "--seed", 5, "--to", "npy", *words)
    assert code == 0
    parts = sl.split(sl.open(source), {"train": 0.7, "validation": 0.2, "test": 0.1}, seed=5, **fields)
    for name, records in parts.items():
        written = sl.open(tmp_path / "out" / f"{name}-00000-of-00001.npy")[:]["number"]
        assert sorted(written.tolist()) == records.tolist()


def test_a_condition_of_the_library_is_what_convert_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The same records, in the same order."""
    source = hdf5_file(tmp_path / "a.h5", arrays(300, (2, 2), labels=7) | {"number": np.arange(300)})
    condition = "label in (1, 3) and number >= 50"
    assert answer(capsys, "convert", source, tmp_path / "b.h5", "--where", condition)[0] == 0
    assert sl.open(tmp_path / "b.h5")[:]["number"].tolist() == sl.open(source).where(condition).tolist()
