"""Conversion and verification against what the machine allows: bare decoders, a plain copy, the device's own rate."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import Report, arguments
from bench.data import noisy_images, raw, smooth_images
from streamload.tools.benchmark.comparison import Comparison, Competitor, Run, in_turns
from streamload.tools.files.page_cache import make_cold

IMAGES_AIM, COPY_AIM, VERIFY_AIM = 0.75, 0.7, 0.8
SIDE = 256
DISTINCT = 256
"""Images that differ; a folder of more holds them again under other names."""


def image_folder(folder: Path, nbytes: int) -> Path:
    """Class folders of JPEG images of quality 90, of so many bytes decoded; made once."""
    import imagecodecs

    count = max(1, nbytes // (SIDE * SIDE * 3))
    made = folder / f"images-{SIDE}-{count}"
    if made.exists():
        return made
    half = folder / f".{made.name}.half"
    shutil.rmtree(half, ignore_errors=True)
    rng = np.random.default_rng(0)
    images = noisy_images(rng, smooth_images(rng, 64 * min(DISTINCT, count)), 64 * min(DISTINCT, count))
    pixels = np.resize(images.reshape(-1), min(DISTINCT, count) * SIDE * SIDE * 3).reshape(-1, SIDE, SIDE, 3)
    coded = [imagecodecs.jpeg8_encode(image, level=90) for image in pixels]
    for name in ("a", "b"):
        (half / name).mkdir(parents=True)
    for number in range(count):
        (half / "ab"[number % 2] / f"{number:06d}.jpg").write_bytes(coded[number % len(coded)])
    half.rename(made)
    return made


def command(words: list[Any], *, nbytes: int, records: int = 1) -> Run:
    """One run of the command line, from its start to its end."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "streamload", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"streamload {' '.join(map(str, words))} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return Run(seconds=time.perf_counter() - began, records=records, nbytes=nbytes, cpu_seconds=0.0)


def converted(source: Path, target: Path, *, workers: int, nbytes: int, records: int) -> Run:
    """One conversion; what it made is deleted."""
    try:
        return command(["convert", source, target, "--workers", workers], nbytes=nbytes, records=records)
    finally:
        for path in (target, target.with_name(target.name + ".manifest.json")):
            path.unlink(missing_ok=True)


def beside(report: Report, what: str, pairs: list[tuple[Run, Run]], others: list[Run], name: str) -> None:
    """The same passes of ours against a second limit, measured in the same minutes; what takes longest is what binds."""
    compared = [(ours, other) for (ours, _), other in zip(pairs, others, strict=True)]
    found = Comparison(what=what, ours="streamload convert", theirs=name, pairs=compared, cache="-")
    report.compare(found)
    first, second = (statistics.median(run.nbytes / run.seconds for run in runs) for runs in ([theirs for _, theirs in pairs], others))
    report.say(
        f"    the lower limit, which binds: {name if second < first else 'the one above'} ({min(first, second) / 1e6:,.0f} MB/s); "
        f"done one after the other the two give {1 / (1 / first + 1 / second) / 1e6:,.0f} MB/s",
        limits=[first, second],
    )


def images(report: Report, options: argparse.Namespace) -> None:
    """A folder of JPEG images to raw HDF5."""
    folder = image_folder(report.folder, options.nbytes)
    name = f"{options.workers} bare decoders"
    with Competitor(name, "jpeg_decoders", {"path": str(folder), "workers": options.workers}) as limit:
        whole = limit.run()
        nbytes = whole.nbytes
        config = {"path": str(report.folder / "written"), "nbytes": nbytes, "again": True}
        written: list[Run] = []

        def ours() -> Run:
            written.append(device.run())
            return converted(folder, report.folder / "converted.h5", workers=options.workers, nbytes=nbytes, records=whole.records)

        with Competitor("the device", "device_writes", config) as device:
            pairs = in_turns(ours, limit.run, options.pairs)
    what = f"image folder to raw HDF5, {SIDE} x {SIDE} JPEG, command and all"
    report.compare(Comparison(what=what, ours="streamload convert", theirs=name, pairs=pairs, cache="warm", target=IMAGES_AIM))
    beside(report, "the same, and as many bytes", pairs, written, "the device, written and read again, direct")


def copies(report: Report, options: argparse.Namespace) -> None:
    """HDF5 to raw Parquet, from an empty page cache."""
    made = raw(report.folder, record_nbytes=150_528, nbytes=options.nbytes)
    states: list[str] = []
    written: list[Run] = []

    def cold(one: Any) -> Any:
        states.append(make_cold([made.path]))
        return one()

    target = report.folder / "converted.parquet"
    config = {"path": str(report.folder / "written"), "source": str(made.path), "again": True}
    with (
        Competitor("a plain copy", "file_copy", {"path": str(made.path), "copy": str(report.folder / "copied")}) as copy,
        Competitor("the device", "device_writes", config) as device,
    ):

        def ours() -> Run:
            written.append(device.run())
            return cold(lambda: converted(made.path, target, workers=options.workers, nbytes=made.nbytes, records=made.records))

        pairs = in_turns(ours, lambda: cold(copy.run), options.pairs)
    what = "raw HDF5 to raw Parquet, cold, command and all"
    report.compare(Comparison(what=what, ours="streamload convert", theirs="a plain copy", pairs=pairs, cache=states[-1], target=COPY_AIM))
    beside(report, "the same, and as many bytes", pairs, written, "the device, copied and read again, direct")


def verifying(report: Report, options: argparse.Namespace) -> None:
    """Every byte of a file against its manifest, from an empty page cache."""
    made = raw(report.folder, record_nbytes=150_528, nbytes=options.nbytes)
    path = report.folder / "verified.h5"
    command(["convert", made.path, path, "--overwrite"], nbytes=made.nbytes)
    nbytes = path.stat().st_size
    states: list[str] = []

    def verified() -> Run:
        states.append(make_cold([path]))
        return command(["verify", path], nbytes=nbytes, records=made.records)

    with Competitor("the device, direct", "device", {"path": str(path)}) as device:
        pairs = in_turns(verified, lambda: device.run(size=8 << 20, depth=4, order="sequential"), options.pairs)
    what = "verify, cold, command and all"
    report.compare(
        Comparison(what=what, ours="streamload verify", theirs="the device, direct", pairs=pairs, cache=states[-1], target=VERIFY_AIM)
    )


def main(given: list[str] | None = None) -> None:
    """The command."""
    # Much more than what is done before the first record and after the last one.
    parser = arguments("convert", __doc__ or "", nbytes="4GB", pairs=5)
    parser.add_argument("--only", choices=("images", "copies", "verifying"), help="one of them")
    options = parser.parse_args(given)
    report = Report("convert", options)
    for name, run in (("images", images), ("copies", copies), ("verifying", verifying)):
        if options.only in (None, name):
            run(report, options)
    report.end()


if __name__ == "__main__":
    main()
