"""Cold: the page cache emptied before every pass, against what the device gives to direct reads at its best depth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.command import Report, arguments
from bench.data import Made, raw
from streamload.sizes import format_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, Run, in_turns
from streamload.tools.files.page_cache import make_cold

DEPTHS = (1, 2, 4, 8, 16, 32, 64)
SEQUENTIAL = tuple((size << 20, depth) for size in (1, 4, 16) for depth in (1, 4, 8))
AIM = 0.9


def sweep(report: Report, made: Made, order: str, cases: list[tuple[int, int]], most: int) -> tuple[int, int]:
    """The device's rate for each (size, depth), twice over; the best of them."""
    rates: dict[tuple[int, int], float] = {}
    with Competitor("device", "device", {"path": str(made.path), "order": order}) as device:
        for size, depth in cases:
            runs = [device.run(size=size, depth=depth, most=most) for _ in range(2)]
            rates[size, depth] = max(run.byte_rate for run in runs)
            report.say(
                f"    device, {order}, {size:,} B at depth {depth}: "
                f"{rates[size, depth] / 1e6:,.0f} MB/s, {rates[size, depth] / size:,.0f} reads/s",
                order=order,
                size=size,
                depth=depth,
                byte_rate=rates[size, depth],
            )
    return max(rates, key=lambda case: rates[case])


def cold_pass(made: Made, config: dict[str, Any], states: list[str]) -> Run:
    """One epoch of a loader in a process of its own, after the page cache was emptied. Its workers are up before.

    The cache is emptied before they start as well: a file that they found there would be mapped, and could not be evicted.
    """
    make_cold([made.path])
    with Competitor("streamload", "ours", {**config, "path": str(made.path), "settle": 0}) as loader:
        states.append(make_cold([made.path]))
        return loader.run()


def compare(report: Report, options: argparse.Namespace, made: Made, *, order: str) -> None:
    """One order on one file, against the device's best."""
    exact = order == "exact"
    kind = "random" if exact else "sequential"
    cases = [(made.record_nbytes, depth) for depth in DEPTHS] if exact else list(SEQUENTIAL)
    size, depth = sweep(report, made, kind, cases, min(options.sweep, made.nbytes))
    states: list[str] = []
    config: dict[str, Any] = {"batch": options.batch, "workers": options.workers, "order": order, "io": options.io}
    if not exact:
        config["window"] = options.window
    with Competitor("device", "device", {"path": str(made.path), "order": kind, "size": size, "depth": depth}) as device:
        pairs = in_turns(lambda: cold_pass(made, config, states), device.run, options.pairs)
    name = f"device, direct {kind} reads of {size:,} B, depth {depth}"
    title = f"cold {order.title()}, {made.record_nbytes:,} B x {made.records:,}"
    report.compare(Comparison(what=title, ours="streamload", theirs=name, pairs=pairs, cache=states[-1], target=AIM))


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("cold", __doc__ or "")
    parser.add_argument("--sweep", type=int, default=256 << 20, help="bytes read at each size and depth when looking for the best")
    parser.add_argument("--window", default="512 MB", help="of Block")
    parser.add_argument("--io", default="read", help="streamload's io= (default read: pages that are mapped cannot be evicted)")
    parser.add_argument("--only", choices=("exact", "block"), help="one of the two cases")
    options = parser.parse_args(given)
    report = Report("cold", options)
    for order, record_nbytes in (("exact", 150_528), ("block", 3_072)):
        if options.only in (None, order):
            made = raw(report.folder, record_nbytes=record_nbytes, nbytes=options.nbytes)
            report.say(f"file {Path(made.path).name}: {made.records:,} records, {format_nbytes(made.nbytes)}")
            compare(report, options, made, order=order)
    report.end()


if __name__ == "__main__":
    main()
