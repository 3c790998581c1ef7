"""What the messages of a file say: its columns as fields, and where their arrays and buffers lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, UnsupportedFeatureError, damaged
from streamload.formats.arrow import dictionaries, ragged_planning
from streamload.formats.arrow.flatbuffers import FlatError
from streamload.formats.arrow.ipc_messages import IpcContents, MessageError, read_contents
from streamload.formats.arrow.lists import first_lengths
from streamload.formats.arrow.ragged_planning import RaggedExtent
from streamload.formats.arrow.record_batches import BatchFile
from streamload.formats.arrow_types import annotations, element_types, ragged_types
from streamload.formats.arrow_types.element_types import ArrowValues, SkippedColumnError, UnsupportedColumnError
from streamload.formats.arrow_types.ragged_types import RaggedValues
from streamload.formats.arrow_types.schema_columns import TableColumn, columns_in, duplicate_in
from streamload.formats.tables.fields import FileColumn, Table, WantedColumns
from streamload.formats.tables.nulls import NullCounts
from streamload.storage.files import Fingerprint, OpenFiles, fingerprint

Shapes = Mapping[str, Sequence[int | None]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArrowColumnInfo:
    """What is known of one column of one file."""

    name: str
    field: Any
    """As pyarrow has it."""
    nulls: NullCounts
    batches: BatchFile
    """Its buffers and type; the number of the file is filled in later. Its values have None for the lengths of lists, as long
    as nobody has looked."""
    elements: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each batch, where the column is ragged."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ColumnExtent:
    """Where a column lies in each record batch: what comes before it, and what comes before the next one."""

    begin: RaggedExtent
    end: RaggedExtent
    above: tuple[RaggedExtent, ...] = ()
    """Where the structs begin that it is a member of, outermost first."""


def read_metadata(path: str, wanted: WantedColumns, shapes: Shapes) -> Table:
    """The columns of a file: all of them, or those wanted."""
    was = fingerprint(path)
    contents, schema = _read(path, was)
    twice = duplicate_in([column.key for column in columns_in(schema)])
    if twice is not None:
        raise UnsupportedFeatureError(f"{path} holds two columns called '{twice}'.", hint="Rename one of them.", path=path, dataset=twice)
    classes, said = annotations.classes_in(schema), annotations.attributes_in(schema)
    places = _places(schema, contents)
    columns: dict[str, FileColumn] = {}
    aside: dict[str, str] = {}
    refused: dict[str, str] = {}
    files = OpenFiles([was])
    try:
        for column in columns_in(schema):
            key = column.key
            if key not in wanted:
                aside[key] = "was not asked for"
                continue
            try:
                stored = _stored(contents, column, places, shapes.get(key), files)
                words, note = stored.classes or classes.get(key, ()), element_types.note_of(column.field)
                columns[key] = replace(stored, classes=words, attributes=said.get(key, {}), note=note)
            except UnsupportedColumnError as error:
                refused[key] = error.why
            except SkippedColumnError as error:
                aside[key] = error.why
            except (MessageError, FlatError) as error:
                files.verify()
                raise _contradicts(path, key, str(error)) from error
    finally:
        files.close()
    records = sum(batch.records for batch in contents.batches)
    return Table(path=path, fingerprint=was, records=records, columns=columns, aside=aside, refused=refused)


def _read(path: str, was: Fingerprint) -> tuple[IpcContents, Any]:
    """The messages of a file, and its schema as pyarrow has it."""
    files = OpenFiles([was])
    try:
        contents = read_contents(files)
        schema = pa.ipc.read_schema(pa.py_buffer(contents.schema))
        _ = [list(_names_in(field)) for field in schema]  # Those that are no UTF-8 are found here.
        if contents.again is not None and not pa.ipc.read_schema(pa.py_buffer(contents.again)).equals(schema):
            raise MessageError("its footer has another schema than its first message")
    except (MessageError, FlatError, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, CorruptDataError):
            raise
        files.verify()
        raise damaged(f"{path} cannot be read as Arrow: {error}.", path=path) from error
    finally:
        files.close()
    if not contents.little:
        raise UnsupportedFeatureError(f"{path} holds big-endian numbers.", hint="Write it anew on a little-endian machine.", path=path)
    return contents, schema


def _names_in(field: Any) -> Iterator[str]:
    """What a field, and all within it, is called, and its time zones. Raises UnicodeDecodeError where pyarrow cannot decode one."""
    yield field.name
    kind = element_types.storage_of(field.type)
    if kinds.is_timestamp(kind):
        yield kind.tz or ""
    if kinds.is_dictionary(kind):
        yield from _names_in(pa.field("", kind.value_type))
    for number in range(kind.num_fields):
        yield from _names_in(kind.field(number))


def _places(schema: Any, contents: IpcContents) -> dict[tuple[int, ...], ColumnExtent]:
    """Where columns and their members lie, by their numbers; those behind one that nobody can measure are not there."""
    found: dict[tuple[int, ...], ColumnExtent] = {}

    def walk(field: Any, numbers: tuple[int, ...], at: RaggedExtent, above: tuple[RaggedExtent, ...]) -> RaggedExtent | None:
        size = ragged_planning.extent(field.type, unions=contents.unions)
        if size is None:
            return None
        found[numbers] = ColumnExtent(begin=at, end=at + size, above=above)
        kind = element_types.storage_of(field.type)
        inner: RaggedExtent | None = at + RaggedExtent(1, 1, 0)
        for number in range(kind.num_fields if kinds.is_struct(kind) else 0):
            assert inner is not None
            inner = walk(kind.field(number), (*numbers, number), inner, (*above, at))
        return at + size

    at: RaggedExtent | None = RaggedExtent(0, 0, 0)
    for number, field in enumerate(schema):
        at = None if at is None else walk(field, (number,), at, ())
    return found


def _stored(
    contents: IpcContents, column: TableColumn, places: Mapping[tuple[int, ...], ColumnExtent], shape: Any, files: OpenFiles
) -> FileColumn:
    """One column: its type, and its arrays and buffers in each batch."""
    codes = dictionaries.codes_of(column.field)
    field = codes or column.field
    values = ragged_types.ragged_of(field, shape) or element_types.values_of(field, shape)
    place = places.get(column.numbers)
    if place is None:
        raise UnsupportedColumnError("stands behind a column of a type whose buffers cannot be told apart")
    words = _words(contents, column, files) if codes is None else None
    kind = element_types.storage_of(field.type if words is None else field.type.index_type)
    if place.end.views > place.begin.views and not ragged_types.is_view(kind):
        raise UnsupportedColumnError("holds views within a struct, which cannot be read in Arrow files")
    structs = [one.arrays for one in place.above]
    members: tuple[str, ...] = ()
    if any(batch.nulls[structs].any() for batch in contents.batches if len(batch.nulls) >= place.end.arrays):
        # A struct is null here and there, and its members with it: it is decoded as if this one were all that it holds.
        members = column.path[1:]
        for name in reversed(members):
            kind = pa.struct([pa.field(name, kind)])
    found = _batch_file(contents, place if members else replace(place, above=()), column.key, files)
    batches = replace(found, kind=serialized(kind), values=values, members=members, words=words)
    facts = ArrowColumnInfo(name=column.key, field=field, nulls=_nulls(contents, places, column, values), batches=batches)
    if isinstance(values, ArrowValues) and None in values.lists and shape is not None:
        known = element_types.with_lengths(values, first_lengths(facts, values, files), field.name)
        facts = replace(facts, batches=replace(batches, values=known))
    classes = () if codes is None else dictionaries.words_of(contents, column.numbers, column.field, files)
    if codes is not None:
        dictionaries.require_words(facts.batches, len(classes), column.key, files)
    return replace(_finished(facts, files), classes=classes)


def serialized(kind: Any) -> bytes:
    """A type as a schema of one field."""
    return pa.schema([pa.field("x", kind)]).serialize().to_pybytes()


def _words(contents: IpcContents, column: TableColumn, files: OpenFiles) -> NDArray[np.uint8] | None:
    """What the codes of a column stand for; None where it has none."""
    if not kinds.is_dictionary(element_types.leaf_of(column.field.type)):
        return None
    if not kinds.is_dictionary(element_types.storage_of(column.field.type)):
        raise UnsupportedColumnError("has a dictionary within lists, which cannot be read in Arrow files")
    return dictionaries.values_in(contents, column.numbers, column.field, files)


def _batch_file(contents: IpcContents, place: ColumnExtent, name: str, files: OpenFiles) -> BatchFile:
    """The arrays and buffers of a column in each batch, those of the structs above it first; type and values are filled in later."""
    batches, path = contents.batches, files.fingerprints[0].path
    begin, end = place.begin, place.end
    if any(
        len(batch.lengths) < end.arrays or len(batch.pieces) < end.views or len(batch.offsets) < end.buffer_in(batch) for batch in batches
    ):
        raise _contradicts(path, name, "a record batch has fewer arrays than the schema")
    arrays = [*(struct.arrays for struct in place.above), *range(begin.arrays, end.arrays)]
    buffers = [
        [*(struct.buffer_in(batch) for struct in place.above), *range(begin.buffer_in(batch), end.buffer_in(batch))] for batch in batches
    ]
    width = max(map(len, buffers), default=len(place.above) + end.buffers - begin.buffers)
    found = BatchFile(
        number=0,
        records=np.array([batch.records for batch in batches], np.int64),
        lengths=_stacked([batch.lengths[arrays] for batch in batches], len(arrays)),
        nulls=_stacked([batch.nulls[arrays] for batch in batches], len(arrays)),
        offsets=_stacked([batch.offsets[chosen] for batch, chosen in zip(batches, buffers, strict=True)], width),
        nbytes=_stacked([batch.nbytes[chosen] for batch, chosen in zip(batches, buffers, strict=True)], width),
        codecs=tuple(batch.codec for batch in batches),
        kind=b"",
        values=None,
        members=(),
    )
    if (found.lengths[:, 0] != found.records).any():
        raise _contradicts(path, name, "its lengths are not those of the record batches")
    return found


def _nulls(
    contents: IpcContents, places: Mapping[tuple[int, ...], ColumnExtent], column: TableColumn, values: ArrowValues | RaggedValues
) -> NullCounts:
    """Nulls as the batches count them: those of records, and those within."""
    place, counts = places[column.numbers], [batch.nulls for batch in contents.batches]
    if not counts:
        return NullCounts()
    own, whole = place.begin.arrays, [*(struct.arrays for struct in place.above), place.begin.arrays]
    if isinstance(values, RaggedValues) and values.member:
        own += ragged_planning.place_of(element_types.storage_of(column.field.type), (values.member,))[0]
        whole.append(own)
    within = range(own + 1, place.end.arrays) if not (isinstance(values, RaggedValues) and values.inner is None) else ()
    # A member is null where its struct is, as a rule, and a value where its list of fixed length is: these are counted twice.
    records = sum(max(int(one[at]) for at in whole) for one in counts)
    values_there = sum(int(one[at]) for one in counts for at in within)
    fixed = isinstance(values, ArrowValues) and kinds.is_fixed_size_list(column.field.type) and len(within) == 1
    return NullCounts(records, max(0, values_there - records * math.prod(values.shape)) if fixed else values_there)


def with_values(table: Table, name: str, values: ArrowValues | RaggedValues) -> FileColumn:
    """The column of a file with values in which no length is open any more."""
    files = OpenFiles([table.fingerprint])
    try:
        was = table.columns[name]
        facts = replace(was.detail, batches=replace(was.detail.batches, values=values))
        return replace(_finished(facts, files), classes=was.classes, attributes=was.attributes, note=was.note)
    finally:
        files.close()


def _finished(facts: ArrowColumnInfo, files: OpenFiles) -> FileColumn:
    """The column as a field of records."""
    values, field, dtype = facts.batches.values, facts.field, facts.batches.values.dtype.newbyteorder("=")
    if isinstance(values, RaggedValues):
        elements = ragged_planning.elements_of(values, facts.batches, files)
        return FileColumn(
            dtype=dtype,
            shape=values.shape,
            kind=f"{field.type}",
            detail=replace(facts, elements=elements),
            ragged=values.ragged,
            mean=float(elements.sum()) / max(1, int(facts.batches.records.sum())),
            nulls=facts.nulls,
        )
    kind = f"{field.type}" if not values.shape or values.plain else f"{field.type} as {values.dtype} {values.shape}"
    return FileColumn(dtype=dtype, shape=values.shape, kind=kind, detail=facts, nulls=facts.nulls)


def _contradicts(path: str, column: str, why: str) -> CorruptDataError:
    return damaged(f"{path}: column '{column}' cannot be read: {why}.", path=path, dataset=column)


def _stacked(arrays: Sequence[NDArray[np.int64]], width: int) -> NDArray[np.int64]:
    """One line a batch, filled up with noughts: empty buffers."""
    found = np.zeros((len(arrays), width), np.int64)
    for line, array in zip(found, arrays, strict=True):
        line[: len(array)] = array
    return found
