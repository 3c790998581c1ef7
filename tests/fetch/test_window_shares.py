"""How a window's blocks are shared: nobody is left waiting for another, and every block is somebody's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamload.fetch.window_shares import shares_of, spread


@given(st.integers(0, 200), st.lists(st.integers(-5, 60), min_size=1, max_size=8))
def test_all_workers_have_as_many_blocks_left_as_can_be(blocks: int, left: list[int]) -> None:
    """Whoever is given some ends up with no more than one block above any other."""
    shares = shares_of(blocks, left)
    assert sum(shares) == blocks
    assert min(shares) >= 0
    after = [had + given for had, given in zip(left, shares, strict=True)]
    assert all(after[k] <= min(after) + 1 for k, given in enumerate(shares) if given)


def test_workers_that_are_level_take_turns_with_what_does_not_go_round() -> None:
    left = [0, 0, 0]
    totals = []
    for _ in range(3):
        left = [had + given for had, given in zip(left, shares_of(4, left), strict=True)]
        totals.append(tuple(left))
    assert totals == [(2, 1, 1), (3, 3, 2), (4, 4, 4)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_every_block_is_one_workers_and_shares_lie_among_each_other(shares: list[int]) -> None:
    chosen = spread(shares)
    assert [len(own) for own in chosen] == shares
    assert sorted(np.concatenate(chosen).tolist()) == list(range(sum(shares)))
    for own, share in zip(chosen, shares, strict=True):
        assert all(np.diff(own) > 0)
        if share:
            ideal = (np.arange(share) + 0.5) / share * sum(shares)
            assert np.abs(own + 0.5 - ideal).max() <= len(shares)
