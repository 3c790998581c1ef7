"""`streamload init`: a script for the user's own file, which runs as it is."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

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


NEEDS = {
    "accelerate": ("torch", "accelerate"),
    "jax": ("jax",),
    "keras": ("keras", "jax"),
    "lightning": ("torch", "lightning"),
    "scikit_learn": ("sklearn",),
    "tensorflow": ("tensorflow",),
    "torch": ("torch",),
    "transformers": ("torch", "accelerate", "transformers"),
}


def odd_files(folder: Path) -> Iterator[list[str]]:
    """Arguments of `init` for data that scripts must not stumble over: names, dtypes of labels, other fields, folders of images."""
    rng, kind = np.random.default_rng(0), np.arange(80) % 2
    pixels = (rng.integers(0, 100, (80, 17, 24, 3)) + 100 * kind[:, None, None, None]).astype(np.uint8)
    with h5py.File(folder / 'C:\\data "odd".h5', "w") as file:
        file["im\"a'ge"], file["return"], file["valid"] = pixels, kind.astype(np.uint16), kind > 0
        file["text"] = np.array(["\u00e9"] * 80, h5py.string_dtype())
        file["code"], file["big"], file["parts"] = np.array([b"ab"] * 80), kind + 2**40, np.ones((80, 3), np.complex128)
        boxes = file.create_dataset("boxes", (80,), h5py.vlen_dtype(np.float32))
        for number in range(80):
            boxes[number] = np.arange(number % 3)
    yield [str(folder / 'C:\\data "odd".h5'), "--label", "return"]
    with h5py.File(folder / "renamed.h5", "w") as file:
        file["input_ids"], file["class"] = pixels, kind > 0
    yield [str(folder / "renamed.h5"), "--fields", "x1=input_ids,y=class"]
    for number in range(40):
        where = folder / "photos" / ("train" if number % 4 else "val") / ("cat" if number % 2 else "big dog")
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number, : 16 + number % 2]).save(where / f"{number}.png")
    yield [str(folder / "photos"), "--option", "split=val", "--decode", "16x20"]
    with h5py.File(folder / "one class.h5", "w") as file:
        file["image"], file["label"] = pixels[:1], kind[:1].astype(np.uint64)
    yield [str(folder / "one class.h5")]


RUN = """
import contextlib, io, json, os, runpy, sys
for script, most in json.loads(sys.argv[1]):
    os.chdir(os.path.dirname(script))
    sys.argv[:] = [script, "--epochs", str(most), "--batch", "20"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        runpy.run_path(script, run_name="__main__")
    print("ran", json.dumps([script, said.getvalue()]))
"""
"""Runs scripts one after the other, each in its folder, in one process: importing a framework takes longer than any of them."""


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_scripts_run(path: Path, tmp_path: Path, framework: str) -> None:
    """As they were written: one learns which images are bright, and odd data are no hindrance."""
    for module in NEEDS[framework]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    scripts = []
    for number, arguments in enumerate([[str(path)], *odd_files(tmp_path)]):
        scripts.append((str(tmp_path / f"{number}" / "mine.py"), 1 if number else 4))
        (tmp_path / f"{number}").mkdir()
        assert main(["init", *arguments, "--framework", framework, "--output", scripts[-1][0]]) == 0
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, json.dumps(scripts)],
        env={**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    ran = dict(json.loads(line.removeprefix("ran ")) for line in done.stdout.splitlines() if line.startswith("ran "))
    right = {script: re.findall(r"^epoch (\d+): ([\d.]+)% right$", said, re.MULTILINE) for script, said in ran.items()}
    assert float(dict(right[scripts[0][0]])["3"]) > 90, ran
    assert [len(right[script]) for script, _ in scripts[1:]] == [1] * 4, ran


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--framework", "torhc"], "--framework torhc is not known. Did you mean 'torch'?"),
        (["--image", "kind"], "--image kind cannot be the image that a script trains on. Scripts are for images with classes"),
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


def test_photographs_of_different_sizes_are_scaled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script is written for the folder as it lies, and the command says to what size, and how to choose another."""
    for number in range(6):
        (tmp_path / "photos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 18)).save(tmp_path / "photos" / "ab"[number % 2] / f"{number}.jpg")
    assert main(["init", str(tmp_path / "photos"), "--output", str(tmp_path / "train.py")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "images of different sizes are scaled and cut to 224x224; --decode HxW says another size" in said
    script = (tmp_path / "train.py").read_text()
    assert "CLASSES, SHAPE = 2, (224, 224, 3)\n" in script
    assert "sl.open(given.path, (IMAGE, LABEL), decode=(224, 224))" in script
    assert main(["init", str(tmp_path / "photos"), "--output", "-", "--decode", "32x32"]) == 0
    assert "decode=(32, 32)" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "framework"), [("PyTorch", "torch"), ("sklearn", "scikit_learn"), ("scikit-learn", "scikit_learn")])
def test_frameworks_by_their_other_names(path: Path, word: str, framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As their makers write them, and as Python imports them."""
    scripts = []
    for name in (word, framework):
        assert main(["init", str(path), "--framework", name, "--output", "-"]) == 0
        scripts.append(capsys.readouterr().out)
    assert scripts[0] == scripts[1]


def test_no_script_hides_a_module_that_it_imports(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside torch.py, `import torch` would import the script."""
    where = path.parent / "torch.py"
    assert main(["init", str(path), "--output", str(where)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{where} would be imported in place of the module 'torch', which the script needs." in said
    assert said.endswith("Give it another name: --output train_torch.py.")
    assert not where.exists()


def test_what_cannot_be_shuffled_is_read_in_order(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script for a compressed tar runs as it stands, and the command says how to come by one that shuffles."""
    members = io.BytesIO()
    with tarfile.open(fileobj=members, mode="w:gz") as archive:
        for number in range(6):
            held = io.BytesIO()
            Image.new("RGB", (20, 18)).save(held, "PNG")
            for name, data in ((f"{number}.png", held.getvalue()), (f"{number}.cls", b"%d" % (number % 2))):
                head = tarfile.TarInfo(name)
                head.size = len(data)
                archive.addfile(head, io.BytesIO(data))
    packed, where = path.parent / "my train.tar.gz", path.parent / "ordered.py"
    packed.write_bytes(members.getvalue())
    for framework in FRAMEWORKS:
        assert main(["init", str(packed), "--framework", framework, "--output", str(where)]) == 0
        told, script = " ".join(capsys.readouterr().out.split()), where.read_text()
        assert (script.count("shuffle=False"), "seed=0" in script, "shuffle=True" in script) == (1, False, False)
        assert (
            f"records are read in the order in which they are stored: to shuffle them, `streamload convert '{packed}' new.parquet" in told
        )
        where.unlink()
    assert main(["init", str(packed), "--output", "-", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["shuffled"], document["text"].count("shuffle=False")) == (False, 1)


def test_labels_below_zero_and_fields_that_are_missing_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to do instead."""
    images = np.zeros((5, 20, 20, 3), np.uint8)
    for name, fields, said in (
        ("negative", {"image": images, "label": np.arange(5) - 1}, "holds -1, and classes are numbered from 0."),
        ("none", {"image": images}, "no field can be the label that a script trains on."),
        ("none", {"image": images}, "`streamload plan` prints a Loader call for fields of any kind."),
        (
            "constant",
            {"image": images, "width": np.full(5, 120)},
            (
                "the only field that could be the label, 'width', holds 120 in all 5 records, so it names no classes. "
                "Name another field with --label, or this one, --label width, if it is meant all the same."
            ),
        ),
        ("two", {"a": images, "b": images, "label": np.arange(5)}, "2 fields could be the image: a, b. Name one with --image."),
    ):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for field, array in fields.items():
                file[field] = array
        assert main(["init", str(tmp_path / f"{name}.h5"), "--output", "-"]) != 0
        assert said in " ".join(capsys.readouterr().err.split())
    assert main(["init", str(tmp_path / "constant.h5"), "--label", "width", "--output", "-"]) == 0
    assert "CLASSES, SHAPE = 121, (20, 20, 3)" in capsys.readouterr().out
