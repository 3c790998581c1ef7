"""How long lists are that Parquet files hold: looked at in all records, or in as many as can be read in a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamload.formats.arrow_types.element_types import ArrowValues
from streamload.formats.arrow_types.list_lengths import ListLengths, OpenLists, decide
from streamload.formats.arrow_types.ragged_types import RaggedValues
from streamload.formats.parquet.metadata import ParquetColumnInfo, group_file, stored_of
from streamload.formats.parquet.row_groups import STRETCH_NBYTES, RowGroupReader, RowGroups
from streamload.formats.tables.fields import FileColumn, Table
from streamload.schema import ARRAY, Field
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles

LOOKED_NBYTES = 256 * 1024**2
"""Of a column, uncompressed, in all files together, that are looked at to find how long its lists are: about a second."""


def with_lists(tables: Sequence[Table]) -> list[Table]:
    """The same tables, in which each column of lists is either of arrays or ragged, in all files alike."""

    def lists(stored: FileColumn) -> OpenLists | None:
        values = stored.detail.values
        inner = values.inner if isinstance(values, RaggedValues) else values
        return OpenLists(field=stored.detail.field, values=values) if inner is not None and inner.lists else None

    def finish(table: Table, name: str, values: ArrowValues | RaggedValues, lengths: ListLengths) -> FileColumn:
        was = table.columns[name]
        stored = replace(stored_of(replace(was.detail, values=values), table.records, was.classes), attributes=was.attributes)
        records = sum(one.records for one in tables)
        if stored.ragged or lengths.records >= records:
            return stored
        note = (
            f"holds lists of {lengths.known[0]:,} values in all of {lengths.records:,} records that were looked at, of {records:,}; "
            f"if others differ, say so: shapes={{{name!r}: (None,)}}"
        )
        return replace(stored, note=f"{stored.note}; {note}" if stored.note else note)

    return decide(tables, lists, lambda name, numbers: _measured(tables, name, numbers), finish)


def _measured(tables: Sequence[Table], name: str, numbers: Sequence[int]) -> ListLengths:
    """Lengths of the lists of a column, in the row groups where they are likely to differ first."""
    files = [tables[at] for at in numbers]
    facts: list[ParquetColumnInfo] = [table.columns[name].detail for table in files]
    values = facts[0].values
    inner = values.inner if isinstance(values, RaggedValues) else values
    depth = (len(inner.lists) if inner is not None else 0) + isinstance(values, RaggedValues)
    rows = RowGroups(
        field=Field(name, values.dtype, (), ARRAY),
        column=facts[0].name,
        fill=None,
        parts=tuple(group_file(fact, at) for at, fact in enumerate(facts)),
        largest_page_nbytes=0,
        label="",
    )
    groups = np.concatenate([fact.groups for fact in facts])
    counts, unpacked = (np.concatenate(arrays)[groups > 0] for arrays in ([f.counts for f in facts], [f.unpacked for f in facts]))
    groups = groups[groups > 0]
    met, opened = ListLengths.nothing(depth), OpenFiles([table.fingerprint for table in files])
    reader = RowGroupReader(rows, opened, ReadStats())
    try:
        blocks, most = _order_of(groups, counts, unpacked)
        for block in blocks:
            met |= _in_group(reader, block, depth, int(groups[block]), float(unpacked[block]), most, met)
            if met.settled:
                break
        opened.verify()
    finally:
        reader.close()
        opened.close()
    return met


def _order_of(groups: NDArray[np.int64], counts: NDArray[np.int64], unpacked: NDArray[np.int64]) -> tuple[list[int], float]:
    """Row groups in the order in which they are looked at, and how many bytes of each."""
    if not len(groups):
        return [], 0.0
    # One that has more or fewer values for its records holds lists of other lengths, unless it is for nulls.
    odd = np.flatnonzero(counts * groups[0] != counts[0] * groups)[:1].tolist()
    odd += np.flatnonzero(counts % groups)[:1].tolist()
    total = float(unpacked.sum())
    if total <= LOOKED_NBYTES:
        return list(dict.fromkeys([*odd, *range(len(groups))])), total
    some = np.linspace(0, len(groups) - 1, max(3, int(len(groups) * LOOKED_NBYTES / total)))
    blocks = list(dict.fromkeys([*odd, *some.astype(int).tolist()]))
    return blocks, LOOKED_NBYTES / len(blocks)


def _in_group(reader: RowGroupReader, block: int, depth: int, records: int, nbytes: float, most: float, met: ListLengths) -> ListLengths:
    """Lengths in a row group, or in as much of it as `most` bytes hold; no more than is needed to settle what was `met`."""
    step = max(1, int(records * min(1.0, STRETCH_NBYTES / max(1.0, nbytes))))
    found = ListLengths.nothing(depth)
    reader.require_file(block)
    for first, lengths, _ in reader.stretches(block, step, lambda array, values, fill: ListLengths.of(array, depth)):
        found |= lengths
        if (met | found).settled or (first + lengths.records) * nbytes > most * records:
            break
    return found
