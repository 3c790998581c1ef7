"""Workers that die, stop, hang or fail: by the kernel's hand, by a kill point's, or in a function of the user's."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import driver
import numpy as np
from time_limits import slowness

BAD = 41
"""The record on which transforms here go wrong."""


def bad(action: Any, peace: str = "") -> Any:
    """A transform that does `action` on one record, unless the file `peace` exists."""

    def transform(record: dict[str, Any]) -> dict[str, Any]:
        if int(record["label"]) == BAD and not (peace and os.path.exists(peace)):
            action()
        return record

    return transform


def killed(kill: str, name: str = "raw", repeats: int = 1, **options: Any) -> dict[str, Any]:
    """A kill point, over and over: every outcome."""
    outcomes = []
    for _ in range(repeats):
        driver.ask_to_die(kill)
        loader = driver.loader_of(name, **options)
        outcome = driver.watch(loader, name)
        began = time.monotonic()
        loader.close()
        outcome["closing"] = time.monotonic() - began
        outcomes.append(outcome)
        del loader
    return {"outcomes": outcomes}


def killed_from_outside(repeats: int) -> dict[str, Any]:
    """SIGKILL to a worker of three at a time that nobody chose."""
    outcomes = []
    random = np.random.default_rng(5)
    for _ in range(repeats):
        loader = driver.loader_of("raw", num_workers=3, transform=lambda record: (time.sleep(0.001), record)[1])
        next(iter(loader))
        victim = int(random.choice(loader.worker_pids))
        timer = threading.Timer(random.uniform(0, 0.03), os.kill, (victim, signal.SIGKILL))
        timer.start()
        outcome: dict[str, Any] = {"error": None}
        epoch = 1
        while outcome["error"] is None:
            outcome = driver.watch(loader, epoch=epoch)
            epoch += 1
        timer.join()
        outcomes.append({**outcome, "victim": victim})
        loader.close()
    return {"outcomes": outcomes}


def all_killed() -> dict[str, Any]:
    """Every worker killed at one moment."""
    loader = driver.loader_of("raw", num_workers=3, transform=lambda record: (time.sleep(0.001), record)[1])
    for _ in loader:
        pass
    pids = loader.worker_pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        time.sleep(0.005)  # The launcher reaps them at one moment, however busy the machine is.
    outcome = driver.watch(loader, epoch=1)
    loader.close()
    return {**outcome, "pids": pids}


def _overflow() -> None:
    import ctypes

    kind = ctypes.CFUNCTYPE(None)
    held: list[Any] = []

    def deeper() -> None:
        held[0]()

    held.append(kind(deeper))
    sys.setrecursionlimit(1 << 30)
    held[0]()


def _crash() -> None:
    import ctypes

    ctypes.string_at(0)


class Unpicklable(Exception):
    """An exception that holds what does not pickle."""

    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


class ExitsWhenPickled(Exception):
    """An exception that ends whoever pickles or rebuilds it."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


