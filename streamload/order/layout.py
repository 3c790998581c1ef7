"""What an order needs to know of the storage: how many records, where blocks begin, and what they weigh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.sizes import format_nbytes

WINDOW_NBYTES = 512 * 1024**2
"""The window, unless asked otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layout:
    """Records in storage, or a subset of them, counted from 0 in stored order.

    With a subset the counting is in ranks: rank r is record `indices[r]`, and every other number here is in ranks.
    """

    n: int
    """Records."""
    file_starts: NDArray[np.int64]
    """At which records files begin, n last; a file may be empty. Shape (files + 1,)."""
    cuts: NDArray[np.int64] | None
    """At which records storage blocks begin, n last, shape (blocks + 1,); None where a block may begin anywhere."""
    block_nbytes: NDArray[np.int64] | None
    """Stored bytes of each block of `cuts`, shape (blocks,); None where every record has `record_nbytes`."""
    record_nbytes: int
    """Stored bytes of a record (on average, with `block_nbytes`): decompressed, before images are decoded or functions applied."""
    addressable: bool
    """Whether any record can be had without decoding another."""
    indices: NDArray[np.int64] | None = None
    """The record of each rank, rising, shape (n,); None where ranks are records."""

    @property
    def nbytes(self) -> int:
        """Stored bytes of all records."""
        return int(self.block_nbytes.sum()) if self.block_nbytes is not None else self.n * self.record_nbytes

    def blocks(self, least_nbytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cuts of the blocks that an order works with, and the bytes of each: at least `least_nbytes` where possible."""
        if self.cuts is None:
            return _even_cuts(self.file_starts, self.record_nbytes, least_nbytes)
        nbytes = self.block_nbytes if self.block_nbytes is not None else np.diff(self.cuts) * self.record_nbytes
        return _merged(self.cuts, nbytes, np.searchsorted(self.cuts, self.file_starts[1:]), least_nbytes)

    def records(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The record numbers of ranks."""
        return ranks if self.indices is None else np.asarray(self.indices[ranks], np.int64)


def layout_of(
    file_starts: Sequence[int] | NDArray[np.int64],
    *,
    cuts: NDArray[np.int64] | None,
    record_nbytes: int,
    addressable: bool,
    block_nbytes: NDArray[np.int64] | None = None,
) -> Layout:
    """The layout of all records of some files.

    `cuts` are over all files, n last, as a column gives them, with files' borders among them (missing ones are added
    where blocks have no sizes of their own); None for raw records, and for values held in memory.
    """
    starts = np.asarray(file_starts, np.int64)
    if cuts is not None and block_nbytes is None:
        cuts = np.union1d(np.asarray(cuts, np.int64), starts)
    return Layout(
        n=int(starts[-1]),
        file_starts=starts,
        cuts=None if cuts is None else np.asarray(cuts, np.int64),
        block_nbytes=None if block_nbytes is None else np.asarray(block_nbytes, np.int64),
        record_nbytes=record_nbytes,
        addressable=addressable,
    )


def restricted(layout: Layout, indices: NDArray[np.int64]) -> Layout:
    """The layout of a subset: cuts counted in its ranks, blocks without a chosen record dropped.

    `indices` are record numbers, rising, without repeats (`subset`). A block of records of one size weighs what its
    chosen records weigh; a block with a size of its own keeps it, which can only be too much.
    """
    cuts, block_nbytes = None, None
    if layout.cuts is not None:
        ranks = np.searchsorted(indices, layout.cuts).astype(np.int64)
        kept = np.flatnonzero(np.diff(ranks))
        cuts = np.append(ranks[kept], len(indices))
        block_nbytes = None if layout.block_nbytes is None else layout.block_nbytes[kept]
    return Layout(
        n=len(indices),
        file_starts=np.searchsorted(indices, layout.file_starts).astype(np.int64),
        cuts=cuts,
        block_nbytes=block_nbytes,
        record_nbytes=layout.record_nbytes,
        addressable=layout.addressable,
        indices=indices if layout.indices is None else np.asarray(layout.indices[indices], np.int64),
    )


def least_block_nbytes(window_nbytes: int) -> int:
    """Blocks are merged up to this size: small enough for 64 in a window, large enough to be read well."""
    return min(256 * 1024, window_nbytes // 64)


def merged_cuts(
    files_cuts: Sequence[Sequence[int] | NDArray[np.int64]],
    files_nbytes: Sequence[Sequence[int] | NDArray[np.int64]],
    least_nbytes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cuts at least `least_nbytes` of stored records apart, where that is possible, never across files; and the bytes between.

    `files_cuts[f]` are the cuts of file f in records of that file (0 first, its number of records last),
    `files_nbytes[f]` the stored bytes of each of its blocks. Greedy from the front; what is left at the end of a file
    is a block of its own.
    """
    counts = [len(own) for own in files_nbytes]
    bases = np.cumsum([0, *(int(own[-1]) for own in files_cuts)])
    cuts = np.concatenate([[0], *(np.asarray(own[1:], np.int64) + base for own, base in zip(files_cuts, bases, strict=False))])
    nbytes = np.concatenate([np.zeros(0, np.int64), *(np.asarray(own, np.int64) for own in files_nbytes)])
    return _merged(cuts.astype(np.int64), nbytes, np.cumsum(counts, dtype=np.int64), least_nbytes)


def _merged(
    cuts: NDArray[np.int64], nbytes: NDArray[np.int64], file_ends: NDArray[np.int64], least_nbytes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`merged_cuts` over all files at once; `file_ends[f]` is the number of blocks in files 0 to f."""
    if len(nbytes) == 0:
        return np.zeros(1, np.int64), nbytes
    ends = np.arange(len(cuts))
    if int(nbytes.min()) < least_nbytes:
        below = np.concatenate([[0], np.cumsum(nbytes)])
        blocks = np.arange(len(nbytes))
        reach = np.maximum(np.searchsorted(below, below[:-1] + least_nbytes), blocks + 1)
        following = np.minimum(reach, file_ends[np.searchsorted(file_ends, blocks, side="right")]).tolist()
        chain, k = [0], 0
        while k < len(nbytes):
            k = following[k]
            chain.append(k)
        ends = np.asarray(chain)
        nbytes = np.diff(below[ends])
    merged = cuts[ends]
    kept = np.flatnonzero(np.diff(merged))
    return np.append(merged[:1], merged[kept + 1]), nbytes[kept]


def _even_cuts(file_starts: NDArray[np.int64], record_nbytes: int, least_nbytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`merged_cuts` where every record is a block of `record_nbytes`, in closed form."""
    counts = np.diff(file_starts)
    most = max(1, int(counts.max(initial=0)))
    apart = min(most, max(1, -(-least_nbytes // record_nbytes))) if record_nbytes else most if least_nbytes > 0 else 1
    blocks = -(-counts // apart)
    number = np.arange(int(blocks.sum())) - np.repeat(np.cumsum(blocks) - blocks, blocks)
    cuts = np.append(np.repeat(file_starts[:-1], blocks) + apart * number, file_starts[-1])
    return cuts, np.diff(cuts) * record_nbytes


def strata_of(blocks: int, windows: int) -> NDArray[np.int64]:
    """Where the strata begin, in blocks, the number of blocks last; as many strata as a window holds blocks."""
    strata = -(-blocks // windows) if windows else 0
    return np.arange(strata + 1, dtype=np.int64) * blocks // max(1, strata)


def windows_for(sizes: NDArray[np.int64] | Sequence[int], window_nbytes: int) -> int:
    """The fewest windows such that one block of every stratum, the largest of each, fit in a window together.

    `sizes` are the blocks' bytes. Raises ConfigError where a block alone is larger than a window.
    """
    nbytes = np.asarray(sizes, np.int64)
    blocks = len(nbytes)
    if not blocks:
        return 0
    largest = int(nbytes.max())
    if largest > window_nbytes:
        raise ConfigError(
            f"Block {int(nbytes.argmax())} of the data has {format_nbytes(largest)} ({largest:,} bytes); "
            f"a window has {format_nbytes(window_nbytes)} ({window_nbytes:,} bytes), and a block must fit in it.",
            hint=f'Give shuffle=Block(window="{format_nbytes(64 * largest)}") and memory= to match, or write smaller blocks '
            "with `streamload convert --chunk-records` (Parquet: row_group_size= of pyarrow's write_table).",
        )
    windows = max(1, -(-int(nbytes.sum()) // max(1, window_nbytes)))
    # The strata depend on their number alone, so of the many counts of windows that give one number only the first is tried.
    while True:
        low = strata_of(blocks, windows)
        if int(np.maximum.reduceat(nbytes, low[:-1]).sum()) <= window_nbytes:
            return windows
        windows = max(windows + 1, -(-blocks // max(1, len(low) - 2)))
