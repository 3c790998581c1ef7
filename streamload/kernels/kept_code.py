"""Machine code that numba has kept, loaded without what only compiling needs.

Before it loads a kept kernel, numba takes in its implementations of everything, SciPy with them: two thirds of the time that loading
takes. No kernel here needs any of it to run. Whoever compiles still has it: numba's compiler takes it in itself.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any


class _Thread(threading.local):
    """What holds for this thread alone: others may load kernels of the user's meanwhile."""

    loads_as_kept = False


_thread = _Thread()


@contextmanager
def loaded_as_kept() -> Generator[None]:
    """Meanwhile numba loads what it has kept, in this thread, and takes in nothing more. A numba that works otherwise does as ever."""
    _divert()
    before, _thread.loads_as_kept = _thread.loads_as_kept, True
    try:
        yield
    finally:
        _thread.loads_as_kept = before


@cache
def _divert() -> None:
    """Have numba ask here before it loads something. It stays so: threads may be loading whenever it was taken back."""
    try:
        keeper: Any = import_module("numba.core.caching").Cache
        runtime: Any = import_module("numba.core.runtime").rtsys
        usual, _, _ = keeper.load_overload, keeper._load_overload, keeper._guard_against_spurious_io_errors
    except (ImportError, AttributeError):
        return

    def load_overload(kept: Any, sig: Any, target_context: Any) -> Any:
        if not _thread.loads_as_kept:
            return usual(kept, sig, target_context)
        runtime.initialize(target_context)  # Arrays that a kernel makes for itself come from there.
        with kept._guard_against_spurious_io_errors():
            return kept._load_overload(sig, target_context)

    keeper.load_overload = load_overload
