"""For how many steps a loader sleeps follows from whether workers go on while it is awake."""

from __future__ import annotations

import pytest

from streamload.workers.waking import LEAST_ENOUGH, MOST_ENOUGH, MOST_IN_TURNS, MOST_SURE, SURE, Waking


def turn(waking: Waking, open_steps: int = 9, *, filled: int | None = None) -> int:
    """The loader sleeps, and is woken when `filled` steps are filled; None: as many as it slept for. Returns that number."""
    asked = waking.sleep(open_steps)
    waking.woke(filled=asked if filled is None else filled, asked=asked)
    return asked


def taking_turns() -> Waking:
    """One whose loader and workers surely take turns."""
    waking = Waking(11)
    for _ in range(1 + MOST_SURE):
        turn(waking)
    assert waking.in_turns
    return waking


@pytest.mark.parametrize(("slots", "enough"), [(5, LEAST_ENOUGH), (11, 3), (15, 5), (99, MOST_ENOUGH)])
def test_few_steps_are_slept_for_while_workers_go_on(slots: int, enough: int) -> None:
    waking = Waking(slots)
    for _ in range(50):
        assert turn(waking, 20) == enough
        waking.found()
    assert not waking.in_turns
    assert turn(waking, 2) == 2


def test_nearly_all_are_slept_for_where_nothing_is_filled_meanwhile() -> None:
    waking = Waking(11)
    asked = [turn(waking) for _ in range(SURE + 2)]
    assert asked == [3] * SURE + [8, 8]
    assert turn(waking, 40) == MOST_IN_TURNS
    assert [turn(waking, open_steps) for open_steps in (2, 1)] == [1, 1]


def test_it_is_over_as_soon_as_workers_go_on() -> None:
    waking = taking_turns()
    asked = []
    while waking.in_turns:
        waking.found()
        asked.append(turn(waking))
    assert len(asked) <= 1 + (MOST_SURE - SURE) // 2 + 1
    assert turn(waking) == 3


def test_one_accident_is_none() -> None:
    waking = taking_turns()
    waking.found()
    turn(waking)
    assert waking.in_turns


def test_slow_steps_are_no_turns() -> None:
    """A worker whose steps are slow wakes the loader for each of them."""
    waking = Waking(11)
    for _ in range(20):
        assert turn(waking, filled=1) == 3
    assert not waking.in_turns
    waking = taking_turns()
    for _ in range(4):
        turn(waking, filled=1)
    assert not waking.in_turns


def test_who_was_woken_for_nothing_sleeps_for_one() -> None:
    waking = taking_turns()
    turn(waking, filled=0)
    assert [turn(waking) for _ in range(2)] == [1, 8]
