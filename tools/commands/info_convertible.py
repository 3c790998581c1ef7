"""What only `convert` can read, such as a folder of images: what it is, how fast it is decoded, and what to do with it."""

from __future__ import annotations

import argparse
import os
import shlex
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.contents import spread
from streamload.errors import SourceError, StreamloadError
from streamload.sizes import format_nbytes
from streamload.tools.commands.open_arguments import fields_in, options_in
from streamload.tools.commands.speed import device_rate_of
from streamload.tools.commands.value_ranges import LOOKED_AT, range_of, range_text
from streamload.tools.console import Console, clean, counted
from streamload.tools.convert.accounting import account_of
from streamload.tools.convert.image_sizes import sizes_of
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.open import container_kind, open_records, open_training
from streamload.tools.convert.record_source import RecordSource, batch_records

OVERRIDES = "--fields, --shape; --size, --mode and --labels of `streamload convert`"


def container_document(path: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """What only `convert` can read, such as a folder of images; None where a loader reads the path itself."""
    if container_kind(path) is None:
        return None
    request = OpenRequest(path=os.path.abspath(path), fields=fields_in(arguments.fields), **options_in(arguments))
    origin = open_records(request)
    try:
        account = account_of(origin, request, leave_out=arguments.leave_out)
        document: dict[str, Any] = {
            "path": path,
            "format": origin.format_name,
            "records": len(origin),
            "record_nbytes": origin.schema.record_nbytes,
            "addressable": origin.addressable,
            "fields": [{"name": one.name, "dtype": str(one.dtype), "shape": list(one.shape), "range": None} for one in origin.schema],
            "stored": dict(origin.stored),
            "left_out": dict(origin.left_out),
            "notes": list(origin.notes),
            "account": account.plain(),
            "accounted": account,
            "classes": {name: list(words) for name, words in origin.classes.items()},
            "layout": _layout(origin, arguments),
        }
        if not arguments.no_measure and len(origin):
            _measure(origin, document)
    finally:
        origin.close()
    size = f" --size {document['size'][0]}x{document['size'][1]}" if "size" in document else ""
    convert = f"`streamload convert {shlex.quote(path)} train.h5{size}`"
    if _is_read_by_loaders(path):
        document["advice"] = [f"`sl.open({path!r})` reads it as it is; {convert} makes a file of it that is read faster"]
    else:
        document["advice"] = [f"{convert} makes it a dataset that a loader reads, and fast"]
    return document


def _is_read_by_loaders(path: str) -> bool:
    """Whether the library opens it."""
    try:
        open_training(path, None)[0].close()
    except StreamloadError:
        return False
    return True


def _layout(origin: RecordSource, arguments: argparse.Namespace) -> dict[str, str]:
    """How sure fields and shapes are: of encoded images and messages, the first few records say them."""
    if arguments.fields or arguments.shape:
        return {"certainty": "as you said", "override": "--fields, --shape"}
    if origin.guessed_from:
        return {"certainty": f"guessed from the first {origin.guessed_from:,} records", "override": OVERRIDES}
    return {"certainty": "certain: the file says it", "override": "--fields; --size and --mode of `streamload convert`"}


def _measure(origin: RecordSource, document: dict[str, Any]) -> None:
    """Take some records: how long that takes, and which values they have."""
    chosen = spread(len(origin), min(LOOKED_AT, batch_records(origin)))
    began = time.perf_counter()
    try:
        if _of_many_sizes(origin, chosen, document):
            return
        taken = origin.take(chosen)
    except SourceError as error:
        document["damaged"] = str(error)
        return
    warm = len(chosen) / max(1e-9, time.perf_counter() - began)
    document["speed"] = {"stored_warm": warm}
    paths = [path for path in origin.paths if os.path.isfile(path)]
    device = device_rate_of(max(paths, key=os.path.getsize)) if paths else 0.0
    each = sum(map(os.path.getsize, paths)) / len(origin) / device if device else 0.0
    if each:
        document["speed"]["stored_cold"] = 1 / (1 / warm + each)
        document["predicted"] = ["stored_cold"]
    for field in document["fields"]:
        seen = range_of(taken[field["name"]])
        field["range"] = None if seen is None else seen | {"records": len(chosen), "all": len(chosen) == len(origin)}


def _of_many_sizes(origin: RecordSource, chosen: NDArray[np.int64], document: dict[str, Any]) -> bool:
    """Note sizes of images that differ, and one that they could be made; whether they do."""
    sizes = sizes_of(origin, chosen.tolist())
    if len(sizes) < 2:
        return False
    heights, widths = (sorted(size[at] for size in sizes.elements()) for at in (0, 1))
    document["size"] = [heights[len(heights) // 2], widths[len(widths) // 2]]
    document["sizes"] = [[heights[0], widths[0]], [heights[-1], widths[-1]], len(chosen)]
    return True


def show_container(document: dict[str, Any], console: Console) -> None:
    """What `foreign_document` found, for people."""
    console.title(f"{clean(document['path'])}: {document['format']}, {counted(document['records'], 'record')}")
    layout = document["layout"]
    speed = document.get("speed", {})
    cold = f", {speed['stored_cold']:,.0f} from the disk (predicted)" if "stored_cold" in speed else ""
    console.pairs(
        [
            ("a record", format_nbytes(document["record_nbytes"])),
            (
                "records are",
                "decoded one by one" if document["addressable"] else "packed together: one alone costs all that are packed with it",
            ),
            ("layout", f"{layout['certainty']}; other: {layout['override']}"),
            ("sizes", _sizes_text(document)),
            ("speed", f"{speed['stored_warm']:,.0f} records/s decoded by one core{cold}" if speed else ""),
        ]
    )
    rows = [
        [
            clean(one["name"]),
            one["dtype"],
            str(tuple(one["shape"])),
            range_text(one["range"]),
            clean(document["stored"].get(one["name"], "")),
        ]
        for one in document["fields"]
    ]
    shown = 5 if document["stored"] else 4
    console.table(["field", "dtype", "shape", "range", "stored as"][:shown], [row[:shown] for row in rows])
    show_classes(document["classes"], console)
    for note in document["notes"]:
        console.say(f"  {clean(note)}", "dim")
    if "damaged" in document:
        console.found(clean(document["damaged"]))
    for line in document["advice"]:
        console.advise(line)


def _sizes_text(document: dict[str, Any]) -> str:
    """What sizes images have, where they differ."""
    if "sizes" not in document:
        return ""
    (height, width), (tallest, widest), count = document["sizes"]
    return f"images differ: {height} to {tallest} high, {width} to {widest} wide, of {counted(count, 'record')} looked at"


def show_classes(classes: dict[str, Any], console: Console) -> None:
    """What the numbers of labels mean."""
    for name, words in classes.items():
        console.say(f"  classes of '{clean(name)}': {clean(', '.join(map(str, words)))}")
