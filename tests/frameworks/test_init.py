"""`streamload init`: a script for the user's own file, which runs as it is."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import streamload as sl
from streamload.tools.__main__ import main
from streamload.tools.commands.init import FRAMEWORKS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """200 images of two classes, the second brighter, under names of the user's own."""
    kind = np.arange(200) % 2
    pixels = np.random.default_rng(0).integers(0, 100, (200, 24, 32, 3)) + 100 * kind[:, None, None, None]
    with h5py.File(tmp_path / "mine's.h5", "w") as file:
        file["picture"], file["kind"] = pixels.astype(np.uint8), kind.astype(np.uint8)
    return tmp_path / "mine's.h5"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_script_knows_the_file(path: Path, framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its path, fields, shape and number of classes; and it is Python."""
    assert main(["init", str(path), "--framework", framework, "--output", "-"]) == 0
    script = capsys.readouterr().out
    compile(script, "script", "exec")
    assert f'PATH = {str(path)!r}\nIMAGE, LABEL = "picture", "kind"\nCLASSES, SHAPE = 2, (24, 32, 3)\n' in script


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_script_for_photographs_of_many_sizes_decodes_them(tmp_path: Path, framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    """To 224 x 224, or as large as was asked for: the call in the script opens them so."""
    for number in range(6):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30 + number, 40, 3), 40 * number, np.uint8)).save(path)
    for words, size in (([], (224, 224)), (["--decode", "32x48"], (32, 48))):
        assert main(["init", str(tmp_path / "photos"), "--framework", framework, "--output", "-", *words]) == 0
        script = capsys.readouterr().out
        assert f'IMAGE, LABEL = "image", "label"\nCLASSES, SHAPE = 2, {(*size, 3)}\n' in script
        (call,) = re.findall(r"sl\.open\(.*?\}\)", script)
        given = argparse.Namespace(path=str(tmp_path / "photos"))
        with eval(call, {"sl": sl, "given": given, "IMAGE": "image"}) as source:
            assert source[0]["image"].shape == (*size, 3)


NEEDS = {
    "accelerate": ("torch", "accelerate"),
    "jax": ("jax",),
    "keras": ("keras", "jax"),
    "lightning": ("torch", "pytorch_lightning"),
    "scikit_learn": ("sklearn",),
    "tensorflow": ("tensorflow",),
    "torch": ("torch",),
    "transformers": ("torch", "accelerate", "transformers"),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_script_runs(path: Path, tmp_path: Path, framework: str) -> None:
    """As it was written, and it learns which images are bright."""
    for module in NEEDS[framework]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    script = tmp_path / "mine.py"
    assert main(["init", str(path), "--framework", framework, "--output", str(script)]) == 0
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), "--epochs", "4", "--batch", "20"],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    (right,) = re.findall(r"^epoch 3: ([\d.]+)% right$", done.stdout, re.MULTILINE)
    assert float(right) > 90, done.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--framework", "torhc"], "--framework torhc is not known. Did you mean 'torch'?"),
        (["--image", "kind"], "--image kind cannot be the image of an example. An image is uint8 of shape"),
        (["--output", "{path}"], "exists already. Name another with --output, or remove it."),
    ],
    ids=["a framework that there is not", "an image that is none", "a file that exists"],
)
def test_what_cannot_be_written_is_said(path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line; nothing is overwritten."""
    before = path.read_bytes()
    assert main(["init", str(path), *(one.replace("{path}", str(path)) for one in more)]) != 0
    assert said in " ".join(capsys.readouterr().err.split())
    assert path.read_bytes() == before


def test_labels_below_zero_and_fields_that_are_missing_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to do instead."""
    images = np.zeros((5, 20, 20, 3), np.uint8)
    for name, fields, said in (
        ("negative", {"image": images, "label": np.arange(5) - 1}, "holds -1, and classes are numbered from 0."),
        ("none", {"image": images}, "no field can be the label of an example."),
        ("two", {"a": images, "b": images, "label": np.arange(5)}, "2 fields could be the image: a, b. Name one with --image."),
    ):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for field, array in fields.items():
                file[field] = array
        assert main(["init", str(tmp_path / f"{name}.h5"), "--output", "-"]) != 0
        assert said in " ".join(capsys.readouterr().err.split())
