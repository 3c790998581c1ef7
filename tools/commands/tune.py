"""The means that suit this machine: workers, reading mode and window, found by trials in processes of their own."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streamload.errors import ConfigError, ResourceError
from streamload.memory.limits import available_nbytes, usable_cores
from streamload.sizes import format_decimal, format_rate
from streamload.tools.benchmark.advice import pace_of, workers_said
from streamload.tools.benchmark.environment import machine
from streamload.tools.benchmark.other_work import OtherWork, told
from streamload.tools.benchmark.runs import files_of, passed
from streamload.tools.commands.bench import pass_config, worked_out
from streamload.tools.commands.open_arguments import add_choice, add_decode, open_call, opened
from streamload.tools.commands.plan import order_in
from streamload.tools.console import GOOD, Console, clean, counted

EXAMPLE = "streamload tune train.h5 --seconds 60"

SAME = 0.95
"""Trials within this share of the fastest are as fast: of these the one that costs least is taken."""
START_SECONDS = 1.5
"""What a process takes to be up, about."""
LEAST_SECONDS, MOST_SECONDS = 0.5, 10.0
WINDOWS = ("256 MB", "1 GB")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a trial tries."""

    workers: int
    io: str = "auto"
    window: str | None = None

    def __str__(self) -> str:
        window = f", window {self.window}" if self.window else ""
        return f"{workers_said(self.workers)}, io={self.io}{window}"


