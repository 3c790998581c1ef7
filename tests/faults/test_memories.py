"""Section C: shared memory that is short, small, missing, kept, or written to by the wrong hands."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.conftest import Child, Server, gone
from faults.test_lives import ORPHAN_SECONDS, family
from faults.test_workers import whole

Start = Callable[..., Child]


def private_room(command: str) -> list[str]:
    """The start of a command that runs in a mount namespace of its own, where `command` has been done."""
    return ["unshare", "-rm", "sh", "-c", f'{command} && exec "$@"', "sh"]


def rooms_allowed() -> bool:
    """Whether this user may have namespaces."""
    return shutil.which("unshare") is not None and subprocess.run([*private_room("true"), "true"], capture_output=True).returncode == 0


in_rooms = pytest.mark.skipif(not rooms_allowed(), reason="user namespaces are not allowed here")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that makes calls of the C library fail."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, Path(__file__).parent / "shim.c", "-ldl"], check=True)
    return str(made)


@in_rooms
@pytest.mark.parametrize("options", ["size=1m", "size=64m,noexec", "ro"])
def test_the_size_of_dev_shm_does_not_matter(child: Start, options: str) -> None:
    """C1, C15: 1 MB, Docker's 64 MB, read-only."""
    one = child("in_a_small_room", before=private_room(f"mount -t tmpfs -o {options} tmpfs /dev/shm"), mount=options)
    outcome = one.outcome()
    assert whole(outcome)
    assert outcome["left"] == {}


@in_rooms
@pytest.mark.parametrize("room", ["size=1m", "size=64m", "ro"])
def test_without_memfd_shared_memory_is_a_file_that_nobody_can_see(child: Start, shim: str, room: str) -> None:
    """C1, C16: ENOSYS from memfd_create: /dev/shm where it is there, the temporary folder where it is not; too little is an error."""
    more = {"LD_PRELOAD": shim, "SHIM": "memfd_create"}
    outcome = child("attempted", before=private_room(f"mount -t tmpfs -o {room} tmpfs /dev/shm"), more=more, name="pages").outcome()
    assert outcome["left"] == {}
    if room == "size=1m":
        assert "ResourceError" in outcome["error"]["kinds"]
        assert "the ring of batches needs" in outcome["error"]["text"]
        assert "of memory, and the system does not give it" in outcome["error"]["text"]
        assert outcome["commands"] == []
    else:
        assert whole(outcome)


@in_rooms
@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": "50000000\n", "memory.current": "49999000\n", "memory.stat": "file 0\nshmem 0\n"},
        {
            "memory/memory.limit_in_bytes": "50000000\n",
            "memory/memory.usage_in_bytes": "49999000\n",
            "memory/memory.stat": "total_cache 0\ntotal_shmem 0\n",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_a_control_group_that_is_full_is_an_error_before_anything_is_read(child: Start, files: dict[str, str]) -> None:
    """C2: the kernel's files of a group that is full but for 1,000 bytes; a loader is refused with both numbers."""
    lines = Path("/proc/self/cgroup").read_text()
    if ("0::" if "memory.max" in files else ":memory:") not in lines:
        pytest.skip("this system has the other version of control groups")
    outcome = child("with_a_group", before=private_room("true"), files=files, memory="100 MB").outcome()
    assert "ResourceError" in outcome["error"]["kinds"]
    assert "The loader needs 16.8 KB" in outcome["error"]["text"]
    assert "this machine or its control group leaves 0 B free" in outcome["error"]["text"]
    assert outcome["error"]["details"]["available_nbytes"] == 0
    assert outcome["commands"] == []


@pytest.mark.parametrize("whole_session", [False, True], ids=["its group", "every process of its session"])
def test_a_group_that_is_killed_leaves_nothing(child: Start, whole_session: bool) -> None:
    """C3: SIGKILL to all at once: no process, and no name in /dev/shm."""
    one = child("running")
    pids = family(one)
    if whole_session:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    else:
        os.killpg(one.pid, signal.SIGKILL)
    one.wait()
    gone(pids, ORPHAN_SECONDS)
    assert not [name for name in os.listdir("/dev/shm") if "streamload" in name]
    assert os.listdir(one.private / "tmp") == []


def test_shared_memory_has_no_name_and_nobody_tracks_it(server: Server) -> None:
    """C4, C5, C6, C7: no entry in /dev/shm, no tracking process, no multiprocessing.shared_memory."""
    outcome = server.ask("no_names")
    assert not [name for name in outcome["names"] if "streamload" in name]
    assert not [command for command in outcome["commands"] if "resource_tracker" in command or "multiprocessing" in command]
    assert outcome["multiprocessing"] is False


@pytest.mark.parametrize("transformed", [False, True], ids=["stored records", "transformed records"])
def test_batches_that_are_kept_stay_as_they_were(server: Server, transformed: bool) -> None:
    """C8, C9: two epochs kept whole and looked at after close(): every byte right, all but three batches copies."""
    outcome = server.ask("kept", noisy=True, transformed=transformed)
    assert (outcome["batches"], outcome["wrong"]) == (24, 0)
    assert outcome["copies"] >= 20
    assert outcome["said"].count("UserWarning: You hold more than 3 batches at once") <= 1


def test_what_a_user_writes_into_a_batch_stays_in_it(server: Server) -> None:
    """C10: every array of every batch zeroed, over two epochs."""
    assert server.ask("written_by_the_user")["wrong"] == 0


@pytest.mark.parametrize("where", ["head", "canary"])
def test_a_slot_that_was_written_over_is_never_shown(server: Server, where: str) -> None:
    """C11, C12: the word that says whose bytes these are, and the word behind them."""
    outcome = server.ask("scribbled", where=where)
    assert outcome["wrong"] == 0
    assert "WorkerError" in outcome["error"]["kinds"]
    assert "does not hold what task" in outcome["error"]["text"]
    assert "wrote past the end of its array" in outcome["error"]["text"]
    assert outcome["again"] is True


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("larger", "uint8 (5, 4) for record 41, and uint8 (4, 4) for the first"),
        ("smaller", "uint8 (3, 4) for record 41, and uint8 (4, 4) for the first"),
        ("scalar", "uint8 () for record 41, and uint8 (4, 4) for the first"),
        ("other dtype", "float32 (4, 4) for record 41, and uint8 (4, 4) for the first"),
        ("object", "object (1,) for record 41, and uint8 (1,) for the first"),
    ],
)
def test_a_result_that_does_not_fit_its_slot_is_refused_with_both_sides(server: Server, how: str, words: str) -> None:
    """C12, C13, F7: before a byte of it is copied."""
    error = server.ask("odd", how=how)["error"]
    assert "SchemaMismatchError" in error["kinds"]
    assert words in error["text"]


