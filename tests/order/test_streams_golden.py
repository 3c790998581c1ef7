"""Lanes, shares, draws and mixtures are frozen as record order, version 1, is: every golden line comes out to the bit."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from streamload.order import Block, Exact, LanedOrder, Layout, Weights, laned_order, layout_of, share, weights_of

LINES = (Path(__file__).parent / "streams_golden.txt").read_text().splitlines()
SKEWED = np.array([1 + i % 7 for i in range(1000)], np.float64)


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def digest(records: list[int]) -> str:
    return hashlib.blake2b(np.array(records, "<i8").tobytes(), digest_size=8).hexdigest()


BLOCK_NBYTES = 256 * 1024
"""Blocks of this size are never merged."""


def of_large_blocks(n: int, size: int) -> Layout:
    """Blocks of `size` records, each as many bytes."""
    cuts = np.array([*range(0, n, size), n])
    return layout_of([0, n], cuts=cuts, record_nbytes=1, addressable=False, block_nbytes=np.full(len(cuts) - 1, BLOCK_NBYTES))


def block_stream(n: int, size: int, *, lanes: int, windows: int, seed: int, weights: Weights | None = None) -> LanedOrder:
    """A block order of so many windows in all lanes together."""
    blocks = -(-n // size)
    spec = Block(-(-blocks // windows) * BLOCK_NBYTES, lanes=lanes)
    return laned_order(spec, of_large_blocks(n, size), seed=seed, lanes=lanes, weights=weights)


def lane_records(stream: LanedOrder, epoch: int) -> list[list[int]]:
    return [lane.records(epoch, 0, lane.n).tolist() for lane in stream.lanes]


def weighed(weights: np.ndarray, draws: int) -> Weights:
    return weights_of(lambda: iter([weights]), len(weights), draws=draws)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("lanes")])
def test_lanes(line: str, kernels: str) -> None:
    """All lanes of an epoch, one after the other."""
    n, size, lanes, windows, seed, epoch, pieces = numbers(line.split("blake2b")[0])
    stream = block_stream(n, size, lanes=lanes, windows=windows, seed=seed)
    assert sum(len(lane.block_nbytes) for lane in stream.lanes) == pieces
    records = lane_records(stream, epoch)
    assert digest([record for lane in records for record in lane]) == line.rsplit("=", 1)[1]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("share")])
def test_shares(line: str) -> None:
    """What one rank takes of a step, lane by lane: of an epoch of 1,003 records."""
    start, stop, lanes, rank, ranks, *part = numbers(line.split(":")[0])
    pieces = [
        (piece.lane, piece.start, piece.stop)
        for piece in share(start, stop, n=1003, lanes=lanes, rank=rank, ranks=ranks, rows=(part or [None])[0])
    ]
    assert str(pieces) == line.split(": ")[1].split(" padded")[0]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("draws n=")])
def test_draws(line: str, kernels: str) -> None:
    """Which record each draw is."""
    _, draws, seed, epoch = numbers(line.split("blake2b")[0])
    weights = weighed(SKEWED, draws)
    found = weights.epoch(seed, epoch).ranks(np.arange(draws))
    assert digest(found.tolist()) == line.rsplit("=", 1)[1]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("draws exact")])
def test_draws_in_exact_order(line: str, kernels: str) -> None:
    """The first records of a weighted epoch, all mixed."""
    n, draws, seed, epoch = numbers(line.split("first")[0])
    layout = layout_of([0, n], cuts=None, record_nbytes=1, addressable=True)
    stream = laned_order(Exact(), layout, seed=seed, weights=weighed(SKEWED, draws))
    assert stream.n == draws
    assert stream.records(0, epoch, 0, 6).tolist() == numbers(line.split("first=")[1])


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("draws in blocks")])
def test_draws_in_blocks(line: str, kernels: str) -> None:
    """Blocks that hold no draw keep their place; lanes are dealt over the epoch's cuts of draws."""
    size, n, draws, lanes, windows, seed, epoch = numbers(line.split("first")[0])
    weights = weighed(np.where((np.arange(1000) >= 200) & (np.arange(1000) < 400), 0.0, SKEWED), draws)
    stream = block_stream(n, size, lanes=lanes, windows=windows, seed=seed, weights=weights)
    assert stream.lanes[0].blocks.windows == windows
    records = lane_records(stream, epoch)
    assert records[0][:6] == numbers(line.split("first=")[1].split("]")[0])
    assert digest([record for lane in records for record in lane]) == line.rsplit("=", 1)[1]