class Trials:
    """Trials made so far, and the time that is left for more."""

    def __init__(self, config: dict[str, Any], console: Console, *, seconds: float, planned: int, cold: bool) -> None:
        self._config, self._console, self._cold = config, console, cold
        self._deadline = time.monotonic() + seconds
        each = seconds / planned - START_SECONDS
        self._each = min(MOST_SECONDS, max(LEAST_SECONDS, each))
        self.rates: dict[Settings, list[float]] = {}
        self.failed: dict[Settings, str] = {}
        self.left: list[Settings] = []
        """What there was no time for."""
        self.order = ""

    @property
    def over(self) -> bool:
        """Whether there is no time for another trial."""
        return time.monotonic() + self._each > self._deadline

    def make(self, means: Settings) -> None:
        """Make a trial, unless the time is over; the first is always made."""
        if means in self.failed:
            return
        if self.rates and self.over:
            self.left += [means] if means not in self.rates else []
            return
        told = {"workers": means.workers, "io": means.io, "window": means.window or self._config["window"], "seconds": self._each}
        try:
            one = worked_out(passed({**self._config, **told, "once": self._cold}, cold=self._cold), [], stored=False)
        except (ConfigError, ResourceError) as error:
            if not self.rates:
                raise
            self.failed[means] = error.message
            self._console.say(f"  {means}: does not fit: {clean(error.message)}")
            return
        self.order = one["order"]
        self.rates.setdefault(means, []).append(one["rate"])
        self._console.say(f"  {means}: {one['rate']:,.0f} records/s, {format_rate(one['byte_rate'])}; {pace_of(one)}")

    def rate(self, means: Settings) -> float:
        """Records a second: the mean of a means' trials."""
        return sum(self.rates[means]) / len(self.rates[means])

    @property
    def best(self) -> Settings:
        """The fastest."""
        return max(self.rates, key=self.rate)

    def thriftiest(self) -> Settings:
        """Of those that are as fast as the fastest: the fewest workers, and what a loader would do by itself."""
        least = SAME * self.rate(self.best)
        return min(
            (means for means in self.rates if self.rate(means) >= least),
            key=lambda means: (means.workers, means.window is not None, means.io != "auto"),
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload tune`."""
    parser.add_argument("path", metavar="PATH", help='a file, or a pattern such as "train-*.h5"')
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="for all trials (60)")
    parser.add_argument("--batch", type=int, default=256, metavar="N", help="records of a batch (256)")
    parser.add_argument("--order", default="auto", metavar="ORDER", help="auto, exact, block or stored (auto)")
    parser.add_argument("--window", metavar="SIZE", help='of block order, as "512 MB": kept as it is')
    parser.add_argument("--memory", metavar="SIZE", help="what the loader may use")
    parser.add_argument("--cold", action="store_true", help="empty the page cache before each trial")
    add_choice(parser)
    add_decode(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Try, and print the call and why."""
    order_in(arguments)
    if not 0 < arguments.seconds <= 36_000:
        raise ConfigError(f"--seconds {arguments.seconds:g} is out of range.", hint="Give more than 0, such as 60.")
    arguments.io = "auto"
    source = opened(arguments.path, arguments)
    try:
        config = pass_config(arguments, source, arguments.batch)
        files, title, direct = files_of(source), source.title, any(column.direct_nbytes for column in source.columns)
    finally:
        source.close()
    nbytes, free = sum(path.stat().st_size for path in files), available_nbytes()
    cold = arguments.cold or nbytes > free
    fits = "the page cache is emptied before each trial" if cold else "they fit into memory, so trials are made warm"
    console.title(f"{clean(title)}: {format_decimal(nbytes)} of files, {format_decimal(free)} of memory free: {fits}")
    counts = worker_trials(usable_cores())
    work = OtherWork()
    trials = Trials(config, console, seconds=arguments.seconds, planned=len(counts) + 4, cold=cold)
    for workers in counts:
        trials.make(Settings(workers=workers))
    for means in more_trials(trials.best, trials.order, direct=direct, window=arguments.window):
        trials.make(means)
    close = sorted(trials.rates, key=trials.rate, reverse=True)[:2]
    while not trials.over and len(trials.rates[close[0]]) < 4:
        for means in close:
            trials.make(means)
    document = _document(arguments, trials, cold=cold, folder=files[0].parent) | {"other_work": work.found()}
    console.say()
    console.say(document["call"], "bold")
    for reason in document["why"]:
        console.say(f"  {reason}")
    if told(document["other_work"]):
        console.found(told(document["other_work"]))
    console.answer(document)
    return GOOD


def worker_trials(cores: int) -> list[int]:
    """Numbers of workers that are worth a trial on so many cores."""
    return sorted({0, 1, max(1, cores // 2), max(1, cores - 1), cores, cores + cores // 2} & set(range(17)) | {0, 1})


def more_trials(best: Settings, order: str, *, direct: bool, window: str | None) -> Iterator[Settings]:
    """What else to try with the best number of workers."""
    if best.workers:
        yield Settings(workers=best.workers, io="mmap")
    yield Settings(workers=best.workers, io="read")
    if direct:
        yield Settings(workers=best.workers, io="direct")
    if order == "block" and window is None:
        for size in WINDOWS:
            yield Settings(workers=best.workers, window=size)


def _document(arguments: argparse.Namespace, trials: Trials, *, cold: bool, folder: Any) -> dict[str, Any]:
    chosen, best = trials.thriftiest(), trials.best
    shuffles = {"exact": "sl.Exact()", "block": "sl.Block()", "stored": "False"}
    window = chosen.window or arguments.window
    shuffle = f'sl.Block("{window}")' if window else shuffles.get(arguments.order, "True")
    more = [f"batch_size={arguments.batch}", f"shuffle={shuffle}", "seed=0", f"num_workers={chosen.workers}"]
    more += [f"io={chosen.io!r}"] if chosen.io != "auto" else []
    more += [f"memory={arguments.memory!r}"] if arguments.memory else []
    return {
        "command": "tune",
        "machine": machine(folder),
        "path": arguments.path,
        "cold": cold,
        "order": trials.order,
        "trials": [
            {"workers": means.workers, "io": means.io, "window": means.window, "rates": rates} for means, rates in trials.rates.items()
        ],
        "left": list(map(str, trials.left)),
        "failed": [{"what": str(means), "why": why} for means, why in trials.failed.items()],
        "workers": chosen.workers,
        "io": chosen.io,
        "window": window,
        "call": f"sl.Loader({open_call(arguments)}, {', '.join(more)})",
        "why": list(_why(trials, chosen, best)),
    }


def _why(trials: Trials, chosen: Settings, best: Settings) -> Iterator[str]:
    rate = trials.rate(chosen)
    yield f"{chosen}: {rate:,.0f} records/s, the mean of {counted(len(trials.rates[chosen]), 'trial')}"
    if trials.left:
        yield f"no time was left to try {' · '.join(map(str, trials.left))}: give more --seconds"
    if chosen != best:
        yield f"{best} gives {trials.rate(best) / rate:.2f} times as many, too little to pay for what it costs more"
    for means in trials.rates:
        if means != chosen and means.io == "auto" and means.window is None and means.workers != chosen.workers:
            yield f"{workers_said(means.workers)}: {trials.rate(means) / rate:.2f} times as many records/s"
    others = [means for means in trials.rates if means.workers == chosen.workers and means != chosen]
    for means in others:
        yield f"{means}: {trials.rate(means) / rate:.2f} times as many"
    if chosen.window:
        yield "the window is part of the order: a run that was begun with another one must go on with it"
