"""Nulls at the command line: `--fill`, and conversions that must know of them beforehand."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from streamload.errors import ConfigError, NullValueError
from streamload.nulls import advice_on_nulls, counted
from streamload.tools.commands.advice_as_flags import as_flags
from streamload.tools.convert.record_source import RecordSource


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


def refuse_nulls(origin: RecordSource, on_bad: str) -> None:
    """Raise NullValueError, of all fields at once, where nulls are known for which nothing stands, and bad records are to be errors."""
    known = {name: one for name, one in origin.nulls.items() if one.count}
    lacking = next((name for name in known if name in origin.encoded_fields), None)
    if lacking is not None and on_bad == "raise":
        count = f"{known[lacking].count:,} of the {len(origin):,} records"
        raise NullValueError(f"{origin.title}: '{lacking}' is missing in {count}.", hint="Leave them out with --on-bad skip.")
    if known and on_bad == "raise":
        hint = as_flags(advice_on_nulls(origin.nulls, origin.schema), skip=True)
        raise NullValueError(f"{origin.title} holds nulls in {counted(known)}.", hint=hint)
