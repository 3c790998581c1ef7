"""Warm, contiguous, shuffled whole: streamload against a bare ring of slots, PyTorch over np.memmap, and a plain copy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.command import Report, arguments
from bench.data import Made, raw
from streamload.sizes import format_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, NotInstalled, in_turns
from streamload.tools.files.page_cache import make_warm

RING_MODES: tuple[dict[str, Any], ...] = (
    {"mode": "map", "populate": True, "threads": 1},
    {"mode": "map", "populate": False, "threads": 1},
    {"mode": "pread", "populate": False, "threads": 1},
    {"mode": "pread", "populate": False, "threads": 2},
)
AIMS = {150_528: (1.0, 4.0, 3.0), 3_072: (1.0, 20.0, 8.0), 784: (1.0, 30.0, 6.0)}
"""By bytes of a record: against the ring, against pairs with the default collate, against `__getitems__`."""
WAYS = {"pairs": "(image, int) pairs", "whole": "__getitems__"}
SETTLED_NBYTES = 4 << 30
"""Passes before the clock starts: as many as deliver about this, at least two. Every contender gets as many."""


def ring_name(mode: dict[str, Any]) -> str:
    """A mode of the ring, for people."""
    return f"ring, {mode['mode']}{' populated' if mode['populate'] else ''}, {mode['threads']} threads"


def best_ring(config: dict[str, Any]) -> dict[str, Any]:
    """The fastest mode of the ring on this file, by one pass each."""
    rates: list[tuple[float, int]] = []
    for number, mode in enumerate(RING_MODES):
        with Competitor(ring_name(mode), "ring", {**config, **mode, "settle": 1}) as ring:
            rate = max(ring.run().rate, ring.run().rate)
        print(f"    trying {ring_name(mode)}: {rate:,.0f} records/s", flush=True)
        rates.append((rate, number))
    return RING_MODES[max(rates)[1]]


def compare(report: Report, options: argparse.Namespace, made: Made) -> None:
    """All comparisons on one file."""
    what = f"warm Exact, {made.record_nbytes:,} B x {made.records:,}"
    cache = make_warm([made.path])
    settle = max(2, -(-SETTLED_NBYTES // made.nbytes)) if made.nbytes > 1 << 28 else 2
    config = {"path": str(made.path), "batch": options.batch, "workers": options.workers, "settle": min(settle, 8)}
    ring_aim, pairs_aim, whole_aim = AIMS.get(made.record_nbytes, (1.0, None, None))
    ours = {**config, "memory": options.memory, "io": options.io}
    mode = best_ring(config)
    with Competitor("streamload", "ours", ours) as loader, Competitor(ring_name(mode), "ring", {**config, **mode}) as ring:
        report.compare(
            Comparison(
                what=what,
                ours="streamload, images",
                theirs=ring.name,
                pairs=in_turns(loader.run, ring.run, options.pairs),
                cache=cache,
                target=ring_aim,
            )
        )
        for name, scattered in (("one core copying in order", False), ("one core copying at random", True)):
            with Competitor(name, "copying", {**config, "scattered": scattered}) as copying:
                pairs = in_turns(loader.run, copying.run, options.peer_pairs)
            report.compare(Comparison(what=what, ours="streamload, images", theirs=name, pairs=pairs, cache=cache))
    if options.without_torch:
        return
    with Competitor("streamload", "ours", {**ours, "pairs": True}) as loader:
        for variant, aim in (("pairs", pairs_aim), ("whole", whole_aim)):
            name = f"PyTorch, memmap, {WAYS[variant]}"
            try:
                with Competitor(
                    name, "torch_memmap", {**config, "variant": variant, "settle": 1, "records": options.peer_records}
                ) as torch:
                    pairs = in_turns(loader.run, torch.run, options.peer_pairs)
            except NotInstalled as missing:
                report.say(str(missing))
                continue
            report.compare(Comparison(what=what, ours="streamload, images and labels", theirs=name, pairs=pairs, cache=cache, target=aim))


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("warm", __doc__ or "")
    parser.add_argument("--records", type=int, nargs="+", default=list(AIMS), help="bytes of a record, one or more")
    parser.add_argument("--peer-pairs", type=int, default=3, help="pairs with PyTorch (default 3)")
    parser.add_argument("--peer-records", type=int, default=200_000, help="records of a pass of PyTorch, at most (default 200,000)")
    parser.add_argument("--without-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--memory", help="streamload's memory= (default: its own)")
    parser.add_argument("--io", default="auto", help="streamload's io= (default auto)")
    options = parser.parse_args(given)
    report = Report("warm", options)
    for record_nbytes in options.records:
        made = raw(report.folder, record_nbytes=record_nbytes, nbytes=options.nbytes)
        report.say(f"file {Path(made.path).name}: {made.records:,} records, {format_nbytes(made.nbytes)}")
        compare(report, options, made)
    report.end()


if __name__ == "__main__":
    main()
