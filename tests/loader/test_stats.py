"""The verdict names whoever sets the pace: each of the four stages is slowed in turn, for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from loader_files import gzip, taken, write
from time_limits import GUARD_SECONDS

import streamload as sl

WORKERS = pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)

PROGRAM = """
import sys
import streamload as sl

workers, path = int(sys.argv[1]), sys.argv[2]
data = sl.open(path)
with sl.Loader(data, batch_size=10, num_workers=workers, io="read") as loader:
    for epoch in loader.epochs(3):
        for batch in epoch:
            pass
    stats = loader.stats
print(stats.bottleneck)
print(stats.disk_seconds, stats.decode_seconds, stats.transport_seconds, stats.wait_seconds, stats.consumer_seconds)
print(stats.verdict)
"""

SLOW_READS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
static ssize_t (*real)(int, void *, size_t, off_t);
ssize_t pread(int fd, void *to, size_t count, off_t at) {
    if (!real) real = dlsym(RTLD_NEXT, "pread");
    usleep(12000);
    return real(fd, to, count, at);
}
ssize_t pread64(int fd, void *to, size_t count, off_t at) { return pread(fd, to, count, at); }
ssize_t preadv(int fd, const struct iovec *to, int count, off_t at) { return pread(fd, to[0].iov_base, to[0].iov_len, at); }
ssize_t preadv64(int fd, const struct iovec *to, int count, off_t at) { return preadv(fd, to, count, at); }
ssize_t preadv2(int fd, const struct iovec *to, int count, off_t at, int flags) { return preadv(fd, to, count, at); }
ssize_t preadv64v2(int fd, const struct iovec *to, int count, off_t at, int flags) { return preadv(fd, to, count, at); }
"""


def judged(path: Path, workers: int, **environment: str) -> tuple[str, list[float], str]:
    """The bottleneck, the seconds and the verdict of three epochs in another process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(workers), str(path)],
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    bottleneck, seconds, verdict = done.stdout.splitlines()
    return bottleneck, [float(value) for value in seconds.split()], verdict


@WORKERS
def test_a_slow_consumer_is_named(tmp_path: Path, workers: int) -> None:
    with sl.Loader(sl.open(write(tmp_path / "data.h5")), batch_size=10, num_workers=workers) as loader:
        for epoch in loader.epochs(3):
            for _ in epoch:
                time.sleep(0.01)
        stats = loader.stats
        assert stats.bottleneck == "consumer"
        assert stats.verdict.startswith("consumer: ")
        assert "the loader keeps up; your own code sets the pace" in str(stats)
        assert stats.consumer_seconds > 0.25


@WORKERS
def test_a_slow_transform_is_named_as_decoding(tmp_path: Path, workers: int) -> None:
    def slow(record: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.002)
        return record

    with sl.Loader(sl.open(write(tmp_path / "data.h5")), batch_size=10, num_workers=workers, transform=slow) as loader:
        taken(batch for epoch in loader.epochs(2) for batch in epoch)
        stats = loader.stats
        assert stats.bottleneck == "decode"
        assert "decode: " in stats.verdict
        assert "more workers or a lighter codec would help" in stats.verdict
        assert stats.decode_seconds > 0.3


def texts(path: Path) -> Path:
    """100 records that differ in length, in an Arrow file, where they are read one by one."""
    table = pa.table({"text": ["x" * (5 + k % 7) for k in range(100)]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.fixture
def slow_reads(tmp_path: Path) -> str:
    """A library that makes every read take twelve milliseconds more."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to slow reads with")
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(SLOW_READS)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)


@WORKERS
@pytest.mark.parametrize("made", [write, texts], ids=["fixed", "ragged"])
def test_a_slow_disk_is_named(tmp_path: Path, workers: int, made: Callable[[Path], Path], slow_reads: str) -> None:
    """Whichever way records go."""
    bottleneck, seconds, verdict = judged(made(tmp_path / "data"), workers, LD_PRELOAD=slow_reads)
    assert bottleneck == "disk", seconds
    assert "for storage: a faster disk" in verdict


@pytest.mark.parametrize("shuffle", [sl.Block(), False, sl.Exact()], ids=str)
def test_a_slow_disk_is_not_told_of_block_order_where_blocks_are_read(tmp_path: Path, shuffle: object) -> None:
    """What would help is something that is not done yet."""
    with sl.Loader(sl.open(gzip(tmp_path / "data.h5")), batch_size=10, num_workers=0, shuffle=shuffle) as loader:
        for _ in loader:
            pass
        stats = replace(loader.stats, wait_seconds=9.0, consumer_seconds=1.0, disk_seconds=9.0, decode_seconds=0.0, transport_seconds=0.0)
    blocks = "a faster disk, smaller records or shuffle=Block() would help"
    assert stats.verdict.endswith(blocks if shuffle == sl.Exact() else "a faster disk or smaller records would help")


def test_a_slow_hand_over_is_named_as_transport(tmp_path: Path) -> None:
    """Each step waits in its worker before it is announced."""
    bottleneck, seconds, verdict = judged(write(tmp_path / "data.h5"), 2, STREAMLOAD_TEST_KILL="after_write_before_publish:sleep0.01:*")
    assert bottleneck == "transport", seconds
    assert "for copying and handing over" in verdict


@WORKERS
def test_counters_count_what_was_handed_out(tmp_path: Path, workers: int) -> None:
    with sl.Loader(sl.open(gzip(tmp_path / "data.h5")), batch_size=30, num_workers=workers, shuffle=sl.Block()) as loader:
        assert loader.stats.verdict == "nothing has been handed out yet"
        assert loader.stats.bottleneck == "consumer"
        taken(batch for epoch in loader.epochs(2) for batch in epoch)
        stats = loader.stats
        assert (stats.steps, stats.records, stats.nbytes) == (8, 200, 200 * 68)
        assert stats.read_nbytes > 0
        assert stats.decode_seconds > 0
        assert (stats.copies, stats.copied_nbytes) == (0, 0)
        loader.close()
        assert loader.stats == stats or loader.stats.steps == 8


def test_the_time_after_a_loop_is_not_the_consumers(tmp_path: Path) -> None:
    """What lies between two epochs (a validation, a checkpoint) is not counted as work on batches."""
    with sl.Loader(sl.open(write(tmp_path / "data.h5")), batch_size=10, num_workers=0) as loader:
        taken(loader)
        before = loader.stats.consumer_seconds
        time.sleep(0.3)
        taken(loader)
        assert loader.stats.consumer_seconds - before < 0.2
