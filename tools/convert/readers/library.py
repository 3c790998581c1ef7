"""What the library itself reads, as a source of records for conversions."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.formats.image_folder.label_tables import table_of_labels
from streamload.formats.partitions import NOT_DATA
from streamload.images import ImageError, read_header
from streamload.nulls import Nulls
from streamload.omissions import Omission
from streamload.ragged import Ragged
from streamload.schema import Field, Schema
from streamload.source import Column, Source, delivered_nbytes, stored_column, stored_nbytes
from streamload.storage.files import fingerprint
from streamload.tools.convert.readers.decoded_images import OF_IMAGES, image_names
from streamload.tools.convert.readers.decoding_threads import DecodingThreads
from streamload.tools.convert.readers.images import HINT, MOST_FILE_NBYTES, file_bytes, image_in
from streamload.tools.convert.record_source_defaults import RecordSourceDefaults

STORES = ("Zarr",)
"""Formats whose files are only parts of one thing."""
FOLDERS = ("Images",)
"""Formats whose files are records, and the folder that they lie in the thing."""
HEAD_NBYTES = 1 << 16
"""In so many bytes the size of an image stands, but where a large preview comes before it."""
NOT_TOLD = ("decode", "left out", "on_bad_record=")
"""Notes of which conversions tell in their own words, or which are for those who open the files themselves."""
MOST_LISTED = 1000
"""Files that are listed one by one where a manifest says what was read."""
_NAMED = re.compile(r"((?:'[^']*'(?:, )?)+) left out: (.*)", re.DOTALL)
_ONE = re.compile(r"('[^']*'|the file) (?:is )?(.*(?:: left out|not looked into|only the first.* were looked).*)", re.DOTALL)
_MORE = re.compile(r"([0-9,]+) more (.*) left out")


class LibraryRecords(RecordSourceDefaults):
    """A source of the library, which it closes; `path` is where it was opened, `cautions` are what must be told of how."""

    def __init__(
        self,
        source: Source,
        *,
        path: str | None = None,
        labels: str | None = None,
        nulls: Mapping[str, Nulls] | None = None,
        cautions: Sequence[str] = (),
        threads: int = 1,
    ) -> None:
        """`labels` is the table that a folder of images was opened with; `nulls` count images, too; `threads` decode side by side."""
        self._source = source
        self._cautions = cautions
        self.nulls = source.nulls if nulls is None else nulls
        self._store = path if source.format_name in STORES else None
        self._folder = path if source.format_name in FOLDERS and path is not None and os.path.isdir(path) else None
        self._table = table_of_labels(self._folder, labels) if self._folder is not None else None
        self._single: dict[str, Source] = {}
        self._stored_bytes: Source | None = None
        self._images: dict[str, Source] = {}
        """By field, the stored bytes of images that are read whole for their headers."""
        self._encoded_fields: tuple[str, ...] | None = None
        self._decoding = DecodingThreads(source, self._undecoded(), threads) if threads > 1 and self.encoded_fields else None
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
        return sum(map(delivered_nbytes, self._source.columns))

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """What files or folders say of labels."""
        return self._source.classes

    @property
    def attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """What all files say alike of fields besides their values."""
        return self._source.attributes

    @property
    def identity(self) -> list[Any]:
        """Paths, sizes and times of the files; of very many of them a digest."""
        files = [*self._source.fingerprints, *([fingerprint(self._table)] if self._table is not None else [])]
        found = [[was.path, was.nbytes, was.mtime_ns] for was in files]
        if len(found) <= MOST_LISTED:
            return found
        return [os.path.commonpath([path for path, _, _ in found]), hashlib.blake2b(json.dumps(found).encode(), digest_size=16).hexdigest()]

    @property
    def paths(self) -> Sequence[str]:
        """The files, or what they are parts of."""
        whole = self._store or self._folder
        return [was.path for was in self._source.fingerprints] if whole is None else [whole]

    @property
    def files(self) -> Sequence[str] | None:
        """The files; None of a store, which is one thing whatever files it consists of."""
        if self._store is not None:
            return None
        if self._folder is None:
            return self.paths
        images = [column for column in map(stored_column, self._source.columns) if column.field.name in self.encoded_fields]
        used = {column.file_of(number) for column in images for number in range(len(self))} - {None}
        return [*(self._source.fingerprints[number].path for number in sorted(used)), *([self._table] if self._table is not None else [])]

    @property
    def notes(self) -> Sequence[str]:
        """What was guessed about the files."""
        return self._source.notes

    @property
    def cautions(self) -> Sequence[str]:
        """How it was opened here, where labels are from, and where NaN stands; other notes are for those who open the files themselves."""
        told = self.notes if self.format_name in OF_IMAGES else ()
        return [*self._cautions, *(note for note in told if not any(one in note for one in NOT_TOLD))]

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
        return self.begin_take(records)()

    def begin_take(self, records: NDArray[np.int64]) -> Callable[[], dict[str, Any]]:
        """The same; where images are decoded on several threads, they are under way."""
        return partial(self._source.take, records) if self._decoding is None else self._decoding.begin(records)

    def take_encoded(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """The given records, each image decoded besides."""
        taken = self._undecoded().take(records)
        for name in self.encoded_fields:
            images, column = taken[name], self._column(name)
            assert isinstance(images, Ragged)
            titles = (self._named(column, number) for number in records.tolist())
            for _ in (map if self._decoding is None else self._decoding.map)(_decode, images, titles):
                pass  # An error is raised here.
        return taken

    def _undecoded(self) -> Source:
        """The source with encoded images as they are stored."""
        if self._stored_bytes is None:
            self._stored_bytes = self._source.replaced(columns=[stored_column(column) for column in self._source.columns])
        return self._stored_bytes

    def image_shapes(self, number: int) -> Iterator[tuple[Field, str, tuple[tuple[int, ...], np.dtype[Any]]]]:
        """Of each image of a record that is delivered in the size that it has: what its header says.

        Nothing of those that lie in what is unpacked from its beginning. Raises SourceError for a header that is damaged.
        """
        for column in self._source.columns if not self._source.forward_only else ():
            options = column.decode_options
            if options is None or options.fit != "exact":
                continue
            title, begin = self._named(column, number), self._begin(stored_column(column), number)
            try:
                head = read_header(begin(HEAD_NBYTES))
            except ImageError:
                try:
                    head = read_header(begin(MOST_FILE_NBYTES))
                except ImageError as error:
                    raise error.error(title, hint=HINT, path=title) from error
            yield column.field, title, ((*head.size, column.field.shape[2]), np.dtype(np.uint16 if head.bits > 8 else np.uint8))

    def _begin(self, column: Column, number: int) -> Callable[[int], bytes]:
        """What reads the first bytes of a record, no more than it is given."""
        whole, runs = column.file_of(number), column.byte_runs(number, number + 1)
        if self._folder is not None and whole is not None:
            return partial(file_bytes, self._source.fingerprints[whole].path)
        if runs is None:
            image = self._stored(column, number)
            return lambda most: image[:most]
        file, start, stop = runs[0].tolist()
        return lambda most: file_bytes(self._source.fingerprints[file].path, min(most, stop - start), start)

    def _stored(self, column: Column, number: int) -> bytes:
        """All bytes of a record. What was unpacked for it stays at hand for the next one."""
        name = column.field.name
        if name not in self._images:
            self._images[name] = self._source.replaced(columns=[column])
        return bytes(self._images[name].take(np.array([number], np.int64))[name][0])

    def _column(self, name: str) -> Column:
        return self._source.columns[self.schema.names.index(name)]

    def _named(self, column: Column, number: int) -> str:
        """The name of an image for people: its file, or its record in one."""
        file = stored_column(column).file_of(number)
        if file is not None and self._folder is not None:
            return self._source.fingerprints[file].path
        file = int(np.searchsorted(self._source.file_starts, number, side="right")) - 1 if file is None else file
        return f"{self._source.fingerprints[file].path}: record {number:,} of '{column.field.name}'"

    def values(self, name: str, records: NDArray[np.int64]) -> Any:
        """One field, read alone."""
        if name not in self._single:
            columns = [column for column in self._source.columns if column.field.name == name]
            nulls = {field: one for field, one in self._source.nulls.items() if field == name}
            self._single[name] = self._source.replaced(columns=columns, nulls=nulls)
        return self._single[name].take(records)[name]

    def is_no_data(self, name: str) -> bool:
        """As the library's own rule for folders of data files says; what lies among images may say something of them."""
        last = os.path.basename(name)
        return self._folder is None and (last.startswith("_") or last.lower().endswith(NOT_DATA))

    def close(self) -> None:
        """Let go of files."""
        if self._decoding is not None:
            self._decoding.close()
        for source in (self._source, *self._single.values(), *self._images.values(), *([self._stored_bytes] if self._stored_bytes else [])):
            source.close()


def _decode(image: bytes, title: str) -> None:
    image_in(image, title, mode="any")


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
