"""Opens what is at a path, whatever format it has, as a source of records for conversions."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import streamload
from streamload.errors import ConfigError, SourceError
from streamload.formats.image_folder.format import matches_folder
from streamload.source import Source
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.decoded_images import decoded_images
from streamload.tools.convert.readers.library import LibraryRecords
from streamload.tools.convert.readers.resized_source import sized
from streamload.tools.convert.record_source import RecordSource


def open_records(request: OpenRequest, *, threads: int = 1) -> RecordSource:
    """What `streamload.open` reads at a path, its images as was asked for; of a folder of images all that belong to no split."""
    options: dict[str, Any] = {"shapes": request.shapes} if request.shapes else {}
    if request.record_axis != 0:
        options["record_axis"] = request.record_axis
    if request.fill:
        options["fill"] = request.fill
    if request.split is not None:
        options["split"] = request.split
    if request.scaled:
        options["scaled"] = True
    if is_image_folder(request.path):
        source = _open_folder(request, options)
    else:
        source, _ = open_training(request.path, request.fields, on_damage=request.on_damage, **options)
    decoded, cautions = decoded_images(source, request)
    said = {"path": request.path, "labels": request.labels, "nulls": source.nulls, "cautions": cautions}
    return _sized(LibraryRecords(decoded, **said, threads=threads), request, threads)


def is_image_folder(path: str) -> bool:
    """Whether it is a folder of images."""
    return os.path.isdir(path) and matches_folder(path)


def _open_folder(request: OpenRequest, options: Mapping[str, Any]) -> Source:
    """The images of a folder. Raises ConfigError for one of several splits: none of them is the one that is meant."""
    try:
        return streamload.open(request.path, request.fields, decode=False, labels=request.labels, **options)
    except ConfigError as error:
        parts = error.details.get("splits")
        if not parts or request.split is not None:
            raise
        command = f"streamload convert {shlex.quote(os.path.join(error.details.get('path', request.path), parts[0]))} {parts[0]}.h5"
        raise ConfigError(error.message, hint=f"Convert each by itself: {command}", path=request.path, splits=parts) from error


def open_training(
    path: str | Sequence[str], fields: Mapping[str, str] | None, *, on_damage: str = "raise", **options: Any
) -> tuple[Source, str | None]:
    """What `streamload.open` makes of a path, and None; of a folder of several splits the records for training, and the split's name.

    With `on_damage="skip"` damaged records are left out, where the format can read on behind them.
    """
    try:
        return _open_training(path, fields, **options)
    except SourceError as error:
        if on_damage == "raise" or error.details.get("option") != "on_damage":
            raise
        return _open_training(path, fields, on_damage=on_damage, **options)


def _open_training(path: str | Sequence[str], fields: Mapping[str, str] | None, **options: Any) -> tuple[Source, str | None]:
    with as_arguments():
        try:
            return streamload.open(path, fields, **options), None
        except ConfigError as error:
            if "split" in options or "train" not in (error.details.get("splits") or ()):
                raise
            source = streamload.open(path, fields, split="train", **options)
    return source.replaced(notes=[*source.notes, "the records for training, split='train', of several splits"]), "train"


@contextmanager
def as_arguments() -> Iterator[None]:
    """What an error says of an option is said of the argument that it comes from."""
    try:
        yield
    except ConfigError as error:
        if error.details.get("option") != "shapes":
            raise
        raise ConfigError(
            "--shape is for files that do not say the shapes of records, and these say them.", hint="Leave it out."
        ) from error


def _sized(origin: RecordSource, request: OpenRequest, threads: int) -> RecordSource:
    """What was opened, or what scales its images where nothing has done so yet."""
    try:
        return sized(origin, request, threads)
    except BaseException:
        origin.close()
        raise
