"""A step of several pieces is filled as if each piece had been read by itself, whatever its records go through."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import streamload as sl
from streamload.errors import CorruptDataError
from streamload.fetch import windows
from streamload.fetch.draft import FilledStep
from streamload.fetch.fetcher import BatchFetcher
from streamload.fetch.job import Job, Stream
from streamload.fetch.probe import probe
from streamload.fetch.tasks import StepPiece, StepTask, WindowTask
from streamload.fetch.window_tables import tables_in, tables_nbytes
from streamload.loader.engine import arena_of
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import SlotLayout, SlotViews, flawed
from streamload.order import Block, Exact, layout_of, restricted
from streamload.ragged import Ragged
from streamload.source import Source
from streamload.workers.step_queue import StepQueue, StepTaker
from streamload.workers.worker import Worker

RECORDS, BATCH = 60, 24


def table(first: int) -> pa.Table:
    """Records of a fixed field, a number and a text, none of which two files share."""
    numbers = np.arange(first, first + RECORDS)
    return pa.table(
        {
            "x": pa.array([bytes([number % 251, number % 7]) * 40 for number in numbers.tolist()], pa.binary(80)),
            "label": numbers,
            "text": [f"{number}-" * (30 + number % 11) for number in numbers.tolist()],
        }
    )


@pytest.fixture
def raw_and_packed(tmp_path: Path) -> tuple[Source, Source]:
    """A source whose records are read by offset, and one whose blocks must be decoded."""
    first, second = table(0), table(1000)
    with pa.OSFile(str(tmp_path / "raw.arrow"), "wb") as file, pa.ipc.new_file(file, first.schema) as writer:
        writer.write_table(first, max_chunksize=7)
    pq.write_table(second, tmp_path / "packed.parquet", compression="zstd", row_group_size=5)
    return sl.open(tmp_path / "raw.arrow"), sl.open(tmp_path / "packed.parquet")


def stream_of(source: Source, *, lanes: int, blocks: bool, seed: int, window: int = 1_600) -> Stream:
    """A stream of so many lanes, each over every so manieth stretch of ten records."""
    cuts = next((column.cuts for column in source.columns if column.cuts is not None), None)
    whole = layout_of(source.file_starts, cuts=cuts, record_nbytes=80, addressable=source.addressable)
    numbers = np.arange(len(source))
    order = Block(window=window) if blocks else Exact()
    shares = [numbers[numbers // 10 % lanes == lane] for lane in range(lanes)]
    bound = tuple(order.bind(restricted(whole, share), seed + lane) for lane, share in enumerate(shares))
    own = range(lanes)
    stream = Stream(columns=source.columns, fingerprints=source.fingerprints, seed=seed, lanes=bound, own=own, least=1, arena=None)
    return replace(stream, arena=arena_of(stream, BATCH, goes_on=False))


class Rig:
    """One fetcher over several streams, without processes or a scheduler."""

    def __init__(
        self,
        sources: Sequence[Source],
        streams: list[Stream],
        *,
        rooms: int = 1 << 16,
        transform: Callable[..., Any] | None = None,
        on_bad: str = "raise",
    ) -> None:
        job = Job(
            streams=tuple(streams), layout=None, transform=transform, workers=1, mapped=False, direct=False, on_bad=on_bad, fills=False
        )
        schema = probe(job) if transform is not None else job.schema
        layout = SlotLayout.of(schema, BATCH, [rooms if field.ragged else 0 for field in schema])
        self.job = replace(job, layout=layout)
        self.sources = sources
        self.progress = WorkerProgress.create(1, parts=job.parts)
        self.ring = SharedBlock.create(layout.nbytes, purpose="a slot")
        self.arena = SharedBlock.create(job.arena_nbytes, purpose="an arena")
        self.tables = SharedBlock.create(tables_nbytes(job.streams), purpose="tables")
        self.writers = tables_in(self.tables, job.streams)
        self.views = SlotViews(layout, self.ring, 0)
        self.fetcher = BatchFetcher(self.job, index=0, progress=self.progress, slots=[self.views], arena=self.arena, tables=self.tables)
        self.number = 0

    def fill(self, pieces: list[StepPiece]) -> tuple[FilledStep, dict[str, Any], np.ndarray]:
        """Fill one step: what came of it, its fields, and its record numbers."""
        for window in self.windows_of(pieces):
            self.fetcher.windows.open(window)
        self.number += 1
        task = StepTask(self.number, 0, 7, self.number, tuple(pieces), tuple(pieces))
        while not self.fetcher.windows.ready(task):
            assert self.fetcher.windows.decode_next()
        self.fetcher.advise(task.advice)
        filled = self.fetcher.fill(task)
        assert self.views.task[0] == (task.number if filled.whole else flawed(task.number))
        if filled.overflow is None:
            fields, records = self.job.layout.arrays(self.ring.bytes, filled.count)
        else:
            layout = SlotLayout.of(self.job.layout.schema, BATCH, filled.overflow.capacities)
            fields, records = layout.arrays(filled.overflow.block.bytes, filled.count)
        return filled, fields, records

    def windows_of(self, pieces: list[StepPiece]) -> Iterator[WindowTask]:
        """Every window that the pieces lie in, each in a part of its own."""
        parts = {}
        for stream, lane, epoch, start, stop in pieces:
            if (stream, lane) not in self.writers:
                continue
            written = self.writers[stream, lane].write(epoch)
            if self.job.streams[stream].arena is None:
                continue
            for window in range(written.window_of(start), written.window_of(stop - 1) + 1):
                key = stream, lane, epoch, window
                if key not in parts:
                    first = sum(one.arena.parts for one in self.job.streams[:stream] if one.arena)
                    parts[key] = first + sum(other[0] == stream for other in parts)
                    yield WindowTask(100 * self.number + len(parts), *key, parts[key])

    def close(self) -> None:
        self.fetcher.close()
        for source in self.sources:
            source.close()
        for block in (self.ring, self.arena, self.tables):
            block.close()
        self.progress.close()


def pieces_of(streams: list[Stream], chance: Random) -> list[StepPiece]:
    """A few pieces of any streams and lanes, of few records each, in any two epochs on end."""
    pieces: list[StepPiece] = []
    for _ in range(chance.randint(1, 4)):
        stream = chance.randrange(len(streams))
        lane = chance.randrange(len(streams[stream].lanes))
        n = streams[stream].lanes[lane].n
        start = chance.randrange(n)
        pieces.append(StepPiece(stream, lane, chance.randint(4, 5), start, min(n, start + chance.randint(1, BATCH // 4))))
    return pieces


def expected(sources: list[Source], job: Job, pieces: list[StepPiece]) -> tuple[dict[str, list[Any]], list[int]]:
    """The fields of the records of pieces, a value a record, and the record numbers."""
    values: dict[str, list[Any]] = {}
    numbers: list[int] = []
    for piece in pieces:
        records = job.records(piece)
        numbers += records.tolist()
        for name, array in sources[piece.stream].take(records).items():
            values.setdefault(name, []).extend(array.to_list() if isinstance(array, Ragged) else array.tolist())
    return values, numbers


def listed(fields: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: array.to_list() if isinstance(array, Ragged) else array.tolist() for name, array in fields.items()}


@pytest.mark.parametrize("rooms", [1 << 16, 50], ids=["in its slot", "in memory of its own"])
@pytest.mark.parametrize("blocks", [False, True], ids=["exact", "block"])
def test_a_step_of_any_pieces_holds_their_records_one_after_the_other(
    raw_and_packed: tuple[Source, Source], blocks: bool, rooms: int
) -> None:
    """Of two sources, one of them decoded into the arena in block order; two lanes of each; two epochs."""
    sources = list(raw_and_packed)
    streams = [stream_of(source, lanes=2, blocks=blocks, seed=3 * k) for k, source in enumerate(sources)]
    assert (streams[1].arena is not None) == blocks
    rig, chance = Rig(sources, streams, rooms=rooms), Random(5)
    for _ in range(12):
        pieces = pieces_of(streams, chance)
        filled, fields, records = rig.fill(pieces)
        values, numbers = expected(sources, rig.job, pieces)
        assert (filled.count, filled.bad) == (len(numbers), ())
        assert records.tolist() == numbers
        assert listed(fields) == values
        assert (filled.overflow is not None) == (sum(map(len, values["text"])) > rooms)
        if filled.overflow is not None:
            fields.clear()
            filled.overflow.block.close()
    rig.close()


@pytest.mark.parametrize(("together", "most"), [(1, 1), (3_300, 2), (1 << 20, 7)], ids=["one at a time", "two", "all"])
def test_small_blocks_are_decoded_together(together: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of up to 1,600 bytes, as many as fit the bound; every record lies where its own block puts it."""
    monkeypatch.setattr(windows, "TOGETHER_NBYTES", together)
    monkeypatch.setattr(windows, "FIRST_NBYTES", together)
    monkeypatch.setattr(windows, "TOGETHER_NS", 10**15)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.arange(1300, dtype="<i8").reshape(130, 10), chunks=(10, 10), compression="gzip")
    source = sl.open(tmp_path / "a.h5")
    stream = stream_of(source, lanes=1, blocks=True, seed=4, window=100_000)
    rig = Rig([source], [stream])
    for piece in (StepPiece(0, 0, 4, 0, BATCH), StepPiece(0, 0, 4, 101, 125), StepPiece(0, 0, 5, 120, 130)):
        (window,) = rig.windows_of([piece])
        rig.fetcher.windows.open(window)
        counts = list(iter(rig.fetcher.windows.decode_next, 0))
        assert (sum(counts), max(counts)) == (7, most)
        rig.fetcher.windows.forget()
        filled, fields, _ = rig.fill([piece])
        assert filled.count == piece.stop - piece.start
        assert listed(fields) == expected([source], rig.job, [piece])[0]
    rig.close()


