"""Disks that fail while a conversion writes: what was not written for certain never gets a name."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command_line import arrays, environment, finished, hdf5_file, names_in

HERE = Path(__file__).parent
TARGETS = ["b.h5", "b.parquet", "b.arrow", "b.npy"]
CHUNKED = ["--chunk-records", "20", "--codec", "gzip"]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that stands before the C library."""
    made = tmp_path_factory.mktemp("shim") / "disk.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", made, HERE / "disk.c", "-ldl"], check=True)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """About 2 MB."""
    return hdf5_file(tmp_path / "a.h5", arrays(200, (64, 64, 3)))


@pytest.mark.parametrize("how", ["eio", "fsync"])
@pytest.mark.parametrize("target", TARGETS)
def test_h5_a_write_that_fails_fails_the_file(how: str, target: str, shim: Path, source: Path, tmp_path: Path):
    """H5: EIO of a write, or of the fsync, which is not tried again: exit code 1, the file named, nothing left."""
    told = environment(LD_PRELOAD=str(shim), DISK=how, DISK_PATH=".converting/out/")
    code, text = finished("convert", source, tmp_path / target, env=told)
    assert code == 1, text
    assert f"{target} could not be written: OSError: " in text
    assert "Input/output error" in text
    assert "Nothing was left under the final name." in text
    assert "Traceback" not in text
    assert names_in(tmp_path) == {"a.h5"}
    assert finished("convert", source, tmp_path / target)[0] == 0


@pytest.mark.parametrize(
    ("how", "words"),
    # HDF5's own writes give up at EINTR, which a disk never gives: raw data goes past it.
    [*(("short", words) for words in (*TARGETS, "b.h5 chunked")), ("eintr", "b.h5"), ("eintr", "b.npy")],
)
def test_h6_writes_that_do_less_than_asked_go_on(how: str, words: str, shim: Path, source: Path, tmp_path: Path):
    """H6: short writes, and writes that a signal interrupts: the same bytes as without."""
    target = words.split()[0]
    more = CHUNKED if "chunked" in words else []
    assert finished("convert", source, tmp_path / target, *more)[0] == 0
    wanted = (tmp_path / target).read_bytes()
    told = environment(LD_PRELOAD=str(shim), DISK=how, DISK_PATH=".converting/out/")
    code, text = finished("convert", source, tmp_path / target, *more, "--overwrite", env=told)
    assert code == 0, text
    assert (tmp_path / target).read_bytes() == wanted


def test_h11_everything_is_written_beside_the_target(source: Path, tmp_path: Path):
    """H11: a folder for temporary files on another disk, or none at all, does not matter."""
    (tmp_path / "target").mkdir()
    temporary = tempfile.mkdtemp(prefix="streamload-h11-", dir="/dev/shm")
    told = environment(TMPDIR=temporary, TMP=temporary, TEMP=temporary)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "streamload", "convert", str(source), str(tmp_path / "target" / "b.h5")]
    if shutil.which("strace") is not None:
        command = ["strace", "-f", "-qq", "-e", "trace=rename,renameat2", "-o", str(log), *command]
    assert subprocess.run(command, env=told, capture_output=True, check=False).returncode == 0
    os.rmdir(temporary)  # an error where anything is in it
    assert "EXDEV" not in (log.read_text() if log.exists() else "")
    assert names_in(tmp_path / "target") == {"b.h5", "b.h5.manifest.json"}


def obey() -> None:
    """Give up what lets root pass over permissions: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, from the next program on."""
    if os.geteuid() == 0:
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.mark.parametrize("what", ["folder", "source"])
def test_h11_what_may_not_be_written_or_read_is_named(what: str, source: Path, tmp_path: Path):
    """H11: a folder without the right to write, a source without the right to read: exit code 2, and no traceback."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target").chmod(0o555 if what == "folder" else 0o777)
    source.chmod(0o000 if what == "source" else 0o644)
    code, text = finished("convert", source, tmp_path / "target" / "b.h5", preexec_fn=obey)
    (tmp_path / "target").chmod(0o755)
    assert code in (1, 2), text
    assert "Permission denied" in text or "permission" in text.lower()
    assert "Traceback" not in text
    assert names_in(tmp_path / "target") == set()
