"""Which records are written, and into which part: found by passes over small fields, in memory that does not grow with the records."""

from __future__ import annotations

import math
import os
import shutil
from contextlib import ExitStack

import numpy as np

from streamload.errors import ConfigError
from streamload.order.split import Batches, Partition, ends_of, partition_by
from streamload.storage.owned_files import anonymous_file, replace_file
from streamload.tools.convert.shuffle import WrittenOrder

PART_NAMES = {1: ("",), 2: ("train", "test"), 3: ("train", "validation", "test")}


def shares_in(text: str | None) -> list[float]:
    """ "0.8,0.1,0.1" as numbers that add up to 1."""
    if text is None:
        return [1.0]
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3) or min(shares) <= 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-9):
        raise ConfigError(f"--split {text} cannot be made.", hint="Give two or three shares that add up to 1: 0.8,0.1,0.1.")
    return shares


def write_parts(path: str, batches: Batches, parts: int, partition: Partition) -> tuple[int, ...]:
    """Write record numbers part by part, each ascending, and say where each part ends."""
    counts = [0] * parts
    with ExitStack() as held:
        files = [held.enter_context(anonymous_file(os.path.dirname(path))) for _ in range(parts)]
        for numbers, taken in batches():
            where = partition(numbers, taken)
            for part, file in enumerate(files):
                mine = numbers[where == part]
                file.write(mine.astype(np.int64).tobytes())
                counts[part] += len(mine)
        whole = held.enter_context(replace_file(path))
        for file in files:
            file.seek(0)
            shutil.copyfileobj(file, whole, 1 << 20)
        whole.flush()
        os.fsync(whole.fileno())
    return tuple(int(end) for end in np.cumsum(counts))


def arranged(
    count: int,
    batches: Batches,
    *,
    path: str,
    kept: str | None,
    shares: list[float],
    shuffle: bool,
    seed: int,
    label: str | None,
    group: str | None,
) -> WrittenOrder:
    """The order of `count` records, and their parts; `kept` is a file of their numbers, where these are not 0, 1, 2 and so on.

    A file is written at `path` where the arithmetic of an order does not tell which records a part has.
    """
    if not count or len(shares) == 1 or (shuffle and label is None and group is None):
        ends = tuple(int(end) for end in ends_of(shares, count))
        return WrittenOrder(ends=ends, shuffle="whole" if shuffle and count else "no", seed=seed, file=kept)
    partition = partition_by(shares, count, batches, seed=seed, label=label, group=group, said=f"--stratify {label}")
    ends = write_parts(path, batches, len(shares), partition)
    return WrittenOrder(ends=ends, shuffle="parts" if shuffle else "no", seed=seed, file=path)
