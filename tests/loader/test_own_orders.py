"""Orders of the user's own that go wrong: the error says that it is the order, wherever it was asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_files import write

import streamload as sl


class Own:
    """An order that answers as it is told to."""

    def __init__(self, answer: Callable[[int, int], Any]) -> None:
        self.answer = answer

    def records(self, epoch: int, start: int, stop: int) -> Any:
        return self.answer(start, stop)


def failing(kind: type[Exception]) -> Callable[[int, int], Any]:
    """An answer that is an exception."""

    def answer(start: int, stop: int) -> Any:
        raise kind("no such thing")

    return answer


ANSWERS: dict[str, tuple[Callable[[int, int], Any], str]] = {
    "division": (lambda start, stop: [1 // 0], "failed with ZeroDivisionError: integer division or modulo by zero"),
    "KeyError": (failing(KeyError), "failed with KeyError: 'no such thing'"),
    "StopIteration": (failing(StopIteration), "failed with StopIteration: no such thing"),
    "one beyond": (lambda start, stop: np.arange(start, stop) + 71, "returned record 100 at position 29; there are 100 records."),
    "ragged": (lambda start, stop: [[1], [1, 2]], "returned a list that is no array:"),
    "floats": (lambda start, stop: np.zeros(stop - start), "returned float64 of shape"),
}


@pytest.mark.parametrize("workers", [0, 1], ids="{} workers".format)
@pytest.mark.parametrize("transformed", [False, True], ids=["stored", "transformed"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_order_that_goes_wrong_is_named(tmp_path: Path, workers: int, transformed: bool, answer: str) -> None:
    """It is no fault of ours, of a transform, or of a column; an end of a loop it is least of all."""
    wrong, said = ANSWERS[answer]
    with pytest.raises(sl.ConfigError) as caught:
        list(
            sl.Loader(
                sl.open(write(tmp_path / "data.h5")),
                batch_size=30,
                shuffle=Own(lambda start, stop: wrong(start, stop) if stop > 1 else [0]),
                num_workers=workers,
                transform=dict if transformed else None,
            )
        )
    text = str(caught.value)
    assert text.startswith("Own.records(0, 0, 30)")
    assert said in text
    assert "fault in streamload" not in text
    if "failed" in said:
        assert "of the order that shuffle= gave" in text
        assert "Its traceback is below." in text
        assert any("test_own_orders.py" in note or "dynamic" in note for note in caught.value.__notes__)


class Unsure(Own):
    """An order that cannot say how long it is."""

    def __len__(self) -> int:
        return -1


def test_an_order_that_cannot_say_how_long_it_is_is_named(tmp_path: Path) -> None:
    text = r"len\(Unsure\), of the order that shuffle= gave, failed with ValueError: __len__\(\) should return >= 0"
    with pytest.raises(sl.ConfigError, match=text):
        sl.Loader(sl.open(write(tmp_path / "data.h5")), batch_size=30, num_workers=0, shuffle=Unsure(np.arange))
