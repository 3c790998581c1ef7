"""Sweeps over kill points, workers that are replaced, launchers that die, files that shrink, and kernels that are missing."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import driver
import numpy as np
from scenarios.transforms import BAD, bad

QUIET = ("SIGSTOP", "sleep60")
"""Actions that only a timeout ends."""


def swept(point: str, action: str, name: str, restart: bool = False, count: int = 1) -> dict[str, Any]:
    """One action at one point of a worker's loop, with a short timeout where the action is to do nothing.

    Which worker comes to a point of a step is not settled: steps go to whoever is first.
    """
    driver.ask_to_die(f"{point}:{action}:{count}")
    loader = driver.loader_of(name, timeout=0.3 if action in QUIET else 20.0, on_worker_crash="restart" if restart else "raise")
    outcome = driver.watch(loader, name)
    began = time.monotonic()
    loader.close()
    return {**outcome, "closing": time.monotonic() - began}


def matrix(action: str, point: str, count: int, repeats: int) -> dict[str, Any]:
    """One cell of the deadlock matrix: no outcome matters but that there is one, in time, and the same loader works again."""
    outcomes = []
    for _ in range(repeats):
        driver.ask_to_die(f"{point}:{action}:{count}")
        began = time.monotonic()
        loader = driver.loader_of("gzip")
        first = driver.watch(loader, "gzip")
        again = driver.watch(loader, "gzip")
        loader.close()
        outcomes.append({"first": first, "again": again, "seconds": time.monotonic() - began})
    return {"outcomes": outcomes}


def replaced_once(name: str) -> dict[str, Any]:
    """A transform that kills its worker the first time it meets a record: another worker does the same batch."""
    peace = os.path.join(tempfile.gettempdir(), "peace")

    def die() -> None:
        Path(peace).touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def change(record: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
        return {**guarded(record), "drawn": random.random()}

    guarded = bad(die, peace)
    drawn = []
    for policy in ("restart", "raise"):
        loader = driver.loader_of(name, transform=change, on_worker_crash=policy)
        got = [(batch.records.tolist(), batch["image"].copy(), batch["drawn"].tolist()) for batch in loader]
        busy = loader.stats.records
        loader.close()
        drawn.append([(records, image.tobytes(), random) for records, image, random in got])
    os.unlink(peace)
    return {"same": drawn[0] == drawn[1], "order": [records for records, _, _ in drawn[0]] == driver.order_of(name, 0), "records": busy}


def poisoned(name: str) -> dict[str, Any]:
    """A transform that kills every worker which meets a record."""
    loader = driver.loader_of(name, transform=bad(lambda: os.kill(os.getpid(), signal.SIGSEGV)), on_worker_crash="restart")
    outcome = driver.watch(loader, name)
    loader.close()
    epoch = outcome["error"]["epoch"]  # Of two that are asked for ahead, the next may be the first whose second worker dies.
    where = next(k for k, batch in enumerate(driver.order_of(name, epoch)) if BAD in batch)
    return {**outcome, "where": where, "records": driver.order_of(name, epoch)[where]}


def killed_and_replaced(name: str, kills: int, workers: int) -> dict[str, Any]:
    """Workers are killed at random, every few dozen batches, which is more than are asked for ahead: each epoch is whole."""
    loader = driver.loader_of(
        name, transform=lambda record: (time.sleep(0.0003), record)[1], num_workers=workers, on_worker_crash="restart"
    )
    random = np.random.default_rng(1)
    wrong, delivered, killed, due = 0, 0, 0, 30
    for epoch in loader.epochs(1000):
        expected = driver.order_of(name, epoch.index)
        for batch in epoch:
            wrong += not driver.right(batch, name, expected[batch.step])
            delivered += 1
            if delivered >= due:
                victim = int(random.choice(loader.worker_pids))
                if driver.living(victim):
                    os.kill(victim, signal.SIGKILL)
                    killed += 1
                due += int(random.integers(30, 40))
        if killed >= kills:
            break
    loader.close()
    return {"wrong": wrong, "whole": delivered == 12 * (epoch.index + 1), "killed": killed}


def killed_at_every_start(action: str) -> dict[str, Any]:
    """No worker ever gets to work."""
    driver.ask_to_die(f"start:{action}:*")
    loader = driver.loader_of(on_worker_crash="restart")
    outcome = driver.watch(loader)
    loader.close()
    return outcome


def await_no_launcher() -> None:
    """A process that was killed takes a moment to be dead."""
    while driver.launcher_pid() is not None:
        time.sleep(0.01)


def launcher_dies(when: str) -> dict[str, Any]:
    """The launcher is killed: in the middle of an epoch, or between loaders. What a loader says, and whether the next one works."""
    outcome: dict[str, Any] = {}
    if when == "starting":
        os.environ["STREAMLOAD_TEST_KILL"] = "import:exit1"
        loader = driver.loader_of("gzip")  # Raw records would be read without workers meanwhile.
        outcome["first"] = driver.watch(loader, "gzip")
        loader.close()
        del os.environ["STREAMLOAD_TEST_KILL"]
    elif when == "working":
        loader = driver.loader_of(transform=lambda record: (time.sleep(0.005), record)[1])
        next(iter(loader))
        os.kill(driver.launcher_pid(), signal.SIGKILL)
        outcome["first"] = driver.watch(loader, epoch=1)
        outcome["same loader"] = driver.watch(loader)
        loader.close()
    elif when == "idle":
        driver.loader_of().close()
        os.kill(driver.launcher_pid(), signal.SIGKILL)
        await_no_launcher()
    elif when == "stopped":
        loader = driver.loader_of("gzip", timeout=1.0)
        next(iter(loader))
        pid = driver.launcher_pid()
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        loader.close()
        outcome["closing"] = time.monotonic() - began
        began = time.monotonic()
        loader = driver.loader_of("gzip", timeout=1.0)
        outcome["first"] = driver.watch(loader, "gzip")
        loader.close()
        os.kill(pid, signal.SIGKILL)
        await_no_launcher()
    outcome["later"] = driver.watch(loader := driver.loader_of())
    loader.close()
    return outcome


def shrunk(repeats: int) -> dict[str, Any]:
    """A file that is mapped is cut short while a worker is about to read it."""
    import shutil

    outcomes = []
    for _ in range(repeats):
        shutil.copy("pages.h5", "shrinking.h5")
        driver.ask_to_die("before_read:sleep0.2:4:0")
        loader = driver.loader_of("shrinking", io="mmap", num_workers=1, shuffle=False)
        iterator = iter(loader)
        next(iterator)
        time.sleep(0.1)
        os.truncate("shrinking.h5", 4096)
        try:
            for _ in iterator:
                pass
            outcomes.append({"error": None})
        except Exception as error:
            outcomes.append({"error": driver.told(error)})
        loader.close()
        os.unlink("shrinking.h5")
    return {"outcomes": outcomes}


def cache_folders() -> dict[str, Any]:
    """Where compiled kernels go, by who owns and may write the folder that was asked for."""
    from streamload.kernels import cache_folder

    found = {}
    root = Path(tempfile.mkdtemp())
    for name, mode, owner in (("good", 0o700, None), ("group", 0o770, None), ("all", 0o777, None), ("other's", 0o700, 65534)):
        os.environ["STREAMLOAD_CACHE_DIR"] = str(root / name)
        folder = cache_folder()
        assert folder is not None
        assert folder.is_relative_to(root / name)
        folder.chmod(mode)
        if owner is not None and os.getuid() == 0:
            os.chown(folder, owner, owner)
        elif owner is not None:
            continue
        again = cache_folder()
        found[name] = None if again is None else again == folder
    import shutil

    del os.environ["STREAMLOAD_CACHE_DIR"]
    shutil.rmtree(root)
    return {"folders": found}


def epoch_in(name: str = "raw", **options: Any) -> dict[str, Any]:
    """An ordinary epoch, with every warning that it gives and the folders that it leaves in the temporary one."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        loader = driver.loader_of(name, **options)
        outcome = driver.watch(loader, name)
        loader.close()
    return {**outcome, "warnings": [str(warning.message) for warning in given]}


