"""Parquet, Arrow and npy: raw records beside the same in HDF5, and decoded ones beside bare decoders and what others offer."""

from __future__ import annotations

import argparse
from typing import Any

from bench import layouts
from bench.command import Report, arguments, beside_others
from bench.data import Made, compressed, raw
from streamload.sizes import format_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, Run, in_turns
from streamload.tools.files.page_cache import make_cold, make_warm

RAW_AIM = 0.95
LIMIT_AIM = 0.75
PYARROW, DATASETS = "pyarrow, batches in order", "Hugging Face datasets, torch loader"


def beside_hdf5(report: Report, options: argparse.Namespace, made: Made, other: Made, name: str, *, cold: bool) -> None:
    """One layout and raw HDF5, full shuffle, both by streamload."""
    config: dict[str, Any] = {"batch": options.batch, "workers": options.workers, "memory": options.memory}
    what = f"{'cold' if cold else 'warm'} Exact, {made.record_nbytes:,} B x {made.records:,}"
    if cold:
        states: list[str] = []
        config |= {"io": "read", "settle": 0}
        pairs = in_turns(lambda: cold_pass(other, config, states), lambda: cold_pass(made, config, states), options.cold_pairs)
        cache = states[-1]
    else:
        cache = make_warm([made.path, other.path])
        config |= {"settle": 2}
        ours, theirs = ({**config, "path": str(one.path)} for one in (other, made))
        with Competitor(name, "ours", ours) as first, Competitor("HDF5", "ours", theirs) as second:
            pairs = in_turns(first.run, second.run, options.pairs)
    found = Comparison(what=what, ours=f"streamload, {name}", theirs="streamload, raw HDF5", pairs=pairs, cache=cache, target=RAW_AIM)
    report.compare(found)


def cold_pass(made: Made, config: dict[str, Any], states: list[str]) -> Run:
    """An epoch in a process of its own, after the page cache was emptied of the file."""
    make_cold([made.path])
    with Competitor("streamload", "ours", {**config, "path": str(made.path)}) as loader:
        states.append(make_cold([made.path]))
        return loader.run()


def beside_decoders(report: Report, options: argparse.Namespace, made: Made, other: Made) -> None:
    """Compressed Parquet, shuffled by blocks: beside as many bare decoders, and beside what else reads such files."""
    cache = make_warm([other.path])
    what = (
        f"warm zstd Parquet, row groups of {layouts.GROUP_RECORDS:,}, {made.record_nbytes:,} B x {made.records:,}, Block {options.window}"
    )
    config: dict[str, Any] = {"path": str(other.path), "batch": options.batch, "workers": options.workers, "memory": options.memory}
    ours = {**config, "order": "block", "window": options.window}
    with Competitor("streamload", "ours", ours) as loader:
        name = f"{options.workers} bare decoders (zstd)"
        with Competitor(name, "decoders", {**config, "codec": "zstd", "decoder": "zstd"}) as limit:
            pairs = in_turns(loader.run, limit.run, options.pairs)
        report.compare(Comparison(what=what, ours="streamload", theirs=name, pairs=pairs, cache=cache, target=LIMIT_AIM))
        print(f"    {pairs[-1][0].extra['verdict']}", flush=True)
    theirs = {**config, "folder": str(report.folder), "settle": 1}
    others = {PYARROW: ("parquet_batches", theirs), DATASETS: ("huggingface", {**theirs, "path": str(made.path)})}
    beside_others(report, others, {**ours, "pairs": True}, what=what, cache=cache, pairs=options.peer_pairs)


def raw_beside_others(report: Report, options: argparse.Namespace, name: str, made: Made, other: Made) -> None:
    """Raw records, fully shuffled, beside what else reads such files."""
    config: dict[str, Any] = {"path": str(other.path), "batch": options.batch, "workers": options.workers}
    theirs = {**config, "folder": str(report.folder), "settle": 1}
    hdf5 = {**theirs, "path": str(made.path)}
    others = {
        "parquet": {PYARROW: ("parquet_batches", theirs)},
        "arrow": {DATASETS: ("huggingface", hdf5)},
        # The bytes of an .npy file lie as those of the HDF5 file do, which has the labels too.
        "npy": {"PyTorch, memmap": ("torch_memmap", {**hdf5, "variant": "pairs"})},
    }
    ours = {**config, "memory": options.memory, "pairs": name != "npy", "settle": 2}
    what = f"warm {name}, Exact, {made.record_nbytes:,} B x {made.records:,}"
    cache = make_warm([made.path, other.path])
    beside_others(report, others[name], ours, what=what, cache=cache, pairs=options.peer_pairs)


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("formats", __doc__ or "")
    parser.add_argument("--record", type=int, default=3_072, help="bytes of a raw record (default 3,072)")
    parser.add_argument("--window", default="32 MB", help="of Block (default 32 MB, so that an epoch has many)")
    parser.add_argument("--memory", help="streamload's memory= (default: its own)")
    parser.add_argument("--cold-pairs", type=int, default=3, help="pairs of cold passes (default 3; 0 for none)")
    parser.add_argument("--peer-pairs", type=int, default=3, help="pairs with others (default 3)")
    parser.add_argument("--only", choices=("parquet", "arrow", "npy", "zstd"), help="one of the cases")
    options = parser.parse_args(given)
    report = Report("formats", options)
    writers = {"parquet": lambda made: layouts.parquet(made, codec="none"), "arrow": layouts.arrow, "npy": layouts.npy}
    written: list[tuple[str, Made, Made]] = []
    if options.only != "zstd":
        made = raw(report.folder, record_nbytes=options.record, nbytes=options.nbytes)
        report.say(f"file {made.path.name}: {made.records:,} records, {format_nbytes(made.nbytes)}")
        for name, write in writers.items():
            if options.only in (None, name):
                other = write(made)
                written.append((name, made, other))
                beside_hdf5(report, options, made, other, name, cold=False)
                if name == "parquet" and options.cold_pairs:
                    beside_hdf5(report, options, made, other, name, cold=True)
    if options.only in (None, "zstd"):
        made = compressed(report.folder, codec="", chunk_records=64, nbytes=options.nbytes)
        other = layouts.parquet(made, codec="zstd")
        gain = made.nbytes / other.stored_nbytes
        report.say(
            f"file {other.path.name}: {made.records:,} records, {format_nbytes(made.nbytes)} decoded, {gain:.2f} times the stored bytes"
        )
        beside_decoders(report, options, made, other)
    for name, made, other in written:
        raw_beside_others(report, options, name, made, other)
    report.end()


if __name__ == "__main__":
    main()
