"""How the user's process, its iterators and its loaders live and end: signals, exits, forks, threads, and leaving early."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import driver
import numpy as np
from scenarios.transforms import HANGS, bad

KEPT: list[Any] = []
"""What lives until the interpreter ends."""


def note(name: str, **said: Any) -> None:
    """Tell the test something."""
    path = Path(os.environ["NOTES"]) / name
    path.with_suffix(".part").write_text(json.dumps(said))
    path.with_suffix(".part").rename(path)


def running(hang: str = "", file: str = "raw", guarded: str = "") -> dict[str, Any]:
    """Loops over a loader until somebody ends this process."""
    transform = bad(HANGS[hang]) if hang else None
    loader = driver.loader_of(file, transform=transform, num_workers=2)
    iterator = iter(loader)
    next(iterator)
    if hang:
        time.sleep(0.3)
    note("running", pid=os.getpid(), workers=loader.worker_pids, launcher=driver.launcher_pid())
    if hang:
        time.sleep(600)
    while True:
        for batch in loader:
            assert len(batch["image"])


def closing_slowly() -> dict[str, Any]:
    """Closes a loader whose worker hangs when it is interrupted."""
    loader = driver.loader_of(transform=bad(HANGS["python"]), num_workers=2)
    try:
        for _ in loader:
            note("running", pid=os.getpid(), workers=loader.worker_pids, launcher=driver.launcher_pid())
    finally:
        loader.close()
    return {}


def stopped_for_long(whole: bool) -> dict[str, Any]:
    """Somebody stops this process, or all of the family, for longer than the timeout."""
    loader = driver.loader_of(transform=lambda record: (time.sleep(0.02), record)[1], timeout=1.2)
    next(iter(loader))
    note("running", pid=os.getpid(), workers=loader.worker_pids, launcher=driver.launcher_pid())
    outcomes = [driver.watch(loader, epoch=1), driver.watch(loader, epoch=2)]
    loader.close()
    return {"outcomes": outcomes}


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
        deadline = time.monotonic() + 3
        while len(driver.family()) > 3 and time.monotonic() < deadline:
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


def exiting(how: str) -> dict[str, Any]:
    """A program that ends with a loader alive."""
    loader = driver.loader_of()
    iterator = iter(loader)
    batch = next(iterator)
    KEPT.extend([loader, iterator])
    if how == "batch held":
        KEPT.append(batch)
    elif how == "cycle":
        ring = {"loader": loader, "iterator": iterator}
        ring["itself"] = ring
        KEPT.clear()
    elif how == "traceback":
        try:
            raise ValueError("holds the frame")
        except ValueError as error:
            KEPT.append(error)
    elif how == "worker hangs":
        KEPT.append(driver.loader_of(transform=bad(HANGS["native loop"])))
        next(iter(KEPT[-1]))
    elif how == "many loaders":
        KEPT.extend(driver.loader_of(num_workers=1) for _ in range(10))
    elif how == "thread":

        def loop() -> None:
            while True:
                for _ in driver.loader_of():
                    pass

        threading.Thread(target=loop, daemon=True).start()
        time.sleep(0.2)
    elif how == "closing at exit":
        import atexit

        class Closing:
            def __del__(self) -> None:
                loader.close()
                loader.close()

        atexit.register(loader.close)
        KEPT.append(Closing())
    note("ended", workers=loader.worker_pids, launcher=driver.launcher_pid(), at=time.time())
    return {}


def threads() -> dict[str, Any]:
    """Threads of this process and of the workers while a loader over compressed HDF5 works."""
    import h5py  # noqa: F401

    before = len(os.listdir("/proc/self/task"))
    loader = driver.loader_of("gzip")
    iterator = iter(loader)
    next(iterator)
    ours = len(os.listdir("/proc/self/task")) - before
    workers = [len(os.listdir(f"/proc/{pid}/task")) for pid in loader.worker_pids]
    told = Path(f"/proc/{driver.launcher_pid()}/environ").read_bytes().decode().split("\0")
    loader.close()
    return {
        "ours": ours,
        "python": [t.name for t in threading.enumerate()],
        "workers": workers,
        "told": [e for e in told if "NUM_THREADS" in e],
    }


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


def _child(action: Any, *, abrupt: bool = False) -> dict[str, Any]:
    """Do something in a fork of this process; what it returned, and how the fork ended."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(theirs, json.dumps(action()).encode())
            os._exit(0) if abrupt else sys.exit(0)
        except BaseException as error:
            if not isinstance(error, SystemExit):
                os.write(theirs, json.dumps({"failed": repr(error)}).encode())
            raise
    os.close(theirs)
    with os.fdopen(ours) as stream:
        said = stream.read()
    _, status = os.waitpid(pid, 0)
    return {"said": json.loads(said), "status": os.waitstatus_to_exitcode(status)}


