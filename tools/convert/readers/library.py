"""What the library itself reads, as a source of records for conversions."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.errors import SourceError
from streamload.formats.partitions import NOT_DATA
from streamload.images import Decode, ImageError, named_as_mask, read_header
from streamload.nulls import Nulls
from streamload.omissions import Omission
from streamload.ragged import Ragged
from streamload.schema import BYTES, Schema
from streamload.source import Column, Source, kept_column, stored_nbytes
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.images import image_in, kind_of
from streamload.tools.convert.record_source_defaults import RecordSourceDefaults

STORES = ("Zarr",)
"""Formats whose files are only parts of one thing."""
MOST_LISTED = 1000
"""Files that are listed one by one where a manifest says what was read."""
_NAMED = re.compile(r"((?:'[^']*'(?:, )?)+) left out: (.*)", re.DOTALL)
_ONE = re.compile(r"('[^']*'|the file) (?:is )?(.*(?:: left out|not looked into|only the first.* were looked).*)", re.DOTALL)
_MORE = re.compile(r"([0-9,]+) more (.*) left out")


class LibraryRecords(RecordSourceDefaults):
    """A source of the library, which it closes; `path` is where it was opened, `cautions` are what must be told of how."""

    def __init__(self, source: Source, *, path: str | None = None, cautions: Sequence[str] = ()) -> None:
        self._source = source
        self._cautions = cautions
        self._store = path if source.format_name in STORES else None
        self._single: dict[str, Source] = {}
        self._undecoded: Source | None = None
        self._encoded_fields: tuple[str, ...] | None = None
        self.title = source.title
        self.format_name = source.format_name
        named = [one for one in source.omissions if one.what == "field" and len(one.names) == one.count]
        self.left_out, unnamed = fields_left_out(source.notes)
        self.left_out |= {name: one.why for one in named for name in one.names}
        others = [one for one in source.omissions if one not in named]
        if self._store is not None:  # Its files lie in something that is counted as one.
            others = [one._replace(what="member") if one.what == "file" else one for one in others]
        self.omissions = (*others, *unnamed)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def schema(self) -> Schema:
        """The fields of a record, as they are delivered."""
        return self._source.schema

    @property
    def addressable(self) -> bool:
        """Whether any record can be had without decoding another."""
        return self._source.addressable

    @property
    def record_nbytes(self) -> int:
        """Bytes of a record, on average where records differ."""
        columns = [column for column in self._source.columns if column.field.ragged]
        return self.schema.record_nbytes + sum(map(stored_nbytes, columns))

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """What files or folders say of labels."""
        return self._source.classes

    @property
    def attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """What all files say alike of fields besides their values."""
        return self._source.attributes

    @property
    def nulls(self) -> Mapping[str, Nulls]:
        """Fields that may hold nulls for which nothing stands."""
        return self._source.nulls

    @property
    def identity(self) -> list[Any]:
        """Paths, sizes and times of the files; of very many of them a digest."""
        found = [[was.path, was.nbytes, was.mtime_ns] for was in self._source.fingerprints]
        if len(found) <= MOST_LISTED:
            return found
        return [os.path.commonpath([path for path, _, _ in found]), hashlib.blake2b(json.dumps(found).encode(), digest_size=16).hexdigest()]

    @property
    def paths(self) -> Sequence[str]:
        """The files, or the store."""
        return [was.path for was in self._source.fingerprints] if self._store is None else [self._store]

    @property
    def files(self) -> Sequence[str] | None:
        """The files; None of a store, which is one thing whatever files it consists of."""
        return self.paths if self._store is None else None

    @property
    def notes(self) -> Sequence[str]:
        """What was guessed about the files."""
        return self._source.notes

    @property
    def cautions(self) -> Sequence[str]:
        """How it was opened here; its notes are for those who open the files themselves."""
        return self._cautions

    @property
    def stored(self) -> Mapping[str, str]:
        """How each field is stored."""
        return {column.field.name: column.describe() for column in self._source.columns}

    @property
    def stored_nbytes(self) -> Mapping[str, int]:
        """What encoded images take, as far as some of them tell."""
        columns = [column for column in self._source.columns if column.field.name in self.encoded_fields]
        return {column.field.name: stored_nbytes(column) * len(self) for column in columns}

    @property
    def encoded_fields(self) -> tuple[str, ...]:
        """Fields that are encoded images."""
        if self._encoded_fields is None:
            self._encoded_fields = image_names(self._source)
        return self._encoded_fields

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """Arrays of the given records."""
        return self._source.take(records)

    def take_encoded(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """The given records, each image decoded besides."""
        if self._undecoded is None:
            self._undecoded = self._source.replaced(columns=[kept_column(column) for column in self._source.columns])
        taken = self._undecoded.take(records)
        for name in self.encoded_fields:
            images = taken[name]
            assert isinstance(images, Ragged)
            for number, image in zip(records.tolist(), images, strict=True):
                image_in(bytes(image), f"{self.title}: {name} of record {number:,}", mode="any")
        return taken

    def values(self, name: str, records: NDArray[np.int64]) -> Any:
        """One field, read alone."""
        if name not in self._single:
            columns = [column for column in self._source.columns if column.field.name == name]
            nulls = {field: one for field, one in self.nulls.items() if field == name}
            self._single[name] = self._source.replaced(columns=columns, nulls=nulls)
        return self._single[name].take(records)[name]

    def is_no_data(self, name: str) -> bool:
        """As the library's own rule for folders says."""
        last = os.path.basename(name)
        return last.startswith("_") or last.lower().endswith(NOT_DATA)

    def close(self) -> None:
        """Let go of files."""
        for source in (self._source, *self._single.values(), *([self._undecoded] if self._undecoded else [])):
            source.close()


