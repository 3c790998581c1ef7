"""Whether a dataset is what its manifest says, byte for byte and record for record, and whether two hold the same records."""

from __future__ import annotations

import argparse
import glob
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import streamload
from streamload.errors import ConfigError, CorruptDataError
from streamload.formats.naming.braces import has_braces
from streamload.formats.naming.field_names import is_pattern
from streamload.sizes import format_nbytes
from streamload.tools.commands.nulls import fill_in
from streamload.tools.commands.open_arguments import add_account, add_choice, asked, fields_in, options_in
from streamload.tools.console import FOUND, GOOD, Console, clean, counted, missing
from streamload.tools.convert.accounting import Account, account_of, account_when_made, lacking, show_account
from streamload.tools.convert.as_converted import as_converted
from streamload.tools.convert.chosen_records import ChosenRecords
from streamload.tools.convert.manifest import (
    BLOCK_NBYTES,
    FOLDER_NAME,
    SUFFIX,
    VERSION,
    file_entry,
    manifest_of,
    manifest_path,
    read_manifest,
    schema_entry,
    write_manifest,
)
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.encode_images import stored
from streamload.tools.convert.readers.library import LibraryRecords
from streamload.tools.convert.readers.open import open_records, open_training
from streamload.tools.convert.record_hashes import MODULUS, Content, record_hashes
from streamload.tools.convert.record_source import RecordSource
from streamload.tools.convert.writers.registry import WriteOptions
from streamload.tools.files.checksums import block_checksums
from streamload.tools.progress import bar
from streamload.tools.verification.manifest_choice import KEY, ask_again, choice_in, choice_when_written, require_one_file
from streamload.tools.verification.record_comparison import MOST_SHOWN, Findings, batches, compare_in_order, compare_sets
from streamload.tools.verification.shard_numbers import missing_shards
from streamload.tools.verification.value_checks import AskedOfValues, check_images, check_values

