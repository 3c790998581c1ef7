"""Saved states as values: what they say, what they go on with, and what they are refused for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamload.errors import StateError
from streamload.order import PartIdentity, PartSize, RunIdentity, SharedSteps, read_state, state_lanes, state_of

CONTENTS, WEIGHTS = "0123012301230123", "9876987698769876"
ONE = PartIdentity(name="", mode="block", order="abc", lanes=4, records=1000, schema="def", contents=CONTENTS, weights=None)
RUN = RunIdentity(seed=7, parts=(ONE,), counts=(64,))


def steps_of(
    *counts: int, n: tuple[int, ...] = (1000,), lanes: int = 4, rank: int = 0, ranks: int = 2, drop_last: bool = False
) -> SharedSteps:
    parts = tuple(PartSize(n=one, lanes=lanes, count=count) for one, count in zip(n, counts, strict=True))
    return SharedSteps(parts=parts, rank=rank, ranks=ranks, drop_last=drop_last, pad_last=False)


def changed(state: dict[str, Any], **entries: Any) -> dict[str, Any]:
    return {**state, **entries}


STEPS = steps_of(64)
MIDDLE = state_of(RUN, STEPS, STEPS.begin(3, 5))


def test_a_state_is_plain_json_and_small() -> None:
    """A few numbers and names, the same from every rank."""
    assert json.loads(json.dumps(MIDDLE)) == MIDDLE
    assert len(json.dumps(MIDDLE)) < 1000
    assert state_of(RUN, steps_of(64, rank=1), STEPS.begin(3, 5)) == MIDDLE
    assert (MIDDLE["epoch"], MIDDLE["position"], MIDDLE["step"], MIDDLE["total_step"]) == (3, 640, 5, 29)
    assert (MIDDLE["batch_size"], MIDDLE["world_size"], MIDDLE["lanes"]) == (64, 2, 4)


@settings(max_examples=100)
@given(n=st.integers(0, 400), ranks=st.integers(1, 5), count=st.integers(1, 40), epoch=st.integers(0, 2**60), data=st.data())
def test_a_state_of_every_step_goes_on_there(n: int, ranks: int, count: int, epoch: int, data: st.DataObject) -> None:
    """Wherever a run stands, also at an epoch's end."""
    steps = steps_of(count, n=(n,), ranks=ranks)
    run = replace(RUN, counts=(count,))
    at = steps.begin(epoch, data.draw(st.integers(0, len(steps))))
    found = read_state(json.loads(json.dumps(state_of(run, steps, at))), run, steps)
    assert (found.position, found.counts, found.warnings) == (at, (count,), ())


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.array], ids=["int64", "int32", "arrays of no dimensions"])
def test_numbers_may_come_back_as_any_whole_number(kind: Any) -> None:
    """Checkpoints make NumPy's integers or tensors of them."""
    state = {name: kind(value) if type(value) is int else value for name, value in MIDDLE.items()}
    assert read_state(state, RUN, STEPS).position == STEPS.begin(3, 5)
    assert state_lanes(state) == (4,)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            steps_of(48),
            "with batch_size=64 on 2 ranks, and goes on with batch_size=48 on 2 ranks: no record is lost or repeated; step and total",
        ),
        (steps_of(64, ranks=3), "with batch_size=64 on 2 ranks, and goes on with batch_size=64 on 3 ranks"),
        (steps_of(16, ranks=8), "with batch_size=64 on 2 ranks, and goes on with batch_size=16 on 8 ranks"),
        (steps_of(128, ranks=1), "with batch_size=64 on 2 ranks, and goes on with batch_size=128 on 1 rank:"),
    ],
    ids=["batch size", "ranks", "both", "one rank"],
)
def test_batch_size_and_ranks_may_change_and_are_said(steps: SharedSteps, said: str) -> None:
    """Once; where the run stands, and how many steps it has done, stays."""
    found = read_state(MIDDLE, replace(RUN, counts=(steps.parts[0].count,)), steps)
    assert found.position == STEPS.begin(3, 5)
    assert found.counts == (steps.parts[0].count,)
    (heard,) = found.warnings
    assert heard.startswith("The state was made ")
    assert said in heard


