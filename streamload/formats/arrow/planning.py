"""A source out of Arrow IPC files: each column's buffers found, raw ones read by offset, the others decoded by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow.types as kinds

from streamload.errors import UnsupportedFeatureError
from streamload.formats.arrow import ragged_planning
from streamload.formats.arrow.lists import type_of, with_lists
from streamload.formats.arrow.metadata import ArrowColumnInfo, Shapes, read_metadata, with_values
from streamload.formats.arrow.ragged_record_batches import RaggedRecordBatches
from streamload.formats.arrow.record_batches import LARGEST_BATCH_NBYTES, RecordBatches
from streamload.formats.arrow_types.element_types import ArrowValues
from streamload.formats.naming.field_names import Fields
from streamload.formats.tables.fields import TablePart, WantedColumns, refuse_unknown_columns
from streamload.formats.tables.table import RawRuns, assemble, raw_records_of
from streamload.schema import Field
from streamload.sizes import format_nbytes
from streamload.source import Column, Source


def plan_files(paths: Sequence[str], fields: Fields | None, *, shapes: Shapes, fill: Any) -> Source:
    """A source over Arrow IPC files or streams of one schema."""
    wanted = WantedColumns(fields)
    tables = with_lists([read_metadata(path, wanted, shapes) for path in paths], with_values)
    refuse_unknown_columns(tables[0], shapes, "shapes")
    refuse_unknown_columns(tables[0], fill, "fill", fields)

    def ragged_of(field: Field, parts: Sequence[TablePart], facts: Sequence[ArrowColumnInfo], stands: Any) -> Column:
        elements = [fact.elements for fact in facts]
        column = ragged_planning.raw_ragged_of(field, parts, elements)
        if column is None:
            column = ragged_planning.decoded(rows_of(field, parts, facts, stands), elements)
        return ragged_planning.measured(column, [table.fingerprint for table in tables])

    def column_of(field: Field, parts: Sequence[TablePart], stands: Any) -> Column:
        facts: list[ArrowColumnInfo] = [part.stored.detail for part in parts]
        if field.ragged:
            return ragged_of(field, parts, facts, stands)
        runs = [_runs(field, fact) for fact in facts]
        raw = [one for one in runs if one is not None]
        if len(raw) == len(runs):
            most = max((int(fact.batches.records.max(initial=0)) for fact in facts), default=0)
            return raw_records_of(field, parts, raw, blocks=True, label=f"raw batches of up to {most:,} records")
        return rows_of(field, parts, facts, stands)

    def rows_of(field: Field, parts: Sequence[TablePart], facts: Sequence[ArrowColumnInfo], filled: Any) -> RecordBatches:
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


def _runs(field: Field, facts: ArrowColumnInfo) -> RawRuns | None:
    """Where the records lie if they are raw: fixed-size values without nulls, uncompressed, in place."""
    values, batches = cast(ArrowValues, facts.batches.values), facts.batches
    if batches.members or batches.words is not None:
        return None
    kind, fixed = type_of(batches.kind), 0
    while kinds.is_fixed_size_list(kind):
        kind, fixed = kind.value_type, fixed + 1
    if (
        batches.members
        or batches.words is not None
        or fixed != len(values.lists)
        or not values.raw
        or values.permutation
        or batches.nulls.any()
        or any(batches.codecs)
    ):
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
