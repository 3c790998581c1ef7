"""Values packed as netCDF does it: said, delivered as they are stored, or as physical values where that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5_files import WRITTEN, images

from streamload.errors import ConfigError
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


EXACTLY: dict[str, tuple[str, list[int | float], dict[str, Any], list[float]]] = {
    "64 bits": ("i8", [5, -(2**63) + 2, -(2**63) + 1], {"_FillValue": np.int64(-(2**63) + 2)}, [5, np.nan, -(2.0**63)]),
    "64 bits without a sign": ("u8", [5, 2**64 - 2], {"_FillValue": np.uint64(2**64 - 2)}, [5, np.nan]),
    "beyond the type": ("i2", [0, -1, 7], {"missing_value": np.float32(1e20)}, [0, -1, 7]),
    "NaN of whole numbers": ("i2", [0, -1, 7], {"missing_value": np.float32(np.nan)}, [0, -1, 7]),
    "a fraction of whole numbers": ("i2", [0, -1, 7], {"missing_value": np.float64(-1.5)}, [0, -1, 7]),
    "of another sign": ("u1", [255, 1], {"_FillValue": np.int8(-1)}, [255, 1]),
    "beyond single precision": ("f4", [np.inf, 1], {"missing_value": np.float64(1e300)}, [np.inf, 1]),
    "rounded": ("f4", [0.1, 1], {"missing_value": np.float64(0.1)}, [np.nan, 1]),
    "nine": ("i2", [9, 10, 1], {"missing_value": np.arange(1, 10, dtype="i2")}, [np.nan, 10, np.nan]),
    "_Unsigned": ("i2", [-3, 4, -1], {"_Unsigned": "true", "_FillValue": np.int16(-1)}, [65533, 4, np.nan]),
    "_Unsigned, as it is meant": ("i1", [-3, 4, -1], {"_Unsigned": np.bytes_(b"true"), "_FillValue": np.int16(255)}, [253, 4, np.nan]),
    "not _Unsigned": ("u1", [253, 4, 255], {"_Unsigned": "false", "_FillValue": np.uint8(255)}, [-3, 4, np.nan]),
    "_Unsigned as it is": ("u1", [253, 4], {"_Unsigned": "true", "_FillValue": np.uint8(4)}, [253, np.nan]),
}
"""A dtype, values, what is said of them, and what they stand for."""


@pytest.mark.parametrize("case", EXACTLY)
def test_nothing_but_what_is_said_stands_for_missing_values(case: str, tmp_path: Path):
    """A whole number of 64 bits is no float, and what a type cannot hold is not cut to what it can."""
    dtype, stored, said, physical = EXACTLY[case]
    with h5py.File(tmp_path / "a.nc", "w", **WRITTEN) as file:
        t = file.create_dataset("t", data=np.array(stored, f">{dtype}"))
        for name, value in {"scale_factor": np.float64(2), **said}.items():
            t.attrs[name] = value
    with open_source(tmp_path / "a.nc", scaled=True) as source:
        np.testing.assert_array_equal(source[:]["t"], np.array(physical) * 2)
    with open_source(tmp_path / "a.nc") as source:
        np.testing.assert_array_equal(source[:]["t"], np.array(stored, dtype))
        assert any(note.startswith("'t' is stored packed (scale_factor 2, add_offset 0") for note in source.notes)


def unclear_files() -> dict[str, tuple[dict[str, np.ndarray], Any, dict[str, Any], str]]:
    """Arrays, a factor of theirs, options, and why no physical values can be told."""
    whole = {"t": np.ones((4, 3), "i2")}
    parts = {f"s{n}/t": np.ones(n + 2, "i2") for n in range(3)}
    return {
        "a vector": (whole, np.array([0.5, 2.0, 1.0]), {}, "scale_factor holds 3 different numbers"),
        "a text": (whole, "0.5", {}, "scale_factor is no number"),
        "of a member": (
            {"c": np.zeros(4, [("t", "i2"), ("u", "S3")])},
            0.5,
            {"fields": {"t": "c.t"}},
            "what its dataset says is of a compound of members, and not of this one",
        ),
        "of complex numbers": ({"t": np.ones(4, "c8")}, 0.5, {}, "it says a factor or an offset of complex64"),
        "of truth values": ({"t": np.ones(4, "?")}, 0.5, {}, "it says a factor or an offset of bool"),
        "of any length": (parts, 0.5, {"fields": {"t": "s*/t"}, "record_axis": None}, "it is packed (scale_factor 0.5, add_offset 0), and"),
    }


@pytest.mark.parametrize("case", unclear_files())
def test_physical_values_that_cannot_be_told_are_refused(case: str, tmp_path: Path):
    """They were delivered as they are stored, or by the first of several factors, and nothing was said."""
    arrays, factor, options, why = unclear_files()[case]
    with h5py.File(tmp_path / "a.nc", "w", **WRITTEN) as file:
        for name, values in arrays.items():
            file[name] = values
            file[name].attrs["scale_factor"] = factor
    with pytest.raises(ConfigError) as caught:
        open_source(tmp_path / "a.nc", scaled=True, **options)
    assert caught.value.message.startswith(f"scaled=True, and physical values of 't' cannot be told: {why}")
    assert caught.value.hint == ("Leave scaled= out, which delivers values as they are stored, or choose other fields with fields=[...].")
    with open_source(tmp_path / "a.nc", **options) as source:
        assert len(source) == 4 - (case == "of any length")
        (note,) = [note for note in source.notes if "packed" in note]
        assert note.startswith("'t' is stored packed (")
        assert "scaled=True" not in note


def test_a_missing_value_that_a_compound_says_is_of_no_member(tmp_path: Path):
    """Members that are text or are of no number are delivered as they are; others say that nobody can tell."""
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        file["c"] = np.zeros(4, [("t", "i2"), ("u", "S3")])
        file["c"].attrs["missing_value"] = -1
        file["plain"] = np.zeros(4, [("t", "i2")])
    with pytest.raises(ConfigError, match=r"physical values of 'c\.t' cannot be told: what its dataset says is of a compound"):
        open_source(tmp_path / "a.h5", ["c.t"], scaled=True)
    with open_source(tmp_path / "a.h5", ["c.u"], scaled=True) as text, open_source(tmp_path / "a.h5", ["plain.t"], scaled=True) as source:
        assert (text.schema["c.u"].dtype, source.schema["plain.t"].dtype) == (np.dtype("S3"), np.dtype("i2"))


@pytest.mark.parametrize(("stored", "factor", "becomes"), [("f8", "f4", "f8"), ("f4", "f4", "f4"), ("f4", "f8", "f8"), ("i2", "f4", "f4")])
def test_fractions_lose_no_digits_to_the_type_of_their_factor(stored: str, factor: str, becomes: str, tmp_path: Path):
    """The type of factor and offset is that of physical values, but never narrower than that of stored fractions: as netCDF4 has it."""
    values = np.array([1 + 2**-40, 3, -7]).astype(stored)
    with h5py.File(tmp_path / "a.nc", "w", **WRITTEN) as file:
        file["t"] = values
        file["t"].attrs["scale_factor"] = np.dtype(factor).type(0.5)
    with open_source(tmp_path / "a.nc", scaled=True) as source:
        assert source.schema["t"].dtype == becomes
        np.testing.assert_array_equal(source[:]["t"], (values * 0.5).astype(becomes))


def test_vlen_records_and_sparse_rows_are_not_unpacked_in_silence(tmp_path: Path):
    """What no value is stored for in a sparse row has no physical value, and vlen records are delivered as they are."""
    with h5py.File(tmp_path / "v.h5", "w", **WRITTEN) as file:
        t = file.create_dataset("t", (3,), h5py.vlen_dtype("i2"))
        for n in range(3):
            t[n] = np.arange(n + 1)
        t.attrs["scale_factor"] = 0.5
    with h5py.File(tmp_path / "s.h5", "w", **WRITTEN) as file:
        for name, values in {"data": [1, 2, 3], "indices": [0, 1, 0], "indptr": [0, 2, 3]}.items():
            file[f"t/{name}"] = np.array(values, "i2")
        file["t"].attrs["shape"] = (2, 5)
        file["t/data"].attrs["scale_factor"] = 0.5
    for name, why in (("v.h5", "and its records differ in length"), ("s.h5", "its records are rows of a sparse matrix")):
        with pytest.raises(ConfigError, match=why):
            open_source(tmp_path / name, scaled=True)
        with open_source(tmp_path / name) as source:
            assert any(note.startswith("'t' is stored packed (scale_factor 0.5, add_offset 0") for note in source.notes)


def test_files_that_are_packed_in_other_ways_do_not_compare(tmp_path: Path):
    """Which is said where they are read as they are stored, and there alone."""
    for n in range(2):
        packed(tmp_path / f"{n}.nc", n, np.float64(n + 1), np.float64(0))
    said = "'t' is packed in other ways in some files or datasets: as they are stored, its values do not compare"
    for paths, options, there in (("*.nc", {}, True), ("0.nc", {}, False), ("*.nc", {"scaled": True}, False)):
        with open_source(str(tmp_path / paths), **options) as source:
            assert (said in source.notes) == there


@pytest.mark.parametrize("chunks", [None, (5, 3)])
def test_what_a_later_file_does_not_say_is_not_said_for_it(chunks: Any, tmp_path: Path):
    """A unit that the first file alone has is none of the field."""
    for n in range(2):
        with h5py.File(tmp_path / f"{n}.h5", "w", **WRITTEN) as file:
            file.create_dataset("x", data=np.ones((20, 3), "f4"), chunks=chunks)
            file["x"].attrs["title"] = "alike"
            if not n:
                file["x"].attrs["units"] = "K"
        with h5py.File(tmp_path / f"plain-{n}.h5", "w", **WRITTEN) as file:
            file.create_dataset("x", data=np.ones((20, 3), "f4"), chunks=chunks)
            if not n:
                file["x"].attrs["units"] = "K"
    for pattern, said in (("?.h5", {"x": {"title": "alike"}}), ("plain-?.h5", {})):
        with open_source(str(tmp_path / pattern)) as source:
            assert source.attributes == said
