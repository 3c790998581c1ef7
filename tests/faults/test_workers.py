"""Section A: workers that die, stop, hang and fail, by real signals and real exceptions.

What may depend on the moment is repeated; `STREAMLOAD_FAULT_REPEATS=4` repeats it four times as often.
"""

from __future__ import annotations

import os

import pytest
from time_limits import within

from faults.conftest import Server

pytestmark = pytest.mark.timeout(900)

DEATH_SECONDS, HANG_SECONDS, CLOSE_SECONDS = 2.0, 2.0, 5.0
REPEATS = float(os.environ.get("STREAMLOAD_FAULT_REPEATS", "1"))
KILLS = ("before_read", "mid_slot_write", "after_write_before_publish")


def times(count: int) -> int:
    """How often something is repeated in this run, of which a usual one repeats it `count` times."""
    return max(1, round(count * REPEATS))


def whole(outcome: dict) -> bool:
    """Whether an epoch came to its end, with every batch as it should be."""
    return (outcome["error"], outcome["delivered"], outcome["wrong"]) == (None, 12, 0)


def crashed(outcome: dict, *, signal: str | None = None, status: int | None = None) -> None:
    """A WorkerCrashedError in time, after nothing but right batches; the iterator stays failed and no worker runs on."""
    error = outcome["error"]
    assert error is not None, outcome
    assert "WorkerCrashedError" in error["kinds"], error
    assert outcome["wrong"] == 0
    assert outcome["again"] in (True, "no iterator")
    assert outcome["alive"] == []
    assert within(outcome["seconds"], DEATH_SECONDS)
    how = f"was killed by {signal}" if signal else f"exited with status {status}"
    assert f"(pid {error['pid']}) {how} " in error["text"]
    assert (error["signal_name"], error["exitcode"] if status is not None else status) == (signal, status)


@pytest.mark.parametrize("name", ["raw", "gzip"])
@pytest.mark.parametrize("point", KILLS)
def test_a_worker_killed_at_any_point_of_a_step_is_named_and_its_bytes_are_never_shown(server: Server, point: str, name: str) -> None:
    """A1, A2: SIGKILL before reading, half-way through a slot, and before the slot is announced; 10 times each."""
    for outcome in server.ask("killed", name=name, kill=f"{point}:SIGKILL:3", repeats=times(10))["outcomes"]:
        crashed(outcome, signal="SIGKILL")
        assert "while preparing batch" in outcome["error"]["text"]
        assert f"of epoch 0 ({name}.h5). This is often the kernel's out-of-memory killer" in outcome["error"]["text"]
        assert outcome["error"]["files"][0].endswith(f"{name}.h5")


def test_a_worker_killed_from_outside_is_named(server: Server) -> None:
    """A1: SIGKILL at any moment to any of three workers, 10 times."""
    for outcome in server.ask("killed_from_outside", repeats=times(10))["outcomes"]:
        crashed(outcome, signal="SIGKILL")
        assert outcome["error"]["pid"] == outcome["victim"]


@pytest.mark.slow
def test_a_worker_that_dies_before_it_answers_holds_nothing_that_another_needs(server: Server) -> None:
    """A3: 50 times between write and answer, where a shared queue's lock would stay held."""
    for outcome in server.ask("killed", kill="after_write_before_publish:SIGKILL:2", repeats=times(50))["outcomes"]:
        crashed(outcome, signal="SIGKILL")


@pytest.mark.parametrize(
    ("action", "signal", "words"),
    [
        ("read at address 0", "SIGSEGV", "Segmentation fault"),
        ("os.abort()", "SIGABRT", "Aborted"),
        ("overflow", "SIGSEGV", "Segmentation fault"),
    ],
)
def test_a_native_crash_comes_with_where_it_happened(server: Server, action: str, signal: str, words: str) -> None:
    """A4, A6, A14: SIGSEGV, SIGABRT and a native stack overflow in a transform."""
    for outcome in server.ask("failing", action=action, repeats=3)["outcomes"]:
        crashed(outcome, signal=signal)
        assert words in outcome["error"]["native_traceback"]
        assert whole(outcome["next"]), "a new epoch of the same loader has new workers"


