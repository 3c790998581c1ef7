"""Many files read whole by one compiled call, which proves of each that it is what it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.source import ReadStats
from streamload.storage.file_table import FileTable
from streamload.storage.files import Fingerprint


def can_read_together(files: Sequence[Fingerprint]) -> bool:
    """Whether files are known in a way that a compiled call can go by, and there is a compiler."""
    return isinstance(files, FileTable) and kernels.whole_file_kernels() is not None


def read_together(
    files: Sequence[Fingerprint], numbers: NDArray[np.integer], out: NDArray[np.uint8], places: NDArray[np.int64], meter: ReadStats
) -> int:
    """Read file `numbers[k]` into `out[places[k]:]`, one after the other as far as nothing is wrong: how many; 0 without a compiler."""
    compiled = kernels.whole_file_kernels()
    if compiled is None or not isinstance(files, FileTable):
        return 0
    known = files.identities(numbers)
    failed = compiled.read_files(*put_together(files.paths(numbers)), known, out, np.ascontiguousarray(places))
    done = len(numbers) if failed < 0 else failed
    meter.read_nbytes += int(known[:done, 2].sum())
    return done


def put_together(paths: Sequence[bytes]) -> tuple[bytes, NDArray[np.int64]]:
    """Paths one after the other, a zero behind each, and where each begins."""
    starts = np.zeros(len(paths), np.int64)
    np.cumsum(np.fromiter((len(path) + 1 for path in paths[:-1]), np.int64, len(paths) - 1), out=starts[1:])
    return b"\0".join(paths) + b"\0", starts
