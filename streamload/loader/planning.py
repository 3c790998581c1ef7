"""From what the user asked for to what will be done: every argument checked, every size known, nothing read yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, NullValueError
from streamload.fetch.augment_fields import scratch_nbytes
from streamload.fetch.augment_images import sizes_of
from streamload.fetch.bad_records import SKIP
from streamload.fetch.job import Job, Stream
from streamload.fetch.ragged_collate import capacity_for
from streamload.fetch.window_tables import tables_nbytes
from streamload.loader.augmentation import columns_and_augmentation
from streamload.loader.budget import Sizing, sizing_of
from streamload.loader.engine import arena_of
from streamload.loader.labels import mixing_advice
from streamload.loader.options import Options
from streamload.memory.limits import usable_cores
from streamload.memory.slots import SlotLayout
from streamload.nulls import advice_on_nulls, counted
from streamload.order import BoundOrder, Layout, OrderSpec, choose, layout_of, restricted, subset
from streamload.schema import Schema
from streamload.sizes import parse_nbytes
from streamload.source import RaggedColumn, Source, kept_column, stored_nbytes
from streamload.storage.files import recheck
from streamload.transforms.explanation import Explanation, explain

MOST_WORKERS = 8
UNKNOWN_ELEMENTS = 256
"""Elements of a record that a transform makes, as long as nothing is known of them."""
MOST_MAPPED_FILES = 256
"""Each mapping holds a descriptor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a loader does, and how large its parts are."""

    data: Source
    spec: OrderSpec
    order: BoundOrder
    schema: Schema
    """The fields of a batch's records, as they are delivered."""
    seed: int
    batch_size: int
    drop_last: bool
    end: int
    """Positions of an epoch that are delivered."""
    steps: int
    workers: int
    timeout: float
    restart: bool
    """Whether a worker that dies is replaced."""
    slot_nbytes: int
    job: Job
    shape: Sizing
    warning: str | None
    """What the user should hear once."""

    def total_step(self, at: tuple[int, int]) -> int:
        """Steps up to a place (epoch, position), counted through epochs."""
        return at[0] * self.steps + -(-at[1] // self.batch_size)

    @property
    def augmented(self) -> str:
        """Lines on what augmentation does, for people; none where there is none."""
        augmentation = self.job.augmentation
        return "" if augmentation is None else f"  {augmentation}\n  becomes {augmentation.schema}\n"

    def explain(self, epoch: int, record: int) -> Explanation:
        """What augmentation draws for a record. Raises IndexError for one that is not there."""
        if not 0 <= record < len(self.data):
            raise IndexError(f"record {record} is out of range for {len(self.data):,} records")
        plans = self.job.augmentation.plans if self.job.augmentation is not None else ()
        unlike = [plan.images[0].name for plan in plans if plan.images[0].size is None]
        sizes = sizes_of(self.job, record, unlike) if unlike else None
        return explain(plans, seed=self.seed, epoch=epoch, record=record, sizes=sizes)


def plan_of(data: Source, options: Options, default_memory_nbytes: Callable[[], int]) -> Plan:
    """Work out everything. Raises ConfigError, ResourceError and SourceChangedError as `Loader` says."""
    if not isinstance(cast(object, data), Source):
        raise ConfigError(f"data={data!r} is not a source.", hint='Open it first: sl.Loader(sl.open("train.h5"), batch_size=256).')
    batch_size, seed, workers = options.batch_size, options.seed, _workers(options.num_workers)
    for was in data.fingerprints:
        recheck(was)
    data, options, without = _without_nulls(data, options)
    spec, order = _ordered(data, options, seed)
    end = order.n - order.n % batch_size if options.drop_last else order.n
    columns, augmentation = columns_and_augmentation(data, options.augment)
    stream = Stream(columns=columns, fingerprints=data.fingerprints, seed=seed, lanes=(order,), arena=None)
    job = Job(
        streams=(stream,),
        layout=None,
        transform=options.transform,
        workers=max(1, workers),
        mapped=False,
        direct=False,
        on_bad=options.on_bad_record,
        augmentation=augmentation,
    )
    # More records than there are never share a batch, so slots need not hold them.
    fitting = max(1, min(batch_size, order.n))
    schema = _delivered(job, workers=workers, timeout=options.timeout_s, empty=order.n == 0)
    slot_layout = SlotLayout.of(schema, fitting, _rooms(schema, data, fitting))
    job = replace(job, layout=slot_layout, streams=(replace(stream, arena=arena_of(columns, stream.lanes, fitting)),))
    stored = sum(was.nbytes for was in data.fingerprints)
    shape = sizing_of(
        columns=columns,
        record_nbytes=sum(map(stored_nbytes, columns)),
        order=order,
        slot_nbytes=slot_layout.nbytes,
        batch_size=fitting,
        workers=workers,
        arena_nbytes=job.arena_nbytes,
        tables_nbytes=tables_nbytes(job.streams),
        mapped_nbytes=stored if any(column.mappable for column in columns) else 0,
        stored_nbytes=stored,
        private_nbytes=_private_nbytes(job, fitting),
        memory_nbytes=parse_nbytes(options.memory, name="memory") if options.memory is not None else default_memory_nbytes(),
        io=options.io,
        mappable=len(data.fingerprints) <= MOST_MAPPED_FILES,
    )
    return Plan(
        data=data,
        spec=spec,
        order=order,
        schema=schema,
        seed=seed,
        batch_size=batch_size,
        drop_last=options.drop_last,
        end=end,
        steps=-(-end // batch_size),
        workers=workers,
        timeout=options.timeout_s,
        restart=options.on_worker_crash == "restart",
        slot_nbytes=slot_layout.nbytes,
        job=replace(job, mapped=shape.mapped, direct=shape.direct),
        shape=shape,
        warning=" ".join(filter(None, (without, mixing_advice(data, order)))) or None,
    )


def _without_nulls(data: Source, options: Options) -> tuple[Source, Options, str | None]:
    """The data and the options such that no record with a null is asked for for which nothing stands, and a word on what is left out.

    Raises NullValueError, of all fields at once, where such records are neither to be left out nor chosen by the user.
    """
    known = {name: one for name, one in data.nulls.items() if one.count}
    if not known or (options.indices is not None and options.on_bad_record != SKIP):
        return data, options, None
    if options.on_bad_record != SKIP:
        raise NullValueError(f"{data.title} holds nulls in {counted(known)}.", hint=advice_on_nulls(data.nulls, data.schema))
    data, complete = data.complete()
    chosen = complete
    if options.indices is not None:
        chosen = subset(options.indices, len(data))
        chosen = chosen[np.isin(chosen, complete)]
    left_out = f"{len(data) - len(complete):,} of {len(data):,} records are left out, for nulls in {counted(known)}."
    return data, replace(options, indices=chosen), left_out


def _ordered(data: Source, options: Options, seed: int) -> tuple[OrderSpec, BoundOrder]:
    """What was asked for as an order, and that order of these records."""
    layout = _layout(data)
    if options.indices is not None:
        layout = restricted(layout, subset(options.indices, len(data)))
    spec = choose(options.shuffle, layout)
    return spec, spec.bind(layout, seed)


def _layout(data: Source) -> Layout:
    """What an order needs to know. Blocks are those of the largest field that must be decoded, else of the largest that has any.

    Where that field is ragged, and its blocks were counted, they weigh what they hold; elsewhere every record weighs the same.
    """
    cut = [column for column in data.columns if column.cuts is not None]
    cut.sort(key=lambda column: (not column.addressable, stored_nbytes(column)), reverse=True)
    cuts = cut[0].cuts if cut else None
    record_nbytes = sum(map(stored_nbytes, data.columns))
    block_nbytes: NDArray[np.int64] | None = None
    kept = cast(RaggedColumn, kept_column(cut[0])) if cut else None
    if kept is not None and cuts is not None and kept.field.ragged and kept.weights is not None and np.isin(data.file_starts, cuts).all():
        block_nbytes = np.diff(cuts) * (record_nbytes - stored_nbytes(kept)) + kept.weights * kept.field.nbytes
    return layout_of(data.file_starts, cuts=cuts, record_nbytes=record_nbytes, addressable=data.addressable, block_nbytes=block_nbytes)


def _rooms(schema: Schema, data: Source, records: int) -> list[int]:
    """Elements that a slot has room for, of each field that is delivered: what so many records hardly ever exceed; 0 of fixed ones.

    Of what a transform makes only the kind is known: it has room as the stored field of its name has, or as all together.
    """
    stored = {column.field.name: capacity_for(cast(RaggedColumn, column), records) for column in data.columns if column.field.ragged}
    unknown = sum(stored.values()) or UNKNOWN_ELEMENTS * records
    return [stored.get(field.name, unknown) if field.ragged else 0 for field in schema]


def _delivered(job: Job, *, workers: int, timeout: float, empty: bool) -> Schema:
    """The schema of batches: the stored one, or what the transform makes of the first record."""
    if job.transform is None or empty:
        return job.augmented
    if workers == 0:
        from streamload.fetch.fetcher import probe

        return probe(job)
    from streamload.workers.pool import probe_schema

    return probe_schema(replace(job, workers=1), timeout=timeout)


def _private_nbytes(job: Job, batch_size: int) -> int:
    """What one process keeps of a batch between passes: what a transform is given, and what augmentation works in."""
    given = job.augmented.record_nbytes if job.augmentation is not None else sum(map(stored_nbytes, job.streams[0].columns))
    between = given * batch_size if job.transform is not None else 0
    return between + (scratch_nbytes(job.augmentation, job.schema, batch_size) if job.augmentation is not None else 0)


def _workers(asked: int | None) -> int:
    import sys

    if asked is None:
        return max(0, min(MOST_WORKERS, usable_cores() - 1)) if sys.platform == "linux" else 0
    if asked and sys.platform != "linux":
        raise ConfigError(f"num_workers={asked}: worker processes need Linux.", hint="Use num_workers=0, which reads in this process.")
    return asked
