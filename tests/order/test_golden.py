"""Version 1 is frozen: every golden line comes out to the bit, through the compiled kernels and through the plain ones."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamload.order import BlockOrder, Exact, Layout, layout_of, merged_cuts, windows_for

LINES = (Path(__file__).parent / "golden.txt").read_text().splitlines()


def digest(records: NDArray[np.int64]) -> str:
    return hashlib.blake2b(records.astype("<i8").tobytes(), digest_size=8).hexdigest()


def raw(n: int) -> Layout:
    return layout_of([0, n], cuts=None, record_nbytes=1, addressable=True)


def block_order(cuts: list[int], windows: int, seed: int) -> BlockOrder:
    """Blocks of one byte each, and a window as many bytes as gives `windows` windows."""
    blocks = len(cuts) - 1
    layout = layout_of([0, cuts[-1]], cuts=np.array(cuts), record_nbytes=1, addressable=False, block_nbytes=np.ones(blocks, np.int64))
    order = BlockOrder(layout, seed=seed, window_nbytes=-(-blocks // windows))
    assert order.windows == windows
    return order


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("exact") and "blake2b" in line])
def test_exact_epochs(line: str, kernels: str) -> None:
    """A whole exact epoch: its first records and its digest."""
    n, seed, epoch = numbers(line.split("first")[0])
    records = Exact().bind(raw(n), seed).records(epoch, 0, n)
    assert records[:4].tolist() == numbers(line.split("first=")[1].split("]")[0])
    assert digest(records) == line.rsplit("=", 1)[1]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("exact") and " at " in line])
def test_exact_probes(line: str, kernels: str) -> None:
    """Single positions of orders of up to 2**62 records, from both ends and the middle."""
    n, seed, epoch = numbers(line.split(" at ")[0])
    order = Exact().bind(raw(n), seed)
    probes = [int(order.records(epoch, position, position + 1)[0]) for position in (0, 1, 2, n // 2, n - 1)]
    assert probes == numbers(line.split(": ")[1])


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("block n=")])
def test_block_epochs(line: str, kernels: str) -> None:
    """A whole epoch of evenly cut blocks: strata, first records, digest."""
    n, size, windows, strata, seed, epoch = numbers(line.split("first")[0])
    order = block_order([*range(0, n, size), n], windows, seed)
    records = order.records(epoch, 0, n)
    assert order.strata == strata
    assert records[:4].tolist() == numbers(line.split("first=")[1].split("]")[0])
    assert digest(records) == line.rsplit("=", 1)[1]


def test_uneven_blocks(kernels: str) -> None:
    """Blocks of many sizes: where the windows begin, and the digest."""
    (line,) = [line for line in LINES if line.startswith("block cuts")]
    cuts, (windows, seed, epoch), starts = (
        numbers(line.split("]")[0]),
        numbers(line.split("]")[1].split("starts")[0]),
        numbers(line.split("[")[2].split("]")[0]),
    )
    order = block_order(cuts, windows, seed)
    assert order.table(epoch, *order.empty_table()).starts.tolist() == starts
    assert digest(order.records(epoch, 0, order.n)) == line.rsplit("=", 1)[1]


def test_merged_cuts_and_windows() -> None:
    """Cuts of three files merged up to 100,000 bytes, and the windows that three limits give."""
    (line,) = [line for line in LINES if line.startswith("merged")]
    files = [[*range(0, 1000, 7), 1000], [0, 50], [0, 3, 9, 400]]
    cuts, nbytes = merged_cuts(files, [[7 * 1000] * 142 + [6000], [50_000], [3000, 6000, 391_000]], 100_000)
    assert f"merged cuts={cuts.tolist()} nbytes={nbytes.tolist()}" == line
    asked = [numbers(line) for line in LINES if line.startswith("windows_for")]
    assert len(asked) == 3
    for limit, windows in asked:
        assert windows_for(nbytes, limit) == windows
