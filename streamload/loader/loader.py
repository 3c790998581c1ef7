"""What was asked for, and where it stands: the object that users iterate over."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from streamload.fetch.bad_records import BadRecord
from streamload.loader.batch import Batch
from streamload.loader.budget import Footprint, default_memory_nbytes
from streamload.loader.delivery import Delivery
from streamload.loader.engine import Engine
from streamload.loader.epoch import Epoch
from streamload.loader.loops import epochs_until, steps_until
from streamload.loader.options import MOST_EPOCHS, NAMES, Options, did_you_mean, takes_options, whole_number
from streamload.loader.planning import Plan, plan_of
from streamload.loader.state import Standing, place_of, read_state
from streamload.loader.stats import Stats
from streamload.schema import Schema
from streamload.source import Source
from streamload.transforms.explanation import Explanation


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
    A copy, or one that was pickled, is made anew from the arguments: it stands where the original stood, and starts workers of
    its own when it is used.
    """

    @takes_options(Options)
    def __init__(self, data: Source, **options: Any) -> None:
        """Plan an epoch, check that it fits, and start the workers.

        Raises ConfigError for arguments that cannot be right, ResourceError when memory does not suffice, SourceChangedError
        when the data is not what it was when it was opened, and WorkerStartError.
        """
        given = Options.of(options)
        self._set_up(data, given, Standing((given.first_epoch, 0)), copied=False)
        for warning in (self._plan.warning, self._delivery.owner.advice(shared_out=given.indices is not None)):
            if warning:
                warnings.warn(warning, stacklevel=2)
        self._delivery.prepare()

    def _set_up(self, data: Source, options: Options, standing: Standing, *, copied: bool) -> None:
        self._data = data
        self._options = options
        self._delivery = Delivery(plan_of(data, options, default_memory_nbytes), standing, copied=copied)

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (type(self), self._data, self._options, replace(self._delivery.standing))

    def __setattr__(self, name: str, value: object) -> None:
        """Raises AttributeError for what can only be chosen when a loader is made, and for what there is not."""
        if type(self) is Loader and not name.startswith("_") and name not in NAMES and not hasattr(Loader, name):
            raise AttributeError(f"a loader has no {name!r}, so setting it would change nothing.{did_you_mean(name, NAMES)}")
        if name in NAMES:
            raise AttributeError(
                f"loader.{name} cannot be set: it was chosen when the loader was made. "
                f"Make another: sl.Loader(data, ..., {name}={value!r}); load_state_dict has it go on where this one stands."
            )
        object.__setattr__(self, name, value)

    # Iterating

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._plan.steps

    def __iter__(self) -> Epoch:
        """The next epoch (after a resume: the rest of the one that was resumed). Nothing moves before its first `next`."""
        self._delivery.check_open()
        return Epoch(self._delivery, length=len(self))

    def epochs(self, stop: int) -> Iterator[Epoch]:
        """Epochs from where the loader stands up to number `stop`, exclusive; warns where none are left.

        A new loader stands before epoch 0. After a resume this begins with the rest of the epoch that was resumed (which is
        empty if that epoch was at its end, so that what follows an epoch in your code runs).
        """
        return epochs_until(self._delivery, whole_number(stop, "stop", least=0))

    def steps(self, stop: int) -> Iterator[Batch]:
        """Batches from where the loader stands up to number `stop`, exclusive, counted through epochs; warns where none are left.

        As with `epochs`, the same line finishes what was resumed: `for batch in loader.steps(100_000)`.
        """
        return steps_until(self._delivery, whole_number(stop, "stop", least=0))

    # Standing

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, after the last batch that was handed out: plain JSON, under 1 KB."""
        return self._delivery.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where another loader of the same data stood: the next iterator goes on with the next batch.

        The number of workers, memory and `drop_last` of that loader may differ. Raises StateError, naming the difference,
        for a state of other data, another order or another batch size.
        """
        self._delivery.move(read_state(state, self._plan), "load_state_dict")

    def seek(self, epoch: int | None = None, step: int | None = None, *, total_step: int | None = None) -> None:
        """Stand before a step of an epoch (its first, where none is named), or before a step counted through all epochs."""
        self._delivery.move(place_of(self._plan, epoch=epoch, step=step, total_step=total_step), "seek")

    def set_epoch(self, epoch: int) -> None:
        """Have the next pass be this epoch, from its start; a pass that is under way goes on.

        Where a state was loaded (or `seek` was called) and no batch was handed out since, only a later epoch counts: with
        that of the state, or an earlier one, the next pass is the rest of the epoch as the state says.
        """
        self._delivery.ask(whole_number(epoch, "epoch", least=0, most=MOST_EPOCHS))

    # Looking

    @property
    def batch_size(self) -> int:
        """Records of a batch."""
        return self._plan.batch_size

    @property
    def drop_last(self) -> bool:
        """Whether a last batch that is not full is left out."""
        return self._plan.drop_last

    @property
    def memory(self) -> int:
        """Bytes that the loader may use; `footprint()` says what it does use."""
        return self._plan.shape.footprint.budget

    @property
    def num_workers(self) -> int:
        """Worker processes; 0 where the work is done in this one."""
        return self._plan.workers

    @property
    def seed(self) -> int:
        """What the order of records is drawn from, together with the epoch."""
        return self._plan.seed

    @property
    def schema(self) -> Schema:
        """The fields of a batch's records: those of the source, or what the transform returns."""
        return self._plan.schema

    @property
    def stats(self) -> Stats:
        """What was done and waited for since the loader was made; `print(loader.stats)` gives the verdict in a line."""
        return self._delivery.stats()

    @property
    def bad_records(self) -> list[BadRecord]:
        """Records that were left out or replaced in what was handed out, in that order: (epoch, record, what, why).

        At most the first 1,000; `stats.bad_records` counts all.
        """
        return list(self._delivery.ledger.first)

    def explain(self, epoch: int, record: int) -> Explanation:
        """What augmentation draws for a record in an epoch, in words and numbers: print it."""
        return self._plan.explain(epoch, record)

    def footprint(self) -> Footprint:
        """The memory that this loader uses, by what it is for."""
        return self._plan.shape.footprint

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers; for looking at them with other tools."""
        return self._engine.pids if self._engine is not None else []

    def __repr__(self) -> str:
        plan = self._plan
        return (
            f"Loader({self._data.title}: {plan.order.n:,} records in {plan.steps:,} steps of {plan.batch_size:,} · "
            f"{plan.spec!r} · seed {plan.seed} · {plan.workers} workers · {plan.shape.reading})\n"
            f"{plan.augmented}  memory {plan.shape.footprint}"
        )

    # What is behind it

    @property
    def _plan(self) -> Plan:
        return self._delivery.plan

    @property
    def _engine(self) -> Engine | None:
        return self._delivery.engine

    @property
    def _live(self) -> Engine:
        return self._delivery.live

    # The end

    def close(self) -> None:
        """End the workers and free the memory; batches that you hold stay valid. May be called more than once.

        A batch that another thread waits for is let come first, for up to a second where workers prepare it.
        """
        self._delivery.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _copied(kind: type[Loader], data: Source, options: Options, standing: Standing) -> Loader:
    """A loader made from the same arguments as another, that stands where that one stood; it starts nothing before it is used."""
    loader = kind.__new__(kind)
    loader._set_up(data, options, standing, copied=True)  # pyright: ignore[reportPrivateUsage]
    return loader
