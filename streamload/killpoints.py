"""Named places at which tests make a process die, stop or wait; they cost a comparison where no test asks for them.

`STREAMLOAD_TEST_KILL="point:action[:count]"` acts on the count-th time that a point is reached (the first, unless said),
in the worker that `STREAMLOAD_TEST_KILL_WORKER` names (any, unless said).
"""

from __future__ import annotations

import os
import signal
import sys
import time

_wanted = os.environ.get("STREAMLOAD_TEST_KILL", "")
_point, _action, _count = ([*_wanted.split(":"), "", "", "1"][:3] if _wanted.count(":") == 2 else [*_wanted.split(":"), "", ""][:2] + ["1"]) if _wanted else ("", "", "1")
_reached = 0
_armed = True


def arm(worker: int) -> None:
    """Say which worker this process is."""
    global _armed
    only = os.environ.get("STREAMLOAD_TEST_KILL_WORKER", "")
    _armed = not only or int(only) == worker


def reach(point: str) -> None:
    """Act, if a test asked for it at this point."""
    if point != _point or not _armed:
        return
    global _reached
    _reached += 1
    if _reached != int(_count):
        return
    if _action.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, _action))
    elif _action.startswith("exit"):
        os._exit(int(_action[4:]))
    elif _action == "raise":
        raise RuntimeError(f"asked to fail at {point}")
    elif _action.startswith("sleep"):
        time.sleep(float(_action[5:] or 3600))
    else:
        sys.exit(f"unknown action {_action!r}")
