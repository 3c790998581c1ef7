"""How much row groups of strings, bytes and lists hold: as the footers say, or measured, where values are packed in ways that hide it.

Two things are known of each: `block_elements`, by which records are put in order, are a function of the footer and of a few records,
and never change; what there must be room for is counted, or measured by decoding once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamload.formats.arrow_types.ragged_types import to_ragged
from streamload.formats.parquet.metadata import ParquetColumnInfo
from streamload.formats.parquet.ragged_row_groups import RaggedRowGroups
from streamload.formats.parquet.row_groups import STRETCH_NBYTES, RowGroupReader, RowGroups
from streamload.schema import ARRAY
from streamload.source import Lengths, Measured, ReadStats
from streamload.storage.files import Fingerprint, OpenFiles

LOOKED_AT = 64
"""Records of a row group that are measured when a ragged field is planned."""
LOOKED_NBYTES = 8 * 1024**2
"""Decoded bytes of a row group after which no more records of it are measured: large ones are alike enough."""
DICTIONARY_SLACK = 1.25
"""What a row group of values in a dictionary is given above what some of its records tell."""
MEASURED_NBYTES = 256 * 1024**2
"""Decoded bytes of a column up to which row groups are measured one by one: the others are taken to be like these."""
FEW = 8
"""Records that are decoded together as long as nothing is known of their size."""


def ragged_groups(rows: RowGroups, facts: Sequence[ParquetColumnInfo], fingerprints: Sequence[Fingerprint]) -> RaggedRowGroups:
    """Row groups of records that differ in length, and how much they hold."""
    some = _some_lengths(rows, facts, fingerprints)
    groups = _joined([fact.groups for fact in facts])
    counts, unpacked = (_joined(arrays)[groups > 0] for arrays in ([f.counts for f in facts], [f.unpacked for f in facts]))
    groups = groups[groups > 0]
    records = max(1, int(groups.sum()))
    if rows.field.ragged == ARRAY:
        block_elements = counts // max(1, math.prod(facts[0].values.shape if facts else ()))
        return RaggedRowGroups(
            rows=rows, lengths=Lengths(mean=float(block_elements.sum()) / records, deviation=some.deviation), block_elements=block_elements
        )
    # Each value is stored behind its length, of four bytes, unless it is in a dictionary.
    block_elements = np.maximum(unpacked - 4 * counts, 0)
    lengths = Lengths(mean=float(block_elements.sum()) / records, deviation=some.deviation)
    if any(fact.dictionary for fact in facts):
        lengths = some
        block_elements = np.maximum(
            block_elements, np.ceil(groups * some.mean * DICTIONARY_SLACK + 4 * np.sqrt(groups) * some.deviation).astype(np.int64)
        )
    found = RaggedRowGroups(rows=rows, lengths=lengths, block_elements=block_elements)
    if all(fact.plain for fact in facts):
        return found
    counted = _joined([fact.text_nbytes for fact in facts])
    counted = counted[_joined([fact.groups for fact in facts]) > 0]
    if (counted < 0).any():
        counted = _measured(rows, np.where(counted < 0, -1, counted), block_elements, fingerprints)
    real = Lengths(mean=float(counted.sum()) / records, deviation=some.deviation)
    return RaggedRowGroups(rows=rows, lengths=lengths, block_elements=block_elements, measured=Measured(elements=counted, lengths=real))


def _joined(arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, np.int64), *arrays]).astype(np.int64)


def _some_lengths(rows: RowGroups, facts: Sequence[ParquetColumnInfo], fingerprints: Sequence[Fingerprint]) -> Lengths:
    """How long some records are: the first ones of the first row group, of the one in the middle, and of the last."""
    cuts = rows.cuts
    assert cuts is not None
    files, found = OpenFiles(fingerprints), [np.zeros(0, np.int64)]
    reader = RowGroupReader(rows, files, ReadStats())
    nbytes = sum(int(fact.unpacked.sum()) for fact in facts) / max(1, int(cuts[-1]))
    step = LOOKED_AT if all(fact.plain for fact in facts) else FEW
    step = max(1, min(step, int(STRETCH_NBYTES / max(1.0, nbytes))))
    # Of values in dictionaries the order depends on what is found here: always by as many records.
    most = math.inf if any(fact.dictionary for fact in facts) else LOOKED_NBYTES / max(1, rows.field.nbytes)
    try:
        for block in sorted({0, (len(cuts) - 1) // 2, len(cuts) - 2}) if len(cuts) > 1 else ():
            reader.require_file(block)
            read = 0
            for first, lengths, _ in reader.stretches(block, step, _lengths_of):
                found.append(lengths[: LOOKED_AT - first])
                if first + len(lengths) >= LOOKED_AT or (read := read + int(lengths.sum())) >= most:
                    break
        files.verify()
    finally:
        reader.close()
        files.close()
    return Lengths.of(np.concatenate(found))


def _lengths_of(array: object, values: object, fill: object) -> NDArray[np.int64]:
    """Elements of each record; the elements themselves are let go of."""
    return np.diff(to_ragged(array, values, fill)[1])  # pyright: ignore[reportArgumentType]


def _measured(
    rows: RowGroups, counted: NDArray[np.int64], block_elements: NDArray[np.int64], fingerprints: Sequence[Fingerprint]
) -> NDArray[np.int64]:
    """Elements of each row group: as `counted`, where that is not negative, else decoded, as many of them as can be in a moment."""
    cuts = rows.cuts
    assert cuts is not None
    sizes, found, left = np.diff(cuts), counted.copy(), MEASURED_NBYTES
    files = OpenFiles(fingerprints)
    reader = RowGroupReader(rows, files, ReadStats())
    longest = 0.0
    try:
        for block in _spread(np.flatnonzero(counted < 0)):
            if left <= 0:
                break
            found[block] = _elements(reader, block, longest)
            longest = max(longest, found[block] / sizes[block])
            left -= int(found[block])
        files.verify()
    finally:
        reader.close()
        files.close()
    unknown = found < 0
    guessed = np.ceil(sizes * longest * DICTIONARY_SLACK).astype(np.int64)
    found[unknown] = np.maximum(block_elements, guessed)[unknown]
    return found


def _spread(blocks: NDArray[np.intp]) -> list[int]:
    """Blocks such that any number of the first ones lies evenly over all."""
    count = len(blocks)
    bits = max(1, count - 1).bit_length()
    turned = [int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits)]
    return [int(blocks[number]) for number in turned if number < count]


def _elements(reader: RowGroupReader, block: int, mean: float) -> int:
    """Elements of a row group, decoded in stretches of the right size, which is found with the first records if `mean` is not known."""
    reader.require_file(block)
    if not mean:
        for _, lengths, _ in reader.stretches(block, FEW, _lengths_of):
            mean = float(lengths.mean())
            break
    step = max(1, int(STRETCH_NBYTES / max(1.0, mean)))
    return sum(int(lengths.sum()) for _, lengths, _ in reader.stretches(block, step, _lengths_of))
