"""From what the user asked for to what will be done: every argument checked, every size known, nothing read yet."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from streamload.errors import ConfigError, ResourceError
from streamload.fetch.augment_fields import scratch_nbytes
from streamload.fetch.augment_images import sizes_of
from streamload.fetch.bad_records import SKIP
from streamload.fetch.job import Job, Stream
from streamload.fetch.ragged_collate import capacity_for, lengths_of
from streamload.fetch.window_tables import tables_nbytes
from streamload.loader.budget import MemoryDemand, Sizing, asked_workers, index_nbytes, sizing_of
from streamload.loader.engine import arena_of
from streamload.loader.labels import mixing_advice
from streamload.loader.options import Options
from streamload.loader.parts import Part, parts_of
from streamload.memory.slots import SlotLayout
from streamload.mixtures import Mixture
from streamload.order import Block, BlockOrder, BoundOrder, DrawnLane, DrawnRuns, OrderSpec, PartSize, SharedSteps, own_lanes
from streamload.processes.distributed import Ranks, asked_ranks
from streamload.schema import Schema
from streamload.sizes import format_nbytes, parse_nbytes
from streamload.source import Lengths, RaggedColumn, Source, stored_nbytes
from streamload.storage.file_table import recheck_files, total_nbytes
from streamload.transforms.collation import Collation, collation_of
from streamload.transforms.explanation import Explanation, explain

UNKNOWN_ELEMENTS = 256
"""Elements of a record that a transform makes, as long as nothing is known of them."""
MOST_MAPPED_FILES = 256
"""Each mapping holds a descriptor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a loader does, and how large its parts are."""

    data: Source | Mixture
    parts: tuple[Part, ...]
    shares: SharedSteps
    """How epochs are cut into steps."""
    ranks: Ranks
    schema: Schema
    """The fields of a batch's records, as they are delivered."""
    seed: int
    workers: int
    timeout: float
    restart: bool
    """Whether a worker that dies is replaced."""
    slot_nbytes: int
    job: Job
    sizing: Sizing
    warning: str | None
    """What the user should hear once."""

    @property
    def spec(self) -> OrderSpec:
        """What was asked for as an order, of the first source."""
        return self.parts[0].spec

    @property
    def order(self) -> BoundOrder:
        """The order of the first lane of the first source: of all, where there is one of each."""
        return self.parts[0].order.lanes[0]

    @property
    def batch_size(self) -> int:
        """Records of a rank's batch."""
        return self.shares.batch_size

    @property
    def without_steps(self) -> str | None:
        """What to say of an epoch that has no step, though there are records; None for any other."""
        if self.steps or not len(self.data):
            return None
        if not self.n:
            records = len(self.data)
            return (
                f"An epoch has no step: of {records:,} record{'s' * (records != 1)}, none is chosen. Look at indices= and shuffle=, and at "
                "records that on_bad_record= leaves out."
            )
        ranks = f", {self.shares.ranks:,} ranks" if self.shares.ranks > 1 else ""
        return (
            f"An epoch has no step: {self.n:,} record{'s' * (self.n != 1)}, batches of {self.batch_size:,}{ranks}, and drop_last=True "
            "leaves out what fills none. Give a smaller batch_size, or leave drop_last out."
        )

    @property
    def drop_last(self) -> bool:
        """Whether a step that would be short is left out."""
        return self.shares.drop_last

    @property
    def n(self) -> int:
        """Records of an epoch, or draws, over all ranks; of a mixture, of all its parts."""
        return sum(part.n for part in self.shares.parts)

    @property
    def steps(self) -> int:
        """Steps of a whole epoch."""
        return len(self.shares)

    @property
    def augmented(self) -> str:
        """Lines on what augmentation and collation do, for people; none where there is none."""
        augmentation, collation = self.job.augmentation, self.job.collation
        lines = "" if augmentation is None else f"  {augmentation}\n  becomes {augmentation.schema}\n"
        return lines if collation is None else f"{lines}  {collation}\n  becomes {collation.schema}\n"

    def explain(self, epoch: int, record: int, part: str | None) -> Explanation:
        """What augmentation draws for a record. Raises IndexError for one that is not there, ConfigError for a part that is not."""
        number = self._part_number(part, record)
        data, seed = self.parts[number].data, self.parts[number].order.seed
        if not 0 <= record < len(data):
            raise IndexError(f"record {record} is out of range for {len(data):,} records")
        plans = self.job.augmentation.plans if self.job.augmentation is not None else ()
        unlike = [plan.images[0].name for plan in plans if plan.images[0].size is None]
        sizes = sizes_of(self.job, record, unlike, stream=number) if unlike else None
        return explain(plans, seed=seed, epoch=epoch, record=record, sizes=sizes)

    def _part_number(self, part: str | None, record: int) -> int:
        """Which source a name means; None means the only one."""
        names = [one.name for one in self.parts if one.name]
        if part in names or (part is None and not names):
            return names.index(part) if part is not None else 0
        if not names:
            raise ConfigError(f"explain() is asked for the part {part!r}, and there is one source.", hint="Leave part= out.")
        raise ConfigError(
            f"explain() is asked for record {record:,} of {'no part' if part is None else repr(part)}, and this mixture has the parts "
            f"{', '.join(names)}.",
            hint=f"Say which: loader.explain(epoch, record, part={names[0]!r}); a part counts records and epochs of its own.",
        )


