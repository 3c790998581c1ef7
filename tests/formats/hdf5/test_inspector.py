"""Opening untrusted files: whatever they do to the HDF5 library, it is not this process that they do it to."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import LAYOUTS, images, write
from misbehaving_disk import misbehaving
from time_limits import GUARD_SECONDS, Deadline

from streamload.errors import CorruptDataError
from streamload.formats.hdf5.examination import examined
from streamload.formats.hdf5.inspector import Inspector
from streamload.formats.hdf5.metadata import no_progress
from streamload.formats.hdf5.metadata_json import metadata_from_json, metadata_to_json
from streamload.formats.hdf5.request import Request
from streamload.formats.open import open_source
from streamload.storage.files import fingerprint

ROOT = Path(__file__).resolve().parents[3]
OPENED = "import sys, streamload; print(len(streamload.open(sys.argv[1])))"
SLOW = "The file is damaged, or its disk does not answer: fetch or write it again."
DAMAGED = "The file is damaged or was cut short: fetch or write it again."


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the library on the path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), **more}


def run(code: str, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that ran some code without a word on stderr."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GUARD_SECONDS, env=environment(**more))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library to be loaded before all others."""
    return misbehaving(tmp_path_factory.mktemp("shim"))


OPEN = """
import sys, time, streamload as sl
from time_limits import within
from streamload.formats.hdf5 import inspector as probing
probing.STILL_SECONDS = probing.ASLEEP_SECONDS = 1.5
began = time.monotonic()
try:
    sl.open(sys.argv[1])
except sl.StreamloadError as error:
    print(type(error).__name__, error, sep=": ", end="")
assert within(time.monotonic() - began, 30)
assert "h5py" not in sys.modules
assert sl.open(sys.argv[2])[7]["y"] == 14
"""
CRASHES = {
    "crash": "{path}: the HDF5 library crashed (SIGSEGV) while reading the header.",
    "abort": "{path}: the HDF5 library crashed (SIGABRT) while reading the header.",
    "leave": "{path}: the HDF5 library ended with status 7 while reading the header.",
    "hang": "{path}: the HDF5 library got nowhere in 1.5 s of waiting with what describes its data.",
    "spin": "{path}: the HDF5 library got nowhere in 1.5 s of processor time with what describes its data.",
}


@pytest.mark.parametrize("how", CRASHES)
def test_d20_a_file_that_kills_the_library_is_an_error_and_the_next_file_opens(how: str, shim: str, tmp_path: Path):
    """A crash, an abort, an exit and two ways to hang, below the library; the process that asked goes on."""
    path, good = tmp_path / f"{how}.h5", tmp_path / "good.h5"
    for one in (path, good):
        write(one, x=images(), y=np.arange(0, 200, 2))
    said = run(OPEN, path, good, LD_PRELOAD=shim).stdout
    assert said == f"CorruptDataError: {CRASHES[how].format(path=path)} {SLOW if how in ('hang', 'spin') else DAMAGED}"


def test_the_file_that_crashed_is_named_among_many(shim: str, tmp_path: Path):
    """Progress is kept outside the process that dies."""
    paths = [tmp_path / f"{number}.h5" for number in range(5)] + [tmp_path / "crash.h5", tmp_path / "last.h5"]
    for path in paths:
        write(path, x=images(), y=np.arange(0, 200, 2))
    code = OPEN.replace("sl.open(sys.argv[1])", f"sl.open({[str(path) for path in paths]})")
    assert run(code, "", paths[0], LD_PRELOAD=shim).stdout.startswith(f"CorruptDataError: {paths[5]}: the HDF5 library crashed (SIGSEGV)")


