"""Scale, as curves: what starting, seeking, memory and a record cost, from few to very many, and the law that each follows."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bench import peers
from bench.command import Report, arguments
from bench.data import compressed
from streamload.sizes import format_nbytes

COSTS = {"open": "seconds", "start": "seconds", "seek": "seconds", "record": "seconds", "held": "bytes", "budgeted": "bytes"}
"""What `peers/reach.py` measures, and its unit."""
SMALL = 64
"""Bytes of a record where their number is what grows."""
LEVEL, SPREAD = 0.15, 3.0
"""Exponents below the first count as none where values differ less than by the second."""
RISEN, LINEAR_ERROR = 1.5, 0.15
"""How much a curve must rise to be called a straight line, and how well the line must fit."""
NOTHING = 0.02
"""A fixed part below this share of the smallest value is none."""


def sparse(path: Path, records: int, record_nbytes: int) -> Path:
    """A .npy file of zeros that takes no room on the disk, whatever its size."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (records, record_nbytes)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + records * record_nbytes)
    return path


def grouped(path: Path, groups: int) -> Path:
    """An HDF5 file of groups, each with an image of 768 B and a label: sample_000000/image, sample_000000/label, ..."""
    image = np.arange(768, dtype=np.uint8).reshape(16, 16, 3)
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        for number in range(groups):
            group = file.create_group(f"sample_{number:06d}")
            group["image"], group["label"] = image, number
    return path


GROUPS = {"fields": {"image": "sample_*/image", "label": "sample_*/label"}, "record_axis": None}
"""What takes each group for a record."""