def test_blocks_that_take_long_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first few are as many as fit a small bound; then not even one would be done in the time that there is."""
    monkeypatch.setattr(windows, "FIRST_NBYTES", 3_300)
    monkeypatch.setattr(windows, "TOGETHER_NS", 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.arange(1300, dtype="<i8").reshape(130, 10), chunks=(10, 10), compression="gzip")
    source = sl.open(tmp_path / "a.h5")
    rig = Rig([source], [stream_of(source, lanes=1, blocks=True, seed=4, window=100_000)])
    (window,) = rig.windows_of([StepPiece(0, 0, 4, 0, BATCH)])
    rig.fetcher.windows.open(window)
    assert list(iter(rig.fetcher.windows.decode_next, 0)) == [2, 1, 1, 1, 1, 1]
    rig.close()


def test_blocks_that_the_steps_after_one_need_are_counted(tmp_path: Path) -> None:
    """Windows of 40 records in blocks of ten: what is left of this worker's share for a step, and for so many after it."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((130, 10), "<i8"), chunks=(10, 10), compression="gzip")
    source = sl.open(tmp_path / "a.h5")
    rig = Rig([source], [stream_of(source, lanes=1, blocks=True, seed=4, window=3_200)])
    windows = rig.fetcher.windows
    table = rig.writers[0, 0].write(4)
    starts = table.starts.tolist()
    rig.writers[0, 0].write(5)
    for window, start in enumerate(starts[:-1]):
        blocks, step = len(table.blocks_of(window)), StepPiece(0, 0, 4, start, start + 10)
        assert windows.left_of_share([step], steps=0) == 0  # It is not open.
        windows.open(WindowTask(window + 1, 0, 0, 4, window, window % 2))
        assert windows.left_of_share([step], steps=0) == blocks > 1
        assert windows.left_of_share([StepPiece(0, 0, 4, start - 10, start)] if window else [step], steps=1) == blocks
        assert sum(iter(windows.decode_next, 0)) == blocks
        assert windows.left_of_share([step], steps=0) == 0
    last = StepPiece(0, 0, 4, starts[-1] - 10, starts[-1])
    windows.open(WindowTask(90, 0, 0, 5, 0, 1 - window % 2))
    assert windows.left_of_share([last], steps=0) == 0
    assert windows.left_of_share([last], steps=1) == len(rig.writers[0, 0].read(5).blocks_of(0))
    rig.close()


