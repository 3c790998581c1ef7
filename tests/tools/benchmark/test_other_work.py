"""Other work on the machine is seen, and said with what it does to figures; little of it is not."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamload.tools.benchmark.other_work import MUCH_CORES, OtherWork, told

LITTLE = {"busy_cores": 0.0, "stolen": 0.0, "load": 0.5, "cores": 2}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"busy_cores": 1.6, "load": 3.2}, "other work runs here: it keeps 1.6 of 2 cores busy (load 3.2); "),
        ({"stolen": 0.08}, "it keeps 0.0 of 2 cores busy (load 0.5), 8 % of the time goes to other machines on this host; "),
        ({"load": 7.0}, "(load 7.0); rates come out lower than this machine can, and vary from run to run"),
    ],
    ids=["busy", "stolen", "waiting"],
)
def test_it_is_said_where_it_matters(more: dict[str, float], text: str):
    """In cores, and what that means."""
    assert text in told(LITTLE | more)
    assert told(LITTLE) == told({}) == ""


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not say what processors do")
def test_a_process_that_computes_is_seen():
    """Until it is, however busy the machine is."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        work = OtherWork()
        while (found := work.found())["busy_cores"] < MUCH_CORES:
            time.sleep(0.05)
        assert told(found)
    finally:
        busy.kill()
        busy.wait()
