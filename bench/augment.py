"""Usual augmentation, warm, a row at a time: streamload beside bare loops, OpenCV, torchvision, albumentations and FFCV.

Every row takes less than four minutes with the default of 1 GB: `python -m bench.augment crop-loops small-torchvision`; all of
them without a name. What is not installed is left out by name.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, field
from typing import Any

from bench.command import Report, arguments
from bench.data import Made, raw
from bench.encoded import hub_parquet
from bench.first_batch import start
from streamload.tools.benchmark.comparison import Comparison, Competitor, CompetitorFailed, NotInstalled, in_turns
from streamload.tools.files.page_cache import make_warm

SMALL_SIDE, SIDE = 32, 224
"""Of what comes out: of small images, of others."""
JPEG_SIDE, JPEG_TIMES = 500, 3
"""So many times the bytes: 1 GB of these are six batches, and a pass would measure how it begins and ends."""
START_AIM_S = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One comparison: a chain of streamload's, and what stands beside it."""

    chain: str
    beside: str
    peer: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    aim: float | None = None
    dtype: str = "float32"
    few: bool = False
    """Whether the other is so slow that a pass of it has few records."""


def _library(chain: str, library: str, aim: float | None) -> Row:
    return Row(chain=chain, beside=library, peer="augmented", settings={"library": library, "settle": 1}, aim=aim, few=True)


def _ours(chain: str, beside: str, aim: float, *, dtype: str = "float32", other: str = "") -> Row:
    settings = {"library": "streamload", "chain": other or chain}
    return Row(chain=chain, beside=beside, peer="augmented", settings=settings, aim=aim, dtype=dtype)


def _decoders(beside: str, aim: float | None, **settings: Any) -> Row:
    return Row(chain="jpeg", beside=beside, peer="parquet_jpegs", settings={"scaled": True, **settings}, aim=aim)


ROWS = {
    "crop-loops": Row(chain="crop", beside="bare loops to float32", peer="ring", settings={"mode": "convert", "threads": 1}, aim=0.7),
    "crop-torchvision": _library("crop", "torchvision", 8.0),
    "crop-albumentations": _library("crop", "albumentations", 4.0),
    "crop-ffcv": Row(chain="crop", beside="FFCV", peer="ffcv_augmented", aim=2.0),
    "crop-float16": _ours("crop", "streamload, float32", 1.3, dtype="float16"),
    "resized-torchvision": _library("resized", "torchvision", 6.0),
    "resized-albumentations": _library("resized", "albumentations", 2.5),
    "resized-opencv": Row(chain="boxes", beside="OpenCV INTER_AREA, bare", peer="opencv_boxes", aim=1.0, dtype="uint8"),
    "resized-opencv-float32": Row(chain="resized", beside="OpenCV INTER_AREA to uint8, bare", peer="opencv_boxes"),
    "jitter-torchvision": _library("jitter", "torchvision", 20.0),
    "jitter-albumentations": _library("jitter", "albumentations", 3.0),
    "no-hue-torchvision": _library("no hue", "torchvision", None),
    "small-loops": Row(chain="small", beside="bare loops to float32", peer="ring", settings={"mode": "convert", "threads": 1}),
    "small-torchvision": _library("small", "torchvision", 30.0),
    "small-albumentations": _library("small", "albumentations", None),
    "jpeg-bare": _decoders("bare decoders at the scale chosen, and the consumer", 0.85, consumed=True, elements=0),
    "jpeg-floats": _decoders("bare decoders, bare loops to float32, and the consumer", None, consumed=True),
    "jpeg-unread": _decoders("bare decoders, and nobody who reads what they give", None),
    "curves": _ours("three curves", "streamload, one curve", 0.95, other="one curve"),
    "start": Row(chain="crop", beside="a loader that does not augment", peer=""),
}
"""By name; the aims are ratios of records a second, ours to theirs."""


def stored(report: Report, options: argparse.Namespace, chain: str) -> Made:
    """The images that a chain is measured on."""
    if chain == "jpeg":
        return hub_parquet(report.folder, side=JPEG_SIDE, nbytes=JPEG_TIMES * options.nbytes)
    return raw(report.folder, record_nbytes=3_072 if chain == "small" else 196_608, nbytes=options.nbytes)


def compare(report: Report, options: argparse.Namespace, name: str, row: Row) -> None:
    """One row: passes in turns, each contender in a process of its own."""
    made = stored(report, options, row.chain)
    cache = make_warm([made.path])
    config = {
        "path": str(made.path),
        "folder": str(report.folder),
        "batch": options.batch,
        "workers": options.workers,
        "chain": row.chain,
        "settle": 2,
    }
    ours = {**config, "library": "streamload", "dtype": row.dtype}
    theirs = {"dtype": "float32", "elements": 3 * (SMALL_SIDE if row.chain == "small" else SIDE) ** 2, **config, **row.settings}
    if row.few:
        theirs["records"] = options.peer_records
    if row.chain == "jpeg":
        ours["window"] = theirs["window"] = "32 MB"
    try:
        with Competitor(f"streamload, {row.dtype}", "augmented", ours) as loader, Competitor(row.beside, row.peer, theirs) as other:
            pairs = in_turns(loader.run, other.run, options.pairs)
    except (NotInstalled, CompetitorFailed) as missing:
        report.say(f"{name}: {missing}")
        return
    what = f"{name}, {made.record_nbytes:,} B x {made.records:,}, warm"
    ours_name = f"streamload, {row.dtype}"
    report.compare(Comparison(what=what, ours=ours_name, theirs=row.beside, pairs=pairs, cache=cache, target=row.aim, by_records=True))


def compare_starts(report: Report, options: argparse.Namespace, name: str) -> None:
    """How much later the first batch of a loader that augments comes, kernels compiled before."""
    made = stored(report, options, "crop")
    make_warm([made.path])
    taken: dict[str, list[float]] = {"": [], "crop": []}
    for turn in range(-1, options.pairs):  # The first pair compiles what has not been.
        for chain, found in taken.items():
            seconds = start(made, batch=options.batch, workers=options.workers, order="exact", chain=chain)[0]["first"]
            if turn >= 0:
                found.append(seconds)
    later = statistics.median(b - a for a, b in zip(*taken.values(), strict=True))
    verdict = "reached" if later <= START_AIM_S else "MISSED"
    report.say(
        f"{name}: the first batch comes {later:.3f} s later with augment= (aim: {START_AIM_S:g} s, {verdict}); "
        f"{statistics.median(taken['']):.3f} s without, {len(taken[''])} pairs",
        later=later,
        seconds=taken,
    )


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("augment", __doc__ or "", pairs=5)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which rows (default: all): {', '.join(ROWS)}")
    parser.add_argument("--peer-records", type=int, default=4_000, help="records of a pass of slow libraries (default 4,000)")
    options = parser.parse_args(given)
    unknown = sorted(set(options.rows) - set(ROWS))
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}: {', '.join(ROWS)}")
    report = Report("augment", options)
    for name in options.rows or ROWS:
        if name == "start":
            compare_starts(report, options, name)
        else:
            compare(report, options, name, ROWS[name])
    report.end()


if __name__ == "__main__":
    main()
