"""Order quality beside speed: how well every order mixes data that is stored by class, and what a network learns in each."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import Report, arguments
from bench.mixing import Epochs, mixing, points, random_blocks, shuffle_buffer
from bench.training import Images, stored_by_class, trainer
from streamload.order import Block, Exact, Sequential, layout_of
from streamload.tools.benchmark.comparison import Competitor, CompetitorFailed, NotInstalled
from streamload.tools.benchmark.competitors import PEERS

BLOCK = 64
WINDOW_SHARE = 8
"""A window, and every buffer that is to be compared with it, holds so great a part of the records: one in eight."""
CLASSES = 1_000
NUMBERED_NBYTES = 1_024
SHARDS = 16
TRAINING = {"block": 50, "batch": 128, "share": 6}


def orders(records: int, *, block: int, window: int, seed: int) -> dict[str, tuple[Epochs, int]]:
    """Orders by their names, with how many records each holds in memory."""
    nbytes = 256 * 1024 // block  # so that blocks are just large enough not to be merged
    layout = layout_of([0, records], cuts=np.append(np.arange(0, records, block), records), record_nbytes=nbytes, addressable=False)

    def whole(order: Any) -> Epochs:
        return lambda epoch: np.asarray(order.records(epoch, 0, records))

    return {
        "streamload, Exact": (whole(Exact().bind(layout, seed)), 0),
        "streamload, Block": (whole(Block(window=window * nbytes).bind(layout, seed)), window),
        "windows of random blocks": (random_blocks(records, block=block, window=window, seed=seed), window),
        "shuffle buffer": (shuffle_buffer(records, held=window, seed=seed), window),
        "shuffle buffer of 1,000": (shuffle_buffer(records, held=1_000, seed=seed), 1_000),
        "as stored": (whole(Sequential().bind(layout_of([0, records], cuts=None, record_nbytes=nbytes, addressable=True), seed)), 0),
    }


def say_mixing(
    report: Report,
    name: str,
    found: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
    *,
    batch: int,
    held: int,
    rate: float | None = None,
) -> None:
    """The figures of one order, printed and kept with some points for a picture; its records a second beside them, where it has any."""
    of = mixing(found, labels, batch=batch, block=BLOCK)
    speed = "" if rate is None else f"   {rate:,.0f} records/s"
    report.say(
        f"    {name:<36} variance {of.variance:8.2f}   entropy {100 * of.entropy:6.1f} % ({of.entropy_bits:.2f} bits)   "
        f"discrepancy {of.discrepancy:.3f}   same block {of.same_block:8.2f}{speed}",
        order=name,
        records=len(labels),
        held_records=held,
        pairs=points(found),
        **of.plain(),
        **({} if rate is None else {"rate": rate}),
    )


def own_orders(report: Report, options: argparse.Namespace) -> None:
    """Streamload's orders and what others do, at equal memory, on 1,000 classes stored in order."""
    records, window = options.records, options.records // WINDOW_SHARE
    labels = np.arange(records) * CLASSES // records
    report.say(f"{records:,} records of {CLASSES:,} classes stored in order, blocks of {BLOCK}, windows and buffers of {window:,}")
    for name, (epoch, held) in orders(records, block=BLOCK, window=window, seed=0).items():
        say_mixing(report, name, epoch(0), labels, batch=options.batch, held=held)


def numbered(folder: Path, records: int) -> Path:
    """A file whose records begin with their own numbers, sorted by class."""
    import h5py

    path = folder / f"numbered-{NUMBERED_NBYTES}-{records}.h5"
    if not path.exists():
        images = np.random.default_rng(0).integers(256, size=(records, NUMBERED_NBYTES), dtype=np.uint8)
        images[:, :8] = np.arange(records)[:, None].view(np.uint8)
        partial = path.with_suffix(".partial")
        with h5py.File(partial, "w") as file:
            file["image"], file["label"] = images, np.arange(records) * CLASSES // records
        partial.rename(path)
    return path


