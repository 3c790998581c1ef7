"""Whatever order work is answered in, steps come out in theirs, windows never meet in one part, and nothing waits for ever."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamload.errors import StreamloadError, TransformError, WorkerError, to_plain
from streamload.fetch.job import ArenaLayout, Stream
from streamload.fetch.tasks import Failed, Filled, StepTask, WindowTask
from streamload.fetch.window_tables import Tables
from streamload.formats.columns.raw import InMemory
from streamload.loader.engine import arena_of
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import SlotLayout, Slots, SlotViews
from streamload.order import BlockOrder, PartSize, SharedSteps, layout_of
from streamload.schedule.advice import Advice
from streamload.schedule.windows import LaneParts, WindowSchedule
from streamload.schema import Field, Schema
from streamload.transforms.record import received_error
from streamload.workers.scheduler import Scheduler

FIELD = Field("x", np.dtype("i8"), ())


class AnyOrderPool:
    """Does tasks in any order that is possible: a step when all its windows are open, one that is called off perhaps."""

    def __init__(
        self, slots: Slots, order: BlockOrder, tables: Tables | None, arena: ArenaLayout | None, chance: Random, fails: set[int]
    ) -> None:
        self.views = [SlotViews(slots.layout, slots.ring, slot) for slot in range(len(slots))]
        self.order, self.tables, self.arena, self.chance, self.fails = order, tables, arena, chance, fails
        self.steps: list[StepTask] = []
        self.parts: dict[int, WindowTask] = {}
        self.under_way: dict[int, int] = {}
        self.seen: list[StepTask] = []
        self.answered: set[int] = set()
        self.stopped = False
        self.capacity = chance.randint(1, 8)

    @property
    def in_turns(self) -> bool:
        return self.chance.random() < 0.5

    @property
    def pids(self) -> list[int]:
        return []

    def send_step(self, task: StepTask) -> None:
        assert len(self.steps) < self.capacity
        assert all(other.slot != task.slot for other in self.steps), "a slot is asked for once at a time"
        self.steps.append(task)
        self.seen.append(task)

    def send_window(self, task: WindowTask) -> None:
        old = self.parts.get(task.part)
        if old is not None:
            needed = [step for step in self.steps if (old.epoch, old.window) in self.windows_of(step)]
            assert not needed, "a part is not given away while a step still needs what is in it"
        self.parts[task.part] = task

    def windows_of(self, step: StepTask) -> list[tuple[int, int]]:
        if self.arena is None:
            return []
        (_, _, epoch, start, stop) = step.pieces[0]
        table = self.tables.read(epoch)
        return [(epoch, window) for window in range(table.window_of(start), table.window_of(stop - 1) + 1)]

    def possible(self, step: StepTask) -> bool:
        held = {(task.epoch, task.window) for task in self.parts.values()}
        return all(window in held for window in self.windows_of(step) if self._holds(window))

    def _holds(self, window: tuple[int, int]) -> bool:
        table = self.tables.read(window[0])
        return table.starts[window[1] + 1] > table.starts[window[1]]

    def receive(self, waiting_for: int | None) -> list[Filled | Failed]:
        able = [step for step in self.steps if self.possible(step)]
        if waiting_for is not None:
            assert able, "somebody waits, and no step can be done"
        self.chance.shuffle(able)
        count = self.chance.randint(1 if waiting_for is not None else 0, max(1, len(able)))
        return [self.do(step) for step in able[:count]]

    def do(self, step: StepTask) -> Filled | Failed:
        self.steps.remove(step)
        (_, _, epoch, start, stop) = step.pieces[0]
        if start in self.fails:
            return Failed(step.number, step.slot, to_plain(TransformError(f"step at {start} of epoch {epoch} failed")))
        views, count = self.views[step.slot], stop - start
        views.task[0] = step.number
        views.records[:count] = self.order.records(epoch, start, stop)
        views.fields["x"][:count] = views.records[:count]
        return Filled(step.number, step.slot, count)

    def forget(self) -> list[Filled | Failed]:
        replies = [
            self.do(step) if self.possible(step) and self.chance.random() < 0.5 else Failed(step.number, step.slot, {})
            for step in list(self.steps)
        ]
        self.steps.clear()
        self.parts.clear()
        if self.tables is not None:
            self.tables.forget()
        return replies

    def error_of(self, failed: Failed) -> StreamloadError:
        return received_error(failed.error)

    def stop(self) -> None:
        self.stopped = True


class Rig:
    """A scheduler over a block order, with a pool that answers as chance has it."""

    def __init__(
        self,
        *,
        n: int,
        chunk: int,
        window: int,
        batch_size: int,
        drop_last: bool,
        slots: int,
        seed: int,
        decoded: bool,
        fails: set[int] | None = None,
    ) -> None:
        layout = layout_of([0, n], cuts=np.array([*range(0, n, chunk), n]), record_nbytes=8, addressable=not decoded)
        self.order = BlockOrder(layout, seed=seed, window_nbytes=8 * max(window, chunk))
        self.end = n - n % batch_size if drop_last else n
        self.batch_size = batch_size
        self.slots = Slots(SlotLayout.of(Schema((FIELD,)), batch_size), count=slots, spare=1)
        self.block = SharedBlock.create(Tables.nbytes(self.order), purpose="tables")
        self.arena = None
        if decoded:
            columns = (Blocked(FIELD, layout.cuts),)
            stream = Stream(columns=columns, fingerprints=(), seed=seed, lanes=(self.order,), own=range(1), least=1, arena=None)
            self.arena = arena_of(stream, batch_size, goes_on=False)
        self.pool = AnyOrderPool(self.slots, self.order, Tables(self.order, self.block), self.arena, Random(seed), fails or set())
        part = PartSize(n=n, lanes=1, count=batch_size)
        self.shares = steps = SharedSteps(parts=(part,), rank=0, ranks=1, drop_last=drop_last, pad_last=False)
        tables = Tables(self.order, self.block)
        self.scheduler = Scheduler(
            steps=steps,
            pool=self.pool,
            slots=self.slots,
            windows=WindowSchedule(
                steps,
                lambda _, epoch: tables.write(epoch),
                {(0, 0): LaneParts(range(self.arena.parts), least=1)} if self.arena else {},
            ),
            advice=Advice(steps, ahead=20, most=max(batch_size, 10)),
            fills=False,
        )

    def steps(self, epoch: int, position: int = 0) -> Iterator[int]:
        """Take the steps of an epoch, each checked; yields where each begins."""
        for start in range(position, self.end, self.batch_size):
            step = self.scheduler.step()
            assert step is not None
            stop = min(start + self.batch_size, self.end)
            reached = [at.positions[0].position for at in (step.planned.begin, step.planned.end)]
            assert (step.epoch, reached) == (epoch, [start, stop])
            expected = self.order.records(epoch, start, stop)
            assert (step.records == expected).all()
            assert (step.fields["x"] == expected).all()
            yield start
        assert self.scheduler.step() is None

    def begin(self, epoch: int, position: int, stop: int | None) -> None:
        self.scheduler.begin(self.shares.begin(epoch, position // self.batch_size), stop)

    def close(self) -> None:
        self.slots.close()
        self.block.close()


class Blocked(InMemory):
    """A field whose blocks would have to be decoded."""

    def __init__(self, field: Field, cuts: np.ndarray) -> None:
        object.__setattr__(self, "field", field)
        object.__setattr__(self, "_cuts", cuts)

    addressable = False


rigs = st.fixed_dictionaries(
    {
        "n": st.integers(1, 80),
        "chunk": st.integers(1, 10),
        "window": st.integers(1, 60),
        "batch_size": st.integers(1, 90),
        "drop_last": st.booleans(),
        "slots": st.integers(2, 12),
        "seed": st.integers(0, 1000),
        "decoded": st.booleans(),
    }
)


@settings(max_examples=200)
@given(rigs)
def test_steps_come_out_in_order_however_they_are_answered(given_rig: dict[str, Any]) -> None:
    """Three epochs on end, asked for ahead, with as few slots as there may be."""
    rig = Rig(**given_rig)
    for epoch in range(3):
        if rig.end:
            rig.begin(epoch, 0, 3)
            for _ in rig.steps(epoch):
                assert all(task.epoch <= epoch + 1 for task in rig.pool.seen), "no further ahead than the next epoch"
    assert all(task.epoch < 3 for task in rig.pool.seen), "nothing beyond the last epoch"
    numbers = [(task.epoch, task.pieces[0].start) for task in rig.pool.seen]
    assert all(task.step * rig.batch_size == task.pieces[0].start for task in rig.pool.seen)
    assert numbers == sorted(numbers), "asked for in the order of use, each once"
    assert len(set(numbers)) == len(numbers) == 3 * -(-rig.end // rig.batch_size)
    rig.close()


@settings(max_examples=200)
@given(rigs, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 80), st.integers(0, 6)), max_size=8))
def test_it_can_begin_anywhere_at_any_time(given_rig: dict[str, Any], jumps: list[tuple[int, int, int]]) -> None:
    """Broken off after any step, begun again at any place, with work under way: always the right records."""
    rig = Rig(**given_rig)
    for epoch, place, taken in jumps:
        position = place * rig.batch_size
        if position >= rig.end:
            continue
        rig.begin(epoch, position, None)
        for count, _ in enumerate(rig.steps(epoch, position), 1):
            if count > taken:
                break
    rig.close()


@settings(max_examples=100)
@given(rigs, st.integers(0, 79))
def test_what_is_filled_before_a_failure_is_handed_out_first(given_rig: dict[str, Any], place: int) -> None:
    """The step that failed raises at its own place; beginning there again tries it anew."""
    rig = Rig(**given_rig, fails={place * given_rig["batch_size"]})
    failing = place * given_rig["batch_size"]
    if failing < rig.end:
        rig.begin(0, 0, None)
        got: list[int] = []
        with pytest.raises(TransformError, match=f"step at {failing} of epoch 0 failed"):  # noqa: PT012 (the loop is what raises)
            for start in rig.steps(0):
                got.append(start)
        assert got == list(range(0, failing, rig.batch_size))
        with pytest.raises(TransformError):
            rig.scheduler.step()
        rig.pool.fails.clear()
        rig.begin(0, failing, None)
        assert list(rig.steps(0, failing)) == list(range(failing, rig.end, rig.batch_size))
    rig.close()


@pytest.mark.parametrize(("slots", "under_way"), [(13, 10), (4, 4), (2, 2)])
def test_fewer_steps_are_under_way_where_the_loader_and_workers_take_turns(
    slots: int, under_way: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter fewer, but of few slots all; and all are used again as soon as they take none any more."""
    rig = Rig(n=400, chunk=400, window=400, batch_size=5, drop_last=False, slots=slots, seed=0, decoded=False)
    rig.pool.capacity = rig.scheduler._capacity = 64
    for epoch, in_turns in enumerate((False, True, False)):
        monkeypatch.setattr(AnyOrderPool, "in_turns", in_turns)
        rig.begin(epoch, 0, epoch + 1)
        assert len(rig.pool.steps) == (under_way if in_turns else slots)
        assert len(list(rig.steps(epoch))) == 80
    rig.close()


