"""Kill points swept over a worker's whole loop, the deadlock matrix, workers that are replaced, launchers that die."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from time_limits import within

from faults.conftest import Child, Server
from faults.test_workers import CLOSE_SECONDS, DEATH_SECONDS, crashed, whole

Start = Callable[..., Child]

POINTS = [
    "start",
    "open",
    "before_read",
    "mid_slot_write",
    "mid_block_decode",
    "after_write_before_publish",
    "after_publish",
    "idle",
    "close",
]
DEADLY = ["SIGKILL", "SIGSEGV", "SIGBUS", "exit0", "exit1"]
AFTER_WORK = ("after_publish", "idle")
"""Points at which all that was asked for may have been done: a death then harms nobody."""
WITHOUT_STEP = ("start", "open", *AFTER_WORK)
"""Points at which a worker holds no step: others may do all of them, whatever becomes of it."""


def count_of(point: str) -> int:
    """At which time a point is of interest: the second, where there is one."""
    return 1 if point in ("start", "open", "close") else 2


def file_of(point: str) -> str:
    return "gzip" if point == "mid_block_decode" else "raw"


@pytest.mark.parametrize("action", DEADLY)
@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_any_point_is_named_in_time(server: Server, point: str, action: str) -> None:
    """A1 to A8: every signal and status at every point; a death after the last answer, or at the end, harms nobody."""
    outcome = server.ask("swept", point=point, action=action, name=file_of(point), count=count_of(point))
    assert within(outcome["closing"], CLOSE_SECONDS)
    if point == "close":
        assert whole(outcome)
    elif not (point in WITHOUT_STEP and whole(outcome)):
        signal = action if action.startswith("SIG") else None
        crashed(outcome, signal=signal, status=None if signal else int(action[4:]))


@pytest.mark.parametrize("point", POINTS)
def test_an_exception_at_any_point_is_an_error_in_time(server: Server, point: str) -> None:
    """A fault in our own loop: within a task it is told as text, elsewhere the worker ends with a traceback and status 1."""
    outcome = server.ask("swept", point=point, action="raise", name=file_of(point), count=count_of(point), noisy=True)
    if point in ("before_read", "mid_slot_write", "mid_block_decode", "after_write_before_publish"):
        assert "WorkerError" in outcome["error"]["kinds"]
        assert f"a worker failed with RuntimeError: asked to fail at {point}" in outcome["error"]["text"]
        assert outcome["said"] == ""
    elif point == "close" or (point in WITHOUT_STEP and whole(outcome)):
        assert whole(outcome)
    else:
        crashed(outcome, status=1)
        assert f"asked to fail at {point}" in outcome["said"]


@pytest.mark.parametrize("action", ["SIGSTOP", "sleep60"])
@pytest.mark.parametrize("point", POINTS)
def test_a_stop_at_any_point_is_a_timeout_and_closing_takes_no_longer(server: Server, point: str, action: str) -> None:
    """A15, A17: stopped or asleep for good at every point."""
    outcome = server.ask("swept", point=point, action=action, name=file_of(point), count=count_of(point))
    assert within(outcome["closing"], CLOSE_SECONDS)
    if point == "close" or (point in WITHOUT_STEP and whole(outcome)):
        assert whole(outcome)
    else:
        assert "WorkerTimeoutError" in outcome["error"]["kinds"]
        assert within(outcome["seconds"], 0.3 + DEATH_SECONDS)
        assert outcome["wrong"] == 0
        assert outcome["alive"] == []


@pytest.mark.parametrize("name", ["raw", "gzip"])
@pytest.mark.parametrize("action", ["SIGKILL", "exit0"])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_once_is_replaced_and_nobody_notices(server: Server, point: str, action: str, name: str) -> None:
    """A21, G6: with on_worker_crash="restart" every epoch is whole, wherever a worker died."""
    assert whole(server.ask("swept", point=point, action=action, name=name, count=count_of(point), restart=True))


@pytest.mark.parametrize("what", ["crash", "exit", "error"])
@pytest.mark.parametrize("when", ["start", "task", "reply", "shutdown"])
def test_no_death_is_a_deadlock(server: Server, when: str, what: str) -> None:
    """CPython's matrix: whatever a worker does whenever, there is an outcome in time, and the next epoch of the loader is whole."""
    action = {"crash": "SIGSEGV", "exit": "exit1", "error": "raise"}[what]
    point, count = {
        "start": ("start", 1),
        "task": ("before_read", 1),
        "reply": ("after_write_before_publish", 2),
        "shutdown": ("close", 1),
    }[when]
    for outcome in server.ask("matrix", action=action, point=point, count=count, repeats=4, noisy=what == "error")["outcomes"]:
        assert within(outcome["seconds"], DEATH_SECONDS)
        assert whole(outcome["again"])
        assert whole(outcome["first"]) == (when == "shutdown")
        assert when == "shutdown" or "WorkerError" in outcome["first"]["error"]["kinds"]


