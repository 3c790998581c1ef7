"""Planning of ragged columns in Arrow files: raw ones by offset, the others decoded by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds
from numpy.typing import NDArray

from streamload.formats.arrow.ipc_messages import BatchBuffers
from streamload.formats.arrow.ragged_record_batches import RaggedRecordBatches
from streamload.formats.arrow.record_batches import BatchFile, RecordBatches, RecordBatchReader
from streamload.formats.arrow_types import element_types
from streamload.formats.arrow_types.ragged_types import RaggedValues, is_view
from streamload.formats.columns.raw import RawRecords
from streamload.formats.columns.raw_ragged import RawRagged
from streamload.formats.tables.fields import TablePart
from streamload.formats.tables.table import read_exactly
from streamload.images.spark import HEADER
from streamload.schema import ARRAY, Field
from streamload.source import Lengths, ReadStats
from streamload.storage.files import Fingerprint, OpenFiles

VIEW_NBYTES = 12
"""Of text that a view holds itself, at most."""
LOOKED_AT = 256
"""Records that are measured when a field is planned."""


class RaggedExtent(NamedTuple):
    """What a column has in a record batch."""

    arrays: int
    buffers: int
    """Without those that columns of views have besides."""
    views: int
    """How many such columns there are in it: its own, or within it."""

    def __add__(self, more: RaggedExtent) -> RaggedExtent:  # pyright: ignore[reportIncompatibleMethodOverride]
        return RaggedExtent(self.arrays + more.arrays, self.buffers + more.buffers, self.views + more.views)

    def buffer_in(self, batch: BatchBuffers) -> int:
        """The buffer of a batch that comes after so many."""
        return self.buffers + int(batch.pieces[: self.views].sum())


def extent(kind: Any, *, unions: bool = True) -> RaggedExtent | None:
    """How many arrays and buffers a column of a type has in a record batch; None where that is not known, as of `unions` it may be."""
    kind = element_types.storage_of(kind)
    if kinds.is_null(kind):
        return RaggedExtent(1, 0, 0)
    if is_view(kind):
        return RaggedExtent(1, 2, 1)
    if kinds.is_dictionary(kind) or (kinds.is_primitive(kind) or kinds.is_decimal(kind) or kinds.is_fixed_size_binary(kind)):
        return RaggedExtent(1, 2, 0)
    if kinds.is_binary(kind) or kinds.is_string(kind) or kinds.is_large_binary(kind) or kinds.is_large_string(kind):
        return RaggedExtent(1, 3, 0)
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_map(kind):
        own = 2
    elif kinds.is_fixed_size_list(kind) or kinds.is_struct(kind):
        own = 1
    elif kinds.is_list_view(kind) or kinds.is_large_list_view(kind):
        own = 3
    elif kinds.is_union(kind) and unions:
        own = 2 if kind.mode == "dense" else 1
    elif kinds.is_run_end_encoded(kind):
        own = 0
    else:
        return None
    found = RaggedExtent(1, own, 0)
    for number in range(kind.num_fields):
        inner = extent(kind.field(number).type, unions=unions)
        if inner is None:
            return None
        found += inner
    return found


def place_of(kind: Any, names: Sequence[str]) -> tuple[int, int, Any]:
    """The array, the first buffer, and the type of what stands at the end of these names, in a column of a type."""
    array, buffer = 0, 0
    for name in names:
        kind = element_types.storage_of(kind)
        array, buffer = array + 1, buffer + 1
        for number in range(kind.get_field_index(name)):
            before = extent(kind.field(number).type) or RaggedExtent(0, 0, 0)
            array, buffer = array + before.arrays, buffer + before.buffers
        kind = kind.field(kind.get_field_index(name)).type
    return array, buffer, element_types.storage_of(kind)


def names_to(values: RaggedValues, batches: BatchFile) -> tuple[str, ...]:
    """The names that lead from the type of a column to its values."""
    return (*batches.members, values.member) if values.member else batches.members


def elements_of(values: RaggedValues, batches: BatchFile, files: OpenFiles) -> NDArray[np.int64]:
    """Elements of each batch: what the lengths of its arrays say, or the sizes of its buffers, unpacked."""
    whole = pa.ipc.read_schema(pa.py_buffer(batches.kind)).field(0).type
    array, buffer, kind = place_of(whole, names_to(values, batches))
    if is_view(kind):
        return _elements_in_views(batches, buffer + 2, files)
    if batches.words is not None:
        return _elements_of_words(values, batches, files)
    if values.ragged == ARRAY:
        # The list's own child has as many values as the lists together; each of them is an element.
        return batches.lengths[:, array + 1].copy()
    found = np.array([_unpacked(batches, batch, buffer + 2, files) for batch in range(len(batches.codecs))], np.int64)
    return found + HEADER.size * batches.records if values.spark else found


def _elements_in_views(batches: BatchFile, first: int, files: OpenFiles) -> NDArray[np.int64]:
    """Bytes of the text in each batch, roughly: what its buffers from `first` on hold, and what lies in the views themselves."""
    found = np.zeros(len(batches.records), np.int64)
    for batch in np.flatnonzero(batches.records).tolist():
        found[batch] = VIEW_NBYTES * batches.records[batch]
        for buffer in range(first, batches.offsets.shape[1]):
            found[batch] += _unpacked(batches, batch, buffer, files)
    return found


def _elements_of_words(values: RaggedValues, batches: BatchFile, files: OpenFiles) -> NDArray[np.int64]:
    """Bytes that the words of each batch come to."""
    found = np.zeros(len(batches.records), np.int64)
    column = RecordBatches(field=Field("", values.dtype, (), values.ragged), column="", fill=None, parts=(batches,), label="")
    reader = RecordBatchReader(column, files, ReadStats())
    for block, batch in enumerate(np.flatnonzero(batches.records).tolist()):
        array = reader.array(block)
        lengths = pc.call_function("binary_length", [array.dictionary]).to_numpy(zero_copy_only=False).astype(np.int64)
        found[batch] = lengths[array.indices.drop_null().to_numpy()].sum()
    return found


def _unpacked(batches: BatchFile, batch: int, buffer: int, files: OpenFiles) -> int:
    """Bytes of a buffer, unpacked as it claims."""
    stored = int(batches.nbytes[batch, buffer])
    if not batches.codecs[batch] or not stored:
        return stored
    head = bytes(read_exactly(files, batches.number, int(batches.offsets[batch, buffer]), min(8, stored)))
    claimed = int.from_bytes(head, "little", signed=True)
    return claimed if claimed >= 0 else stored - 8


def raw_ragged_of(field: Field, parts: Sequence[TablePart], elements: Sequence[NDArray[np.int64]]) -> RawRagged | None:
    """Ragged records by offset; None where they must be decoded."""
    runs: list[tuple[BatchFile, int, int, int, int]] = []
    for part in parts:
        facts = part.stored.detail
        kind = pa.ipc.read_schema(pa.py_buffer(facts.batches.kind)).field(0).type
        leaf = place_of(kind, names_to(facts.batches.values, facts.batches))[2]
        found = None if is_view(leaf) or facts.batches.words is not None else _raw(kind, facts.batches.values, facts.batches)
        if found is None or facts.batches.values.spark:
            return None
        runs.append((replace(facts.batches, number=part.number), *found))
    if len({width for *_, width in runs}) > 1:
        return None
    width = runs[0][4] if runs else 4
    some = [np.flatnonzero(batches.records) for batches, *_ in runs]
    counts = np.concatenate([batches.records[own] for (batches, *_), own in zip(runs, some, strict=True)] or [[]]).astype(np.int64)
    pairs = RawRecords(
        field=Field(field.name, np.dtype(f"i{width}"), (2,)),
        stored=np.dtype(f"<i{width}"),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        numbers=np.repeat([batches.number for batches, *_ in runs], [len(own) for own in some]).astype(np.int32),
        offsets=_joined([batches.offsets[own, at] for (batches, _, at, *_), own in zip(runs, some, strict=True)]),
        strides=np.full(len(counts), width, np.int64),
        blocks=True,
        label="",
    )
    most = int(counts.max(initial=0))
    return RawRagged(
        field=field,
        pairs=pairs,
        bases=_joined([batches.offsets[own, at] for (batches, _, _, at, _), own in zip(runs, some, strict=True)]),
        limits=_joined([one[own] for one, own in zip(elements, some, strict=True)]),
        lengths=Lengths(mean=0.0, deviation=0.0),
        label=f"raw batches of up to {most:,} records",
    )


def _raw(whole: Any, values: RaggedValues, batches: BatchFile) -> tuple[int, int, int, int] | None:
    """The array, the buffers of offsets and of elements, and the bytes of an offset, where records are raw; None where not."""
    names = names_to(values, batches)
    array, buffer, kind = place_of(whole, names)
    if kinds.is_fixed_size_list(kind):
        return None
    last, data = array, buffer + 2
    if values.inner is not None:
        inner = kind.value_type
        last, data = array + 1, buffer + 3
        while kinds.is_fixed_size_list(inner):
            inner, last, data = inner.value_type, last + 1, data + 1
        if not values.inner.raw or values.inner.permutation or str(inner) != values.inner.raw or None in values.inner.lists:
            return None
    wide = kinds.is_large_list(kind) or kinds.is_large_string(kind) or kinds.is_large_binary(kind)
    width = 8 if wide else 4
    # Where there are members, the structs above them come first, and must not be null either.
    holding = [*(place_of(whole, names[:depth])[0] for depth in range(len(names))), *range(array, last + 1)]
    if batches.nulls[:, holding].any() or any(batches.codecs) or (batches.lengths[:, array] != batches.records).any():
        return None
    if (batches.nbytes[:, buffer + 1] < (batches.records + 1) * width * (batches.records > 0)).any():
        return None
    if values.inner is not None:
        nbytes = batches.lengths[:, array + 1] * values.dtype.itemsize * math.prod(values.shape)
        if (batches.nbytes[:, data] < nbytes).any():
            return None
    return array, buffer + 1, data, width


def _joined(arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, np.int64), *arrays]).astype(np.int64)


def measured(column: RawRagged | RaggedRecordBatches, fingerprints: Sequence[Fingerprint]) -> RawRagged | RaggedRecordBatches:
    """The same with the lengths of records: the mean of all, and the spread of some that lie evenly in each of three batches."""
    cuts, block_elements = column.cuts, column.block_elements
    assert cuts is not None
    assert block_elements is not None
    if len(cuts) < 2:
        return column
    blocks = sorted({0, (len(cuts) - 1) // 2, len(cuts) - 2})
    chosen = [np.unique(np.linspace(cuts[block], cuts[block + 1] - 1, LOOKED_AT).astype(np.int64)) for block in blocks]
    files = OpenFiles(fingerprints)
    reader = (column.filled() if isinstance(column, RaggedRecordBatches) else column).reader(files, ReadStats())
    try:
        found = Lengths.of(np.concatenate([reader.lengths(records) for records in chosen]))
        files.verify()
    finally:
        reader.close()
        files.close()
    return replace(column, lengths=Lengths(mean=float(block_elements.sum()) / int(cuts[-1]), deviation=found.deviation))


def decoded(rows: RecordBatches, elements: Sequence[NDArray[np.int64]]) -> RaggedRecordBatches:
    """Ragged records whose batches must be decoded; their lengths are still to be measured."""
    block_elements = _joined([own[part.records > 0] for own, part in zip(elements, rows.parts, strict=True)])
    return RaggedRecordBatches(rows=rows, lengths=Lengths(mean=0.0, deviation=0.0), block_elements=block_elements)
