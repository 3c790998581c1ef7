"""How fast a dataset is delivered here, beside what the machine allows, what waits for what, and what to change."""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamload.errors import ConfigError
from streamload.memory.limits import usable_cores
from streamload.sizes import format_decimal, format_rate, parse_nbytes
from streamload.source import delivered_nbytes
from streamload.tools.benchmark.advice import changes, pass_verdict, verdict, workers_said
from streamload.tools.benchmark.augmented import augmented_beside, chosen_libraries, compared_images
from streamload.tools.benchmark.competitors import chosen_peers, compared, copies_folder, fixed_fields, size_of
from streamload.tools.benchmark.environment import machine
from streamload.tools.benchmark.machine_limits import beside, copy_limits, device_limits, read_ahead
from streamload.tools.benchmark.other_work import OtherWork, told
from streamload.tools.benchmark.runs import files_of, passed
from streamload.tools.benchmark.workloads import Workload, utilisation, workload
from streamload.tools.commands.nulls import fill_in
from streamload.tools.commands.open_arguments import add_choice, add_decode, converted, decode_in, fields_in, opened, options_in
from streamload.tools.commands.plan import order_in
from streamload.tools.console import FOUND, GOOD, Console, clean

EXAMPLE = "streamload bench train.h5 --workers 0,1,2 --model resnet50"

