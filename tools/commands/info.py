"""What a file is, how it lies on the disk, how fast it will be read, and what would make it faster."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from streamload.errors import ConfigError, StreamloadError
from streamload.formats.image_folder.format import NAME as IMAGES
from streamload.images.image_fields import LOOKED_AT
from streamload.nulls import advice_on_nulls, notes_on_nulls
from streamload.schema import BYTES, TEXT
from streamload.sizes import format_nbytes, format_times
from streamload.source import Column, Source
from streamload.tools.benchmark.other_work import OtherWork, told
from streamload.tools.commands.advice_as_flags import as_flags
from streamload.tools.commands.mask_guess import mask_guesses, mask_note
from streamload.tools.commands.open_arguments import (
    add_account,
    add_choice,
    add_decode,
    asked,
    block_records,
    classes_at,
    decode_in,
    fields_in,
    is_converted,
    opened,
    options_in,
    pattern_of,
    reading_flags,
)
from streamload.tools.commands.speed import speeds
from streamload.tools.commands.value_ranges import range_text, ranges
from streamload.tools.console import FOUND, GOOD, Console, clean, code_of, counted
from streamload.tools.convert.accounting import account_of, show_account
from streamload.tools.convert.manifest import FOLDER_NAME, read_manifest
from streamload.tools.convert.readers.library import LibraryRecords
from streamload.tools.convert.record_source import RecordSource

EXAMPLE = "streamload info train.h5"

LEAST_SAVED = 0.1
"""A codec that saves less than this share of the bytes costs more than it brings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload info`."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help='a file, a pattern such as "train-*.h5", or what `convert` wrote')
    add_choice(parser)
    add_account(parser)
    add_decode(parser)
    parser.add_argument("--no-measure", action="store_true", help="read nothing to find out how fast it is")
    parser.add_argument("--cold", action="store_true", help="measure from the disk, not predict: drops these files from the cache")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Look at each path; one that cannot be read does not keep the others from being shown."""
    if arguments.cold and arguments.no_measure:
        raise ConfigError("--cold says how to measure, and --no-measure not to.", hint="Leave one of them out.")
    documents: list[dict[str, Any]] = []
    code = GOOD
    for path in arguments.paths:
        try:
            with closing(opened(path, arguments, on_damage="skip")) as source:
                document = _document(source, path, arguments)
        except StreamloadError as error:
            if "readings" in error.details:
                documents.append({"path": path, "error": error.message, "readings": error.details["readings"]})
                _show_readings(path, error, console)
                code = max(code, FOUND)
                continue
            if len(arguments.paths) == 1 or arguments.debug:
                raise
            documents.append({"path": path, "error": str(error)})
            console.title(clean(path))
            console.found(clean(error, most=2000))
            code = max(code, FOUND if code_of(error) == FOUND else code_of(error))
            continue
        account = document.pop("accounted")
        documents.append(document)
        code = max(code, FOUND if account.is_lacking else GOOD)
        _show(document, console)
        console.say(f"  looked at: {document['looked_at']}")
        show_account(account, console, listed=arguments.list_left_out)
    console.answer(documents[0] if len(documents) == 1 else documents)
    return code


def _show_readings(path: str, error: StreamloadError, console: Console) -> None:
    """Every way to read a file that could be read in more than one."""
    console.title(clean(path))
    console.found(clean(error.message.removeprefix(f"{path}: ")))
    readings = error.details["readings"]
    rows = [("about " * one["about"] + counted(one["records"], "record"), reading_flags(one)) for one in readings]
    if rows:
        console.table(["it could be", "with"], rows)


def _document(source: Source, path: str, arguments: argparse.Namespace) -> dict[str, Any]:
    request = asked(path, arguments)
    records = LibraryRecords(source, path=request.path)
    account = account_of(records, request, leave_out=arguments.leave_out)
    found, masks = ranges(source), mask_guesses(source)
    fields = [_field(source, column, found.get(column.field.name)) for column in source.columns]
    document: dict[str, Any] = {
        "path": path,
        "format": source.format_name,
        "files": [was.path for was in source.fingerprints],
        "file_nbytes": sum(was.nbytes for was in source.fingerprints),
        "records": len(source),
        "record_nbytes": records.record_nbytes,
        "addressable": source.addressable,
        "forward_only": source.forward_only,
        "fields": fields,
        "classes": classes_at(path, source),
        "parts": _parts(path),
        "notes": [*source.notes, *notes_on_nulls(source.nulls, source.schema), *_mask_notes(source, masks)],
        "maybe_masks": masks,
        "nulls": {name: one.count for name, one in source.nulls.items()},
        "account": account.plain(),
        "accounted": account,
        "looked_at": _looked_at(records, path),
        "layout": _layout(source, arguments),
        "call": _call(source, path, arguments),
    }
    if not arguments.no_measure and len(source):
        work = OtherWork()
        document["speed"] = speeds(source, cold=arguments.cold, orders=("stored",) if source.forward_only else ("exact", "stored"))
        document["other_work"] = told(work.found())
        document["predicted"] = [name for name in document["speed"] if name.endswith("_cold") and not arguments.cold]
    document["advice"] = list(_advice(source, document))
    return document


def _looked_at(records: RecordSource, path: str) -> str:
    """What of the data this command has seen, and what sees the rest."""
    there = [len(records) - (records.nulls[name].count or 0 if name in records.nulls else 0) for name in records.encoded_fields]
    images = max(there, default=0)
    some = f", and up to {min(LOOKED_AT, images):,} of {counted(images, 'image')} in a field" if there else ""
    return f"what describes the records{some}; `streamload verify {shlex.quote(path)}` reads all there is"


def _mask_notes(source: Source, guesses: Mapping[str, str]) -> list[str]:
    """Which fields may be masks, but for those of which the source says so itself."""
    said = [name for name in guesses if any(note.startswith(f"'{name}' may be a mask") for note in source.notes)]
    encoded = {column.field.name for column in source.columns if column.encoded is not None or column.field.ragged}
    return [mask_note(name, why, encoded=name in encoded) for name, why in guesses.items() if name not in said]


def _parts(path: str) -> dict[str, int]:
    """Records of each part of a folder that `convert` wrote in several; the first is what is looked at."""
    if not is_converted(path):
        return {}
    parts: dict[str, int] = {}
    for one in read_manifest(os.path.join(path, FOLDER_NAME))["files"]:
        parts[one["part"]] = parts.get(one["part"], 0) + one["records"]
    return parts if len(parts) > 1 else {}


def _layout(source: Source, arguments: argparse.Namespace) -> dict[str, str]:
    """How sure it is which fields there are and what shapes they have, and what would say otherwise."""
    override = "--fields NAME=STORED, --shape NAME=H,W,C"
    if arguments.fields or arguments.shape:
        return {"certainty": "as you said", "override": override}
    if any("exact order decodes" not in note for note in source.notes):
        return {"certainty": "guessed, see the notes below", "override": override}
    return {"certainty": "certain: the file says it", "override": override}


def _field(source: Source, column: Column, seen: dict[str, Any] | None) -> dict[str, Any]:
    blocks = block_records(column)
    return {
        "name": column.field.name,
        "dtype": str(column.field.dtype),
        "shape": list(column.field.shape),
        "ragged": column.field.ragged,
        "stored": column.describe(),
        "stored_nbytes": column.file_nbytes,
        "addressable": column.addressable,
        "blocks": None if blocks is None else {"count": blocks[0], "least_records": blocks[1], "most_records": blocks[2]},
        "amplification": column.amplification,
        "range": seen,
    }


def _call(source: Source, path: str, arguments: argparse.Namespace) -> str:
    """The call that opens it, with the arguments that override what was found."""
    chosen = fields_in(arguments.fields) or {name: source.asked.get(name, name) for name in source.schema.names}
    fields = list(chosen) if all(name == stored for name, stored in chosen.items()) else chosen
    more = "".join(f", {name}={value!r}" for name, value in options_in(arguments).items())
    decode = decode_in(arguments.decode)
    wish = f", decode={decode!r}" if decode is not None else ""
    skips = ', on_damage="skip"' if any((one.what, one.why) == ("record", "damaged") for one in source.omissions) else ""
    return f"sl.open({pattern_of(path)!r}, fields={fields!r}{more}{wish}{skips})"


def _advice(source: Source, document: dict[str, Any]) -> Iterable[str]:
    convert = f"streamload convert {shlex.quote(document['path'])} new.h5"
    if source.forward_only:
        yield f"they are read with shuffle=False; to shuffle them: `{convert}`"
    for column, field in zip(source.columns, document["fields"], strict=True) if not source.forward_only else ():
        times = field["amplification"]
        if column.single_threaded:
            yield f"{field['name']}: only the HDF5 library can read this layout, one thread at a time: `{convert}` makes it fast"
        elif times >= 2:
            yield (
                f"{field['name']}: each record costs {format_times(times)} decodes in exact order: use block shuffle (the default here), "
                f"or `{convert} --chunk-records 1`"
            )
        stored, whole = field["stored_nbytes"], 0 if column.field.ragged else column.field.nbytes * len(source)
        encoded = column.encoded is not None
        if not column.addressable and not encoded and stored and whole and stored > (1 - LEAST_SAVED) * whole:
            yield (
                f"{field['name']}: compression saves {max(0.0, 1 - stored / whole):.0%} of the bytes and costs a decode a record: "
                f"`{convert} --codec none`"
            )
    if any(one.count for one in source.nulls.values()):
        flags = as_flags(advice_on_nulls(source.nulls, source.schema), skip=True)
        yield f"nulls: {flags[:1].lower()}{flags[1:]}"
    if not len(source):
        yield "there are no records: a loader of it has no steps"
    if source.format_name == IMAGES and len(source):
        keep = f"streamload convert {shlex.quote(document['path'])} new.parquet --store keep"
        yield f"each record is a file of its own: `{keep}` makes one file of them, every image as it is"
    elif document["addressable"] and len(source) and not any(one.count for one in source.nulls.values()):
        yield "nothing to do: any record can be read by its offset"


def _access(document: dict[str, Any]) -> str:
    """How records can be had, for people."""
    if document["forward_only"]:
        return "unpacked in the order in which they are stored, and read in no other"
    return "addressable: any can be read by itself" if document["addressable"] else "decoded a block at a time"


def _show(document: dict[str, Any], console: Console) -> None:
    files = document["files"]
    parts = [f"{clean(name)} {count:,}" for name, count in document["parts"].items()]
    console.title(f"{clean(document['path'])}: {document['format']}, {counted(document['records'], 'record')}")
    console.pairs(
        [
            ("part", f"the first of {', '.join(parts)}" if parts else ""),
            ("size", f"{format_nbytes(document['file_nbytes'])} in {counted(len(files), 'file')}"),
            (
                "a record",
                format_nbytes(document["record_nbytes"]) + (" on average" if any(one["ragged"] for one in document["fields"]) else ""),
            ),
            ("records are", _access(document)),
            ("layout", f"{document['layout']['certainty']}; other: {document['layout']['override']}"),
            ("open with", clean(document["call"])),
        ]
    )
    rows = [[clean(f["name"]), *_kind(f), range_text(f["range"]), clean(f["stored"])] for f in document["fields"]]
    console.table(["field", "dtype", "shape", "range", "stored as"], rows)
    _show_speed(document, console)
    _show_classes(document["classes"], console)
    for note in document["notes"]:
        console.say(f"  {clean(as_flags(note, skip=True))}", "dim")
    for line in document["advice"]:
        console.advise(line)


def _show_speed(document: dict[str, Any], console: Console) -> None:
    """Rates that were measured, and those that were worked out, and from what."""
    speed, orders = document.get("speed") or {}, {"exact": "exact order", "stored": "stored order"}

    def rates(kind: str) -> str:
        return ", ".join(f"{orders[name.removesuffix(kind)]} {rate:,.0f}" for name, rate in speed.items() if name.endswith(kind))

    if rates("_warm"):
        console.say(f"  records/s of one process here, measured warm: {rates('_warm')}")
    if rates("_cold") and document["predicted"]:
        basis = "an epoch by what this disk gives in large reads and what a record then takes"
        console.say(f"  records/s from the disk, predicted and not measured (--cold does): {rates('_cold')}; {basis}")
    elif rates("_cold"):
        console.say(f"  records/s from the disk, measured: {rates('_cold')}")
    if document.get("other_work"):
        console.found(document["other_work"])


def _kind(field: dict[str, Any]) -> tuple[str, str]:
    """What a record is: its dtype and shape, or that it is text or bytes of any length."""
    if field["ragged"] in (BYTES, TEXT):
        return field["ragged"], "any length"
    shape = str(tuple(field["shape"])) if not field["ragged"] else f"({', '.join(['*', *map(str, field['shape'])])})"
    return field["dtype"], shape


def _show_classes(classes: dict[str, Any], console: Console) -> None:
    """What the numbers of labels mean."""
    for name, words in classes.items():
        console.say(f"  classes of '{clean(name)}': {clean(', '.join(map(str, words)))}")
