"""From a folder of images or a file of any format to a dataset that is fast, verified, and there whole or not at all."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from streamload.conditions import Condition
from streamload.errors import ConfigError, ConversionError, SourceChangedError, StreamloadError
from streamload.formats.naming.braces import has_braces
from streamload.images import MOST_PIXELS
from streamload.memory.limits import usable_cores
from streamload.sizes import format_nbytes
from streamload.tools.commands.advice_as_flags import as_flags
from streamload.tools.commands.conversion_conflicts import labels_of, refuse_conflicts, refuse_void
from streamload.tools.commands.nulls import refuse_nulls
from streamload.tools.commands.open_arguments import add_account, add_choice, fields_in, options_in, pattern_of
from streamload.tools.console import FOUND, GOOD, Console, clean, counted, missing
from streamload.tools.convert.accounting import Account, account_of, lacking, left_out, show_account
from streamload.tools.convert.executors import engine_of
from streamload.tools.convert.existing_target import require_replaceable
from streamload.tools.convert.image_sizes import require_alike
from streamload.tools.convert.job import Conversion
from streamload.tools.convert.needed_disk import free_nbytes, moved_nbytes, needed_nbytes, require_free
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.decoded_images import TRANSPARENT
from streamload.tools.convert.readers.encode_images import stored
from streamload.tools.convert.readers.label_fields import SmallFields
from streamload.tools.convert.readers.open import open_records
from streamload.tools.convert.readers.resized_source import is_scaled
from streamload.tools.convert.record_source import RecordSource
from streamload.tools.convert.shards import shard_nbytes_of, shards_of
from streamload.tools.convert.split import PART_NAMES, shares_in
from streamload.tools.convert.staging import Staging
from streamload.tools.convert.writers.registry import (
    SUFFIXES,
    Annotations,
    WriteOptions,
    require_chunks,
    require_held,
    require_said,
    write_options,
)
from streamload.tools.convert.writers.text_limits import require_all_texts

EXAMPLE = "streamload convert photographs/ train.h5 --size 224x224"

MOST_SIDE = 65_535
"""Of an image, in pixels."""

HELP = (
    ("SRC DST", "what is read; a file to write, or a folder"),
    ("--to FORMAT --store HOW", "hdf5 parquet arrow npy npz; raw, jpeg, png or keep"),
    ("--size HxW --mode rgb|grey", "scale and cut images; in colour (rgb) or not"),
    ("--fields A,B --shape A=H,W", "which fields, and shapes that no file says"),
    ("--record-axis AXIS --fill A=0", "what counts records; what stands for nulls"),
    ("--option NAME=VALUE", "split=test, scaled=true: as sl.open reads SRC"),
    ("--labels TABLE --masks A,B", "labels of images, a table; masks among them"),
    ("--chunk-records N", "records of a chunk, or of a row group"),
    ("--codec NAME[:LEVEL]", "gzip, zstd or snappy (none)"),
    ("--shard-size SIZE", 'files of about "1 GB" in the folder DST'),
    ("--shuffle --seed N", "in an exact random order, of this seed (0)"),
    ("--split A,B | A,B,C", "train,test or train,validation,test: 0.8,0.1,0.1"),
    ("--stratify F --group F", "labels alike in all parts; each group in one"),
    ("--where EXPR", 'only where it holds: "label in (3, 5) and w > 9"'),
    ("--on-bad raise|skip|log", "what to do with damaged records (raise)"),
    ("--values-only", "without names of classes and attributes"),
    ("--list-left-out", "name what is not taken; --leave-out P asks for it"),
    ("--workers N", "processes at a time (the cores there are)"),
    ("--engine dask://HOST:PORT", "on a Dask cluster that sees SRC and DST"),
    ("--task I/N, --merge", "job arrays: --task 0/N, 1/N to N/N, then --merge"),
    ("--overwrite --dry-run", "replace DST; only say what would be done"),
    ("--json --debug", "answer as JSON; show tracebacks of errors"),
)
"""What --help says: two arguments that belong together share a line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload convert`."""
    parser.add_argument("source", metavar="SRC", help="images, tars, TFRecord, Zarr, LMDB, CIFAR, idx, any file")
    parser.add_argument("target", metavar="DST", help=".h5, .parquet, .arrow, .npy, .npz, or a folder of them")
    parser.add_argument("--to", metavar="FORMAT", help="hdf5, parquet, arrow, npy, npz, if no name says it")
    parser.add_argument("--size", metavar="HxW", help="make all images so large: scaled, then cut to the middle")
    parser.add_argument("--mode", choices=("rgb", "grey"), help="of images (rgb, where they lie as files)")
    parser.add_argument("--store", default="raw", metavar="HOW", help="images as raw, jpeg[:quality], png; keep: as they are")
    parser.add_argument("--labels", metavar="TABLE", help="a CSV, JSONL or Parquet file that says the labels of images")
    parser.add_argument("--masks", metavar="A,B", help="fields whose pixels are numbers, never mixed; none for none (by their names)")
    parser.add_argument("--chunk-records", type=int, metavar="N", help="records of a chunk, or of a row group")
    parser.add_argument("--codec", default="none", metavar="NAME", help="gzip, zstd or snappy; gzip:9 for a level (none)")
    parser.add_argument("--shard-size", metavar="SIZE", help='DST is a folder of files of about "1 GB"')
    parser.add_argument("--shuffle", action="store_true", help="write records in an exact random order")
    parser.add_argument("--seed", type=int, metavar="N", help="of --shuffle and --split (0)")
    parser.add_argument("--split", metavar="SHARES", help="train, test: 0.8,0.2; or train, validation, test: 0.8,0.1,0.1")
    parser.add_argument("--stratify", metavar="FIELD", help="with --split: each label alike in all parts")
    parser.add_argument("--group", metavar="FIELD", help="with --split: records of one value stay together")
    parser.add_argument("--where", metavar="EXPR", help='only records for which it holds: "label in (3, 5) and width >= 64"')
    parser.add_argument(
        "--on-bad", choices=("raise", "skip", "log"), default="raise", metavar="HOW", help="damaged records: raise, skip or log (raise)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes at a time (the cores there are)")
    parser.add_argument("--engine", metavar="URL", help="do tasks on a Dask cluster that sees SRC and DST: dask://host:8786")
    parser.add_argument("--task", metavar="I/N", help="do one of N shares of the files, for job arrays; 0/N comes first")
    parser.add_argument("--merge", action="store_true", help="after all --task: check that all is there, and give it its name")
    parser.add_argument("--values-only", action="store_true", help="without names of classes and attributes")
    parser.add_argument("--overwrite", action="store_true", help="replace DST if it exists")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    add_choice(parser)
    add_account(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Convert, or say what would be done; exit code 1 where records were left out."""
    request, style, shares = _request(arguments), _style(arguments), shares_in(arguments.split)
    refuse_conflicts(arguments, request, parts=len(shares))
    arguments.seed = arguments.seed or 0
    workers, share = _workers(arguments), _share(arguments)
    with closing(open_records(request)) as origin:
        account = _require_convertible(origin, request, arguments, style, console)
        one_file = _one_file(arguments, shares)
        if one_file:
            require_chunks(origin.schema, origin.title, style, len(origin))
        free_nbytes(arguments.target)
        if arguments.dry_run:
            require_replaceable(arguments.target, one_file=one_file, overwrite=arguments.overwrite, logs=arguments.on_bad == "log")
            return _dry_run(origin, arguments, style, shares, account, console, one_file=one_file)
        with engine_of(arguments.engine, workers) as engine, Staging(arguments.target, shared=share is not None) as staging:
            job = Conversion(arguments, request, style, shares, origin, staging, engine=engine, one_file=one_file, account=account)
            with _standing(job):
                if share is not None:
                    return _do_share(job, share, arguments.target, console)
                manifest = _done(job, merge=arguments.merge)
        filtered = len(origin) - len(job.bad) - manifest["records"]
    account = account.also(
        left_out("record", "cannot be read", (f"{number:,}" for number, _ in job.bad), count=len(job.bad), expected=True),
        left_out("record", f"--where {arguments.where!r}", count=filtered, expected=True),
    )
    _show(arguments, job, manifest, account, console)
    return FOUND if job.bad or account.is_lacking else GOOD


def _workers(arguments: argparse.Namespace) -> int:
    workers = arguments.workers if arguments.workers is not None else usable_cores()
    if workers < 1:
        raise ConfigError(f"--workers {workers} leaves nobody to work.", hint="Give at least 1.")
    return workers


def _require_convertible(
    origin: RecordSource, request: OpenRequest, arguments: argparse.Namespace, style: WriteOptions, console: Console
) -> Account:
    """What of the source is taken. Raises StreamloadError where it cannot be written as was asked for, before anything is."""
    _refuse_same(origin, arguments.target)
    account = account_of(origin, request, leave_out=arguments.leave_out)
    refuse_void(origin, request, style)
    _tell_of_limits(origin, arguments, console)
    _tell_of_masks(origin, request, style, console)
    _refuse_store(origin, arguments, style)
    require_held(origin.schema, origin.title, style)
    require_said(origin.schema, origin.title, style, Annotations(classes=origin.classes, attributes=origin.attributes))
    refuse_nulls(origin, arguments.on_bad)
    _refuse_unknown_fields(origin, request, arguments)
    return account


def _refuse_unknown_fields(origin: RecordSource, request: OpenRequest, arguments: argparse.Namespace) -> None:
    """Raise ConfigError where records are to be chosen or parted by what is no field of single numbers, or a condition cannot be read."""
    named = dict.fromkeys(Condition(arguments.where, said="--where").names if arguments.where else (), "--where")
    parted = {name: argument for name, argument in ((arguments.stratify, "--stratify"), (arguments.group, "--group")) if name}
    for asked in (named, parted):
        SmallFields(origin, request, asked).close()


def _show(arguments: argparse.Namespace, job: Conversion, manifest: dict[str, Any], account: Account, console: Console) -> None:
    """What was written, and what was not."""
    target, bad, files = arguments.target, job.bad, manifest["files"]
    console.title(f"{clean(target)}: {counted(manifest['records'], 'record')}, verified" + lacking(account))
    pairs = [("files", f"{len(files):,}, {format_nbytes(sum(file['nbytes'] for file in files))}")]
    if bad:
        pairs.append(("left out", counted(len(bad), "record") + (f", listed in {target}.bad.jsonl" if arguments.on_bad == "log" else "")))
    console.pairs(pairs)
    if job.aside is not None:
        console.advise(f"what was put into the old {clean(target)} meanwhile is in {clean(job.aside)}")
    for part in dict.fromkeys(file["part"] for file in files):
        if not sum(file["records"] for file in files if file["part"] == part) and manifest["records"]:
            console.advise(f"{part} holds no records: --split {arguments.split} leaves it none of {manifest['records']:,}")
    for number, why in bad[:10]:
        console.found(f"record {number:,}: {clean(why)}")
    console.say(f"  sl.open({pattern_of(target)!r})")
    show_account(account, console, listed=arguments.list_left_out)
    document = {"target": target, "records": manifest["records"], "files": files, "left_out": bad, "account": account.plain()}
    console.answer(document)


def _share(arguments: argparse.Namespace) -> tuple[int, int] | None:
    """Which share of the tasks is to be done, and of how many; None for all of them."""
    if arguments.task is None:
        return None
    which, _, count = arguments.task.partition("/")
    if not (which.isdecimal() and count.isdecimal() and 0 <= int(which) <= int(count) and int(count) > 0):
        raise ConfigError(f"--task {arguments.task} cannot be read.", hint="Give 1/8 to 8/8 for eight shares; 0/8 does what comes before.")
    if arguments.merge or arguments.engine:
        raise ConfigError("--task does a share of the work by itself.", hint="Leave out --engine; run --merge when all shares are done.")
    return int(which), int(count)


def _do_share(job: Conversion, share: tuple[int, int], target: str, console: Console) -> int:
    """Do one share of the files; share 0 is what must be known before them."""
    which, count = share
    if which and not job.is_prepared():
        raise ConversionError(
            f"{target}: which records are written, and where, must be found out before its files can be.",
            hint=f"Run --task 0/{count} once, before all others.",
        )
    job.prepare()
    if not which:
        job.look()
    shards = job.shards()
    mine = shards[which - 1 :: count] if which else []
    written = job.write(mine)
    console.title(f"{clean(target)}: {written:,} of {len(shards):,} files written by task {which}/{count}")
    console.advise("--merge finishes it, when all tasks are done")
    console.answer({"target": target, "task": which, "tasks": count, "files": [shard.name for shard in mine], "written": written})
    return GOOD


def _done(job: Conversion, *, merge: bool) -> dict[str, Any]:
    """Everything, or with `merge` only what comes after the tasks; the manifest."""
    if merge and not job.is_prepared():
        raise ConversionError("None of its tasks was done.", hint="Run --task 0/N and --task 1/N to N/N first.")
    job.prepare()
    if not merge:
        job.look()
        job.write(job.shards())
    return job.finish()


@contextmanager
def _standing(job: Conversion) -> Iterator[None]:
    """Have whoever ends it meanwhile told how far it has come, and whoever hears of an error what is kept."""
    try:
        yield
    except StreamloadError as error:
        told = job.finished() if not isinstance(error, SourceChangedError) else ""  # of another source, it is thrown away
        if told:
            error.hint = f"{as_flags(error.hint, skip=True)} {told}"
        raise
    except KeyboardInterrupt as error:
        error.add_note(job.standing())
        raise


def _request(arguments: argparse.Namespace) -> OpenRequest:
    size = None
    if arguments.size:
        height, _, width = arguments.size.lower().partition("x")
        if not (height.isdecimal() and width.isdecimal() and int(height) > 0 and int(width) > 0):
            raise ConfigError(f"--size {arguments.size} cannot be read.", hint="Give height and width: 224x224.")
        size = (int(height), int(width))
        if max(size) > MOST_SIDE or size[0] * size[1] > MOST_PIXELS:
            raise ConfigError(
                f"--size {arguments.size} is too large: {MOST_SIDE:,} high or wide and {MOST_PIXELS:,} pixels are the most.",
                hint="Give height and width in pixels: 224x224.",
            )
    if not os.path.exists(arguments.source) and not glob.has_magic(arguments.source) and not has_braces(arguments.source):
        raise missing(arguments.source)
    options = options_in(arguments)
    arguments.labels = labels_of(arguments, options.pop("labels", None))
    return OpenRequest(
        path=os.path.abspath(arguments.source),
        fields=fields_in(arguments.fields),
        **options,
        mode=arguments.mode or "rgb",
        in_colour=arguments.mode == "rgb",
        size=size,
        first_size=True,
        on_damage="raise" if arguments.on_bad == "raise" else "skip",
        labels=os.path.abspath(arguments.labels) if arguments.labels else None,
        masks=_masks(arguments),
    )


def _style(arguments: argparse.Namespace) -> WriteOptions:
    style = write_options(
        name=arguments.to, path=arguments.target, codec=arguments.codec, chunk_records=arguments.chunk_records, store=arguments.store
    )
    return replace(style, masks=_masks(arguments), values_only=arguments.values_only)


def _masks(arguments: argparse.Namespace) -> tuple[str, ...] | None:
    """The fields that are said to be masks; None where nothing is said."""
    if arguments.masks is None:
        return None
    return () if arguments.masks == "none" else tuple(name.strip() for name in arguments.masks.split(","))


def _one_file(arguments: argparse.Namespace, shares: list[float]) -> bool:
    """Whether DST is a file, and not a folder of several."""
    named = os.path.splitext(arguments.target)[1].lower() in SUFFIXES
    if named and (len(shares) > 1 or arguments.shard_size):
        raise ConfigError(
            f"{arguments.target} is one file, and --split or --shard-size make several.",
            hint="Name a folder, and the format with --to.",
        )
    return named


def _refuse_same(origin: RecordSource, target: str) -> None:
    """Raise ConfigError where writing could touch what is read."""
    there = os.path.realpath(target)
    for path in map(os.path.realpath, origin.paths):
        inside = there.startswith(path + os.sep) or path.startswith(there + os.sep)
        same = os.path.exists(there) and os.path.samefile(there, path)
        if inside or same or there == path:
            raise ConfigError(
                f"{target} is {'the source itself' if same or there == path else 'inside the source, or the source in it'}.",
                hint="Sources are never written to: choose another DST.",
                path=target,
            )


def _tell_of_limits(origin: RecordSource, arguments: argparse.Namespace, console: Console) -> None:
    """Say which fields are not taken; raise where a part of the source cannot be read and nothing may be left out."""
    for note in origin.cautions:
        if arguments.store != "keep" or not note.endswith(TRANSPARENT):
            console.advise(clean(note))


def _tell_of_masks(origin: RecordSource, request: OpenRequest, style: WriteOptions, console: Console) -> None:
    """Say which fields are taken for masks by their names alone, where that makes a difference."""
    if request.masks is not None or (request.size is None and request.mode == "rgb" and style.store != "jpeg"):
        return
    for field in origin.schema:
        if is_scaled(field) and request.is_mask(field.name):
            console.advise(f"'{clean(field.name)}' is taken for a mask, by its name: its pixels are never mixed (--masks none mixes them)")


def _refuse_store(origin: RecordSource, arguments: argparse.Namespace, style: WriteOptions) -> None:
    """Raise ConfigError where images cannot be stored as was asked for."""
    kept = stored(origin, style)
    if kept is not origin:
        kept.close()
    if style.store == "keep" and arguments.shuffle and not origin.addressable:
        raise ConfigError(
            f"--store keep cannot be shuffled: {origin.title} must be read in order.", hint="Unpack it first, or leave --shuffle out."
        )


def _dry_run(
    origin: RecordSource,
    arguments: argparse.Namespace,
    style: WriteOptions,
    shares: list[float],
    account: Account,
    console: Console,
    *,
    one_file: bool,
) -> int:
    count = len(origin)
    ends = np.round(np.cumsum(shares) * count).astype(int).tolist()
    shards = shards_of(ends, origin, style, arguments.target, shard_nbytes_of(arguments, one_file=one_file))
    nbytes, free = origin.record_nbytes * count, free_nbytes(arguments.target)
    moved = moved_nbytes(origin, count) if arguments.shuffle and not origin.addressable else 0
    if arguments.where is None and arguments.on_bad == "raise":
        require_free(arguments.target, moved + needed_nbytes(origin, style, count))
        if arguments.size is None and style.store != "keep":
            require_alike(origin)
        require_all_texts(origin, style.format)
    console.title(f"{clean(origin.title)}: {counted(count, 'record')} · {clean(origin.schema)}")
    console.pairs(
        [
            ("would write", f"{len(shards):,} {style.format} file{'s' if len(shards) != 1 else ''}, {clean(arguments.target)}"),
            ("records", f"{format_nbytes(nbytes)} before compression; {format_nbytes(free)} are free there"),
            ("parts", ", ".join(f"{name} {share:.0%}" for name, share in zip(PART_NAMES[len(shares)], shares, strict=True) if name)),
        ]
    )
    show_account(account, console, listed=arguments.list_left_out)
    document = {"records": count, "nbytes": nbytes, "free_nbytes": free, "files": [shard.name for shard in shards]}
    console.answer({"target": arguments.target, "format": style.format, **document, "account": account.plain()})
    return FOUND if account.is_lacking else GOOD