def test_a_batch_size_that_was_set_later_goes_on() -> None:
    """A loader that was made as the other was goes on as that one did; one that was made otherwise was meant to be."""
    state = state_of(RUN, steps_of(32), steps_of(32).begin(0, 3))
    found = read_state(state, RUN, STEPS)
    assert (found.counts, found.warnings) == ((32,), ())
    assert read_state(state, replace(RUN, counts=(48,)), steps_of(48)).counts == (48,)


OLD = {
    "version": 1,
    "order_version": 1,
    "mode": "block",
    "order": "abc",
    "seed": 7,
    "records": 1000,
    "schema": "def",
    "batch_size": 30,
    "epoch": 2,
    "position": 90,
}
"""As version 1 wrote it."""


@pytest.mark.parametrize(
    ("position", "drop_last", "step", "total"),
    [(90, False, 3, 71), (90, True, 3, 69), (0, False, 0, 68), (1000, False, 34, 102), (990, True, 33, 99)],
)
def test_states_of_version_1_go_on(position: int, drop_last: bool, step: int, total: int) -> None:
    """With the step that their batch size tells, on one lane; ranks and batch size may have become others."""
    run = replace(RUN, parts=(replace(ONE, lanes=1),), counts=(30,))
    assert state_lanes(OLD) == (1,)
    found = read_state(changed(OLD, position=position), run, steps_of(30, lanes=1, ranks=1, drop_last=drop_last))
    assert (found.position.epoch, found.position.step, found.position.total_step) == (2, step, total)
    assert found.position.positions == ((2, position),)
    assert found.warnings == ()
    found = read_state(changed(OLD, position=position), replace(run, counts=(20,)), steps_of(20, lanes=1, ranks=4))
    assert "batch_size=30 on 1 rank, and goes on with batch_size=20 on 4 ranks" in found.warnings[0]
    assert read_state(changed(OLD, epoch=2**62), run, steps_of(30, lanes=1, ranks=1)).position.epoch == 2**62


