"""Every contender that is installed, on the same records with the same consumer, beside streamload and a plain copy."""

from __future__ import annotations

import argparse
import statistics

from bench.command import Report, arguments
from bench.data import Made, raw
from streamload.sizes import format_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, CompetitorFailed, NotInstalled, in_turns
from streamload.tools.benchmark.competitors import PEERS
from streamload.tools.files.page_cache import make_warm


def against(report: Report, options: argparse.Namespace, made: Made, loader: Competitor, name: str) -> Comparison | None:
    """One contender's passes and ours, in turns."""
    peer, config = PEERS[name]
    config = {
        **config,
        "path": str(made.path),
        "folder": str(report.folder),
        "batch": options.batch,
        "workers": options.workers,
        "settle": 1,
    }
    try:
        with Competitor(name, peer, config) as contender:
            cache = make_warm([made.path])
            pairs = in_turns(loader.run, contender.run, options.pairs)
    except (NotInstalled, CompetitorFailed) as reason:
        report.say(str(reason))
        return None
    what = f"warm, {made.record_nbytes:,} B x {made.records:,}, images and labels"
    found = Comparison(what=what, ours="streamload, full shuffle", theirs=name, pairs=pairs, cache=cache)
    report.compare(found)
    about = contender.about
    if "written_seconds" in about:
        size = format_nbytes(about["written_nbytes"])
        report.say(
            f"    its order: {about['order']}; its own format took {about['written_seconds']:.1f} s to write and takes {size}", **about
        )
    else:
        report.say(f"    its order: {about.get('order', 'full shuffle')}; it reads the same file")
    return found


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("contenders", __doc__ or "", pairs=3)
    parser.add_argument("--record", type=int, default=3_072, help="bytes of a record (default 3,072)")
    parser.add_argument("--only", nargs="+", choices=sorted({peer for peer, _ in PEERS.values()}), help="some of them")
    options = parser.parse_args(given)
    report = Report("contenders", options)
    made = raw(report.folder, record_nbytes=options.record, nbytes=options.nbytes)
    make_warm([made.path])
    config = {"path": str(made.path), "batch": options.batch, "workers": options.workers, "settle": 2}
    rates: dict[str, float] = {}
    with Competitor("streamload", "ours", {**config, "pairs": True}) as loader:
        with Competitor("one core copying in order", "copying", config) as copying:
            limit = statistics.median(copying.run().byte_rate for _ in range(options.pairs))
        for name, (peer, _) in PEERS.items():
            if not options.only or peer in options.only:
                found = against(report, options, made, loader, name)
                if found is not None:
                    rates[name] = statistics.median(theirs.byte_rate for _, theirs in found.pairs)
        rates["streamload"] = statistics.median(loader.run().byte_rate for _ in range(options.pairs))
    report.say(f"share of what one core copies ({limit / 1e6:,.0f} MB/s):", limit=limit, rates=rates)
    for name, rate in sorted(rates.items(), key=lambda pair: -pair[1]):
        report.say(f"    {name:<40} {rate / made.record_nbytes:12,.0f} records/s {rate / 1e6:9,.0f} MB/s {100 * rate / limit:6.1f} %")
    report.end()


if __name__ == "__main__":
    main()
