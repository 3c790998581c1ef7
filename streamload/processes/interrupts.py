"""What ends the command `streamload` by a signal: Ctrl-C, and those by which a scheduler or a terminal that closes ends a program.

1. While modules are loaded, an interrupt ends it at once, since nothing is to be undone yet.
2. Then the first signal is an exception, and what is half done is undone; a second one ends that, and a third ends all at once.
3. A program that imports the library is not touched.
"""

from __future__ import annotations

import _signal as signal  # pyright: ignore[reportMissingImports]  # the module that gives names to it imports enum, and takes its time
import atexit
import os
import sys

INTERRUPTED = 130
COMMAND = "streamload"
ENDING = {15: "SIGTERM", 1: "SIGHUP"}
"""Signals besides Ctrl-C that end a program which does not ask for them, where it is told nothing else of them."""
_held = False
_met = 0


class TerminationInterrupt(KeyboardInterrupt):
    """Somebody else's wish that the command should end: undone and told of as an interrupt is."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def hold() -> None:
    """Until `release`, an interrupt ends the command at once; nothing in any other program."""
    global _held
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
        _held = True


def release() -> None:
    """Interrupts are exceptions again, and so are signals that would end the command without a word."""
    if _held:
        signal.signal(signal.SIGINT, _raise)
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _raise)


def _raise(number: int, frame: object) -> None:
    """Raise what a signal means; the one after the next finds nobody who could still be told of it."""
    global _met
    _met += 1
    if _met > 1:
        for one in (signal.SIGINT, *ENDING):
            if signal.getsignal(one) is _raise:
                signal.signal(one, _end_now)
    raise TerminationInterrupt(number) if number in ENDING else KeyboardInterrupt


def _end_now(number: int, frame: object) -> None:
    os._exit(128 + number)


def told(error: KeyboardInterrupt) -> str:
    """How the command ended, for people."""
    return f"ended by {ENDING[error.number]}." if isinstance(error, TerminationInterrupt) else "interrupted."


def code_of(error: KeyboardInterrupt) -> int:
    """The exit code that shells have for it."""
    return 128 + error.number if isinstance(error, TerminationInterrupt) else INTERRUPTED


def ignore() -> None:
    """The command has done its work: an interrupt comes too late, and nothing is undone at any other signal."""
    if _held:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in ENDING:
            if signal.getsignal(number) is _raise:
                signal.signal(number, signal.SIG_DFL)


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
