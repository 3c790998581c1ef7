"""CIFAR's batches, as their readers describe them: a folder, since their names say what they are."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

RECORDS = 37
PLANES = np.random.default_rng(0).integers(0, 256, (RECORDS, 3072), dtype=np.uint8)
LABELS = np.arange(RECORDS) % 10


def upright(planes: np.ndarray = PLANES) -> np.ndarray:
    """Images as torchvision's CIFAR10 has them in `data`."""
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def pickled(path: Path, protocol: int = 4) -> dict[str, np.ndarray]:
    """One batch as Python 3 pickles it."""
    path.mkdir()
    held = {b"data": PLANES, b"labels": LABELS.tolist(), b"filenames": [b"a"] * RECORDS}
    (path / "data_batch_1").write_bytes(pickle.dumps(held, protocol=protocol))
    return {"image": upright(), "label": LABELS}


def binary(path: Path) -> dict[str, np.ndarray]:
    """One binary batch of CIFAR-10."""
    path.mkdir()
    (path / "data_batch_1.bin").write_bytes(np.concatenate([LABELS.astype(np.uint8)[:, None], PLANES], axis=1).tobytes())
    return {"image": upright(), "label": LABELS}


EXAMPLES = {"pickled": pickled, "binary": binary}
