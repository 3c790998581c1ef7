"""How labels lie in the data: whether blocks of it must be mixed with care, or look like the whole already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.order import BlockOrder, LanedOrder, window_advice
from streamload.source import Source

MOST_LABELS = 1_000_000
LEAST_OF_A_LABEL = 4
"""Records on average. Two or three of one value belong together, and say no class: however they lie, a window sees a third of the
values at least that it would see in random order."""
STRETCHES = 64
"""Stretches of the data that are looked at."""
LEAST_STRETCH = 256
"""Records of one: blocks may be too small to tell anything."""
MIXED = 0.9
"""Share of the labels that random order would show in a stretch, from which on the data counts as mixed."""


def mixing_advice(data: Source, whole: LanedOrder) -> str | None:
    """What the user should hear of a block order whose windows hold few blocks; None where they are enough.

    They are enough, too, where the stored order is mixed already as far as labels tell.
    """
    blocks = whole.blocks_per_window
    if blocks is None:
        return None
    labels = labels_of(data)
    distinct = int(np.count_nonzero(np.bincount(labels))) if labels is not None else None
    if distinct is not None and len(data) < LEAST_OF_A_LABEL * distinct:
        distinct = None  # They tell how the data lies; but of so many values no window can be asked to show a share.
    first = whole.lanes[0]
    advice = first.advice(distinct) if isinstance(first, BlockOrder) and len(whole.lanes) == 1 else window_advice(blocks, distinct)
    mixed = labels is not None and isinstance(first, BlockOrder) and len(whole.lanes) == 1 and are_mixed(labels, first)
    return None if advice is None or mixed else advice


def labels_of(data: Source) -> NDArray[np.int64] | None:
    """The labels of all records, counted from 0, shape (records,): the first whole-number field held in memory that may be one.

    A field with nearly as many values as records numbers them, and is no label.
    """
    for column in data.columns:
        field, held = column.field, column.held
        if held is None or field.ragged or field.shape != () or field.dtype.kind not in "iu" or not len(held):
            continue
        values = np.asarray(held)
        low, high = int(values.min()), int(values.max())
        if not 0 < high - low < min(MOST_LABELS, len(values)):
            continue
        labels = values.astype(np.int64) - low
        if 2 * np.count_nonzero(np.bincount(labels)) <= len(labels):
            return labels
    return None


def are_mixed(labels: NDArray[np.int64], order: BlockOrder) -> bool:
    """Whether stretches of the stored order show nearly as many labels as if that order were random."""
    n = order.n
    length = min(n, max(LEAST_STRETCH, int(np.diff(order.cuts).max(initial=0))))
    shares = np.bincount(labels[order.layout.records(np.arange(n, dtype=np.int64))]) / n
    expected = float((1 - (1 - shares) ** length).sum())
    starts = np.linspace(0, n - length, STRETCHES).astype(np.int64)
    found = [len(np.unique(labels[order.layout.records(np.arange(start, start + length))])) for start in starts.tolist()]
    return length < n and float(np.mean(found)) >= MIXED * expected
