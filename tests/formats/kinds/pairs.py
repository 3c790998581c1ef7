"""Choices of several kinds, such that every two of them are made together at least once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

LARGE = os.environ.get("STREAMLOAD_NET") == "large"
"""Whether all products are asked for: minutes, where pairs take seconds."""

Choice = dict[str, Any]


def _allowed(choice: Choice) -> bool:
    return True


def pairs(choices: Mapping[str, Sequence[Any]], allowed: Callable[[Choice], bool] = _allowed) -> list[Choice]:
    """Choices that cover every two values that some allowed choice has together; all allowed ones where `LARGE`.

    Greedy, and always the same: each choice is the one that covers the most pairs that are still open.
    """
    every = [choice for choice in _products(choices) if allowed(choice)]
    if LARGE:
        return every
    left = {pair for choice in every for pair in _pairs_of(choice)}
    found: list[Choice] = []
    covered = [frozenset(_pairs_of(choice)) for choice in every]
    while left:
        best = max(range(len(every)), key=lambda k: len(covered[k] & left))
        found.append(every[best])
        left -= covered[best]
    return found


def _products(choices: Mapping[str, Sequence[Any]]) -> Iterator[Choice]:
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def _pairs_of(choice: Choice) -> Iterator[tuple[tuple[str, Any], tuple[str, Any]]]:
    yield from combinations(choice.items(), 2)


def name_of(choice: Choice) -> str:
    """A choice, as a test is called."""
    return ", ".join(str(value) for value in choice.values())