def test_an_out_of_memory_kill_is_told_from_damage(shim: str, tmp_path: Path):
    """SIGKILL is nothing that a file does."""
    write(tmp_path / "hang.h5", x=images(), y=np.arange(0, 200, 2))
    write(tmp_path / "good.h5", x=images(), y=np.arange(0, 200, 2))
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN.replace("1.5", "30"), tmp_path / "hang.h5", tmp_path / "good.h5"],
        env=environment(LD_PRELOAD=shim),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        child = grandchild(process.pid)
        os.kill(child, signal.SIGKILL)
        said, _ = process.communicate(timeout=GUARD_SECONDS)
    assert said == (
        f"ResourceError: {tmp_path / 'hang.h5'} was not looked at to the end: the process that looked at it was killed (SIGKILL). "
        "This is often the kernel's out-of-memory killer. Free memory on this machine, and open the file again."
    )


def children(pid: int) -> list[int]:
    """The children of a process's first thread."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def command(pid: int) -> bytes:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def grandchild(pid: int, seconds: float = 20) -> int:
    """The process that surveys for `pid`, as soon as there is one."""
    deadline = Deadline(seconds)
    while not deadline.passed:
        for inspector in children(pid):
            for child in children(inspector):
                time.sleep(0.2)
                if command(child) == command(inspector) != b"":  # what a library runs while it is loaded is soon gone
                    return child
        time.sleep(0.01)
    raise AssertionError("nobody surveys")


def test_neither_the_inspector_nor_its_child_outlives_the_user(shim: str, tmp_path: Path):
    """Killed in the middle of a survey that would never end."""
    write(tmp_path / "hang.h5", x=images())
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys, streamload as sl; sl.open(sys.argv[1])", tmp_path / "hang.h5"], env=environment(LD_PRELOAD=shim)
    )
    child = grandchild(process.pid)
    (inspector,) = children(process.pid)
    process.kill()
    process.wait()
    wait_for_end(child, inspector)


def wait_for_end(*pids: int) -> None:
    """Return once none of these processes runs; an error where that takes long."""
    deadline = Deadline(3.0)
    while any(map(alive, pids)):
        assert not deadline.passed
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_ctrl_c_ends_a_survey_at_once_and_the_next_one_works(shim: str, tmp_path: Path):
    """The interrupt reaches the user; nothing of the old survey is taken for the answer to the new one."""
    write(tmp_path / "hang.h5", x=images())
    write(tmp_path / "good.h5", x=images(), y=np.arange(0, 200, 2))
    code = """
