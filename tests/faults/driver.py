"""Runs loaders under faults in a process of its own, and says as JSON what came of it.

`driver.py serve` answers requests {"scenario", "arguments"} a line each; `driver.py once NAME ARGUMENTS OUTCOME` runs one
and writes its outcome to a file. A scenario is a function of the modules in `SCENARIOS`; its outcome always has `left`:
processes, descriptors, mappings, threads and files that it left behind.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from time_limits import GUARD_SECONDS, Deadline

RECORDS, BATCH = 96, 8
SCENARIOS = ("transforms", "lives", "iterators", "memories", "machines")
LEFT_SECONDS = 3.0
"""How long what a scenario started may take to be gone."""


def pixels(records: np.ndarray) -> np.ndarray:
    """What the image of each record is: all different, and easy to tell from zeros and from each other."""
    return ((records[:, None] * 7 + np.arange(16)[None, :] * 3 + 1) % 251).astype(np.uint8).reshape(-1, 4, 4)


def write_files(folder: Path) -> None:
    """The files that scenarios read: raw records, gzip chunks, and raw records of a page each."""
    import h5py

    records = np.arange(RECORDS)
    with h5py.File(folder / "raw.h5", "w") as file:
        file["image"], file["label"] = pixels(records), records
    with h5py.File(folder / "gzip.h5", "w") as file:
        file.create_dataset("image", data=pixels(records), chunks=(8, 4, 4), compression="gzip")
        file["label"] = records
    with h5py.File(folder / "pages.h5", "w") as file:
        file["image"] = np.repeat(pixels(records).reshape(RECORDS, 16), 1024, axis=1)
        file["label"] = records


def loader_of(name: str = "raw", **options: Any) -> Any:
    """A loader of one of the files in the folder at hand."""
    import streamload as sl

    options = {"batch_size": BATCH, "num_workers": 2, "seed": 3, "timeout": 30.0, **options}
    if name == "gzip":
        options.setdefault("shuffle", sl.Block(window=1024))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A window mixes only")
        return sl.Loader(sl.open(f"{name}.h5"), **options)


_references: dict[Any, list[list[int]]] = {}


def order_of(name: str, epoch: int) -> list[list[int]]:
    """The record numbers of each batch of an epoch, as they should be: found without other processes."""
    key = name, epoch
    if key not in _references:
        with loader_of(name, num_workers=0) as loader:
            for standing in loader.epochs(epoch + 1):
                _references[name, standing.index] = [batch.records.tolist() for batch in standing]
    return _references[key]


def told(error: BaseException) -> dict[str, Any]:
    """An exception as plain values."""
    attributes = {name: value for name, value in vars(error).items() if isinstance(value, (str, int, float, list, type(None)))}
    return {
        "kinds": [kind.__name__ for kind in type(error).__mro__],
        "text": str(error),
        "notes": "".join(getattr(error, "__notes__", [])),
        "details": getattr(error, "details", {}),
        "errno": getattr(error, "errno", None),
        **attributes,
    }


def right(batch: Any, name: str, expected: list[int]) -> bool:
    """Whether a batch holds what its records hold in the file, and those records are the ones that are due."""
    records = batch.records
    image = pixels(records)
    if name == "pages":
        image = np.repeat(image.reshape(-1, 16), 1024, axis=1)
    return records.tolist() == expected and np.array_equal(batch["image"], image) and np.array_equal(batch["label"], records)


def watch(loader: Any, name: str = "raw", *, epoch: int | None = None, batches: int | None = None) -> dict[str, Any]:
    """Iterate until the end, an error, or so many batches: what was delivered, what was wrong in it, and how it ended.

    `epoch` is the one that is due; without it, the iterator knows which it is.
    """
    delivered, wrong = 0, 0
    pids: set[int] = set(loader.worker_pids)
    began = time.monotonic()
    try:
        iterator = iter(loader)
    except Exception as error:
        seconds = time.monotonic() - began
        alive = [pid for pid in pids if living(pid)]
        return {"delivered": 0, "wrong": 0, "error": told(error), "again": "no iterator", "seconds": seconds, "alive": alive}
    expected = order_of(name, iterator.index if epoch is None else epoch)
    while batches is None or delivered < batches:
        pids |= set(loader.worker_pids)
        began = time.monotonic()
        try:
            batch = next(iterator)
        except StopIteration:
            return {"delivered": delivered, "wrong": wrong, "error": None}
        except BaseException as error:
            seconds = time.monotonic() - began
            again = None
            try:
                next(iterator)
            except BaseException as second:
                again = told(second) == told(error)
            outcome = {"delivered": delivered, "wrong": wrong, "error": told(error), "again": again, "seconds": seconds}
            outcome["alive"] = [pid for pid in pids if living(pid)] if "TransformError" not in outcome["error"]["kinds"] else []
            return outcome
        wrong += not right(batch, name, expected[delivered])
        delivered += 1
    return {"delivered": delivered, "wrong": wrong, "error": None, "iterator": None}


def living(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# What is held


def launcher_pid() -> int | None:
    """The process that forks workers, where there is one."""
    module = sys.modules.get("streamload.workers.launcher")
    current = module.Launcher._current if module is not None else None
    return current.pid if current is not None and current.alive else None


def await_launcher() -> None:
    """Until workers can be forked: this process does the steps itself before that."""
    from streamload.workers.launcher import Launcher

    while not Launcher.current().ready and Launcher.current().alive:
        Launcher.current().report(-1)  # Takes in what the launcher has said.
        time.sleep(0.01)


def inspector_pid() -> int | None:
    """The process that looks at HDF5 files, where there is one."""
    module = sys.modules.get("streamload.formats.hdf5.inspector")
    current = module.Inspector._current if module is not None else None
    return None if current is None else current.pid


def family(pid: int | str = "self") -> list[int]:
    """Every process below this one."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *family(child)]
    except OSError:
        pass
    return found