def test_all_that_the_user_may_hold_can_be_held_where_slots_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnyOrderPool, "in_turns", True)
    rig = Rig(n=400, chunk=400, window=400, batch_size=5, drop_last=False, slots=9, seed=0, decoded=False)
    rig.begin(0, 0, 1)
    held = [rig.scheduler.step() for _ in range(80)]
    assert None not in held
    assert rig.scheduler.step() is None
    assert rig.scheduler.copies == 79
    rig.close()


def test_an_answer_to_a_task_that_was_not_sent_is_a_fault() -> None:
    rig = Rig(n=10, chunk=2, window=4, batch_size=2, drop_last=False, slots=3, seed=0, decoded=False)
    rig.begin(0, 0, None)
    with pytest.raises(WorkerError, match="a worker answered task 77, which was not sent: a fault in streamload"):
        rig.scheduler._take(Filled(77, 0, 2))
    rig.close()


def test_a_slot_that_does_not_bear_out_its_answer_is_a_fault() -> None:
    """Something wrote over it: its bytes are never shown."""
    rig = Rig(n=10, chunk=2, window=4, batch_size=2, drop_last=False, slots=3, seed=0, decoded=False)
    rig.begin(0, 0, None)
    task = rig.pool.seen[0]
    with pytest.raises(WorkerError, match=r"slot \d does not hold what task 0 should have put there. A function of yours"):
        rig.scheduler._take(Filled(task.number, task.slot, 2))
    rig.close()


@pytest.mark.parametrize("batch_size", [5, 3, 100])
def test_the_kernel_hears_of_every_position_once_and_ahead_of_its_step(batch_size: int) -> None:
    """Advice covers each epoch without gaps or repeats, and never lags behind."""
    rig = Rig(n=100, chunk=4, window=20, batch_size=batch_size, drop_last=False, slots=4, seed=1, decoded=False)
    for epoch in range(3):
        rig.begin(epoch, 0, 3)
        for _ in rig.steps(epoch):
            pass
    told: dict[int, list[tuple[int, int]]] = {}
    upto = (0, 0)
    for task in rig.pool.seen:
        for piece in task.advice:
            told.setdefault(piece.epoch, []).append((piece.start, piece.stop))
            upto = (piece.epoch, piece.stop)
        assert upto >= (task.epoch, task.pieces[0].stop)
    assert sorted(told) == [0, 1, 2]
    for stretches in told.values():
        assert stretches[0][0] == 0
        assert stretches[-1][1] == 100
        assert all(one[1] == other[0] for one, other in pairwise(stretches))
    rig.close()
