"""The object that users make and iterate over: a plan of what was asked for, and the position that its batches have reached."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from streamload.errors import ConfigError
from streamload.fetch.bad_records import BadRecord
from streamload.loader.batch import Batch
from streamload.loader.budget import Footprint, default_memory_nbytes
from streamload.loader.delivery import Delivery
from streamload.loader.engine import Engine
from streamload.loader.epoch import Epoch
from streamload.loader.loops import epochs_until, steps_until
from streamload.loader.options import MOST_EPOCHS, NAMES, Options, did_you_mean, shown, takes_options, whole_number
from streamload.loader.parts import Part
from streamload.loader.planning import Plan, plan_of
from streamload.loader.progress import Progress, begun, place_of
from streamload.loader.state import identity_of
from streamload.loader.stats import Stats
from streamload.mixtures import Mixture
from streamload.order import RunPosition, read_state, shared_lanes, state_lanes
from streamload.processes.distributed import find_neighbours
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
    def __init__(self, data: Source | Mixture, *unnamed: Any, **options: Any) -> None:
        """Plan an epoch, check that it fits, and start the workers.

        Raises ConfigError for arguments that cannot be right, ResourceError when memory does not suffice, SourceChangedError
        when the data is not what it was when it was opened, and WorkerStartError.
        """
        if unnamed:
            raise TypeError(f"Loader() takes all arguments but the data by name: sl.Loader(data, batch_size={shown(unnamed[0], repr)}).")
        given = Options.of(options)
        self._set_up(data, given, None, None)
        for warning in (self._plan.without_steps, self._plan.warning, self._delivery.owner.advice(shared_out=given.indices is not None)):
            if warning:
                warnings.warn(warning, stacklevel=2)
        self._delivery.prepare()

    def _set_up(self, data: Source | Mixture, options: Options, progress: Progress | None, built: tuple[int, ...] | None) -> None:
        """`progress` and `built` are those of the loader that this one is a copy of; None for a new one."""
        self._data = data
        self._options = options
        counts = tuple(part.count for part in progress.steps.parts) if progress is not None else ()
        lanes = tuple(part.lanes for part in progress.steps.parts) if progress is not None else ()
        plan = plan_of(data, options, default_memory_nbytes, lanes=lanes, counts=counts)
        if progress is None:
            progress = Progress(plan.shares, plan.shares.begin(options.first_epoch))
        progress.steps = plan.shares
        self._delivery = Delivery(plan, progress, built=built, distributed=options.distributed)

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (type(self), self._data, self._options, replace(self._delivery.progress), self._delivery.built)

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
        """The next epoch; after `load_state_dict` or `seek`, the rest of the epoch that these name. It begins with its first `next`.

        The rest of an epoch that was left by `break`, an error or an interrupt is passed over: `epochs` and `steps` go on with it.
        """
        self._delivery.check_open()
        return Epoch(self._delivery, length=len(self))

    def epochs(self, stop: int) -> Iterator[Epoch]:
        """Epochs from where the loader stands up to number `stop`, exclusive; warns where none are left.

        A new loader stands before epoch 0. Where an epoch was left in the middle (by `break`, an error or an interrupt), and after a
        resume, this begins with the rest of that epoch. The rest is empty if a state was saved at the end of its epoch, so that what
        your code does after each epoch is done for it too.
        """
        return epochs_until(self._delivery, whole_number(stop, "stop", least=0))

    def steps(self, stop: int) -> Iterator[Batch]:
        """Batches from where the loader stands up to number `stop`, exclusive, counted through epochs; warns where none are left.

        As with `epochs`, the same line finishes what was resumed: `for batch in loader.steps(100_000)`.
        """
        return steps_until(self._delivery, whole_number(stop, "stop", least=0))

    # The position

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, after the last batch that was handed out: plain JSON, under 1 KB."""
        return self._delivery.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Move to where another loader of the same data stood when it made the state: the next iterator goes on with the next batch.

        The number of ranks and workers, batch size, memory and `drop_last` of that loader may differ: what remains of the epoch is
        shared out among the ranks of now, each record once. Raises StateError, naming the difference, for a state of other
        data or of another order.
        """
        self._delivery.check_open()
        plan, delivery = self._plan, self._delivery
        lanes = state_lanes(state)
        if len(lanes) == len(plan.parts) and lanes != tuple(len(part.order.lanes) for part in plan.parts):
            try:
                plan = self._planned(self._options, lanes=lanes)
            except ConfigError:
                pass  # Whatever is wrong with it, reading the state says what differs.
        identity = delivery.states.identity if plan is self._plan else identity_of(plan, delivery.built)
        resumed = read_state(state, identity, plan.shares)
        if resumed.counts != tuple(part.count for part in plan.parts):
            plan = self._planned(self._options, lanes=tuple(len(part.order.lanes) for part in plan.parts), counts=resumed.counts)
        for warning in resumed.warnings:
            warnings.warn(warning, stacklevel=2)
        if plan is self._plan:
            delivery.move(resumed.position, "load_state_dict")
        else:
            delivery.replan(plan, resumed.position, "load_state_dict")

    def seek(self, epoch: int | None = None, step: int | None = None, *, total_step: int | None = None) -> None:
        """Move to before a step of an epoch (by default its first), or before step `total_step`, counted through all epochs."""
        self._delivery.move(place_of(self._plan.shares, epoch=epoch, step=step, total_step=total_step), "seek")

    def set_epoch(self, epoch: int) -> None:
        """Make this epoch, from its start, the one that is iterated over next. An iterator that has begun goes on.

        Where a state was loaded (or `seek` was called) and no batch was handed out since, only a later epoch counts: with
        that of the state, or an earlier one, the next pass is the rest of the epoch as the state says.
        """
        self._delivery.ask(whole_number(epoch, "epoch", least=0, most=MOST_EPOCHS))

    def set_batch_size(self, batch_size: int) -> None:
        """Have batches of another size from the next epoch on. Raises ConfigError within an epoch, ResourceError beyond `memory`."""
        size = whole_number(batch_size, "batch_size", least=1)
        if len(self._plan.parts) > 1:
            raise ConfigError("a mixture's batch is the sum of its counts.", hint="Say how many records of each: loader.set_counts({...}).")
        self._set_counts((size,), "set_batch_size")

    def set_counts(self, counts: Mapping[str, int]) -> None:
        """Have so many records of each part of a mixture in a batch from the next epoch on; parts that are not named stay.

        Raises ConfigError within an epoch, ResourceError beyond `memory`.
        """
        names = [part.name for part in self._plan.parts]
        for name in counts:
            if name not in names or not name:
                raise ConfigError(f"set_counts() names {name!r}: there is no such part.", hint="Name parts as mix() does.")
        given = {name: whole_number(count, name, least=0) for name, count in counts.items()}
        going_on = tuple(given.get(part.name, part.count) for part in self._plan.parts)
        if not sum(going_on):
            raise ConfigError("set_counts() leaves no records for a batch: every count is 0.", hint="Give one of them at least 1.")
        self._set_counts(going_on, "set_counts")

    def set_weights(self, weights: Any) -> None:
        """Draw records by other weights from the next epoch on, as `weights=` says. Raises ConfigError within an epoch."""
        at = self._between("set_weights")
        options = replace(self._options, weights=weights)
        plan = self._planned(options, lanes=self._lanes, counts=tuple(part.count for part in self._plan.parts))
        if plan.shares.parts != self._plan.shares.parts:
            at = plan.shares.begin(at.epoch)._replace(total_step=at.total_step)
        self._delivery.replan(plan, at, "set_weights")
        self._options = options

    def _set_counts(self, counts: tuple[int, ...], by: str) -> None:
        at = self._between(by)
        plan = self._planned(self._options, lanes=self._lanes, counts=counts)
        self._delivery.replan(plan, at._replace(lead=plan.shares.lead_of(at.positions)), by)
        if plan.without_steps:
            warnings.warn(plan.without_steps, stacklevel=3)

    def _between(self, by: str) -> RunPosition:
        """The begin of the next epoch. Raises ConfigError where something is left of the present one."""
        progress = self._delivery.progress
        if not begun(progress.at):
            return progress.at
        if not progress.finished:
            raise ConfigError(
                f"{by}() was called after step {progress.at.step:,} of an epoch of {len(self):,}.", hint="Call it between two epochs."
            )
        return progress.following(progress.at)

    def _planned(self, options: Options, *, lanes: tuple[int, ...], counts: tuple[int, ...] = ()) -> Plan:
        """A plan of the same records, within the memory of the present one."""
        return plan_of(self._data, options, lambda: self._plan.sizing.footprint.budget, lanes=lanes, counts=counts)

    @property
    def _lanes(self) -> tuple[int, ...]:
        return tuple(len(part.order.lanes) for part in self._plan.parts)

    # What it is made of

    @property
    def rank(self) -> int:
        """Which of `world_size` ranks gets these batches; 0 where the records are not shared out."""
        return self._plan.ranks.rank

    @property
    def world_size(self) -> int:
        """How many ranks share the records out; 1 where they are not shared out."""
        return self._plan.ranks.world_size

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
        return self._plan.sizing.footprint.budget

    @property
    def num_workers(self) -> int:
        """Worker processes; 0 where the work is done in this one."""
        return self._plan.workers

    @property
    def seed(self) -> int:
        """The seed of the order of records, which is drawn anew in each epoch."""
        return self._plan.seed

    @property
    def schema(self) -> Schema:
        """The fields of a batch's records: those of the source, or what the transform returns."""
        return self._plan.schema

    @property
    def stats(self) -> Stats:
        """Records, bytes and times since the loader was made. `print(loader.stats)` says in a line what set the pace."""
        return self._delivery.stats()

    @property
    def bad_records(self) -> list[BadRecord]:
        """Records that were left out or replaced in what was handed out, in that order: (epoch, record, what, why).

        At most the first 1,000; `stats.bad_records` counts all.
        """
        return list(self._delivery.bad_log.first)

    def explain(self, epoch: int, record: int, *, part: str | None = None) -> Explanation:
        """What augmentation draws for a record in an epoch, in words and numbers: print it. Of a mixture, `part` says whose record."""
        return self._plan.explain(epoch, record, part)

    def footprint(self) -> Footprint:
        """The memory that this loader uses, by what it is for."""
        return self._plan.sizing.footprint

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers, for tools that watch processes. Empty without workers, and while they have not started."""
        return self._engine.pids if self._engine is not None else []

    def __repr__(self) -> str:
        plan = self._plan
        steps = f"{plan.steps:,} step{'' if plan.steps == 1 else 's'} of {plan.batch_size:,}"
        workers = f"{plan.workers} worker{'' if plan.workers == 1 else 's'}{self._neighbours}"
        return (
            f"Loader({self._title}: {plan.n:,} records in {steps} · "
            f"{self._shared}{plan.spec!r} · seed {plan.seed} · {workers} · files are {plan.sizing.reading})\n"
            f"{plan.augmented}  memory {plan.sizing.footprint}"
        )

    @property
    def _title(self) -> str:
        return self._data.title if isinstance(self._data, Source) else " + ".join(part.data.title for part in self._plan.parts)

    @property
    def _shared(self) -> str:
        """Which rank this is, and what its share costs."""
        plan = self._plan
        ranks, text = plan.ranks, ""
        if ranks.world_size > 1:
            text = f"{ranks} (by {ranks.source}) · "
            text += "".join(dict.fromkeys(shared_blocks(part, ranks.world_size) for part in plan.parts))
        return text

    @property
    def _neighbours(self) -> str:
        """That ranks share this machine, where defaults were divided for it."""
        found = find_neighbours(os.environ)
        divided = found.count > 1 and (self._options.memory is None or self._options.num_workers is None)
        return f" (one of {found.count} ranks on this machine, by {found.source})" if divided else ""

    # Its parts

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


def shared_blocks(part: Part, ranks: int) -> str:
    """Where several ranks decode the same blocks of a part, the numbers that avoid it; else nothing."""
    if part.data.addressable:
        return ""
    lanes, mode = len(part.order.lanes), part.order.mode
    if mode == "sequential":
        return "every rank decodes every block: shuffle=Block(...) shares them out · "
    if mode != "block" or not shared_lanes(part.count * ranks, lanes=lanes, ranks=ranks):
        return ""
    wanted = lanes if lanes % ranks == 0 else ranks
    if (each := wanted // ranks) == 1:
        return f"blocks are decoded by several ranks: lanes={wanted} avoids it · "
    return f"blocks are decoded by several ranks: lanes={wanted} and a batch_size that is a multiple of {each} avoid it · "


def _copied(kind: type[Loader], data: Source | Mixture, options: Options, progress: Progress, built: tuple[int, ...]) -> Loader:
    """A loader made from the same arguments as another, that stands where that one stood; it starts nothing before it is used."""
    loader = kind.__new__(kind)
    loader._set_up(data, options, progress, built)  # pyright: ignore[reportPrivateUsage]
    return loader
