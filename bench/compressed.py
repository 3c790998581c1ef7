"""Compressed chunks, shuffled by blocks: streamload against bare decoders of the same chunks, and PyTorch over h5py."""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from bench.command import Report, arguments
from bench.data import Made, compressed
from bench.first_batch import measure
from bench.peers.decoders import DECODERS
from streamload.sizes import format_nbytes, parse_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, NotInstalled, Run, in_turns
from streamload.tools.files.page_cache import make_cold, make_warm

CASES = (("gzip", 64), ("lzf", 64), ("gzip", 1))
WAYS = {"pairs": "a read a record", "whole": "a sorted read a batch"}
LIMIT_AIM = 0.75
COLD_AIM = 0.9
H5PY_AIMS = {("gzip", 64): 75.0, ("lzf", 64): 40.0}


def best_decoder(config: dict[str, Any]) -> str:
    """The fastest decoder of this codec on this file."""
    rates: dict[str, float] = {}
    for decoder in DECODERS[config["codec"]]:
        with Competitor(decoder, "decoders", {**config, "decoder": decoder}) as limit:
            rates[decoder] = limit.run().rate
        print(f"    trying {config['workers']} bare decoders, {decoder}: {rates[decoder]:,.0f} records/s", flush=True)
    return max(rates, key=lambda name: rates[name])


def cold_pass(made: Made, config: dict[str, Any], *, cold: bool, states: list[str]) -> Run:
    """An epoch in a process of its own, with the page cache emptied or filled just before."""
    with Competitor("streamload", "ours", {**config, "settle": 0}) as loader:
        states.append(make_cold([made.path]) if cold else make_warm([made.path]))
        return loader.run()


def compare(report: Report, options: argparse.Namespace, made: Made, codec: str, chunk_records: int) -> None:
    """All comparisons on one file."""
    what = f"{codec}, chunks of {chunk_records}, 3,072 B x {made.records:,}, Block {options.window}"
    cache = make_warm([made.path])
    config: dict[str, Any] = {"path": str(made.path), "batch": options.batch, "workers": options.workers, "codec": codec}
    ours = {**config, "order": "block", "window": options.window, "memory": options.memory}
    decoder = best_decoder(config)
    with Competitor("streamload", "ours", ours) as loader:
        name = f"{options.workers} bare decoders ({decoder})"
        with Competitor(name, "decoders", {**config, "decoder": decoder}) as limit:
            pairs = in_turns(loader.run, limit.run, options.pairs)
        report.compare(Comparison(what=f"warm {what}", ours="streamload", theirs=name, pairs=pairs, cache=cache, target=LIMIT_AIM))
        print(f"    {pairs[-1][0].extra['verdict']}", flush=True)
    if (codec, chunk_records) in H5PY_AIMS and not options.without_torch:
        against_h5py(report, options, what, {**ours, "pairs": True}, cache, H5PY_AIMS[codec, chunk_records])
    if chunk_records > 1 and codec == "gzip":
        for io, way in (("auto", "through the page cache"), ("direct", "past it, as files beyond memory are read")):
            against_warm(report, options, made, {**ours, "io": io}, f"cold {what}, {way}")
        first_batch(report, options, made, config)


def against_warm(report: Report, options: argparse.Namespace, made: Made, config: dict[str, Any], what: str) -> None:
    """A cold epoch against one of a file that the page cache holds, which is read from there."""
    states: list[str] = []
    pairs = in_turns(
        lambda: cold_pass(made, config, cold=True, states=states),
        lambda: cold_pass(made, {**config, "io": "auto"}, cold=False, states=[]),
        options.pairs,
    )
    report.compare(
        Comparison(what=what, ours="streamload, cold", theirs="streamload, warm", pairs=pairs, cache=states[-1], target=COLD_AIM)
    )


def against_h5py(report: Report, options: argparse.Namespace, what: str, ours: dict[str, Any], cache: str, aim: float) -> None:
    """PyTorch over h5py, on as many of the records as it can do in reasonable time."""
    with Competitor("streamload", "ours", ours) as loader:
        for variant, target in (("pairs", aim), ("whole", None)):
            name = f"PyTorch, h5py, {WAYS[variant]}"
            config = {**ours, "variant": variant, "records": options.peer_records, "settle": 0}
            try:
                with Competitor(name, "torch_h5py", config) as torch:
                    pairs = in_turns(loader.run, torch.run, options.peer_pairs)
            except NotInstalled as missing:
                report.say(str(missing))
                continue
            report.compare(
                Comparison(what=f"warm {what}", ours="streamload, images and labels", theirs=name, pairs=pairs, cache=cache, target=target)
            )


def first_batch(report: Report, options: argparse.Namespace, made: Made, config: dict[str, Any]) -> None:
    """The first batch, for which a window must be decoded: that, and a second."""
    with Competitor("decoders", "decoders", {**config, "decoder": "zlib"}) as limit:
        rate = statistics.median(limit.run().byte_rate for _ in range(3))
    # `Block()`'s window counts stored bytes, and so does the share of the file that it is.
    window = min(made.nbytes, made.nbytes * parse_nbytes("512 MB", name="window") / made.stored_nbytes)
    aim = window / rate + 1.0
    report.say(f"    a window of Block() is {format_nbytes(window)} decoded, {window / rate:.2f} s for {options.workers} bare decoders")
    aims = {"from Loader(...), once imported": aim}
    measure(
        report, made, batch=options.batch, workers=options.workers, order="block", times=max(1, options.pairs // 2), cold=False, aims=aims
    )


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("compressed", __doc__ or "")
    parser.add_argument("--window", default="32 MB", help="of Block, for the passes (default 32 MB, so that an epoch has many)")
    parser.add_argument("--memory", help="streamload's memory= (default: its own)")
    parser.add_argument("--peer-pairs", type=int, default=3, help="pairs with PyTorch (default 3)")
    parser.add_argument("--peer-records", type=int, default=10_000, help="records of a pass of PyTorch (default 10,000)")
    parser.add_argument("--without-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--only", help='one case, such as "gzip-64"')
    options = parser.parse_args(given)
    report = Report("compressed", options)
    for codec, chunk_records in CASES:
        if options.only not in (None, f"{codec}-{chunk_records}"):
            continue
        made = compressed(report.folder, codec=codec, chunk_records=chunk_records, nbytes=options.nbytes)
        gain = made.nbytes / made.stored_nbytes
        report.say(
            f"file {made.path.name}: {made.records:,} records, {format_nbytes(made.nbytes)} decoded, {gain:.2f} times the stored bytes"
        )
        compare(report, options, made, codec, chunk_records)
    report.end()


if __name__ == "__main__":
    main()
