"""Shares of steps: whatever the ranks, lanes and batch sizes, every record of an epoch counts once, and ranks stay in step."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamload.order import PartSize, PlannedStep, RunPosition, SharedSteps, StepPiece, own_lanes, share, shared_lanes, taken, valid_rows
from streamload.order.shares import first_position, lane_length

from . import streams_reference as reference

MANY = settings(max_examples=150)


def all_ranks(n: int, lanes: int, count: int, ranks: int, **last: bool) -> list[SharedSteps]:
    """One source, as each rank sees it."""
    keywords = {"drop_last": False, "pad_last": False, **last}
    return [SharedSteps(parts=(PartSize(n=n, lanes=lanes, count=count),), rank=rank, ranks=ranks, **keywords) for rank in range(ranks)]


def step_of_all(ranks: list[SharedSteps], at: RunPosition) -> list[PlannedStep] | None:
    """The step that every rank takes next, which is the same number of rows, and leads to the same place."""
    steps = [one.step(at) for one in ranks]
    if steps[0] is None:
        assert steps == [None] * len(ranks)
        return None
    assert len({step.end for step in steps}) == len({step.rows for step in steps}) == 1
    return steps


def counted(steps: list[PlannedStep]) -> Counter[tuple[int, int, int]]:
    """The places (epoch, lane, number) that count, over all ranks."""
    return Counter(
        (piece.epoch, piece.lane, number)
        for step in steps
        for segment in step.segments
        if segment.valid
        for piece in segment.pieces
        for number in range(piece.start, piece.stop)
    )


def whole(n: int, lanes: int, epoch: int = 0) -> Counter[tuple[int, int, int]]:
    return Counter((epoch, lane, number) for lane in range(lanes) for number in range(lane_length(lane, lanes, n)))


@MANY
@given(n=st.integers(1, 300), lanes=st.integers(1, 12), data=st.data())
def test_a_run_may_go_on_anywhere_with_any_ranks_and_any_batch_size(n: int, lanes: int, data: st.DataObject) -> None:
    """Ranks and batch sizes that change from step to step cover every place of every lane once; pieces are as the definition has them."""
    at, found = all_ranks(n, lanes, 1, 1)[0].begin(), Counter()
    while at.positions[0].position < n:
        count, ranks = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 9)), label="batch size, ranks")
        steps = step_of_all(all_ranks(n, lanes, count, ranks), at)
        start, stop = at.positions[0].position, steps[0].end.positions[0].position
        for rank, step in enumerate(steps):
            wanted = reference.share(start, stop, n, lanes, rank, ranks)
            (segment,) = step.segments
            assert segment.valid == sum(b - a for _, a, b in wanted)
            assert segment.rows == reference.padded(start, stop, ranks)
            if wanted:
                assert [(piece.lane, piece.start, piece.stop) for piece in segment.pieces] == wanted
        found += counted(steps)
        at = steps[0].end
    assert found == whole(n, lanes)


@MANY
@given(
    n=st.integers(0, 300),
    lanes=st.integers(1, 9),
    count=st.integers(1, 30),
    ranks=st.integers(1, 9),
    last=st.sampled_from(["", "drop", "pad"]),
)
def test_every_rank_has_the_same_steps_of_the_same_size(n: int, lanes: int, count: int, ranks: int, last: str) -> None:
    """As many as `len` says; what is short stands at the end of all parts put together, and is left out, or filled up, on request."""
    every = all_ranks(n, lanes, count, ranks, drop_last=last == "drop", pad_last=last == "pad")
    at, found, size = every[0].begin(5), Counter(), count * ranks
    for number in range(len(every[0])):
        assert at == every[0].begin(5, number)
        assert every[0].left(at) == len(every[0]) - number
        steps = step_of_all(every, at)
        short = min(size, n - number * size)
        assert {step.rows for step in steps} == {count if last == "pad" else -(-short // ranks)}
        valid = [bool(row) for step in steps for row in valid_rows(step)]
        assert valid == [True] * short + [False] * (len(valid) - short)
        found += counted(steps)
        at = steps[0].end
    assert step_of_all(every, at) is None
    assert at.total_step == at.step + 5 * len(every[0])
    left_out = n % size if last == "drop" else 0
    assert sum(found.values()) == n - left_out
    assert found == whole(n, lanes, 5) or left_out
    following = every[0].next_epoch(at)
    assert (following.epoch, following.step, following.total_step) == (6, 0, at.total_step)
    assert following.positions == ((6, 0),)


@MANY
@given(n=st.integers(1, 200), lanes=st.integers(1, 9), count=st.integers(1, 9), ranks=st.integers(2, 9), pad=st.booleans())
def test_what_repeats_is_a_function_of_the_step_alone(n: int, lanes: int, count: int, ranks: int, pad: bool) -> None:
    """A rank that is short reads its own records, and repeats the last; one whose part is empty reads the first of the step."""
    every = all_ranks(n, lanes, count, ranks, pad_last=pad)
    at = every[0].begin(0, len(every[0]) - 1)
    start = at.positions[0].position
    first = share(start, min(n, start + count * ranks), n=n, lanes=lanes, rank=0, ranks=1)[0]
    for step in step_of_all(every, at):
        (segment,) = step.segments
        if segment.valid:
            assert sum(piece.stop - piece.start for piece in segment.pieces) == segment.valid
        else:
            assert segment.pieces == (StepPiece(0, first.lane, 0, first.start, first.start + 1),)


@MANY
@given(n=st.integers(1, 500), lanes=st.integers(1, 20))
def test_what_a_lane_has_given_never_falls(n: int, lanes: int) -> None:
    """By one record at a time, to the length of the lane; and the position at which it gives each record is known."""
    for lane in range(lanes):
        given_so_far = [taken(position, lane, lanes, n) for position in range(n + 1)]
        assert given_so_far == [reference.taken(position, lane, lanes, n) for position in range(n + 1)]
        assert {b - a for a, b in pairwise(given_so_far)} <= {0, 1}
        assert given_so_far[-1] == lane_length(lane, lanes, n)
        for number in range(given_so_far[-1]):
            position = first_position(number, lane, lanes, n)
            assert (given_so_far[position], given_so_far[position + 1]) == (number, number + 1)


@MANY
@given(
    ranks=st.sampled_from([1, 2, 3, 4, 8]),
    times=st.integers(1, 4),
    each=st.integers(1, 5),
    steps=st.integers(1, 6),
    more=st.integers(0, 40),
)
def test_ranks_have_whole_lanes_where_numbers_divide(ranks: int, times: int, each: int, steps: int, more: int) -> None:
    """Where ranks divide lanes, and these the records of a step: always the same lanes, which no other rank takes anything of."""
    lanes = ranks * times
    size = lanes * each
    n = size * steps + more % size
    for rank in range(ranks):
        own = own_lanes(size, lanes=lanes, rank=rank, ranks=ranks)
        assert own == range(rank * times, (rank + 1) * times)
        for step in range(steps):
            pieces = share(step * size, (step + 1) * size, n=n, lanes=lanes, rank=rank, ranks=ranks)
            assert [piece.lane for piece in pieces] == list(own)
    assert shared_lanes(size, lanes=lanes, ranks=ranks) == 0


@MANY
@given(n=st.integers(1, 400), lanes=st.integers(1, 12), count=st.integers(1, 20), ranks=st.integers(1, 9))
def test_a_rank_takes_nothing_from_lanes_that_are_not_its_own_before_the_last_step(n: int, lanes: int, count: int, ranks: int) -> None:
    """Whatever the numbers: what must be decoded ahead, and where blocks are decoded by several ranks, is known beforehand."""
    size = count * ranks
    owners = Counter()
    for rank in range(ranks):
        own = own_lanes(size, lanes=lanes, rank=rank, ranks=ranks)
        owners.update(own)
        for start in range(0, n - size + 1, size):
            assert {piece.lane for piece in share(start, start + size, n=n, lanes=lanes, rank=rank, ranks=ranks)} <= set(own)
    assert set(owners) == set(range(lanes))
    assert shared_lanes(size, lanes=lanes, ranks=ranks) == sum(count > 1 for count in owners.values())


parts = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=4).filter(
    lambda drawn: any(count for _, _, count in drawn)
)


def mixture(drawn: list[tuple[int, int, int]], rank: int, ranks: int, **last: bool) -> SharedSteps:
    keywords = {"drop_last": False, "pad_last": False, **last}
    return SharedSteps(
        parts=tuple(PartSize(n=n, lanes=lanes, count=count) for n, lanes, count in drawn), rank=rank, ranks=ranks, **keywords
    )


@MANY
@given(drawn=parts, ranks=st.integers(1, 5), drop=st.booleans(), pad=st.booleans())
def test_mixtures_follow_the_definition(drawn: list[tuple[int, int, int]], ranks: int, drop: bool, pad: bool) -> None:
    """Three epochs of any parts: the same leads, places and pieces as the slow reference; and any of them can be begun with at once."""
    every = [mixture(drawn, rank, ranks, drop_last=drop, pad_last=pad) for rank in range(ranks)]
    slow = [reference.Part(n, lanes, count) for n, lanes, count in drawn]
    at, wanted = every[0].begin(), reference.begin(slow)
    for epoch in range(3):
        assert (at.lead, at.positions) == (wanted.lead, wanted.places)
        assert at == every[0].begin(epoch)
        while (found := reference.mixed_step(slow, wanted, ranks, drop)) is not None:
            steps = step_of_all(every, at)
            stretches, wanted = found
            for rank, step in enumerate(steps):
                for segment in step.segments:
                    pieces = reference.mixed_share(slow[segment.stream], stretches[segment.stream], rank, ranks, pad)
                    assert segment.valid == sum(b - a for _, _, a, b in pieces)
                    if segment.valid:
                        assert [(p.epoch, p.lane, p.start, p.stop) for p in segment.pieces] == pieces
                    assert segment.rows == slow[segment.stream].count or segment.stream == at.lead
            at = steps[0].end
            assert at.positions == wanted.places
            assert at == every[0].begin(epoch, at.step) or at.step == len(every[0])
        assert step_of_all(every, at) is None
        assert at.step == len(every[0])
        at, wanted = every[0].next_epoch(at), reference.next_epoch(slow, wanted)


@MANY
@given(drawn=parts, data=st.data())
def test_each_part_of_a_mixture_gives_each_of_its_epochs_once(drawn: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """Whatever becomes of ranks, and of counts from epoch to epoch: no record twice in an epoch of the part's own, and none left out."""
    at, found = mixture(drawn, 0, 1).begin(), Counter()
    for _ in range(3):
        ranks = data.draw(st.integers(1, 4), label="ranks")
        while (steps := step_of_all([mixture(drawn, rank, ranks) for rank in range(ranks)], at)) is not None:
            for step in steps:
                for segment in step.segments:
                    found.update({(segment.stream, *place): 1 for place in counted([step._replace(split=(segment,))])})
            at = steps[0].end
        assert at.positions[at.lead].position == drawn[at.lead][0]
        counts = data.draw(st.lists(st.integers(0, 9), min_size=len(drawn), max_size=len(drawn)).filter(any), label="counts")
        drawn = [(n, lanes, count) for (n, lanes, _), count in zip(drawn, counts, strict=True)]
        at = mixture(drawn, 0, 1).next_epoch(at)
    assert set(found.values()) <= {1}
    for number, ((n, _, _), place) in enumerate(zip(drawn, at.positions, strict=True)):
        for epoch in range(place.epoch):
            places = {key[2:] for key in found if key[:2] == (number, epoch)}
            assert len(places) == n, (number, epoch)
        assert sum(key[:2] == (number, place.epoch) for key in found) == place.position


@pytest.mark.parametrize("ranks", [1, 3])
def test_an_empty_source_has_no_steps(ranks: int) -> None:
    """Nothing is delivered, and nothing divides by nothing."""
    for steps in all_ranks(0, 4, 8, ranks):
        assert len(steps) == 0
        assert steps.step(steps.begin()) is None
