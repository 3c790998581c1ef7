"""Named places at which tests make a process die, stop or wait; they cost a comparison where no test asks for them.

`STREAMLOAD_TEST_KILL="point:action[:count[:worker]]"` acts on the count-th time that a point is reached (the first, unless
said; `*` is every time), in that worker (any, unless said). `STREAMLOAD_TEST_KILL="@path"` is read anew by each worker from
the first line of a file, so that one launcher serves a whole sweep; before an action that is to happen once, it is emptied.
"""

from __future__ import annotations

import os
import signal
import sys
import time

_wanted = os.environ.get("STREAMLOAD_TEST_KILL", "")
_reached = 0


def _parsed(wanted: str) -> tuple[str, str, int, int]:
    """Point, action, at which time, and in which worker (-1: any)."""
    if wanted.startswith("@"):
        with open(wanted[1:]) as file:
            wanted = file.readline().strip()
    point, action, count, worker = (wanted.split(":") + [""] * 4)[:4]
    return point, action, 0 if count == "*" else int(count or 1), int(worker or -1)


_point, _action, _count, _worker = _parsed(_wanted) if _wanted else ("", "", 1, -1)


def arm(worker: int) -> None:
    """Say which worker this process is."""
    global _point, _action, _count, _worker
    if _wanted.startswith("@"):
        _point, _action, _count, _worker = _parsed(_wanted)
    if _worker not in (-1, worker):
        _point = ""


def _is_first(path: str) -> bool:
    """Whether no other worker has acted on the file's line before; the file is empty from now on, and never away: others read it."""
    import fcntl

    with open(path, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        first = bool(file.readline())
        file.truncate(0)
    return first


def fault_point(point: str) -> None:
    """Mark a place in the code by name: does nothing, unless `STREAMLOAD_TEST_KILL` asks for an action here."""
    if point != _point:
        return
    global _reached
    _reached += 1
    if _count and _reached != _count:
        return
    if _count and _wanted.startswith("@") and not _is_first(_wanted[1:]):
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
