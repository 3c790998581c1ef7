"""One pass over a dataset, in a process of its own: every batch copied as a step to a device would copy it, every wait timed."""

from __future__ import annotations

import ast
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import streamload as sl
from streamload.errors import ResourceError, StreamloadError, to_plain
from streamload.loader.batch import Batch
from streamload.loader.stats import Stats
from streamload.sizes import format_nbytes
from streamload.tools.benchmark.cgroup import MemoryCeiling, confined
from streamload.tools.benchmark.memory_usage import MemoryWatch, below
from streamload.tools.chain_file import chain_in
from streamload.workers.launcher import Launcher

MOST_MOMENTS = 120
"""Points of the curve of memory over time that are kept."""
BINS = np.geomspace(1e-6, 100.0, 65)
"""Seconds that part the bins of the histogram of waits."""

TIMES = ("wait_seconds", "consumer_seconds", "disk_seconds", "decode_seconds", "transport_seconds")
"""What a loader counts of the time."""
STEADY_SECONDS, STEADY_LOOKS, STEADY_SHARE, STEADY_EPOCHS = 0.2, 4, 0.03, 3
"""A rate stands still when so many looks at it, so far apart, differ by no more than this share, and so many epochs are through."""


class Consumer:
    """Copies every array of a batch into memory of its own, as a copy to a device would.

    Where a step computes, it waits for that long instead, and drops the batch: MLPerf Storage's load generator does so too.
    """

    def __init__(self, compute_seconds: float) -> None:
        self._buffers: dict[str, np.ndarray[Any, Any]] = {}
        self._compute_seconds = compute_seconds
        self.nbytes = 0

    def take(self, batch: Batch) -> None:
        """Do a step's work with a batch."""
        names = batch.keys()
        for name in names:
            for part, array in _arrays(batch[name]):
                self.nbytes += array.nbytes
                if self._compute_seconds:
                    continue
                buffer = self._buffers.get(name + part)
                if buffer is None or len(buffer) < len(array) or buffer.dtype != array.dtype:
                    buffer = self._buffers[name + part] = np.ones_like(array)
                buffer[: len(array)] = array
        if self._compute_seconds:
            time.sleep(self._compute_seconds)


class Steady:
    """Whether a rate stands still: a pass over little data need not take as long as one over much."""

    def __init__(self, *, least_records: int) -> None:
        self._least_records = least_records
        self._rates: list[float] = []
        self._next = STEADY_SECONDS

    def is_reached(self, seconds: float, records: int) -> bool:
        """Whether, after so many seconds and records, the last few looks at the rate of all of them were nearly the same."""
        if seconds < self._next:
            return False
        self._next = seconds + STEADY_SECONDS
        self._rates = [*self._rates, records / seconds][-STEADY_LOOKS:]
        alike = max(self._rates) <= min(self._rates) * (1 + STEADY_SHARE)
        return records >= self._least_records and len(self._rates) == STEADY_LOOKS and alike


def _arrays(value: Any) -> Iterator[tuple[str, Any]]:
    """The arrays of a field of a batch: one, or two where records differ in length."""
    if isinstance(value, np.ndarray):
        yield "", value
    elif hasattr(value, "values") and hasattr(value, "offsets"):
        yield "values", value.values
        yield "offsets", value.offsets


def spec_of(order: str, window: str | None) -> object:
    """What to give to a loader as `shuffle` for the name of an order: auto, exact, block or stored."""
    if order == "block" or window:
        return sl.Block(window) if window else sl.Block()
    return {"auto": True, "exact": sl.Exact(), "stored": False}[order]


