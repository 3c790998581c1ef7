"""What the order costs a record, what block tables, the state and the accounts cost, what the parent does, and what crosses sockets."""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import statistics
import time
import timeit
from functools import partial
from typing import Any

import streamload as sl
from bench.command import Report, arguments
from bench.data import compressed, raw
from bench.peers.round_trip import round_trip_seconds
from streamload.fetch.tasks import FINISHED_FRAME, StepPiece, StepTask, WindowTask, pack_step, pack_window
from streamload.kernels import compile_kernels
from streamload.memory.limits import usable_cores
from streamload.memory.progress import COUNTERS, WorkerProgress
from streamload.order import Block, Exact, layout_of
from streamload.sizes import format_nbytes
from streamload.tools.benchmark.comparison import Competitor
from streamload.tools.files.page_cache import make_warm
from streamload.workers.worker import RECORD_NS

COUNTS = tuple(10**power for power in range(6, 12))
STRETCHES = (256, 65_536)
ORDER_AIM_NS, PARENT_AIM_US, SOCKET_AIM_NBYTES = 15.0, 100.0, 1_024
STATE_AIM_US, ACCOUNTS_AIM = 100.0, 0.01
TIMED_S = 0.15


def layout(records: int, *, cuts: Any = None) -> Any:
    """A layout of small records in one file."""
    import numpy as np

    return layout_of(np.array([0, records]), cuts=cuts, record_nbytes=3_072, addressable=True)


def nanoseconds(order: Any, stretch: int, times: int) -> float:
    """Median cost of a record, of several runs over the middle of an epoch."""
    taken: list[float] = []
    at = order.n // 3
    for _ in range(times):
        done, began = 0, time.perf_counter()
        while (seconds := time.perf_counter() - began) < TIMED_S:
            order.records(1, at, at + stretch)
            at = at + stretch if at + 2 * stretch < order.n else 0
            done += stretch
        taken.append(seconds / done * 1e9)
    return statistics.median(taken)


def verdict(value: float, aim: float) -> str:
    """Whether a cost is within its aim, with the ratio."""
    return f"aim: {aim:g}, {'reached' if value <= aim else 'MISSED'}, ratio {value / aim:.2f}"


def arithmetic(report: Report, times: int) -> None:
    """Exact, from a million records to a hundred thousand million, one core."""
    compile_kernels()
    for records in COUNTS:
        order = Exact().bind(layout(records), seed=0)
        order.records(1, 0, 256)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        costs = {stretch: nanoseconds(order, stretch, times) for stretch in STRETCHES}
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        parts = " · ".join(f"{cost:.1f} ns a record in stretches of {stretch:,}" for stretch, cost in costs.items())
        report.say(
            f"Exact, {records:.0e} records: {parts} ({verdict(costs[STRETCHES[-1]], ORDER_AIM_NS)}); "
            f"peak memory grew by {format_nbytes(grown)}",
            records=records,
            costs=costs,
            grown_nbytes=grown,
        )


def tables(report: Report, chunks: tuple[int, ...]) -> None:
    """Block tables: what an epoch's costs to work out and to hold, and what a record then costs."""
    import numpy as np

    for count in chunks:
        cuts = np.arange(count + 1, dtype=np.int64) * 64
        order = Block().bind(layout(count * 64, cuts=cuts), seed=0)
        empty = order.empty_table()
        began = time.perf_counter()
        order.table(0, *empty)
        seconds = time.perf_counter() - began
        cost = nanoseconds(order, 256, 3)
        report.say(
            f"Block, {count * 64:.0e} records in {count:,} chunks: {cost:.1f} ns a record in stretches of 256; "
            f"table {format_nbytes(order.table_nbytes)}, made in {seconds * 1e3:.1f} ms",
            chunks=count,
            cost=cost,
            table_nbytes=order.table_nbytes,
            table_seconds=seconds,
        )


def parent(report: Report, options: argparse.Namespace) -> None:
    """The parent's processor time for a batch that nobody looks at, by kind of file."""
    raw_file = raw(report.folder, record_nbytes=784, nbytes=options.nbytes)
    chunked = compressed(report.folder, codec="lzf", chunk_records=64, nbytes=options.nbytes)
    for made, order in ((raw_file, "exact"), (raw_file, "block"), (chunked, "block")):
        make_warm([made.path])
        config = {"path": str(made.path), "batch": options.batch, "workers": options.workers, "order": order, "consume": False, "settle": 2}
        with Competitor("streamload", "ours", config) as loader:
            costs = [1e6 * run.cpu_seconds / run.extra["steps"] for run in (loader.run() for _ in range(options.pairs))]
        cost = statistics.median(costs)
        report.say(
            f"parent's own work, {made.path.name}, {order.title()}: {cost:.1f} microseconds a batch ({verdict(cost, PARENT_AIM_US)})",
            microseconds=cost,
            all=costs,
        )


