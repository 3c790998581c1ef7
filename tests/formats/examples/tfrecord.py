"""TFRecord files for the contract."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from foreign_files import tfrecord

from examples.tar import png
from streamload.ragged import Ragged

Arrays = dict[str, Any]
COUNT = 59
"""A file that is cut between two records lacks nothing that could be missed: no quarter of so many is whole."""


def images() -> np.ndarray:
    """Random images."""
    return np.random.default_rng(0).integers(0, 256, (COUNT, 9, 8, 3), dtype=np.uint8)


def labelled(path: Path) -> Arrays:
    """Images of one size, whole numbers, fractions, and several of them."""
    boxes = np.random.default_rng(1).normal(size=(COUNT, 4)).astype(np.float32)
    tfrecord(path, [{"label": [k % 3], "image": [png(one)], "weight": [k / 2], "box": boxes[k].tolist()} for k, one in enumerate(images())])
    numbers = np.arange(COUNT)
    return {"label": numbers % 3, "image": images(), "weight": (numbers / 2).astype(np.float32), "box": boxes}


def pixels(path: Path) -> Arrays:
    """Raw pixels, whose shape numbers beside them say."""
    said = {"height": [9], "width": [8], "depth": [3]}
    tfrecord(path, [{"image": [one.tobytes()], **said} for one in images()])
    return {"image": images(), **{name: np.full(COUNT, value[0]) for name, value in said.items()}}


def of_many_sizes(path: Path) -> Arrays:
    """Images that stay bytes, texts, and lists of any length."""
    data = [png(image[: 3 + number % 6]) for number, image in enumerate(images())]
    lists = [list(range(number % 4)) for number in range(COUNT)]
    tfrecord(path, [{"image": [one], "text": [f"no {k} é".encode()], "ids": lists[k]} for k, one in enumerate(data)])
    texts = Ragged.of([f"no {k} é" for k in range(COUNT)])
    return {"image": Ragged.of(data), "text": texts, "ids": Ragged.of([np.array(one, np.int64) for one in lists])}


def compressed(path: Path) -> Arrays:
    """Images, texts and lists, compressed as a whole."""
    expected = of_many_sizes(path)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return expected


EXAMPLES = {"labelled": labelled, "pixels": pixels, "of many sizes": of_many_sizes, "gzip": compressed}
