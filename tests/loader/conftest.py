"""What holds for tests of the loader: workers are up from the first step on, whichever test is the first one."""

from __future__ import annotations

import time

import pytest

from streamload.workers.launcher import Launcher


def await_launcher() -> None:
    """Wait until workers can be forked: until then, the first steps over raw records are done in the calling process."""
    launcher = Launcher.current()
    while not launcher.ready:
        launcher.report(-1)  # Takes in what the launcher has said.
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def workers_start_at_once() -> None:
    """As in a program that has had a loader before."""
    await_launcher()