EXAMPLE = "streamload verify train.h5 --against photographs/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload verify`."""
    parser.add_argument("path", metavar="PATH", help="a file, a pattern, or a folder of data")
    parser.add_argument("--against", metavar="SRC", help="compare with these records, of any format: a file, a pattern, a folder of images")
    parser.add_argument("--any-order", action="store_true", help="with --against: the same records in another order are the same")
    parser.add_argument("--deep", action="store_true", help="also decode every record, check digest and values")
    parser.add_argument("--duplicates", action="store_true", help="also find records that are there twice")
    parser.add_argument("--nan", action="store_true", help="values that are not a number are wrong")
    parser.add_argument("--labels", metavar="FIELD=N", help="values of FIELD must lie in 0 to N - 1")
    parser.add_argument("--write-manifest", action="store_true", help="write a manifest of a file that has none, after decoding it")
    parser.add_argument("--mode", choices=("rgb", "grey"), help="how images of SRC are read (rgb)")
    add_choice(parser)
    add_account(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Check; exit code 1 if anything is wrong, with all of it listed."""
    for path in filter(None, (arguments.path, arguments.against)):
        if not os.path.exists(path) and not (glob.has_magic(path) and glob.glob(path, recursive=True)) and not has_braces(path):
            raise missing(path)
    _require_comparison(arguments)
    findings, checked, against = Findings(), [], None
    manifest = _manifest(arguments.path)
    if arguments.write_manifest:
        require_one_file(arguments.path, manifest)
    sound = True
    if manifest is not None:
        _require_provenance(manifest, manifest_path(arguments.path), arguments)
        checked += filter(None, [ask_again(arguments, manifest)])
        before = findings.counts.total()
        checked.append(_check_bytes(arguments.path, manifest, findings))
        sound = findings.counts.total() == before
    account = account_when_made(manifest) if manifest is not None else None
    if sound and (arguments.deep or arguments.duplicates or arguments.nan or arguments.labels is not None or manifest is None):
        text, account = _check_records(arguments, manifest, findings, account)
        checked.append(text)
    if sound and arguments.against:
        text, against = _compare(arguments, manifest, findings)
        checked.append(text)
    if arguments.write_manifest:
        _write(arguments, findings, checked)
    accounts = {name: one for name, one in (("account", account), ("account_against", against)) if one is not None}
    _show(arguments, console, manifest, findings, checked, accounts.values())
    document = {"path": arguments.path, "manifest": manifest is not None, "checked": checked, "found": findings.texts}
    for name, one in accounts.items():
        show_account(one, console, listed=arguments.list_left_out, of=arguments.against if name != "account" else "")
    console.answer(document | {"counts": findings.counts} | {name: one.plain() for name, one in accounts.items()})
    return FOUND if findings.counts or any(one.is_lacking for one in accounts.values()) else GOOD


def _require_comparison(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for what is said of a comparison where there is none."""
    said = "--any-order" if arguments.any_order else "--mode" if arguments.mode else ""
    if said and not arguments.against:
        raise ConfigError(f"{said} is for a comparison, and there is nothing to compare with.", hint="Leave it out, or say with what.")


def _manifest(path: str) -> dict[str, Any] | None:
    """What says what is there; None where nothing does. Raises StreamloadError for the manifest of other files."""
    where = manifest_path(path)
    manifest = read_manifest(where) if os.path.exists(where) else None
    if manifest is not None and os.path.isfile(path) and len(manifest["files"]) != 1:
        raise CorruptDataError(
            f"{where} is the manifest of {counted(len(manifest['files']), 'file')}, and not of {path}.",
            hint="Take it away, or put the one there that belongs to it.",
            path=where,
        )
    return manifest


def _require_provenance(manifest: dict[str, Any], where: str, arguments: argparse.Namespace) -> None:
    """Raise CorruptDataError where a manifest says of its making what no conversion says."""
    made = manifest["provenance"]
    try:
        _style(manifest)
        _request(arguments, manifest)
        shares, numbers = made.get("shares", [1.0]), made.get("left_out_records", [])
        sound = all(isinstance(one, float) for one in shares) and all(type(one) is int for one in (*numbers, made.get("seed") or 0))
        account_when_made(manifest)
        choice_when_written(manifest)
        sound = sound and isinstance(made.get("source", {}), (dict, str))
    except (TypeError, ValueError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise CorruptDataError(
            f"{where} says of how its files were made what cannot be.", hint="It was changed by hand: write it anew.", path=where
        )


def _check_bytes(path: str, manifest: dict[str, Any], findings: Findings) -> str:
    """Every block of every file against its checksum; files that are missing or should not be there."""
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    total = sum(one["nbytes"] for one in manifest["files"])
    with bar("checksums", total=total) as shown:
        done = 0

        def saw(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            shown.show(done, f"{format_nbytes(done)} of {format_nbytes(total)}")

        for one in manifest["files"]:
            # A file may have another name than it was written under, if its manifest went along.
            name = os.path.join(folder, one["name"]) if os.path.isdir(path) else path
            if not os.path.isfile(name):
                findings.add("missing file", f"{name} is missing")
                continue
            if os.path.getsize(name) != one["nbytes"]:
                findings.add("size", f"{name} has {os.path.getsize(name):,} bytes, and should have {one['nbytes']:,}")
            wanted = [int(one["crc32"][at : at + 8], 16) for at in range(0, len(one["crc32"]), 8)]
            for block, (found, right) in enumerate(zip(block_checksums(name, BLOCK_NBYTES, saw), wanted, strict=False)):
                if found != right:
                    stop = min(one["nbytes"], (block + 1) * BLOCK_NBYTES)
                    findings.add("checksum", f"{name}: bytes {block * BLOCK_NBYTES:,} to {stop:,} are not what was written")
    if os.path.isdir(path):
        known = {one["name"] for one in manifest["files"]} | {FOLDER_NAME}
        for name in sorted(set(os.listdir(path)) - known):
            findings.add("unknown file", f"{os.path.join(path, name)} is not in the manifest")
    return f"{counted(len(manifest['files']), 'file')}, {format_nbytes(total)}: sizes and checksums"


def _files(path: str, manifest: dict[str, Any] | None) -> Iterator[tuple[str, list[str]]]:
    """The parts of a dataset, and the files of each, in the order of their records."""
    if manifest is None or not os.path.isdir(path):
        yield "", [path]
        return
    for part in dict.fromkeys(one["part"] for one in manifest["files"]):
        listed = sorted((one for one in manifest["files"] if one["part"] == part), key=lambda one: one["first"])
        yield part, [os.path.join(path, one["name"]) for one in listed]


def _opened(paths: list[str], arguments: argparse.Namespace, manifest: dict[str, Any] | None = None) -> streamload.Source:
    """The source; images that were stored as JPEG or PNG are compared as such, byte for byte, where a manifest says that they are."""
    decode = False if _style(manifest) is not None else None
    fields, where = fields_in(arguments.fields), paths[0] if len(paths) == 1 else paths
    if _asks_of_source(arguments):
        return open_training(where, {name: name for name in fields or ()}, decode=decode)[0]
    return open_training(where, fields, decode=decode, **options_in(arguments))[0]


def _asks_of_source(arguments: argparse.Namespace) -> bool:
    """Whether the choice of fields says how SRC is read: a pattern joins datasets of it, which have become one."""
    return bool(arguments.against) and any(map(is_pattern, (fields_in(arguments.fields) or {}).values()))


def _style(manifest: dict[str, Any] | None) -> WriteOptions | None:
    """How images were encoded when a dataset was made; None where they were not, or nothing says it."""
    made = (manifest or {}).get("provenance", {}).get("style")
    return WriteOptions(**made) if isinstance(made, dict) and made.get("store", "raw") != "raw" else None


def _check_records(
    arguments: argparse.Namespace, manifest: dict[str, Any] | None, findings: Findings, account: Account | None
) -> tuple[str, Account | None]:
    """Every record decoded: digest, schema, missing numbers, labels, duplicates; and what there is, where no manifest says it."""
    records = 0
    values = AskedOfValues.of(arguments.labels, nan=arguments.nan)
    seen: dict[bytes, str] = {}
    for part, paths in _files(arguments.path, manifest):
        source = _opened(paths, arguments, manifest)
        content = Content(VERSION if manifest is None else manifest["manifest"])
        try:
            values.require(source.schema)
            records_of = LibraryRecords(source)
            encoded = records_of.encoded_fields if manifest is None else ()  # Else checksums say that they are what they were.
            for first, taken in batches(records_of, f"records {part}".strip()):
                check_images(taken, encoded, first, part, findings)
                check_values(taken, first, part, values, findings)
                content.add(taken, first)
                for number, one in enumerate(record_hashes(taken) if arguments.duplicates else [], start=first):
                    where = f"{part} record {number:,}".strip()
                    if one in seen:
                        findings.add("duplicate", f"{where} is the same as {seen[one]}")
                    seen.setdefault(one, where)
            records += len(source)
            account = account or account_of(
                LibraryRecords(source, path=arguments.path), _as_it_is(arguments), leave_out=arguments.leave_out
            )
            if manifest is not None and choice_in(arguments) == choice_when_written(manifest):
                _check_content(source, content, part, manifest, findings)
        finally:
            source.close()
    if manifest is not None and records != manifest["records"]:
        findings.add("records", f"there are {records:,} records, and should be {manifest['records']:,}")
    held = ", ".join(f"'{clean(name)}' in {count:,}" for name, count in findings.nans.items())
    unread = f"; NaN in {held} (--nan finds them)" if held else ""
    if manifest is None and os.path.isdir(arguments.path):
        for text in missing_shards(arguments.path):
            findings.add("missing file", text)
    unknown = "" if manifest else " (no manifest: nothing says what they should be)"
    return f"{counted(records, 'record')} decoded{unknown}{unread}", account


def _as_it_is(arguments: argparse.Namespace) -> OpenRequest:
    """What is asked for of the dataset itself."""
    return asked(arguments.path, arguments)


def _check_content(source: streamload.Source, content: Content, part: str, manifest: dict[str, Any], findings: Findings) -> None:
    known = [_nameless(schema_entry(schema)) for schema in (source.schema, source.schema_in_states)]
    if _nameless(manifest["schema"]) not in known:
        findings.add("schema", f"the fields are {source.schema}, not those of the manifest")
    wanted = sum(int(one["content"], 16) for one in manifest["files"] if one["part"] == part) % MODULUS
    if content.numbered != wanted:
        findings.add("content", f"{part} the records are not those of the manifest: the digest differs".strip())


def _compare(arguments: argparse.Namespace, manifest: dict[str, Any] | None, findings: Findings) -> tuple[str, Account | None]:
    """Record by record against another dataset, of whatever format; of the one that this was made of, as the conversion took it.

    Also what of the other is taken, where it is a source and was not converted itself.
    """
    paths = [path for _, listed in _files(arguments.path, manifest) for path in listed]
    made = (manifest or {}).get("provenance", {})
    with ExitStack() as held:
        ours = LibraryRecords(held.enter_context(closing(_opened(paths, arguments, manifest))))
        request = _request(arguments, manifest)
        theirs = origin = held.enter_context(closing(_theirs(arguments, manifest, request)))
        account = None if _converted(arguments.against) else account_of(origin, request, leave_out=arguments.leave_out)
        style = None if _converted(arguments.against) else _style(manifest)
        if style is not None and (kept := stored(origin, style)) is not origin:
            theirs = held.enter_context(closing(kept))
        here, there = sorted(schema_entry(ours.schema), key=_name), sorted(schema_entry(theirs.schema), key=_name)
        if _nameless(here) != _nameless(there):
            findings.add("schema", f"the fields differ: {ours.schema} here, {theirs.schema} in {arguments.against}")
            return f"fields compared with {arguments.against}", account
        chosen = as_converted(origin, request, made)
        theirs = theirs if chosen.numbers is None else ChosenRecords(theirs, chosen.numbers)
        notes = list(chosen.notes)
        if arguments.any_order or not chosen.in_order:
            compare_sets(ours, theirs, arguments.against, findings)
        else:
            compare_in_order(ours, theirs, arguments.against, findings)
            if findings.counts and not made:
                notes.append("in the order of each: --any-order compares them in any")
        if len(ours) != len(theirs):
            findings.add("records", f"{counted(len(ours), 'record')} here, {len(theirs):,} in {arguments.against}")
        return ", ".join([f"{counted(len(ours), 'record')} compared with {arguments.against}", *notes]), account


def _converted(path: str) -> bool:
    """Whether it is a folder that `streamload convert` wrote."""
    return os.path.isfile(os.path.join(path, FOLDER_NAME))


def _theirs(arguments: argparse.Namespace, manifest: dict[str, Any] | None, request: OpenRequest) -> RecordSource:
    """The other dataset; of a folder that was converted itself all parts, one after the other, as of this one."""
    if not _converted(arguments.against):
        return _source_like(arguments, request)
    other = read_manifest(manifest_path(arguments.against))
    return LibraryRecords(_opened([path for _, listed in _files(arguments.against, other) for path in listed], arguments, other))


def _source_like(arguments: argparse.Namespace, request: OpenRequest) -> RecordSource:
    """The other dataset as it was asked for, its nulls filled as those of this one are, where there are some for which nothing stands."""
    try:
        origin = open_records(request)
    except ConfigError as error:
        if not (parts := error.details.get("splits")):
            raise
        named = shlex.quote(os.path.join(arguments.against, parts[0]))
        raise ConfigError(error.message, hint=f"Compare with one of them: --against {named}.", path=arguments.against) from error
    fill = {name: value for name, value in (fill_in(arguments.fill)).items() if name in origin.nulls}
    if not fill:
        return origin
    origin.close()
    return open_records(replace(request, fill=(request.fill or {}) | fill))


def _nameless(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fields as they are; one field alone without its name, since an array in an .npy file has none."""
    return entries if len(entries) != 1 else [entries[0] | {"name": ""}]


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"])


def _request(arguments: argparse.Namespace, manifest: dict[str, Any] | None) -> OpenRequest:
    """How the other dataset is to be read: as the conversion that made this one read it, where the manifest says that.

    Of fields that were chosen, those that became them, or are called as they are delivered.
    """
    made = (manifest or {}).get("provenance", {}).get("request")
    chosen = fields_in(arguments.fields)
    if not isinstance(made, dict) and _asks_of_source(arguments):
        return OpenRequest(path=arguments.against, mode=arguments.mode or "rgb", fields=chosen, **options_in(arguments))
    if not isinstance(made, dict):
        return OpenRequest(path=arguments.against, mode=arguments.mode or "rgb", fields=chosen and {name: name for name in chosen})
    request = replace(OpenRequest.of(made), path=arguments.against, **({"mode": arguments.mode} if arguments.mode else {}))
    became = request.fields or {}
    return replace(request, fields={name: became.get(here, here) for name, here in chosen.items()}) if chosen else request


def _write(arguments: argparse.Namespace, findings: Findings, checked: list[str]) -> None:
    """Write the manifest of one file that decodes without a finding."""
    if findings.counts:
        return
    source = _opened([arguments.path], arguments)
    content = Content(VERSION)
    try:
        for first, taken in batches(LibraryRecords(source), "digest"):
            content.add(taken, first)
        entry = file_entry(arguments.path, records=len(source), content=content)
        made = {"streamload": streamload.__version__, "source": "this file itself"}
        made |= {KEY: choice} if (choice := choice_in(arguments)) else {}
        whole = manifest_of([entry], schema_entry(source.schema), made)
        write_manifest(arguments.path + SUFFIX, whole)
    finally:
        source.close()
    checked.append(f"{arguments.path}{SUFFIX} written")


def _show(
    arguments: argparse.Namespace,
    console: Console,
    manifest: dict[str, Any] | None,
    findings: Findings,
    checked: list[str],
    accounts: Iterable[Account],
) -> None:
    but = "".join(map(lacking, accounts))
    console.title(f"{clean(arguments.path)}: {'wrong' if findings.counts else 'good'}{but}")
    for line in checked:
        console.say(f"  {clean(line)}")
    for text in findings.texts:
        console.found(clean(text))
    for kind, count in findings.counts.items():
        if count > MOST_SHOWN:
            console.found(f"{count:,} findings of the kind '{kind}' in all")
    if manifest is None and not arguments.write_manifest:
        console.advise("--write-manifest keeps checksums beside it, so that later changes are found")