def fitted(source: Source, request: OpenRequest, options: Mapping[str, Any]) -> Source:
    """The source, its encoded images made as large or as grey as was asked for; itself, where neither was or it has none.

    Masks keep their numbers.
    """
    names = image_names(source) if request.size is not None or request.mode == "grey" else ()
    if not names:
        return source
    source.close()
    image = Decode(size=request.size, mode="L" if request.mode == "grey" else "RGB")
    mask = Decode(size=request.size, mask=True)
    wishes = {name: mask if request.is_mask(name) else image for name in names}
    return streamload.open(request.path, request.fields, decode=wishes, **options)


def with_masks(source: Source, request: OpenRequest, options: Mapping[str, Any]) -> tuple[Source, tuple[str, ...]]:
    """The source, its masks decoded as the numbers that they hold; and which of them were taken for masks by their names alone.

    The latter are fields whose images have a palette, which are decoded as colours elsewhere.
    """
    decoded = [column for column in source.columns if kept_column(column) is not column]
    said = [column.field.name for column in decoded if request.masks and column.field.name in request.masks]
    guessed = [column.field.name for column in decoded if request.masks is None and len(source) and _has_palette(source, column)]
    if not said and not guessed:
        return source, ()
    source.close()
    wishes = dict.fromkeys([*said, *guessed], Decode(mask=True))
    return streamload.open(request.path, request.fields, decode=wishes, **options), tuple(guessed)


def _has_palette(source: Source, column: Column) -> bool:
    """Whether the first image of a field called like a mask has numbers of a palette, which are no colours."""
    name = column.field.name
    if not named_as_mask(name):
        return False
    with contextlib.suppress(ImageError, SourceError):
        first = source.replaced(columns=[kept_column(column)], nulls={}).take(np.zeros(1, np.int64))[name]
        return read_header(bytes(first[0])).colours == "palette"
    return False


def image_names(source: Source) -> tuple[str, ...]:
    """Fields that are encoded images in the files: decoded when they are taken, or left as bytes since their sizes differ."""
    encoded = [column.field.name for column in source.columns if kept_column(column) is not column]
    undecided = [field.name for field in source.schema if field.ragged == BYTES and _begins_as_image(source, field.name)]
    return tuple(name for name in source.schema.names if name in encoded or name in undecided)


def _begins_as_image(source: Source, name: str) -> bool:
    if not len(source):
        return True
    first = source.take(np.zeros(1, np.int64))[name]
    return kind_of(bytes(first[0])) is not None


def fields_left_out(notes: Sequence[str]) -> tuple[dict[str, str], list[Omission]]:
    """What a source's notes say of fields that are not delivered: why, by name; and those that they only count."""
    named: dict[str, str] = {}
    unnamed: list[Omission] = []
    for note in notes:
        if several := _MORE.fullmatch(note):
            unnamed.append(Omission("field", several[2], int(several[1].replace(",", ""))))
        elif found := _NAMED.fullmatch(note) or _ONE.fullmatch(note):
            named |= dict.fromkeys(re.findall(r"'([^']*)'", found[1]) or [found[1]], found[2].removesuffix(": left out"))
    return named, unnamed