import sys, streamload as sl
try:
    sl.open(sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", end="", flush=True)
assert sl.open(sys.argv[2])[7]["y"] == 14
"""
    command = [sys.executable, "-c", code, str(tmp_path / "hang.h5"), str(tmp_path / "good.h5")]
    process = subprocess.Popen(command, env=environment(LD_PRELOAD=shim), stdout=subprocess.PIPE, text=True, start_new_session=True)
    grandchild(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, said) == (0, "interrupted")


# What it costs, and what it leaves


def test_one_inspector_serves_every_file_and_is_replaced_when_it_dies(tmp_path: Path):
    """A few milliseconds a file after the first; killed, it is started again without a word."""
    write(tmp_path / "a.h5", x=images())
    open_source(tmp_path / "a.h5")
    first = Inspector._current
    assert first is not None
    for _ in range(20):
        open_source(tmp_path / "a.h5")
    assert Inspector._current is first
    os.kill(first.pid, signal.SIGKILL)
    wait_for_end(first.pid)
    open_source(tmp_path / "a.h5")
    assert Inspector._current is not first


def test_the_users_process_does_not_load_the_library_to_plan(tmp_path: Path):
    """Raw, gzip, and small fields that only the library can read: planned and opened without h5py here."""
    write(tmp_path / "raw.h5", x=images(), y=np.arange(0, 200, 2))
    write(
        tmp_path / "gzip.h5",
        x=(images(), {"chunks": (8, 7, 6, 3), "compression": "gzip"}),
        y=(np.arange(0, 200, 2), {"chunks": (10,), "scaleoffset": 0}),
    )
    code = """
import sys, streamload as sl
for path in sys.argv[1:]:
    with sl.Loader(sl.open(path), batch_size=10, num_workers=0) as loader:
        assert sorted(y for batch in loader for y in batch["y"].tolist()) == list(range(0, 200, 2))
assert "h5py" not in sys.modules
"""
    run(code, tmp_path / "raw.h5", tmp_path / "gzip.h5")


def test_a_forked_child_of_the_user_has_an_inspector_of_its_own(tmp_path: Path):
    """The parent's still answers the parent."""
    write(tmp_path / "a.h5", x=images())
    open_source(tmp_path / "a.h5")
    before = Inspector._current
    child = os.fork()
    if child == 0:
        try:
            good = Inspector._current is None and len(open_source(tmp_path / "a.h5")) == 100
            Inspector.shutdown()
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(open_source(tmp_path / "a.h5")) == 100
    assert Inspector._current is before


FALLBACK = """
import sys, warnings, streamload as sl
{prepare}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    assert len(sl.open(sys.argv[1])) == 100
print("h5py" in sys.modules, *(f"{{one.category.__name__}}: {{one.message}}" for one in said), sep="; ", end="")
"""
UNPROTECTED = (
    "True; RuntimeWarning: HDF5 files are looked at in your own process, where a damaged or hostile one can crash it: "
    "no separate process could do it ({why}). Open only files that you trust until that is mended."
)


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        ("sys.executable = ''", "no Python interpreter can be started: sys.executable is ''"),
        ("sys.frozen = True", f"no Python interpreter can be started: sys.executable is {sys.executable!r}"),
        ("sys.executable = '/nowhere/python'", "/nowhere/python cannot be run: No such file or directory"),
        ("sys.executable = '/bin/false'", "the process ended with status 1"),
        ("sys.path.insert(0, sys.argv[2])", "the process ended with status 1: ImportError: this one is broken"),
        ("import h5py, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))", "Too many open files"),
    ],
    ids=["no interpreter is known", "frozen", "cannot be run", "does not come up", "cannot import the library", "no descriptor is left"],
)
def test_where_no_process_can_be_started_this_one_looks_itself_and_says_so(prepare: str, why: str, tmp_path: Path):
    """An embedded interpreter, a broken one, and limits: opening works all the same, with a warning of three beats."""
    write(tmp_path / "a.h5", x=images(), y=np.arange(0, 200, 2))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "h5py.py").write_text("raise ImportError('this one is broken')")
    prepare = "import h5py; " * ("insert" in prepare) + prepare
    assert run(FALLBACK.format(prepare=prepare), tmp_path / "a.h5", broken).stdout == UNPROTECTED.format(why=why)


def test_a_deleted_working_folder_does_not_matter_to_absolute_paths(tmp_path: Path):
    """Where the program stands is gone; the file is not."""
    write(tmp_path / "a.h5", x=images(), y=np.arange(0, 200, 2))
    code = "import os, sys, streamload as sl; os.mkdir(sys.argv[2]); os.chdir(sys.argv[2]); os.rmdir(sys.argv[2]); "
    code += "print(len(sl.open(sys.argv[1])), 'h5py' in sys.modules, end='')"
    assert run("import warnings; warnings.simplefilter('error'); " + code, tmp_path / "a.h5", tmp_path / "gone").stdout == "100 False"


# What crosses


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_survey_crosses_as_plain_data(layout: str, tmp_path: Path):
    """Every layout: what is read is what was written."""
    LAYOUTS[layout](tmp_path / "a.h5")
    found = examined(Request.of([str(tmp_path / "a.h5")]), no_progress)
    again, more = metadata_from_json(np.frombuffer(b"".join(metadata_to_json(found, {"a": 1})), np.uint8))
    assert more == {"a": 1}
    assert (again.names, again.notes) == (found.names, found.notes)
    assert (found.files, found.records) == (again.files, again.records)
    for pieces, others in zip(found.fields, again.fields, strict=True):
        for piece, same in zip(pieces, others, strict=True):
            assert (piece.file, piece.stored) == (same.file, same.stored)
            assert (piece.index is None) == (same.index is None)
            if piece.index is not None and same.index is not None:
                for name in ("offsets", "nbytes", "masks"):
                    np.testing.assert_array_equal(getattr(piece.index, name), getattr(same.index, name))
    assert set(found.values) == set(again.values)
    for number, values in found.values.items():
        np.testing.assert_array_equal(values, again.values[number])