def held() -> dict[str, Counter[str]]:
    """Processes but for the launcher, descriptors, nameless mappings, threads, and files."""
    descriptors: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = re.sub(r":\[\d+\]$", "", os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
        descriptors["a file without a name" if re.search(r"(/memfd:streamload|/#\d+) \(deleted\)$", target) else target] += 1
    maps = re.findall(r"(?:/memfd:| )(\S+ \(deleted\))$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    if (inspector := inspector_pid()) is not None:
        descriptors.subtract(LAUNCHER)  # It costs what a launcher does.
    return {
        "processes": Counter(str(pid) for pid in family() if pid not in (launcher_pid(), inspector)),
        "descriptors": descriptors,
        "mappings": Counter(name for name in maps if "libffi" not in name),
        "threads": Counter(f"{thread.name} {thread.ident}" for thread in threading.enumerate()),
        # Other programs of this machine make names there meanwhile; a test of its own says that nothing here uses such.
        "files": Counter([name for name in os.listdir("/dev/shm") if "streamload" in name] + os.listdir(tempfile.gettempdir())),
    }


LAUNCHER = Counter({"a file without a name": 1, "socket": 1})
"""Descriptors that a launcher costs: all loaders of a process share it, and it stays."""


def beyond(before: dict[str, Counter[str]], *, started: bool) -> dict[str, list[str]]:
    """What is held and was not before, after a while of waiting; but for a launcher that has been started meanwhile."""
    if started:
        before["descriptors"] = before["descriptors"] + LAUNCHER
    deadline = Deadline(LEFT_SECONDS)
    while True:
        gc.collect()
        now = held()
        left = {kind: sorted((now[kind] - before[kind]).elements()) for kind in now if now[kind] - before[kind]}
        if not left or deadline.passed:
            return left
        time.sleep(0.02)


# Running


def find(name: str) -> Any:
    """The scenario of that name."""
    for module in SCENARIOS:
        function = getattr(importlib.import_module(f"scenarios.{module}"), name, None)
        if function is not None:
            return function
    raise LookupError(f"no scenario {name!r}")


def ask_to_die(kill: str) -> None:
    """Have the next workers act at a kill point, once."""
    path = os.environ.get("STREAMLOAD_TEST_KILL", "")
    if path.startswith("@"):
        Path(path[1:]).write_text(f"{kill}\n")


def perform(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run one scenario, and see what it leaves; not where it says "left" itself, as one does that means to leave something."""
    scenario = find(name)
    before, launcher = held(), launcher_pid()
    began = time.monotonic()
    try:
        outcome = scenario(**arguments)
    except Exception as error:
        import traceback

        outcome = {"failed": "".join(traceback.format_exception(error))}
    finally:
        ask_to_die("")
    outcome["elapsed"] = time.monotonic() - began
    if "left" not in outcome:
        outcome["left"] = beyond(before, started=launcher is None and launcher_pid() is not None)
    return outcome


def serve(replies: int) -> None:
    """Answer requests until there are no more; the launcher is up and references are known before the first."""
    with loader_of() as loader:
        next(iter(loader))
        await_launcher()
    for name in ("raw", "gzip", "pages"):
        order_of(name, 1)
    os.write(replies, b'{"ready": true}\n')
    for line in sys.stdin:
        request = json.loads(line)
        faulthandler.dump_traceback_later(request["limit"], exit=True)
        outcome = perform(request["scenario"], request["arguments"])
        faulthandler.cancel_dump_traceback_later()
        os.write(replies, json.dumps(outcome).encode() + b"\n")


def once(name: str, arguments: str, outcome: str) -> None:
    """Run one scenario and write its outcome; the interpreter then ends as it would for any script."""
    # Not dump_traceback_later: its thread is missing in a fork, which then waits for it at its end.
    faulthandler.register(signal.SIGALRM, chain=True)
    import streamload as sl

    sl.open("raw.h5").close()  # Whatever opening files keeps for the next time is there.
    signal.alarm(int(GUARD_SECONDS / 2))
    result = perform(name, json.loads(arguments))
    with open(f"{outcome}.part", "w") as file:
        json.dump(result, file)
    os.replace(f"{outcome}.part", outcome)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.modules["driver"] = sys.modules["__main__"]
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        once(*sys.argv[2:])
