"""Which formats can be read: a registry of modules, asked in order whether the first bytes of a file are theirs."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any, Protocol, cast

from streamload.formats.naming.field_names import Fields
from streamload.source import Source

FORMATS = (
    "streamload.formats.hdf5.format",
    "streamload.formats.npy.format",
    "streamload.formats.parquet.format",
    "streamload.formats.arrow.format",
    "streamload.formats.idx.format",
    "streamload.formats.cifar.format",
    "streamload.formats.zarr.format",
    "streamload.formats.lmdb.format",
    "streamload.formats.image_folder.format",
    "streamload.formats.tar.format",
    "streamload.formats.tfrecord.format",
)
"""Modules, one a format. Adding a format is one new folder whose `format.py` has NAME, matches and plan, and one line here."""


class Format(Protocol):
    """What the module of a format must have."""

    NAME: str
    """For people: "HDF5"."""

    def matches(self, head: bytes, path: str) -> bool:
        """Whether a file that begins with `head` is of this format; `path` is there to read further, not to be believed."""
        ...

    # A format of folders has `matches_folder(self, path: str) -> bool` besides: whether a folder, as a whole, is one set of records.

    def plan(self, paths: Sequence[str], fields: Fields | None, **options: Any) -> Source:
        """A source over files of this format that have one schema."""
        ...


def format_of(head: bytes, path: str) -> Format | None:
    """The format whose magic bytes the file has, or None. Modules are imported only when they are asked."""
    for name in FORMATS:
        module = cast(Format, importlib.import_module(name))
        if module.matches(head, path):
            return module
    return None


def folder_format_of(path: str) -> Format | None:
    """The format that takes a folder as one set of records, or None: its files are then looked at one by one."""
    for name in FORMATS:
        module = importlib.import_module(name)
        matches = getattr(module, "matches_folder", None)
        if matches is not None and matches(path):
            return cast(Format, module)
    return None


def options_of(chosen: Format) -> list[str]:
    """What may be said of files of a format, besides fields."""
    return [name for name, one in inspect.signature(chosen.plan).parameters.items() if one.kind is one.KEYWORD_ONLY]