def without_numba() -> dict[str, Any]:
    """Epochs in every order without numba: the bytes, and the warnings."""
    import streamload as sl

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        digests = digests_of_epochs(sl)
    return {
        "digests": digests,
        "warnings": [str(w.message) for w in given if "numba" in str(w.message)],
        "numba": "numba.core" in sys.modules,
    }


def digests_of_epochs(sl: Any) -> dict[str, str]:
    """What two epochs hold, for two files, three orders and 0 and 2 workers."""
    import hashlib

    found = {}
    for name in ("raw", "gzip"):
        for order in (sl.Exact(), sl.Block(window=1024), sl.Sequential()):
            for workers in (0, 2):
                digest = hashlib.sha256()
                loader = driver.loader_of(name, shuffle=order, num_workers=workers)
                for epoch in loader.epochs(2):
                    for batch in epoch:
                        digest.update(batch.records.tobytes() + batch["image"].tobytes() + batch["label"].tobytes())
                loader.close()
                found[f"{name} {type(order).__name__} {workers}"] = digest.hexdigest()
    return found


def with_numba() -> dict[str, Any]:
    """The same epochs as they should be."""
    import streamload as sl

    return {"digests": digests_of_epochs(sl)}


def outside_indices() -> dict[str, Any]:
    """Record numbers outside the data, wherever one may give them."""
    import streamload as sl

    class Own:
        def __init__(self, wrong: int) -> None:
            self.wrong = wrong

        def records(self, epoch: int, start: int, stop: int) -> np.ndarray:
            return np.where(np.arange(start, stop) == 20, self.wrong, np.arange(start, stop))

    data = sl.open("raw.h5")
    told = []
    for wrong in (-1, driver.RECORDS, 1 << 40, -(1 << 62)):
        for attempt in (
            lambda wrong=wrong: data[[0, wrong if wrong != -1 else -driver.RECORDS - 1]],
            lambda wrong=wrong: list(driver.loader_of(shuffle=Own(wrong), num_workers=0)),
            lambda wrong=wrong: list(driver.loader_of(shuffle=Own(wrong), num_workers=2)),
            lambda wrong=wrong: driver.loader_of(indices=[0, wrong]),
        ):
            try:
                attempt()
                told.append(None)
            except Exception as error:
                told.append(driver.told(error))
    data.close()
    return {"told": told}