@pytest.mark.parametrize("slow", [False, True], ids=["quick steps", "slow steps"])
def test_blocks_go_before_a_slow_step_where_others_would_wait_for_them(slow: bool, tmp_path: Path) -> None:
    """The last step of a window while the next window is open: blocks first where these take less time than the step."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((130, 10), "<i8"), chunks=(10, 10), compression="gzip")
    source = sl.open(tmp_path / "a.h5")
    rig, (ours, theirs) = Rig([source], [stream_of(source, lanes=1, blocks=True, seed=4, window=3_200)]), socket.socketpair()
    windows, table = rig.fetcher.windows, rig.writers[0, 0].write(4)
    queue = StepQueue()
    worker = Worker(ours, StepTaker(queue.taken, ours), rig.fetcher, rig.progress)
    windows.open(WindowTask(1, 0, 0, 4, 0, 0))
    while windows.left_of_share([StepPiece(0, 0, 4, 0, 10)], steps=0):
        assert worker._work()
    windows.open(WindowTask(2, 0, 0, 4, 1, 1))
    stop = int(table.starts[1])
    piece = StepPiece(0, 0, 4, stop - 10, stop)
    queue.put(StepTask(1, 0, 4, 3, (piece,)))
    worker._step_ns = 10**15 if slow else 0
    assert worker._work()
    assert (rig.views.task[0] == 1) == (not slow)
    while rig.views.task[0] != 1:
        assert worker._work()
    assert windows.left_of_share([piece], steps=1) == (0 if slow else len(table.blocks_of(1)))
    for end in (ours, theirs, queue):
        end.close()
    rig.close()


class Overtaken(StepTaker):
    """A worker's end of the queue of whom another takes a step that it has seen; once, when told so."""

    overtaking = False

    def look(self) -> StepTask | None:
        seen = super().look()
        if seen is not None and self.overtaking:
            self.overtaking = False
            self.take()
        return seen


