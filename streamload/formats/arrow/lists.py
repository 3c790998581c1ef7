"""How long lists are that Arrow files hold: all of them, as their offsets say, which is all that is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from streamload.formats.arrow.record_batches import BatchFile, RecordBatches, RecordBatchReader
from streamload.formats.arrow_types.element_types import ArrowValues
from streamload.formats.arrow_types.list_lengths import MOST_LENGTHS, ListLengths, OpenLists, decide
from streamload.formats.arrow_types.ragged_types import RaggedValues
from streamload.formats.tables.fields import FileColumn, Table
from streamload.schema import ARRAY, Field
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles


def with_lists(tables: Sequence[Table], finish: Callable[[Table, str, ArrowValues | RaggedValues], FileColumn]) -> list[Table]:
    """The same tables, in which each column of lists is either of arrays or ragged, in all files alike.

    `finish` makes values, in which no length is open, a column of a file.
    """

    def lists(stored: FileColumn) -> OpenLists | None:
        return lists_of(stored.detail.field, stored.detail.batches.values)

    def measured(name: str, numbers: Sequence[int]) -> ListLengths:
        return _measured([tables[at] for at in numbers], name)

    return decide(tables, lists, measured, lambda table, name, values, lengths: finish(table, name, values))


def lists_of(field: Any, values: ArrowValues | RaggedValues) -> OpenLists | None:
    """The column as one of lists; None where it is not."""
    inner = values.inner if isinstance(values, RaggedValues) else values
    return OpenLists(field=field, values=values) if inner is not None and inner.lists else None


def _measured(tables: Sequence[Table], name: str) -> ListLengths:
    """Lengths of the lists of a column in all batches of some files."""
    found: ListLengths | None = None
    for table in tables:
        files = OpenFiles([table.fingerprint])
        try:
            for lengths in lengths_in(table.columns[name].detail, files):
                found = lengths if found is None else found | lengths
                if found.settled:
                    return found
            files.verify()
        finally:
            files.close()
    if found is not None:
        return found
    lists = lists_of(tables[0].columns[name].detail.field, tables[0].columns[name].detail.batches.values)
    return ListLengths.nothing(0 if lists is None else lists.depth)


def lengths_in(facts: Any, files: OpenFiles) -> Iterator[ListLengths]:
    """Lengths of the lists of a column of one file, by batch."""
    lists = lists_of(facts.field, facts.batches.values)
    depth = 0 if lists is None else lists.depth
    for batch in np.flatnonzero(facts.batches.records).tolist():
        one = _alone(facts, batch)
        reader = RecordBatchReader(one, files, ReadStats())
        yield _by_offsets(one.parts[0], reader, depth) or ListLengths.of(reader.array(0), depth)


def _by_offsets(part: BatchFile, reader: RecordBatchReader, depth: int) -> ListLengths | None:
    """The lengths in a batch that has no nulls, nor values that no list is of; None in any other."""
    if part.nulls[0, :depth].any() or part.members:
        return None
    kind, buffer, met = reader.type_of(part), 0, list[frozenset[int]]()
    for level in range(depth):
        count, inner = part.lengths[0, level : level + 2].tolist()
        if kinds.is_fixed_size_list(kind):
            met.append(frozenset([kind.list_size] if count else []))
            buffer, kind = buffer + 1, kind.value_type
            continue
        data = reader.buffer(0, buffer + 1) if count else b""
        offsets = np.frombuffer(data, np.int64 if kinds.is_large_list(kind) else np.int32)[: count + 1]
        lengths = np.unique(np.diff(offsets))
        if count and (len(offsets) <= count or offsets[0] != 0 or offsets[-1] != inner or lengths[0] < 0):
            return None
        met.append(frozenset(lengths[:MOST_LENGTHS].tolist()))
        buffer, kind = buffer + 2, kind.value_type
    return ListLengths(met=tuple(met), records=int(part.records[0]))


def _alone(facts: Any, batch: int) -> RecordBatches:
    """The column in one of its batches."""
    names = ("records", "lengths", "nulls", "offsets", "nbytes", "codecs")
    one = replace(facts.batches, **{name: getattr(facts.batches, name)[batch : batch + 1] for name in names})
    field = Field(facts.name, one.values.dtype, (), ARRAY)
    return RecordBatches(field=field, column=facts.name, fill=None, parts=(one,), label="")


def first_lengths(facts: Any, values: ArrowValues, files: OpenFiles) -> tuple[int, ...]:
    """Lengths as the first record that has any shows them: the user says that all have these."""
    found = ListLengths.nothing(len(values.lists))
    for batch in np.flatnonzero(facts.batches.records).tolist():
        array = RecordBatchReader(_alone(facts, batch), files, ReadStats()).array(0)
        found |= ListLengths.of(array.slice(0, 1), len(values.lists))
        if all(found.met):
            break
    return found.known


def type_of(kind: bytes) -> Any:
    """The Arrow type that a schema of one field holds."""
    return pa.ipc.read_schema(pa.py_buffer(kind)).field(0).type