@pytest.mark.parametrize(
    ("action", "status"),
    [("os._exit(0)", 0), ("sys.exit(0)", 0), ("os._exit(123)", 123), ("sys.exit(123)", 123), ("sys.exit('text')", 1)],
)
def test_a_worker_that_leaves_is_a_crash_whatever_its_status(server: Server, action: str, status: int) -> None:
    """A7, A8: a transform that ends the process, with success or without; 5 times."""
    for outcome in server.ask("failing", action=action, repeats=times(5))["outcomes"]:
        crashed(outcome, status=status)
        assert "look for os._exit or sys.exit" in outcome["error"]["text"]
        assert whole(outcome["next"])


def failed(outcome: dict, kind: str) -> None:
    """A TransformError that is also one of the user's kind, after every earlier batch; workers live on and work on."""
    error = outcome["error"]
    assert error is not None, outcome
    assert "TransformError" in error["kinds"]
    assert kind in error["kinds"]
    assert outcome["delivered"] == outcome["where"]
    assert outcome["wrong"] == 0
    assert outcome["again"] is True
    assert within(outcome["seconds"], DEATH_SECONDS)
    assert whole(outcome["next"])
    assert outcome["same workers"]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_in_a_transform_names_its_record_after_the_batches_before_it(server: Server, workers: int) -> None:
    """A9: a ValueError, 5 times."""
    for outcome in server.ask("failing", action="ValueError", repeats=times(5), workers=workers)["outcomes"]:
        failed(outcome, "ValueError")
        assert "the transform failed on record 41 with ValueError: not this record" in outcome["error"]["text"]
        assert "in transform" in outcome["error"]["notes"]
        assert outcome["error"]["details"]["batch_index"] == outcome["where"]


@pytest.mark.parametrize(
    ("action", "kind", "text"),
    [
        ("Unpicklable", "TransformError", "Unpicklable: holds a lock"),
        ("ExitsWhenPickled", "ExitsWhenPickled", "ExitsWhenPickled: do not pickle"),
        ("Unprintable", "ValueError", "<unprintable Unprintable>"),
        ("Defiant", "ValueError", "<unprintable Defiant>"),
        ("Demanding", "KeyError", "1 and 2"),
        ("endless", "ValueError", "characters left out"),
        ("UnicodeDecodeError", "UnicodeError", "can't decode byte 0xff"),
        ("RecursionError", "RecursionError", "recursion"),
    ],
)
def test_a_hostile_exception_arrives_as_text(server: Server, action: str, kind: str, text: str) -> None:
    """A10, A11: exceptions that do not pickle, kill their pickler, cannot be printed, or have 100 MB to say."""
    for outcome in server.ask("failing", action=action, repeats=3)["outcomes"]:
        failed(outcome, kind)
        assert text in outcome["error"]["text"]
        assert len(outcome["error"]["text"]) < 600_000


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("action", ["KeyboardInterrupt", "GeneratorExit", "StopIteration", "StopAsyncIteration"])
def test_an_exception_that_means_something_to_python_means_nothing_here(server: Server, action: str, workers: int) -> None:
    """A12: it is a TransformError and nothing else, so that no loop ends in silence and no program by mistake; 5 times."""
    for outcome in server.ask("failing", action=action, repeats=times(5), workers=workers)["outcomes"]:
        failed(outcome, "TransformError")
        assert action not in outcome["error"]["kinds"]
        assert f"with {action}" in outcome["error"]["text"]


@pytest.mark.parametrize("action", ["MemoryError", "MemoryLimit"])
def test_a_worker_survives_a_lack_of_memory_in_a_transform(server: Server, action: str) -> None:
    """A13: an array too large, and a limit on the worker's own address space."""
    for outcome in server.ask("failing", action=action)["outcomes"]:
        failed(outcome, "MemoryError")
        assert "Unable to allocate" in outcome["error"]["text"]