def plan_of(
    data: Source | Mixture,
    options: Options,
    default_memory_nbytes: Callable[[], int],
    *,
    lanes: Sequence[int] = (),
    counts: Sequence[int] = (),
) -> Plan:
    """Work out everything. Raises ConfigError, ResourceError and SourceChangedError as `Loader` says.

    `lanes` and `counts`, one a source, go before what the options say: a saved state brings them along.
    """
    ranks = asked_ranks(options.distributed, os.environ, sys.modules)
    workers = asked_workers(options.num_workers)
    parts = parts_of(data, options, ranks.world_size, lanes=lanes, counts=counts)
    for part in parts:
        recheck_files(part.data.fingerprints)
    shares = SharedSteps(
        parts=tuple(PartSize(n=part.order.n, lanes=len(part.order.lanes), count=part.count) for part in parts),
        rank=ranks.rank,
        ranks=ranks.world_size,
        drop_last=options.drop_last,
        pad_last=options.pad_last,
    )
    job = _job_of(parts, shares, options, workers)
    schema = job.batched if job.collation is None else job.collation.schema
    memory_nbytes = parse_nbytes(options.memory, name="memory") if options.memory is not None else default_memory_nbytes()

    def fitting_window() -> str | None:
        windows = _smaller_windows(data, options, parts, ranks, counts=counts)
        return next((window for window, fewer in windows if _is_enough(job, fewer, shares, schema, options, workers, memory_nbytes)), None)

    job, sizing = _sized(job, parts, shares, schema, options, workers, memory_nbytes, fitting_window)
    return Plan(
        data=data,
        parts=parts,
        shares=shares,
        ranks=ranks,
        schema=schema,
        seed=options.seed,
        workers=workers,
        timeout=options.timeout_s,
        restart=options.on_worker_crash == "restart",
        slot_nbytes=cast(SlotLayout, job.layout).nbytes,
        job=replace(job, mapped=sizing.mapped, direct=sizing.direct),
        sizing=sizing,
        warning=" ".join(dict.fromkeys(said for part in parts for said in (part.left_out, _warning(part)) if said)) or None,
    )


def _job_of(parts: Sequence[Part], shares: SharedSteps, options: Options, workers: int) -> Job:
    """What workers have to know, but for the sizes of slots and arenas: what transforms return has been found out."""
    job = Job(
        streams=_streams(parts, shares),
        layout=None,
        transform=options.transform,
        workers=max(1, workers),
        mapped=False,
        direct=False,
        on_bad=options.on_bad_record,
        fills=options.on_bad_record == SKIP and (shares.ranks > 1 or options.pad_last),
        augmentation=parts[0].augmentation,
        batch_transform=options.batch_transform,
    )
    job = _delivered(job, workers=workers, timeout=options.timeout_s, empty=not parts[0].order.n)
    return replace(job, collation=collation_of(options.collate, job.batched))