@pytest.mark.parametrize(
    ("run", "difference", "said"),
    [
        (replace(RUN, seed=8), "seed", "its seed is 7, and here it is 8. Resume with the same seed."),
        (
            replace(RUN, parts=(replace(ONE, mode="exact"),)),
            "mode",
            "its kind of order is block, and here it is exact. Resume with the same shuffle=.",
        ),
        (replace(RUN, parts=(replace(ONE, order="abd"),)), "order", "its order (cuts, windows, subset) is abc, and here it is abd."),
        (
            replace(RUN, parts=(replace(ONE, lanes=2),)),
            "lanes",
            "its number of lanes is 4, and here it is 2. Resume with the same shuffle=Block(lanes=",
        ),
        (
            replace(RUN, parts=(replace(ONE, mode="exact", records=1200),)),
            "records",
            "the data had 1,000 records when the state was made, and has 1,200 now. Resume with the data that it was written for",
        ),
        (
            replace(RUN, parts=(replace(ONE, mode="exact", schema="x"),)),
            "schema",
            "its digest of the fields (names, dtypes, shapes) is def",
        ),
        (
            replace(RUN, parts=(replace(ONE, schema="x"),)),
            "schema",
            "its digest of the fields (names, dtypes, shapes) is def, and here it is x.",
        ),
        (
            replace(RUN, parts=(replace(ONE, records=1200),)),
            "records",
            "the data had 1,000 records when the state was made, and has 1,200 now. Resume with the data that it was written for",
        ),
        (
            replace(RUN, parts=(replace(ONE, contents="0124012401240124"),)),
            "contents",
            "the data has as many records as that of the state, and others",
        ),
        (
            replace(RUN, parts=(replace(ONE, weights=WEIGHTS),)),
            "weights",
            "stands at position 640 of 1,000 of an epoch that was drawn by other weights",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 12 else "",
)
def test_a_state_of_another_run_is_refused_by_name(run: RunIdentity, difference: str, said: str) -> None:
    """What differs, in what it says and as a name."""
    with pytest.raises(StateError) as caught:
        read_state(MIDDLE, run, STEPS)
    assert said in str(caught.value)
    assert caught.value.details["difference"] == difference


def test_contents_that_nobody_has_looked_at_are_no_difference() -> None:
    """A source that cannot be read just now is not another one."""
    for contents in (None, CONTENTS):
        state = state_of(replace(RUN, parts=(replace(ONE, contents=contents),)), STEPS, STEPS.begin(3, 5))
        assert read_state(state, RUN, STEPS).position == STEPS.begin(3, 5)
        assert read_state(MIDDLE, replace(RUN, parts=(replace(ONE, contents=contents),)), STEPS).position == STEPS.begin(3, 5)


@pytest.mark.parametrize(("step", "position"), [(0, 0), (8, 1500)])
def test_weights_may_change_between_epochs(step: int, position: int) -> None:
    """Also with them the number of draws: what was at its end stays there."""
    drawn = replace(RUN, parts=(replace(ONE, weights=WEIGHTS, order="other"),))
    found = read_state(state_of(RUN, STEPS, STEPS.begin(3, step)), drawn, steps_of(64, n=(1500,)))
    assert found.position.positions == ((3, position),)
    assert found.warnings == ("The state was made with other weights: from now on, records are drawn by those given here.",)


DAMAGE: list[tuple[dict[str, Any], str]] = [
    ({"version": 99}, "its version of the state is 99, and here it is 2. It was written by another version"),
    ({"order_version": 2}, "its version of the record order is 2, and here it is 1. Finish the epoch with the version that wrote it"),
    (
        {"position": 1001},
        "the state's position is 1001, which is not a whole number from 0 to 1,000. The state is damaged: load another one, or begin anew.",
    ),
    ({"position": -1}, "the state's position is -1"),
    ({"position": 64.0}, "the state's position is 64.0"),
    ({"position": True}, "the state's position is True"),
    ({"position": np.True_}, "the state's position is True"),
    ({"step": None}, "the state's step is None"),
    ({"epoch": 10**5000}, "the state's epoch is"),
    ({"positions": 999}, "the state's positions are 999, and an epoch has 1,000"),
    ({"contents": 5}, "the state's contents is 5, which is no digest of 16 hexadecimal digits"),
    ({"lanes": "4"}, "its number of lanes is 4"),
    ({"mode": []}, "its kind of order is []"),
    ({"mode": np.array(["mixture", "block"])}, "its kind of order is ['mixture' 'block'], and here it is block"),
    ({"batch_size": 0}, "the state's batch size is 0"),
    ({"world_size": 0}, "the state's world size is 0"),
    ({"extra": 1}, "the state has entries that are not known here: extra. It may come from a newer streamload."),
    ({10**5000: 1}, "the state has entries that are not known here"),
    ({"mode": "mixture"}, "the state lacks lead, parts"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[said[-20:] for _, said in DAMAGE])
def test_a_damaged_state_is_refused_by_name(damage: dict[Any, Any], said: str) -> None:
    """What is wrong, with what was expected, in few words."""
    with pytest.raises(StateError) as caught:
        read_state({**MIDDLE, **damage}, RUN, STEPS)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("missing", MIDDLE)
def test_a_state_that_lacks_something_says_what(missing: str) -> None:
    """Every entry is needed."""
    with pytest.raises(StateError, match=f"the state lacks .*{missing}.* Give what state_dict\\(\\) returned, whole\\."):
        read_state({name: value for name, value in MIDDLE.items() if name != missing}, RUN, STEPS)
    for nothing in (None, [], "state", 3):
        with pytest.raises(StateError, match="a state is a dict, not"):
            read_state(nothing, RUN, STEPS)


A, B = replace(ONE, name="a", lanes=4), replace(ONE, name="b", records=90, order="b's")
MIXED = RunIdentity(seed=7, parts=(A, B), counts=(48, 16))
OF_TWO = steps_of(48, 16, n=(1000, 90))


@settings(max_examples=50)
@given(epoch=st.integers(0, 50), step=st.integers(0, 11))
def test_a_mixture_goes_on_where_each_part_stands(epoch: int, step: int) -> None:
    """An epoch and a position of each part, and which of them leads."""
    at = OF_TWO.begin(epoch, min(step, len(OF_TWO)))
    state = json.loads(json.dumps(state_of(MIXED, OF_TWO, at)))
    assert read_state(state, MIXED, OF_TWO).position == at
    assert [state["parts"][name]["position"] for name in "ab"] == [place.position for place in at.positions]


def test_counts_that_were_set_later_go_on() -> None:
    """They are part of the state; a mixture that was made with other counts goes on with these, and says so."""
    later = steps_of(16, 48, n=(1000, 90))
    state = state_of(MIXED, later, later.begin(1))
    assert read_state(state, MIXED, OF_TWO).counts == (16, 48)
    other = read_state(state, replace(MIXED, counts=(32, 32)), steps_of(32, 32, n=(1000, 90)))
    assert other.counts == (32, 32)
    assert "with batches of a=16, b=48 on 2 ranks, and goes on with batches of a=32, b=32 on 2 ranks" in other.warnings[0]


def test_a_lead_that_has_no_records_any_more_leads_no_longer() -> None:
    """A mixture whose counts are others now finds another lead."""
    state = state_of(MIXED, OF_TWO, OF_TWO.begin(1, 2))
    assert state["lead"] == 0
    found = read_state(state, replace(MIXED, counts=(0, 64)), steps_of(0, 64, n=(1000, 90)))
    assert found.position.lead == 1
    state["parts"]["a"]["batch_size"] = 0
    with pytest.raises(
        StateError, match=r"the state's batch size is 0 of the part that leads\. The state is damaged: load another one, or begin anew\."
    ):
        read_state(state, MIXED, OF_TWO)


def test_a_mixture_of_other_parts_is_refused() -> None:
    """By the names of both; within a part, by that part's name."""
    state = state_of(MIXED, OF_TWO, OF_TWO.begin(1, 2))
    assert state_lanes(state) == (4, 4)
    with pytest.raises(StateError, match=r"the state is of a mixture of a, b, and here it is of b, a\. Resume with the same parts"):
        read_state(state, replace(MIXED, parts=(B, A)), OF_TWO)
    with pytest.raises(StateError, match="the data of 'b' had 90 records when the state was made, and has 91 now"):
        read_state(state, replace(MIXED, parts=(A, replace(B, records=91))), OF_TWO)
    with pytest.raises(StateError, match="its kind of order is mixture, and here it is block"):
        read_state(state, RUN, STEPS)
    with pytest.raises(StateError, match="its kind of order is block, and here it is mixture"):
        read_state(MIDDLE, MIXED, OF_TWO)
    with pytest.raises(StateError, match="the state's lead is 2, which is not a whole number from 0 to 1"):
        read_state(changed(state, lead=2), MIXED, OF_TWO)
    for epoch in (2**63, 2**100):
        parts = {**state["parts"], "b": changed(state["parts"]["b"], epoch=epoch)}
        with pytest.raises(
            StateError, match=f"the state's epoch is {epoch}, which is not a whole number from 0 to 4,611,686,018,427,387,904"
        ):
            read_state(changed(state, parts=parts), MIXED, OF_TWO)


def test_lanes_that_no_run_can_have_are_refused_before_they_are_made() -> None:
    """Memory would be taken for them."""
    for lanes in (2**16 + 1, 2**62):
        with pytest.raises(StateError, match=f"the state's lanes is {lanes}, which is not a whole number from 1 to 65,536"):
            state_lanes(changed(MIDDLE, lanes=lanes))


hostile = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just("long").map(lambda _: 10**4400)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=200)
@given(data=st.data(), mixed=st.booleans())
def test_hostile_states_are_refused_or_right(data: st.DataObject, mixed: bool) -> None:
    """Whatever a state holds: a StateError, or a standing from which the run goes on to the end of its epoch."""
    run, steps = (MIXED, OF_TWO) if mixed else (RUN, STEPS)
    state = json.loads(json.dumps(state_of(run, steps, steps.begin(1, 2))))
    for name in data.draw(st.lists(st.one_of(st.sampled_from(sorted(state)), st.text(max_size=5)), min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            state[name] = data.draw(hostile)
        else:
            state.pop(name, None)
    try:
        at = read_state(data.draw(st.one_of(st.just(state), hostile)), run, steps).position
    except StateError:
        return
    for _ in range(20):
        step = steps.step(at)
        if step is None:
            return
        at = step.end
    raise AssertionError("the epoch has no end")
