"""Disks, file systems and neighbours that misbehave beneath HDF5 files, each for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from time_limits import GUARD_SECONDS, within

import streamload as sl
from faults_hdf5.test_changes import RECORDS, pixels

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KINDS: dict[str, dict[str, Any]] = {
    "raw": {},
    "gzip": {"chunks": (8, 48, 48), "compression": "gzip"},
    "scale-offset": {"chunks": (8, 48, 48), "scaleoffset": 8},
}
WORKERS = pytest.mark.parametrize("workers", [0, 2], ids=["in this process", "2 workers"])


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library to be loaded before all others."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    target = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", target, HERE / "shim.c", "-ldl"], check=True)
    return str(target)


def write(path: Path, kind: str = "raw") -> Path:
    """Images in one layout."""
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        file.create_dataset("image", data=pixels(), **KINDS[kind])
    return path


EPOCH = """
import json, sys, warnings
sys.path.insert(0, sys.argv[4])
import numpy as np, streamload as sl
from faults_hdf5.test_changes import pixels
warnings.simplefilter("ignore")
expected, right, error = pixels(), 0, None
try:
    with sl.Loader(sl.open(sys.argv[1]), batch_size=20, num_workers=int(sys.argv[2]), timeout=float(sys.argv[3]), io="read") as loader:
        for batch in loader:
            assert np.array_equal(batch["image"], expected[batch.records])
            right += len(batch.records)
except sl.StreamloadError as failed:
    error = [type(failed).__name__, str(failed), failed.details]
print(json.dumps([right, error]))
"""


def epoch(path: Path, workers: int, shim: str, timeout: float = 60) -> tuple[int, list[Any] | None]:
    """An epoch under the shim, in a process of its own: how many records were right, and the error."""
    command = [sys.executable, "-c", EPOCH, str(path), str(workers), str(timeout), str(HERE.parent)]
    told = {**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": shim}
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False, timeout=GUARD_SECONDS)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    right, error = json.loads(done.stdout)
    return right, error


@WORKERS
@pytest.mark.parametrize("kind", KINDS)
def test_d25_a_read_that_fails_names_the_file_and_the_reason(kind: str, workers: int, shim: str, tmp_path: Path):
    """An error of the disk is no damage: its number and its words are there, and what to look at."""
    path = write(tmp_path / "eio.h5", kind)
    right, error = epoch(path, workers, shim)
    assert right < RECORDS
    assert error is not None
    name, text, details = error
    assert name == "SourceError", text
    assert text.startswith(f"{path}: reading ")
    assert "Input/output error" in text
    assert text.endswith("Check the disk and the system log; a copy of the file on another disk may help.")
    assert details["errno"] == 5


@WORKERS
@pytest.mark.parametrize("kind", KINDS)
def test_d26_reads_that_come_in_halves_are_put_together(kind: str, workers: int, shim: str, tmp_path: Path):
    """As a signal or a network disk may make them."""
    assert epoch(write(tmp_path / "short.h5", kind), workers, shim) == (RECORDS, None)


@WORKERS
def test_d27_a_slow_disk_is_waited_for(workers: int, shim: str, tmp_path: Path):
    """An epoch that takes longer than the timeout in all, though no batch does."""
    path = write(tmp_path / "slow.h5")
    assert epoch(path, workers, shim, timeout=1.5) == (RECORDS, None)


def test_d9_a_file_system_without_locks_will_do(shim: str, tmp_path: Path):
    """Opened, read, and opened from what was kept."""
    for kind in KINDS:
        path = write(tmp_path / f"nolock-{kind}.h5", kind)
        assert epoch(path, 0, shim) == (RECORDS, None)


@pytest.mark.parametrize("kind", KINDS)
def test_d10_a_writer_of_the_user_is_not_kept_out_by_an_open_source(kind: str, tmp_path: Path):
    """Planning lets go of the file; only what the library itself reads holds its lock, until it is closed."""
    path = write(tmp_path / "a.h5", kind)
    source = sl.open(path)
    if kind == "scale-offset":
        source[0]
        source.close()
    code = "import sys, h5py; h5py.File(sys.argv[1], 'r+').close()"
    subprocess.run([sys.executable, "-c", code, path], check=True)
    source.close()


def test_d11_a_file_that_grows_under_a_writer_is_busy_and_later_a_changed_one(tmp_path: Path):
    """A live writer that lets others read along: refused at open; one that comes later is noticed."""
    path = tmp_path / "a.h5"
    code = """
