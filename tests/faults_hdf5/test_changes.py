"""Files that change while an epoch is read from them: an error within the batch that meets it, and never a wrong record."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from time_limits import within

import streamload as sl

RECORDS, BATCH = 400, 10
SIDE = 48
BEFORE = 5
"""Batches that are looked at before the file changes."""
MOST_SECONDS = 3.0
"""Until the error is there."""


def pixels(shift: int = 0) -> np.ndarray:
    """Records that say which they are, and in which version of the file."""
    chance = np.random.default_rng(0)
    image = chance.integers(0, 200, (RECORDS, SIDE, SIDE)).astype("u1")
    image[:, 0, 0], image[:, 0, 1] = np.arange(RECORDS) % 200, np.arange(RECORDS) // 200
    return image + np.uint8(shift)


def write(path: Path, kind: str, shift: int = 0, records: int = RECORDS) -> None:
    """One version of the file; all versions of one kind are equally long if they hold as many records."""
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        keywords = {"chunks": (8, SIDE, SIDE), "compression": "gzip"} if kind == "gzip" else {}
        file.create_dataset("image", data=pixels(shift)[:records], **keywords)


def _overwritten(path: Path, kind: str) -> None:
    """Other bytes in place: every stored record of the raw file, or the middle of every chunk."""
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        for place in range(8192, size - 64, 512):
            file.seek(place)
            old = file.read(64)
            file.seek(place)
            file.write(bytes(byte ^ 0x55 for byte in old))


def _replaced(path: Path, kind: str) -> None:
    """Another version under the same name."""
    other = path.with_suffix(".new")
    write(other, kind, shift=20)
    os.replace(other, path)


def _regrown(path: Path, kind: str) -> None:
    """Cut, and filled up again to the same size with zeros."""
    size = path.stat().st_size
    os.truncate(path, 4096)
    os.truncate(path, size)


def _grown(path: Path, kind: str) -> None:
    """A few bytes more at its end."""
    with open(path, "ab") as file:
        file.write(b"more")


def _cut(path: Path, kind: str) -> None:
    """Nothing left but its beginning."""
    os.truncate(path, 8192)


CHANGES: dict[str, tuple[Callable[[Path, str], None], str]] = {
    "shrinks": (_cut, "shrank from"),
    "grows": (_grown, "grew from|was written to"),  # a worker may look in between: the time changes before the size
    "is cut and filled with zeros": (_regrown, "was written to|shrank from"),  # here, too
    "is overwritten": (_overwritten, "was written to"),
    "is replaced by rename": (_replaced, "was replaced by another file"),
    "is removed": (lambda path, kind: path.unlink(), "is gone"),
}


@pytest.mark.filterwarnings("ignore:A window mixes only")
@pytest.mark.parametrize("workers", [0, 2], ids=["in this process", "2 workers"])
@pytest.mark.parametrize("io", ["read", "mmap"])
@pytest.mark.parametrize("kind", ["raw", "gzip"])
@pytest.mark.parametrize("change", CHANGES)
def test_d3_d4_d5_a_file_that_changes_is_an_error_and_never_a_wrong_record(change: str, kind: str, io: str, workers: int, tmp_path: Path):
    """By write, truncate, rename and unlink; what was delivered until then is right, and the iterator stays failed."""
    if workers == 0 and io == "mmap" and kind == "raw":
        assert _mapped_here_is_read(tmp_path)
    path = tmp_path / "a.h5"
    write(path, kind)
    expected = pixels()
    action, text = CHANGES[change]
    shuffle = sl.Block(window="300 KB") if kind == "gzip" else True
    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=workers, io=io, shuffle=shuffle, memory="200 MB") as loader:
        epochs = loader.epochs(50)
        batches = (batch for epoch in epochs for batch in epoch)
        for _ in range(BEFORE):
            batch = next(batches)
            np.testing.assert_array_equal(batch["image"], expected[batch.records])
        action(path, kind)
        began, delivered = time.monotonic(), 0
        with pytest.raises((sl.errors.SourceChangedError, sl.errors.WorkerCrashedError)) as caught:  # noqa: PT012 - each batch is looked at
            for batch in batches:
                np.testing.assert_array_equal(batch["image"], expected[batch.records])
                delivered += 1
        assert within(time.monotonic() - began, MOST_SECONDS + 0.01 * delivered)
        assert re.search(text, str(caught.value)), str(caught.value)
        assert str(path) in str(caught.value)


def _mapped_here_is_read(folder: Path) -> bool:
    """The user's process never maps data files: io="mmap" without workers reads."""
    write(folder / "here.h5", "raw")
    with sl.Loader(sl.open(folder / "here.h5"), batch_size=BATCH, num_workers=0, io="mmap") as loader:
        next(iter(loader))
        return "here.h5" not in Path("/proc/self/maps").read_text()


def test_d4_d5_a_file_changed_between_opening_and_the_first_batch_is_an_error(tmp_path: Path):
    """Found when the loader is made."""
    path = tmp_path / "a.h5"
    write(path, "raw")
    source = sl.open(path)
    _replaced(path, "raw")
    with pytest.raises(sl.SourceChangedError, match="was replaced by another file after it was opened"):
        next(iter(sl.Loader(source, batch_size=BATCH, num_workers=0)))