def contenders(report: Report, options: argparse.Namespace) -> None:
    """The order in which every contender that is installed hands out a numbered file, its shards a sixteenth of it."""
    records = options.contender_records
    path, labels = numbered(report.folder, records), np.arange(records) * CLASSES // records
    report.say(f"contenders on {records:,} records, {SHARDS} shards or chunks where they have any; what each says of its order behind it")
    asked: dict[str, Any] = {
        "path": str(path),
        "folder": str(report.folder),
        "batch": options.batch,
        "workers": options.workers,
        "settle": 0,
        "shard_nbytes": records * NUMBERED_NBYTES // SHARDS,
    }
    window = records * NUMBERED_NBYTES // WINDOW_SHARE
    ours: dict[str, tuple[str, dict[str, Any]]] = {
        "streamload's loader, Exact": ("ours", {"order": "exact", "pairs": True}),
        "streamload's loader, Block": ("ours", {"order": "block", "window": window, "pairs": True}),
    }
    for name, (peer, more) in (ours | PEERS).items():
        if options.only and peer not in ("ours", *options.only):
            continue
        try:
            with Competitor(name, peer, {**asked, **more}) as contender:
                seen, rate = contender.run(watch=True).extra["seen"], contender.run().rate
                about = contender.about.get("order", "full shuffle" if "window" not in more else f"windows of {window:,} bytes")
        except (NotInstalled, CompetitorFailed) as reason:
            report.say(str(reason), missing=name)
            continue
        found = np.array([record for batch in seen for record in batch], np.int64)
        if len(np.unique(found)) != records:
            report.say(f"    {name}: handed out {len(found):,} records, {len(np.unique(found)):,} of {records:,} different ones")
        say_mixing(report, f"{name} ({about})", found, labels, batch=options.batch, held=0, rate=rate)


def training(report: Report, options: argparse.Namespace) -> None:
    """The same network on the same pixels in several orders, several seeds."""
    found = trainer()
    if found is None:
        report.say("training is left out: torch is not installed", missing="torch")
        return
    words, train = found
    window = options.train_records // TRAINING["share"]
    data, test = stored_by_class(options.train_records, seed=0), stored_by_class(2_400, seed=1)
    records = len(data.labels)
    report.say(f"{words}, on {records:,} crops of photographs stored class by class")
    report.say(f"    {options.epochs} epochs, {options.seeds} seeds, windows and buffers of {window:,}")
    names = ["streamload, Exact", "streamload, Block", "windows of random blocks", "shuffle buffer"]
    guessing = 1 / len(np.unique(data.labels))
    for name in names:
        began = time.perf_counter()
        accuracies = [_trained(train, name, data, test, seed=seed, options=options, window=window) for seed in range(options.seeds)]
        mean = statistics.fmean(accuracies)
        shown = " ".join(f"{one:.3f}" for one in accuracies)
        each = (time.perf_counter() - began) / options.seeds
        report.say(
            f"    {name:<36} accuracy {mean:.3f} ({shown}), {each:.1f} s a run; guessing {guessing:.3f}",
            order=name,
            mean=mean,
            accuracies=accuracies,
            epochs=options.epochs,
            model=words,
            guessing=guessing,
        )


def _trained(train: Any, name: str, data: Images, test: Images, *, seed: int, options: argparse.Namespace, window: int) -> float:
    epoch, _ = orders(len(data.labels), block=TRAINING["block"], window=window, seed=seed)[name]
    return float(train(epoch, data, test, seed=seed, epochs=options.epochs, batch=TRAINING["batch"]))


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("quality", __doc__ or "")
    parser.add_argument("--records", type=int, default=65_536, help="of the orders that are worked out (default 65,536)")
    parser.add_argument("--contender-records", type=int, default=16_384, help="of the file that contenders are given (default 16,384)")
    parser.add_argument("--train-records", type=int, default=7_200, help="that the network learns from (default 7,200)")
    parser.add_argument("--epochs", type=int, default=4, help="of training (default 4)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of training in each order (default 3)")
    parser.add_argument("--without-training", action="store_true", help="leave the network out")
    parser.add_argument("--only", nargs="+", choices=sorted({peer for peer, _ in PEERS.values()}), help="some of the contenders")
    options = parser.parse_args(given)
    report = Report("quality", options)
    own_orders(report, options)
    contenders(report, options)
    if not options.without_training:
        training(report, options)
    report.end()


if __name__ == "__main__":
    main()
