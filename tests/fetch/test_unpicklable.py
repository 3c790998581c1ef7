"""What cannot be sent to a worker is an error when the loader is made, and named by the path that leads to it."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamload as sl
from streamload.errors import ConfigError
from streamload.fetch.unpicklable import part_that_cannot_travel

LOCK = threading.Lock()


class Holder:
    """Holds a lock among other things."""

    def __init__(self) -> None:
        self.numbers = np.zeros(3)
        self.settings = {"lock": LOCK}

    def method(self, record: Any) -> Any:
        return record


class Slotted:
    """Holds it without a dict."""

    __slots__ = ("inside",)

    def __init__(self) -> None:
        self.inside = [1, LOCK]


def closure() -> Any:
    lock, other = threading.Lock(), 5

    def function(record: Any) -> Any:
        with lock:
            return record + other

    return function


def with_default(record: Any, lock: Any = LOCK) -> Any:
    return record, lock


def outer() -> Any:
    inner = closure()
    return lambda record: inner(record)


CASES = {
    "a variable of the function around it": (closure(), "the variable 'lock' of transform (lock)"),
    "two functions deep": (outer(), "the variable 'lock' of the variable 'inner' of transform (lock)"),
    "an attribute's element": (Holder(), "transform.settings['lock'] (lock)"),
    "a method": (Holder().method, "the object of transform.settings['lock'] (lock)"),
    "slots": (Slotted(), "transform.inside[1] (lock)"),
    "an argument that is set": (functools.partial(max, key=LOCK), "argument 'key' of transform (lock)"),
    "a lock itself": (LOCK, "transform (lock)"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_innermost_part_is_named(case: str) -> None:
    part, text = CASES[case]
    assert part_that_cannot_travel("transform", part) == text


def test_a_default_is_named() -> None:
    """Of a function that travels by value, as those of a script do."""
    namespace: dict[str, Any] = {"__name__": "__main__", "LOCK": LOCK}
    exec("def function(record, lock=LOCK):\n    return record", namespace)
    assert part_that_cannot_travel("transform", namespace["function"]) == "default 0 of transform (lock)"


def test_what_travels_is_none_of_them() -> None:
    assert part_that_cannot_travel("transform", lambda record: record) is None
    assert part_that_cannot_travel("the order", sl.Exact()) is None


class Backwards:
    """An order that holds a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return 20

    def records(self, epoch: int, start: int, stop: int) -> np.ndarray:
        return 19 - np.arange(start, stop)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"transform": closure()}, "the variable 'lock' of transform (lock) cannot be sent to worker processes"),
        ({"batch_transform": closure()}, "the variable 'lock' of batch_transform (lock) cannot be sent to worker processes"),
        ({"shuffle": Backwards()}, ".lock (lock) cannot be sent to worker processes"),
    ],
    ids=["transform", "batch_transform", "an order"],
)
def test_a_loader_says_so_when_it_is_made(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    """Before any batch is asked for."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros((20, 4))
    with sl.open(tmp_path / "data.h5") as data, pytest.raises(ConfigError) as caught:
        sl.Loader(data, batch_size=4, num_workers=2, **options)
    assert text in str(caught.value)
    assert "open them inside the function, or use num_workers=0" in caught.value.hint
