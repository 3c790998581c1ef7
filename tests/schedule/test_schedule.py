"""What is asked for next: every position once and in order, told ahead of its step, and its window open when it is needed."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamload.fetch.tasks import LaneKey, StepPiece, WindowKey
from streamload.order import BlockOrder, WindowTable, layout_of
from streamload.schedule.advice import Advice
from streamload.schedule.steps import PlainSteps, PlannedStep, Steps, after
from streamload.schedule.windows import WindowSchedule

sizes = st.tuples(st.integers(1, 30), st.integers(1, 90))
"""Batch size, and positions of an epoch."""


class LaneSteps:
    """Steps that take as many records of each of several lanes."""

    def __init__(self, batch_size: int, lanes: int, n: int) -> None:
        self.batch_size, self.lanes, self.end = batch_size, lanes, n

    def given(self, position: int, lane: int) -> int:
        """What a lane has given when so many positions have been handed out."""
        return (lane + 1) * position // self.lanes - lane * position // self.lanes

    def at(self, epoch: int, start: int) -> PlannedStep:
        stop = min(start + self.batch_size, self.end)
        return PlannedStep(epoch, start // self.batch_size, start, stop, self.pieces(epoch, start, stop))

    def pieces(self, epoch: int, start: int, stop: int) -> tuple[StepPiece, ...]:
        found = [StepPiece(0, lane, epoch, self.given(start, lane), self.given(stop, lane)) for lane in range(self.lanes)]
        return tuple(piece for piece in found if piece.start < piece.stop)

    def standing(self, epoch: int, position: int) -> dict[LaneKey, tuple[int, int]]:
        return {(0, lane): (epoch, self.given(position, lane)) for lane in range(self.lanes)}

    def place(self, lane: LaneKey, epoch: int, position: int) -> tuple[int, int]:
        return epoch, next((p for p in range(self.end) if self.given(p + 1, lane[1]) > position), self.end)

    def taken(self, lane: LaneKey, epoch: int, start: int, stop: int) -> int:
        return max(0, min(stop, self.given(self.end, lane[1])) - start)


def walked(steps: Steps, epoch: int, start: int, until: int) -> list[PlannedStep]:
    """The steps from a position to the end of the epoch before `until`."""
    found: list[PlannedStep] = []
    while epoch < until:
        found.append(steps.at(epoch, start))
        epoch, start = after(found[-1], steps.end)
    return found


@given(sizes)
def test_steps_cover_every_epoch_once_and_in_order(size: tuple[int, int]) -> None:
    """Whatever the batch size; only the last of an epoch is smaller."""
    batch_size, end = size
    planned = walked(PlainSteps(batch_size=batch_size, end=end), 3, 0, 5)
    for epoch in (3, 4):
        ours = [step for step in planned if step.epoch == epoch]
        assert [step.step for step in ours] == list(range(-(-end // batch_size)))
        assert [position for step in ours for position in range(step.start, step.stop)] == list(range(end))
        assert all(step.stop - step.start == batch_size for step in ours[:-1])
        assert all(step.pieces == (StepPiece(0, 0, epoch, step.start, step.stop),) for step in ours)


@given(sizes, st.integers(0, 89))
def test_a_position_leads_to_its_lane_and_back(size: tuple[int, int], position: int) -> None:
    steps = PlainSteps(batch_size=size[0], end=size[1])
    assert [steps.place(lane, *there) for lane, there in steps.standing(2, position).items()] == [(2, position)]


@given(sizes, st.integers(1, 200), st.integers(0, 40), st.integers(0, 89))
def test_the_kernel_is_told_each_position_once_and_neither_late_nor_too_early(
    size: tuple[int, int], ahead: int, more: int, begin: int
) -> None:
    """From where it began, without gaps, before the step that needs it, and at most as far ahead and as much at once as was said."""
    (batch_size, end), most = size, size[0] + more
    steps = PlainSteps(batch_size=batch_size, end=end)
    begin = begin % end // batch_size * batch_size
    advice = Advice(steps, ahead=ahead, most=most)
    advice.begin(1, begin)
    told: list[tuple[int, int]] = []
    for step in walked(steps, 1, begin, 3):
        pieces = advice.due(step, 3)
        told += [(piece.epoch, position) for piece in pieces for position in range(piece.start, piece.stop)]
        assert sum(piece.stop - piece.start for piece in pieces) <= most
        assert told[-1] >= (step.epoch, step.stop - 1)
        epoch, position = told[-1]
        assert (epoch - step.epoch) * end + position < step.stop + ahead
    assert told == [(1, position) for position in range(begin, end)] + [(2, position) for position in range(end)]


def test_nothing_is_told_where_nothing_is_read_ahead_or_the_epoch_is_not_asked_for() -> None:
    steps = PlainSteps(batch_size=5, end=10)
    silent, ending = Advice(steps, ahead=0, most=5), Advice(steps, ahead=100, most=50)
    assert silent.due(steps.at(0, 0), 9) == ()
    assert [ending.due(step, 1) for step in walked(steps, 0, 0, 1)] == [(StepPiece(0, 0, 0, 0, 10),), ()]


class Windows:
    """A schedule over lanes of block orders, whose steps are answered as chance has it."""

    def __init__(self, steps: Steps, orders: list[BlockOrder], touched: list[int], chance: Random) -> None:
        self.steps, self.orders, self.chance = steps, orders, chance
        parts: dict[LaneKey, range] = {}
        for lane, count in enumerate(touched):
            first = sum(touched[:lane]) + lane
            parts[0, lane] = range(first, first + count + 1)
        self.kept: dict[LaneKey, dict[int, WindowTable]] = {key: {} for key in parts}
        self.schedule = WindowSchedule(steps, self.table_of, parts)
        self.lane_of_part = {part: key for key, own in parts.items() for part in own}
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

    def run(self, epoch: int, start: int, until: int) -> None:
        self.schedule.begin(epoch, start)
        self.open(until)
        for step in walked(self.steps, epoch, start, until):
            while not self.schedule.may_use(step.pieces) or len(self.under_way) > 3:
                self.answer()
                self.open(until)
            self.schedule.use(step.pieces)
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
)
def test_windows_are_open_when_they_are_needed_whatever_is_answered_first(
    lanes: int, batch_size: int, n: int, chunk: int, window: int, begin: int, seed: int
) -> None:
    """Of one lane or several: each window once an epoch, in a part of its own, and closed when nothing of it is left."""
    shares = [(lane + 1) * n // lanes - lane * n // lanes for lane in range(lanes)]
    layouts = [layout_of([0, m], cuts=np.array([*range(0, m, chunk), m]), record_nbytes=8, addressable=False) for m in shares]
    orders = [BlockOrder(layout, seed=seed + k, window_nbytes=8 * max(window, chunk)) for k, layout in enumerate(layouts)]
    steps: Steps = PlainSteps(batch_size=batch_size, end=n) if lanes == 1 else LaneSteps(batch_size, lanes, n)
    touched = [min(order.windows, 1 + -(-batch_size // max(1, order.least_window_records))) for order in orders]
    windows = Windows(steps, orders, touched, Random(seed))
    begin = begin % n // batch_size * batch_size
    windows.run(2, begin, 5)
    assert not windows.schedule.open, "nothing stays open"
    assert len(set(windows.opened)) == len(windows.opened), "each is decoded once"
    expected: set[WindowKey] = set()
    for step in walked(steps, 2, begin, 5):
        expected |= windows_of(orders, step)
    assert set(windows.opened) == expected
    for lane in range(lanes):
        own = [key for key in windows.opened if key[1] == lane]
        assert own == sorted(own), "in the order of use"


def windows_of(orders: list[BlockOrder], step: PlannedStep) -> set[WindowKey]:
    """The windows that hold any record of a step."""
    found: set[WindowKey] = set()
    for stream, lane, epoch, start, stop in step.pieces:
        starts = orders[lane].table(epoch, *orders[lane].empty_table()).starts
        found |= {(stream, lane, epoch, w) for w in range(len(starts) - 1) if max(start, starts[w]) < min(stop, starts[w + 1])}
    return found
