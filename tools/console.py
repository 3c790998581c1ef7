"""What every command says, and how: text or JSON, colour where there is a terminal and rich, one meaning for each exit code."""

from __future__ import annotations

import difflib
import errno
import importlib.util
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import numpy as np

from streamload.errors import ConfigError, ConversionError, ResourceError, StreamloadError, to_plain
from streamload.processes.interrupts import code_of as code_of_interrupt

GOOD, FOUND, USAGE, RESOURCES = 0, 1, 2, 3
"""What a command's exit code means: all is well; it found something wrong; it was asked wrongly; something ran out."""

LEAST_COLUMNS = 20
CALLS = ("sl.open(", "sl.Loader(")
MOST_CHARACTERS = 300
"""Names and values that stand in files are cut there."""
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Errors of the system that mean that something ran out."""


class Console:
    """Where a command writes: lines for people on stdout, or one JSON document instead of all of them."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._rich: Any = None
        if not as_json and sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
            from rich.console import Console as RichConsole

            self._rich = RichConsole(highlight=False, soft_wrap=True)

    @property
    def colour(self) -> bool:
        """Whether text may be coloured."""
        return self._rich is not None

    def say(self, text: str = "", style: str = "", *, hanging: int = 0) -> None:
        """One line for people, or several where it is wider than the terminal; all but the first begin with `hanging` spaces or more."""
        if self.as_json:
            return
        text = wrapped(text, width_of(sys.stdout), hanging)
        if self._rich is None:
            print(text)
            return
        from rich.text import Text

        self._rich.print(Text(text, style=style))

    def title(self, text: str) -> None:
        """What the lines below are about."""
        self.say(text, "bold")

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Names and what they are, under each other."""
        listed = [(name, value) for name, value in pairs if value]
        width = max((len(name) for name, _ in listed), default=0)
        for name, value in listed:
            self.say(f"  {name:<{width}}  {value}", hanging=width + 4)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns of text; numbers are to be given as text too."""
        widths = [max(len(line[at]) for line in [heads, *rows]) for at in range(len(heads))]
        self.say("  " + "  ".join(f"{head:<{width}}" for head, width in zip(heads, widths, strict=True)).rstrip(), "dim")
        for row in rows:
            self.say("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())

    def advise(self, text: str) -> None:
        """Something that the user could do."""
        self.say(f"  > {text}", "cyan")

    def found(self, text: str) -> None:
        """Something that is wrong."""
        self.say(f"  ! {text}", "red")

    def answer(self, document: Any) -> None:
        """The whole answer as JSON, where JSON was asked for."""
        if self.as_json:
            print(json.dumps(plain(document), indent=2 if sys.stdout.isatty() else None, ensure_ascii=False, allow_nan=False))

    def error(self, error: BaseException) -> None:
        """Why the command could not do its work: on stderr, or as JSON on stdout."""
        if self.as_json:
            told = to_plain(error) if isinstance(error, StreamloadError) else {"kind": type(error).__name__, "message": _told(error)}
            self.answer({"error": told})
            return
        message, hint = (error.message, error.hint) if isinstance(error, StreamloadError) else (_told(error), "")
        width = width_of(sys.stderr)
        print(wrapped(f"streamload: {clean(message, most=2000)}", width), file=sys.stderr)
        if hint:
            print(wrapped(f"  {clean(hint, most=2000)}", width), file=sys.stderr)


def width_of(stream: TextIO) -> int | None:
    """Columns of the terminal that a stream leads to, or what COLUMNS says; None where lines may have any width."""
    if not stream.isatty() and not os.environ.get("COLUMNS", "").isdecimal():
        return None
    return max(LEAST_COLUMNS, shutil.get_terminal_size().columns)


def wrapped(text: str, width: int | None, hanging: int = 0) -> str:
    """The same in lines of a width, broken between words; what is to be pasted, a call of Python or a command, stays in one piece."""
    if width is None or len(text) <= width or any(call in text for call in CALLS):
        return text
    hanging = max(hanging, len(text) - len(text.lstrip()) + 2) if hanging + LEAST_COLUMNS <= width else 4
    whole = re.sub(r"`[^`]*`", lambda command: command[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(
        whole, width, subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    return "\n".join(lines).replace("\0", " ")


def _told(error: BaseException) -> str:
    """An error that is none of ours: one of the system by its file and what is the matter, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename is not None else f"{error.strerror}."
    return str(error) or type(error).__name__


def clean(text: object, *, most: int = MOST_CHARACTERS) -> str:
    """Text from a file as it may be shown in a terminal: no control characters, and of bounded length."""
    shown = "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(text)[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def missing(path: str) -> ConfigError:
    """The error of a path at which there is nothing, or a link that leads nowhere. Raises that of a URL, and of what is no path."""
    from streamload.formats.no_paths import local

    local(path)
    if os.path.islink(path):
        return ConfigError(
            f"{path} is a link to {os.path.realpath(path)}, which does not exist.", hint="Check where it is to lead.", path=path
        )
    return ConfigError(f"{path} does not exist.", hint="Check the path.", path=path)


def counted(count: int, what: str) -> str:
    """A number of things: "1 record", "2 records"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NumPy's numbers become Python's, what is not a number becomes text."""
    if isinstance(value, dict):
        return {clean(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        one = value.item()  # A long double stays one: Python has none.
        return plain(str(value) if isinstance(one, np.generic) else one)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def meant(given: str, known: Iterable[str]) -> str:
    """A hint that names what was probably meant, or all there is."""
    listed = list(known)
    close = difflib.get_close_matches(given, listed, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There is {', '.join(listed)}." if listed else "There is none."


def code_of(error: BaseException) -> int:
    """The exit code that an error asks for."""
    if isinstance(error, KeyboardInterrupt):
        return code_of_interrupt(error)
    number = getattr(error, "errno", None) or (error.details.get("errno") if isinstance(error, StreamloadError) else None)
    if isinstance(error, (ResourceError, MemoryError)) or number in FULL:
        return RESOURCES
    if isinstance(error, ConfigError) or number in (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.EISDIR):
        return USAGE
    if isinstance(error, StreamloadError) and not isinstance(error, ConversionError) and isinstance(error.__cause__, FileNotFoundError):
        return USAGE
    return FOUND