def timed_out(outcome: dict, timeout: float) -> None:
    error = outcome["error"]
    assert error is not None, outcome
    assert "WorkerTimeoutError" in error["kinds"]
    assert "TimeoutError" in error["kinds"]
    assert outcome["wrong"] == 0
    assert outcome["again"] is True
    assert timeout <= outcome["seconds"]
    assert within(outcome["seconds"], timeout + HANG_SECONDS)
    assert outcome["alive"] == []
    assert within(outcome["closing"], CLOSE_SECONDS)
    assert f"within {timeout:g} s (raw.h5)" in error["text"]


@pytest.mark.parametrize(
    ("how", "repeats", "stack"),
    [
        ("python", 20, "in <lambda>"),
        ("native", 2, "in _sleep_held"),
        ("native loop", 2, "in <lambda>"),
        ("deaf", 2, None),
        ("stopped", 2, None),
    ],
)
def test_a_worker_that_hangs_is_an_error_that_says_where(server: Server, how: str, repeats: int, stack: str | None) -> None:
    """A15, A16, A17: hanging in Python, in native code with the GIL held, deaf to signals, and stopped."""
    for outcome in server.ask("hanging", how=how, repeats=repeats, timeout=0.3)["outcomes"]:
        timed_out(outcome, 0.3)
        if stack:
            assert stack in outcome["error"]["stack"]
            assert outcome["error"]["stack"] in outcome["error"]["text"]
        else:
            assert "It does not say where it is: it may be stopped, or wait for a disk." in outcome["error"]["text"]


@pytest.mark.parametrize("how", ["python", "native", "native loop", "deaf", "stopped"])
def test_a_loader_closes_in_time_whatever_its_workers_do(server: Server, how: str) -> None:
    """A16, A17: close() kills after the grace time; a handler in Python would never run."""
    assert within(server.ask("closing_on_a_hang", how=how)["closing"], CLOSE_SECONDS)


def test_slow_is_not_stuck(server: Server) -> None:
    """A18: every step takes half of the timeout; stats show that it was waited for."""
    outcome = server.ask("slow")
    assert (outcome["error"], outcome["delivered"], outcome["wrong"]) == (None, 6, 0)
    assert outcome["waited"] > 0.5


def test_workers_that_cannot_begin_are_a_start_error(server: Server) -> None:
    """A19: a transform whose module the workers cannot import."""
    outcome = server.ask("missing_module")
    assert "WorkerStartError" in outcome["error"]["kinds"]
    assert "No module named 'only_here'" in outcome["error"]["text"]
    assert within(outcome["seconds"], DEATH_SECONDS)


@pytest.mark.parametrize("what", ["lock", "open file", "h5py file", "h5py dataset"])
def test_a_transform_that_cannot_travel_is_refused_at_once(server: Server, what: str) -> None:
    """A20: the error names the attribute."""
    error = server.ask("unpicklable", what=what)["error"]
    assert "ConfigError" in error["kinds"]
    assert error["text"].startswith("transform.held['image'] (" if what == "h5py file" else "transform.held (")
    assert "cannot be sent to worker processes" in error["text"]


def test_lambdas_closures_and_functions_of_the_main_module_travel(server: Server) -> None:
    """A20: what loaders elsewhere refuse."""
    assert server.ask("lambdas")["total"] == 5 * 96


def test_one_error_tells_of_all_workers_that_died_together(server: Server) -> None:
    """A22: three workers killed at one moment."""
    outcome = server.ask("all_killed")
    error = outcome["error"]
    assert "WorkerCrashedError" in error["kinds"]
    assert error["signal_name"] == "SIGKILL"
    assert sorted(error["details"]["dead"]) == sorted(outcome["pids"])
    assert "; 2 more died with it" in error["text"]
    assert within(outcome["seconds"], DEATH_SECONDS)


def test_what_a_transform_starts_does_not_outlive_its_worker(server: Server) -> None:
    """A23: a process and a thread that would run for ten minutes."""
    outcome = server.ask("with_children")
    assert whole(outcome)
    assert outcome["seen"] >= 1
    assert within(outcome["closing"], CLOSE_SECONDS)


def test_standard_streams_carry_nothing_of_ours(server: Server) -> None:
    """A24: a transform closes descriptors 0 to 2, another fills stdout with garbage."""
    for outcome in server.ask("without_standard_streams")["outcomes"]:
        assert whole(outcome)
