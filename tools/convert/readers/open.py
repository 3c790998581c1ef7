"""Opens what is at a path, whatever format it has, as a source of records for conversions."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import streamload
from streamload.errors import ConfigError
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.library import LibraryRecords, fitted
from streamload.tools.convert.readers.resized_source import sized
from streamload.tools.convert.record_source import RecordSource

KINDS = ("zarr", "lmdb", "image_folder", "webdataset", "tfrecord", "cifar", "idx")
"""Modules that read what the library itself does not: each has `matches(path)` and `opened(request, threads)`."""


def open_records(request: OpenRequest, *, threads: int = 1) -> RecordSource:
    """What is at a path: a folder of images, a file of another library's, or whatever `streamload.open` reads."""
    kind = container_kind(request.path)
    if kind is not None:
        return _sized(cast(RecordSource, kind.opened(request, threads)), request, threads)
    options: dict[str, Any] = {"shapes": request.shapes} if request.shapes else {}
    if request.record_axis != 0:
        options["record_axis"] = request.record_axis
    if request.fill:
        options["fill"] = request.fill
    with as_arguments():
        source = streamload.open(request.path, request.fields, **options)
    if request.size is None and request.mode == "rgb":
        return LibraryRecords(source)
    source = fitted(source, request, options)
    return _sized(LibraryRecords(source), request, threads)


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


def container_kind(path: str) -> Any:
    """The module that reads what only `convert` can read, such as a folder of images; None for anything else."""
    kinds = (importlib.import_module(f"streamload.tools.convert.readers.{name}") for name in KINDS)
    return next((kind for kind in kinds if kind.matches(path)), None)


def _sized(origin: RecordSource, request: OpenRequest, threads: int) -> RecordSource:
    """What was opened, or what scales its images where nothing has done so yet."""
    try:
        return sized(origin, request, threads)
    except BaseException:
        origin.close()
        raise
