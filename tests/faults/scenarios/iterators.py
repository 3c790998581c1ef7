"""Iterators that are left, dropped, shared, closed and failed, and what epochs do to workers."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import driver
import numpy as np
from scenarios.transforms import HANGS, bad
from time_limits import Deadline


def left_early(repeats: int) -> dict[str, Any]:
    """`break`, and on with the next epoch: nothing is lost or stale."""
    loader = driver.loader_of()
    outcomes = []
    pids = loader.worker_pids
    for epoch in range(repeats):
        for batch in loader:
            if batch.step == epoch % 5:
                break
        outcomes.append(driver.watch(loader, epoch=2 * epoch + 1))
        pids = pids or loader.worker_pids
    same = set(pids) <= set(loader.worker_pids)
    loader.close()
    return {"outcomes": outcomes, "same workers": same}


def _resident_nbytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def dropped(iterators: int, loaders: int) -> dict[str, Any]:
    """Iterators and loaders that nobody closes: descriptors, memory and processes after a few, and after many."""
    import streamload as sl

    data = sl.open("raw.h5")

    def iterate(loader: Any) -> None:
        next(iter(loader))

    def look() -> dict[str, int]:
        gc.collect()
        deadline = Deadline(3.0)
        while len(driver.family()) > 3 and not deadline.passed:
            time.sleep(0.01)
        return {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "resident": _resident_nbytes(),
            "processes": len(driver.family()),
            "maps": len(Path("/proc/self/maps").read_text().splitlines()),
        }

    loader = sl.Loader(data, batch_size=driver.BATCH, num_workers=2)
    for _ in range(50):
        iterate(loader)
    for _ in range(loaders // 10):
        iterate(sl.Loader(data, batch_size=driver.BATCH, num_workers=1))
    before = look()
    for _ in range(iterators):
        iterate(loader)
    for _ in range(loaders):
        iterate(sl.Loader(data, batch_size=driver.BATCH, num_workers=1))
    after = look()
    loader.close()
    data.close()
    return {"before": before, "after": after}


def two_iterators() -> dict[str, Any]:
    """Two iterators of one loader in turn, and a loop within a loop over the same loader."""
    loader = driver.loader_of()
    one = iter(loader)
    next(one)
    two = iter(loader)
    outcome: dict[str, Any] = {"second": next(two).records.tolist() == driver.order_of("raw", 1)[0]}
    try:
        next(one)
    except Exception as error:
        outcome["first"] = driver.told(error)
    inner = 0
    try:
        for _ in loader:
            for _ in loader:
                inner += 1
    except Exception as error:
        outcome["outer"] = driver.told(error)
    loader.close()
    return {**outcome, "inner": inner}


def many_threads(count: int) -> dict[str, Any]:
    """One iterator, asked by several threads at once, over several epochs: each record is delivered once an epoch."""
    loader = driver.loader_of(transform=lambda record: record)
    wrong: list[str] = []
    for epoch in range(10):
        iterator, seen, lock = iter(loader), [], threading.Lock()

        def take(iterator: Any = iterator, seen: list = seen, lock: Any = lock) -> None:
            try:
                for batch in iterator:
                    good = np.array_equal(batch["image"], driver.pixels(batch.records))
                    with lock:
                        seen.append((batch.step, batch.records.tolist(), good))
            except BaseException as error:
                wrong.append(repr(error))

        workers = [threading.Thread(target=take) for _ in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if [records for _, records, good in sorted(seen) if good] != driver.order_of("raw", epoch):
            wrong.append(f"epoch {epoch}: {len(seen)} batches")
    loader.close()
    return {"wrong": wrong}


def closed_from_elsewhere(how: str) -> dict[str, Any]:
    """A loader that is closed while `next` waits: by a handler of a signal, or by another thread."""
    loader = driver.loader_of(transform=bad(HANGS["python"]), timeout=60)
    if how == "signal":
        before = signal.signal(signal.SIGALRM, lambda *_: loader.close())
        signal.setitimer(signal.ITIMER_REAL, 0.5)
    else:
        threading.Timer(0.5, loader.close).start()
    outcome = driver.watch(loader)
    if how == "signal":
        signal.signal(signal.SIGALRM, before)
    began = time.monotonic()
    loader.close()
    return {**outcome, "closing": time.monotonic() - began}


def used_after_close() -> dict[str, Any]:
    """Everything that one may try with a closed loader, and closing again."""
    loader = driver.loader_of()
    iterator = iter(loader)
    batch = next(iterator)
    loader.close()
    told = []
    for action in (
        lambda: next(iterator),
        lambda: iter(loader),
        lambda: next(iter(loader.epochs(5))),
        lambda: loader.load_state_dict(loader.state_dict()),
    ):
        try:
            action()
        except Exception as error:
            told.append(driver.told(error))
    for _ in range(3):
        loader.close()
    with loader:
        pass
    fine = np.array_equal(batch["image"], driver.pixels(batch.records))
    return {"told": told, "fine": fine, "position": loader.state_dict()["position"], "text": repr(loader), "pids": loader.worker_pids}


def an_error_and_on() -> dict[str, Any]:
    """An epoch that fails, and the ones after it, with the same workers."""
    import tempfile

    peace = os.path.join(tempfile.gettempdir(), "peace")

    def fail() -> None:
        raise ValueError("once")

    loader = driver.loader_of(transform=bad(fail, peace))
    outcomes = [driver.watch(loader, epoch=0)]
    pids = loader.worker_pids
    with open(peace, "w"):
        outcomes += [driver.watch(loader, epoch=epoch) for epoch in (1, 2)]
    os.unlink(peace)
    same = set(pids) <= set(loader.worker_pids)
    loader.close()
    return {"outcomes": outcomes, "same workers": same}


def private_memory(epochs: int) -> dict[str, Any]:
    """Private memory of each worker after a few epochs and after many, with a source of many paths and labels."""
    loader = driver.loader_of("gzip")

    def private() -> list[int]:
        found = []
        for pid in loader.worker_pids:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            found.append(sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty", "Private_Clean"))) * 1024)
        return found

    before: list[int] = []
    for epoch in range(epochs):
        for _ in loader:
            pass
        if epoch == 5:
            before = private()
    after = private()
    loader.close()
    return {"before": before, "after": after}


def randomness() -> dict[str, Any]:
    """What a transform draws from NumPy's global generator and from its own, by the number of workers."""

    def draw(record: dict[str, Any], random: Any) -> dict[str, Any]:
        import random as plain

        return {"label": record["label"], "own": random.random(), "global": np.random.rand(), "plain": plain.random()}

    drawn = {}
    for workers in (0, 1, 3):
        loader = driver.loader_of(transform=draw, num_workers=workers)
        drawn[workers] = [{name: batch[name].tolist() for name in batch.keys()} for epoch in loader.epochs(2) for batch in epoch]  # noqa: SIM118
        loader.close()
    own = [value for batch in drawn[0] for value in batch["own"]]
    shared = [value for batch in drawn[0] for value in batch["global"]]
    return {"same": drawn[0] == drawn[1] == drawn[3], "own": len(set(own)), "global": len(set(shared)), "drawn": len(own)}
