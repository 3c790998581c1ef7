"""What is asked for next: every position once and in order, told ahead of its step, and its window open when it is needed."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamload.fetch.tasks import LaneKey, WindowKey
from streamload.order import BlockOrder, PartSize, PlannedStep, RunPosition, SharedSteps, StepPiece, WindowTable, layout_of
from streamload.order.shares import lane_length
from streamload.schedule.advice import MOST_PIECES, MOST_STEPS, Advice
from streamload.schedule.windows import LaneParts, WindowSchedule

sizes = st.tuples(st.integers(1, 30), st.integers(1, 90))
"""Batch size, and positions of an epoch."""


def shared(batch_size: int, n: int, *, lanes: int = 1, rank: int = 0, ranks: int = 1, drop_last: bool = False) -> SharedSteps:
    parts = (PartSize(n=n, lanes=lanes, count=batch_size),)
    return SharedSteps(parts=parts, rank=rank, ranks=ranks, drop_last=drop_last, pad_last=False)


def walked(steps: SharedSteps, at: RunPosition, until: int) -> list[PlannedStep]:
    """The steps from there to the end of the epoch before `until`."""
    found: list[PlannedStep] = []
    while at.epoch < until and len(steps):
        step = steps.step(at)
        if step is None:
            at = steps.next_epoch(at)
            continue
        found.append(step)
        at = step.end
    return found


def always(pieces: object) -> bool:
    """Every table is there."""
    return True


@given(sizes, st.integers(1, 200), st.integers(0, 40), st.integers(0, 89))
def test_the_kernel_is_told_each_position_once_and_neither_late_nor_too_early(
    size: tuple[int, int], ahead: int, more: int, begin: int
) -> None:
    """From where it began, without gaps, before the step that needs it, and a step further ahead and more at once than said at most."""
    (batch_size, end), most = size, size[0] + more
    steps = shared(batch_size, end)
    place = begin % end // batch_size
    begin = place * batch_size
    advice = Advice(steps, ahead=ahead, most=most)
    advice.begin(steps.begin(1, place))
    told: list[tuple[int, int]] = []
    for step in walked(steps, steps.begin(1, place), 3):
        pieces = advice.due(step, 3, always)
        told += [(piece.epoch, position) for piece in pieces for position in range(piece.start, piece.stop)]
        assert sum(piece.stop - piece.start for piece in pieces) < most + batch_size
        now, stop = step.begin.epoch, step.end.positions[0].position
        assert told[-1] >= (now, stop - 1)
        epoch, position = told[-1]
        assert (epoch - now) * end + position < stop + ahead + batch_size
    assert told == [(1, position) for position in range(begin, end)] + [(2, position) for position in range(end)]


@pytest.mark.parametrize(("batch_size", "lanes", "ranks"), [(1, 1, 2), (3, 1, 5), (600, 600, 1), (40, 20, 1)])
def test_what_travels_with_a_step_is_bounded_however_its_positions_lie(batch_size: int, lanes: int, ranks: int) -> None:
    """A rank's steps of few records do not follow each other, and those of lanes are as many pieces as there are lanes. Each step is
    told of, once and in time all the same."""
    steps = shared(batch_size, 9000, lanes=lanes, ranks=ranks)
    advice = Advice(steps, ahead=8000, most=8000)
    advice.begin(steps.begin())
    told: set[tuple[int, int]] = set()
    for step in walked(steps, steps.begin(), 1):
        pieces = advice.due(step, 1, always)
        assert len(pieces) < max(MOST_PIECES, 2 * len(step.pieces)) + len(step.pieces)
        new = [(piece.lane, position) for piece in pieces for position in range(piece.start, piece.stop)]
        assert len(new) == len(set(new))
        assert told.isdisjoint(new)
        told |= set(new)
        assert told.issuperset((piece.lane, position) for piece in step.pieces for position in range(piece.start, piece.stop))
    assert len(told) == 9000 // ranks


@pytest.mark.parametrize(("lanes", "ranks"), [(2, 1), (1, 2)])
def test_no_step_waits_until_very_many_small_ones_are_worked_out(lanes: int, ranks: int) -> None:
    """Where each is computed by itself. A few steps later as many are told of as shall be."""
    steps = shared(4, 40_000, lanes=lanes, ranks=ranks)
    advice = Advice(steps, ahead=8000, most=8000)
    advice.begin(steps.begin())
    told = 0
    for number, step in enumerate(walked(steps, steps.begin(), 1)[:12], 1):
        more = sum(piece.stop - piece.start for piece in advice.due(step, 1, always))
        assert more <= 4 * MOST_STEPS
        told += more
        assert told >= min(4 * MOST_STEPS * number, 8000 - 1000), "the advice lags by an eighth at most"


def test_steps_that_were_told_of_are_not_worked_out_again() -> None:
    """Where several ranks take turns, a step is told of and remembered until it is asked for, across the ends of epochs too."""
    steps = shared(10, 330, rank=1, ranks=4)
    advice = Advice(steps, ahead=40, most=40)
    at = steps.begin()
    advice.begin(at)
    remembered: list[bool] = []
    while at.epoch < 3:
        planned = advice.planned(at)
        if (step := planned or steps.step(at)) is None:
            at = steps.next_epoch(at)
            continue
        remembered.append(planned is not None)
        advice.due(step, 4, always)
        at = step.end
    assert remembered == [False] + [True] * (3 * len(steps) - 1)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_step_that_is_put_back_is_remembered_only_where_steps_are(ranks: int) -> None:
    """Nobody takes it out again where steps lie side by side: they would be kept to the end of the loader."""
    steps = shared(10, 100, ranks=ranks)
    advice = Advice(steps, ahead=0, most=10)
    step = steps.step(steps.begin())
    assert step is not None
    advice.put_back(step)
    assert advice.planned(steps.begin()) == (step if advice.remembers else None)
    assert advice.remembers == (ranks > 1)


@given(size=sizes, rows=st.integers(1, 200), place=st.integers(0, 89), drop_last=st.booleans())
def test_a_stretch_is_the_steps_that_it_stands_for(size: tuple[int, int], rows: int, place: int, drop_last: bool) -> None:
    steps = shared(*size, drop_last=drop_last)
    at = steps.begin(0, place % max(1, len(steps)))
    stretch = steps.stretch(at, rows)
    if stretch is None:
        assert steps.step(at) is None
        return
    alone: list[PlannedStep] = []
    while (step := steps.step(alone[-1].end if alone else at)) is not None and len(alone) < stretch.end.step - at.step:
        alone.append(step)
    assert (stretch.begin, stretch.end) == (at, alone[-1].end)
    assert stretch.rows == sum(step.rows for step in alone) <= max(rows, size[0])
    positions = [position for step in alone for piece in step.pieces for position in range(piece.start, piece.stop)]
    assert positions == list(range(stretch.pieces[0].start, stretch.pieces[0].stop))


def test_nothing_is_told_where_nothing_is_read_ahead_or_the_epoch_is_not_asked_for() -> None:
    steps = shared(5, 10)
    silent, ending, held = (Advice(steps, ahead=ahead, most=50) for ahead in (0, 100, 100))
    first = steps.step(steps.begin())
    for advice in (silent, ending, held):
        advice.begin(steps.begin(), [StepPiece(0, 0, 0, 0, 0)][:0])
    assert silent.due(first, 9, always) == ()
    assert held.due(first, 9, lambda pieces: False) == ()
    assert [ending.due(step, 1, always) for step in walked(steps, steps.begin(), 1)] == [(StepPiece(0, 0, 0, 0, 10),), ()]


def test_windows_that_are_half_over_are_told_of_from_their_beginning() -> None:
    steps = shared(5, 40)
    advice = Advice(steps, ahead=5, most=8)
    advice.begin(steps.begin(0, 4), [StepPiece(0, 0, 0, 3, 20)])
    told = [advice.due(step, 1, always) for step in walked(steps, steps.begin(0, 4), 1)]
    assert told[:3] == [(StepPiece(0, 0, 0, 3, 11),), (StepPiece(0, 0, 0, 11, 19),), (StepPiece(0, 0, 0, 19, 30),)]


class Windows:
    """A schedule over lanes of block orders, whose steps are answered as chance has it."""

    def __init__(self, steps: SharedSteps, orders: list[BlockOrder], touched: list[int], chance: Random) -> None:
        self.steps, self.orders, self.chance = steps, orders, chance
        parts: dict[LaneKey, LaneParts] = {}
        for lane, count in enumerate(touched):
            first = sum(touched[:lane]) + lane
            parts[0, lane] = LaneParts(range(first, first + count + 1), least=1)
        self.kept: dict[LaneKey, dict[int, WindowTable]] = {key: {} for key in parts}
        self.schedule = WindowSchedule(steps, self.table_of, parts)
        self.lane_of_part = {part: key for key, own in parts.items() for part in own.parts}
        self.opened: list[WindowKey] = []
        self.part_of: dict[WindowKey, int] = {}
        self.under_way: list[PlannedStep] = []

    def table_of(self, lane: LaneKey, epoch: int) -> WindowTable:
        kept = self.kept[lane]
        if epoch not in kept:
            lost = {other for other in kept if other % 2 == epoch % 2}
            needed = {(piece[:2], piece.epoch) for step in self.under_way for piece in step.pieces}
            needed |= {(key[:2], key[2]) for key in self.schedule.open}
            assert not any((lane, other) in needed for other in lost), "a table that is needed is not lost"
            self.kept[lane] = kept = {other: table for other, table in kept.items() if other not in lost}
            kept[epoch] = self.orders[lane[1]].table(epoch, *self.orders[lane[1]].empty_table())
        return kept[epoch]

    def open(self, until: int) -> None:
        for task in self.schedule.due(until):
            others = set(self.schedule.open) - {task.key}
            holders = [key for key, part in self.part_of.items() if part == task.part and key in others]
            assert not holders, "windows never meet in one part"
            assert self.lane_of_part[task.part] == task.key[:2]
            self.part_of[task.key] = task.part
            self.opened.append(task.key)

    def needed(self, step: PlannedStep) -> set[WindowKey]:
        found: set[WindowKey] = set()
        for stream, lane, epoch, start, stop in step.pieces:
            table = self.table_of((stream, lane), epoch)
            found |= {(stream, lane, epoch, window) for window in range(table.window_of(start), table.window_of(stop - 1) + 1)}
        return found

    def answer(self) -> None:
        """Answer the oldest step, or another that has its windows."""
        able = [step for step in self.under_way if self.holding(step) <= set(self.schedule.open)]
        assert self.under_way[0] in able, "the oldest step has its windows"
        step = self.chance.choice(able)
        self.schedule.leave(step.pieces, ())
        self.under_way.remove(step)

    def holding(self, step: PlannedStep) -> set[WindowKey]:
        """The windows of a step that hold any record."""
        return {key for key in self.needed(step) if np.diff(self.table_of(key[:2], key[2]).starts)[key[3]]}

    def run(self, at: RunPosition, until: int) -> None:
        self.schedule.begin(at)
        self.open(until)
        for step in walked(self.steps, at, until):
            while not self.schedule.may_use(step.pieces) or len(self.under_way) > 3:
                self.answer()
                self.open(until)
            self.schedule.ask(step.pieces, step.end)
            self.under_way.append(step)
            self.open(until)
        while self.under_way:
            self.answer()
            self.open(until)


@settings(max_examples=150)
@given(
    st.integers(1, 4),
    st.integers(1, 25),
    st.integers(1, 90),
    st.integers(1, 8),
    st.integers(1, 40),
    st.integers(0, 89),
    st.integers(0, 999),
    st.booleans(),
)
def test_windows_are_open_when_they_are_needed_whatever_is_answered_first(
    lanes: int, batch_size: int, n: int, chunk: int, window: int, begin: int, seed: int, drop_last: bool
) -> None:
    """Of one lane or several: each window once an epoch, in a part of its own, and closed when nothing of it is left."""
    windows, steps, at = shared_windows(shared(batch_size, n, lanes=lanes, drop_last=drop_last), chunk, window, begin, seed)
    windows.run(at, 5)
    assert not windows.schedule.open, "nothing stays open"
    assert len(set(windows.opened)) == len(windows.opened), "each is decoded once"
    expected: set[WindowKey] = set()
    for step in walked(steps, at, 5):
        expected |= windows_of(windows.orders, step)
    assert set(windows.opened) == expected
    for lane in range(lanes):
        own = [key for key in windows.opened if key[1] == lane]
        assert own == sorted(own), "in the order of use"


@settings(max_examples=100)
@given(
    st.integers(1, 5), st.integers(1, 4), st.integers(1, 9), st.integers(1, 90), st.integers(1, 8), st.integers(1, 40), st.integers(0, 999)
)
def test_windows_that_others_use_too_are_closed_when_they_are_passed(
    ranks: int, lanes: int, batch_size: int, n: int, chunk: int, window: int, seed: int
) -> None:
    """Of any rank of any number: the windows of its steps are open when they are needed, and no part is kept for ever."""
    for rank in range(ranks):
        windows, _, at = shared_windows(shared(batch_size, n, lanes=lanes, rank=rank, ranks=ranks), chunk, window, 0, seed)
        windows.run(at, 5)
        assert len(set(windows.opened)) == len(windows.opened), "each is decoded once"


def shared_windows(steps: SharedSteps, chunk: int, window: int, begin: int, seed: int) -> tuple[Windows, SharedSteps, RunPosition]:
    """Block orders of all lanes of steps, with as many parts of the arena as each needs."""
    (part,) = steps.parts
    shares = [lane_length(lane, part.lanes, part.n) for lane in range(part.lanes)]
    layouts = [layout_of([0, m], cuts=np.array([*range(0, m, chunk), m]), record_nbytes=8, addressable=False) for m in shares]
    orders = [BlockOrder(layout, seed=seed + k, window_nbytes=8 * max(window, chunk)) for k, layout in enumerate(layouts)]
    size = part.count * steps.ranks
    advance = size if part.lanes == 1 else -(-size // part.lanes) + 1
    touched = [order.most_touched(advance, goes_on=False) for order in orders]
    at = steps.begin(2, begin % len(steps) if len(steps) else 0)
    return Windows(steps, orders, touched, Random(seed)), steps, at


def windows_of(orders: list[BlockOrder], step: PlannedStep) -> set[WindowKey]:
    """The windows that hold any record of a step."""
    found: set[WindowKey] = set()
    for stream, lane, epoch, start, stop in step.pieces:
        starts = orders[lane].table(epoch, *orders[lane].empty_table()).starts
        found |= {(stream, lane, epoch, w) for w in range(len(starts) - 1) if max(start, starts[w]) < min(stop, starts[w + 1])}
    return found
