"""Advice for Python as arguments of a command: what an error of the library says to give can be given at the prompt."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from streamload.errors import StreamloadError
from streamload.images.image_error import REPLACE, UNLIKE
from streamload.nulls import SKIP

_OPTION = re.compile(r"\b(fields|shapes|fill|record_axis|decode|split|labels|scaled)=")
OF_IMAGES = {
    UNLIKE: "Give --size HEIGHTxWIDTH to make images alike, or --on-bad skip to leave it out.",
    REPLACE: "Replace it, or leave it out with --on-bad skip.",
}
"""What conversions do about images that cannot be had as they are."""
_ENDS = re.compile(r"[\]})\w'\"]")


def as_flags(text: str, *, skip: bool = False) -> str:
    """The same text with arguments of a command in place of options of `sl.open`; `skip` says that it has --on-bad."""
    parts: list[str] = []
    at = 0
    for found in _OPTION.finditer(text):
        if found.start() < at:
            continue
        value, stop = _literal(text, found.end())
        flags = None if stop is None else FLAGS[found[1]](value)
        if flags is not None and stop is not None:
            parts += [text[at : found.start()], flags]
            at = stop
    changed = "".join([*parts, text[at:]]).replace("shuffle=False", "--order stored")
    if skip:
        changed = OF_IMAGES.get(changed, changed)
    return changed.replace(SKIP, "--on-bad skip") if skip else changed.replace(f"; or leave such records out, {SKIP}.", ".")


def with_flags(error: StreamloadError, *, skip: bool = False) -> StreamloadError:
    """An error whose advice is for the command line."""
    hint = as_flags(error.hint, skip=skip)
    return error if hint == error.hint else type(error)(error.message, hint=hint, **error.details)


def _literal(text: str, start: int) -> tuple[Any, int | None]:
    """The shortest literal of Python that begins at a place and is not part of a longer word, and where it ends; None where none does."""
    for end in _ENDS.finditer(text, start):
        if text[end.end() : end.end() + 1].isalnum() or text[end.end() : end.end() + 1] == "_":
            continue
        try:
            return ast.literal_eval(text[start : end.end()]), end.end()
        except (ValueError, SyntaxError):
            continue
    return None, None


def _fields(value: Any) -> str | None:
    pairs = value.items() if isinstance(value, Mapping) else [(name, name) for name in value if name is not ...] if value else ()
    names = [(name, stored) for name, stored in pairs if isinstance(name, str) and isinstance(stored, str)]
    if len(names) != len(pairs) or any("," in name or "=" in name or "," in stored for name, stored in names):
        return None
    named = ",".join(name if name == stored else f"{name}={stored}" for name, stored in names)
    return f"--fields {shlex.quote(named)}" if named else "--fields"


def _shapes(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return None
    lengths = {name: ",".join("none" if length is None else str(length) for length in shape) for name, shape in value.items()}
    return " ".join(f"--shape {shlex.quote(f'{name}={text}')}" for name, text in lengths.items())


def _fill(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return None
    return " ".join(f"--fill {shlex.quote(f'{name}={_shown(one)}')}" for name, one in value.items())


def _shown(value: Any) -> str:
    """A value such that --fill reads it again."""
    if isinstance(value, bool):
        return str(value).lower()
    return {"": "", b"": 'b""'}.get(value, repr(value)) if isinstance(value, (str, bytes)) else repr(value)


def _record_axis(value: Any) -> str | None:
    axes = value if isinstance(value, Mapping) else {"": value}
    told = [f"{name}{'=' if name else ''}{'none' if axis is None else axis}" for name, axis in axes.items()]
    return f"--record-axis {shlex.quote(','.join(told))}"


def _decode(value: Any) -> str | None:
    sizes = set(value.values()) if isinstance(value, Mapping) else {value}
    if len(sizes) != 1:
        return None
    (size,) = sizes
    return "--decode no" if size is False else f"--decode {size[0]}x{size[1]}" if isinstance(size, tuple) else None


def _further(name: str, value: Any) -> str | None:
    told = str(value).lower() if isinstance(value, bool) else value
    return f"--option {shlex.quote(f'{name}={told}')}" if told and isinstance(told, str) else None


FLAGS: dict[str, Callable[[Any], str | None]] = {
    "fields": _fields,
    "shapes": _shapes,
    "fill": _fill,
    "record_axis": _record_axis,
    "decode": _decode,
    "split": partial(_further, "split"),
    "labels": partial(_further, "labels"),
    "scaled": partial(_further, "scaled"),
}