def _sized(
    job: Job,
    parts: Sequence[Part],
    shares: SharedSteps,
    schema: Schema,
    options: Options,
    workers: int,
    memory_nbytes: int,
    fitting_window: Callable[[], str | None],
) -> tuple[Job, Sizing]:
    """The job with slots and arenas, and the sizes of all. Raises as `sizing_of` does; `fitting_window` finds one that would do."""
    job = _laid_out(job, parts, shares, schema)
    sizes = sizing_of(
        _demand_of(job, parts, workers, memory_nbytes),
        columns=[column for part in parts for column in part.columns],
        orders=[order for stream in job.streams for lane, order in enumerate(stream.lanes) if lane in stream.own],
        record_nbytes=max(sum(map(stored_nbytes, part.columns)) for part in parts),
        stored_nbytes=total_nbytes(job.fingerprints),
        workers=workers,
        io=options.io,
        # The user's process maps no data file: one that shrinks under a mapping would kill it.
        mappable=workers > 0 and len(job.fingerprints) <= MOST_MAPPED_FILES,
        fitting_window=fitting_window,
    )
    return job, sizes


def _laid_out(job: Job, parts: Sequence[Part], shares: SharedSteps, schema: Schema) -> Job:
    """The job with the layouts of slots and arenas."""
    # More records than there are never share a batch, so slots need not hold them.
    fitting = [_fitting(shares, part) for part in shares.parts]
    slot_layout = SlotLayout.of(schema, max(1, sum(fitting)), _rooms(schema, job.collation, parts, fitting))
    streams = tuple(
        replace(stream, arena=arena_of(stream, _advance(shares, part), goes_on=len(parts) > 1))
        for stream, part in zip(job.streams, shares.parts, strict=True)
    )
    return replace(job, layout=slot_layout, streams=streams)


def _demand_of(job: Job, parts: Sequence[Part], workers: int, memory_nbytes: int) -> MemoryDemand:
    """The bytes that a job needs which is laid out."""
    layout = cast(SlotLayout, job.layout)
    columns = [column for part in parts for column in part.columns]
    processes = max(1, workers)
    return MemoryDemand(
        slot=layout.nbytes,
        arena=job.arena_nbytes,
        tables=tables_nbytes(job.streams),
        scratch=processes * (sum(column.scratch_nbytes for column in columns) + _private_nbytes(job, layout.batch_size)),
        index=index_nbytes(columns) + sum(part.order.weights.nbytes for part in parts if part.order.weights is not None),
        mapped=total_nbytes(job.fingerprints) if any(column.mappable for column in columns) else 0,
        rings=processes * sum(column.direct_nbytes for column in columns),
        processes=processes,
        memory=memory_nbytes,
    )


