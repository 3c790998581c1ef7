"""JPEG in Parquet as the Hugging Face hub has it, shuffled: streamload beside bare decoders, and beside what most people would write."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.command import Report, arguments, beside_others
from bench.data import CLASSES, Made, smooth_images
from streamload.sizes import format_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, in_turns
from streamload.tools.files.page_cache import make_warm

LIMIT_AIM = 0.75
GROUP_RECORDS = 100
"""Records of a row group, as the hub's own writer has it for images."""
QUALITY, NOISE = 90, 12


def photographs(side: int, records: int) -> Iterator[NDArray[np.uint8]]:
    """Smooth images with noise, of some 1 to 2 bits a pixel as JPEG: shape (side, side, 3)."""
    rng = np.random.default_rng(side)
    pool = smooth_images(rng, 256)
    times = -(-side // pool.shape[1])
    for record in range(records):
        large = np.kron(pool[record % len(pool)], np.ones((times, times, 1), np.uint8))[:side, :side]
        noise = np.kron(rng.integers(NOISE, size=(-(-side // 2), -(-side // 2), 1), dtype=np.uint8), np.ones((2, 2, 1), np.uint8))
        yield large + noise[:side, :side]


def hub_parquet(folder: Path, *, side: int, nbytes: int) -> Made:
    """Images and labels in row groups of a hundred, images as struct<bytes, path>, made once and kept."""
    records = max(GROUP_RECORDS, nbytes // (side * side * 3))
    path = folder / f"jpeg-{side}-{records}.parquet"
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", kind), ("label", pa.int64())])
    if not path.exists():
        print(f"making {path.name} ...", flush=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        made = (jpeg(image) for image in photographs(side, records))
        with pq.ParquetWriter(partial, schema) as writer:
            for start in range(0, records, GROUP_RECORDS):
                numbers = range(start, min(start + GROUP_RECORDS, records))
                cells = [{"bytes": next(made), "path": f"{number}.jpg"} for number in numbers]
                labels = pa.array([number * CLASSES // records for number in numbers], pa.int64())
                writer.write_table(pa.table([pa.array(cells, kind), labels], schema=schema))
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(path)
    return Made(path=path, records=records, shape=(side, side, 3), stored_nbytes=path.stat().st_size)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """An image as JPEG, as most tools write it."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=QUALITY)
    return stream.getvalue()


def compare(report: Report, options: argparse.Namespace, made: Made) -> None:
    """streamload beside as many bare decoders, and beside what most people would write."""
    cache = make_warm([made.path])
    what = f"warm JPEG {options.side} x {options.side} in Parquet, {made.records:,} records in row groups of {GROUP_RECORDS}, "
    what += f"Block {options.window}"
    config: dict[str, Any] = {"path": str(made.path), "batch": options.batch, "workers": options.workers, "memory": options.memory}
    ours = {**config, "order": "block", "window": options.window}
    with Competitor("streamload", "ours", ours) as loader:
        name = f"{options.workers} bare decoders (simplejpeg)"
        with Competitor(name, "parquet_jpegs", config) as limit:
            pairs = in_turns(loader.run, limit.run, options.pairs)
        report.compare(Comparison(what=what, ours="streamload", theirs=name, pairs=pairs, cache=cache, target=LIMIT_AIM))
        print(f"    {pairs[-1][0].extra['verdict']}", flush=True)
    theirs = {**config, "settle": 1}
    others = {
        "pyarrow, batches in order, Pillow": ("parquet_batches", theirs),
        "Hugging Face datasets, torch loader": ("huggingface_images", theirs),
    }
    beside_others(report, others, {**ours, "pairs": True}, what=what, cache=cache, pairs=options.peer_pairs)


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("encoded", __doc__ or "")
    parser.add_argument("--side", type=int, default=224, help="height and width of the images (default 224)")
    parser.add_argument("--window", default="32 MB", help="of Block, in stored bytes (default 32 MB, so that an epoch has several)")
    parser.add_argument("--memory", help="streamload's memory= (default: its own)")
    parser.add_argument("--peer-pairs", type=int, default=3, help="pairs with others (default 3)")
    options = parser.parse_args(given)
    report = Report("encoded", options)
    made = hub_parquet(report.folder, side=options.side, nbytes=options.nbytes)
    each = made.stored_nbytes / made.records
    report.say(f"file {made.path.name}: {made.records:,} records, {format_nbytes(made.nbytes)} decoded, {format_nbytes(each)} a JPEG")
    compare(report, options, made)
    report.end()


if __name__ == "__main__":
    main()
