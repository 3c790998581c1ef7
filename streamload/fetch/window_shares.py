"""How the blocks of a window are shared among workers: whoever has more left to decode is given fewer of the next window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamload.fetch.tasks import WindowTask
from streamload.memory.progress import WorkerProgress


def shares_of(blocks: int, left: Sequence[int]) -> tuple[int, ...]:
    """How many of so many blocks each worker is given, of which worker w has `left[w]` to decode already.

    Together they all have as many left as can be, so that none waits for another at the end: a worker whose core is
    shared with someone, the user's process perhaps, falls behind and is given less. Where that leaves a choice, the first have more.
    """
    rising = sorted(range(len(left)), key=left.__getitem__)
    count, held = len(left), sum(left)
    while left[rising[count - 1]] * count - held > blocks:  # This one has more left than the others can be given.
        count -= 1
        held -= left[rising[count]]
    each, more = divmod(blocks + held, count)
    shares = [0] * len(left)
    for place, worker in enumerate(sorted(rising[:count])):
        shares[worker] = each + (place < more) - left[worker]
    return tuple(shares)


def spread(shares: Sequence[int]) -> list[NDArray[np.int64]]:
    """Which blocks are each worker's, of as many as there are shares of together: one worker's lie evenly among the others'."""
    places = np.concatenate([(np.arange(share) + 0.5) / share for share in shares if share] or [np.empty(0)])
    owners = np.repeat(np.arange(len(shares)), shares)[np.argsort(places, kind="stable")]
    return [np.flatnonzero(owners == worker) for worker in range(len(shares))]


def shared(task: WindowTask, others: Iterable[WindowTask], progress: WorkerProgress, workers: int) -> WindowTask:
    """The task, its blocks shared among so many workers by what each has left of the other windows of its stream."""
    windows = [other for other in others if other.stream == task.stream and other.part != task.part]
    left = [sum(one.shares[k] - progress.blocks_done(k, one.part, one.serial) for one in windows) for k in range(workers)]
    return task._replace(shares=shares_of(task.blocks, left))
