"""Values packed as netCDF does it: said, delivered as they are stored, or as physical values where that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5_files import WRITTEN, images

from streamload.formats.open import open_source
from streamload.testing import check_source

STORED: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "gzip": {"chunks": (7, 5), "compression": "gzip"},
    "through the library": {"chunks": (7, 5), "scaleoffset": 0},
}


def packed(path: Path, seed: int, scale: Any, offset: Any, **keywords: Any) -> np.ndarray:
    """A temperature in 16 bits, with some missing, and a fraction in floats with some missing; the temperature."""
    values = np.random.default_rng(seed).integers(-9000, 9000, (40, 5)).astype("i2")
    values[::7, 1] = -9999
    with h5py.File(path, "w", **WRITTEN) as file:
        file["image"] = images(40)
        t = file.create_dataset("t", data=values, **keywords)
        t.attrs["scale_factor"], t.attrs["add_offset"], t.attrs["_FillValue"] = scale, offset, np.int16(-9999)
        wet = np.linspace(0, 1, 40, dtype="f4")
        wet[3] = 1e20
        file["wet"] = wet
        file["wet"].attrs["missing_value"] = np.float32(1e20)
    physical = values * float(scale) + float(offset)
    physical[values == -9999] = np.nan
    return physical


@pytest.mark.parametrize("keywords", STORED.values(), ids=STORED)
def test_packed_values_are_said_and_unpacked_where_that_is_asked_for(keywords: dict[str, Any], tmp_path: Path):
    """Times the factor, plus the offset, NaN for what is missing: as xarray reads them."""
    physical = packed(tmp_path / "a.nc", 0, np.float64(0.01), np.float64(273.15), **keywords)
    plain = open_source(tmp_path / "a.nc")
    assert plain.schema["t"].dtype == np.dtype("i2")
    assert (
        "'t' is stored packed (scale_factor 0.01, add_offset 273.15, -9999 for missing values): "
        "scaled=True delivers physical values, and NaN for missing ones"
    ) in plain.notes
    assert any(note.startswith("'wet' is stored packed (1e+20 for missing values): ") for note in plain.notes)
    wet = np.linspace(0, 1, 40, dtype="f4")
    wet[3] = np.nan
    source = open_source(tmp_path / "a.nc", scaled=True)
    taken = source[:]
    np.testing.assert_array_equal(taken["t"], physical)
    np.testing.assert_array_equal(taken["wet"], wet)
    assert (taken["t"].dtype, taken["wet"].dtype) == (np.dtype("f8"), np.dtype("f4"))
    assert "packed" not in " ".join(source.notes)
    kept = ~np.isnan(physical).any(axis=1) & ~np.isnan(wet)
    assert kept.any()
    some = np.flatnonzero(kept)[::-2]
    np.testing.assert_array_equal(source[some]["t"], physical[some])
    source.close()
    plain.close()


def test_each_file_and_each_group_is_unpacked_by_its_own_factors(tmp_path: Path):
    """As months of a reanalysis are packed: each by what it holds; single precision where the factors have it."""
    expected = [packed(tmp_path / f"{n}.nc", n, np.float32(0.5 * (n + 1)), np.float32(n)) for n in range(3)]
    source = open_source(str(tmp_path / "*.nc"), fields=["t"], scaled=True)
    np.testing.assert_array_equal(source[:]["t"], np.concatenate(expected).astype("f4"))
    assert source.schema["t"].dtype == np.dtype("f4")
    with h5py.File(tmp_path / "groups.h5", "w", **WRITTEN) as file:
        for n in range(12):
            file[f"g{n}/t"] = np.arange(4, dtype="i2")
            if n % 3:
                file[f"g{n}/t"].attrs["scale_factor"] = float(n)
    joined = open_source(tmp_path / "groups.h5", fields={"t": "g*/t"}, scaled=True)
    wanted = np.concatenate([np.arange(4.0) * (n if n % 3 else 1) for n in range(12)])
    check_source(joined, {"t": wanted}, num_workers=(0, 1))
    source.close()