def forked(abrupt: bool) -> dict[str, Any]:
    """Forks of this process while a loader is in the middle of an epoch."""
    loader = driver.loader_of()
    iterator = iter(loader)
    expected = driver.order_of("raw", 0)
    wrong = 0
    children = []
    pids = loader.worker_pids
    for step in range(len(expected)):
        batch = next(iterator)
        wrong += not driver.right(batch, "raw", expected[step])

        def there(held: Any = batch, iterator: Any = iterator, step: int = step) -> dict[str, Any]:
            said: dict[str, Any] = {}
            try:
                next(iterator)
            except Exception as error:
                said = driver.told(error)
            nonlocal loader, pids
            loader.close()
            loader = iterator = None  # type: ignore[assignment]
            gc.collect()
            if step == 0:
                own = driver.loader_of()
                said["own"] = driver.watch(own)
                own.close()
            return {"text": said["text"], "own": said.get("own")}

        children.append(_child(there, abrupt=abrupt))
        pids = pids or loader.worker_pids
    alive = sum(driver.living(pid) for pid in loader.worker_pids)
    loader.close()
    return {"wrong": wrong, "children": children, "alive": alive}


def forked_while_busy(forks: int) -> dict[str, Any]:
    """Forks while a thread iterates and another reads HDF5: each child reads through h5py, the source and a loader."""
    import h5py

    import streamload as sl

    data, compressed = sl.open("raw.h5"), sl.open("gzip.h5")
    assert int(data[5]["label"]) == int(compressed[5]["label"]) == 5
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with h5py.File("gzip.h5", "r") as file:
                file["image"][:]

    def loop() -> None:
        with sl.Loader(data, batch_size=driver.BATCH, num_workers=1) as loader:
            while not stop.is_set():
                for _ in loader:
                    pass

    def there() -> dict[str, bool]:
        with h5py.File("gzip.h5", "r") as file:
            direct = bool(np.array_equal(file["image"][:], driver.pixels(np.arange(driver.RECORDS))))
        taken = [bool(np.array_equal(source[3:9]["image"], driver.pixels(np.arange(3, 9)))) for source in (data, compressed)]
        with sl.Loader(compressed, batch_size=driver.BATCH, num_workers=0) as loader:
            inline = all(np.array_equal(batch["image"], driver.pixels(batch.records)) for batch in loader)
        return {"direct": direct, "taken": all(taken), "inline": inline}

    there()  # What is imported meanwhile by a thread cannot be imported in a fork: Python's own lock would be missing.
    busy = [threading.Thread(target=read), threading.Thread(target=loop)]
    for thread in busy:
        thread.start()
    children = [_child(there) for _ in range(forks)]
    stop.set()
    for thread in busy:
        thread.join()
    data.close()
    compressed.close()
    return {"children": children}


def inherited() -> dict[str, Any]:
    """What workers have open: files of this process must not be among it."""
    import h5py

    with h5py.File("pages.h5", "r") as file, open("gzip.h5", "rb"):
        assert file["label"][0] == 0
        loader = driver.loader_of("raw")
        next(iter(loader))
        opened = []
        for pid in loader.worker_pids:
            for number in os.listdir(f"/proc/{pid}/fd"):
                opened.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        loader.close()
    return {"files": sorted({os.path.basename(name) for name in opened if name.endswith(".h5")})}


def beside_arrow() -> dict[str, Any]:
    """pyarrow's threads are at work in this process before workers start."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({str(k): list(range(1000)) for k in range(20)}), sink)
    table = pq.read_table(pa.BufferReader(sink.getvalue()), use_threads=True)
    assert pc.sum(table["3"]).as_py() == 499500
    loader = driver.loader_of()
    outcome = driver.watch(loader)
    loader.close()
    return outcome


def beside_numba() -> dict[str, Any]:
    """numba's own threads are at work in this process before workers start."""
    import numba

    @numba.njit(parallel=True)
    def total(values: Any) -> Any:
        found = 0.0
        for k in numba.prange(values.size):
            found += values[k]
        return found

    assert total(np.ones(1000)) == 1000
    from streamload.kernels import compile_kernels, gather, permute

    compile_kernels()
    kernels = [value for module in (gather, permute) for value in vars(module).values() if hasattr(value, "targetoptions")]
    loader = driver.loader_of()
    outcome = driver.watch(loader)
    loader.close()
    return {**outcome, "kernels": len(kernels), "parallel": [k.__name__ for k in kernels if k.targetoptions.get("parallel")]}


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
    same = loader.worker_pids == pids
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
