"""Nulls at the command line: `--fill`, advice as arguments, and conversions that must know beforehand."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Sequence
from typing import Any

from streamload.errors import ConfigError, NullValueError, StreamloadError
from streamload.nulls import SKIP, advice_on_nulls, counted
from streamload.tools.convert.record_source import RecordSource

_FILL = re.compile(r"fill=(\{[^{}]*\})")


def fill_in(texts: Sequence[str]) -> dict[str, Any]:
    """ "label=0" as {"label": 0}: numbers, true and false, b"" and [] as Python has them; anything else is text."""
    fill: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not name or not mark:
            raise ConfigError(f"--fill {text!r} cannot be read.", hint="Give a field and what stands for its nulls: --fill label=0.")
        try:
            fill[name] = ast.literal_eval(value.capitalize() if value.lower() in ("true", "false") else value)
        except (ValueError, SyntaxError):
            fill[name] = value
    return fill


def as_flags(text: str, *, skip: bool = False) -> str:
    """Advice for Python as arguments of a command; `skip` says that it has --on-bad."""

    def flags(found: re.Match[str]) -> str:
        try:
            stands = ast.literal_eval(found[1]).items()
        except (ValueError, SyntaxError, AttributeError):
            return found[0]
        return " ".join(f"--fill {shlex.quote(f'{name}={_shown(value)}')}" for name, value in stands)

    changed = _FILL.sub(flags, text)
    return changed.replace(SKIP, "--on-bad skip") if skip else changed.replace(f"; or leave such records out, {SKIP}.", ".")


def _shown(value: Any) -> str:
    """A value such that `fill_in` reads it again."""
    if isinstance(value, bool):
        return str(value).lower()
    return {"": "", b"": 'b""'}.get(value, repr(value)) if isinstance(value, (str, bytes)) else repr(value)


def with_flags(error: StreamloadError, *, skip: bool = False) -> StreamloadError:
    """An error whose advice is for the command line."""
    if not isinstance(error, NullValueError | ConfigError) or "fill=" not in error.hint:
        return error
    return type(error)(error.message, hint=as_flags(error.hint, skip=skip), **error.details)


def refuse_nulls(origin: RecordSource, on_bad: str) -> None:
    """Raise NullValueError, of all fields at once, where nulls are known for which nothing stands, and bad records are to be errors."""
    known = {name: one for name, one in origin.nulls.items() if one.count}
    if known and on_bad == "raise":
        hint = as_flags(advice_on_nulls(origin.nulls, origin.schema), skip=True)
        raise NullValueError(f"{origin.title} holds nulls in {counted(known)}.", hint=hint)
