"""A source out of Arrow IPC files: each column's buffers found, raw ones read by offset, the others decoded by batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, UnsupportedFeatureError
from streamload.formats import arrow_ragged_types, arrow_types
from streamload.formats.arrow import dictionaries, ragged_planning
from streamload.formats.arrow.flatbuffers import FlatError
from streamload.formats.arrow.ipc_messages import IpcContents, MessageError, read_contents
from streamload.formats.arrow.lists import first_lengths, type_of, with_lists
from streamload.formats.arrow.ragged_planning import RaggedExtent
from streamload.formats.arrow.ragged_record_batches import RaggedRecordBatches
from streamload.formats.arrow.record_batches import LARGEST_BATCH_NBYTES, BatchFile, RecordBatches
from streamload.formats.arrow_ragged_types import RaggedValues
from streamload.formats.arrow_types import ArrowValues, SkippedColumnError, UnsupportedColumnError
from streamload.formats.nulls import NullCounts
from streamload.formats.table import RawRuns, assemble, extents_of
from streamload.formats.table_fields import Fields, Part, Stored, Table, refuse_unknown_columns
from streamload.schema import Field
from streamload.sizes import format_nbytes
from streamload.source import Column, Source
from streamload.storage.files import OpenFiles, fingerprint

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArrowColumnInfo:
    """What is known of one column of one file."""

    name: str
    field: Any
    """As pyarrow has it."""
    batches: BatchFile
    """Its buffers and type; the number of the file is filled in later. Its values have None for the lengths of lists, as long
    as nobody has looked."""
    elements: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each batch, where the column is ragged."""


def plan_files(paths: Sequence[str], fields: Fields | None, *, shapes: Shapes, fill: Any) -> Source:
    """A source over Arrow IPC files or streams of one schema."""
    wanted = None if fields is None else frozenset(fields.values() if isinstance(fields, Mapping) else fields)
    tables = with_lists([_table(path, wanted, shapes) for path in paths], _with_values)
    refuse_unknown_columns(tables[0], shapes, "shapes")
    refuse_unknown_columns(tables[0], fill, "fill")

    def ragged_of(field: Field, parts: Sequence[Part], facts: Sequence[ArrowColumnInfo], stands: Any) -> Column:
        elements = [fact.elements for fact in facts]
        column = ragged_planning.raw_ragged_of(field, parts, elements)
        if column is None:
            column = ragged_planning.decoded(rows_of(field, parts, facts, stands), elements)
        return ragged_planning.measured(column, [table.fingerprint for table in tables])

    def column_of(field: Field, parts: Sequence[Part], stands: Any) -> Column:
        facts: list[ArrowColumnInfo] = [part.stored.detail for part in parts]
        if field.ragged:
            return ragged_of(field, parts, facts, stands)
        runs = [_runs(field, fact) for fact in facts]
        raw = [one for one in runs if one is not None]
        if len(raw) == len(runs):
            most = max((int(fact.batches.records.max(initial=0)) for fact in facts), default=0)
            return extents_of(field, parts, raw, blocks=True, label=f"raw batches of up to {most:,} records")
        return rows_of(field, parts, facts, stands)

    def rows_of(field: Field, parts: Sequence[Part], facts: Sequence[ArrowColumnInfo], filled: Any) -> RecordBatches:
        for part, fact in zip(parts, facts, strict=True):
            _refuse_oversized(tables[part.number].path, fact, field)
        codecs = dict.fromkeys(codec or "no codec" for fact in facts for codec in fact.batches.codecs)
        most = max(int(fact.batches.records.max(initial=0)) for fact in facts)
        return RecordBatches(
            field=field,
            column=facts[0].name,
            fill=filled,
            parts=tuple(replace(fact.batches, number=part.number) for part, fact in zip(parts, facts, strict=True)),
            label=f"batches of up to {most:,} records, {' or '.join(codecs)}, decoded by pyarrow",
        )

    def nullable(column: Column) -> bool:
        return isinstance(column, (RecordBatches, RaggedRecordBatches))

    return assemble("Arrow", tables, fields, column_of, fill=fill, nullable=nullable)


