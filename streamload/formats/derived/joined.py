"""Fields from different files, joined by record: images in one file, labels in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import WrappedDefaults
from streamload.errors import ConfigError, SchemaMismatchError
from streamload.formats.columns.raw import InMemory, RawRecords
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.images.column import EncodedImages
from streamload.nulls import Nulls
from streamload.schema import Field
from streamload.source import Column, Lengths, Measured, NullableColumn, RaggedColumn, ReadStats, Source, measured_of
from streamload.storage.files import Fingerprint, OpenFiles
from streamload.storage.files import Mapping as FileMapping


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JoinedColumn(WrappedDefaults):
    """A column of another source, whose files are some of this one's."""

    field: Field
    """Under the name that it has here."""
    column: Column
    first: int
    """The number here of the other source's first file."""
    files: int
    """How many it has."""
    starts: NDArray[np.int64] | None = None
    """The first record of each of them, and the number of records; None where the column itself says which file a record is in."""

    @property
    def wrapped(self) -> Column:
        """The column."""
        return self.column

    @property
    def lengths(self) -> Lengths:
        """As the column's, which is ragged."""
        return cast(RaggedColumn, self.column).lengths

    @property
    def block_elements(self) -> NDArray[np.int64] | None:
        """As the column's, which is ragged."""
        return cast(RaggedColumn, self.column).block_elements

    @property
    def measured(self) -> Measured | None:
        """As the column's, which is ragged."""
        return measured_of(self.column)

    @property
    def encoded(self) -> JoinedColumn | None:
        """The stored bytes of the column's records, where it is encoded."""
        stored = self.column.encoded
        if stored is None:
            return None
        return replace(self, field=replace(stored.field, name=self.field.name), column=stored)

    @property
    def decode_options(self) -> Any:
        """As the column's."""
        return self.column.decode_options

    @property
    def page_starts(self) -> NDArray[np.int64] | None:
        """As the column's."""
        return self.column.page_starts

    @property
    def held(self) -> Any:
        """As the column's."""
        return self.column.held

    def value_range(self, files: OpenFiles) -> tuple[Any, Any] | None:
        """As the column's."""
        return self.column.value_range(cast(OpenFiles, FileRange(files, self.first, self.files)))

    def byte_runs(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """As the column's, in files by their numbers here."""
        runs = self.column.byte_runs(start, stop)
        return None if runs is None else np.add(runs, (self.first, 0, 0))

    def file_of(self, record: int) -> int | None:
        """As the column or the other source says, counted here: this source's `file_starts` are those of all files."""
        number = self.column.file_of(record)
        if number is None and self.starts is not None:
            number = int(np.searchsorted(self.starts, record, side="right")) - 1
        return None if number is None else number + self.first

    def reader(self, files: OpenFiles, meter: ReadStats) -> Any:
        """The column's reader, which sees its own files alone."""
        return self.column.reader(cast(OpenFiles, FileRange(files, self.first, self.files)), meter)

    def filled(self) -> Column:
        """The column, which may hold nulls, with something in their place."""
        return replace(self, column=cast(NullableColumn, self.column).filled())

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """As the column's, which may hold nulls."""
        return cast(NullableColumn, self.column).null_records(cast(OpenFiles, FileRange(files, self.first, self.files)))


class FileRange:
    """A stretch of the files of a source, numbered from 0: what readers use of `OpenFiles`."""

    def __init__(self, files: OpenFiles, first: int, count: int) -> None:
        self._files = files
        self._first = first
        self.fingerprints: Sequence[Fingerprint] = files.fingerprints[first : first + count]

    def descriptor(self, number: int, *, reads: bool = True) -> int:
        """A descriptor of one of the files."""
        return self._files.descriptor(self._first + number, reads=reads)

    def address(self, number: int) -> int | None:
        """Where one of the files is mapped."""
        return self._files.address(self._first + number)

    @property
    def past_cache(self) -> bool:
        """Whether large reads are to pass the page cache by."""
        return self._files.past_cache

    def direct(self, number: int) -> int | None:
        """A descriptor of one of the files whose reads pass the page cache by, where there is one."""
        return self._files.direct(self._first + number)

    def bytes_at(self, number: int, offset: int, nbytes: int) -> NDArray[np.uint8] | None:
        """So many bytes of one of the files, if all of it is mapped and present."""
        return self._files.bytes_at(self._first + number, offset, nbytes)

    def map(self, number: int) -> FileMapping:
        """Map one of the files."""
        return self._files.map(self._first + number)

    def beside(self, what: str, make: Callable[[], Any]) -> Any:
        """What a format keeps open of these files by other means."""
        return self._files.beside(f"{what} from {self._first}", make)

    def verify(self) -> None:
        """Verify all files that were touched."""
        self._files.verify()


def join(sources: Mapping[str, Source]) -> Source:
    """One source with a field from each: {name to deliver: a source of one field}.

    Raises ConfigError where one of them has several fields, SchemaMismatchError where they differ in length.
    """
    for name, source in sources.items():
        if len(source.schema) > 1:
            raise ConfigError(
                f"'{name}': {source.title} holds several fields, {list(source.schema.names)}, where one is to be joined.",
                hint=f"Choose one: {{{name!r}: sl.open(..., fields=[{source.schema.names[0]!r}])}}.",
            )
    if len({len(source) for source in sources.values()}) > 1:
        lengths = ", ".join(f"{name}: {len(source):,} in {source.title}" for name, source in sources.items())
        raise SchemaMismatchError(
            f"Files to be joined differ in their number of records ({lengths}).", hint="They are incomplete, or do not belong together."
        )
    columns: list[Column] = []
    fingerprints: list[Fingerprint] = []
    notes: list[str] = []
    classes: dict[str, tuple[str, ...]] = {}
    attributes: dict[str, Mapping[str, Any]] = {}
    nulls: dict[str, Nulls] = {}
    for name, source in sources.items():
        columns.append(_renamed(source.columns[0], name, source, len(fingerprints)))
        fingerprints.extend(source.fingerprints)
        if source.classes:
            classes[name] = source.classes[source.schema.names[0]]
        for said in source.attributes.values():
            attributes[name] = said
        for one in source.nulls.values():
            nulls[name] = one
        notes.append(f"'{name}' from {source.format_name} {source.title}")
    first = next(iter(sources.values()))
    formats = dict.fromkeys(source.format_name for source in sources.values())
    borders = np.unique(np.concatenate([source.file_starts for source in sources.values()]))
    return Source(
        format_name=" and ".join(formats),
        title=f"{len(sources)} sources joined by record",
        columns=columns,
        fingerprints=fingerprints,
        file_starts=borders if len(first) else [0, 0],
        notes=notes,
        classes=classes,
        attributes=attributes,
        nulls=nulls,
        omissions=[one for source in sources.values() for one in source.omissions],
        masks=[name for name, source in sources.items() if source.masks],
    )


def _renamed(column: Column, name: str, source: Source, first: int) -> Column:
    """A column of `source`, whose first file is number `first` of the whole."""
    field = replace(column.field, name=name)
    if isinstance(column, RawRecords):
        return replace(column, field=field, numbers=(column.numbers + first).astype(np.int32))
    if isinstance(column, (InMemory, InMemoryRagged)):
        return replace(column, field=field)
    if isinstance(column, EncodedImages):
        return replace(column, field=field, inner=cast(RaggedColumn, _renamed(column.inner, name, source, first)))
    files = len(source.fingerprints)
    starts = source.file_starts if len(source.file_starts) == files + 1 else None
    return JoinedColumn(field=field, column=column, first=first, files=files, starts=starts)