def state(report: Report, options: argparse.Namespace) -> None:
    """What `state_dict` takes, in the middle of an epoch."""
    made = raw(report.folder, record_nbytes=784, nbytes=options.nbytes)
    with sl.Loader(sl.open(made.path), batch_size=options.batch, num_workers=0) as loader:
        next(iter(loader))
        cost = statistics.median(timeit.repeat(loader.state_dict, number=1_000, repeat=options.pairs)) * 1e3
    report.say(f"state_dict(): {cost:.1f} microseconds ({verdict(cost, STATE_AIM_US)})", microseconds=cost)


def accounts(report: Report, options: argparse.Namespace) -> None:
    """The share of all processor time that goes into looking at clocks and writing counters down.

    How often a step does so is counted in one process that does all the work; each call costs what it costs alone; a step costs
    what parent and workers take together. That process writes counters with every step, and asks how long it ran before and after
    each read; workers write them every half millisecond at most, and ask only until the files, all of them cached, are mapped.
    """
    for record_nbytes in (150_528, 784):
        made = raw(report.folder, record_nbytes=record_nbytes, nbytes=options.nbytes)
        make_warm([made.path])
        data = sl.open(made.path, fields=["image"])
        clocks = {"perf_counter_ns": time.perf_counter_ns, "thread_time_ns": time.thread_time_ns}
        progress = WorkerProgress.create(1)
        cost = {name: timeit.timeit(clock, number=100_000) / 100_000 for name, clock in clocks.items()}
        counters = tuple(range(len(COUNTERS)))
        cost["record"] = timeit.timeit(partial(progress.record, 0, counters), number=10_000) / 10_000
        progress.close()
        with sl.Loader(data, batch_size=options.batch, num_workers=0) as loader:
            profile = cProfile.Profile()
            profile.enable()
            for _ in loader:
                pass
            profile.disable()
            steps = len(loader)
        calls = dict.fromkeys(cost, 0.0)
        for (_, _, function), (count, *_) in pstats.Stats(profile).stats.items():  # pyright: ignore[reportAttributeAccessIssue]
            for name in calls:
                if function == name or function.endswith(f"time.{name}>"):
                    calls[name] += count
        config = {"path": str(made.path), "batch": options.batch, "workers": options.workers, "consume": False, "settle": 2}
        with Competitor("streamload", "ours", config) as loader:
            step = statistics.median(run.seconds / run.extra["steps"] for run in (loader.run() for _ in range(options.pairs)))
        calls["thread_time_ns"] = 0.0
        calls["record"] *= min(1.0, step * options.workers * 1e9 / RECORD_NS)
        spent = sum(cost[name] * calls[name] for name in cost) / steps
        share = spent / (step * min(options.workers + 1, usable_cores()))
        report.say(
            f"accounts, {record_nbytes:,} B: {spent * 1e6:.1f} microseconds of a step that takes {step * 1e6:.0f} on all cores, "
            f"{100 * share:.2f} % ({verdict(share, ACCOUNTS_AIM)})",
            seconds=spent,
            step_seconds=step,
            calls={name: count / steps for name, count in calls.items()},
        )


def sockets(report: Report, options: argparse.Namespace) -> None:
    """Bytes on the wire for a step, from the frames themselves."""
    piece = StepPiece(0, 0, 1, 2, 3)
    step = len(pack_step(StepTask(0, 1, 2, 3, (piece,), (piece,)))) + len(FINISHED_FRAME)
    window = len(pack_window(WindowTask(*range(6))))
    most = step + window * options.workers
    report.say(
        f"sockets: {step} bytes a step, and {window} a worker for every window: "
        f"at most {most} bytes a step ({verdict(most, SOCKET_AIM_NBYTES)})",
        step_nbytes=step,
        window_nbytes=window,
    )
    trip = round_trip_seconds()
    report.say(f"round trip through a socket pair to another process and back: {trip * 1e6:.1f} microseconds", seconds=trip)


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("order", __doc__ or "", pairs=5)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 1_000_000], help="block tables of so many chunks")
    options = parser.parse_args(given)
    report = Report("order", options)
    arithmetic(report, options.pairs)
    tables(report, tuple(options.chunks))
    sockets(report, options)
    parent(report, options)
    state(report, options)
    accounts(report, options)
    report.end()


if __name__ == "__main__":
    main()