def _table(path: str, wanted: frozenset[str] | None, shapes: Shapes) -> Table:
    was = fingerprint(path)
    files = OpenFiles([was])
    try:
        contents = read_contents(files)
        schema = pa.ipc.read_schema(pa.py_buffer(contents.schema))
        names = [field.name for field in schema]
    except (MessageError, FlatError, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, CorruptDataError):
            raise
        files.verify()
        raise CorruptDataError(
            f"{path} cannot be read as Arrow: {error}.", hint="The file is damaged or was cut short; fetch or write it again.", path=path
        ) from error
    finally:
        files.close()
    if not contents.little:
        raise UnsupportedFeatureError(f"{path} holds big-endian numbers.", hint="Write it anew on a little-endian machine.", path=path)
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise UnsupportedFeatureError(f"{path} holds two columns called '{twice}'.", hint="Rename one of them.", path=path, dataset=twice)
    classes = arrow_types.classes_in(schema)
    columns: dict[str, Stored] = {}
    aside: dict[str, str] = {}
    refused: dict[str, str] = {}
    at: RaggedExtent | None = RaggedExtent(0, 0, 0)
    for column, field in enumerate(schema):
        size = ragged_planning.extent(field.type, unions=contents.unions)
        begin, at = at, None if at is None or size is None else at + size
        if wanted is not None and field.name not in wanted:
            aside[field.name] = "was not asked for"
            continue
        try:
            stored = _stored(path, dictionaries.codes_of(field) or field, contents, column, begin, at, shapes.get(field.name), was)
            words = classes.get(field.name, ()) if dictionaries.codes_of(field) is None else _words(contents, column, field, was)
            columns[field.name] = replace(stored, classes=words, note=arrow_types.note_of(field))
        except UnsupportedColumnError as error:
            refused[field.name] = error.why
        except SkippedColumnError as error:
            aside[field.name] = error.why
    records = sum(batch.records for batch in contents.batches)
    return Table(path=path, fingerprint=was, records=records, columns=columns, aside=aside, refused=refused)


def _words(contents: IpcContents, column: int, field: Any, was: Any) -> tuple[str, ...]:
    files = OpenFiles([was])
    try:
        return dictionaries.words_of(contents, column, field, files)
    except (MessageError, FlatError) as error:
        files.verify()
        raise _contradicts(was.path, field.name, str(error)) from error
    finally:
        files.close()


def _numbers(contents: IpcContents, column: int, field: Any, values: ArrowValues | RaggedValues, was: Any) -> NDArray[np.generic] | None:
    """The numbers in the dictionary of a column; None where it has none."""
    if not kinds.is_dictionary(arrow_types.leaf_of(field.type)):
        return None
    if isinstance(values, RaggedValues) or values.lists or values.binary:
        raise UnsupportedColumnError("has a dictionary of bytes or of lists, or one within lists, which cannot be read in Arrow files")
    files = OpenFiles([was])
    try:
        return dictionaries.numbers_of(contents, column, field, values, files)
    except (MessageError, FlatError) as error:
        files.verify()
        raise _contradicts(was.path, field.name, str(error)) from error
    finally:
        files.close()


def _stored(
    path: str, field: Any, contents: IpcContents, column: int, begin: RaggedExtent | None, end: RaggedExtent | None, shape: Any, was: Any
) -> Stored:
    """One column: its type, and its arrays and buffers, which are those from `begin` to `end` of each batch."""
    values = arrow_ragged_types.ragged_of(field, shape) or arrow_types.values_of(field, shape)
    if begin is None or end is None:
        raise UnsupportedColumnError("stands behind a column of a type whose buffers cannot be told apart")
    if end.views > begin.views and not arrow_ragged_types.is_view(arrow_types.storage_of(field.type)):
        raise UnsupportedColumnError("holds views within a struct, which cannot be read in Arrow files")
    words = _numbers(contents, column, field, values, was)
    stored = arrow_types.storage_of(field.type) if words is None else field.type.index_type
    batches = contents.batches
    cuts = [(begin.buffer_in(batch), end.buffer_in(batch)) for batch in batches]
    if any(
        len(batch.lengths) < end.arrays or len(batch.offsets) < stop or len(batch.pieces) < end.views
        for batch, (_, stop) in zip(batches, cuts, strict=True)
    ):
        raise _contradicts(path, field.name, "a record batch has fewer arrays than the schema")
    width = max((stop - start for start, stop in cuts), default=end.buffers - begin.buffers)
    facts = ArrowColumnInfo(
        name=field.name,
        field=field,
        batches=BatchFile(
            number=0,
            records=np.array([batch.records for batch in batches], np.int64),
            lengths=_stacked([batch.lengths[begin.arrays : end.arrays] for batch in batches], end.arrays - begin.arrays),
            nulls=_stacked([batch.nulls[begin.arrays : end.arrays] for batch in batches], end.arrays - begin.arrays),
            offsets=_stacked([batch.offsets[start:stop] for batch, (start, stop) in zip(batches, cuts, strict=True)], width),
            nbytes=_stacked([batch.nbytes[start:stop] for batch, (start, stop) in zip(batches, cuts, strict=True)], width),
            codecs=tuple(batch.codec for batch in batches),
            kind=pa.schema([pa.field("x", stored)]).serialize().to_pybytes(),
            values=values,
            words=words,
        ),
    )
    if (facts.batches.lengths[:, 0] != facts.batches.records).any():
        raise _contradicts(path, field.name, "its lengths are not those of the record batches")
    files = OpenFiles([was])
    try:
        if isinstance(values, ArrowValues) and None in values.lists and shape is not None:
            known = arrow_types.with_lengths(values, first_lengths(facts, values, files), field.name)
            facts = replace(facts, batches=replace(facts.batches, values=known))
        return _finished(facts, files)
    finally:
        files.close()


