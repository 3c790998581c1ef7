"""What was asked for, and where it stands: the object that users iterate over."""

from __future__ import annotations

import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from streamload.errors import LoaderClosedError, StreamloadError, without_frames
from streamload.fetch.bad_records import BadRecord, BadRecordLog, BadRow
from streamload.loader.batch import Batch
from streamload.loader.budget import Footprint, Sizing, default_memory_nbytes
from streamload.loader.engine import Engine
from streamload.loader.epoch import Epoch
from streamload.loader.planning import Options, Plan, plan_of
from streamload.loader.state import read_state, state_of
from streamload.loader.stats import Stats
from streamload.sizes import format_nbytes
from streamload.source import Source

COUNTED = ("copies", "copied_nbytes", "overflows", "overflown_nbytes", "ragged_nbytes")
"""Counters of a pipeline."""
CLOSING_S = 1.0
"""How long `close` waits for another thread that is taking a batch: workers may be stuck, and their batch never come."""


class Loader:
    """Feeds batches of a source's records, epoch after epoch, prepared ahead by worker processes.

    ```python
    loader = sl.Loader(data, batch_size=256, shuffle=True, seed=0)
    for epoch in loader.epochs(90):
        for batch in epoch:
            ...  # batch["image"], batch["label"]
    ```

    The order of records depends on the source, `shuffle`, `seed`, `indices` and the epoch alone: never on `num_workers`,
    `memory` or the machine. A loader is a context manager; it also ends when it is dropped, and when the program does.
    """

    def __init__(
        self,
        data: Source,
        *,
        batch_size: int,
        shuffle: object = True,
        seed: int = 0,
        num_workers: int | None = None,
        drop_last: bool = False,
        memory: int | str | None = None,
        indices: Sequence[int] | NDArray[Any] | str | os.PathLike[str] | None = None,
        transform: Callable[..., dict[str, Any]] | None = None,
        io: str = "auto",
        timeout: float = 300.0,
        on_worker_crash: str = "raise",
        on_bad_record: str = "raise",
    ) -> None:
        """Plan an epoch, check that it fits, and start the workers.

        `batch_size`: records of a batch; the last of an epoch is smaller, unless `drop_last`.
        `shuffle`: True (picked by the layout: `sl.Exact` or `sl.Block`), False, an order, or an order of your own.
        `num_workers`: worker processes; 0 does the work in this one. Default: the cores this process may use, less one, at most 8.
        `memory`: what ring, windows, decoders and index may use together. Default: a quarter of what the machine and its
        control groups leave free, shared out among local ranks.
        `indices`: a subset, as record numbers, booleans or the path of a .npy file.
        `transform`: a function of a record (a dict of arrays), and optionally of a random generator that depends on seed,
        epoch and record alone; it returns a dict, and runs in the workers.
        `io`: "mmap", "read" (through the page cache), "direct" (past it: raw records and HDF5 chunks of 32 KB and more), or
        "auto": mmap what fits in memory with room to spare, direct what is more than twice what memory leaves free, else
        read. Without workers nothing is mapped: a file that shrinks kills the process that maps it, and that must not be yours.
        `timeout`: seconds after which a worker that makes no progress is an error.
        `on_worker_crash`: "raise" a WorkerCrashedError, or "restart": another worker then does the same batch, byte for byte;
        a batch that two workers die of is an error all the same, and names its records.
        `on_bad_record`: "raise" an error that names file, field and record where an encoded image cannot be decoded; or
        "substitute": the next good record of the same batch stands in, with all its fields (an error if there is none); or
        "skip": the batch is smaller, and does not come at all if nothing is left of it. Positions count as before, and
        `loader.bad_records` says which they were. The same at any number of workers, and after a resume. "skip" leaves out, from
        the beginning and with a warning, the records of tables that have nulls for which nothing stands.

        Raises ConfigError for arguments that cannot be right, ResourceError when memory does not suffice, SourceChangedError
        when the data is not what it was when it was opened, and WorkerStartError.
        """
        self._options = Options(
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            num_workers=num_workers,
            drop_last=drop_last,
            memory=memory,
            indices=indices,
            transform=transform,
            io=io,
            timeout=timeout,
            on_worker_crash=on_worker_crash,
            on_bad_record=on_bad_record,
        )
        self._data = data
        self._plan: Plan = plan_of(data, self._options, default_memory_nbytes)
        self._at = (0, 0)
        self._resumed = False
        self._owner = os.getpid()
        self._turn = threading.RLock()
        self._iterating: weakref.ref[Epoch] | None = None
        self._engine: Engine | None = None
        self._finalizer: Callable[[], object] | None = None
        self._closed = False
        self._said_copies = False
        self._handed_at: int | None = None
        self._counts = dict.fromkeys((*COUNTED, "steps", "records", "start_ns", "wait_ns", "consumer_ns"), 0)
        self._worked: dict[str, int] = {}
        self._ledger = BadRecordLog()
        if self._plan.warning:
            warnings.warn(self._plan.warning, stacklevel=2)
        self._start()
        if len(self):
            self._live.pipeline.begin(0, 0, None)

    # Iterating

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._plan.steps

    def __iter__(self) -> Epoch:
        """The next epoch (after a resume: the rest of the one that was resumed)."""
        self._check_open()
        with self._turn:
            epoch, position = self._at
            if position and not self._resumed:
                epoch, position = epoch + 1, 0
            return self._epoch_at(epoch, position, None)

    def epochs(self, stop: int) -> Iterator[Epoch]:
        """Epochs from where the loader stands up to number `stop`, exclusive.

        A new loader stands before epoch 0. After a resume this begins with the rest of the epoch that was resumed (which is
        empty if that epoch was at its end, so that what follows an epoch in your code runs).
        """
        epoch, position = self._at
        if position >= self._plan.end > 0 and not self._resumed:
            epoch, position = epoch + 1, 0
        while epoch < stop:
            yield self._epoch_at(epoch, position, stop)
            epoch, position = epoch + 1, 0

    def _epoch_at(self, epoch: int, position: int, stop: int | None) -> Epoch:
        self._check_open()
        with self._turn:
            return self._begun(epoch, position, stop)

    def _begun(self, epoch: int, position: int, stop: int | None) -> Epoch:
        self._end_iterating("a newer iterator of the same loader began")
        self._resumed = False
        self._at = (epoch, position)
        if self._engine is not None and self._engine.pipeline.broken is not None:
            self._leave_engine()
        if self._engine is None:
            self._start()
        made = Epoch(self, index=epoch, length=len(self))
        self._iterating = weakref.ref(made)
        if position < self._plan.end:
            self._guarded(lambda: self._live.pipeline.begin(epoch, position, stop))
        self._handed_at = None
        return made

    def next_batch(self, epoch: Epoch) -> Batch | None:
        """The next batch of the epoch that is being iterated over; None at its end. For `Epoch` alone.

        Threads take turns: each gets other batches.
        """
        self._check_open()
        with self._turn:
            return self._taken(epoch)

    def _taken(self, epoch: Epoch) -> Batch | None:
        if self._closed or self._iterating is None or self._iterating() is not epoch:
            raise (
                _closed_error()
                if self._closed
                else LoaderClosedError(
                    f"this iterator over epoch {epoch.index} was closed: a newer iterator of the same loader began.",
                    hint="Another thread did that; two loaders can run side by side.",
                )
            )
        number, position = self._at
        if position >= self._plan.end:
            return None
        asked = time.perf_counter_ns()
        if self._handed_at is not None:
            self._counts["consumer_ns"] += asked - self._handed_at
        pipeline = self._live.pipeline
        try:
            step = pipeline.step()
            while step is not None and step.bad:
                self._ledger.note(step.epoch, [BadRow(*row) for row in step.bad])
                if len(step.records):
                    break
                self._at = (number, step.stop)  # Nothing is left of it.
                step = pipeline.step() if step.stop < self._plan.end else None
        except BaseException as error:
            if self._closed and isinstance(error, Exception):
                raise _closed_error() from error
            if not isinstance(error, StreamloadError):
                # Interrupted half-way: the machinery is made anew before it is used again.
                pipeline.broken = without_frames(error)
            raise
        if step is None:
            return None
        self._at = (number, step.stop)
        self._handed_at = time.perf_counter_ns()
        counts = self._counts
        counts["wait_ns" if counts["steps"] else "start_ns"] += self._handed_at - asked
        counts["steps"] += 1
        counts["records"] += len(step.records)
        if pipeline.copies and not self._said_copies:
            self._say_copies()
        index = step.start // self._plan.batch_size
        return Batch(step.fields, records=step.records, epoch=number, step=index, total_step=number * self._plan.steps + index)

    def _say_copies(self) -> None:
        self._said_copies = True
        shape = self._plan.shape
        warnings.warn(
            f"You hold more than {shape.spare} batches at once, so further ones are copied to private memory "
            f"({format_nbytes(self._plan.slot_nbytes)} each, see loader.stats.copies). "
            "Keep copies of what you need of a batch, not the batch.",
            stacklevel=5,
        )

    def _guarded(self, action: Callable[[], Any]) -> Any:
        """Do something with the machinery; whatever interrupts it half-way, the machinery is made anew before it is used again."""
        try:
            return action()
        except StreamloadError:
            raise
        except BaseException as error:
            if self._engine is not None:
                self._engine.pipeline.broken = without_frames(error)
            raise

    # Standing

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, after the last batch that was handed out: plain JSON, under 1 KB."""
        return state_of(self._plan, *self._at)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where another loader of the same data stood: the next iterator goes on with the next batch.

        The number of workers, memory and `drop_last` of that loader may differ. Raises StateError, naming the difference,
        for a state of other data, another order or another batch size.
        """
        self._check_open()
        at = read_state(state, self._plan)
        with self._turn:
            self._end_iterating("the loader was moved by load_state_dict")
            self._at, self._resumed = at, True

    # Looking

    @property
    def stats(self) -> Stats:
        """What was done and waited for since the loader was made; `print(loader.stats)` gives the verdict in a line."""
        counts, worked = dict(self._counts), dict(self._worked)
        if self._engine is not None:
            for name in COUNTED:
                counts[name] += getattr(self._engine.pipeline, name)
            for name, value in self._engine.work().items():
                worked[name] = worked.get(name, 0) + value
        disk, decode = worked.get("disk_ns", 0), worked.get("decode_ns", 0)
        waiting_idle = min(worked.get("idle_ns", 0), counts["wait_ns"])
        return Stats(
            steps=counts["steps"],
            records=counts["records"],
            nbytes=counts["records"] * self._plan.schema.record_nbytes + counts["ragged_nbytes"],
            copies=counts["copies"],
            copied_nbytes=counts["copied_nbytes"],
            overflows=counts["overflows"],
            overflown_nbytes=counts["overflown_nbytes"],
            bad_records=self._ledger.count,
            start_seconds=counts["start_ns"] / 1e9,
            wait_seconds=counts["wait_ns"] / 1e9,
            consumer_seconds=counts["consumer_ns"] / 1e9,
            disk_seconds=disk / 1e9,
            decode_seconds=decode / 1e9,
            transport_seconds=max(0, worked.get("busy_ns", 0) - disk - decode + waiting_idle) / 1e9,
            read_nbytes=worked.get("read_nbytes", 0),
            by_blocks=self._plan.order.mode in ("block", "sequential"),
        )

    @property
    def bad_records(self) -> list[BadRecord]:
        """Records that were left out or replaced in what was handed out, in that order: (epoch, record, what, why).

        At most the first 1,000; `stats.bad_records` counts all.
        """
        return list(self._ledger.first)

    def footprint(self) -> Footprint:
        """The memory that this loader uses, by what it is for."""
        return self._plan.shape.footprint

    @property
    def schema(self) -> Any:
        """The fields of a batch's records: those of the source, or what the transform returns."""
        return self._plan.schema

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers; for looking at them with other tools."""
        return self._engine.pids if self._engine is not None else []

    def __repr__(self) -> str:
        plan = self._plan
        return (
            f"Loader({self._data.title}: {plan.order.n:,} records in {plan.steps:,} steps of {plan.batch_size:,} · "
            f"{plan.spec!r} · seed {plan.seed} · {plan.workers} workers · {plan.shape.reading})\n"
            f"  memory {plan.shape.footprint}"
        )

    # Beginning and ending

    @property
    def _live(self) -> Engine:
        if self._engine is None:
            raise _closed_error()
        return self._engine

    def _start(self) -> None:
        plan = self._plan
        shape: Sizing = plan.shape
        engine = Engine(plan.job, shape, end=plan.end, workers=plan.workers, timeout=plan.timeout, restart=plan.restart)
        self._engine = engine
        self._finalizer = weakref.finalize(self, engine.close)

    def _leave_engine(self) -> None:
        """Let go of machinery that broke; its counters count on."""
        if self._engine is None:
            return
        for name in COUNTED:
            self._counts[name] += getattr(self._engine.pipeline, name)
        for name, value in self._engine.work().items():
            self._worked[name] = self._worked.get(name, 0) + value
        engine, self._engine = self._engine, None
        if self._finalizer is not None:
            self._finalizer()
        engine.close()

    def close(self) -> None:
        """End the workers and free the memory; batches that you hold stay valid. May be called more than once.

        A batch that another thread waits for is let come first, for up to a second where workers prepare it.
        """
        self._closed = True
        ours = self._owner == os.getpid()
        waited = ours and self._turn.acquire(timeout=CLOSING_S if self._plan.workers else -1)
        try:
            self._end_iterating("the loader was closed")
            self._leave_engine()
        finally:
            if waited:
                self._turn.release()

    def _end_iterating(self, why: str) -> None:
        epoch = self._iterating() if self._iterating is not None else None
        if epoch is not None:
            epoch.close(why)
        self._iterating = None

    def _check_open(self) -> None:
        if self._closed:
            raise _closed_error()
        if self._owner != os.getpid():
            raise LoaderClosedError(
                "this loader belongs to the process that made it, not to a fork of it.", hint="Make a loader in the child."
            )

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _closed_error() -> LoaderClosedError:
    return LoaderClosedError("this loader was closed.", hint="Make a new one; state_dict() of a closed loader still says where it stood.")
