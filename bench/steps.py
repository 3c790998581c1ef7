"""Processor time of a step, in the main process and in the worker, beside another commit's: the least of many stretches, in turns.

`python -m bench.steps --against FOLDER`, a checkout of that commit. It takes some three minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bench import peers
from bench.command import Report, arguments
from bench.data import raw
from streamload.tools.benchmark.comparison import CHECKOUT
from streamload.tools.files.page_cache import make_warm

SMALL, LARGE = 3_072, 150_528
CASES = [("3 KB", 1, 2_000), ("3 KB", 8, 1_000), ("3 KB", 64, 300), ("3 KB", 256, 150), ("150 KB", 64, 20)]
"""Records, batch size, and steps of a stretch."""
STRETCHES = 30


def least(tree: Path, path: Path, batch_size: int, workers: int, steps: int) -> dict[str, float]:
    """The least microseconds of a step in a process of its own, by where they were spent."""
    script = Path(peers.__file__).with_name("step_costs.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), *(path for path in sys.path if path)])}
    command = [sys.executable, "-P", str(script), str(path), *map(str, (batch_size, workers, STRETCHES, steps))]
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def compare(report: Report, options: argparse.Namespace, path: Path, case: tuple[str, int, int], workers: int) -> None:
    """Processes of both trees in turns, and the least that each came to."""
    records, batch_size, steps = case
    trees = {"here": CHECKOUT, "there": options.against}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for _ in range(options.pairs):
        for name, tree in trees.items():
            found[name].append(least(tree, path, batch_size, workers, steps))
    where = ["main", "workers", "both"] if workers else ["main"]
    best = {name: {place: min(one[place] for one in ones) for place in where} for name, ones in found.items()}
    told = ", ".join(f"{place} {best['here'][place]:.1f} us beside {best['there'][place]:.1f}" for place in where)
    report.say(f"  {records} x {batch_size}, {workers} workers: {told}", **{f"{name}_{p}": best[name][p] for name in best for p in where})


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("steps", __doc__ or "", nbytes="64MB", pairs=2)
    parser.add_argument("--against", type=lambda text: Path(text).resolve(), required=True, help="a checkout of the other commit")
    options = parser.parse_args(given)
    report = Report("steps", options)
    paths = {
        name: raw(report.folder, record_nbytes=nbytes, nbytes=options.nbytes).path for name, nbytes in (("3 KB", SMALL), ("150 KB", LARGE))
    }
    make_warm(list(paths.values()))
    for workers in (0, 1):
        for case in CASES:
            compare(report, options, paths[case[0]], case, workers)
    report.end()


if __name__ == "__main__":
    main()