import sys, h5py, numpy as np
file = h5py.File(sys.argv[1], "w", libver="latest")
x = file.create_dataset("x", data=np.arange(1000), chunks=(10,), maxshape=(None,))
file.swmr_mode = True
print(flush=True)
for line in sys.stdin:
    x.resize(len(x) + 10, 0)
    x[-10:] = 1
    x.flush()
    print(flush=True)
file.close()
"""
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(
            sl.SourceError, match=r"open for writing in another process|was not closed by the program that wrote it, or is still"
        ):
            sl.open(path)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdin.close()
    source = sl.open(path)
    assert len(source) == 1010
    with h5py.File(path, "r+") as file:
        file["x"].resize(1020, 0)
    with pytest.raises(sl.SourceChangedError, match="after it was opened"):
        source[0]
    assert len(source) == 1010


def test_d28_the_librarys_cache_is_sized_by_the_chunks_and_counted(tmp_path: Path):
    """A field that the library reads in whole chunks needs no cache; boxes in a band need one that holds a chunk, and say so."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", data=pixels(), chunks=(400, 24, 24), scaleoffset=8)
    (column,) = sl.open(tmp_path / "a.h5").columns
    assert column.cache_nbytes in (0, 400 * 24 * 24)
    assert column.scratch_nbytes >= 400 * 48 * 48
    with sl.Loader(sl.open(tmp_path / "a.h5"), batch_size=20, num_workers=0, shuffle=False) as loader:
        assert loader.footprint().scratch >= column.scratch_nbytes
        np.testing.assert_array_equal(np.concatenate([batch["image"].copy() for batch in loader]), pixels())


@pytest.mark.slow
def test_d29_ten_thousand_files_are_one_source(tmp_path: Path):
    """Planned in well under a millisecond a file, and read with few descriptors."""
    write_small = np.arange(12, dtype="u2").reshape(3, 4)
    for number in range(10_000):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["x"], file["y"] = write_small + number, np.full(3, number)
    began = time.monotonic()
    source = sl.open(str(tmp_path / "*.h5"))
    assert within(time.monotonic() - began, 60)
    chosen = np.random.default_rng(0).permutation(30_000)[:3_000]
    np.testing.assert_array_equal(source[chosen]["y"], chosen // 3)
    assert len(os.listdir("/proc/self/fd")) < 400
    source.close()


def test_d1_a_file_that_may_not_be_read_is_said_to_be(tmp_path: Path):
    """Permission denied, by name, as the user nobody."""
    path = write(tmp_path / "a.h5")
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if os.geteuid() == 0:
            folder.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            try:
                sl.open(path)
            except sl.SourceError as error:
                status = 0 if str(error) == f"{path} cannot be opened: Permission denied. Check its permissions." else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_d31_attributes_are_never_read(tmp_path: Path):
    """A pickle in an attribute, as PyTables and pandas write them, stays bytes in the file."""
    path, proof = write(tmp_path / "a.h5"), tmp_path / "proof"
    pickled = b"cposix\nsystem\n(S'touch " + str(proof).encode() + b"'\ntR."
    with h5py.File(path, "r+") as file:
        for one in (file, file["image"]):
            one.attrs["TITLE"] = np.void(pickled)
            one.attrs["CLASS"] = "TABLE"
    np.testing.assert_array_equal(sl.open(path)[:]["image"], pixels())
    assert not proof.exists()
