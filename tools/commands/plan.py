"""What a loader will do with a file, worked out without starting one: order, windows, memory, and the call to paste."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

import streamload
from streamload.errors import ConfigError
from streamload.loader.budget import default_memory_nbytes
from streamload.loader.planning import Options, Plan, plan_of
from streamload.memory.limits import usable_cores
from streamload.order import BlockOrder
from streamload.sizes import format_nbytes, format_times
from streamload.source import delivered_nbytes, forward_starts, stored_column
from streamload.tools.commands.conversion_gain import conversion_gain, gain_text, pays
from streamload.tools.commands.open_arguments import add_choice, add_decode, open_call, opened
from streamload.tools.commands.speed import copy_rate, device_rate, read_nbytes, speeds
from streamload.tools.console import FOUND, GOOD, Console, clean, counted, meant

EXAMPLE = 'streamload plan train.h5 --batch 256 --memory "4 GB"'

ORDERS = ("auto", "exact", "block", "stored")
TIMEOUT = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload plan`."""
    parser.add_argument("path", metavar="PATH", help='a file, or a pattern such as "train-*.h5"')
    parser.add_argument("--batch", type=int, default=256, metavar="N", help="records of a batch (256)")
    parser.add_argument("--memory", metavar="SIZE", help='what the loader may use, as "4 GB" (a quarter of what is free)')
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes (the cores there are, less one, at most 8)")
    parser.add_argument("--order", default="auto", metavar="ORDER", help="auto, exact, block or stored (auto)")
    parser.add_argument("--window", metavar="SIZE", help='of block order, as "512 MB"')
    parser.add_argument("--no-measure", action="store_true", help="predict no speed")
    parser.add_argument("--drop-last", action="store_true", help="leave out a last batch that is not full")
    add_choice(parser)
    add_decode(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Plan, and say what came of it; 3 where memory does not suffice, 1 where the plan has a warning."""
    shuffle, shuffle_text = order_in(arguments)
    source = opened(arguments.path, arguments)
    options = Options(
        batch_size=arguments.batch,
        shuffle=shuffle,
        seed=0,
        num_workers=arguments.workers,
        drop_last=arguments.drop_last,
        memory=arguments.memory,
        indices=None,
        transform=None,
        io="auto",
        timeout=TIMEOUT,
        on_worker_crash="raise",
        on_bad_record="raise",
    )
    try:
        plan = plan_of(source, options, default_memory_nbytes)
        document = _document(plan, arguments, shuffle_text)
        if not arguments.no_measure and len(source):
            document["speed"] = predicted(plan, source)
            gain = conversion_gain(source, document["speed"]["warm"], lambda other: min(_warm_limits(plan, other, "exact").values()))
            document |= {} if gain is None else {"conversion": gain}
    finally:
        source.close()
    _show(document, console)
    console.answer(document)
    return FOUND if plan.warning else GOOD


def order_in(arguments: argparse.Namespace) -> tuple[object, str]:
    """The order that was asked for, and how it is written. Raises ConfigError for a window where there are none."""
    if arguments.order not in ORDERS:
        raise ConfigError(f"--order {arguments.order} is not known.", hint=meant(arguments.order, ORDERS))
    if arguments.window and arguments.order not in ("auto", "block"):
        raise ConfigError(f"--window means something in block order only, not in {arguments.order} order.", hint="Leave one out.")
    if arguments.order == "block" or arguments.window:
        if arguments.window:
            return streamload.Block(arguments.window), f"sl.Block({arguments.window!r})"
        return streamload.Block(), "sl.Block()"
    return {"auto": (True, "True"), "exact": (streamload.Exact(), "sl.Exact()"), "stored": (False, "False")}[arguments.order]


def predicted(plan: Plan, source: streamload.Source) -> dict[str, Any]:
    """Records a second that the plan should reach here, warm and cold, and what sets the pace: from a moment's measurement."""
    order = "exact" if plan.order.mode in ("exact", "user") else "stored"
    limits = _warm_limits(plan, source, order)
    fastest = min(limits, key=lambda name: limits[name])
    found: dict[str, Any] = {"warm": limits[fastest], "limit": fastest, "limits": limits}
    device = device_rate(source)
    if device:
        limits["the disk"] = device / max(1.0, read_nbytes(source, exact=order == "exact"))
        found["cold_limit"] = min(limits, key=lambda name: limits[name])
        found["cold"] = limits[found["cold_limit"]]
    return found


def _warm_limits(plan: Plan, source: streamload.Source, order: str) -> dict[str, float]:
    """Records a second that each part of a loader allows where everything is in memory, by its name."""
    limits = {"one core that copies batches out": copy_rate() / max(1, sum(map(delivered_nbytes, source.columns)))}
    one = speeds(source, cold=False, orders=(order,)).get(f"{order}_warm")
    if one is None:
        return limits
    at_once = max(1, min(plan.workers, usable_cores()))
    limits[f"{'reading' if source.addressable else 'decoding'} on {counted(at_once, 'core')}"] = at_once * one
    streams = forward_starts(source.columns)
    if streams is not None:
        # A file is unpacked by one worker, from its beginning; what is unpacked, such as images, is decoded by all.
        at_once = min(at_once, len(streams) - 1)
        stored = source.replaced(columns=[stored_column(column) for column in source.columns])
        limits[f"unpacking on {counted(at_once, 'core')}, one a file"] = (
            at_once * speeds(stored, cold=False, orders=(order,))[f"{order}_warm"]
        )
    return limits


def _document(plan: Plan, arguments: argparse.Namespace, shuffle_text: str) -> dict[str, Any]:
    order, footprint = plan.order, plan.sizing.footprint
    parts = {name: getattr(footprint, name) for name in ("slots", "arena", "tables", "scratch", "index", "page_tables")}
    windows: dict[str, Any] | None = None
    if isinstance(order, BlockOrder):
        windows = {
            "count": order.windows,
            "most_records": order.most_window_records,
            "most_nbytes": order.most_window_nbytes,
        }
    worst = max((column.amplification for column in plan.data.columns), default=1.0)
    return {
        "path": arguments.path,
        "records": order.n,
        "order": order.mode,
        "batch": plan.batch_size,
        "steps": plan.steps,
        "workers": plan.workers,
        "slots": plan.sizing.slots,
        "spare_slots": plan.sizing.spare,
        "slot_nbytes": plan.slot_nbytes,
        "windows": windows,
        "files": plan.sizing.reading,
        "memory": {**parts, "total": footprint.total, "budget": footprint.budget},
        "amplification": worst if order.mode == "exact" else 1.0,
        "largest": max(parts, key=lambda name: parts[name]),
        "warning": plan.warning,
        "call": _call(arguments, shuffle_text),
    }


def _call(arguments: argparse.Namespace, shuffle_text: str) -> str:
    """The lines to paste."""
    more = [f"shuffle={shuffle_text}", "seed=0"]
    more += [f"num_workers={arguments.workers}"] if arguments.workers is not None else []
    more += [f"memory={arguments.memory!r}"] if arguments.memory else []
    more += ["drop_last=True"] if arguments.drop_last else []
    return f"sl.Loader({open_call(arguments)}, batch_size={arguments.batch}, {', '.join(more)})"


def _speed(document: dict[str, Any]) -> str:
    speed = document.get("speed")
    if speed is None:
        return ""
    cold = f"; from the disk {speed['cold']:,.0f}, limit: {speed['cold_limit']}" if "cold" in speed else ""
    return f"about {speed['warm']:,.0f} records/s, limit: {speed['limit']}{cold}"


def _show(document: dict[str, Any], console: Console) -> None:
    memory, windows = document["memory"], document["windows"]
    names = {"slots": "batches", "arena": "windows of decoded blocks", "tables": "block tables", "scratch": "decoders"}
    names |= {"index": "index and small fields", "page_tables": "page tables"}
    costs = f", {format_times(document['amplification'])} decodes a record" if document["amplification"] > 1 else ""
    steps = f"{counted(document['steps'], 'step')} of {document['batch']:,}"
    console.title(f"{clean(document['path'])}: {counted(document['records'], 'record')} in {steps}")
    console.pairs(
        [
            ("order", document["order"] + costs),
            (
                "windows",
                f"{windows['count']:,} of up to {windows['most_records']:,} records, {format_nbytes(windows['most_nbytes'])} each"
                if windows
                else "",
            ),
            ("workers", f"{document['workers']}; files are {document['files']}"),
            ("slots", f"{document['slots']} of {format_nbytes(document['slot_nbytes'])}; you may hold {document['spare_slots']} batches"),
            ("speed", _speed(document)),
            ("memory", f"{format_nbytes(memory['total'])} of {format_nbytes(memory['budget'])}"),
        ]
    )
    for name, words in names.items():
        if memory[name]:
            limit = "  <- the largest part" if name == document["largest"] else ""
            console.say(f"    {format_nbytes(memory[name]):>8}  {words}{limit}")
    if document["warning"]:
        console.found(document["warning"])
    if document["amplification"] >= 2:
        command = f"streamload convert {shlex.quote(document['path'])} new.h5 --chunk-records 1"
        console.advise(f"--order block decodes each record once; `{command}` makes exact order cheap")
    if "conversion" in document:
        gain = document["conversion"]
        command = f"streamload convert {shlex.quote(document['path'])} new.parquet --store keep"
        console.advise(gain_text(gain) + (f"; `{command}` writes it" if pays(gain) else ": converting does not pay"))
    console.say()
    console.say(document["call"])
