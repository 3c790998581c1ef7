"""What is said of fields besides their values: names of classes and attributes stay with a file, wherever it goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from command_line import answer

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError
from streamload.schema import Field, Schema
from streamload.tools.__main__ import main
from streamload.tools.convert.writers.registry import Annotations, write_options, writer_of

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
        assert held(made.attributes["x"]) == held(SAID)
        assert set(made.schema.names) == {"x", "label"}
    assert answer(capsys, "convert", moved, tmp_path / "d.h5", "--workers", "1")[0] == 0
    with sl.open(source, scaled=True) as before, sl.open(tmp_path / "d.h5", scaled=True) as after:
        np.testing.assert_array_equal(after[:]["x"], before[:]["x"])
        assert after.classes == {"label": WORDS}
        assert set(after.attributes["x"]) == {"units", "shape", "flag", "axes"}, "what is of stored values is not said of physical ones"


def test_what_has_no_place_is_refused_unless_values_alone_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Before anything is written, by name; texts in an archive lie beside their arrays."""
    labelled(tmp_path / "a.h5")
    for fields, what in (("x", "'x' has attributes"), ("label", "'label' has names of classes"), ("x,label", "'x' has attributes")):
        for dry in (["--dry-run"], []):
            assert main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "b.npy"), "--fields", fields, *dry]) == 2
            said = " ".join(capsys.readouterr().err.split())
            assert f"a.h5: {what}, and .npy files have no place for them. Write Parquet or Arrow, which keep them, or --values-only" in said
            assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]
    assert main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "b.npy"), "--values-only"]) == 0
    with sl.open(tmp_path / "a.h5") as source, sl.open(tmp_path / "b.npy") as made:
        np.testing.assert_array_equal(made[:]["x"], source[:]["x"])
        assert (made.classes, made.attributes) == ({}, {})
    assert main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "b.npz")]) == 0
    with np.load(tmp_path / "b.npz") as loaded:
        assert loaded["label.classes"].tolist() == list(WORDS)
        assert json.loads(str(loaded["x.attributes"]))["units"] == "K"
    for fields in (["x"], ["lab*"], {"y": "label"}):
        with sl.open(tmp_path / "b.npz", fields) as made:
            assert len(made) == 10
            assert [*made.attributes, *made.classes.values()] == (["x"] if fields == ["x"] else [WORDS])
    with sl.open(tmp_path / "b.npz", ["label.classes"]) as made:
        assert made[:]["label.classes"].to_list() == list(WORDS)


@pytest.mark.parametrize("target", ["h5", "parquet", "arrow", "npz"])
def test_tens_of_thousands_of_classes_have_names(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """More than an attribute of HDF5 holds as a list."""
    words = [f"class number {at} — é" for at in range(21_841)]
    codes = pa.DictionaryArray.from_arrays(pa.array(np.arange(20, dtype=np.int32) * 1000), pa.array(words))
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), pa.schema([("label", codes.type)])) as writer:
        writer.write_table(pa.table({"label": codes}))
    assert answer(capsys, "convert", tmp_path / "a.arrow", tmp_path / f"b.{target}", "--workers", "1")[0] == 0
    with sl.open(tmp_path / f"b.{target}") as made:
        assert made.classes == {"label": tuple(words)}
        assert not made.attributes


UNHELD: dict[str, tuple[str, list[str], dict[str, Any], str]] = {
    "a name with a zero byte": (
        "hdf5",
        ["a\0b"],
        {},
        "names of classes that HDF5 cannot hold: they have zero bytes in them, or are not UTF-8",
    ),
    "a name that is no UTF-8": ("hdf5", ["\udcff"], {}, "names of classes that HDF5 cannot hold"),
    "names of megabytes": ("hdf5", ["a" * 2**20] * 5, {}, "5 names of classes, more than HDF5 files are read with"),
    "an attribute without a name": ("hdf5", [], {"": "a"}, "an attribute '' that HDF5 cannot hold: zero bytes, no UTF-8, or no name"),
    "an attribute with a zero byte": ("hdf5", [], {"a": "b\0c"}, "an attribute 'a' that HDF5 cannot hold"),
    "an attribute of the library's": ("hdf5", [], {"NAME": "b"}, "an attribute 'NAME', which means something else in HDF5 files"),
    "a long list": ("hdf5", [], {"a": ["b"] * 5000}, "an attribute 'a' of more than the 64 KB that HDF5 holds"),
    "a long array": ("hdf5", [], {"a": np.zeros(70_000, "u1")}, "an attribute 'a' of more than the 64 KB that HDF5 holds"),
    "a name that ends with a zero byte": ("npz", ["a\0"], {}, "names of classes that end with zero bytes, which .npz files do not keep"),
    "a field in the place of names": (
        "npz",
        ["a"],
        {},
        "names of classes, whose place in .npz files, 'y.classes', is that of another field",
    ),
    "a field in the place of attributes": (
        "npz",
        [],
        {"a": 1},
        "attributes, whose place in .npz files, 'y.attributes', is that of another",
    ),
}


@pytest.mark.parametrize("what", UNHELD)
def test_what_a_format_cannot_hold_of_it_is_not_begun(what: str, tmp_path: Path):
    """Each with its reason."""
    format_name, words, attributes, why = UNHELD[what]
    schema = Schema(tuple(Field(name, np.dtype("i4"), ()) for name in ("y", *(("y.classes", "y.attributes") if "field" in what else ()))))
    style = write_options(name=format_name, path="", codec="none", chunk_records=None)
    with pytest.raises(ConfigError) as caught:
        writer_of(str(tmp_path / "x"), schema, 1, style, Annotations(classes={"y": words}, attributes={"y": attributes}))
    assert f"x: 'y' has {why}" in str(caught.value)
    assert not list(tmp_path.iterdir())


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
