"""The few values that are held: which go, what is done with them, and what pickling leaves."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from streamload.reuse.lru import LRU


def test_the_value_used_longest_ago_goes_first_and_is_discarded() -> None:
    """Values that are at hand are not made again; each that goes is given away once."""
    made: list[int] = []
    gone: list[str] = []

    def make(key: int) -> str:
        made.append(key)
        return f"value {key}"

    held = LRU[int, str](limit=2, discard=gone.append)
    assert [held.get(key, make) for key in (1, 2, 1, 3, 1, 2)] == [f"value {key}" for key in (1, 2, 1, 3, 1, 2)]
    assert made == [1, 2, 3, 2]
    assert gone == ["value 2", "value 3"]
    assert held.find(3) is None
    assert held.find(1) == "value 1"
    held.clear()
    assert gone == ["value 2", "value 3", "value 2", "value 1"]
    assert len(held) == 0


def test_sizes_count_and_the_last_value_stays_however_large() -> None:
    """A limit in bytes; what is larger than it is held alone."""
    held = LRU[str, bytes](limit=10, size=len)
    for key, nbytes in (("a", 4), ("b", 6), ("c", 1), ("d", 100)):
        held.put(key, bytes(nbytes))
        assert held.find(key) == bytes(nbytes)
    assert [held.find(key) for key in "abc"] == [None] * 3
    held.put("e", b"")
    assert held.find("d") is None
    assert held.take_all() == [b""]
    assert len(held) == 0


def test_a_pickled_one_is_empty_and_works() -> None:
    """What is held does not travel."""
    make: Callable[[int], int] = abs
    held = LRU[int, int](limit=1)
    assert held.get(-2, make) == 2
    copy = pickle.loads(pickle.dumps(held))
    assert len(copy) == 0
    assert [copy.get(key, make) for key in (-2, -3, -2)] == [2, 3, 2]
    assert len(copy) == 1
