"""Arrays packed as xarray does it: said, delivered as they are stored, or as physical values where that is asked for."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.sync import cleanup_resources

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError
from streamload.testing import check_source

MISSING = -9999


@pytest.fixture(autouse=True)
def _end_threads():
    """The library keeps threads of its own until the process ends; here they end with the test."""
    yield
    cleanup_resources()


def packed(path: Path, version: Any, scale: float, seed: int = 0) -> np.ndarray:
    """A temperature in 16 bits, some of it missing, and a fraction in floats that is not packed; the temperature in degrees."""
    values = np.random.default_rng(seed).integers(-900, 900, (20, 5)).astype("i2")
    values[::7, 1] = MISSING
    group = zarr.open_group(path, mode="w", zarr_format=version)
    kept: dict[str, Any] = {"compressors": None, "fill_value": MISSING if version == 2 else 0}
    t = group.create_array("t", shape=values.shape, dtype=values.dtype, chunks=(7, 5), **kept)
    t[:] = values
    t.attrs.update({"scale_factor": scale, "add_offset": 273.15, "units": "K", "nested": {"no": "attribute"}})
    t.attrs.update({"_ARRAY_DIMENSIONS": ["time", "x"]} if version == 2 else {"_FillValue": MISSING})
    wet = group.create_array("wet", shape=(20,), dtype="f4", chunks=(20,), compressors=None)
    wet[:] = np.linspace(0, 1, 20)
    wet.attrs["missing_value"] = None
    physical = values * scale + 273.15
    physical[values == MISSING] = np.nan
    return physical


@pytest.mark.parametrize("version", [2, 3])
def test_packed_values_are_said_and_unpacked_where_that_is_asked_for(version: int, tmp_path: Path):
    """Times the factor, plus the offset, NaN for what is missing, with factors of each store's own; attributes are told."""
    parts = [packed(tmp_path / f"{number}.zarr", version, scale, number) for number, scale in enumerate((0.01, 0.5))]
    with sl.open(tmp_path / "*.zarr") as plain:
        assert plain.schema["t"].dtype == np.dtype("i2")
        assert (
            "'t' is stored packed (scale_factor 0.01, add_offset 273.15, -9999 for missing values): "
            "scaled=True delivers physical values, and NaN for missing ones"
        ) in plain.notes
        assert plain.attributes["t"]["units"] == "K"
        assert {"nested", "_ARRAY_DIMENSIONS", "scale_factor"}.isdisjoint(plain.attributes["t"])
        assert "wet" not in plain.attributes
    with sl.open(tmp_path / "*.zarr", scaled=True) as source:
        np.testing.assert_array_equal(source[:]["t"], np.concatenate(parts))
        assert "packed" not in " ".join(source.notes)
        assert source.attributes == {"t": {"units": "K"}}
        check_source(source)


def test_missing_values_in_the_letters_of_xarray(tmp_path: Path):
    """The bytes of a float, in version 3."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    for name, said in (("x", base64.b64encode(struct.pack("<d", 7.0)).decode()), ("y", "no number")):
        array = group.create_array(name, shape=(4,), dtype="f8", chunks=(4,))
        array[:] = [1, 7, 3, 7]
        array.attrs["_FillValue"] = said
    with sl.open(tmp_path / "a.zarr") as source:
        assert source.attributes == {"x": {"_FillValue": 7.0}, "y": {"_FillValue": "no number"}}
    with sl.open(tmp_path / "a.zarr", scaled=True) as source:
        np.testing.assert_array_equal(source[:]["x"], [1, np.nan, 3, np.nan])
        np.testing.assert_array_equal(source[:]["y"], [1, 7, 3, 7])


def test_signs_and_factors_are_taken_as_they_are_said(tmp_path: Path):
    """As in netCDF: whole numbers meant without a sign, missing ones of 64 bits, and a factor that is none."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    said = {
        "u": ("i2", [-3, 4, -1], {"_Unsigned": "true", "_FillValue": -1}),
        "w": ("i8", [5, -(2**63) + 2, 1], {"_FillValue": -(2**63) + 2}),
        "v": ("i2", [1, 2, 3], {"scale_factor": [0.5, 2.0]}),
    }
    for name, (dtype, values, attributes) in said.items():
        array = group.create_array(name, shape=(3,), dtype=dtype, chunks=(3,))
        array[:] = np.array(values, dtype)
        array.attrs.update(attributes)
    with sl.open(tmp_path / "a.zarr", ["u", "w"], scaled=True) as source:
        np.testing.assert_array_equal(source[:]["u"], [65533, 4, np.nan])
        np.testing.assert_array_equal(source[:]["w"], [5, np.nan, 1])
    with pytest.raises(ConfigError, match="physical values of 'v' cannot be told: scale_factor holds 2 different numbers"):
        sl.open(tmp_path / "a.zarr", scaled=True)


