"""How many lines of Python a call runs: the measure of work for each record that no busy machine changes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any


def lines_run(call: Callable[[], object]) -> int:
    """Those of the call and of what it calls, in this thread; what a collection of garbage finalizes meanwhile is none of them."""
    counted = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal counted
        counted += 1
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return counted
