"""One batch of CIFAR: where its images lie, its labels, and the names of classes beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SourceError, damaged
from streamload.formats.cifar.names import IMAGE_NBYTES, MOST_NBYTES, label_nbytes
from streamload.formats.cifar.pickles import array_in, held_in
from streamload.storage.files import Fingerprint, fingerprint, recheck, regular_file

LABELS = {1: ("label",), 2: ("coarse_label", "fine_label")}
"""Label bytes before an image in binary files."""
PICKLED = {"labels": "label", "fine_labels": "fine_label", "coarse_labels": "coarse_label"}
CLASSES = {"label_names": "label", "fine_label_names": "fine_label", "coarse_label_names": "coarse_label"}
"""Lists of words in a pickle beside the batches, by field."""
META = ("batches.meta", "meta")
WORDS = {"batches.meta.txt": "label", "fine_label_names.txt": "fine_label", "coarse_label_names.txt": "coarse_label"}
"""Files of such words, one a line, by field."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CifarBatch:
    """What one file holds."""

    path: str
    """As it was named."""
    fingerprint: Fingerprint
    records: int
    offset: int
    """The byte at which the first image lies; -1 where they lie in no one piece."""
    stride: int
    """Bytes from one image to the next."""
    images: NDArray[np.uint8] | None
    """The images as they are stored, shape (records, 3072), where they lie in no one piece."""
    labels: Mapping[str, NDArray[np.int64]]
    """By field, shape (records,)."""


def read_batch(path: str) -> CifarBatch:
    """What a binary batch, or a pickled one, holds. Raises CorruptDataError for a pickle that is no batch, and as `held_in` does."""
    was = fingerprint(path)
    try:
        with open(was.path, "rb", opener=regular_file) as file:
            data = file.read(MOST_NBYTES)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions and the disk.", path=path) from error
    return _pickled(data, path, was) if not path.endswith(".bin") else _binary(data, path, was)


def _binary(data: bytes, path: str, was: Fingerprint) -> CifarBatch:
    count = label_nbytes(path)
    if not count or len(data) % (IMAGE_NBYTES + count):
        raise damaged(f"{path} ({len(data):,} bytes) is no batch of CIFAR: its records take 3,073 or 3,074 bytes each.", path=path)
    rows = np.frombuffer(data, np.uint8).reshape(-1, count + IMAGE_NBYTES)
    labels = {name: rows[:, at].astype(np.int64) for at, name in enumerate(LABELS[count])}
    return CifarBatch(path=path, fingerprint=was, records=len(rows), offset=count, stride=rows.shape[1], images=None, labels=labels)


def _pickled(data: bytes, path: str, was: Fingerprint) -> CifarBatch:
    held = held_in(data, path)
    images = array_in(held.get("data"))
    if images is None or images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != IMAGE_NBYTES:
        raise CorruptDataError(
            f"{path} is a pickle, and not one of CIFAR's.", hint="Save the arrays as HDF5 where you trust it.", path=path
        )
    # The pickles of Python 2 and of protocols from 3 on hold the very bytes of the array; protocol 2 of Python 3 re-encodes them.
    offset = data.find(images.data if images.flags.c_contiguous else images.tobytes()) if len(images) else -1
    return CifarBatch(
        path=path,
        fingerprint=was,
        records=len(images),
        offset=offset,
        stride=IMAGE_NBYTES,
        images=images if offset < 0 else None,
        labels={field: _labels(held[name], name, len(images), path) for name, field in PICKLED.items() if name in held},
    )


def _labels(values: Any, name: str, images: int, path: str) -> NDArray[np.int64]:
    held = array_in(values)
    try:
        labels = np.array([_whole(value) for value in (values if held is None else held.reshape(-1))], np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise damaged(f"{path}: its {name} are no numbers: {error}.", path=path) from error
    if len(labels) != images:
        raise damaged(f"{path} holds {images:,} images and {len(labels):,} {name}.", path=path)
    return labels


def _whole(value: Any) -> int:
    """A label as a number. Raises ValueError for one between two classes."""
    number = int(value)
    if number != value:
        raise ValueError(f"{value!r} is no class")
    return number


def planes_of(batch: CifarBatch) -> NDArray[np.uint8]:
    """The images of a batch as they are stored, read whole: shape (records, 3072)."""
    if batch.images is not None:
        return batch.images
    before = batch.stride - IMAGE_NBYTES
    rows = np.fromfile(batch.fingerprint.path, np.uint8, batch.records * batch.stride, offset=batch.offset - before)
    recheck(batch.fingerprint)
    return rows.reshape(batch.records, batch.stride)[:, before:]


def words_beside(folder: str) -> tuple[dict[str, tuple[str, ...]], list[Fingerprint]]:
    """What the numbers of labels mean, by field, as files beside the batches say it, and these files; nothing where there are none."""
    found: dict[str, tuple[str, ...]] = {}
    read: list[Fingerprint] = []
    for beside in (*WORDS, *META):
        path = os.path.join(folder, beside)
        if not os.path.isfile(path) or not 0 < os.path.getsize(path) < MOST_NBYTES:
            continue
        read.append(fingerprint(path))
        with open(path, "rb", opener=regular_file) as file:
            data = file.read()
        if beside in WORDS:
            found[WORDS[beside]] = tuple(line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip())
            continue
        held = held_in(data, path) if data[:1] == b"\x80" else {}
        for name, called in CLASSES.items():
            if isinstance(held.get(name), list):
                found[called] = tuple(word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in held[name])
    return found, read