def damage_v3(path: Path) -> None:
    """Text where attributes are to be."""
    said = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps(said | {"attributes": "none"}))


DAMAGE: dict[str, tuple[Any, Callable[[Path], object], str]] = {
    "empty": (2, lambda path: (path / ".zattrs").write_bytes(b""), "t/.zattrs is empty"),
    "no JSON": (2, lambda path: (path / ".zattrs").write_text("{nonsense"), "Expecting property name"),
    "no UTF-8": (2, lambda path: (path / ".zattrs").write_bytes(b'{"a": "\xff"}'), "can't decode byte 0xff"),
    "a list": (2, lambda path: (path / ".zattrs").write_text("[1]"), "what describes t/.zattrs is no object of JSON"),
    "nested": (2, lambda path: (path / ".zattrs").write_text("[" * 100_000), "recursion"),
    "a text": (3, damage_v3, "attributes are no object of JSON"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_attributes_count_as_none_and_are_named(kind: str, tmp_path: Path):
    """Arrays are read without them, and a note says so; physical values, which need them, are not to be had."""
    version, damage, why = DAMAGE[kind]
    packed(tmp_path / "a.zarr", version, 0.5)
    with sl.open(tmp_path / "a.zarr", ["t"]) as whole:
        values = whole[:]["t"]
    damage(tmp_path / "a.zarr" / "t")
    with sl.open(tmp_path / "a.zarr") as source:
        np.testing.assert_array_equal(source[:]["t"], values)
        (note,) = [note for note in source.notes if "'t'" in note]
        assert note.startswith(f"{tmp_path / 'a.zarr'}: the attributes of 't' cannot be read and count as none: ")
        assert why in note
        assert "t" not in source.attributes
    with pytest.raises(CorruptDataError, match="the attributes of 't', which scaled=True needs, cannot be read: ") as caught:
        sl.open(tmp_path / "a.zarr", scaled=True)
    assert caught.value.hint == "The file is damaged or was cut short: fetch or write it again."
    with sl.open(tmp_path / "a.zarr", ["wet"], scaled=True) as source:
        assert not [note for note in source.notes if "cannot be read" in note]


def test_arrays_side_by_side_are_not_unpacked_in_silence(tmp_path: Path):
    """Physical values are asked for, and are not to be had."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    for name in ("t", "u"):
        group.create_array(name, shape=(6,), dtype="i2", chunks=(3,))[:] = np.arange(6)
    group["t"].attrs["scale_factor"] = 0.5
    with sl.open(tmp_path / "a.zarr", {"both": ["t", "u"]}) as source:
        assert source[:]["both"].tolist() == [[at, at] for at in range(6)]
    with pytest.raises(ConfigError, match="'t' is packed, which is put side by side with others in 'both'") as caught:
        sl.open(tmp_path / "a.zarr", {"both": ["t", "u"]}, scaled=True)
    assert caught.value.hint == "Name each array a field of its own."


def test_a_format_without_options_says_so(tmp_path: Path):
    """And what to do."""
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3073))
    with pytest.raises(ConfigError, match=r"scaled= is no option of CIFAR files\.") as caught:
        sl.open(tmp_path / "data_batch_1.bin", scaled=True)
    assert caught.value.hint.startswith("It has ")
