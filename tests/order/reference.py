"""The record order, version 1, slow and in plain Python: the definition that the order room must reproduce to the bit."""

from __future__ import annotations

import hashlib
import math
import struct
from itertools import pairwise

TABLE_LIMIT = 65_536
EXACT, BLOCKS, WINDOW = 0, 1, 2
M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def key(seed: int, epoch: int, purpose: int, index: int) -> list[int]:
    """Eight 32-bit words, hashed so that (seed, epoch + 1) and (seed + 1, epoch) have nothing in common."""
    digest = hashlib.blake2b(struct.pack("<Q3q", seed % 2**64, epoch, purpose, index), digest_size=32).digest()
    return list(struct.unpack("<8I", digest))


def mix32(x: int) -> int:
    """A 32-bit finaliser: every output bit depends on every input bit."""
    x ^= x >> 16
    x = x * 0x21F0AAAD & M32
    x ^= x >> 15
    x = x * 0xD35A2D97 & M32
    return x ^ x >> 15


def shuffled_table(n: int, words: list[int]) -> list[int]:
    """Fisher-Yates driven by splitmix64; the state starts at words[0] + words[1] * 2**32."""
    state, table = words[0] | words[1] << 32, list(range(n))
    for i in range(n - 1, 0, -1):
        state = state + 0x9E3779B97F4A7C15 & M64
        z = state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & M64
        z = (z ^ z >> 27) * 0x94D049BB133111EB & M64
        z ^= z >> 31
        j = (z >> 32) * (i + 1) >> 32
        table[i], table[j] = table[j], table[i]
    return table


class Permutation:
    """A bijection of range(n) that needs no memory beyond a few words (n > TABLE_LIMIT), and has an inverse.

    An index i is written (left, right) in the mixed radix a * b >= n, a = ceil(sqrt(n)); eight Feistel rounds add to
    one half a hash of the other; results at n or above walk on until they fall inside.
    """

    def __init__(self, n: int, words: list[int]):
        self.n, self.words = n, words
        self.table = shuffled_table(n, words) if n <= TABLE_LIMIT else None
        if self.table is not None:
            self.back = [0] * n
            for i, v in enumerate(self.table):
                self.back[v] = i
        else:
            self.a = math.isqrt(n - 1) + 1
            self.b = -(-n // self.a)

    def __call__(self, i: int) -> int:
        if self.table is not None:
            return self.table[i]
        a, b, k = self.a, self.b, self.words
        while True:
            left, right = divmod(i, b)
            for j in range(0, 8, 2):
                left = (left + (mix32(right ^ k[j]) * a >> 32)) % a
                right = (right + (mix32(left ^ k[j + 1]) * b >> 32)) % b
            i = left * b + right
            if i < self.n:
                return i

    def inverse(self, v: int) -> int:
        if self.table is not None:
            return self.back[v]
        a, b, k = self.a, self.b, self.words
        while True:
            left, right = divmod(v, b)
            for j in range(6, -1, -2):
                right = (right - (mix32(left ^ k[j + 1]) * b >> 32)) % b
                left = (left - (mix32(right ^ k[j]) * a >> 32)) % a
            v = left * b + right
            if v < self.n:
                return v


def merged_cuts(files: list[list[int]], nbytes: list[list[int]], least_nbytes: int) -> tuple[list[int], list[int]]:
    """Cuts at least `least_nbytes` of stored records apart, where that is possible, never across files.

    `files[f]` are the cuts of file f in records of that file (0 first, its number of records last), `nbytes[f]` the
    stored bytes (after decompression, before any image decoding) of each of its blocks. Greedy from the front; what is left at the end of a file is a block of its own.
    """
    cuts, sizes, base = [0], [], 0
    for own, own_nbytes in zip(files, nbytes, strict=True):
        held = 0
        for k, block_nbytes in enumerate(own_nbytes):
            held += block_nbytes
            if held >= least_nbytes or k == len(own_nbytes) - 1:
                if base + own[k + 1] > cuts[-1]:
                    cuts.append(base + own[k + 1])
                    sizes.append(held)
                held = 0
        base += own[-1]
    return cuts, sizes


def strata_of(blocks: int, windows: int) -> list[int]:
    """Where the strata begin, in blocks; the last entry is the number of blocks."""
    strata = -(-blocks // windows)
    return [s * blocks // strata for s in range(strata + 1)]


def windows_for(sizes: list[int], window_nbytes: int) -> int:
    """The fewest windows such that one block of every stratum, the largest of each, fit in a window together."""
    if not sizes:
        return 0
    if max(sizes) > window_nbytes:
        raise ValueError(f"a block of {max(sizes)} bytes does not fit a window of {window_nbytes}")
    windows = max(1, -(-sum(sizes) // window_nbytes))
    while True:
        low = strata_of(len(sizes), windows)
        if sum(max(sizes[a:b]) for a, b in pairwise(low)) <= window_nbytes:
            return windows
        windows += 1


class Block:
    """Stratified block shuffle: each window takes one storage block from each stratum, and shuffles their records.

    `cuts` are the record numbers at which blocks begin, and n last (`merged_cuts`); `windows` bounds memory
    (`windows_for`). Strata are equal stretches of the file: a window therefore looks like the whole file even where the
    file is sorted, which a window of randomly chosen blocks does not.
    """

    def __init__(self, cuts: list[int], windows: int, seed: int, epoch: int, lanes: int = 1):
        assert lanes == 1
        self.cuts, self.windows, self.seed, self.epoch = cuts, windows, seed, epoch
        self.low = strata_of(len(cuts) - 1, windows)
        self.strata = len(self.low) - 1
        self.pick = [Permutation(windows, key(seed, epoch, BLOCKS, s)) for s in range(self.strata)]
        self.start = [0]
        for w in range(self.windows):
            self.start.append(self.start[-1] + sum(cuts[k + 1] - cuts[k] for k in self.blocks_of(w)))

    def blocks_of(self, window: int) -> list[int]:
        """The storage blocks of a window, in stratum order; a stratum that is one block short may have none."""
        chosen = []
        for s in range(self.strata):
            k = self.low[s] + self.pick[s](window)
            if k < self.low[s + 1]:
                chosen.append(k)
        return chosen

    def records_of(self, window: int) -> list[int]:
        """The records of a window in the order in which they are delivered."""
        held = [r for k in self.blocks_of(window) for r in range(self.cuts[k], self.cuts[k + 1])]
        deal = Permutation(len(held), key(self.seed, self.epoch, WINDOW, window))
        return [held[deal(t)] for t in range(len(held))]
