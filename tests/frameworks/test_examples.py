"""The training scripts of tools/examples: each trains on real pixels, and learns."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamload.tools.demonstration.dataset import PHOTOGRAPHS, SIDE, cut_crops, photograph_folder, scales_of

EXAMPLES = Path(__file__).resolve().parents[2] / "tools" / "examples"
NEEDS = {
    "train_accelerate": ("torch", "accelerate"),
    "train_jax": ("jax",),
    "train_keras": ("keras", "jax"),
    "train_lightning": ("torch", "lightning"),
    "train_scikit_learn": ("sklearn",),
    "train_tensorflow": ("tensorflow",),
    "train_torch": ("torch",),
    "train_transformers": ("torch", "accelerate", "transformers"),
}
EACH = 60
"""Crops of each photograph."""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of twelve photographs, stored class by class."""
    if importlib.util.find_spec("skimage") is None:
        pytest.skip("scikit-image is not installed")
    path = tmp_path_factory.mktemp("photographs") / "train.h5"
    rng, folder = np.random.default_rng(0), photograph_folder()
    with h5py.File(path, "w") as file:
        images = np.empty((len(PHOTOGRAPHS) * EACH, SIDE, SIDE, 3), np.uint8)
        for number, name in enumerate(PHOTOGRAPHS):
            cut_crops(scales_of(folder / name), images[number * EACH : (number + 1) * EACH], rng)
        file["image"], file["label"] = images, np.repeat(np.arange(len(PHOTOGRAPHS)), EACH)
    return path


def test_every_example_is_tried() -> None:
    """None is left out here, and each is short."""
    scripts = {path.stem: path.read_text().splitlines() for path in EXAMPLES.glob("train_*.py")}
    assert set(scripts) == set(NEEDS)
    assert all(20 <= len(lines) <= 70 for lines in scripts.values()), {name: len(lines) for name, lines in scripts.items()}


def test_the_readme_links_every_example() -> None:
    """In a table; its first screen shows PyTorch."""
    readme = (EXAMPLES.parents[1] / "README.md").read_text()
    assert set(re.findall(r"\]\(tools/examples/(\w+)\.py\)", readme)) == set(NEEDS)
    assert "for image, label in sl.for_torch(loader, " in "\n".join(readme.splitlines()[:30])


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_learns(photographs: Path, tmp_path: Path, name: str) -> None:
    """After three epochs it is right far more often than a guess would be, one time in twelve."""
    for module in NEEDS[name]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    accuracy = run(EXAMPLES / f"{name}.py", photographs, tmp_path, "--batch", "64")
    assert sorted(accuracy) == ([2] if name == "train_lightning" else [0, 1, 2])
    assert accuracy[2] > 25, accuracy
    more: dict[str, tuple[str, ...]] = {
        "train_transformers": ("--resume",),
        "train_lightning": ("--resume", *map(str, sorted(tmp_path.rglob("*.ckpt"))[-1:])),
    }
    if name != "train_keras":  # Its backup is for crashes, and is deleted at the end.
        again = run(EXAMPLES / f"{name}.py", photographs, tmp_path, "--batch", "64", "--epochs", "5", *more.get(name, ()))
        assert sorted(again) == ([4] if name == "train_lightning" else [3, 4])


def run(script: Path, *arguments: Path | str) -> dict[int, float]:
    """What a script says of its accuracy in per cent, by epoch; it runs in a folder of its own."""
    path, folder, *more = arguments
    environment = {**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(folder)}
    command = [sys.executable, "-W", "ignore", str(script), str(path), *map(str, more)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    return {int(epoch): float(share) for epoch, share in re.findall(r"^epoch (\d+): ([\d.]+)% right", done.stdout, re.MULTILINE)}
