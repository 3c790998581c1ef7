"""How the user's process, its iterators and its loaders live and end: signals, exits, forks, threads, and leaving early."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import driver
import numpy as np
from scenarios.transforms import HANGS, bad
from time_limits import Deadline

KEPT: list[Any] = []
"""What lives until the interpreter ends."""


def note(name: str, **said: Any) -> None:
    """Tell the test something."""
    path = Path(os.environ["NOTES"]) / name
    path.with_suffix(".part").write_text(json.dumps(said))
    path.with_suffix(".part").rename(path)


def at_work(loader: Any) -> None:
    """Tell the test which processes there are, once both workers are known to have started."""
    deadline = Deadline(5.0)
    while len(loader.worker_pids) < 2 and not deadline.passed:
        time.sleep(0.01)
    note("running", pid=os.getpid(), workers=loader.worker_pids, launcher=driver.launcher_pid())


def running(hang: str = "", file: str = "raw", guarded: str = "") -> dict[str, Any]:
    """Loops over a loader until somebody ends this process."""
    transform = bad(HANGS[hang]) if hang else None
    loader = driver.loader_of(file, transform=transform, num_workers=2)
    iterator = iter(loader)
    next(iterator)
    if hang:
        time.sleep(0.3)
    at_work(loader)
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
            at_work(loader)
    finally:
        loader.close()
    return {}


def stopped_for_long(whole: bool) -> dict[str, Any]:
    """Somebody stops this process, or all of the family, for longer than the timeout."""
    loader = driver.loader_of(transform=lambda record: (time.sleep(0.02), record)[1], timeout=1.2)
    next(iter(loader))
    at_work(loader)
    outcomes = [driver.watch(loader, epoch=1), driver.watch(loader, epoch=2)]
    loader.close()
    return {"outcomes": outcomes}


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
        KEPT.append(driver.loader_of(transform=bad(HANGS["native"])))
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
    elif how in ("thread in a pass", "thread in a pass without workers"):
        one = driver.loader_of(num_workers=0 if "without" in how else 2)
        begun = threading.Event()

        def passes() -> None:
            for epoch in one.epochs(10**9):
                for _ in epoch:
                    begun.set()

        threading.Thread(target=passes, daemon=True).start()
        assert begun.wait(60)
    elif how == "closing at exit":
        import atexit

        class Closing:
            def __del__(self) -> None:
                loader.close()
                loader.close()

        atexit.register(loader.close)
        KEPT.append(Closing())
    note("ended", workers=loader.worker_pids, launcher=driver.launcher_pid(), at=time.time())
    return {"left": {}}  # The loader is alive, and nobody waits for it to be gone.


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
    with driver.loader_of("gzip") as first:
        next(iter(first))  # Workers are up from here on.
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

    @numba.vectorize(["float64(float64)"], target="parallel")  # quicker to compile than a parallel loop, in the same threads
    def twice(value: Any) -> Any:
        return 2 * value

    assert twice(np.ones(100_000)).sum() == 200_000
    assert len(os.listdir("/proc/self/task")) > 1
    from streamload.kernels import compile_kernels, gather, permute

    compile_kernels()
    kernels = [value for module in (gather, permute) for value in vars(module).values() if hasattr(value, "targetoptions")]
    loader = driver.loader_of()
    outcome = driver.watch(loader)
    loader.close()
    return {**outcome, "left": {}, "kernels": len(kernels), "parallel": [k.__name__ for k in kernels if k.targetoptions.get("parallel")]}
