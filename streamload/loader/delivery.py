"""Hands out the batches of a loader, one pass after the other, and keeps its position. A *pass* is an iteration over an epoch, or over
the rest of one.

Rules:

1. There is one pass at a time: a newer one closes the one before it. Threads that share a pass take turns, and get different batches.
2. The position changes when a batch is handed out, and not before: an error leaves it as it was.
3. An engine (`engine.Engine`) that failed or was interrupted is never used again: the next pass starts a new one.
4. Nothing here refers to the loader, so that a pass may outlive it. The last reference to either ends the engine.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
import weakref
from typing import Any

from streamload.errors import LoaderBusyError, LoaderClosedError, StreamloadError, without_frames
from streamload.fetch.bad_records import BadRecordLog, BadRow, none_left
from streamload.loader.batch import Batch
from streamload.loader.budget import Claim
from streamload.loader.engine import Engine
from streamload.loader.epoch import Epoch
from streamload.loader.ownership import Owner
from streamload.loader.planning import Plan
from streamload.loader.progress import Progress
from streamload.loader.state import PlanStates
from streamload.loader.stats import COUNTED, Counters, Stats
from streamload.order import RunPosition
from streamload.processes.distributed import check_unchanged, unshared
from streamload.sizes import format_nbytes
from streamload.workers.scheduler import FinishedStep

CLOSING_S = 1.0
"""Seconds that `close` waits for another thread that is taking a batch; no longer, since workers may be stuck."""


class Delivery:
    """Hands out the batches of a plan. It holds what changes while a loader is used; the plan does not."""

    def __init__(self, plan: Plan, progress: Progress, *, built: tuple[int, ...] | None, distributed: object) -> None:
        """`built`: records of each part in a batch as the loader was made of which this is a copy; None for a new loader."""
        self.plan = plan
        self.progress = progress
        self.built = built or tuple(part.count for part in plan.parts)
        """Records of each part in a batch, as they were when the loader was made."""
        self.states = PlanStates(plan, self.built)
        self._distributed = distributed
        self._said_unshared = False
        self.owner = Owner(copied=built is not None)
        self.bad_log = BadRecordLog()
        self.engine: Engine | None = None
        """The engine; None before it is needed, and after the end."""
        self._counters = Counters()
        self._turn = threading.RLock()
        self._taking = False
        """Whether a batch is being taken: whoever has the turn then as well has interrupted that, in the same thread."""
        self._current: weakref.ref[Epoch] | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._claim: Claim | None = None
        self._closed = False
        self._said_copies = False

    # The engine

    @property
    def live(self) -> Engine:
        """The engine. Raises LoaderClosedError after the end."""
        if self.engine is None:
            raise _closed()
        return self.engine

    def start(self) -> None:
        """Start an engine: allocate memory, and start the workers."""
        plan = self.plan
        engine = Engine(plan.job, plan.sizing, steps=plan.shares, workers=plan.workers, timeout=plan.timeout, restart=plan.restart)
        self.engine = engine
        self._finalizer = weakref.finalize(self, _end_for_good, engine, self._turn, os.getpid())
        self._claim = Claim(memory_nbytes=plan.sizing.footprint.total, workers=plan.workers)

    def prepare(self) -> None:
        """Start the engine, and have the first batches prepared before they are asked for."""
        self.start()
        if not self.progress.finished:
            self.live.scheduler.begin(self.progress.at, None)

    def _end_engine(self) -> None:
        """End the engine, and add its counters to those of the loader."""
        if self.engine is None:
            return
        self._counters.keep(self._counted(), self.engine.work())
        engine, self.engine = self.engine, None
        if self._claim is not None:
            self._claim.end()
        if self._finalizer is not None:
            self._finalizer.detach()
        engine.close()

    def _mark_broken(self, error: BaseException) -> None:
        """Have a new engine started for the next pass, if this one was interrupted (rule 3)."""
        if not isinstance(error, StreamloadError) and self.engine is not None:
            self.engine.scheduler.broken = without_frames(error)

    # Passes

    def check_open(self) -> None:
        """Raise LoaderClosedError after the end, and in another process than the loader's."""
        if self._closed:
            raise _closed()
        self.owner.check()

    @property
    def next_epoch(self) -> int:
        """The number of the epoch that an iterator would begin now, or continue."""
        return self.progress.next_pass().epoch

    def begin(self, epoch: Epoch, at: RunPosition, stop: int | None) -> None:
        """Begin a pass at this position. Batches are prepared ahead, but none of epoch `stop` or later; None sets no end.

        Raises LoaderClosedError, ConfigError where other ranks are found than before, and what starting an engine raises.
        """
        with self._turn:
            self._check_not_taking("a pass began")
            self._begin(epoch, at, stop)

    def _begin(self, epoch: Epoch, at: RunPosition, stop: int | None) -> None:
        self.check_open()
        self.owner.check_pass()
        self._check_ranks()
        with self._turn:
            self._end_current("a newer iterator of the same loader began")
            if self.engine is not None and (self.engine.scheduler.broken is not None or self.engine.closed):
                self._end_engine()
            if self.engine is None:
                self.start()
            try:
                if self.plan.shares.left(at) > 0:
                    self.live.scheduler.begin(at, stop)
            except BaseException as error:
                self._mark_broken(error)
                raise
            epoch.begin(at.epoch)
            self.progress.begin(at)
            self._current = weakref.ref(epoch)
            self._counters.pause()

    def next_batch(self, epoch: Epoch) -> Batch | None:
        """The next batch of a pass, or None at its end. Begins the pass at its first call."""
        if self._closed:
            raise _closed()
        self.owner.check()
        with self._turn:
            if self._taking:
                raise _busy("next() was called")
            self._taking = True
            try:
                return self._take(epoch)
            finally:
                self._taking = False

    def _take(self, epoch: Epoch) -> Batch | None:
        if self._current is None or self._current() is not epoch:
            self._make_current(epoch)
        progress = self.progress
        if progress.steps.is_over(progress.at):
            progress.finish(epoch.index)
            return None
        asked_ns = time.perf_counter_ns()
        step = self._next_step()
        if step is None:
            return None
        self._counters.handed(len(step[3]), asked_ns)
        return Batch.of_step(step, self.states)

    def _check_not_taking(self, what: str) -> None:
        """Raise LoaderBusyError within a call that takes a batch: that could neither be begun again nor go on from another place."""
        if self._taking:
            raise _busy(what)

    def _make_current(self, epoch: Epoch) -> None:
        """Begin a pass that has not begun. Raises LoaderClosedError if a newer pass has begun, or the loader was closed meanwhile."""
        if not epoch.begun:
            self._begin(epoch, self.progress.next_pass(), None)
        if self._closed:
            raise _closed()
        if self._current is None or self._current() is not epoch:
            raise _newer(epoch)

    def _next_step(self) -> FinishedStep | None:
        """The next step that has records, or None at the end of the epoch."""
        progress = self.progress
        try:
            scheduler = (self.engine or self.live).scheduler
            while (step := scheduler.step()) is not None:
                planned, _, _, records, bad = step
                if bad:
                    self.bad_log.note(step.epoch, [BadRow(*row) for row in bad])
                handed = len(records) > 0
                progress.reach(planned[1], handed=handed)
                if handed:
                    if scheduler.copies and not self._said_copies:
                        self._say_copies()
                    return step
                if not progress.finished:
                    continue
                if progress.whole and not progress.handed:
                    raise none_left(self.plan.n, step.epoch, step.bad[-1])
                return None
        except BaseException as error:
            if isinstance(error, Exception) and (self._closed or (self.engine is not None and self.engine.closed)):
                raise _closed() from error
            self._mark_broken(error)
            raise
        return None

    def allow_copies(self) -> None:
        """Never warn of copies: a framework holds batches for as long as it computes with them, which its user cannot change."""
        self._said_copies = True

    def _say_copies(self) -> None:
        self._said_copies = True
        warnings.warn(
            f"You hold more than {self.plan.sizing.spare} batches at once, so further ones are copied to private memory "
            f"({format_nbytes(self.plan.slot_nbytes)} each, see loader.stats.copies). "
            "Keep copies of what you need of a batch, not the batch.",
            stacklevel=6,
        )

    # The position

    @property
    def _running(self) -> Epoch | None:
        """The pass that has begun and not ended; None if there is none."""
        epoch = self._current() if self._current is not None else None
        return epoch if epoch is not None and epoch.running else None

    def state(self) -> dict[str, Any]:
        """The state after the last batch that was handed out; if `set_epoch` was called since, at the beginning of that epoch."""
        progress = self.progress
        at = progress.next_pass() if progress.asked is not None and self._running is None else progress.at
        return self.states.state_at(at)

    def replan(self, plan: Plan, at: RunPosition, by: str) -> None:
        """Continue with another plan of the same records, from this position. `by` is the method that errors name."""
        self.check_open()
        with self._turn:
            self._check_not_taking(f"{by}() was called")
            self._end_current(f"the loader was moved by {by}")
            self._end_engine()
            self.states = self.states.of(plan)
            self.plan = plan
            self.progress.steps = plan.shares
            self.progress.move(at)

    def _check_ranks(self) -> None:
        """Raise ConfigError if other ranks are found now than when the plan was made. Warn, once, if there are several ranks and
        `distributed` does not say whether they share the records."""
        check_unchanged(self._distributed, self.plan.ranks, os.environ, sys.modules)
        warning = None if self._said_unshared else unshared(self._distributed, os.environ, sys.modules)
        if warning:
            self._said_unshared = True
            warnings.warn(warning, stacklevel=5)

    def move(self, at: RunPosition, by: str) -> None:
        """Move to this position: the present pass is closed, and the next one begins here. `by` is the method that errors name."""
        self.check_open()
        with self._turn:
            self._check_not_taking(f"{by}() was called")
            self._end_current(f"the loader was moved by {by}")
            self.progress.move(at)

    def ask(self, epoch: int) -> None:
        """Make this epoch the next pass, unless a pass over it has just begun and handed out nothing."""
        with self._turn:
            running = self._running
            if running is None or self.progress.handed or running.index != epoch:
                self.progress.asked = epoch

    # Figures

    def _counted(self) -> dict[str, int]:
        return {name: getattr(self.engine.scheduler, name) for name in COUNTED} if self.engine is not None else {}

    def stats(self) -> Stats:
        """The counters since the loader was made, including those of engines that have ended."""
        return self._counters.stats(
            counted=self._counted(),
            worked=self.engine.work() if self.engine is not None else {},
            record_nbytes=self.plan.schema.record_nbytes,
            bad_records=self.bad_log.count,
            by_blocks=self.plan.order.mode in ("block", "sequential"),
        )

    # The end

    def _end_current(self, why: str) -> None:
        epoch = self._current() if self._current is not None else None
        if epoch is not None:
            epoch.end(why)
        self._current = None

    def close(self) -> None:
        """End the engine. If another thread is waiting for a batch, wait for that first: at most CLOSING_S with workers."""
        self._closed = True
        waited = self.owner.here and self._turn.acquire(timeout=CLOSING_S if self.plan.workers else -1)
        try:
            self._end_current("the loader was closed")
            self._end_engine()
        finally:
            if waited:
                self._turn.release()


def _end_for_good(engine: Engine, turn: threading.RLock, process: int) -> None:
    """End an engine when its loader is gone, or the interpreter ends.

    A daemon thread that iterates then waits for its turn, which is not given any more, until it ends with the process: what it found in
    place of an engine would be printed as an error.
    """
    if os.getpid() == process:
        turn.acquire(timeout=CLOSING_S)
    engine.close()


def _closed() -> LoaderClosedError:
    return LoaderClosedError("this loader was closed.", hint="Make a new one; state_dict() of a closed loader still says where it stood.")


def _busy(what: str) -> LoaderBusyError:
    return LoaderBusyError(
        f"{what} while a batch of the same loader was being taken, by a handler of a signal or by something that was collected.",
        hint="Have a handler note what is to be done, and do it in the loop; it may ask for the state, and close the loader.",
    )


def _newer(epoch: Epoch) -> LoaderClosedError:
    return LoaderClosedError(
        f"this iterator over epoch {epoch.index} was closed: a newer iterator of the same loader began.",
        hint="Another thread did that; two loaders can run side by side.",
    )