def test_every_damaged_byte_of_a_survey_is_noticed(tmp_path: Path):
    """Cut anywhere, or with any bit flipped: an error, and never another survey."""
    LAYOUTS["gzip"](tmp_path / "a.h5")
    data = b"".join(metadata_to_json(examined(Request.of([str(tmp_path / "a.h5")]), no_progress), {}))
    for place in range(0, len(data), 7):
        for bad in (data[:place], data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]):
            with pytest.raises(CorruptDataError, match="what was kept of a survey cannot be read"):
                metadata_from_json(np.frombuffer(bad, np.uint8))


def test_a_survey_that_lies_is_refused(tmp_path: Path):
    """A probe that a file has taken over can write anything: chunks behind the end, sources elsewhere, shapes without sense."""
    from dataclasses import replace

    LAYOUTS["gzip"](tmp_path / "a.h5")
    found = examined(Request.of([str(tmp_path / "a.h5")]), no_progress)
    images, labels = (pieces[0] for pieces in found.fields)
    index = images.index
    assert index is not None
    shorter = replace(index, offsets=index.offsets[1:], nbytes=index.nbytes[1:], masks=index.masks[1:])
    lies = [
        {"fields": ((replace(images, index=replace(index, offsets=index.offsets + 10**9)),), (labels,))},
        {"fields": ((replace(images, index=shorter),), (labels,))},
        {"fields": ((replace(images, stored=replace(images.stored, sources=("/etc/passwd",))),), (labels,))},
        {"fields": ((replace(images, stored=replace(images.stored, chunk=(0, 7, 6, 3))),), (labels,))},
        {"fields": ((images,), (replace(labels, stored=replace(labels.stored, offset=10**9)),))},
        {"fields": ((images,), (replace(labels, file=1),))},
        {"fields": ((images,), (labels, labels))},
        {"fields": ((images,),)},
        {"fields": ((replace(images, stored=replace(images.stored, dtype=np.dtype("O"))),), (labels,))},
        {"files": (*found.files, fingerprint("/etc/passwd"))},
        {"records": (-1,)},
    ]
    for lie in lies:
        data = np.frombuffer(b"".join(metadata_to_json(replace(found, **lie), {})), np.uint8)
        with pytest.raises(CorruptDataError, match="what was kept of a survey cannot be read"):
            metadata_from_json(data)


def test_h5py_in_the_users_process_is_not_disturbed(tmp_path: Path):
    """A file that the user has open for reading is surveyed beside it."""
    write(tmp_path / "a.h5", x=images())
    with h5py.File(tmp_path / "a.h5") as file:
        assert len(open_source(tmp_path / "a.h5")) == len(file["x"])


@pytest.mark.slow
def test_a_long_survey_says_on_a_terminal_how_far_it_is(tmp_path: Path) -> None:
    """A million chunks take more than a second the first time, and that is shown; from the cache they are there."""
    path, records = tmp_path / "many.h5", 1_000_000
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        chunks = file.create_dataset("image", shape=(records, 2, 2), dtype="u1", chunks=(1, 2, 2), compression="gzip").id
        stored = zlib.compress(bytes(4))
        for record in range(records):
            chunks.write_direct_chunk((record, 0, 0), stored)
    time.sleep(2.1)  # What was written a moment ago is not kept: it may be written to again at the same time of change.
    said = [on_a_terminal(path, environment(STREAMLOAD_CACHE_DIR=str(tmp_path / "cache"))) for _ in range(2)]
    assert re.search(r"Looking at many\.h5, [\d,]+ of 1,000,000 chunks", said[0])
    assert said[0].rstrip().endswith("\x1b[K1000000")
    assert said[1].strip() == "1000000"


def on_a_terminal(path: Path, env: dict[str, str]) -> str:
    """What a process that opens a file writes to its terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", OPENED, str(path)], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    said = b""
    try:
        while more := os.read(ours, 4096):
            said += more
    except OSError:
        pass  # What a terminal says when nobody is left at its other end.
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    return said.decode()
