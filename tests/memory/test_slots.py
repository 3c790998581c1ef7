"""The ring keeps its rules, whatever workers and users do: held against a perfect twin that only counts."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamload.memory.slots import CANARY, SlotLayout, Slots, SlotState, SlotViews
from streamload.schema import Field, Schema

SCHEMA = Schema((Field("image", np.dtype("u1"), (3, 5)), Field("label", np.dtype("i8"), ()), Field("none", np.dtype("f4"), (0,))))
BATCH = 4

KEEPERS: dict[str, Callable[[np.ndarray], Any]] = {
    "the array": lambda array: array,
    "a slice": lambda array: array[1:2],
    "a reversed slice": lambda array: array[::-1],
    "a transpose": lambda array: array.T,
    "a reshaped view": lambda array: array.reshape(-1),
    "a view of another type": lambda array: array.view("u1"),
    "a slice of a slice": lambda array: array[1:][:1].T,
    "a memoryview": memoryview,
    "a slice of a memoryview": lambda array: memoryview(array)[1:],
    "an array from dlpack": np.from_dlpack,
    "an array of a memoryview": lambda array: np.asarray(memoryview(array)),
    "a broadcast": lambda array: np.broadcast_to(array, (2, *array.shape)),
    "an iterator over it": lambda array: array.flat,
}


@dataclass
class Held:
    """What the user holds of one batch, and what it must look like."""

    keeper: Any
    expected: bytes
    slot: int | None


class RingAgainstTwin(RuleBasedStateMachine):
    """Asks, answers, leases and lets go in any order; the twin knows who must hold what."""

    @initialize(count=st.integers(2, 6), data=st.data())
    def begin(self, count: int, data: st.DataObject) -> None:
        self.slots = Slots(SlotLayout.of(SCHEMA, BATCH), count=count, spare=data.draw(st.integers(1, count - 1)))
        self.views = [SlotViews(self.slots.layout, self.slots.ring, slot) for slot in range(count)]
        self.asked: dict[int, int] = {}
        self.filled: dict[int, int] = {}
        self.held: list[Held] = []
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "slots"):
            self.slots.close()
            for held in self.held:
                assert bytes_of(held.keeper) == held.expected, "arrays stay valid after the ring was closed"
            self.held.clear()

    def leased(self) -> set[int]:
        return {held.slot for held in self.held if held.slot is not None}

    @rule()
    def ask(self) -> None:
        """A slot is handed out exactly if one is free: never one that anybody holds, and never by waiting."""
        taken = self.leased() | set(self.asked) | set(self.filled)
        slot = self.slots.reserve()
        if len(taken) == len(self.slots):
            assert slot is None
            return
        assert slot is not None
        assert slot not in taken
        self.asked[slot] = self.number
        self.number += 1

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.asked)))
        task = self.asked.pop(slot)
        for name, array in self.views[slot].fields.items():
            array[...] = (task * 7 + len(name)) % 200
        self.views[slot].records[:] = task
        self.views[slot].task[0] = task
        assert self.slots.commit(slot, task)
        self.filled[slot] = task

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.asked)))
        del self.asked[slot]
        self.slots.abort(slot)

    @precondition(lambda self: self.filled)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.filled)))
        del self.filled[slot]
        self.slots.discard(slot)

    @precondition(lambda self: self.filled)
    @rule(data=st.data(), how=st.sampled_from(sorted(KEEPERS)), name=st.sampled_from(["image", "label"]), count=st.integers(1, BATCH))
    def lease(self, data: st.DataObject, how: str, name: str, count: int) -> None:
        """A batch is a view of its slot while fewer than `spare` are held, and private memory beyond that."""
        slot = data.draw(st.sampled_from(sorted(self.filled)))
        task = self.filled.pop(slot)
        before = len(self.leased())
        fields, records, copied = self.slots.lease(slot, count)
        assert copied == (before >= self.slots.spare)
        assert list(records) == [task] * count
        assert fields[name].shape == (count, *SCHEMA[name].shape)
        assert fields[name].flags.writeable
        keeper = KEEPERS[how](fields[name])
        self.held.append(Held(keeper, bytes_of(keeper), None if copied else slot))
        assert set(bytes_of(keeper)) <= {0, (task * 7 + len(name)) % 200}

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        held = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        assert bytes_of(held.keeper) == held.expected

    @invariant()
    def nothing_that_is_held_changes(self) -> None:
        for held in getattr(self, "held", ()):
            assert bytes_of(held.keeper) == held.expected

    @invariant()
    def every_slot_has_one_state(self) -> None:
        if not hasattr(self, "slots"):
            return
        for slot, state in enumerate(self.slots.states):
            if slot in self.asked:
                assert state is SlotState.ASKED
            elif slot in self.filled:
                assert state is SlotState.FILLED
            elif slot in self.leased():
                assert state is SlotState.LEASED
            else:
                assert state in (SlotState.FREE, SlotState.LEASED), "let go, but perhaps not noticed yet"


def bytes_of(keeper: Any) -> bytes:
    """What something that looks at an array shows, as bytes."""
    return keeper.tobytes() if not isinstance(keeper, np.flatiter) else np.asarray(keeper.base).tobytes()


RingAgainstTwin.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestRingAgainstTwin = RingAgainstTwin.TestCase


def filled_ring(*, count: int = 3, spare: int = 2) -> Slots:
    """A ring whose slots have all been filled by tasks of their own numbers."""
    slots = Slots(SlotLayout.of(SCHEMA, BATCH), count=count, spare=spare)
    for number in range(count):
        slot = slots.reserve()
        assert slot is not None
        views = SlotViews(slots.layout, slots.ring, slot)
        views.task[0], views.fields["image"][:] = number, number
        assert slots.commit(slot, number)
    return slots


@pytest.mark.parametrize("how", KEEPERS, ids=str)
def test_anything_that_looks_at_an_array_keeps_its_slot(how: str) -> None:
    """The slot is free again only when the last of them has died; nothing else is needed for that."""
    slots = filled_ring(count=2, spare=1)
    fields, _, _ = slots.lease(0, BATCH)
    keeper = KEEPERS[how](fields["label"])
    del fields
    assert slots.reserve() is None
    del keeper
    assert slots.reserve() == 0
    slots.close()


def test_no_line_of_python_runs_where_a_slot_comes_back() -> None:
    """An interrupt that came in one would be swallowed, and the slot would never be free again."""
    slots = filled_ring(count=2, spare=1)
    fields, _, _ = slots.lease(0, BATCH)
    called: list[object] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code) if event == "call" else None)
    try:
        del fields
    finally:
        sys.setprofile(before)
    assert called == []
    assert slots.reserve() == 0
    slots.close()


def test_slots_that_are_held_back_stay_free() -> None:
    slots = filled_ring(count=4, spare=1)
    slots.discard(0)
    slots.discard(1)
    slots.held_back = 1
    assert slots.available == 1
    assert (slots.reserve(), slots.reserve()) == (1, None)
    slots.held_back = 2
    assert (slots.available, slots.reserve()) == (-1, None)
    slots.held_back = 0
    assert (slots.available, slots.reserve()) == (1, 0)
    slots.close()


def test_record_numbers_lie_in_the_slot() -> None:
    """Whoever keeps them takes a copy, as a batch does that is asked for them; most are not."""
    slots = filled_ring(count=2, spare=1)
    fields, records, copied = slots.lease(0, BATCH)
    assert not copied
    del fields
    assert slots.reserve() is None
    del records
    assert slots.reserve() == 0
    slots.close()


def test_a_batch_beyond_the_spare_ones_is_private_memory_and_its_slot_goes_on() -> None:
    slots = filled_ring(count=3, spare=1)
    first = slots.lease(0, BATCH)
    second = slots.lease(1, BATCH)
    assert (first[2], second[2]) == (False, True)
    low, high = slots.ring.address, slots.ring.address + slots.ring.nbytes
    assert low <= first[0]["image"].ctypes.data < high
    assert not low <= second[0]["image"].ctypes.data < high
    assert slots.reserve() == 1
    assert (second[0]["image"] == 1).all()
    slots.close()


def test_a_worker_that_answers_another_task_is_found_out() -> None:
    slots = Slots(SlotLayout.of(SCHEMA, BATCH), count=2, spare=1)
    slot = slots.reserve()
    assert slot is not None
    SlotViews(slots.layout, slots.ring, slot).task[0] = 6
    assert not slots.commit(slot, 7)
    slots.close()


def test_a_worker_that_writes_past_its_slot_is_found_out() -> None:
    slots = Slots(SlotLayout.of(SCHEMA, BATCH), count=2, spare=1)
    slot = slots.reserve()
    assert slot is not None
    views = SlotViews(slots.layout, slots.ring, slot)
    views.task[0] = 7
    views.canary[0] = CANARY + 1
    assert not slots.commit(slot, 7)
    slots.close()


def test_a_slot_that_is_asked_for_cannot_be_leased_or_dropped() -> None:
    """A late worker must never write into memory that somebody else was given (rule 3)."""
    slots = Slots(SlotLayout.of(SCHEMA, BATCH), count=2, spare=1)
    slot = slots.reserve()
    assert slot is not None
    with pytest.raises(RuntimeError, match=r"slot \d is asked for, where it should be filled: a fault in streamload"):
        slots.lease(slot, BATCH)
    with pytest.raises(RuntimeError, match="asked for, where it should be filled"):
        slots.discard(slot)
    slots.close()


@pytest.mark.parametrize(("count", "spare"), [(1, 1), (2, 2), (3, 0)])
def test_some_slots_always_go_round(count: int, spare: int) -> None:
    with pytest.raises(ValueError, match="cannot be spare"):
        Slots(SlotLayout.of(SCHEMA, BATCH), count=count, spare=spare)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_ring_that_fails_while_it_is_made_is_closed(at_once: bool) -> None:
    """Its descriptors do not wait for the error to be forgotten."""
    layout = SlotLayout.of(SCHEMA, BATCH)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match="shorter than argument") as caught:
        Slots(replace(layout, offsets=layout.offsets[:1]), count=2, spare=1, at_once=at_once)
    assert set(os.listdir("/proc/self/fd")) == before
    assert caught.traceback


def test_fields_begin_on_cache_lines_and_lie_apart() -> None:
    layout = SlotLayout.of(SCHEMA, BATCH)
    slots = Slots(layout, count=2, spare=1)
    views = SlotViews(layout, slots.ring, 1)
    taken = np.zeros(layout.nbytes, np.int64)
    base = slots.ring.address + layout.nbytes
    for array in (views.task, views.records, *views.fields.values(), views.canary):
        assert array is views.canary or (array.ctypes.data - base) % 64 == 0
        taken[array.ctypes.data - base : array.ctypes.data - base + array.nbytes] += 1
    assert taken.max() == 1
    del views, array
    slots.close()


def test_the_memory_goes_with_the_last_array() -> None:
    """A closed ring is unmapped when nothing looks at it, and not before."""
    slots = filled_ring(count=2, spare=1)
    fields, _, _ = slots.lease(1, BATCH)
    ring = weakref.ref(slots.ring.mapping)
    slots.close()
    del slots
    gc.collect()
    assert ring() is not None
    assert (fields["image"] == 1).all()
    fields["image"][0] = 9
    del fields
    assert ring() is None
