"""The values used last, by key: what is used again soon is not made again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LRU(Generic[Key, Value]):
    """A few values; the one used longest ago goes first, but the last is always kept.

    Pickles as empty. Two threads may at worst make one value twice.
    """

    def __init__(self, *, limit: int, size: Callable[[Value], int] | None = None, discard: Callable[[Value], None] | None = None) -> None:
        """`limit` is in values, or in what `size` says of each; `discard` is given every value that goes."""
        self._limit = limit
        self._size = size
        self._discard = discard
        self._total = 0
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key, make: Callable[[Key], Value]) -> Value:
        """The value of a key, made if it is not one of the last.

        `make` is not kept: a method of whoever holds this would close a circle, and what it holds would live until the
        collector comes by.
        """
        try:
            value = self._values[key]
            self._values.move_to_end(key)
        except KeyError:
            value = make(key)
            self.put(key, value)
        return value

    def find(self, key: Key) -> Value | None:
        """The value of a key, if it is one of the last; it counts as used."""
        try:
            self._values.move_to_end(key)
            return self._values[key]
        except KeyError:
            return None

    def put(self, key: Key, value: Value) -> None:
        """Hold the value of a key that has none."""
        self._values[key] = value
        self._total += self._size_of(value)
        while self._total > self._limit and len(self._values) > 1:
            self._drop(self._values.popitem(last=False)[1])

    def take_all(self) -> list[Value]:
        """All values, no longer held, nor given to `discard`."""
        values = list(self._values.values())
        self._values.clear()
        self._total = 0
        return values

    def clear(self) -> None:
        """Let go of everything."""
        while self._values:
            self._drop(self._values.popitem(last=False)[1])

    def _drop(self, value: Value) -> None:
        self._total -= self._size_of(value)
        if self._discard is not None:
            self._discard(value)

    def _size_of(self, value: Value) -> int:
        return 1 if self._size is None else self._size(value)

    def __getstate__(self) -> dict[str, object]:
        return {"_limit": self._limit, "_size": self._size, "_discard": self._discard}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _values=OrderedDict(), _total=0)