def run_pass(config: dict[str, Any]) -> dict[str, Any]:
    """Make the pass that a configuration asks for; its figures, which JSON can hold.

    Keys: paths, fields, options, fill, decode, batch, order, window, workers, memory, io, seconds (the pass ends at the first batch after
    so many, or sooner, where its rate stands still over some epochs), once (it ends with its first epoch, too), limit_nbytes (a ceiling on
    memory), compute_seconds (of a step).
    Raises ResourceError where a ceiling was asked for and this process may not make one.
    """
    warnings.simplefilter("ignore")  # small windows are said elsewhere
    with ExitStack() as stack:
        group = _confined(config.get("limit_nbytes"))
        if group is not None:
            stack.enter_context(group)
        stack.callback(_end_processes)
        watch = stack.enter_context(MemoryWatch())
        figures = _passed(config)
        watch.look()
        figures["memory"] = _memory(watch)
        if group is not None:
            figures["memory"]["group_peak_nbytes"] = group.measure()
            figures["memory"]["group_limit_nbytes"] = group.nbytes
    return figures


def _confined(nbytes: int | None) -> MemoryCeiling | None:
    if not nbytes:
        return None
    group = confined(nbytes)
    if group is None:
        raise ResourceError(
            f"This process may not make a control group with a limit of {format_nbytes(nbytes)}: no group that it may write to "
            "offers memory.",
            hint="Run it as root, or in a group that is delegated to you: systemd-run --user --scope -p Delegate=yes ...",
        )
    return group


def _end_processes() -> None:
    """End all that this process started, so that its control group can be removed."""
    Launcher.shutdown()
    probing = sys.modules.get("streamload.formats.hdf5.inspector")
    if probing is not None:
        probing.Inspector.shutdown()


def _passed(config: dict[str, Any]) -> dict[str, Any]:
    """Open the data, hand out batches until the time is over, and count what that took."""
    began = time.perf_counter()
    data = _opened(config)
    opened = time.perf_counter()
    loader = _loader_of(data, config)
    consumer = Consumer(config.get("compute_seconds", 0.0))
    batches = _endless(loader, once=bool(config.get("once")))
    first = next(batches)
    found = {
        "workers": config["workers"],
        "title": data.title,
        "call": f"{loader!r}".splitlines()[0],
        "open_seconds": opened - began,
        "first_batch_seconds": time.perf_counter() - opened,
        "first_records": len(first.records),
    }
    consumer.take(first)
    del first
    before = loader.stats
    steady = Steady(least_records=STEADY_EPOCHS * (config.get("records") or len(data)))
    found |= _timed(batches, consumer, config["seconds"], steady)
    found |= _loader_figures(loader, before, steps=found["steps"])
    loader.close()
    data.close()
    return found


def open_options(config: dict[str, Any]) -> dict[str, Any]:
    """The options of `sl.open` that a configuration, which came as JSON, says."""
    options: dict[str, Any] = dict(config.get("options") or {})
    if config.get("fill"):
        options["fill"] = {name: ast.literal_eval(text) for name, text in config["fill"].items()}
    if options.get("shapes"):
        options["shapes"] = {name: tuple(shape) for name, shape in options["shapes"].items()}
    if config.get("decode") is not None:
        options["decode"] = tuple(config["decode"]) if isinstance(config["decode"], list) else config["decode"]
    return options


def _opened(config: dict[str, Any]) -> sl.Source:
    """The data as a configuration says it."""
    paths = config["paths"]
    return sl.open(paths[0] if len(paths) == 1 else paths, config.get("fields"), **open_options(config))


def _loader_of(data: sl.Source, config: dict[str, Any]) -> sl.Loader:
    return sl.Loader(
        data,
        batch_size=config["batch"],
        shuffle=spec_of(config.get("order", "auto"), config.get("window")),
        num_workers=config["workers"],
        memory=config.get("memory"),
        io=config.get("io", "auto"),
        indices=np.arange(config["records"]) if config.get("records") and config["records"] < len(data) else None,
        augment=chain_in(config["augment"]) if config.get("augment") else None,
    )


