"""What the commands have in common: their arguments, the line about the machine, others beside streamload, and the file of results."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.data import cache_folder
from streamload.sizes import parse_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, CompetitorFailed, NotInstalled, in_turns
from streamload.tools.benchmark.environment import machine


def arguments(name: str, about: str, *, nbytes: str = "1GB", pairs: int = 7) -> argparse.ArgumentParser:
    """A parser with the arguments that every benchmark takes."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=about)
    parser.add_argument("--folder", help="where the files are made and kept (default: ~/.cache/streamload-bench)")
    parser.add_argument(
        "--nbytes",
        type=lambda text: parse_nbytes(text, name="nbytes"),
        default=parse_nbytes(nbytes, name="nbytes"),
        help=f"of decoded images (default {nbytes})",
    )
    parser.add_argument("--pairs", type=int, default=pairs, help=f"passes of each contender, in turns (default {pairs})")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of every contender (default 2)")
    parser.add_argument("--batch", type=int, default=256, help="records of a batch (default 256)")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    return parser


class Report:
    """What a command has found: printed as it comes, and kept for the file."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.folder: Path = cache_folder(options.folder)
        self._path: Path | None = options.json
        self._said: dict[str, Any] = {
            "name": name,
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "machine": machine(self.folder),
            "figures": [],
        }
        about = self._said["machine"]
        print(
            f"bench.{name} · {about['processor']} · {about['memory']} · {about['disk']} · {about['system']}\n  {about['versions']}",
            flush=True,
        )

    def compare(self, comparison: Comparison) -> None:
        """Print a comparison."""
        print(f"{comparison}", flush=True)
        self._said["figures"].append(comparison.plain())

    def say(self, text: str, **figures: Any) -> None:
        """Print a line, and keep the figures behind it."""
        print(text, flush=True)
        self._said["figures"].append({"what": text, **figures})

    def end(self) -> None:
        """Write the file, if one was asked for."""
        if self._path is not None:
            self._path.write_text(json.dumps(self._said, indent=1))


def beside_others(
    report: Report, others: Mapping[str, tuple[str, dict[str, Any]]], ours: dict[str, Any], *, what: str, cache: str, pairs: int
) -> None:
    """streamload, as the settings `ours` say, beside what a user would pick instead, by name: the peer, and its settings."""
    with Competitor("streamload", "ours", ours) as loader:
        for name, (peer, config) in others.items():
            try:
                with Competitor(name, peer, config) as contender:
                    runs = in_turns(loader.run, contender.run, pairs)
                    order = contender.about.get("order")
            except (NotInstalled, CompetitorFailed) as reason:
                report.say(str(reason))
                continue
            called = "streamload, images and labels" if ours.get("pairs") else "streamload"
            report.compare(Comparison(what=what, ours=called, theirs=name, pairs=runs, cache=cache))
            if order:
                report.say(f"    its order: {order}")
