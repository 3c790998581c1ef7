"""A bar while something takes its time: rich's where it is installed, a plain one otherwise, a line at the end where nobody looks."""

from __future__ import annotations

import importlib.util
import sys
import time
from types import TracebackType
from typing import Any, Protocol

WIDTH = 30
PERIOD_SECONDS = 0.1
PIPED_SECONDS = 60.0
"""Between two lines where nobody looks at a terminal."""


class Bar(Protocol):
    """Something that shows how far a task has come; to be used with `with`."""

    def __enter__(self) -> Bar:
        """Begin to show."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the last state standing."""
        ...

    def show(self, done: int, note: str = "") -> None:
        """Say how much is done, and a word about it."""
        ...


class PlainBar:
    """A line of text that is written over; on anything but a terminal, one line when the task is done."""

    def __init__(self, title: str, *, total: int) -> None:
        # Of nothing, everything is done.
        self._title, self._total = title, max(1, total)
        self._done, self._note = int(total <= 0), ""
        self._live = sys.stderr.isatty()
        self._shown = 0.0 if self._live else time.monotonic()

    def __enter__(self) -> PlainBar:
        return self

    def _line(self) -> str:
        filled = WIDTH * self._done // self._total
        return f"{self._title:<24} [{'#' * filled}{' ' * (WIDTH - filled)}] {100 * self._done // self._total:3d} % {self._note}"

    def show(self, done: int, note: str = "") -> None:
        """Say how much is done, and a word about it."""
        self._done, self._note = max(done, self._done), note
        if self._live and time.monotonic() - self._shown > PERIOD_SECONDS:
            self._shown = time.monotonic()
            print("\r" + self._line() + "\033[K", end="", file=sys.stderr, flush=True)
        elif not self._live and time.monotonic() - self._shown > PIPED_SECONDS:
            self._shown = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        print(("\r" if self._live else "") + self._line() + ("\033[K" if self._live else ""), file=sys.stderr, flush=True)


class RichBar:
    """A bar of rich's."""

    def __init__(self, title: str, *, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns: list[Any] = [TextColumn("{task.description:<24}"), BarColumn(WIDTH), TaskProgressColumn(), TimeRemainingColumn()]
        self._progress = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), refresh_per_second=8)
        self._task = self._progress.add_task(title, total=max(1, total), note="")

    def __enter__(self) -> RichBar:
        self._progress.start()
        return self

    def show(self, done: int, note: str = "") -> None:
        """Say how much is done, and a word about it."""
        self._progress.update(self._task, completed=done, note=note)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()


def bar(title: str, *, total: int) -> Bar:
    """The best bar that there is for a task of `total` parts."""
    rich = importlib.util.find_spec("rich") is not None and sys.stderr.isatty()
    return RichBar(title, total=total) if rich else PlainBar(title, total=total)