def _timed(batches: Iterator[Batch], consumer: Consumer, most_seconds: float, steady: Steady) -> dict[str, Any]:
    """Take batches until so many seconds are over, or their rate stands still; what they held and took, and how long each step waited."""
    waits: list[float] = []
    records, used = 0, consumer.nbytes
    cpu, device, start = _cpu_seconds(), _device_nbytes(), time.perf_counter()
    asked = start
    for batch in batches:
        waits.append(time.perf_counter() - asked)
        records += len(batch.records)
        consumer.take(batch)
        del batch
        asked = time.perf_counter()
        if asked - start > most_seconds or steady.is_reached(asked - start, records):
            break
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": _cpu_seconds() - cpu,
        "device_nbytes": _device_nbytes() - device,
        "steps": len(waits),
        "records": records,
        "nbytes": consumer.nbytes - used,
        "used_nbytes": consumer.nbytes,
        "waits": _spread(waits),
    }


def _loader_figures(loader: sl.Loader, before: Stats, *, steps: int) -> dict[str, Any]:
    """What a loader says of itself after a pass, and of `steps` since it counted `before`; the first batch, for which workers start
    and functions are compiled, says little of the others."""
    whole = loader.stats
    stats = replace(whole, **{name: max(0.0, getattr(whole, name) - getattr(before, name)) for name in TIMES})
    pace, cause = (stats.bottleneck, stats.cause) if steps else ("start", "there was one batch, and nothing to be said of others")
    return {
        "order": loader.state_dict()["mode"],
        "read_nbytes": stats.read_nbytes,
        "budget_nbytes": loader.footprint().total,
        "stats": {name: getattr(stats, name) for name in ("disk_seconds", "decode_seconds", "transport_seconds", "copies")},
        "bottleneck": pace,
        "verdict": f"{pace}: {cause}",
    }


def _endless(loader: sl.Loader, *, once: bool) -> Iterator[Batch]:
    """Batches of one epoch, or of epoch after epoch."""
    number = 1
    while True:
        for epoch in loader.epochs(number):
            yield from epoch
        number += 1
        if once or not len(loader):
            return


def _spread(waits: list[float]) -> dict[str, Any]:
    """Percentiles and a histogram of the seconds that steps waited."""
    if not waits:
        return {"p50": 0.0, "p90": 0.0, "p99": 0.0, "most": 0.0, "counts": []}
    p50, p90, p99 = np.percentile(waits, [50, 90, 99]).tolist()
    counts, _ = np.histogram(np.clip(waits, BINS[0], BINS[-1]), BINS)
    return {"p50": p50, "p90": p90, "p99": p99, "most": max(waits), "counts": counts.tolist()}


def _memory(watch: MemoryWatch) -> dict[str, Any]:
    step = -(-len(watch.moments) // MOST_MOMENTS) or 1
    looks = [held for _, held in watch.moments] or [watch.peak]
    return {
        "rss_nbytes": max(held.resident_nbytes for held in looks),
        "pss_nbytes": max(held.own_nbytes + held.file_nbytes for held in looks),
        "own_nbytes": max(held.own_nbytes for held in looks),
        "file_nbytes": max(held.file_nbytes for held in looks),
        "processes": watch.peak.processes,
        "moments": [[round(at, 2), held.own_nbytes, held.file_nbytes] for at, held in watch.moments[::step]],
    }


def _cpu_seconds() -> float:
    """Processor time of this process, all below it, and all that they have buried."""
    ticks = 0
    for pid in below(os.getpid()):
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in after_name[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _device_nbytes() -> int:
    """Bytes that this process and all below it had brought in from storage."""
    total = 0
    for pid in below(os.getpid()):
        try:
            lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("read_bytes:")), 0)
    return total


def main() -> None:
    """Make the pass that the standard input describes; answer on the standard output with one line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        said: dict[str, Any] = {"pass": run_pass(json.loads(sys.stdin.read()))}
    except StreamloadError as error:
        said = {"error": to_plain(error)}
    answers.write(json.dumps(said) + "\n")
    answers.close()


if __name__ == "__main__":
    main()