def reach(paths: Sequence[Path], **config: Any) -> dict[str, float]:
    """The costs of one case, in a process of its own."""
    told = {"paths": [str(path) for path in paths], "batch": 256, "workers": 0, "order": "exact", "steps": 50, **config}
    done = subprocess.run(
        [sys.executable, "-P", str(Path(peers.__file__).with_name("reach.py"))],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    if done.returncode:
        raise RuntimeError(f"the case {told} failed: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout))


def law(at: Sequence[float], values: Sequence[float], unit: str = "") -> str:
    """The law that a curve follows: constant, a fixed cost and so much each, or a power, with its exponent."""
    x, y = np.array(at, float), np.array(values, float)
    x, y = x[y > 0], y[y > 0]
    if len(y) < 2:
        return "one point only"
    rising = x > 0
    exponent = float(np.polyfit(np.log(x[rising]), np.log(y[rising]), 1)[0]) if rising.sum() > 1 else 0.0
    # Relative errors count, so that small cases weigh as much as large ones.
    (fixed, each), *_ = np.linalg.lstsq(np.stack([1 / y, x / y], axis=1), np.ones(len(y)), rcond=None)
    error = float(np.abs((fixed + each * x) / y - 1).max())
    if error < LINEAR_ERROR and each > 0 and len(y) > 2 and y.max() > RISEN * y.min():
        start = f"{_shown(float(fixed), unit)} and " if fixed > NOTHING * y.min() else ""
        return f"{start}{_shown(float(each), unit)} for each"
    if abs(exponent) < LEVEL and y.max() < SPREAD * y.min():
        return f"constant, about {_shown(float(np.median(y)), unit)}"
    return f"exponent {exponent:.2f}: {'level, with scatter' if abs(exponent) < LEVEL else 'rises' if exponent > 0 else 'falls'}"


def curves(report: Report, what: str, along: str, at: Sequence[float], found: Sequence[dict[str, float]], costs: Sequence[str]) -> None:
    """Say what was found along one axis: a line a point, the laws, and a curve a unit for the report."""
    report.say(f"{what}, against {along}:")
    for place, one in zip(at, found, strict=True):
        shown = " · ".join(f"{cost} {_shown(one[cost], COSTS[cost]) if one[cost] else 'too few to tell'}" for cost in costs)
        report.say(f"    {place:>14,.10g}  {shown}")
    for unit in dict.fromkeys(COSTS[cost] for cost in costs):
        mine = [cost for cost in costs if COSTS[cost] == unit]
        laws = {cost: law(at, [one[cost] for one in found], unit) for cost in mine}
        report.say(
            f"{what}, {', '.join(mine)}: {'; '.join(f'{cost} {text}' for cost, text in laws.items())}",
            curve={cost: [one[cost] for one in found] for cost in mine},
            laws=laws,
            title=f"{what}: {', '.join(mine)}",
            at=list(at),
            along=along,
            unit=unit,
        )


def _shown(value: float, unit: str) -> str:
    if unit == "bytes":
        return format_nbytes(value) if value >= 1 or not value else f"{value:.2g} B"
    value = float(f"{value:.3g}")
    power = max(0, min(3, -math.floor(math.log10(value) / 3))) if value > 0 else 0
    return f"{value * 1000**power:.3g} {('s', 'ms', 'µs', 'ns')[power]}"


def repeated(times: int, paths: Sequence[Path], **config: Any) -> dict[str, float]:
    """The medians of several processes."""
    found = [reach(paths, **config) for _ in range(times)]
    return {cost: statistics.median(one[cost] for one in found) for cost in found[0]}


def measure(report: Report, options: argparse.Namespace, folder: Path) -> None:
    """Every curve."""
    whole = options.full
    times, wanted = options.pairs, set(options.only or ("records", "sizes", "workers", "files", "windows", "groups"))
    counts = [10**power for power in (range(4, 11) if whole else (4, 6, 8, 10))]
    if "records" in wanted:
        found = [repeated(times, [sparse(folder / f"n{count}.npy", count, SMALL)]) for count in counts]
        curves(
            report,
            f"exact order, records of {SMALL} B in a sparse file",
            "records",
            counts,
            found,
            ("open", "start", "seek", "record", "held"),
        )
        found = [repeated(times, [folder / f"n{count}.npy"], order="block") for count in counts[: None if whole else 3]]
        curves(
            report, f"block order, records of {SMALL} B", "records", counts[: len(found)], found, ("start", "seek", "record", "budgeted")
        )
    if "sizes" in wanted:
        sizes = [64 * 4**power for power in (range(11) if whole else (0, 3, 6))]
        found = []
        for size in sizes:
            path = sparse(folder / f"s{size}.npy", max(64, options.nbytes // size), size)
            batch = max(1, min(256, (32 << 20) // size))
            found.append(repeated(times, [path], batch=batch, memory=max(1 << 29, 16 * batch * size), steps=20))
        curves(report, "exact order, batches of at most 32 MB", "bytes of a record", sizes, found, ("start", "seek", "record", "budgeted"))
    if "workers" in wanted:
        path = sparse(folder / "w.npy", options.nbytes // 3_072, 3_072)
        workers = list(range(9)) if whole else [0, 1, 2, 4]
        found = [repeated(times, [path], workers=count, steps=200) for count in workers]
        curves(report, "exact order, records of 3,072 B", "workers", workers, found, ("start", "seek", "record", "held"))
    if "files" in wanted:
        many = [1, 10, 100, 1_000, 10_000] if whole else [1, 10, 100]
        paths = [sparse(folder / f"f{number:05d}.npy", 64, 784) for number in range(many[-1])]
        found = [repeated(times, paths[:count]) for count in many]
        curves(report, "exact order, 64 records of 784 B a file", "files", many, found, ("open", "start", "record", "held"))
    if "groups" in wanted:
        many = [1_000, 10_000, 100_000] if whole else [1_000, 10_000]
        found = [repeated(times, [grouped(folder / f"g{count}.h5", count)], open=GROUPS) for count in many]
        curves(report, "exact order, a group of one HDF5 file a record", "groups", many, found, ("open", "start", "record", "held"))
    if "windows" in wanted:
        path = compressed(report.folder, codec="lzf", chunk_records=64, nbytes=options.nbytes).path
        sizes = [1 << power for power in (range(20, 30) if whole else (20, 22, 24))]
        found = [repeated(times, [path], order="block", window=size) for size in sizes]
        curves(
            report,
            "block order, lzf chunks of 64 records of 3,072 B",
            "bytes of a window",
            sizes,
            found,
            ("start", "seek", "record", "budgeted"),
        )


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("scale", __doc__ or "", nbytes="64MB", pairs=1)
    parser.add_argument(
        "--full", action="store_true", help="up to 10^10 records, 64 MB a record, 8 workers, 10,000 files, 100,000 groups, 512 MB a window"
    )
    parser.add_argument(
        "--only", nargs="+", choices=("records", "sizes", "workers", "files", "windows", "groups"), help="some of the curves"
    )
    options = parser.parse_args(given)
    report = Report("scale", options)
    folder = Path(tempfile.mkdtemp(prefix="scale-", dir=report.folder))
    try:
        measure(report, options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.end()


if __name__ == "__main__":
    main()
