"""How commands open what they are given: paths, the choice of fields, and what a source costs to read."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamload.errors import ConfigError, StreamloadError
from streamload.source import Column, Source
from streamload.tools.commands.nulls import fill_in
from streamload.tools.convert.manifest import FOLDER_NAME, manifest_path, read_manifest
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.library import LibraryRecords
from streamload.tools.convert.readers.open import is_image_folder, open_training
from streamload.tools.convert.record_source import RecordSource

FURTHER = {"split": "split=NAME", "labels": "labels=TABLE", "scaled": "scaled=true"}
"""Options of `sl.open` that --option says, and how."""


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The arguments that choose fields and say what files do not say themselves."""
    parser.add_argument("--fields", metavar="NAMES", help="which fields: image,label or image=x_train,y=y_train")
    parser.add_argument("--shape", metavar="NAME=H,W,C", action="append", default=[], help="the shape of a record, where no file says it")
    parser.add_argument("--record-axis", metavar="AXIS", help="axis that counts records: 0, -1, none; or x=-1,y=0")
    parser.add_argument("--fill", metavar="NAME=VALUE", action="append", default=[], help="what stands for nulls: label=0")
    parser.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="split=test or false, labels=TABLE, scaled=true",
    )


def add_account(parser: argparse.ArgumentParser) -> None:
    """The arguments about what is left out."""
    parser.add_argument("--list-left-out", action="store_true", help="name everything that was left out")
    parser.add_argument("--leave-out", metavar="PATTERN", action="append", default=[], help='files that may be left out, as "*.txt"')


def add_decode(parser: argparse.ArgumentParser) -> None:
    """The argument that says what becomes of encoded images."""
    parser.add_argument("--decode", metavar="HxW", help="size of encoded images, as 224x224; or no: as bytes")


def decode_in(text: str | None) -> tuple[int, int] | bool | None:
    """ "224x224" as (224, 224), "no" as False."""
    if text is None or text == "no":
        return None if text is None else False
    height, _, width = text.lower().partition("x")
    if not height.isdecimal() or not width.isdecimal():
        raise ConfigError(f"--decode {text} cannot be read.", hint="Give height and width, 224x224; or no.")
    return int(height), int(width)


def opened(path: str | Sequence[str], arguments: argparse.Namespace, *, on_damage: str = "raise") -> Source:
    """The source at a path, with the fields that were asked for. Raises what `streamload.open` raises."""
    options = options_in(arguments)
    options["decode"] = decode_in(getattr(arguments, "decode", None))
    files = converted(path) if isinstance(path, str) else path
    source, arguments.split_read = open_training(files, fields_in(arguments.fields), on_damage=on_damage, **options)
    return source


def looked_at(path: str, arguments: argparse.Namespace) -> RecordSource:
    """The source at a path, with the fields that were asked for, as conversions see it."""
    return LibraryRecords(opened(path, arguments, on_damage="skip"), path=path)


def classes_at(path: str, origin: RecordSource | Source) -> dict[str, list[str]]:
    """What the numbers of labels mean: as the files say, or else the manifest that `convert` wrote beside them."""
    found = {name: list(words) for name, words in origin.classes.items()}
    where = manifest_path(path)
    if found or not os.path.isfile(where):
        return found
    with contextlib.suppress(StreamloadError, AttributeError, TypeError):
        source = read_manifest(where).get("provenance", {}).get("source", {})
        return {str(name): list(map(str, words)) for name, words in source.get("classes", {}).items() if name in origin.schema}
    return {}


def is_converted(path: str) -> bool:
    """Whether it is a folder that `convert` wrote; others write a file of that name among their images."""
    return os.path.isfile(os.path.join(path, FOLDER_NAME)) and not is_image_folder(path)


def converted(path: str) -> str | list[str]:
    """The files of the first part of a folder that `convert` wrote; any other path as it is."""
    if not is_converted(path):
        return path
    files = read_manifest(os.path.join(path, FOLDER_NAME))["files"]
    listed = sorted((one for one in files if one["part"] == files[0]["part"]), key=lambda one: one["first"])
    return [os.path.join(path, one["name"]) for one in listed]


def pattern_of(path: str) -> str:
    """What to give to `sl.open` for a path: for a folder that `convert` wrote, the pattern of its first part's files."""
    files = converted(path)
    if isinstance(files, str):
        return path
    name = os.path.basename(files[0])
    return os.path.join(path, f"{name.split('-', 1)[0]}-*{os.path.splitext(name)[1]}")


def open_call(arguments: argparse.Namespace) -> str:
    """The call that opens what a command was given, to be pasted."""
    chosen = fields_in(arguments.fields)
    fields = "" if chosen is None else f", fields={list(chosen) if all(a == b for a, b in chosen.items()) else chosen!r}"
    return f"sl.open({pattern_of(arguments.path)!r}{fields}{options_said(arguments)})"


