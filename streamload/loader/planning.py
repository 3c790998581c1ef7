"""From what the user asked for to what will be done: every argument checked, every size known, nothing read yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.fetch.job import Job, Stream
from streamload.fetch.ragged_collate import capacity_for
from streamload.fetch.window_tables import tables_nbytes
from streamload.loader.budget import Sizing, sizing_of
from streamload.loader.engine import arena_of
from streamload.loader.labels import mixing_advice
from streamload.loader.options import Options
from streamload.memory.limits import usable_cores
from streamload.memory.slots import SlotLayout
from streamload.order import BoundOrder, Layout, Listed, OrderSpec, asked_order, layout_of
from streamload.schema import Schema
from streamload.sizes import parse_nbytes
from streamload.source import RaggedColumn, Source, kept_column, stored_nbytes
from streamload.storage.files import recheck

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


def plan_of(data: Source, options: Options, default_memory_nbytes: Callable[[], int]) -> Plan:
    """Work out everything. Raises ConfigError, ResourceError and SourceChangedError as `Loader` says."""
    if not isinstance(cast(object, data), Source):
        raise ConfigError(f"data={data!r} is not a source.", hint='Open it first: sl.Loader(sl.open("train.h5"), batch_size=256).')
    batch_size, seed, workers = options.batch_size, options.seed, _workers(options.num_workers)
    for was in data.fingerprints:
        recheck(was)
    spec, order = _ordered(data, options, seed)
    end = order.n - order.n % batch_size if options.drop_last else order.n
    stream = Stream(columns=data.columns, fingerprints=data.fingerprints, seed=seed, lanes=(order,), arena=None)
    job = Job(
        streams=(stream,),
        layout=None,
        transform=options.transform,
        workers=max(1, workers),
        mapped=False,
        direct=False,
        on_bad=options.on_bad_record,
    )
    # More records than there are never share a batch, so slots need not hold them.
    fitting = max(1, min(batch_size, order.n))
    schema = _delivered(job, workers=workers, timeout=options.timeout_s, empty=order.n == 0)
    slot_layout = SlotLayout.of(schema, fitting, _rooms(schema, data, fitting))
    job = replace(job, layout=slot_layout, streams=(replace(stream, arena=arena_of(data.columns, stream.lanes, fitting)),))
    stored = sum(was.nbytes for was in data.fingerprints)
    shape = sizing_of(
        columns=data.columns,
        record_nbytes=sum(map(stored_nbytes, data.columns)),
        order=order,
        slot_nbytes=slot_layout.nbytes,
        batch_size=fitting,
        workers=workers,
        arena_nbytes=job.arena_nbytes,
        tables_nbytes=tables_nbytes(job.streams),
        mapped_nbytes=stored if any(column.mappable for column in data.columns) else 0,
        stored_nbytes=stored,
        transformed=options.transform is not None,
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
        warning=_warning(data, order, listed=options.indices is not None and isinstance(spec, Listed)),
    )


def _ordered(data: Source, options: Options, seed: int) -> tuple[OrderSpec, BoundOrder]:
    """What was asked for as an order, and that order of these records."""
    spec, layout = asked_order(options.shuffle, options.indices, _layout(data))
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
        return job.schema
    if workers == 0:
        from streamload.fetch.fetcher import probe

        return probe(job)
    from streamload.workers.pool import probe_schema

    return probe_schema(replace(job, workers=1), timeout=timeout)


def _workers(asked: int | None) -> int:
    import sys

    if asked is None:
        return max(0, min(MOST_WORKERS, usable_cores() - 1)) if sys.platform == "linux" else 0
    if asked and sys.platform != "linux":
        raise ConfigError(f"num_workers={asked}: worker processes need Linux.", hint="Use num_workers=0, which reads in this process.")
    return asked


def _warning(data: Source, order: BoundOrder, *, listed: bool) -> str | None:
    """What the user should hear of an order."""
    if listed and not data.addressable:
        return (
            f"indices= are in an order of their own, which shuffle=False keeps: each of the {order.n:,} records is decoded with its whole "
            "block. Give np.sort(indices) where their order does not matter."
        )
    return mixing_advice(data, order)
