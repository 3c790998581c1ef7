"""Orders: the record numbers of a batch, and the tables of an epoch, beside counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.conftest import Measure
from streamload.order import Block, Exact, Sequential, layout_of

BATCH = 256
CHUNK = 64


def bound(spec: Any, records: int) -> Any:
    """An order of small records in chunks."""
    cuts = np.arange(0, records + 1, CHUNK) if isinstance(spec, Block) else None
    layout = layout_of(np.array([0, records]), cuts=cuts, record_nbytes=3_072, addressable=True)
    return spec.bind(layout, seed=0)


@pytest.mark.parametrize("spec", [Exact(), Block(), Sequential()], ids=["exact", "block", "sequential"])
def test_the_records_of_a_batch(measured: Measure, spec: Any):
    """One batch out of the middle of an epoch of 6.4 million records."""
    order = bound(spec, CHUNK * 100_000)
    order.records(0, 0, BATCH)
    answer = measured(
        lambda: order.records(0, order.n // 2, order.n // 2 + BATCH),
        records=BATCH,
        nbytes=8 * BATCH,
        limit="np.arange",
        limited=lambda: np.arange(order.n // 2, order.n // 2 + BATCH),
    )
    assert len(answer) == BATCH


def test_the_block_table_of_an_epoch(measured: Measure):
    """Which blocks each window holds, for 100,000 chunks, beside permuting their numbers."""
    order = bound(Block(), CHUNK * 100_000)
    arrays, rng = order.empty_table(), np.random.default_rng(0)
    blocks = len(arrays[0])
    table = measured(
        lambda: order.table(1, *arrays),
        records=blocks,
        nbytes=order.table_nbytes,
        limit="rng.permutation",
        limited=lambda: rng.permutation(blocks),
    )
    assert len(np.unique(table.blocks)) == blocks