HELP = (
    ("PATH", 'a file, or a pattern such as "train-*.h5"'),
    ("--workers LIST", "worker processes of each pass (0 and all cores)"),
    ("--batch N", "records of a batch (256, or the model's)"),
    ("--order ORDER", "auto, exact, block or stored (auto)"),
    ("--window SIZE", 'of block order, as "512 MB"'),
    ("--memory SIZE --io MODE", "of the loader; auto, mmap, read or direct (auto)"),
    ("--seconds S", "of each pass, at most (5)"),
    ("--cold", "empty the page cache before each pass, verified"),
    ("--limit-memory SIZE", 'a ceiling that the kernel holds, as "1 GB"'),
    ("--contenders NAMES", "all, or some: other loaders on the same records"),
    ("--augment CHAIN.py:NAME", "augmented, beside torchvision, albumentations"),
    ("--model NAME", "resnet50, unet3d, cosmoflow, or seconds a step"),
    ("--html FILE", "write a page with pictures there"),
    ("--fields NAMES --shape A=H,W", "which fields, and shapes that no file says"),
    ("--record-axis AXIS --fill A=0", "what counts records; what stands for nulls"),
    ("--decode HxW", "size of encoded images, 224x224; or no: as bytes"),
    ("--option NAME=VALUE", "split=test, labels=TABLE, scaled=true"),
    ("--json --debug", "answer as JSON; show tracebacks of errors"),
)
"""What --help says: two arguments that belong together share a line."""
FEW_RECORDS = 100
"""Of a file: to open it takes as long as to read some of them."""
LEAST_COMPUTE_SECONDS = 0.002
"""Shorter sleeps are not kept to by the system, so no more accelerators than this allows are emulated at once."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload bench`."""
    parser.add_argument("path", metavar="PATH", help='a file, or a pattern such as "train-*.h5"')
    parser.add_argument("--workers", metavar="LIST", help="worker processes of each pass, as 0,1,2 (0 and all cores)")
    parser.add_argument("--batch", type=int, metavar="N", help="records of a batch (256, or the model's)")
    parser.add_argument("--order", default="auto", metavar="ORDER", help="auto, exact, block or stored (auto)")
    parser.add_argument("--window", metavar="SIZE", help='of block order, as "512 MB"')
    parser.add_argument("--memory", metavar="SIZE", help="what the loader may use")
    parser.add_argument("--io", default="auto", metavar="MODE", help="auto, mmap, read or direct (auto)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of each pass, at most (5)")
    parser.add_argument("--cold", action="store_true", help="empty the page cache before each pass, verified")
    parser.add_argument("--limit-memory", metavar="SIZE", help='a ceiling that the kernel holds, as "1 GB"')
    parser.add_argument("--contenders", metavar="NAMES", help="all, or some: other loaders on the same records")
    parser.add_argument("--augment", metavar="CHAIN.py:NAME", help="with the augmentation of that name in a file, beside other libraries")
    parser.add_argument("--model", metavar="NAME", help="resnet50, unet3d, cosmoflow, or seconds a step")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures there")
    add_choice(parser)
    add_decode(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Measure and say; 1 where a model's accelerator is not fed."""
    order_in(arguments)
    if not 0 < arguments.seconds <= 3600:
        raise ConfigError(f"--seconds {arguments.seconds:g} is out of range.", hint="Give more than 0, at most 3600.")
    if arguments.batch is not None and arguments.batch < 1:
        raise ConfigError(f"--batch {arguments.batch} is out of range.", hint="Give 1 or more.")
    model = workload(arguments.model, arguments.batch) if arguments.model else None
    if arguments.augment:
        names = chosen_libraries(arguments.contenders)
    else:
        names = chosen_peers(arguments.contenders) if arguments.contenders else []
    counts = worker_counts(arguments.workers)
    source = opened(arguments.path, arguments)
    try:
        if arguments.augment:
            compared_images(source, arguments.augment)
        elif names:
            fixed_fields(source)  # what cannot be compared is said before anything is measured
        document = _measured(arguments, source, counts, model, names, console)
    finally:
        source.close()
    if arguments.html is not None:
        from streamload.tools.commands.report import write_page

        write_page(arguments.html, [document])
        console.say(f"  written: {arguments.html}")
    console.answer(document)
    return FOUND if model is not None and document["model"]["feeds"] < 1 else GOOD


def worker_counts(text: str | None) -> list[int]:
    """ "0,1,2" as numbers; without a text 0, 1 and as many as there are cores."""
    if text is None:
        return sorted({0, 1, min(8, usable_cores())})
    try:
        counts = [int(word) for word in text.split(",")]
    except ValueError:
        counts = [-1]
    if min(counts) < 0 or max(counts) > 256:
        raise ConfigError(f"--workers {text} cannot be read.", hint="Give numbers from 0 to 256 with commas between them: 0,1,2.")
    return list(dict.fromkeys(counts))


def pass_config(arguments: argparse.Namespace, source: Any, batch: int) -> dict[str, Any]:
    """What every pass of a command is told: the data, the order, the means."""
    paths = converted(arguments.path)
    return {
        "paths": [paths] if isinstance(paths, str) else paths,
        "files": [str(path) for path in files_of(source)],
        "fields": fields_in(arguments.fields),
        "options": {name: value for name, value in options_in(arguments).items() if name != "fill"},
        "fill": {name: repr(value) for name, value in fill_in(arguments.fill).items()},
        "decode": decode_in(arguments.decode),
        "batch": batch,
        "order": arguments.order,
        "window": arguments.window,
        "memory": arguments.memory,
        "io": arguments.io,
        "seconds": arguments.seconds,
        "augment": os.path.abspath(arguments.augment) if getattr(arguments, "augment", None) else None,
    }


def _measured(
    arguments: argparse.Namespace, source: Any, counts: Sequence[int], model: Workload | None, names: Sequence[str], console: Console
) -> dict[str, Any]:
    batch = arguments.batch or (model.batch if model else 256)
    config = pass_config(arguments, source, batch)
    limit_nbytes = parse_nbytes(arguments.limit_memory, name="--limit-memory") if arguments.limit_memory else None
    from_disk = arguments.cold or limit_nbytes is not None
    config |= {"limit_nbytes": limit_nbytes, "once": from_disk}
    files, nbytes = files_of(source), max(1, sum(map(delivered_nbytes, source.columns)))
    about = machine(Path(os.path.abspath(config["files"][0])).parent)
    console.title(f"{clean(source.title)}: {len(source):,} records · {clean(source.schema)} · batches of {batch:,}")
    console.say(f"  {about['processor']} · {about['memory']} · {about['disk']} · {about['system']}")
    work = OtherWork()
    limits = copy_limits(nbytes, batch) + device_limits(files, nbytes)
    for limit in limits:
        console.say(f"  limit: {limit['name']}: {format_rate(limit['byte_rate'])}")
    passes: list[dict[str, Any]] = []
    for workers in counts:
        one = worked_out(passed({**config, "workers": workers}, cold=arguments.cold), limits, stored=from_disk)
        passes.append(one)
        _say(one, console)
    best = max(passes, key=lambda one: one["rate"])
    document: dict[str, Any] = _setting(arguments, source, about, batch) | {
        "order": best["order"],
        "limits": limits,
        "passes": passes,
        "best": best["workers"],
        "verdict": verdict(best),
        "changes": list(
            changes(
                passes,
                cores=usable_cores(),
                asked_workers=None,
                convert=_conversion(arguments),
                many_files=len(source) < FEW_RECORDS * len(files),
            )
        ),
    }
    if model is not None:
        document["model"] = _fed(model, best, {**config, "workers": best["workers"]}, cold=arguments.cold)
        _say_model(document["model"], console)
    if names:
        ours = {**config, "workers": max(1, best["workers"]), "order": best["order"]}
        with copies_folder() as folder:
            document["contenders"] = _contenders(arguments, source, names, ours, limits, folder, console)
            copies = format_decimal(size_of(folder))
            console.say(f"    copies for other loaders took {copies} in {folder} (STREAMLOAD_CACHE_DIR moves it), and are deleted")
    document["other_work"] = work.found()
    _say_verdict(document, console)
    return document


def _say_verdict(document: dict[str, Any], console: Console) -> None:
    """What the figures come to, what else the machine did meanwhile, and what would make it faster."""
    console.say(f"  {document['verdict']}", "bold")
    if told(document["other_work"]):
        console.found(told(document["other_work"]))
    for change in document["changes"]:
        console.advise(change)


def _setting(arguments: argparse.Namespace, source: Any, about: dict[str, Any], batch: int) -> dict[str, Any]:
    """When, where and of what data figures are."""
    return {
        "command": "bench",
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": about,
        "path": arguments.path,
        "records": len(source),
        "record_nbytes": sum(map(delivered_nbytes, source.columns)),
        "schema": str(source.schema),
        "batch": batch,
    }


def _contenders(
    arguments: argparse.Namespace,
    source: Any,
    names: Sequence[str],
    ours: dict[str, Any],
    limits: Sequence[dict[str, Any]],
    folder: Path,
    console: Console,
) -> list[dict[str, Any]]:
    """Others in turns with the best pass: loaders, or libraries that augment."""
    stored = fields_in(arguments.fields) or dict(source.asked)
    what = "the image alone" if arguments.augment else "contenders"
    console.say(f"  {what}, page cache warm, {workers_said(ours['workers'])} each, in turns with streamload:")

    def say(text: str) -> None:
        console.say(f"    {text}")

    if arguments.augment:
        return augmented_beside(source, ours["augment"], names, ours=ours, stored=stored, folder=folder, say=say)
    limit = next(one for one in limits if one["how"] == "in order")
    return compared(source, names, ours=ours, stored=stored, folder=folder, limit=limit, say=say)


def worked_out(one: dict[str, Any], limits: Sequence[dict[str, Any]], *, stored: bool) -> dict[str, Any]:
    """A pass with its rates, costs and limits."""
    if one["steps"] and one["seconds"]:
        records, nbytes, seconds = one["records"], one["nbytes"], one["seconds"]
    else:  # an epoch of one step: all there is to tell is how long it took to come
        records, nbytes, seconds = one["first_records"], one["used_nbytes"], one["first_batch_seconds"]
    one |= {
        "rate": records / seconds,
        "byte_rate": nbytes / seconds,
        "cpu_seconds_per_gb": one["cpu_seconds"] / (nbytes / 1e9) if nbytes else 0.0,
        "read_per_used": one["read_nbytes"] / one["used_nbytes"] if one["used_nbytes"] else 0.0,
        "device_per_used": one["device_nbytes"] / nbytes if nbytes else 0.0,
    }
    return one | {"limits": beside(one, limits, stored=stored), "read_ahead": stored and read_ahead(one)}


def _conversion(arguments: argparse.Namespace) -> str:
    """The command that writes these records as arrays that need no decoding."""
    size = f" --size {arguments.decode}" if arguments.decode not in (None, "no") else ""
    return f"streamload convert {shlex.quote(arguments.path)} new.h5{size}"


def _say(one: dict[str, Any], console: Console) -> None:
    waits, memory = one["waits"], one["memory"]
    console.say(f"{workers_said(one['workers'])}: {one['rate']:,.0f} records/s, {format_rate(one['byte_rate'])}", "bold")
    files = f", of which page cache {format_decimal(memory['file_nbytes'])}"
    group = f"; control group {format_decimal(memory['group_peak_nbytes'])}" if memory.get("group_peak_nbytes") else ""
    console.pairs(
        [
            ("limits", " · ".join(f"{limit['ratio']:.2f} x {limit['name']}" for limit in one["limits"])),
            ("first batch", f"{one['first_batch_seconds']:.3f} s after opening, which took {one['open_seconds']:.3f} s"),
            (
                "a step waits",
                f"{_duration(waits['p50'])} at the median, {_duration(waits['p99'])} at the 99th percentile, {one['steps']:,} steps",
            ),
            ("processor", f"{one['cpu_seconds_per_gb']:.2f} s a GB, all processes"),
            (
                "memory",
                f"RSS {format_decimal(memory['rss_nbytes'])} added up, PSS {format_decimal(memory['pss_nbytes'])}{files}{group}",
            ),
            ("read", f"{one['read_per_used']:.2f} bytes a byte used, {one['device_per_used']:.2f} from the device; cache {one['cache']}"),
            ("verdict", pass_verdict(one)),
        ]
    )
    if one["read_ahead"]:
        console.say("  all was read ahead before the first step: the first batch is the cold figure, the rate is memory's", "yellow")


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:,.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _fed(model: Workload, best: dict[str, Any], config: dict[str, Any], *, cold: bool) -> dict[str, Any]:
    """Accelerators that a loader feeds: by its rate, and one of them in a pass that computes as long; then as many at once."""
    first = next(iter(model.compute_seconds))
    compute = model.compute_seconds[first]
    feeds = {name: model.feeds(best["rate"], name) for name in model.compute_seconds}
    found: dict[str, Any] = {
        "name": model.name,
        "accelerator": first,
        "compute_seconds": compute,
        "batch": model.batch,
        "threshold": model.threshold,
        "record_nbytes": model.record_nbytes,
        "your_record_nbytes": best["used_nbytes"] // max(1, best["records"] + best["first_records"]),
        "needs": {name: model.needs(name) for name in model.compute_seconds},
        "feeds_each": feeds,
        "feeds": feeds[first],
    }
    most = max(1, min(feeds[first], int(compute / LEAST_COMPUTE_SECONDS)))
    for count in dict.fromkeys([1, most]):
        one = passed({**config, "compute_seconds": compute / count}, cold=cold)
        found.setdefault("utilisation", {})[str(count)] = utilisation(one, compute / count)
    return found


def _say_model(found: dict[str, Any], console: Console) -> None:
    measured = found["utilisation"]
    step = f"{found['compute_seconds']:g} s a step of {found['batch']:,} on an {found['accelerator']}"
    known = " (MLPerf Storage's definition)" if found["record_nbytes"] else ""
    console.say(f"{found['name']}: {step}{known}", "bold")
    feeds = " · ".join(f"{count:,} x {name}" for name, count in found["feeds_each"].items())
    own = f"; {found['name']}'s own records have {format_decimal(found['record_nbytes'])}" if found["record_nbytes"] else ""
    console.pairs(
        [
            ("one", f"utilisation {100 * measured['1']:.1f} %, {100 * found['threshold']:.0f} % wanted"),
            ("feeds", f"{feeds}, at {100 * found['threshold']:.0f} %, with records of {format_decimal(found['your_record_nbytes'])}{own}"),
            *[
                (f"{count} at once", f"utilisation {100 * share:.1f} %, as one consumer that is {count} times as fast")
                for count, share in measured.items()
                if count != "1"
            ],
        ]
    )