def test_a_step_stays_in_the_queue_until_its_blocks_are_ready(tmp_path: Path) -> None:
    """Whoever has time first takes it then; who finds another step in its place keeps that one, and does it when it is ready."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((130, 10), "<i8"), chunks=(10, 10), compression="gzip")
    source, queue, (ours, theirs) = sl.open(tmp_path / "a.h5"), StepQueue(), socket.socketpair()
    rig = Rig([source], [stream_of(source, lanes=1, blocks=True, seed=4, window=3_200)])
    end, taker = int(rig.writers[0, 0].write(4).starts[1]), Overtaken(queue.taken, ours)
    worker = Worker(ours, taker, rig.fetcher, rig.progress)
    steps = [StepTask(k, 0, 4, k, (StepPiece(0, 0, 4, start, start + 2),)) for k, start in enumerate((0, 2, 4, 6, end))]
    for step in steps:
        queue.put(step)
    assert not worker._work(), "no window is open"
    rig.fetcher.windows.open(WindowTask(1, 0, 0, 4, 0, 0))
    while not rig.fetcher.windows.ready(steps[0]):
        assert worker._work()
        assert taker.look() == steps[0]
    assert (worker._work(), rig.views.task[0]) == (True, 0)
    taker.overtaking = True
    assert (worker._work(), rig.views.task[0]) == (True, 2), "another has taken step 1"
    taker.overtaking = True
    rig.fetcher.windows.open(WindowTask(2, 0, 0, 4, 1, 1))
    while not rig.fetcher.windows.ready(steps[4]):
        assert worker._work()
        assert (worker._step, taker.look(), rig.views.task[0]) == (steps[4], None, 2), "another has taken step 3"
    assert (worker._work(), worker._step, rig.views.task[0]) == (True, None, 4)
    for one in (ours, theirs, queue, rig):
        one.close()


def tagged(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"label": record["label"], "noise": rng.integers(0, 2**62), "text": f"{record['label']}:{len(record['text'])}"}


def test_a_transform_draws_by_the_seed_and_epoch_of_each_piece(raw_and_packed: tuple[Source, Source]) -> None:
    """A record is transformed alike whatever shares its batch, and differently in another epoch."""
    sources = list(raw_and_packed)
    streams = [stream_of(source, lanes=2, blocks=True, seed=3 * k) for k, source in enumerate(sources)]
    rig = Rig(sources, streams, transform=tagged)
    pieces = [StepPiece(1, 0, 4, 2, 6), StepPiece(0, 1, 5, 0, 3), StepPiece(1, 1, 4, 0, 2), StepPiece(1, 0, 5, 0, 5)]
    together = listed(rig.fill(pieces)[1])
    alone = [listed(rig.fill([piece])[1]) for piece in pieces]
    assert together == {name: [value for one in alone for value in one[name]] for name in together}
    assert len(set(together["noise"])) == len(together["noise"])
    rig.close()


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("blocks", [False, True], ids=["exact", "block"])
@pytest.mark.parametrize("policy", ["substitute", "skip"])
def test_what_stands_in_for_a_bad_record_is_of_its_own_stream(tmp_path: Path, policy: str, blocks: bool) -> None:
    """Each source keeps its part of the batch; what goes along with a record goes along with the one that stands in."""
    sources = []
    for name, first, bad in (("a", 0, {2, 3}), ("b", 100, {25})):
        images = [b"no image" if number in bad else jpeg(first + number) for number in range(40)]
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"image": images, "label": np.arange(40) + first}), path, compression="zstd", row_group_size=4)
        sources.append(sl.open(path))
    streams = [stream_of(source, lanes=1, blocks=blocks, seed=k) for k, source in enumerate(sources)]
    rig = Rig(sources, streams, on_bad=policy)
    places = [stream.lanes[0].records(4, 0, 40).tolist() for stream in streams]
    pieces = []
    for stream, record in ((0, 2), (1, 25)):
        start = max(0, min(places[stream].index(record) - 2, 33))
        pieces.append(StepPiece(stream, 0, 4, start, start + 7))
    filled, fields, records = rig.fill(pieces)
    wanted: list[tuple[int, int]] = []
    for (stream, _, _, start, stop), bad in zip(pieces, ({2, 3}, {25}), strict=True):
        ours = places[stream][start:stop]
        good = [k for k, record in enumerate(ours) if record not in bad]
        for k, record in enumerate(ours):
            if record not in bad:
                wanted.append((stream, record))
            elif policy == "substitute":
                wanted.append((stream, ours[next((other for other in good if other > k), good[0])]))
    assert records.tolist() == [record for _, record in wanted]
    assert fields["label"].tolist() == [100 * stream + record for stream, record in wanted]
    assert fields["image"][:, 0, 0, 0].tolist() == [100 * stream + record for stream, record in wanted]
    assert {row.record for row in filled.bad} == {places[s][p] for s, _, _, a, b in pieces for p in range(a, b)} & {2, 3, 25}
    rig.close()


def test_a_step_that_fails_lets_go_of_memory_of_its_own(raw_and_packed: tuple[Source, Source], tmp_path: Path) -> None:
    """The error names epoch and step, and nothing that was made for the batch is left."""
    sources = raw_and_packed[:1]
    streams = [stream_of(sources[0], lanes=1, blocks=False, seed=0)]
    rig = Rig(sources, streams, rooms=50)
    path = Path(streams[0].fingerprints[0].path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(sl.StreamloadError) as caught:
        rig.fill([StepPiece(0, 0, 4, 0, 10)])
    assert not isinstance(caught.value, CorruptDataError)
    assert (caught.value.details["epoch"], caught.value.details["batch_index"]) == (7, 1)
    rig.close()
