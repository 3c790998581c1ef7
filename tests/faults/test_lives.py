"""Section B: how the user's process, its iterators and its loaders live and end."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from time_limits import within

from faults.conftest import ROOT, Child, Server, gone
from faults.test_workers import whole

Start = Callable[..., Child]

CLOSE_SECONDS, PROMPT_SECONDS, ORPHAN_SECONDS = 5.0, 5.0, 3.0


def family(child: Child) -> list[int]:
    """The processes of a child that is at work."""
    note = child.note("running")
    assert len(note["workers"]) == 2
    return [note["pid"], *note["workers"], note["launcher"]]


@pytest.mark.parametrize("file", ["raw", "gzip"])
def test_control_c_ends_the_program_at_once_with_one_traceback(child: Start, file: str) -> None:
    """B1: SIGINT to the whole group; workers are silent, and gone."""
    one = child("running", file=file)
    pids = family(one)
    began = time.monotonic()
    os.killpg(one.pid, signal.SIGINT)
    assert one.wait() == -signal.SIGINT
    assert within(time.monotonic() - began, PROMPT_SECONDS)
    gone(pids, ORPHAN_SECONDS)
    assert one.said.count("Traceback (most recent call last)") == 1
    assert one.said.rstrip().endswith("KeyboardInterrupt")


def test_a_second_control_c_while_closing_leaves_nothing(child: Start) -> None:
    """B2: two SIGINT 50 ms apart, a worker hanging."""
    one = child("closing_slowly")
    pids = family(one)
    for _ in range(2):
        os.killpg(one.pid, signal.SIGINT)
        time.sleep(0.05)
    assert one.wait() == -signal.SIGINT
    gone(pids, ORPHAN_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_polite_signal_to_the_program_alone_ends_its_workers(child: Start, number: signal.Signals) -> None:
    """B3: the default action, nothing said."""
    one = child("running")
    pids = family(one)
    os.kill(one.pid, number)
    assert one.wait() == -number
    gone(pids, ORPHAN_SECONDS)
    assert one.said == ""


@pytest.mark.parametrize("hang", ["", "python", "native", "native loop", "stopped", "deaf"])
def test_workers_end_with_their_program_however_it_dies_and_whatever_they_do(child: Start, hang: str) -> None:
    """B4, B5: SIGKILL to the program, with workers at work, hanging with the GIL held, or stopped."""
    one = child("running", hang=hang)
    pids = family(one)
    os.kill(one.pid, signal.SIGKILL)
    one.wait()
    gone(pids, ORPHAN_SECONDS)
    assert one.said == ""


@pytest.mark.slow
def test_workers_end_with_their_program_ten_times(child: Start) -> None:
    """B4: 10 times more, at any moment."""
    for number in range(10):
        one = child("running")
        pids = family(one)
        time.sleep(number * 0.005)
        os.kill(one.pid, signal.SIGKILL)
        one.wait()
        gone(pids, ORPHAN_SECONDS)


def test_workers_end_with_a_launcher_that_is_killed(child: Start) -> None:
    """B5: the launcher dies instead: workers go with it, and the program is told."""
    one = child("running", hang="native loop")
    pids = family(one)
    os.kill(pids[-1], signal.SIGKILL)
    gone(pids[1:], ORPHAN_SECONDS)
    one.process.kill()


def test_leaving_a_loop_early_loses_nothing(server: Server) -> None:
    """B6, B22: `break` at any step, 20 times, and the next epoch is whole, from the same workers."""
    outcome = server.ask("left_early", repeats=20)
    assert all(map(whole, outcome["outcomes"]))
    assert outcome["same workers"]


def test_iterators_and_loaders_that_are_dropped_leave_nothing(server: Server) -> None:
    """B7: 1,000 iterators and 100 loaders that nobody closed."""
    outcome = server.ask("dropped", iterators=1000, loaders=100)
    before, after = outcome["before"], outcome["after"]
    assert after["processes"] <= before["processes"]
    assert after["descriptors"] <= before["descriptors"] + 2
    assert after["maps"] <= before["maps"] + 10
    assert after["resident"] < before["resident"] + 8e6


@pytest.mark.parametrize(
    "how",
    [
        *("loader", "batch held", "cycle", "traceback", "worker hangs", "many loaders", "thread", "closing at exit"),
        *("thread in a pass", "thread in a pass without workers"),
    ],
)
def test_a_program_ends_well_with_a_loader_alive(child: Start, how: str) -> None:
    """B8, B9, B10, B16: exit code 0, nothing on stderr, workers gone, within 2 s (5 s with a worker that hangs)."""
    one = child("exiting", how=how)
    note = one.note("ended")
    status = one.wait()
    assert within(time.time() - note["at"], CLOSE_SECONDS)
    assert status == 0
    assert how == "thread" or one.said == "", "only a thread that makes loaders after the end of the program may have something to say"
    gone([*note["workers"], note["launcher"]], ORPHAN_SECONDS)


def test_no_thread_is_ever_started(server: Server) -> None:
    """B10, F6: neither in the user's process nor in workers, and libraries in workers are told to use one."""
    outcome = server.ask("threads")
    assert outcome["ours"] == 0
    assert outcome["python"] == ["MainThread"]
    assert outcome["workers"] == [1, 1]
    assert sorted(outcome["told"]) == [f"{name}_NUM_THREADS=1" for name in ("MKL", "NUMBA", "NUMEXPR", "OMP", "OPENBLAS")]