def _with_values(table: Table, name: str, values: ArrowValues | RaggedValues) -> Stored:
    """The column of a file with values in which no length is open any more."""
    files = OpenFiles([table.fingerprint])
    try:
        was = table.columns[name]
        facts = replace(was.detail, batches=replace(was.detail.batches, values=values))
        return replace(_finished(facts, files), classes=was.classes, note=was.note)
    finally:
        files.close()


def _finished(facts: ArrowColumnInfo, files: OpenFiles) -> Stored:
    """The column as a field of records."""
    values, field = facts.batches.values, facts.field
    dtype, nulls = values.dtype.newbyteorder("="), _nulls(facts.batches)
    if isinstance(values, RaggedValues):
        elements = ragged_planning.elements_of(arrow_types.storage_of(field.type), values, facts.batches, files)
        mean = float(elements.sum()) / max(1, int(facts.batches.records.sum()))
        detail = replace(facts, elements=elements)
        return Stored(dtype=dtype, shape=values.shape, kind=f"{field.type}", detail=detail, ragged=values.ragged, mean=mean, nulls=nulls)
    kind = f"{field.type}" if not values.shape or values.plain else f"{field.type} as {values.dtype} {values.shape}"
    return Stored(dtype=dtype, shape=values.shape, kind=kind, detail=facts, nulls=nulls)


def _nulls(batches: BatchFile) -> NullCounts:
    """Nulls as the batches count them: those of records, and those within."""
    counts = batches.nulls.sum(axis=0).tolist()
    return NullCounts(counts[0], sum(counts[1:])) if counts else NullCounts()


def _contradicts(path: str, column: str, why: str) -> CorruptDataError:
    return CorruptDataError(
        f"{path}: column '{column}' is damaged: {why}.", hint="Fetch or write the file again.", path=path, dataset=column
    )


def _stacked(arrays: Sequence[NDArray[np.int64]], width: int) -> NDArray[np.int64]:
    """One line a batch, filled up with noughts: empty buffers."""
    found = np.zeros((len(arrays), width), np.int64)
    for line, array in zip(found, arrays, strict=True):
        line[: len(array)] = array
    return found


def _runs(field: Field, facts: ArrowColumnInfo) -> RawRuns | None:
    """Where the records lie if they are raw: fixed-size values without nulls, uncompressed, in place."""
    values, batches = cast(ArrowValues, facts.batches.values), facts.batches
    kind = type_of(batches.kind)
    fixed = 0
    while kinds.is_fixed_size_list(kind):
        kind, fixed = kind.value_type, fixed + 1
    if fixed != len(values.lists) or not values.raw or values.permutation or batches.nulls.any() or any(batches.codecs):
        return None
    whole = math.prod(length or 0 for length in values.lists) * batches.records
    if (batches.lengths[:, -1] != whole).any() or (batches.nbytes[:, -1] < batches.records * field.nbytes).any():
        return None
    some = np.flatnonzero(batches.records)
    return RawRuns(
        firsts=(np.cumsum(batches.records) - batches.records)[some],
        offsets=batches.offsets[some, -1],
        stride=field.nbytes,
        dtype=values.dtype.newbyteorder("<"),
    )


def _refuse_oversized(path: str, facts: ArrowColumnInfo, field: Field) -> None:
    most = int(facts.batches.records.max(initial=0))
    nbytes = field.nbytes * (int(facts.elements.max(initial=0)) if field.ragged else most)
    if nbytes > LARGEST_BATCH_NBYTES:
        raise UnsupportedFeatureError(
            f"{path}: a record batch of column '{facts.name}' has {most:,} records, {format_nbytes(nbytes)} decoded; "
            f"the limit is {format_nbytes(LARGEST_BATCH_NBYTES)}.",
            hint="Rewrite it in smaller batches: max_chunksize= of the method write_table of pyarrow.ipc.new_file(...).",
            path=path,
            dataset=facts.name,
        )
