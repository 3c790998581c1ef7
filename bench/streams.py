"""Ranks, weights and mixtures: what each costs beside the plain run that it stands for, and one rank beside another commit.

Two ranks beside one depend on where a host puts the cores of a virtual machine, which may change at any time: under one cache of the
last level, which two ranks share and one has to itself, or under two, between which one rank's batches travel.

With `--against FOLDER`, a checkout of that commit: plain runs of this tree beside plain runs of that one. Files are warm, but for
the case "cold", whose pages are dropped before every pass; `STREAMLOAD_BENCH_EVICT_ONLY=1` drops no other file's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import layouts, peers
from bench.command import Report, arguments
from bench.data import Made, compressed, raw
from streamload.tools.benchmark.comparison import CHECKOUT, Comparison, CompetitorFailed, Run, in_turns
from streamload.tools.files.page_cache import make_cold, make_warm

SMALL, LARGE, CHUNK_RECORDS, WINDOW = 3_072, 150_528, 64, "32 MB"
ROUNDS = 4
COLD = "cold raw 150 KB"
EPOCHS = 4
"""Epochs of a pass where they are short: of 3 KB from memory, one takes less than 30 ms."""
AGAINST_AIM, RANKS_AIM, WEIGHTS_AIM, MIXTURE_AIM = 0.98, 0.95, 0.9, 0.95


class Ranks:
    """Processes that each are a rank of one run, from a tree of their own; a pass is over when the last of them is done."""

    def __init__(self, name: str, tree: Path, configs: Sequence[dict[str, Any]]) -> None:
        self.name = name
        self._cold = [Path(path) for config in configs for path in config["paths"] if config.get("cold")]
        if self._cold:
            make_cold(self._cold)  # Files that workers found in memory would be mapped, and could not be dropped.
        script = Path(peers.__file__).with_name("stream_epochs.py")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), *(path for path in sys.path if path)])}
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-P", str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,
                env=environment,
            )
            for _ in configs
        ]
        for process, config in zip(self._processes, configs, strict=True):
            self._tell(process, config)
        found = {self._answer(process)["package"] for process in self._processes}
        if found != {str(tree)}:
            self.stop()
            raise CompetitorFailed(f"{name} should run from {tree}, and runs from {', '.join(found)}")

    def _tell(self, process: subprocess.Popen[str], request: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            self.stop()
            raise CompetitorFailed(f"{self.name} ended; what it said is above")
        return json.loads(line)

    def run(self) -> Run:
        """A pass of all ranks together."""
        if self._cold:
            make_cold(self._cold)
        for process in self._processes:
            self._tell(process, {})
        each = [Run(**self._answer(process)) for process in self._processes]
        return Run(
            seconds=max(one.seconds for one in each),
            records=sum(one.records for one in each),
            nbytes=sum(one.nbytes for one in each),
            cpu_seconds=sum(one.cpu_seconds for one in each),
        )

    def stop(self) -> None:
        """End the processes, and wait for them."""
        for process in self._processes:
            process.communicate()

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the median, by order statistics."""
    ordered, n = sorted(ratios), len(ratios)
    below = max(0, math.floor(n / 2 - 0.98 * math.sqrt(n)))
    return ordered[below], ordered[n - 1 - below]


def compare(
    report: Report, options: argparse.Namespace, what: str, ours: Callable[[], Ranks], theirs: Callable[[], Ranks], aim: float
) -> None:
    """Passes in turns, and the interval of their ratio; in several rounds, each with processes of its own: the same code takes some
    per cent more or less in another process, by where its memory happens to lie."""
    pairs: list[tuple[Run, Run]] = []
    rounds = min(ROUNDS, options.pairs)
    for number in range(rounds):
        count = options.pairs * (number + 1) // rounds - len(pairs)
        with ours() as first, theirs() as second:
            names = first.name, second.name
            pairs += in_turns(first.run, second.run, count)
    cache = "dropped before each pass" if COLD in what else "warm"
    found = Comparison(what=what, ours=names[0], theirs=names[1], pairs=pairs, cache=cache, target=aim)
    report.compare(found)
    low, high = interval(found.ratios)
    cpu = float(np.median([a.cpu_seconds / b.cpu_seconds for a, b in pairs]))
    report.say(f"    95 % interval {low:.3f} to {high:.3f}; processor time of all processes {cpu:.2f} x", low=low, high=high, cpu=cpu)


