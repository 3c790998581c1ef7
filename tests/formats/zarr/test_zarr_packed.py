"""Arrays packed as xarray does it: said, delivered as they are stored, or as physical values where that is asked for."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.sync import cleanup_resources

import streamload as sl
from streamload.errors import ConfigError
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
    with sl.open(tmp_path / "a.zarr", scaled=True) as source:
        np.testing.assert_array_equal(source[:]["x"], [1, np.nan, 3, np.nan])
        np.testing.assert_array_equal(source[:]["y"], [1, 7, 3, 7])


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
