"""Bare decoders of a folder of JPEG images: processes that read and decode every file between them, and do nothing with what comes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from bench.peers.forked import forked_passes
from streamload.tools.benchmark.peers.serving import Config


def work(paths: list[str], shape: tuple[int, ...], connection: Any) -> None:
    """A process: decode its images whenever it is told to."""
    out = np.empty(shape, np.uint8)
    while connection.recv():
        for path in paths:
            with open(path, "rb") as file:
                imagecodecs.jpeg8_decode(file.read(), outcolorspace="RGB", out=out)
        connection.send(True)
    os._exit(0)


def make(config: Config) -> Any:
    """Processes forked and waiting, each with every other image; all images have one shape."""
    paths = sorted(map(str, Path(config["path"]).glob("*/*.jpg")))
    shape = imagecodecs.jpeg8_decode(Path(paths[0]).read_bytes(), outcolorspace="RGB").shape
    workers = config["workers"]
    shares = [(paths[which::workers], shape) for which in range(workers)]
    return forked_passes(work, shares, records=len(paths), nbytes=len(paths) * int(np.prod(shape)))
