"""Surveys that are kept: used only while they are true, never trusted further than their checksum, and bounded."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import WRITTEN, images, labels, refused, write

from streamload.errors import SourceBusyError
from streamload.formats.hdf5 import metadata_cache
from streamload.formats.hdf5.examination import examined
from streamload.formats.hdf5.metadata import no_progress
from streamload.formats.hdf5.request import Request
from streamload.formats.open import open_source
from streamload.storage import disk_cache

SLOW = 1.0
"""Seconds that a survey worth keeping took."""


def survey(path: Path, fields: list[str] | None = None, seconds: float = SLOW) -> None:
    """Survey a file, and keep what was found."""
    metadata_cache.store_metadata(Request.of([str(path)], fields), examined(Request.of([str(path)], fields), no_progress), seconds)


def gzip_file(path: Path, records: int = 100) -> Path:
    """Images in chunks."""
    write(path, x=(images(records), {"chunks": (8, 7, 6, 3), "compression": "gzip"}), y=labels(records))
    return path


def test_what_was_kept_is_what_a_survey_finds(tmp_path: Path, settled: Path):
    """The same arrays, fields and notes, and sources built on them deliver the same records."""
    path = gzip_file(tmp_path / "a.h5")
    assert metadata_cache.load_metadata(Request.of([str(path)])) is None
    found = examined(Request.of([str(path)]), no_progress)
    survey(path)
    known = metadata_cache.load_metadata(Request.of([str(path)]))
    assert known is not None
    assert (known.names, known.notes, known.files) == (found.names, found.notes, found.files)
    assert [piece.stored for piece in known.fields[0]] == [piece.stored for piece in found.fields[0]]
    index, again = found.fields[0][0].index, known.fields[0][0].index
    assert index is not None
    assert again is not None
    np.testing.assert_array_equal(index.offsets, again.offsets)
    source = open_source(path)
    np.testing.assert_array_equal(source[:]["x"], images())
    source.close()
    assert metadata_cache.load_metadata(Request.of([str(path)], ["x"])) is None
    assert [stat.S_IMODE(one.stat().st_mode) for one in (settled, *settled.iterdir())] == [0o700, 0o600]


def _rewritten(path: Path) -> None:
    """Other bytes of the same length, and the time of the change set back."""
    was = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def _replaced(path: Path) -> None:
    """A copy under the same name."""
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten, and its time set back": _rewritten,
    "replaced by a copy": _replaced,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "touched": lambda path: os.utime(path),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_looked_at_anew(change: str, tmp_path: Path, settled: Path):
    """Whatever happened to it, what was kept of the old one is not used."""
    path = gzip_file(tmp_path / "a.h5")
    survey(path)
    assert metadata_cache.load_metadata(Request.of([str(path)])) is not None
    time.sleep(0.02)  # a tick of the file system's clock
    CHANGES[change](path)
    assert metadata_cache.load_metadata(Request.of([str(path)])) is None


def test_a_source_of_a_virtual_dataset_counts_too(tmp_path: Path, settled: Path):
    """What it draws on was checked: if that changes, it is checked again."""
    write(tmp_path / "part.h5", x=images())
    layout = h5py.VirtualLayout((100, 7, 6, 3), "u1")
    layout[:] = h5py.VirtualSource("part.h5", "x", (100, 7, 6, 3))
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        file.create_virtual_dataset("x", layout)
    survey(tmp_path / "a.h5")
    assert metadata_cache.load_metadata(Request.of([str(tmp_path / "a.h5")])) is not None
    time.sleep(0.02)
    os.utime(tmp_path / "part.h5")
    assert metadata_cache.load_metadata(Request.of([str(tmp_path / "a.h5")])) is None


def test_a_young_file_and_a_quick_survey_are_not_kept(tmp_path: Path, settled: Path, monkeypatch: pytest.MonkeyPatch):
    """A file may change again within the tick of a clock; and what is quick is done again."""
    path = gzip_file(tmp_path / "a.h5")
    survey(path, seconds=0.09)
    monkeypatch.setattr(disk_cache, "SETTLED_NS", 2 * 10**9)
    survey(path)
    assert not any(settled.iterdir()) if settled.exists() else True
    assert metadata_cache.load_metadata(Request.of([str(path)])) is None


def test_what_needs_a_filter_of_the_library_is_not_kept(tmp_path: Path, settled: Path):
    """The filter may be gone tomorrow, and then opening has to say so."""
    write(tmp_path / "a.h5", x=(images(), {"chunks": (8, 7, 6, 3), "scaleoffset": 8}))
    survey(tmp_path / "a.h5")
    assert metadata_cache.load_metadata(Request.of([str(tmp_path / "a.h5")])) is None


def test_every_damaged_entry_is_ignored_thrown_away_and_written_again(tmp_path: Path, settled: Path):
    """Cut at any tenth, any bit flipped: the survey is made anew."""
    path = gzip_file(tmp_path / "a.h5")
    survey(path)
    (entry,) = settled.iterdir()
    whole = entry.read_bytes()
    damaged = [whole[: len(whole) * tenth // 10] for tenth in range(10)]
    damaged += [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in range(0, len(whole), 97)]
    for data in damaged:
        entry.write_bytes(data)
        assert metadata_cache.load_metadata(Request.of([str(path)])) is None
        assert not entry.exists()
    survey(path)
    assert metadata_cache.load_metadata(Request.of([str(path)])) is not None


def test_an_entry_of_another_request_is_not_believed(tmp_path: Path, settled: Path):
    """Whoever renames entries gets nothing but surveys made anew."""
    a, b = gzip_file(tmp_path / "a.h5"), gzip_file(tmp_path / "b.h5", 50)
    survey(a)
    (first,) = settled.iterdir()
    survey(b)
    (second,) = set(settled.iterdir()) - {first}
    os.replace(second, first)
    assert metadata_cache.load_metadata(Request.of([str(a)])) is None


def test_a_file_that_is_being_written_is_busy_though_its_survey_was_kept(tmp_path: Path, settled: Path):
    """The lock is looked at, as the library would."""
    path = gzip_file(tmp_path / "a.h5")
    survey(path)
    code = "import sys, h5py\nfile = h5py.File(sys.argv[1], 'r+')\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert metadata_cache.load_metadata(Request.of([str(path)])) is None
        assert "is open for writing" in refused(SourceBusyError, path)


@pytest.mark.parametrize("what", ["others may write to it", "it cannot be made", "it is a file"])
def test_a_folder_that_cannot_be_trusted_or_used_is_not(what: str, tmp_path: Path, settled: Path, monkeypatch: pytest.MonkeyPatch):
    """Opening works; nothing is kept and nothing is read."""
    path = gzip_file(tmp_path / "a.h5")
    survey(path)
    if what == "others may write to it":
        settled.chmod(0o777)
    elif what == "it cannot be made":
        monkeypatch.setenv("STREAMLOAD_CACHE_DIR", "/proc/nowhere")
    else:
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("STREAMLOAD_CACHE_DIR", str(tmp_path / "file"))
    assert disk_cache.folder() is None
    assert metadata_cache.load_metadata(Request.of([str(path)])) is None
    survey(path)
    assert len(open_source(path)) == 100


def test_entries_are_bounded_and_the_oldest_go_first(tmp_path: Path, settled: Path, monkeypatch: pytest.MonkeyPatch):
    """By bytes and by number; one that is used counts as young; half-written files of dead processes go too."""
    paths = [gzip_file(tmp_path / f"{number}.h5") for number in range(4)]
    monkeypatch.setattr(disk_cache, "MOST_ENTRIES", 3)
    for age, path in zip((400, 300, 200), paths, strict=False):
        before = set(settled.iterdir()) if settled.exists() else set()
        survey(path)
        (new,) = set(settled.iterdir()) - before
        os.utime(new, (time.time() - age, time.time() - age))
    assert metadata_cache.load_metadata(Request.of([str(paths[0])])) is not None
    (settled / ".0dead_0x.part").write_bytes(b"")
    os.utime(settled / ".0dead_0x.part", (1, 1))
    survey(paths[3])
    assert [metadata_cache.load_metadata(Request.of([str(path)])) is not None for path in paths] == [True, False, True, True]
    assert not (settled / ".0dead_0x.part").exists()
    monkeypatch.setattr(disk_cache, "MOST_NBYTES", 2 * max(one.stat().st_size for one in settled.iterdir()) + 10)
    survey(paths[3])
    assert len(list(settled.iterdir())) == 2


def test_two_hundred_thousand_chunks_are_counted_once(tmp_path: Path, settled: Path):
    """The second process to open such a file does not load the HDF5 library at all."""
    path, count = tmp_path / "a.h5", 200_000
    with h5py.File(path, "w", **WRITTEN) as file:
        x = file.create_dataset("x", (count, 4), "u1", chunks=(1, 4), compression="gzip")
        file["y"] = np.arange(count)
        for record in range(count):
            x.id.write_direct_chunk((record, 0), b"%04x" % (record & 0xFFFF), 1)
        x.id.write_direct_chunk((77, 0), zlib.compress(b"gzip"))
    code = """
import json, sys, time
began = time.perf_counter()
import streamload as sl
from streamload.storage import disk_cache as shelf
from streamload.formats.hdf5 import inspector as probing
shelf.SETTLED_NS = -(10**10)
source = sl.open(sys.argv[1])
seconds = time.perf_counter() - began
taken = source[[77, 78, 199_999]]["x"].tobytes().decode()
print(json.dumps([taken, "h5py" in sys.modules, probing.Inspector._current is not None, seconds]))
"""
    said = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        said.append(json.loads(done.stdout))
    assert [one[:3] for one in said] == [
        ["gzip004e" + "%04x" % (199_999 & 0xFFFF), False, True],
        ["gzip004e" + "%04x" % (199_999 & 0xFFFF), False, False],
    ]
    assert said[1][3] < said[0][3]
