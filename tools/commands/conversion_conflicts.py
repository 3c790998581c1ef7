"""Arguments of a conversion that contradict each other, or that would be without effect: refused, before anything is written."""

from __future__ import annotations

import argparse
import fnmatch
import os
from collections.abc import Iterator

import numpy as np

from streamload.conditions import Condition
from streamload.errors import ConfigError
from streamload.schema import Field
from streamload.tools.console import clean, missing
from streamload.tools.convert.image_axes import image_axes
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.encode_images import is_image
from streamload.tools.convert.readers.open import is_image_folder
from streamload.tools.convert.record_source import RecordSource
from streamload.tools.convert.writers.registry import CODED_NBYTES, WriteOptions

PIXELS = (np.dtype(np.uint8), np.dtype(np.uint16))


def refuse_conflicts(arguments: argparse.Namespace, request: OpenRequest, *, parts: int) -> None:
    """Raise ConfigError for arguments of which one leaves another nothing to do, whatever is converted."""
    for name in ("stratify", "group"):
        if getattr(arguments, name) and parts == 1:
            raise ConfigError(f"--{name} means something with --split only.", hint="Leave it out, or give --split.")
    if arguments.seed is not None and not arguments.shuffle and parts == 1:
        raise ConfigError("--seed means something with --shuffle or --split only.", hint="Leave it out, or give --shuffle.")
    if request.labels and not is_image_folder(request.path):
        raise ConfigError(f"--labels says the labels of a folder of images, and {arguments.source} is none.", hint="Leave it out.")
    if request.labels and not os.path.exists(request.labels):
        raise missing(arguments.labels)
    _refuse_of_engines(arguments)
    _refuse_beside_kept(arguments)
    _refuse_of_others(arguments, request)


def labels_of(arguments: argparse.Namespace, said: str | None) -> str | None:
    """The table of labels, which may be `said` as an option of `sl.open`. Raises ConfigError where it is said twice."""
    if arguments.labels is not None and said is not None:
        raise ConfigError(
            f"--labels {arguments.labels} and --option labels={said} both say where labels are from.", hint="Leave one of them out."
        )
    return arguments.labels if said is None else said


