"""What is said of fields besides their values: names of classes and attributes stay with a file, wherever it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import answer

import streamload as sl
from streamload.errors import SchemaMismatchError
from streamload.tools.__main__ import main

WORDS = ("cat", "dog", "sea cow")
SAID: dict[str, Any] = {
    "scale_factor": np.float32(0.5),
    "add_offset": np.float32(-3),
    "_FillValue": np.int16(7),
    "units": "K",
    "shape": "a text that is no shape",
    "valid_range": np.array([0, 90], np.int16),
    "flag": np.bool_(True),
    "axes": ["height", "width"],
}


def labelled(path: Path, words: tuple[str, ...] = WORDS) -> Path:
    """Packed values with attributes, and labels with names of classes."""
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(60, dtype=np.int16).reshape(10, 3, 2)
        file["x"].attrs.update({name: one for name, one in SAID.items() if name != "axes"})
        file["x"].attrs["axes"] = np.array(SAID["axes"], h5py.string_dtype())
        file["x"].attrs["DIMENSION_LIST"] = "of netCDF's own"
        file["label"] = np.arange(10) % 3
        if words:
            file["label"].attrs["classes"] = np.array(words, h5py.string_dtype())
    return path


def held(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes in a form that can be compared: their dtypes among them."""
    return {
        name: one if isinstance(one, (str, list)) else (np.asarray(one).dtype.str, np.asarray(one).tolist())
        for name, one in attributes.items()
    }


@pytest.mark.parametrize("target", ["h5", "parquet", "arrow", "npz"])
def test_they_stay_with_a_file_that_is_renamed(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Without its manifest; and come back as they were when it is converted again: physical values are the same."""
    source = labelled(tmp_path / "a.h5")
    assert answer(capsys, "convert", source, tmp_path / f"b.{target}", "--workers", "1")[0] == 0
    moved = (tmp_path / f"b.{target}").rename(tmp_path / f"c.{target}")
    with sl.open(moved) as made:
        assert made.classes == {"label": WORDS}
        assert held(made.attributes.get("x", {})) == ({} if target == "npz" else held(SAID))
        assert set(made.schema.names) == {"x", "label"}
    if target != "npz":
        assert answer(capsys, "convert", moved, tmp_path / "d.h5", "--workers", "1")[0] == 0
        with sl.open(source, scaled=True) as before, sl.open(tmp_path / "d.h5", scaled=True) as after:
            np.testing.assert_array_equal(after[:]["x"], before[:]["x"])
            assert after.classes == {"label": WORDS}
            assert set(after.attributes["x"]) == {"units", "shape", "flag", "axes"}, "what is of stored values is not said of physical ones"


def test_what_has_no_place_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Before anything is written, and with what becomes of it."""
    labelled(tmp_path / "a.h5")
    for dry in (["--dry-run"], []):
        assert main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "b.npy"), *dry]) == 0
        said = capsys.readouterr().out
        assert "attributes of 'x' are not kept: .npy files have no place for them" in said
        assert "names of the classes of 'label' are in the manifest only, and gone where the file is without it" in said
    assert main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "b.npz")]) == 0
    said = capsys.readouterr().out
    assert "attributes of 'x' are not kept: .npz files have no place for them" in said
    assert "names of the classes" not in said
    with np.load(tmp_path / "b.npz") as loaded:
        assert loaded["label.classes"].tolist() == list(WORDS)


@pytest.mark.parametrize("target", ["h5", "parquet", "arrow", "npz"])
def test_numbers_that_stand_for_different_things_are_not_put_together(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """In one source, or in a mixture; a file that says less, or nothing, agrees with all."""
    lists = {"a": WORDS[:2], "b": WORDS, "c": (), "d": ("cat", "horse", "sea cow")}
    paths: dict[str, Path] = {}
    for name, words in lists.items():
        paths[name] = tmp_path / f"{name}.{target}"
        assert answer(capsys, "convert", labelled(tmp_path / f"{name}{name}.h5", words), paths[name], "--workers", "1")[0] == 0
    with sl.open([paths["a"], paths["c"], paths["b"]]) as data:
        assert data.classes == {"label": WORDS}
    with pytest.raises(SchemaMismatchError) as caught:
        sl.open([paths["c"], paths["b"], paths["d"]])
    assert f"'label' has other classes: 1 is 'dog' in {paths['b']}, and 'horse' in {paths['d']}." in str(caught.value)
    assert "Open them apart, or write them with the same classes in the same order." in str(caught.value)
    with sl.open(paths["a"]) as one, sl.open(paths["b"]) as longer, sl.open(paths["d"]) as other:
        sl.mix({"one": (one, 2), "longer": (longer, 2)})
        with pytest.raises(SchemaMismatchError) as caught:
            sl.mix({"one": (longer, 2), "other": (other, 2)})
        assert str(caught.value) == (
            "mix(): 'label' has other classes: 1 is 'dog' in 'one', and 'horse' in 'other'. "
            "Number them alike: write one of them with the classes of the other, in their order."
        )


def test_attributes_that_files_do_not_share_are_not_said_of_all(tmp_path: Path):
    """What all say alike stays; a name that is a path stays whole."""
    for name, unit in (("a", "K"), ("b", "C")):
        with h5py.File(labelled(tmp_path / f"{name}.h5"), "a") as file:
            file["x"].attrs["units"] = unit
    with sl.open([tmp_path / "a.h5", tmp_path / "b.h5"]) as data:
        assert set(data.attributes["x"]) == set(SAID) - {"units"}
        assert data.replaced().attributes == data.attributes
    with sl.open({"y": sl.open(tmp_path / "a.h5", ["x"])}) as data:
        assert data.attributes["y"]["units"] == "K"