def _smaller_windows(
    data: Source | Mixture, options: Options, parts: Sequence[Part], ranks: Ranks, *, counts: Sequence[int]
) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """Windows of half the bytes and less, as long as they hold a block, and the parts as they are then: of one source in block order."""
    spec = parts[0].spec
    nbytes = sum(order.most_window_nbytes for order in parts[0].order.lanes if isinstance(order, BlockOrder))
    while len(parts) == 1 and isinstance(spec, Block) and (nbytes := nbytes // 2):
        window = format_nbytes(nbytes)
        smaller = Block(window=window, lanes=len(parts[0].order.lanes))
        try:
            yield window, parts_of(data, replace(options, shuffle=smaller), ranks.world_size, counts=counts)
        except ConfigError:
            return  # a block is larger


def _is_enough(
    job: Job, parts: Sequence[Part], shares: SharedSteps, schema: Schema, options: Options, workers: int, memory_nbytes: int
) -> bool:
    """Whether memory is enough for the orders of these parts."""
    try:
        _sized(replace(job, streams=_streams(parts, shares)), parts, shares, schema, options, workers, memory_nbytes, lambda: None)
    except (ConfigError, ResourceError):
        return False
    return True


def _streams(parts: Sequence[Part], shares: SharedSteps) -> tuple[Stream, ...]:
    return tuple(_stream(part, shares, number) for number, part in enumerate(parts))


def _stream(part: Part, shares: SharedSteps, number: int) -> Stream:
    """A source as the work sees it, still without an arena."""
    size, order, several = shares.parts[number], part.order, len(shares.parts) > 1
    own = own_lanes(size.count * shares.ranks, lanes=size.lanes, rank=shares.rank, ranks=shares.ranks)
    advance = _advance(shares, size)
    if several and size.n // size.lanes < 2 * advance:
        own = range(0)  # A step may go through several epochs of so small a part, and tables are there for two.
    drawn = isinstance(order.lanes[0], (DrawnLane, DrawnRuns))
    return Stream(
        columns=part.columns,
        fingerprints=part.data.fingerprints,
        seed=order.seed,
        lanes=order.lanes,
        own=own,
        least=advance if drawn else 1,
        arena=None,
    )


def _advance(shares: SharedSteps, part: PartSize) -> int:
    """The most positions of a lane that a step takes, over all ranks."""
    size = part.count * shares.ranks
    size = size if len(shares.parts) > 1 else min(size, max(1, part.n))
    return size if part.lanes == 1 else -(-size // part.lanes) + 1


def _fitting(shares: SharedSteps, part: PartSize) -> int:
    """Records of a part that a batch can have."""
    if shares.pad_last or len(shares.parts) > 1:
        return part.count
    return min(part.count, max(1, -(-part.n // shares.ranks)))


def _rooms(schema: Schema, collation: Collation | None, parts: Sequence[Part], records: Sequence[int]) -> list[int]:
    """Elements that a slot has room for, of each field that is delivered: what so many records of each part hardly ever exceed; 0
    of fixed ones.

    Of what a transform makes only the kind is known: it has room as the stored field of its name has, or as all together. What is
    padded or packed has room for what becomes of that.
    """
    stored: dict[str, int] = {}
    lengths: dict[str, Lengths] = {}
    for part, count in zip(parts, records, strict=True):
        for column in part.columns:
            if column.field.ragged and count:
                ragged = cast(RaggedColumn, column)
                stored[column.field.name] = stored.get(column.field.name, 0) + capacity_for(ragged, count)
                lengths.setdefault(column.field.name, lengths_of(ragged))
    unknown = sum(stored.values()) or UNKNOWN_ELEMENTS * max(1, sum(records))
    typical = next(iter(lengths.values()), Lengths(mean=UNKNOWN_ELEMENTS, deviation=0.0))
    rooms: list[int] = []
    for field in schema:
        operation = None if collation is None else collation.operation_of(field.name)
        if operation is None or not field.ragged:
            rooms.append(stored.get(field.name, unknown) if field.ragged else 0)
        else:
            of = lengths.get(operation.fields[0], typical)
            rooms.append(max(1, operation.elements(of.mean, of.deviation, sum(records))))
    return rooms


def _delivered(job: Job, *, workers: int, timeout: float, empty: bool) -> Job:
    """The job, with what a transform makes of the first records, and a batch transform of the first batch."""
    if job.transform is None or empty:
        job = replace(job, known=job.augmented)
    else:
        job = replace(job, known=_probed(job, workers=workers, timeout=timeout))
    if job.batch_transform is None or empty:
        return job
    return replace(job, made=_probed(job, workers=workers, timeout=timeout))


def _probed(job: Job, *, workers: int, timeout: float) -> Schema:
    """What the next function of the user's makes of records."""
    if workers == 0:
        from streamload.fetch.probe import probe

        return probe(job)
    from streamload.workers.probing import probe_schema

    return probe_schema(replace(job, workers=1), timeout=timeout)


def _private_nbytes(job: Job, batch_size: int) -> int:
    """What one process keeps of a batch between passes: what a transform is given, and what augmentation works in."""
    given = job.augmented.record_nbytes if job.augmentation is not None else sum(map(stored_nbytes, job.streams[0].columns))
    between = given * batch_size if job.transform is not None else 0
    between += job.transformed.record_nbytes * batch_size if job.batch_transform is not None else 0
    if job.collation is not None:
        whole = sum(
            capacity_for(cast(RaggedColumn, one), batch_size) * one.field.nbytes for one in job.streams[0].columns if one.field.ragged
        )
        between += job.batched.record_nbytes * batch_size + whole
    return between + (scratch_nbytes(job.augmentation, job.schema, batch_size) if job.augmentation is not None else 0)


def _warning(part: Part) -> str | None:
    """What the user should hear of an order."""
    if part.listed and not part.data.addressable:
        return (
            f"indices= are in an order of their own, which shuffle=False keeps: each of the {part.order.n:,} records is decoded with its "
            "whole block. Give np.sort(indices) where their order does not matter."
        )
    return mixing_advice(part.data, part.order)
