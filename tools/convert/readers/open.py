"""What can be converted: anything that has a schema, a number of records, and gives the records that are asked for."""

from __future__ import annotations

import ast
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.errors import ConfigError
from streamload.schema import Schema
from streamload.source import Source

KINDS = ("zarr", "lmdb", "image_folder", "webdataset", "tfrecord")
"""Modules that read what the library itself does not: each has `matches(path)` and `opened(request, threads)`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRequest:
    """What to read, and how: plain values, so that every process opens the same."""

    path: str
    fields: dict[str, str] | None = None
    """The name to deliver: the name in the file."""
    shapes: dict[str, tuple[int, ...]] | None = None
    """Of records, where no file says them."""
    record_axis: int | dict[str, int | None] | None = 0
    """Which axis counts records, of all fields or by field; None where each dataset is one record."""
    fill: dict[str, Any] | None = None
    """What stands for nulls of tables, by column."""
    mode: str = "rgb"
    """Of images from folders: rgb or grey."""
    size: tuple[int, int] | None = None
    """Height and width that images are made; None where all must have the first one's."""
    labels: str | None = None
    """A CSV or JSONL file that says the labels of images."""

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        fill = None if self.fill is None else {name: repr(value) for name, value in self.fill.items()}
        return asdict(self) | {"fill": fill}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> OpenRequest:
        """What `plain` wrote down."""
        values = dict(plain)
        values["size"] = tuple(values["size"]) if values["size"] else None
        values["shapes"] = {name: tuple(shape) for name, shape in values["shapes"].items()} if values["shapes"] else None
        values["fill"] = {name: ast.literal_eval(text) for name, text in values["fill"].items()} if values.get("fill") else None
        return cls(**values)


class RecordSource(Protocol):
    """Records that can be converted."""

    @property
    def schema(self) -> Schema:
        """The fields of a record."""
        ...

    @property
    def title(self) -> str:
        """What it is, for people."""
        ...

    def __len__(self) -> int:
        """How many records there are."""
        ...

    def take(self, records: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Arrays of the given records, in the order given."""
        ...

    def close(self) -> None:
        """Let go of files and memory."""
        ...


class Described(Protocol):
    """An origin that is no source, and says about itself what a source's attributes say."""

    @property
    def facts(self) -> dict[str, Any]:
        """For the manifest: what its labels mean."""
        ...

    @property
    def identity(self) -> list[Any]:
        """The same values mean the same records."""
        ...


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
    source, split = open_training(request.path, request.fields, **options)
    options |= {"split": split} if split else {}
    if request.size is None and request.mode == "rgb":
        return source
    from streamload.tools.convert.readers.encoded_source import fitted

    source = fitted(source, request.path, request.fields, request.size, grey=request.mode == "grey", options=options)
    return _sized(source, request, threads)


def open_training(path: str | Sequence[str], fields: Mapping[str, str] | None, **options: Any) -> tuple[Source, str | None]:
    """What `streamload.open` makes of a path, and None; of a folder of several splits the records for training, and the split's name."""
    with as_arguments():
        try:
            return streamload.open(path, fields, **options), None
        except ConfigError as error:
            if "train" not in (error.details.get("splits") or ()):
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


def container_kind(path: str) -> Any:
    """The module that reads what only `convert` can read, such as a folder of images; None for anything else."""
    kinds = (importlib.import_module(f"streamload.tools.convert.readers.{name}") for name in KINDS)
    return next((kind for kind in kinds if kind.matches(path)), None)


def _sized(origin: RecordSource, request: OpenRequest, threads: int) -> RecordSource:
    """What was opened, or what scales its images where nothing has done so yet."""
    from streamload.tools.convert.readers.resized_source import sized

    try:
        return sized(origin, request, threads)
    except BaseException:
        origin.close()
        raise


def identity_of(origin: RecordSource) -> list[Any]:
    """Values that stay the same as long as the records do."""
    if isinstance(origin, Source):
        return [[was.path, was.nbytes, was.mtime_ns] for was in origin.fingerprints]
    return cast(Described, origin).identity


def facts_of(origin: RecordSource) -> dict[str, Any]:
    """What the manifest should say of where records come from."""
    if isinstance(origin, Source):
        facts: dict[str, Any] = {"format": origin.format_name, "files": [os.path.basename(was.path) for was in origin.fingerprints]}
        return facts | ({"classes": classes_of(origin)} if origin.classes else {})
    return cast(Described, origin).facts


def classes_of(origin: RecordSource) -> dict[str, list[str]]:
    """What the numbers of labels mean, by field, where something says so."""
    if isinstance(origin, Source):
        return {name: list(words) for name, words in origin.classes.items()}
    return dict(cast(Described, origin).facts.get("classes", {}))


def each_by_itself(origin: RecordSource) -> bool:
    """Whether any record can be had without decoding others."""
    return bool(getattr(origin, "addressable", True))


def paths_of(origin: RecordSource, request: OpenRequest) -> list[str]:
    """The files that are read, or the folder that they lie in."""
    if isinstance(origin, Source):
        return [was.path for was in origin.fingerprints]
    return [os.path.realpath(path) for path in getattr(origin, "paths", [request.path])]