@pytest.mark.parametrize("name", ["raw", "gzip"])
def test_a_replaced_worker_does_the_same_batch_byte_for_byte(server: Server, name: str) -> None:
    """A21, G6: order, images and what a transform draws are those of a run in which nobody died."""
    outcome = server.ask("replaced_once", name=name)
    assert outcome == {**outcome, "same": True, "order": True, "records": 96}


@pytest.mark.parametrize("name", ["raw", "gzip"])
def test_a_batch_that_two_workers_die_of_is_poison(server: Server, name: str) -> None:
    """A21: the second death is an error that names the records."""
    outcome = server.ask("poisoned", name=name)
    crashed(outcome, signal="SIGSEGV")
    error = outcome["error"]
    assert error["details"]["poison"] is True
    assert error["details"]["records"] == outcome["records"]
    assert error["batch_index"] == outcome["where"]
    assert f"as the worker before it had done with the same records ({', '.join(map(str, outcome['records']))})" in error["text"]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", ["raw", "gzip"])
def test_workers_that_are_killed_at_random_are_replaced(server: Server, name: str, workers: int) -> None:
    """G6: six times SIGKILL in the middle of epochs, every batch as it should be."""
    outcome = server.ask("killed_and_replaced", name=name, kills=6, workers=workers)
    assert (outcome["wrong"], outcome["whole"]) == (0, True)
    assert outcome["killed"] >= 6


@pytest.mark.parametrize("action", ["SIGKILL", "exit1"])
def test_workers_that_never_get_to_work_are_not_replaced_for_ever(server: Server, action: str) -> None:
    """A21: the third death in a row is an error that says so."""
    outcome = server.ask("killed_at_every_start", action=action)
    crashed(outcome, signal="SIGKILL" if action == "SIGKILL" else None, status=None if action == "SIGKILL" else 1)
    assert ", as 2 before it in its place had " in outcome["error"]["text"]
    assert outcome["error"]["details"]["poison"] is False


def test_a_policy_that_is_not_known_is_refused(server: Server) -> None:
    """The text says which are known."""
    error = server.ask("attempted", on_worker_crash="ignore")["error"]
    assert "ConfigError" in error["kinds"]
    assert error["text"] == 'on_worker_crash=\'ignore\' is not known. Give "raise" or "restart".'


@pytest.mark.parametrize("when", ["starting", "working", "idle", "stopped"])
def test_a_launcher_that_dies_is_named_and_the_next_loader_has_another(child: Start, when: str) -> None:
    """A19: while it starts, with workers at work, between loaders; and one that is stopped, which closing does not wait for."""
    outcome = child("launcher_dies", when=when).outcome()
    assert whole(outcome["later"])
    assert outcome["left"] == {}
    if when in ("starting", "working"):
        error = outcome["first"]["error"]
        assert "WorkerStartError" in error["kinds"]
        assert within(outcome["first"]["seconds"], DEATH_SECONDS)
        assert ("ended while it was starting, with status 1" if when == "starting" else "with status -9") in error["text"]
    if when == "working":
        assert whole(outcome["same loader"])
    if when == "stopped":
        assert within(outcome["closing"], CLOSE_SECONDS)
        assert "WorkerTimeoutError" in outcome["first"]["error"]["kinds"]


def test_a_mapped_file_that_shrinks_is_named(server: Server) -> None:
    """A5: SIGBUS, and what it came from; never a zero, never the death of the program; 10 times."""
    died = 0
    for outcome in server.ask("shrunk", repeats=10)["outcomes"]:
        error = outcome["error"]
        assert error is not None
        assert "shrank from " in error["text"]
        assert " to 4,096 bytes after it was opened" in error["text"]
        assert {"WorkerCrashedError", "SourceChangedError"} & set(error["kinds"])
        died += error.get("signal_name") == "SIGBUS"
    assert died > 0, "no worker died of it: the test does not show what it should"
