"""Keras 3 on each backend: `model.fit` trains each record once an epoch, in the loader's order, and goes on where it stopped."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from framework_data import RECORDS, loader_of, write

import streamload as sl


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_keras_trains(tmp_path: Path, backend: str) -> None:
    """Validation, steps_per_epoch, steps_per_execution, fit twice, BackupAndRestore, interruptions, predict: see keras_runs.py."""
    for module in ("keras", backend):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    path = write(tmp_path / "data.h5", target=(np.arange(RECORDS) / RECORDS).astype(np.float32), wide=np.arange(RECORDS) + 2**40)
    script = Path(__file__).with_name("keras_runs.py")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join([str(script.parent), *sys.path])}
    environment["KERAS_HOME"] = str(tmp_path / "keras")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(path), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"after {done.stdout}:\n{done.stderr[-4_000:]}"
    fits = ["fit_and_validate", "part_of_an_epoch", "backed_up", "called_again", "weighted"]
    assert done.stdout.split() == [*fits, "kinds", "one_field_twice", "never_cut", "too_large"]


def test_what_keras_has_no_use_for_is_refused(tmp_path: Path) -> None:
    """Four fields; text."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed")
    path = write(tmp_path / "data.h5", code=np.array([b"abc"] * RECORDS))
    with loader_of(path) as loader, pytest.raises(sl.ConfigError) as caught:
        sl.for_keras(loader, ("x", "x", "x", "x"))
    assert str(caught.value) == (
        "sl.for_keras was given 4 fields. Give the input; input and target; or input, target and weight of the records."
    )
    with loader_of(path) as loader, pytest.raises(sl.ConfigError) as caught:
        sl.for_keras(loader, None)
    assert str(caught.value) == "sl.for_keras takes fields by their names, not None. Give a name, or several in a tuple."