def test_a_second_iterator_ends_the_first_and_never_mixes_with_it(server: Server) -> None:
    """B11, B12: by name, in turn and nested."""
    outcome = server.ask("two_iterators")
    assert outcome["second"]
    for error in (outcome["first"], outcome["outer"]):
        assert "LoaderClosedError" in error["kinds"]
        assert "a newer iterator of the same loader began" in error["text"]
    assert outcome["inner"] == 12


@pytest.mark.parametrize("count", [2, 4])
def test_threads_that_share_an_iterator_get_each_batch_once(server: Server, count: int) -> None:
    """B13: ten epochs, each with every batch once."""
    assert server.ask("many_threads", count=count, noisy=True)["wrong"] == []


def test_a_closed_loader_says_so(server: Server) -> None:
    """B14, B16, C8: every use is a LoaderClosedError, closing again is nothing, and batches stay valid."""
    outcome = server.ask("used_after_close")
    assert len(outcome["told"]) == 4
    for error in outcome["told"]:
        assert "LoaderClosedError" in error["kinds"]
        assert "closed" in error["text"]
    assert outcome["fine"]
    assert outcome["position"] == 8
    assert outcome["pids"] == []


@pytest.mark.parametrize("how", ["signal", "thread"])
def test_a_loader_closes_under_a_call_that_waits(server: Server, how: str) -> None:
    """B16: from a handler of a signal, and from another thread: the call ends with a LoaderClosedError."""
    outcome = server.ask("closed_from_elsewhere", how=how)
    assert "LoaderClosedError" in outcome["error"]["kinds"]
    assert within(outcome["seconds"], 0.5 + CLOSE_SECONDS)
    assert within(outcome["closing"], 0.5)


@pytest.mark.parametrize("abrupt", [False, True], ids=["sys.exit", "os._exit"])
def test_a_fork_of_the_program_cannot_touch_the_loader(child: Start, abrupt: bool) -> None:
    """B17: 12 forks in the middle of an epoch: the copy is inert, may make a loader of its own, and ends in silence."""
    outcome = child("forked", abrupt=abrupt).outcome()
    assert outcome["wrong"] == 0
    assert outcome["alive"] == 2
    assert outcome["left"] == {}
    for one in outcome["children"]:
        assert one["status"] == 0
        assert "this loader belongs to the process that made it, not to a fork of it" in one["said"]["text"]
    assert whole(outcome["children"][0]["said"]["own"])


def test_forks_of_a_busy_program_read_what_is_there(child: Start) -> None:
    """B18, B19: a thread in h5py and one in a loader while this process forks; sources opened before go on working."""
    outcome = child("forked_while_busy", forks=6).outcome()
    assert outcome["left"] == {}
    for one in outcome["children"]:
        assert one == {"said": {"direct": True, "taken": True, "inline": True}, "status": 0}


def test_workers_inherit_no_file_of_the_program(server: Server) -> None:
    """B19: they open the source's files themselves, and have no other."""
    assert server.ask("inherited")["files"] == ["raw.h5"]


@pytest.mark.parametrize("scenario", ["beside_arrow", "beside_numba"])
def test_threads_of_other_libraries_do_not_matter(child: Start, scenario: str) -> None:
    """B20, B21: their pools are up before workers start; our own kernels are not parallel."""
    outcome = child(scenario).outcome()
    assert whole(outcome)
    assert outcome.get("parallel", []) == []
    assert outcome.get("kernels", 5) > 3


def test_an_epoch_that_failed_leaves_the_next_alone(server: Server) -> None:
    """B15, B22: the error stays with its iterator, and no reply of it reaches a later epoch."""
    outcome = server.ask("an_error_and_on")
    failed, *rest = outcome["outcomes"]
    assert "ValueError" in failed["error"]["kinds"]
    assert failed["again"] is True
    assert all(map(whole, rest))
    assert outcome["same workers"]


@pytest.mark.parametrize("all_of_them", [False, True], ids=["the program", "all processes"])
def test_time_in_which_nobody_could_work_is_not_a_hang(child: Start, all_of_them: bool) -> None:
    """B23: stopped for twice the timeout, as a debugger or a paused container does it."""
    one = child("stopped_for_long", whole=all_of_them)
    pids = family(one)
    stopped = pids if all_of_them else pids[:1]
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in stopped:
            os.kill(pid, number)
        time.sleep(2.5 if number == signal.SIGSTOP else 0)
    assert all(map(whole, one.outcome()["outcomes"]))


def test_no_decision_looks_at_the_clock_on_the_wall() -> None:
    """B24: time.time and datetime occur nowhere in the library, but where the age of kept files is looked at."""
    for path in set((ROOT / "streamload").rglob("*.py")) - {ROOT / "streamload/storage/disk_cache.py"}:
        assert not re.search(r"\btime\.time(_ns)?\(|datetime\.(now|today|utcnow)|CLOCK_REALTIME", Path(path).read_text()), path


def test_the_memory_of_workers_is_flat(server: Server) -> None:
    """B25: private memory after 60 epochs is what it was after 5, within 5 % and 1 MB."""
    outcome = server.ask("private_memory", epochs=60)
    for before, after in zip(outcome["before"], outcome["after"], strict=True):
        assert after < 1.05 * before + 1e6


def test_randomness_depends_on_the_record_and_not_on_the_worker(server: Server) -> None:
    """B26: no two draws are alike, and 0, 1 and 3 workers draw the same."""
    outcome = server.ask("randomness")
    assert outcome["same"]
    assert outcome["own"] == outcome["global"] == outcome["drawn"] == 192
