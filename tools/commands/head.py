"""The first records of a file as text: every field, arrays cut to their beginning."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import NullValueError, SourceError
from streamload.images import ImageError, read_header
from streamload.tools.commands.open_arguments import add_choice, add_decode, classes_at, looked_at
from streamload.tools.commands.shown_records import first_shown, none_shown, require_shown
from streamload.tools.commands.value_ranges import range_of, range_text
from streamload.tools.console import FOUND, GOOD, Console, clean, counted
from streamload.tools.convert.record_source import RecordSource

EXAMPLE = "streamload head train.h5 -n 3"

DAMAGED = "(damaged)"
"""The name under which it stands why a record cannot be read; no field has parentheses around its name."""
FEW = 8
"""Values of an array that are shown."""
MOST_LETTERS = 60
"""Of bytes that are text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload head`."""
    parser.add_argument("path", metavar="PATH", help='a file, or a pattern such as "train-*.h5"')
    parser.add_argument("-n", "--records", type=int, default=5, metavar="N", help="how many records (5)")
    parser.add_argument("--start", type=int, default=0, metavar="R", help="the first record number (0); -5 is the fifth from the end")
    add_choice(parser)
    add_decode(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Show the records; none is no error."""
    require_shown(arguments)
    source = looked_at(arguments.path, arguments)
    try:
        count, classes = len(source), classes_at(arguments.path, source)
        start = first_shown(arguments, count)
        stop = min(count, start + arguments.records)
        shown: list[tuple[int, dict[str, str]]] = []
        told: list[dict[str, Any]] = []
        bad = 0
        for number in range(start, stop):  # one after the other: of no record more is kept than is shown
            record = _record(source, number)
            bad += DAMAGED in record
            if console.as_json:
                told.append(
                    {"record": number} | {name: _bytes_shown(one) if isinstance(one, bytes) else one for name, one in record.items()}
                )
            else:
                words = {name: clean(class_text(one, classes.get(name))) for name, one in record.items()}
                shown.append((number, {name: _shown(one) + words[name] for name, one in record.items()}))
            del record
    finally:
        source.close()
    console.title(f"{clean(arguments.path)}: {counted(count, 'record')} · {clean(source.schema)}")
    for number, texts in shown:
        console.say(f"record {number:,}", "bold")
        if DAMAGED in texts:
            console.found(texts[DAMAGED])
            continue
        console.pairs((clean(name), text) for name, text in texts.items())
    if start >= stop and start >= count and arguments.records:
        console.say(f"  {none_shown(arguments, count)}")
    console.answer({"path": arguments.path, "of": count, "classes": classes, "records": told})
    return FOUND if bad else GOOD


def _record(source: RecordSource, number: int) -> dict[str, Any]:
    """One record: of each field its value."""
    chosen = np.array([number], np.int64)
    try:
        taken = source.take(chosen)
        return {name: taken.pop(name)[0] for name in [*taken]}
    except NullValueError:
        return {name: _value(source, name, chosen) for name in source.schema.names}
    except SourceError as error:
        return {DAMAGED: error.message}


def _value(source: RecordSource, name: str, chosen: NDArray[np.int64]) -> Any:
    """A field of one record; None where it is null."""
    try:
        return source.values(name, chosen)[0]
    except NullValueError:
        return None


def class_text(value: Any, words: Sequence[str] | None) -> str:
    """What a label means, where something says so."""
    if words is None or not isinstance(value, (int, np.integer)) or not 0 <= value < len(words):
        return ""
    return f" ({words[value]})"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return _bytes_shown(value)
    values = np.asarray(value)
    if values.shape == ():
        return clean(values[()])
    if not values.size:
        return f"{values.dtype} {values.shape}"
    first = " ".join(f"{one:.4g}" if values.dtype.kind == "f" else str(one) for one in values.reshape(-1)[:FEW].tolist())
    seen = range_of(values)
    sound = values[~np.isnan(values)] if seen is not None and seen["nan"] else values
    about = f", mean {sound.mean():.4g}, {range_text(seen)}" if seen is not None else ""
    return f"[{first}{' …' if values.size > FEW else ''}] {values.dtype} {values.shape}{about}"


def _bytes_shown(value: bytes) -> str:
    """Bytes in a few words: which image they are, the text that they hold, or how they begin."""
    try:
        head = read_header(value)
    except ImageError:
        if value and value.isascii() and value.decode().isprintable():
            return f"{bytes(value[:MOST_LETTERS])!r}{f' … of {len(value):,} bytes' if len(value) > MOST_LETTERS else ''}"
        return f"{len(value):,} bytes: {value[:FEW].hex(' ')}{' …' if len(value) > FEW else ''}"
    tall, wide = head.size
    return f"{head.format} {tall:,} x {wide:,} ({head.mode}), {len(value):,} bytes"
