"""Processor time of a step, in the main process and in the worker, with public names alone: any commit can be set beside this one.

Run as a script, with the tree that holds `streamload` first on PYTHONPATH: path, batch size, workers, stretches, steps of a stretch.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import streamload as sl

SETTLED_S = 1.0
"""Seconds of steps before any is counted, once the workers are there."""


def batches_of(loader: sl.Loader) -> Iterator[sl.Batch]:
    """Batches without end."""
    for batches in loader.epochs(10**6):
        for batch in batches:  # noqa: UP028  (an older commit's epochs cannot be closed from outside)
            yield batch


def worker_ns(loader: sl.Loader) -> int:
    """Nanoseconds that the loader's workers have run."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in loader.worker_pids)


def main() -> None:
    """Print the least microseconds of a step over all stretches: of the main process, of the workers, and of both in one stretch."""
    path, (batch_size, workers, stretches, steps) = sys.argv[1], map(int, sys.argv[2:])
    warnings.simplefilter("ignore")
    loader = sl.Loader(sl.open(path, fields=["image"]), batch_size=batch_size, num_workers=workers, seed=0)
    batches = batches_of(loader)
    while len(loader.worker_pids) < workers:
        next(batches)
    began = time.perf_counter()
    while time.perf_counter() - began < SETTLED_S:
        next(batches)
    found: list[tuple[float, float]] = []
    for _ in range(stretches):
        here, there = time.thread_time_ns(), worker_ns(loader)
        for _ in range(steps):
            next(batches)
        found.append(((time.thread_time_ns() - here) / steps / 1e3, (worker_ns(loader) - there) / steps / 1e3))
    least = {"main": min(one for one, _ in found), "workers": min(one for _, one in found), "both": min(map(sum, found))}
    print(json.dumps(least))
    batches.close()
    loader.close()


if __name__ == "__main__":
    main()