def test_a_ragged_result_is_an_error(server: Server) -> None:
    """F7: lists of unlike lengths."""
    error = server.ask("odd", how="ragged")["error"]
    assert "StreamloadError" in error["kinds"]
    assert "inhomogeneous" in error["text"]


@pytest.mark.parametrize("workers", [0, 2])
def test_results_of_every_kind_arrive_to_the_bit(server: Server, workers: int) -> None:
    """F7, F8: turned, big-endian, scalars, booleans, complex numbers, text, infinities, and NaNs with their payload."""
    assert server.ask("strange", workers=workers)["wrong"] == 0


def test_a_loader_is_made_whole_or_not_at_all(server: Server) -> None:
    """C14: with 0, 1, 2, ... 40 descriptors left; what was opened on the way is closed again."""
    outcome = server.ask("every_descriptor", most=40)
    kinds = set(outcome["outcomes"])
    assert "whole" in kinds
    assert kinds <= {"whole", f"ResourceError {errno.EMFILE}", "SourceError None"}


def test_shared_memory_that_may_not_grow_is_an_error(server: Server) -> None:
    """C14: RLIMIT_FSIZE below the ring's size."""
    outcome = server.ask("small_files", nbytes=100_000)
    assert "ResourceError" in outcome["error"]["kinds"]
    assert outcome["error"]["errno"] == errno.EFBIG
    assert "the ring of batches needs" in outcome["error"]["text"]


def test_too_few_descriptors_are_an_error_before_any_worker(server: Server) -> None:
    """A26: RLIMIT_NOFILE of 64 and 30 workers: how many are needed, and how to have them."""
    outcome = server.ask("few_descriptors", workers=30, most=64)
    error = outcome["error"]
    assert "ResourceError" in error["kinds"]
    assert error["errno"] == errno.EMFILE
    assert "30 workers need about 102 descriptors" in error["text"]
    assert "its limit is 64" in error["text"]
    assert "ulimit -n 1024" in error["text"]
    assert len(outcome["commands"]) <= 1


def test_a_fork_that_fails_is_an_error_and_the_others_are_stopped(child: Start, shim: str, tmp_path: Path) -> None:
    """A25: EAGAIN from fork in the launcher, as under `ulimit -u`; a moment later all is well."""
    flag = tmp_path / "no-forks"
    one = child("refused_forks", more={"LD_PRELOAD": shim, "SHIM_FORK": str(flag)}, flag=str(flag))
    outcome = one.outcome()
    error = outcome["refused"]
    assert "ResourceError" in error["kinds"]
    assert error["errno"] == errno.EAGAIN
    assert "could not be started: Resource temporarily unavailable" in error["text"]
    assert "ulimit -u" in error["text"]
    assert whole(outcome["later"])
    assert outcome["left"] == {}


def test_a_clock_that_jumps_by_years_does_not_matter(child: Start, shim: str) -> None:
    """B24: at every look at the clock on the wall, in the program and in its workers."""
    assert whole(child("plain", more={"LD_PRELOAD": shim, "SHIM": "clock"}, timeout=5).outcome())
