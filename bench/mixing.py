"""How well an order mixes: figures about the records of its batches, each beside what independent drawing gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWN = 200
"""Batches drawn independently, to know what their entropy would be."""
PREFIXES = 20
POINTS = 1_500
"""Pairs of position and record that are kept for a picture."""

Records = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixing:
    """What an order's batches are like."""

    variance: float
    """Of the batch means of record numbers, to that of batches drawn independently: 1 is a full shuffle."""
    entropy: float
    """Mean entropy of the labels of a batch, to that of batches drawn independently."""
    entropy_bits: float
    """The same in bits, by itself."""
    discrepancy: float
    """The largest gap, over prefixes of the epoch, between the share of records delivered so far and the share of the stored."""
    same_block: float
    """Pairs of records in a batch that stand in one storage block, to what independent drawing gives."""

    def plain(self) -> dict[str, Any]:
        """For a file."""
        return {name: getattr(self, name) for name in self.__slots__}


def mixing(records: Records, labels: NDArray[np.int64], *, batch: int, block: int) -> Mixing:
    """The figures of an epoch: `records` in order of delivery, `labels` of all that are stored, blocks of `block` records."""
    stored = len(labels)
    whole = records[: len(records) // batch * batch].reshape(-1, batch)
    fair = (stored**2 - 1) / 12 / batch * (stored - batch) / max(1, stored - 1)
    drawn = np.random.default_rng(0).random((DRAWN, stored)).argpartition(batch - 1, axis=1)[:, :batch] if stored < 20_000 else None
    if drawn is None:
        drawn = np.random.default_rng(0).integers(stored, size=(DRAWN, batch))
    bits = _entropy(labels[whole])
    pairs = batch * (batch - 1) / 2 * (block - 1) / max(1, stored - 1)
    return Mixing(
        variance=float(((whole.mean(axis=1) - (stored - 1) / 2) ** 2).mean() / fair),
        entropy=bits / _entropy(labels[drawn]),
        entropy_bits=bits,
        discrepancy=_discrepancy(records, stored),
        same_block=float(np.mean([_pairs(one) for one in whole // block]) / pairs),
    )


def _entropy(labels: NDArray[np.int64]) -> float:
    """Mean entropy, in bits, of the labels of batches: shape (batches, batch)."""
    found: list[float] = []
    for one in labels:
        share = np.unique(one, return_counts=True)[1] / len(one)
        found.append(float(-(share * np.log2(share)).sum()))
    return float(np.mean(found))


def _pairs(blocks: NDArray[np.int64]) -> float:
    counts = np.unique(blocks, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / 2)


def _discrepancy(records: Records, stored: int) -> float:
    """Kolmogorov's distance of each prefix to the whole, the largest of them, from the first twentieth on."""
    worst = 0.0
    for part in range(1, PREFIXES):
        so_far = np.sort(records[: len(records) * part // PREFIXES])
        at = (np.arange(len(so_far)) + 0.5) / max(1, len(so_far))
        worst = max(worst, float(np.abs(at - (so_far + 0.5) / stored).max(initial=0.0)))
    return worst


def points(records: Records) -> list[list[int]]:
    """Some positions, evenly chosen, with their records."""
    chosen = np.unique(np.linspace(0, len(records) - 1, POINTS).astype(np.int64))
    return np.stack([chosen, records[chosen]], axis=1).tolist()


Epochs = Callable[[int], Records]
"""An order: the records of an epoch, in order of delivery."""


def random_blocks(stored: int, *, block: int, window: int, seed: int) -> Epochs:
    """Blocks in random order, `window` records of them mixed at a time."""

    def epoch(number: int) -> Records:
        rng = np.random.default_rng([seed, number])
        blocks = rng.permutation(-(-stored // block))
        order = (blocks[:, None] * block + np.arange(block)).reshape(-1)
        order = order[order < stored]
        return np.concatenate([rng.permutation(order[start : start + window]) for start in range(0, stored, window)])

    return epoch


def shuffle_buffer(stored: int, *, held: int, seed: int) -> Epochs:
    """Records as they are stored, through a buffer from which one is drawn and replaced by the next."""

    def epoch(number: int) -> Records:
        rng = np.random.default_rng([seed, number])
        buffer = np.arange(min(held, stored))
        out = np.empty(stored, np.int64)
        drawn = rng.integers(len(buffer), size=max(0, stored - len(buffer)))
        for k, which in enumerate(drawn.tolist()):
            out[k] = buffer[which]
            buffer[which] = k + len(buffer)
        out[len(drawn) :] = rng.permutation(buffer)
        return out

    return epoch
