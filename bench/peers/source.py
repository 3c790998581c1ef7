"""The records that every contender is given: mapped from the benchmark's file, or written once in a contender's own format."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamload.storage.owned_files import finished_folder, write_report
from streamload.tools.benchmark.peers.serving import Config


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Records:
    """All records of a file."""

    images: NDArray[np.uint8]
    """Mapped: shape (records, ...)."""
    labels: NDArray[np.int64]
    """In memory: shape (records,)."""

    @property
    def record_nbytes(self) -> int:
        """Bytes of an image."""
        return self.images[0].nbytes

    def __len__(self) -> int:
        return len(self.images)

    def singly(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """One after the other, for writing them down."""
        for image, label in zip(self.images, self.labels.tolist(), strict=True):
            yield np.asarray(image), label


def records_of(config: Config) -> Records:
    """The records of the file that the configuration names, which must be contiguous."""
    with h5py.File(config["path"]) as file:
        images = file["image"]
        place, shape, labels = images.id.get_offset(), images.shape, file["label"][:]
    return Records(images=np.asarray(np.memmap(config["path"], np.uint8, "c", offset=place, shape=shape)), labels=labels)


def written(config: Config, name: str, write: Callable[[Path], None]) -> tuple[Path, dict[str, Any]]:
    """A folder with the records in a contender's own format, written if it is not there: its place, what it took and takes."""
    parts = f"-{config['shard_nbytes']}" if "shard_nbytes" in config else ""
    folder = Path(config["folder"]) / f"{Path(config['path']).stem}-{name}{parts}"
    note = folder.with_suffix(".seconds")
    if not (note.exists() and folder.exists()):
        with finished_folder(folder) as made:
            began = time.perf_counter()
            write(Path(made))
            write_report(note, str(time.perf_counter() - began).encode())
    nbytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return folder, {"written_seconds": float(note.read_text()), "written_nbytes": nbytes}