class Unprintable(ValueError):
    """An exception that cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("cannot be printed")

    __repr__ = __str__


class Defiant(ValueError):
    """An exception that ends the process when it is printed."""

    def __str__(self) -> str:
        raise SystemExit(5)


class Demanding(KeyError):
    """An exception that cannot be made from a message alone."""

    def __init__(self, one: int, two: int) -> None:
        if not isinstance(one, int):
            raise RuntimeError("not like that")
        super().__init__(f"{one} and {two}")


def _raise(error: BaseException) -> None:
    raise error


def _own_limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
    np.ones(1 << 31, np.uint8)


ACTIONS: dict[str, Any] = {
    "ValueError": lambda: _raise(ValueError("not this record")),
    "Unpicklable": lambda: _raise(Unpicklable()),
    "ExitsWhenPickled": lambda: _raise(ExitsWhenPickled("do not pickle")),
    "Unprintable": lambda: _raise(Unprintable()),
    "Defiant": lambda: _raise(Defiant()),
    "Demanding": lambda: _raise(Demanding(1, 2)),
    "endless": lambda: _raise(ValueError("x" * 100_000_000)),
    "KeyboardInterrupt": lambda: _raise(KeyboardInterrupt()),
    "GeneratorExit": lambda: _raise(GeneratorExit()),
    "StopIteration": lambda: _raise(StopIteration()),
    "StopAsyncIteration": lambda: _raise(StopAsyncIteration()),
    "UnicodeDecodeError": lambda: b"\xff".decode("utf-8"),
    "MemoryError": lambda: np.empty(1 << 60, np.uint8),
    "MemoryLimit": _own_limit,
    "RecursionError": lambda: (lambda f: f(f))(lambda f: f(f)),
    "sys.exit(0)": lambda: sys.exit(0),
    "sys.exit(123)": lambda: sys.exit(123),
    "sys.exit('text')": lambda: sys.exit("a text"),
    "os._exit(0)": lambda: os._exit(0),
    "os._exit(123)": lambda: os._exit(123),
    "os.abort()": os.abort,
    "read at address 0": _crash,
    "overflow": _overflow,
}


def failing(action: str, repeats: int = 1, name: str = "raw", workers: int = 2) -> dict[str, Any]:
    """A transform that does something on one record; and whether the same loader then works on, with which workers."""
    outcomes = []
    where = next(k for k, batch in enumerate(driver.order_of(name, 0)) if BAD in batch)
    peace = os.path.join(tempfile.gettempdir(), "peace")
    for _ in range(repeats):
        loader = driver.loader_of(name, transform=bad(ACTIONS[action], peace), num_workers=workers)
        outcome = driver.watch(loader, name)
        before = loader.worker_pids
        with open(peace, "w"):
            # An epoch of which nothing was delivered begins again.
            outcome["next"] = driver.watch(loader, name, epoch=1 if outcome["delivered"] else 0)
        outcome["same workers"] = set(before) <= set(loader.worker_pids)  # One of them may have been slow to start.
        loader.close()
        os.unlink(peace)
        outcomes.append({**outcome, "where": where})
        del loader
    return {"outcomes": outcomes}


def _sleep_held(seconds: int) -> None:
    """Native code that keeps the GIL, and that a signal does not interrupt for good."""
    import ctypes

    library = ctypes.PyDLL(None)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        library.sleep(seconds)


HANGS: dict[str, Any] = {
    "python": lambda: time.sleep(3600),
    "native": lambda: _sleep_held(3600),
    "native loop": lambda: sum(range(1 << 50)),
    "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "deaf": lambda: (signal.signal(signal.SIGUSR1, signal.SIG_IGN), signal.signal(signal.SIGTERM, signal.SIG_IGN), time.sleep(3600)),
}


def hanging(how: str, repeats: int, timeout: float) -> dict[str, Any]:
    """A transform that never returns."""
    outcomes = []
    for _ in range(repeats):
        loader = driver.loader_of(transform=bad(HANGS[how]), timeout=timeout)
        outcome = driver.watch(loader)
        began = time.monotonic()
        loader.close()
        outcome["closing"] = time.monotonic() - began
        outcomes.append(outcome)
        del loader
    return {"outcomes": outcomes}


def closing_on_a_hang(how: str) -> dict[str, Any]:
    """A loader that is closed while a worker hangs, and long before its timeout."""
    loader = driver.loader_of(transform=bad(HANGS[how]), timeout=300)
    next(iter(loader))
    time.sleep(0.3)
    began = time.monotonic()
    loader.close()
    return {"closing": time.monotonic() - began}


def slow() -> dict[str, Any]:
    """Every step takes half of the time after which no progress is an error, and more of both on a busy machine."""
    times = min(8.0, slowness())
    loader = driver.loader_of(transform=lambda record: (time.sleep(0.05 * times), record)[1], timeout=0.8 * times)
    outcome = driver.watch(loader, batches=6)
    waited = loader.stats.wait_seconds
    loader.close()
    return {**outcome, "waited": waited}


def missing_module() -> dict[str, Any]:
    """A transform whose module the workers cannot import."""
    import types

    module = types.ModuleType("only_here")
    exec("def transform(record): return record", module.__dict__)
    sys.modules["only_here"] = module
    try:
        began = time.monotonic()
        driver.loader_of(transform=module.transform).close()
        return {"error": None}
    except Exception as error:
        return {"error": driver.told(error), "seconds": time.monotonic() - began}
    finally:
        del sys.modules["only_here"]


class Holder:
    """A transform that holds something."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        return record


def unpicklable(what: str) -> dict[str, Any]:
    """A transform that cannot travel."""
    import h5py

    with open("raw.h5", "rb") as stream, h5py.File("raw.h5", "r") as file:
        held = {"lock": threading.Lock(), "open file": stream, "h5py file": file, "h5py dataset": file["image"]}[what]
        try:
            driver.loader_of(transform=Holder(held)).close()
        except Exception as error:
            return {"error": driver.told(error)}
    return {"error": None}


def lambdas() -> dict[str, Any]:
    """Lambdas, closures and functions of the main module do travel."""
    added = 5
    loader = driver.loader_of(transform=lambda record: {**record, "more": record["label"] + added})
    total = sum(int((batch["more"] - batch["label"]).sum()) for batch in loader)
    loader.close()
    return {"total": total}


def with_children() -> dict[str, Any]:
    """A transform that starts a process and a thread which outlive its worker."""

    def start() -> None:
        import subprocess

        subprocess.Popen(["sleep", "600"])
        threading.Thread(target=time.sleep, args=(600,)).start()

    loader = driver.loader_of(transform=bad(start))
    outcome = driver.watch(loader)
    began = time.monotonic()
    seen = sum(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\x00")[:2] == [b"sleep", b"600"] for pid in driver.family())
    loader.close()
    return {**outcome, "seen": seen, "closing": time.monotonic() - began}


def without_standard_streams() -> dict[str, Any]:
    """A transform that closes descriptors 0 to 2, and one that writes to them."""

    def close() -> None:
        for fd in range(3):
            os.close(fd)

    def shout() -> None:
        os.write(1, b"\x00\x01{garbage}\n" * 1000)
        print("{}" * 1000)

    outcomes = []
    for action in (close, shout):
        loader = driver.loader_of(transform=bad(action))
        outcomes.append(driver.watch(loader))
        loader.close()
    return {"outcomes": outcomes}
