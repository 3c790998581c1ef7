"""Memory of conversions and of `verify` depends on what is under way, and not on how much there is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import environment
from foreign_files import noise, png

MOST_NBYTES = 384 * 2**20
"""A task's readers behind its writer, its batches under way, and what Python and its packages take in three processes."""
GROWN_NBYTES = 128 * 2**20
"""By so much the larger input may take more: the smaller one ends before a row group of 64 MB is full, and another one waits."""
WATCHED = """
import sys
from streamload.tools.__main__ import main
from streamload.tools.benchmark.memory_usage import MemoryWatch
with MemoryWatch() as watch:
    code = main(sys.argv[1:])
print(code, watch.peak.own_nbytes)
"""


def peak(*words: object, script: str = WATCHED) -> int:
    """The most memory that a command and its processes held at once."""
    run = [sys.executable, "-c", script, *map(str, words)]
    done = subprocess.run(run, env=environment(), capture_output=True, check=True, text=True)
    code, nbytes = map(int, done.stdout.splitlines()[-1].split())
    assert code == 0, done.stdout + done.stderr
    return nbytes


def sparse(path: Path, records: int) -> Path:
    """Records of 64 KB that take no room on the disk."""
    np.lib.format.open_memmap(path.with_suffix(".npy"), "w+", "u1", (records, 64, 1024)).flush()
    return path.with_suffix(".npy")


def folder(path: Path, records: int) -> Path:
    """Images of 64 KB, all of them one file under many names."""
    (path / "class").mkdir(parents=True)
    (path / "class" / "00000.png").write_bytes(png(noise((128, 171, 3), 0)))
    for number in range(1, records):
        os.link(path / "class" / "00000.png", path / "class" / f"{number:05d}.png")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("make", "target"), [(folder, "h5"), (sparse, "h5"), (sparse, "parquet")])
def test_ten_times_as_many_records_take_no_more_memory(make: Callable[[Path, int], Path], target: str, tmp_path: Path):
    """50 MB and half a gigabyte, converted and then verified."""
    peaks: dict[str, list[int]] = {"convert": [], "verify": []}
    for records in (800, 8_000):
        made = tmp_path / f"{records}.{target}"
        peaks["convert"].append(peak("convert", make(tmp_path / f"in{records}", records), made, "--workers", "2"))
        peaks["verify"].append(peak("verify", made))
        made.unlink()
    for small, large in peaks.values():
        assert large < MOST_NBYTES, peaks
        assert large < small + GROWN_NBYTES, peaks


VALUE_NBYTES = 40 * 2**20
PYARROW = """
import sys
import pyarrow.parquet as pq
from streamload.tools.benchmark.memory_usage import MemoryWatch
with MemoryWatch() as watch:
    for batch in pq.ParquetFile(sys.argv[1]).iter_batches(1):
        pass
print(0, watch.peak.own_nbytes)
"""


@pytest.mark.slow
def test_large_values_take_little_more_than_decoding_their_page_does(tmp_path: Path):
    """Copies of a value above a page of two in pyarrow: one to look at it, two to show it, four to write it."""
    for name, nbytes in (("small", 9), ("large", VALUE_NBYTES)):
        values = pa.table({"x": [bytes(nbytes)] * 2, "y": [1, 2]})
        pq.write_table(values, tmp_path / f"{name}.parquet", compression="zstd", use_dictionary=False)

    def grown(*words: object, script: str = WATCHED) -> int:
        small, large = (peak(*(str(word).format(tmp_path / name) for word in words), script=script) for name in ("small", "large"))
        return large - small

    page = grown("{}.parquet", script=PYARROW)
    assert grown("info", "--no-measure", "{}.parquet") <= page + VALUE_NBYTES
    assert grown("head", "{}.parquet") <= page + 2 * VALUE_NBYTES
    # Peaks differ from run to run; a fifth copy would be 5.
    assert grown("convert", "{}.parquet", "{}.arrow", "--workers", 1) <= page + 4.75 * VALUE_NBYTES