def options_said(arguments: argparse.Namespace) -> str:
    """The options in that call, each after a comma: nothing where none was asked for."""
    more = "".join(f", {name}={value!r}" for name, value in options_in(arguments).items())
    decode = decode_in(getattr(arguments, "decode", None))
    return more + (f", decode={decode!r}" if decode is not None else "")


def fields_in(text: str | None) -> dict[str, str] | None:
    """ "image=x,label" as {name to deliver: name in the file}."""
    if text is None:
        return None
    chosen: dict[str, str] = {}
    for part in text.split(","):
        name, _, stored = part.strip().partition("=")
        if not name or name in chosen:
            raise ConfigError(f"--fields {text!r} cannot be read.", hint="Give names with commas between them: image,label.")
        chosen[name] = stored or name
    return chosen


def shapes_in(texts: Sequence[str]) -> dict[str, tuple[int | None, ...]]:
    """ "image=32,32,3" as {"image": (32, 32, 3)}, "x=none" as {"x": (None,)}."""
    shapes: dict[str, tuple[int | None, ...]] = {}
    for text in texts:
        name, _, lengths = text.partition("=")
        try:
            shapes[name] = tuple(None if length.strip().lower() == "none" else int(length) for length in lengths.split(","))
        except ValueError as error:
            raise ConfigError(f"--shape {text!r} cannot be read.", hint="Give a field and its lengths: image=32,32,3.") from error
    return shapes


def axis_in(text: str) -> int | dict[str, int | None] | None:
    """ "-1" as -1, "none" as None, "x=-1,y=none" as {"x": -1, "y": None}."""
    axes: dict[str, int | None] = {}
    for part in text.split(","):
        name, _, axis = part.rpartition("=")
        if axis.strip().lower() != "none" and not axis.strip().removeprefix("-").isdecimal():
            raise ConfigError(
                f"--record-axis {text!r} cannot be read.", hint="Give 0, -1, none (each dataset is one record), or by field: x=-1,y=0."
            )
        axes[name.strip()] = None if axis.strip().lower() == "none" else int(axis)
    return axes[""] if list(axes) == [""] else axes


def options_in(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a command's arguments say of records, as options of `sl.open`; nothing of what they do not say."""
    options: dict[str, Any] = {"shapes": shapes_in(arguments.shape)} if arguments.shape else {}
    if getattr(arguments, "record_axis", None) is not None:
        options["record_axis"] = axis_in(arguments.record_axis)
    if getattr(arguments, "split_read", None):
        options["split"] = arguments.split_read  # `opened` has found out that one must be chosen
    if getattr(arguments, "fill", None):
        options["fill"] = fill_in(arguments.fill)
    return options | further_options_in(getattr(arguments, "option", ()))


def asked(path: str, arguments: argparse.Namespace) -> OpenRequest:
    """What was asked for at a path, as it is accounted for."""
    split = further_options_in(arguments.option).get("split")
    return OpenRequest(path=os.path.abspath(path), fields=fields_in(arguments.fields), split=split)


def further_options_in(texts: Sequence[str]) -> dict[str, Any]:
    """ "split=test" as {"split": "test"}, "scaled=true" as {"scaled": True}. Raises ConfigError for others than `FURTHER`."""
    options: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in FURTHER or not value or name in options:
            raise ConfigError(f"--option {text!r} cannot be read.", hint=f"Give one of {', '.join(FURTHER.values())}, each once.")
        if name == "scaled" and value.lower() not in ("true", "false"):
            raise ConfigError(f"--option {text!r} cannot be read.", hint="Give scaled=true or scaled=false.")
        is_no_split = name == "split" and value.lower() == "false"
        options[name] = value.lower() == "true" if name == "scaled" or is_no_split else value
    return options


def reading_flags(reading: Mapping[str, Any]) -> str:
    """The arguments of a command that choose one of the readings that an error lists."""
    fields = reading["fields"]
    pairs = fields.items() if isinstance(fields, Mapping) else ((name, name) for name in fields)
    named = ",".join(stored if name == stored else f"{name}={stored}" for name, stored in pairs)
    axis = reading.get("record_axis", 0)
    return f"--fields {shlex.quote(named)}" + ("" if axis == 0 else f" --record-axis {'none' if axis is None else axis}")


def block_records(column: Column) -> tuple[int, int, int] | None:
    """Blocks of a field: how many, and the records of the smallest and the largest; None where there are none."""
    cuts = column.cuts
    if cuts is None or len(cuts) < 2:
        return None
    sizes = np.diff(cuts)
    return len(sizes), int(sizes.min()), int(sizes.max())