def _refuse_of_engines(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for arguments about who does the work, where others say that none is done, or who does it."""
    if arguments.workers is not None and arguments.engine not in (None, "local"):
        raise ConfigError(
            f"--workers {arguments.workers} counts processes of this machine, and --engine has a cluster do the work.",
            hint="Leave one of them out: the cluster says how many it has.",
        )
    idle = "--merge" if arguments.merge else "--dry-run" if arguments.dry_run else ""
    if arguments.engine is not None and idle:
        raise ConfigError(f"{idle} leaves --engine nothing to do: no file is written.", hint="Leave --engine out.")
    for name in ("task", "merge"):
        if arguments.dry_run and getattr(arguments, name):
            raise ConfigError(
                f"--dry-run says what would be done of all, and --{name} does a part of it.", hint=f"Leave --{name} out, or --dry-run."
            )
    if arguments.task is not None and arguments.list_left_out:
        raise ConfigError("--task does a share, and what is left out is told of the whole.", hint="Give it to --merge.")


def _refuse_of_others(arguments: argparse.Namespace, request: OpenRequest) -> None:
    """Raise ConfigError for what is said of fields that --fields does not take, and nothing else asks for."""
    if request.fields is None:
        return
    condition = Condition(arguments.where, said="--where").names if arguments.where else ()
    taken = [*request.fields, *request.fields.values(), *condition, *filter(None, (arguments.stratify, arguments.group))]
    axes = request.record_axis if isinstance(request.record_axis, dict) else {}
    for argument, said in (("--shape", request.shapes), ("--fill", request.fill), ("--record-axis", axes)):
        for name in said or ():
            if not any(name == one or fnmatch.fnmatchcase(name, one) or one.endswith(f"/{name}") for one in taken):
                raise ConfigError(
                    f"{argument} {name}=... is of a field that --fields does not take: {', '.join(request.fields)}.",
                    hint="Leave it out, or take the field.",
                )


def _refuse_beside_kept(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for arguments that change images, where these stay as they are."""
    given = {"--size": arguments.size, f"--mode {arguments.mode}": arguments.mode, "--masks": arguments.masks}
    changing = next((name for name, value in given.items() if value is not None), None)
    if arguments.store == "keep" and changing is not None:
        why = "says which are never mixed" if changing == "--masks" else "would change them"
        raise ConfigError(f"--store keep leaves images as they are, and {changing} {why}.", hint="Leave one of them out.")


def refuse_void(origin: RecordSource, request: OpenRequest, style: WriteOptions) -> None:
    """Raise ConfigError for arguments about images that leave all fields of what is converted as they are."""
    _refuse_masks(origin, request, style)
    _refuse_unpacked(origin, style)
    images = {field.name: request.is_mask(field.name) for field in _images(origin)}
    if not images or not all(images.values()):
        return
    named = ", ".join(f"'{clean(name)}'" for name in images)
    told = f"all images here are masks ({named}), {'as --masks says' if request.masks else 'by their names'}, and keep their numbers"
    hint = "" if request.masks else " --masks none says that they are none."
    if request.mode == "grey" or request.in_colour:
        raise ConfigError(f"--mode {request.mode} changes colours, and {told}.", hint=f"Leave it out.{hint}")
    if style.store == "jpeg":
        raise ConfigError(f"--store jpeg mixes pixels, and {told}.", hint=f"Give --store png.{hint}")


def _refuse_masks(origin: RecordSource, request: OpenRequest, style: WriteOptions) -> None:
    """Raise ConfigError for masks that are no fields of images, or where nothing is done to images."""
    for name in request.masks or ():
        if name not in origin.schema:
            raise ConfigError(f"--masks names {name!r}, which is no field.", hint=f"The fields are {', '.join(origin.schema.names)}.")
        if origin.schema[name] not in _pictures(origin):
            raise ConfigError(f"--masks names {name!r}, which holds no images ({origin.schema[name]}).", hint="Leave it out.")
    mixing = request.size is not None or request.mode == "grey" or style.store == "jpeg"
    if request.masks is not None and not mixing and not origin.encoded_fields:
        raise ConfigError(
            f"--masks says which images are never mixed, and nothing mixes any: those of {origin.title} are arrays, and stay as they are.",
            hint="Leave it out, or give --size.",
        )


def _refuse_unpacked(origin: RecordSource, style: WriteOptions) -> None:
    """Raise ConfigError for a codec, or a size of chunks, of HDF5 files in which no field is in chunks."""
    asked = f"--codec {style.codec}" if style.codec != "none" else "--chunk-records" if style.chunk_records is not None else ""
    if style.format != "hdf5" or not asked or any(not field.ragged and field.nbytes >= CODED_NBYTES for field in origin.schema):
        return
    raise ConfigError(
        f"{asked} has no effect: HDF5 files have chunks of fields of {CODED_NBYTES} bytes a record or more, of one length each, and "
        f"{origin.title} has none ({origin.schema}).",
        hint="Leave it out, or write Parquet, where it holds for all fields.",
    )


def _images(origin: RecordSource) -> Iterator[Field]:
    """Fields of images that are delivered as pixels."""
    return (field for field in _pictures(origin) if image_axes(field.shape) is not None or is_image(field))


def _pictures(origin: RecordSource) -> list[Field]:
    """Fields that may be images: pixels of some size, or their stored bytes."""
    whole = [field for field in origin.schema if not field.ragged and field.dtype in PIXELS and len(field.shape) >= 2]
    return whole + [origin.schema[name] for name in origin.encoded_fields if origin.schema[name].ragged]
