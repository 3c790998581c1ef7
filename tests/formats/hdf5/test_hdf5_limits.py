"""What opening costs grows with what is there, and limits of this machine are not a file's damage."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import WRITTEN, images, write
from time_limits import Deadline

from streamload.formats.hdf5.examination import examined
from streamload.formats.hdf5.metadata import no_progress
from streamload.formats.hdf5.request import Request
from streamload.formats.hdf5.stillness import Stillness
from streamload.formats.open import open_source


def members(path: Path, count: int, **keywords: object) -> None:
    """A compound of many members."""
    table = np.zeros(4000, np.dtype([("image", "u1", (80,)), *((f"m{number}", "f8") for number in range(count))]))
    chance = np.random.default_rng(0)
    for number in range(count):
        table[f"m{number}"] = chance.random(4000)
    table["m4"] = np.arange(4000)
    write(path, table=(table, keywords))


def calls(action: Callable[[], object]) -> int:
    """How many functions an action calls, which is the same on every machine."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return counted


def groups(path: Path, count: int) -> None:
    """Small groups, each with a dataset."""
    write(path, **{f"g{number}/x": np.zeros((2, 3)) for number in range(count)}, long=np.zeros((3, 3000)))


@pytest.mark.parametrize(
    "written",
    [
        lambda path, count: write(path, **{f"f{number}": np.zeros(5) for number in range(count)}),
        groups,
        members,
        lambda path, count: members(path, count, chunks=(500,), compression="gzip"),
    ],
    ids=["fields", "groups", "members", "members in gzip"],
)
def test_opening_is_linear(written: Callable[[Path, int], object], tmp_path: Path):
    """Twice as many cost twice as much at most, in the process that inspects and in the user's."""
    costs: list[int] = []
    for count in (5, 20, 60, 120):  # the first imports what all need
        path = tmp_path / f"{count}.h5"
        written(path, count)
        costs.append(calls(lambda path=path: examined(Request.of([str(path)]), no_progress)) + calls(lambda path=path: open_source(path)))
    assert (costs[3] - costs[2]) / 60 <= 1.5 * (costs[2] - costs[1]) / 40


def test_members_of_a_compound_are_read_once_together(tmp_path: Path):
    """Not once a member: in gzip by the HDF5 library, which alone reads those, and raw by offset."""
    for keywords in ({"chunks": (500,), "compression": "gzip"}, {}):
        path = tmp_path / "a.h5"
        members(path, 84, **keywords)
        before = read_nbytes()
        if keywords:
            examined(Request.of([str(path)]), no_progress)
        data = open_source(path)
        assert read_nbytes() - before < 20_000_000  # of 3 MB; once a member is 250
        np.testing.assert_array_equal(data[:]["table.m4"], np.arange(4000.0))
        path.unlink()


def read_nbytes() -> int:
    """Bytes that this process has read, from wherever."""
    return int(Path("/proc/self/io").read_text().split()[1])


OPEN = """
import resource, sys, warnings, streamload as sl
warnings.simplefilter("error")
{prepare}
try:
    print(len(sl.open(sys.argv[1])), end="")
except sl.StreamloadError as error:
    print(type(error).__name__, error, end="")
"""


def opened(path: Path, prepare: str) -> str:
    """What a process says that opens a file under limits of its own."""
    done = subprocess.run([sys.executable, "-c", OPEN.format(prepare=prepare), path], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "limit",
    ["resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))", "resource.setrlimit(resource.RLIMIT_CPU, (9, 9))"],
    ids=["ulimit -v", "ulimit -t"],
)
def test_limits_that_stand_already_are_kept(limit: str, tmp_path: Path):
    """Lower than ours: they cannot be raised, and need not be."""
    write(tmp_path / "a.h5", x=images(), y=np.arange(0, 200, 2))
    assert opened(tmp_path / "a.h5", limit) == "100"


def test_a_limit_that_is_too_low_is_no_damage(tmp_path: Path):
    """The index of 60 million chunks takes 1.2 GB; the file is sound."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file.create_dataset("x", (60_000_000,), "u1", chunks=(1,), compression="gzip")[5] = 1
    assert opened(path, "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))") == (
        f"ResourceError {path} cannot be looked at: the memory that a process may address is limited to 1 GB, most of which is taken by "
        "libraries. Raise the limit (`ulimit -v`), or lift it: the file's size does not matter to it."
    )


@pytest.mark.parametrize(
    ("code", "stopped", "verdict"),
    [
        ("while True: pass", False, "in 0.3 s of processor time"),
        ("import time; time.sleep(60)", False, "in 0.3 s of waiting"),
        ("while True: pass", True, ""),
    ],
    ids=["spins", "waits", "gets no processor"],
)
def test_stillness_is_told_by_a_processs_own_time(code: str, stopped: bool, verdict: str):
    """What a process is not given on a busy machine is not held against it."""
    with subprocess.Popen([sys.executable, "-S", "-c", f"print(flush=True)\n{code}"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        if stopped:
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
        watch = Stillness(time.monotonic(), busy_seconds=0.3, asleep_seconds=0.3)
        deadline = Deadline(1.0 if stopped else 60.0)
        watch.look(time.monotonic(), moved=True, pid=process.pid)
        while not watch.verdict() and not deadline.passed:
            time.sleep(0.02)
            watch.look(time.monotonic(), moved=False, pid=process.pid)
        process.kill()
        assert watch.verdict() == verdict
        watch.look(time.monotonic(), moved=True, pid=process.pid)
        assert watch.verdict() == ""


def test_limits_of_this_process_are_not_touched(tmp_path: Path):
    """Ours are the child's alone."""
    before = resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CPU), resource.getrlimit(resource.RLIMIT_CORE)
    write(tmp_path / "a.h5", x=images())
    open_source(tmp_path / "a.h5")
    assert before == (
        resource.getrlimit(resource.RLIMIT_AS),
        resource.getrlimit(resource.RLIMIT_CPU),
        resource.getrlimit(resource.RLIMIT_CORE),
    )
