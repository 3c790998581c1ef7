"""The first records of a file as text: every field, arrays cut to their beginning."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from streamload.tools.console import GOOD, Console, clean
from streamload.tools.reading import add_choice, add_decode, opened

from streamload.images import RefusalError, read_head

EXAMPLE = "streamload head train.h5 -n 3"

FEW = 8
"""Values of an array that are shown."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload head`."""
    parser.add_argument("path", metavar="PATH", help='a file, or a pattern such as "train-*.h5"')
    parser.add_argument("-n", "--records", type=int, default=5, metavar="N", help="how many records (5)")
    parser.add_argument("--start", type=int, default=0, metavar="R", help="the first record number (0); -5 is the fifth from the end")
    add_choice(parser)
    add_decode(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Show the records; none is no error."""
    source = opened(arguments.path, arguments)
    try:
        start = arguments.start if arguments.start >= 0 else max(0, len(source) + arguments.start)
        stop = min(len(source), start + max(0, arguments.records))
        records = [{"record": number, **source[number]} for number in range(start, stop)]
    finally:
        source.close()
    console.title(f"{clean(source.title)}: {len(source):,} records · {clean(source.schema)}")
    for record in records:
        console.say(f"record {record['record']:,}", "bold")
        console.pairs((clean(name), _shown(value)) for name, value in record.items() if name != "record")
    told = [{name: _bytes_shown(one) if isinstance(one, bytes) else one for name, one in record.items()} for record in records]
    console.answer({"path": arguments.path, "of": len(source), "records": told})
    return GOOD


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return _bytes_shown(value)
    values = np.asarray(value)
    if values.shape == ():
        return clean(values[()])
    if not values.size:
        return f"{values.dtype} {values.shape}"
    first = " ".join(f"{one:.4g}" if values.dtype.kind == "f" else str(one) for one in values.reshape(-1)[:FEW].tolist())
    about = f", mean {values.mean():.4g}, {values.min():.4g} to {values.max():.4g}" if values.dtype.kind in "buif" else ""
    return f"[{first}{' …' if values.size > FEW else ''}] {values.dtype} {values.shape}{about}"


def _bytes_shown(value: bytes) -> str:
    """Bytes in a few words: which image they are, or how they begin."""
    try:
        head = read_head(value)
    except RefusalError:
        return f"{len(value):,} bytes: {value[:FEW].hex(' ')}{' …' if len(value) > FEW else ''}"
    tall, wide = head.size
    return f"{head.format} {tall:,} x {wide:,} ({head.mode}), {len(value):,} bytes"
