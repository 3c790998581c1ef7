"""The command `streamload` while its modules are loaded: an interrupt ends it without a traceback, since nothing is to be undone yet.

A program that imports the library is not touched.
"""

from __future__ import annotations

import _signal as signal  # pyright: ignore[reportMissingImports]  # the module that gives names to it imports enum, and takes its time
import atexit
import os
import sys

INTERRUPTED = 130
COMMAND = "streamload"
_held = False


def hold() -> None:
    """Until `release`, an interrupt ends the command at once; nothing in any other program."""
    global _held
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
        _held = True


def release() -> None:
    """Interrupts are exceptions again."""
    if _held:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore() -> None:
    """The command has done its work: an interrupt comes too late."""
    if _held:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave(code: int) -> None:
    """End the command that was interrupted, everything being undone; nothing in any other program.

    At its usual end Python may still die of the signal: it remembers interrupts that came while it made classes.
    """
    if _held:
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  # they end the processes that this one has started
        os._exit(code)


def _is_command() -> bool:
    """Whether this process was started as `streamload` or `python -m streamload`."""
    started = sys.argv[0] if sys.argv else ""
    if started != "-m":
        return os.path.basename(started).removesuffix(".exe") == COMMAND
    words = sys.orig_argv
    return COMMAND in words[words.index("-m") + 1 : words.index("-m") + 2] if "-m" in words else False


def _end(*_: object) -> None:
    os.write(2, b"streamload: interrupted.\n")
    os._exit(INTERRUPTED)
