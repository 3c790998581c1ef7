"""Files that lie beside the data in a folder: which of them may be left out, and are named, and which make the folder a riddle."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from streamload.omissions import Omission

DATA_ENDINGS = frozenset(
    (
        *(".h5", ".hdf5", ".hdf", ".he5", ".h5ad", ".nc", ".nc4", ".cdf", ".mat", ".npy", ".npz", ".parquet", ".pq"),
        *(".arrow", ".feather", ".ipc", ".tar", ".tgz", ".tfrecord", ".tfrecords", ".tfrec", ".record", ".mdb", ".lmdb", ".zarr"),
        *(".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".csv", ".tsv"),
        *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".dcm"),
    )
)
"""Endings of what could be records: such a file is damaged, in need of a conversion, or of another dataset, and never just left out."""
_NUMBERS = re.compile(r"[0-9]+")


def is_odd(path: str, taken: Sequence[str] = ()) -> bool:
    """Whether nobody takes a file of this name for records: its ending is none of data, nor one that files of the data have."""
    kinds = {_NUMBERS.sub("", _ending(one)) for one in taken}  # part.0001 and part.0002 are of one kind
    return _ending(path) not in DATA_ENDINGS and _NUMBERS.sub("", _ending(path)) not in kinds


def outweigh(odd: Sequence[str], taken: Sequence[str]) -> bool:
    """Whether more is beside the data than there is of it, in files or in bytes: then it is a guess which of them is meant."""
    whole = not any(map(os.path.isdir, taken))  # A dataset that is a folder is not measured.
    return len(odd) > len(taken) or (whole and sum(map(os.path.getsize, odd)) > sum(map(os.path.getsize, taken)))


def left_out(folder: str, odd: Sequence[tuple[str, str]]) -> list[Omission]:
    """Files that are left out, with what each is: by what they are, and by their names within the folder."""
    named: dict[str, list[str]] = {}
    for path, what in odd:
        named.setdefault(what, []).append(os.path.relpath(path, folder))
    return [Omission.of("file", what, names) for what, names in named.items()]


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()
