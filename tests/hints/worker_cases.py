"""Hints of workers that cannot be started, or cannot be asked for what is wanted."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from following import Case, case

import streamload as sl
from streamload.fetch.tasks import StepTask
from streamload.order import StepPiece
from streamload.workers.launcher import Launcher
from streamload.workers.step_queue import StepQueue


def of_workers(data: sl.Source, loaded: Callable[..., Callable[..., object]]) -> Iterator[Case]:
    """Workers that cannot be started; `loaded` is a call that makes a loader."""
    Path("broken").write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    Path("broken").chmod(0o700)

    def started(executable: str | None = None, platform: str = sys.platform) -> Callable[..., object]:
        def call(**options: Any) -> None:
            Launcher.shutdown()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "executable", sys.executable if executable is None else executable)
                patch.setattr(sys, "platform", platform)
                run_until_refused(data, **options)

        return call

    alone = ("num_workers=0", {"num_workers": 0})
    yield case(started(""), {"num_workers": 1}, alone)
    yield case(started("/nowhere"), {"num_workers": 1}, alone)
    yield case(started(os.path.abspath("broken")), {"num_workers": 1}, alone)
    yield case(without_descriptors, {}, ("num_workers=0", loaded(data, run=True)))
    yield case(started(platform="darwin"), {"num_workers": 1}, alone)
    np.savez("one.npz", x=np.ones((1, 3), "f4"), label=[0], odd=[0.0])
    small = sl.mix({"a": (data, 40), "b": (sl.open("one.npz"), 6_000)})
    fewer = [("fewer lanes", {"pieces": 8}), ("fewer records of small parts", {"pieces": 60})]
    yield case(sent_to_workers, {"pieces": 6_000}, *fewer, ("num_workers=0", loaded(small, run=True, batch_size=6_040)))


def run_until_refused(data: sl.Source, num_workers: int) -> None:
    """Epochs until the launcher is known to be gone: the first steps may be over before that. One epoch without workers."""
    with sl.Loader(data, batch_size=4, num_workers=num_workers, memory="256 MB") as loader:
        for epoch in loader.epochs(3000 if num_workers else 1):
            for _ in epoch:
                pass
            time.sleep(0.01 if num_workers else 0)


def sent_to_workers(pieces: int) -> None:
    """Send a step of so many stretches of records to workers. The first steps of a loader may be done without them."""
    queue = StepQueue()
    try:
        queue.put(StepTask(0, 0, 0, 0, (StepPiece(0, 0, 0, 0, 1),) * pieces))
    finally:
        queue.close()


def without_descriptors() -> None:
    """Start the launcher where one more file can be opened."""
    Launcher.shutdown()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _, second, *_ = (number for number in range(1000) if not os.path.exists(f"/proc/self/fd/{number}"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (second, hard))
    try:
        Launcher.current()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
