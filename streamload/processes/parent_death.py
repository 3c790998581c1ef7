"""Processes that end when the one that started them does, however that ends: the kernel is asked to say so."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask to be killed when the thread that started this process ends, which must be its only one."""
    parent = os.getppid()
    _ask_for_signal(signal.SIGKILL)
    if sys.platform == "linux" and (os.getppid() != parent or parent == 1):
        os._exit(0)


@contextmanager
def noticing_death(parent: int, leave: Callable[[], None]) -> Generator[None]:
    """Meanwhile `leave` is called, between two lines of Python, once the parent is gone; not where a mere thread of it has ended.

    For a process that is at work and does not look at its parent; SIGUSR1 is taken for that.
    """

    def look(*_: object) -> None:
        if os.getppid() != parent:
            leave()

    signal.signal(signal.SIGUSR1, look)
    _ask_for_signal(signal.SIGUSR1)
    look()
    yield
    _ask_for_signal(0)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def _ask_for_signal(number: int) -> None:
    """Ask for a signal when the thread that started this process ends; 0 takes that back."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
