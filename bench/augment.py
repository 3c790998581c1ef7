"""Usual augmentation, warm: streamload against two bare loops that only convert, torchvision and albumentations in PyTorch."""

from __future__ import annotations

import argparse

from bench.command import Report, arguments
from bench.data import Made, raw
from streamload.tools.benchmark.comparison import Comparison, Competitor, CompetitorFailed, NotInstalled, in_turns
from streamload.tools.files.page_cache import make_warm

CHAINS = {"crop": 224, "resized": 224, "jitter": 224, "small": 32}
"""By name, the side of what comes out."""
STORED = {"crop": 196_608, "resized": 196_608, "jitter": 196_608, "small": 3_072}
"""Bytes of an image that each is measured on."""
AIMS = {
    "crop": {"two bare loops": 0.7, "torchvision": 8.0, "albumentations": 4.0},
    "resized": {"torchvision": 6.0, "albumentations": 2.5},
    "jitter": {"torchvision": 20.0, "albumentations": 3.0},
    "small": {"torchvision": 30.0},
}


def compare(report: Report, options: argparse.Namespace, chain: str, made: Made) -> None:
    """One chain against the loops, against itself in float16, and against the other libraries."""
    cache = make_warm([made.path])
    config = {"path": str(made.path), "batch": options.batch, "workers": options.workers, "chain": chain, "settle": 2}
    what = f"{chain}, {made.record_nbytes:,} B x {made.records:,}, warm"
    ours = {**config, "library": "streamload", "dtype": "float32"}
    with Competitor("streamload, float32", "augmented", ours) as loader:
        elements = 3 * CHAINS[chain] ** 2
        bare = {**config, "mode": "convert", "elements": elements, "threads": 1}
        for name, peer, settings in (
            ("two bare loops", "ring", bare),
            ("streamload, float16", "augmented", {**ours, "dtype": "float16"}),
            ("torchvision", "augmented", {**config, "library": "torchvision", "records": options.peer_records, "settle": 1}),
            ("albumentations", "augmented", {**config, "library": "albumentations", "records": options.peer_records, "settle": 1}),
        ):
            try:
                with Competitor(name, peer, settings) as other:
                    pairs = in_turns(loader.run, other.run, options.pairs)
            except (NotInstalled, CompetitorFailed) as missing:
                report.say(str(missing))
                continue
            target = AIMS[chain].get(name)
            report.compare(Comparison(what=what, ours=loader.name, theirs=name, pairs=pairs, cache=cache, target=target))


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("augment", __doc__ or "", pairs=5)
    parser.add_argument("--chains", nargs="+", default=list(CHAINS), choices=list(CHAINS), help="which chains (default: all)")
    parser.add_argument("--peer-records", type=int, default=4_000, help="records of a pass of other libraries (default 4,000)")
    options = parser.parse_args(given)
    report = Report("augment", options)
    for chain in options.chains:
        compare(report, options, chain, raw(report.folder, record_nbytes=STORED[chain], nbytes=options.nbytes))
    report.end()


if __name__ == "__main__":
    main()
