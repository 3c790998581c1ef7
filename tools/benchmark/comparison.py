"""Runs contenders in processes of their own, in turns, and sets their figures side by side."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamload.sizes import format_rate

MODULE = "streamload.tools.benchmark.peers"
CHECKOUT = Path(__file__).resolve().parents[2]
"""The repository, where this is run from one."""


def module_of(peer: str) -> str:
    """The module of a competitor: installed with the tools, or an adapter of another loader in the repository's `bench/peers`.

    Raises NotInstalled where there is no such adapter, and says how to get them.
    """
    if importlib.util.find_spec(f"{MODULE}.{peer}") is not None:
        return f"{MODULE}.{peer}"
    if not (CHECKOUT / "bench" / "peers" / f"{peer}.py").is_file():
        raise NotInstalled(
            "adapters of other loaders are not installed with streamload. Clone its repository, and run `streamload bench` "
            "from an environment in which that clone is installed: pip install -e ."
        )
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))
    return f"bench.peers.{peer}"


class NotInstalled(Exception):
    """A contender that cannot run here, and why."""


class CompetitorFailed(Exception):
    """A contender whose process ended before it answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One pass of one contender."""

    seconds: float
    records: int
    nbytes: int
    cpu_seconds: float
    """Processor time of the process that consumes, all its threads."""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds

    @property
    def byte_rate(self) -> float:
        """Bytes a second, as delivered."""
        return self.nbytes / self.seconds


class Competitor:
    """A peer in its own process: `make` of its module (`module_of`), told by a line to make a pass, answering with a line."""

    def __init__(self, name: str, peer: str, config: dict[str, Any], *, environment: dict[str, str] | None = None) -> None:
        self.name = name
        module_of(peer)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C is for this process to hear of
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **(environment or {})},
        )
        try:
            self._tell(config)
            self.about = self._answer()
            if "missing" in self.about:
                raise NotInstalled(f"{name} is left out: {self.about['missing']}")
        except BaseException:
            self.stop(at_once=True)
            raise

    def _tell(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; what it answers, which is nothing, says so

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise CompetitorFailed(f"{self.name} ended with status {self._process.wait()}; what it said is above")
        return json.loads(line)

    def run(self, **request: Any) -> Run:
        """Make a pass over the data, and wait for it."""
        self._tell(request)
        return Run(**self._answer())

    def stop(self, *, at_once: bool = False) -> None:
        """End its process, and wait for it."""
        if at_once:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Competitor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        self.stop(at_once=kind is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two contenders' passes, taken in turns."""

    what: str
    """The case: layout, record size, order."""
    ours: str
    theirs: str
    pairs: Sequence[tuple[Run, Run]]
    cache: str
    """The state of the page cache before each pass."""
    target: float | None = None
    """The ratio that is aimed for."""
    by_records: bool = False
    """Whether records count, though they come out in other sizes."""

    @property
    def ratios(self) -> list[float]:
        """Ours to theirs in records a second (bytes a second, where either counts other records), pair by pair."""
        same = self.by_records or all(a.nbytes * b.records == b.nbytes * a.records for a, b in self.pairs)
        return [a.rate / b.rate if same else a.byte_rate / b.byte_rate for a, b in self.pairs]

    @property
    def record_nbytes(self) -> int:
        """Bytes of one of our records, as delivered."""
        ours = self.pairs[0][0]
        return round(ours.nbytes / max(1, ours.records))

    @property
    def ratio(self) -> float:
        """The median over pairs."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        aim = "" if self.target is None else f" (aim: {self.target:g}{', reached' if self.ratio >= self.target else ', MISSED'})"
        lines = [f"{self.what}: {self.ratio:.2f} x {self.theirs}{aim}"]
        for name, runs in ((self.ours, [a for a, _ in self.pairs]), (self.theirs, [b for _, b in self.pairs])):
            lines.append(f"    {name:<34} {pace(runs)}")
        spread = " ".join(f"{ratio:.2f}" for ratio in self.ratios)
        lines.append(f"    {len(self.pairs)} pairs: {spread} · page cache {self.cache}")
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """The figures, for a file."""
        ours, theirs = ([run[which].rate for run in self.pairs] for which in (0, 1))
        return {
            "what": self.what,
            "record_nbytes": self.record_nbytes,
            "ours": self.ours,
            "theirs": self.theirs,
            "ratio": self.ratio,
            "ratios": self.ratios,
            "our_rates": ours,
            "their_rates": theirs,
            "our_byte_rates": [a.byte_rate for a, _ in self.pairs],
            "their_byte_rates": [b.byte_rate for _, b in self.pairs],
            "cache": self.cache,
            "target": self.target,
        }


def pace(runs: Sequence[Run]) -> str:
    """Records and bytes a second at the median; bytes alone where a pass is one record, records alone where they have no bytes."""
    rate, byte_rate = statistics.median(run.rate for run in runs), statistics.median(run.byte_rate for run in runs)
    if all(run.records <= 1 for run in runs):
        return f"{format_rate(byte_rate):>22}"
    records = f"{rate:12,.0f} records/s"
    return f"{records} {byte_rate / 1e6:9,.0f} MB/s" if any(run.nbytes for run in runs) else records


def in_turns(ours: Callable[[], Run], theirs: Callable[[], Run], count: int) -> list[tuple[Run, Run]]:
    """Passes of both, one after the other, the first of a pair alternating, so that a slow moment of the machine meets both."""
    pairs: list[tuple[Run, Run]] = []
    for number in range(count):
        if number % 2:
            second = theirs()
            pairs.append((ours(), second))
        else:
            first = ours()
            pairs.append((first, theirs()))
    return pairs
