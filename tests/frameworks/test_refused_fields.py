"""Fields that a framework has no arrays for are refused by name before anything is trained; bfloat16 and what else it has is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from framework_data import loader_of

import streamload as sl

ADAPTERS = {"torch": "for_torch", "jax": "for_jax", "tensorflow": "for_tf", "keras": "for_keras"}
CALLED = {"torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow", "keras": "Keras"}
NUMBERS_OF_NONE = {
    "date": np.arange(10).astype("M8[s]"),
    "duration": np.arange(10).astype("m8[s]"),
    "long": np.zeros(10, np.longdouble),
    "long_complex": np.zeros(10, np.clongdouble),
}
TEXTS = {"word": np.array([f"é{k}" for k in range(10)]), "code": np.array([b"a%d" % k for k in range(10)])}


def refused(path: Path, name: str, framework: str) -> str:
    """What an adapter says of a file of one field."""
    with loader_of(path) as loader, pytest.raises(sl.ConfigError) as caught:
        getattr(sl, ADAPTERS[framework])(loader, name)
    return str(caught.value)


@pytest.mark.parametrize("framework", ADAPTERS)
def test_numbers_that_no_framework_has(tmp_path: Path, framework: str) -> None:
    """Dates, durations, and what is longer than 64 bits."""
    pytest.importorskip(framework)
    for name, array in NUMBERS_OF_NONE.items():
        np.save(tmp_path / f"{name}.npy", array)
        assert refused(tmp_path / f"{name}.npy", name, framework) == (
            f"{CALLED[framework]} has no array for the field '{name} {array.dtype} ()'. "
            "Name other fields by fields=, or make an array of numbers of it in the loader's transform=."
        )


@pytest.mark.parametrize("framework", ["jax", "keras"])
def test_text_is_no_array_of_numbers(tmp_path: Path, framework: str) -> None:
    """Text, and bytes of one length; PyTorch has lists of them, and TensorFlow strings."""
    pytest.importorskip(framework)
    for name, array in TEXTS.items():
        np.save(tmp_path / f"{name}.npy", array)
        assert refused(tmp_path / f"{name}.npy", name, framework).startswith(f"{CALLED[framework]} has no array for the field '{name} ")


def test_data_sets_of_tensorflow_have_no_floats_of_eight_bits(tmp_path: Path) -> None:
    """It knows the dtype, and fails within."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    pytest.importorskip("tensorflow")
    np.save(tmp_path / "x.npy", np.zeros(10))

    def narrow(record: dict[str, Any]) -> dict[str, Any]:
        return {"x": record["x"].astype(ml_dtypes.float8_e5m2)}

    with loader_of(tmp_path / "x.npy", transform=narrow) as loader, pytest.raises(sl.ConfigError) as caught:
        sl.for_tf(loader)
    assert str(caught.value).startswith(
        "TensorFlow has no array for the field 'x float8_e5m2 ()', whose data sets have no floats of 8 bits. Name other fields"
    )


@pytest.mark.parametrize("framework", ["jax", "tensorflow", "keras"])
def test_floats_that_numpy_has_not(tmp_path: Path, framework: str) -> None:
    """bfloat16 and floats of 8 bits, with their bits. (Of PyTorch: test_torch_loops.)"""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    pytest.importorskip(framework)
    x = np.linspace(0, 2, 10, dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    for name in ("bfloat16",) if framework == "tensorflow" else ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        dtype = np.dtype(getattr(ml_dtypes, name))

        def narrow(record: dict[str, Any], dtype: np.dtype = dtype) -> dict[str, Any]:
            return {"x": record["x"].astype(dtype)}

        with loader_of(tmp_path / "x.npy", shuffle=False, transform=narrow) as loader:
            batches = getattr(sl, ADAPTERS[framework])(loader, "x")
            (first,) = next(batches.get_numpy_iterator()) if framework == "keras" else (next(iter(batches)),)
            assert np.asarray(first).dtype == dtype
            assert np.asarray(first).tobytes() == x.astype(dtype).tobytes()
