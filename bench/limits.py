"""What the machine can do at most: copying, reading by size and depth, decoding by codec, asking another process."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.command import Report, arguments
from bench.data import noisy_images, raw, smooth_images
from bench.peers.round_trip import round_trip_seconds
from streamload.tools.benchmark.comparison import Competitor
from streamload.tools.files.page_cache import make_cold

SIZES = (4_096, 16_384, 150_528, 1 << 20, 8 << 20)
DEPTHS = (1, 4, 16, 64)
CODECS = ("zlib", "deflate", "lzf", "lz4", "zstd", "blosc", "blosc2", "bitshuffle", "jpeg", "png")
CODED_NBYTES = 196_608
TIMED_S = 0.3


def copying(report: Report, options: argparse.Namespace) -> None:
    """One core, from memory to memory."""
    for record_nbytes in (784, 3_072, 150_528):
        made = raw(report.folder, record_nbytes=record_nbytes, nbytes=options.nbytes)
        for scattered, name in ((False, "in order"), (True, "at random")):
            with Competitor(name, "copying", {"path": str(made.path), "batch": options.batch, "scattered": scattered}) as peer:
                runs = [peer.run() for _ in range(options.pairs)]
            rate, byte_rate = (statistics.median(getattr(run, which) for run in runs) for which in ("rate", "byte_rate"))
            report.say(
                f"one core copying {record_nbytes:,} B {name}: {rate:,.0f} records/s, {byte_rate / 1e6:,.0f} MB/s",
                record_nbytes=record_nbytes,
                scattered=scattered,
                byte_rate=byte_rate,
            )


def reading(report: Report, options: argparse.Namespace) -> None:
    """The device, direct, by size and depth."""
    made = raw(report.folder, record_nbytes=150_528, nbytes=options.nbytes)
    cache = make_cold([made.path])
    with Competitor("device", "device", {"path": str(made.path)}) as device:
        for order in ("random", "sequential"):
            for size in SIZES:
                rates = {depth: device.run(size=size, depth=depth, order=order, most=options.most).byte_rate for depth in DEPTHS}
                shown = " · ".join(f"{rate / 1e6:,.0f} at {depth}" for depth, rate in rates.items())
                report.say(f"device, direct, {order}, {size:,} B: MB/s by depth: {shown}", order=order, size=size, rates=rates)
    report.say(f"    page cache {cache}; direct reads pass it by")


def decoding(report: Report) -> None:
    """One core, chunks of 196,608 decoded bytes in memory."""
    import imagecodecs

    rng = np.random.default_rng(0)
    images = noisy_images(rng, smooth_images(rng, 64), 64)
    pages = {"jpeg": images.reshape(256, 256, 3), "png": images.reshape(256, 256, 3)}
    for codec in CODECS:
        if not getattr(getattr(imagecodecs, codec.upper(), None), "available", False):
            report.say(f"decoding {codec}: left out, imagecodecs comes without it")
            continue
        source = pages.get(codec, images.reshape(-1))
        try:
            coded = getattr(imagecodecs, f"{codec}_encode")(source)
            decode: Callable[[Any], Any] = getattr(imagecodecs, f"{codec}_decode")
            # Formats that do not carry their length are told it, as a file's chunk index would.
            told = {"out": np.empty(CODED_NBYTES, np.uint8)} if codec in ("lzf", "lz4", "deflate", "zlib", "zstd") else {}
            decode(coded, **told)
        except Exception as error:
            report.say(f"decoding {codec}: left out, {error}")
            continue
        done, began = 0, time.perf_counter()
        while (seconds := time.perf_counter() - began) < TIMED_S:
            decode(coded, **told)
            done += source.nbytes
        gain = source.nbytes / len(coded)
        report.say(
            f"decoding {codec}: {done / seconds / 1e6:,.0f} MB/s a core, {gain:.2f} times smaller",
            codec=codec,
            byte_rate=done / seconds,
            gain=gain,
        )


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("limits", __doc__ or "", pairs=3)
    parser.add_argument("--most", type=int, default=128 << 20, help="bytes read at each size and depth")
    options = parser.parse_args(given)
    report = Report("limits", options)
    copying(report, options)
    reading(report, options)
    decoding(report)
    trip = round_trip_seconds()
    report.say(f"round trip to another process over a socket pair: {trip * 1e6:.1f} microseconds", seconds=trip)
    report.end()


if __name__ == "__main__":
    main()