def saved_states() -> dict[str, Any]:
    """A state after every step, taken while batches are in flight, each resumed to the end of the next epoch."""
    expected = driver.order_of("raw", 0) + driver.order_of("raw", 1)
    loader = driver.loader_of()
    states = [loader.state_dict()]
    for _ in loader:
        states.append(loader.state_dict())
    loader.close()
    wrong = []
    for step, state in enumerate(states):
        resumed = driver.loader_of(num_workers=step % 3)
        resumed.load_state_dict(state)
        got = [batch.records.tolist() for epoch in resumed.epochs(2) for batch in epoch]
        resumed.close()
        if got != expected[step:]:
            wrong.append(step)
    return {"states": states, "wrong": wrong}


def hostile_states() -> dict[str, Any]:
    """States that belong to other loaders, and states that nobody wrote."""
    loader = driver.loader_of()
    state = loader.state_dict()
    others = {
        "batch size": driver.loader_of(batch_size=4),
        "seed": driver.loader_of(seed=4),
        "kind of order": driver.loader_of(shuffle=False),
        "order": driver.loader_of(indices=range(50)),
        "fields": driver.loader_of("pages"),
    }
    told: dict[str, Any] = {}

    def attempt(what: str, given: Any) -> None:
        began = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Another batch size is said, and goes on.
                loader.load_state_dict(given)
            told[what] = None
        except Exception as error:
            told[what] = {**driver.told(error), "seconds": time.monotonic() - began}

    for name, other in others.items():
        attempt(name, other.state_dict())
        other.close()
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    for name in state:
        for number, value in enumerate(
            (-1, 1 << 70, 10**5000, float("nan"), float("inf"), None, "x" * 10_000_000, deep, [], True, b"x", "\x1b[31m")
        ):
            attempt(f"{name} {number}", {**state, name: value})
    for number, value in enumerate((None, [], "state", 3, {}, {**state, "more": 1}, {**state, 5: 1}, {"epoch": 0})):
        attempt(f"state {number}", value)
    attempt("records", {**state, "records": 97})
    attempt("version", {**state, "version": 3})
    attempt("within a batch", {**state, "position": 3})
    outcome = driver.watch(loader)
    loader.close()
    return {"told": told, "outcome": outcome}
