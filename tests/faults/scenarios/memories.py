"""Memory that is short, small, missing, kept, or written to by the wrong hands."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import driver
import numpy as np


def commands() -> list[str]:
    """The command lines of the launcher and of workers below this process."""
    found = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") for pid in driver.family()]
    return [command for command in found if "streamload.workers.fork_server" in command]


def plain(name: str = "raw", **options: Any) -> dict[str, Any]:
    """An ordinary epoch."""
    loader = driver.loader_of(name, **options)
    outcome = driver.watch(loader, name)
    loader.close()
    return outcome


def in_a_small_room(mount: str) -> dict[str, Any]:
    """An ordinary epoch where /dev/shm is as the test has mounted it."""
    return {**plain("pages"), "shm": mount, "free": os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_frsize}


def attempted(name: str = "raw", **options: Any) -> dict[str, Any]:
    """A loader that may be refused: the error, and whether there were workers by then."""
    try:
        outcome = plain(name, **options)
    except Exception as error:
        return {"error": driver.told(error), "commands": commands()}
    return outcome


def with_a_group(files: dict[str, str], **options: Any) -> dict[str, Any]:
    """A loader in a control group that says what the test wants, in files that look like the kernel's."""
    import streamload.memory.limits

    lines = Path("/proc/self/cgroup").read_text().splitlines()
    libc = ctypes.CDLL(None, use_errno=True)
    private = tempfile.mkdtemp()
    if libc.mount(private.encode(), b"/sys/fs/cgroup", b"none", 4096, None) != 0:  # MS_BIND
        raise OSError(ctypes.get_errno(), "no private mount")
    for name, content in files.items():
        path = Path("/sys/fs/cgroup", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    outcome = attempted(**options)
    libc.umount2(b"/sys/fs/cgroup", 2)
    import shutil

    shutil.rmtree(private)
    return {**outcome, "lines": lines, "machine": streamload.memory.limits.available_nbytes()}


def few_descriptors(workers: int, most: int) -> dict[str, Any]:
    """More workers than the limit on descriptors allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        outcome = attempted(num_workers=workers)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return outcome


def every_descriptor(most: int) -> dict[str, Any]:
    """A loader with 0, 1, 2, ... descriptors left: each time it works or is refused, and leaves nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    order = driver.order_of("raw", 0)
    outcomes = []
    for left in range(most):
        before = driver.held()
        holders = []
        used = sorted(int(number) for number in os.listdir("/proc/self/fd"))
        # Only the highest number counts for the limit: fill the gaps below it.
        holders = [os.open(os.devnull, os.O_RDONLY) for _ in range(used[-1] - len(used) + 2)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(n) for n in os.listdir("/proc/self/fd")) + left, hard))
        try:
            loader = driver.loader_of()
            got = [batch.records.tolist() for batch in loader]
            loader.close()
            outcomes.append("whole" if got == order else "wrong")
        except Exception as error:
            outcomes.append(f"{type(error).__name__} {getattr(error, 'errno', None)}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in holders:
                os.close(fd)
        after = driver.beyond(before, started=False)
        if after:
            outcomes.append(f"left with {left}: {after}")
    return {"outcomes": outcomes, "refusal": errno.EMFILE}


def small_files(nbytes: int) -> dict[str, Any]:
    """No file of this process may grow beyond some bytes, shared memory included."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        return attempted("pages")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kept(transformed: bool = False) -> dict[str, Any]:
    """Every batch of two epochs is kept, and the loader closed, before any is looked at."""
    loader = driver.loader_of("pages", transform=(lambda record: record) if transformed else None)
    expected = [records for epoch in (0, 1) for records in driver.order_of("pages", epoch)]
    batches = list(loader) + list(loader)
    copies = loader.stats.copies
    slots = [np.asarray(batch["image"])[:2] for batch in batches[:3]]
    loader.close()
    wrong = sum(not driver.right(batch, "pages", records) for batch, records in zip(batches, expected, strict=True))
    wrong += sum(not np.array_equal(one, batch["image"][:2]) for one, batch in zip(slots, batches, strict=False))
    return {"batches": len(batches), "wrong": wrong, "copies": copies}


def written_by_the_user() -> dict[str, Any]:
    """A user who zeroes each batch harms nobody."""
    loader = driver.loader_of()
    wrong = 0
    for epoch in range(2):
        expected = driver.order_of("raw", epoch)
        for batch in loader:
            wrong += not driver.right(batch, "raw", expected[batch.step])
            for name in batch.keys():  # noqa: SIM118
                batch[name][...] = 0
            batch.records[...] = -1
    loader.close()
    return {"wrong": wrong}


def scribbled(where: str) -> dict[str, Any]:
    """Somebody writes over a word of every slot that is filled and not yet shown: the first, or the one behind the data.

    Only what workers fill is looked at: until they are up, the program fills steps itself, and epochs are gone through.
    """
    loader = driver.loader_of()
    slots = loader._engine.slots
    words = np.ndarray((len(slots), slots.layout.nbytes // 8), np.int64, slots.ring.bytes)
    outcome: dict[str, Any] = {"delivered": 0, "wrong": 0}
    for epoch in range(200):
        iterator = iter(loader)
        try:
            next(iterator)
            if len(loader.worker_pids) == 2:
                before = words[:, 0].copy()
                time.sleep(0.2)  # Workers fill all slots that there are; where they do not get that far, the next epoch shows it.
                while (before != words[:, 0]).any():
                    before = words[:, 0].copy()
                    time.sleep(0.2)
                words[:, 0 if where == "head" else -1] = 0x55
            for step, batch in enumerate(iterator, 1):
                outcome["wrong"] += not driver.right(batch, "raw", driver.order_of("raw", epoch)[step])
        except Exception as error:
            outcome["error"] = driver.told(error)
            try:
                next(iterator)
            except Exception as again:
                outcome["again"] = driver.told(again) == outcome["error"]
            break
    loader.close()
    return outcome


ODD: dict[str, Any] = {
    "larger": lambda k: np.zeros((5, 4) if k == 41 else (4, 4), np.uint8),
    "smaller": lambda k: np.zeros((3, 4) if k == 41 else (4, 4), np.uint8),
    "scalar": lambda k: np.uint8(1) if k == 41 else np.zeros((4, 4), np.uint8),
    "other dtype": lambda k: np.zeros((4, 4), np.float32 if k == 41 else np.uint8),
    "object": lambda k: np.array([None]) if k == 41 else np.zeros(1, np.uint8),
    "ragged": lambda k: [[1, 2], [3]] if k == 41 else [[1, 2], [3, 4]],
}


def odd(how: str) -> dict[str, Any]:
    """A transform whose result for one record is unlike the others."""
    make = ODD[how]
    loader = driver.loader_of(transform=lambda record: {"image": make(int(record["label"])), "label": record["label"]})
    outcome: dict[str, Any] = {"delivered": 0}
    try:
        for _ in loader:
            outcome["delivered"] += 1
    except Exception as error:
        outcome["error"] = driver.told(error)
    loader.close()
    return outcome


def strange(workers: int) -> dict[str, Any]:
    """Results that are not contiguous, big-endian, of no dimension, boolean, complex, with NaNs that carry bits: to the bit."""
    bits = 0x7FF4_DEAD_BEEF_0001

    def make(record: dict[str, Any]) -> dict[str, Any]:
        k = int(record["label"])
        return {
            "turned": record["image"].T[::-1],
            "big": np.arange(3, dtype=">i4") + k,
            "none": np.float32(k),
            "flag": bool(k % 2),
            "wave": np.complex64(k + 1j),
            "nan": np.array([bits + k, 0x7FF0_0000_0000_0000], np.uint64).view(np.float64),
            "text": np.bytes_(f"{k:05d}"),
        }

    loader = driver.loader_of(transform=make, num_workers=workers)
    wrong = 0
    for batch in loader:
        for row, k in enumerate(batch.records.tolist()):
            image = driver.pixels(np.array([k]))[0]
            wrong += not (
                np.array_equal(batch["turned"][row], image.T[::-1])
                and batch["big"][row].tolist() == [k, k + 1, k + 2]
                and batch["big"].dtype.isnative
                and float(batch["none"][row]) == k
                and bool(batch["flag"][row]) == bool(k % 2)
                and complex(batch["wave"][row]) == k + 1j
                and int(batch["nan"][row].view(np.uint64)[0]) == bits + k
                and batch["text"][row] == f"{k:05d}".encode()
            )
    loader.close()
    return {"wrong": wrong}


def no_names() -> dict[str, Any]:
    """What is in /dev/shm, which processes there are, and what is imported, while a loader works."""
    import sys

    loader = driver.loader_of()
    next(iter(loader))
    names = os.listdir("/dev/shm")
    found = commands()
    loader.close()
    return {"names": names, "commands": found, "multiprocessing": "multiprocessing.shared_memory" in sys.modules}


def refused_forks(flag: str) -> dict[str, Any]:
    """Forks fail for a while, with a loader of one worker up already."""
    first = driver.loader_of("gzip", num_workers=1)
    next(iter(first))
    Path(flag).touch()
    refused = attempted(num_workers=3)["error"]
    Path(flag).unlink()
    later = plain()
    first.close()
    return {"refused": refused, "later": later}
