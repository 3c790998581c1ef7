"""Runs the command in this process or in another, and makes the small files that its tests look at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import pytest
from time_limits import GUARD_SECONDS

from streamload.tools.__main__ import main
from streamload.tools.convert.executors import FuturesExecutor

ROOT = Path(__file__).resolve().parents[2]


def answer(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any]:
    """The exit code of a command, and what it says as JSON."""
    code, text = said(capsys, *words, "--json")
    return code, json.loads(text)


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code of a command, and all that it says: stdout, or stderr where stdout is empty."""
    try:
        code = main([str(word) for word in words])
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    captured = capsys.readouterr()
    return code, captured.out or captured.err


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the library on the path even where it is not installed."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


def started(*words: object, **options: Any) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    command = [sys.executable, "-m", "streamload", *(str(word) for word in words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, **(pipes | {"env": environment()} | options))


def finished(*words: object, **options: Any) -> tuple[int, str]:
    """The command run to its end in a process of its own: exit code, stdout and stderr."""
    with started(*words, **options) as process:
        out, err = process.communicate(timeout=GUARD_SECONDS)
    return process.returncode, out + err


def arrays(records: int, shape: tuple[int, ...] = (8, 8, 3), *, labels: int = 10) -> dict[str, np.ndarray]:
    """Images of noise, and labels in turn."""
    rng = np.random.default_rng(records)
    return {"image": rng.integers(0, 256, (records, *shape), dtype=np.uint8), "label": np.arange(records, dtype=np.int64) % labels}


def hdf5_file(path: Path, held: dict[str, np.ndarray], **options: Any) -> Path:
    """A file of one dataset a field; options go to the images."""
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        for name, values in held.items():
            file.create_dataset(name, data=values, **(options if values.ndim > 1 else {}))
    return path


def image_folder(path: Path, classes: dict[str, int], shape: tuple[int, ...] = (12, 10, 3)) -> dict[str, list[np.ndarray]]:
    """PNG images in a folder for each class; the images by class."""
    rng = np.random.default_rng(0)
    made: dict[str, list[np.ndarray]] = {}
    for name, count in classes.items():
        (path / name).mkdir(parents=True)
        made[name] = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]
        for number, image in enumerate(made[name]):
            (path / name / f"{number:03d}.png").write_bytes(imagecodecs.png_encode(image))
    return made


def names_in(path: Path) -> set[str]:
    """Everything in a folder, hidden names too."""
    return {entry.name for entry in path.iterdir()}


def mounts() -> bool:
    """Whether this user may mount a small file system in a namespace of its own."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


class SameThread(Executor):
    """Does what it is given at once, where a command would start processes."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`."""
        made: Future[Any] = Future()
        made.set_result(fn(*args, **kwargs))
        return made


def in_this_thread(workers: int) -> FuturesExecutor:
    """In place of `ProcessExecutor`, where what a test is about is not in the processes."""
    return FuturesExecutor(SameThread(), workers)