def one_rank(report: Report, options: argparse.Namespace, cases: dict[str, dict[str, Any]]) -> None:
    """Plain runs beside another commit's."""
    for what, config in cases.items():
        ours, theirs = (partial(Ranks, f"of {tree.name}", tree, [config]) for tree in (CHECKOUT, options.against))
        compare(report, options, f"one rank, {what}", ours, theirs, AGAINST_AIM)


def shares(report: Report, options: argparse.Namespace, cases: dict[str, dict[str, Any]]) -> None:
    """Two ranks of one worker each beside one rank of two workers, in batches of the same size: `batch_size` is a rank's. Smaller
    batches cost more each, with one rank as with two, so those of half the size have one rank of their own beside them."""
    for what, config in cases.items():
        for batch in (config["batch"], config["batch"] // 2):
            one = {**config, "batch": batch}
            ranked = [{**one, "rank": rank, "ranks": 2, "workers": 1} for rank in range(2)]
            two = partial(Ranks, "two ranks", CHECKOUT, ranked)
            compare(report, options, f"{what}, {batch} a batch", two, partial(Ranks, "one rank", CHECKOUT, [one]), RANKS_AIM)


def cases_in(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What passes go over, by name: files that lie in memory, and one that is read from the disk each time."""
    large = raw(folder, record_nbytes=LARGE, nbytes=options.nbytes)
    packed: dict[str, Any] = {"chunk_records": CHUNK_RECORDS, "nbytes": options.nbytes // 4}
    made: dict[str, Made] = {
        "raw 3 KB": raw(folder, record_nbytes=SMALL, nbytes=options.nbytes),
        "raw 150 KB": large,
        "gzip": compressed(folder, codec="gzip", **packed),
        "zstd": layouts.parquet(compressed(folder, codec="", **packed), codec="zstd"),
    }
    make_warm([one.path for one in made.values()])
    shared: dict[str, Any] = {"batch": options.batch, "workers": options.workers}
    cases = {
        what: {**shared, "paths": [str(one.path)], **({"window": WINDOW} if what in ("gzip", "zstd") else {})} for what, one in made.items()
    }
    cases["raw 3 KB"]["epochs"] = EPOCHS
    return {**cases, COLD: {**shared, "paths": [str(large.path)], "cold": True}}


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("streams", __doc__ or "", nbytes="256MB", pairs=40)
    parser.add_argument("--against", type=lambda text: Path(text).resolve(), help="a checkout of the commit that one rank is set beside")
    parser.add_argument("--only", default="", help="ranks, weights, mixtures or against; default all")
    parser.add_argument("--case", default="", help="files whose names hold this")
    options = parser.parse_args(given)
    report = Report("streams", options)
    cases = cases_in(report.folder, options)
    chosen = {what: config for what, config in cases.items() if options.case in what}

    def wanted(name: str) -> bool:
        return options.only in ("", name)

    if options.against and wanted("against"):
        one_rank(report, options, chosen)
    if wanted("ranks"):
        shares(report, options, chosen)
    if wanted("weights"):
        plain = cases["raw 3 KB"]
        weighted, other = (
            partial(Ranks, "weighted", CHECKOUT, [{**plain, "weighted": True}]),
            partial(Ranks, "unweighted", CHECKOUT, [plain]),
        )
        compare(report, options, "weights, raw 3 KB, exact", weighted, other, WEIGHTS_AIM)
    if wanted("mixtures"):
        slower = cases["gzip"]
        both = {**slower, "paths": [cases["raw 3 KB"]["paths"][0], *slower["paths"]]}
        mixed, alone = partial(Ranks, "raw and gzip", CHECKOUT, [both]), partial(Ranks, "gzip alone", CHECKOUT, [slower])
        compare(report, options, "mixture, 3 KB, blocks", mixed, alone, MIXTURE_AIM)
    report.end()


if __name__ == "__main__":
    main()
