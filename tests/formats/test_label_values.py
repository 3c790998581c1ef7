"""Values of JSON and of tables as one array: numbers that are those that were written, or none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamload.formats.tables.label_values import labels_or_texts

LARGE = 12_345_678_901_234_567_890
NUMBERS: dict[str, tuple[list[Any], str]] = {
    "without a sign": ([LARGE, LARGE + 1, 5], "uint64"),
    "texts without a sign": ([str(LARGE), str(LARGE + 1)], "uint64"),
    "beside fractions": ([2**53, 0.5, None], "float64"),
    "a large fraction": ([1e20, 10**20, 0.5], "float64"),
    "the text of a large fraction": (["1e20", "0.5"], "float64"),
    "lists": ([[2**63 + 1, 2**63], [2**63 + 5, 2**63 + 7]], "uint64"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_whole_numbers_of_64_bits_are_themselves(case: str):
    """Identifiers and hashes: as floats, two that differ were one."""
    values, dtype = NUMBERS[case]
    array = labels_or_texts(values).array
    assert array is not None
    assert array.dtype == np.dtype(dtype)
    kind = int if array.dtype.kind == "u" and array.ndim == 1 else float if array.ndim == 1 else list
    assert array.tolist() == [kind(value or 0) for value in values]


NONE: dict[str, tuple[list[Any], str]] = {
    "of either sign": ([-1, 2**63 + 1], "whole numbers of more than 64 bits, or more digits than fractions beside them leave"),
    "too large": ([2**64 + 1, 5], "whole numbers of more than 64 bits, or more digits than fractions beside them leave"),
    "beside a fraction": ([2**53 + 1, 0.5], "whole numbers of more than 64 bits, or more digits than fractions beside them leave"),
    "lists": ([[2**53 + 1, 0.5], [1, 2]], "lists of values that are no numbers of one type"),
    "lists of either sign": ([[2**63 + 1, -1], [1, 2]], "lists of values that are no numbers of one type"),
    "lists of texts": ([["a"], ["b"]], "lists of values that are no numbers of one type"),
    "of other lengths": ([[1], [1, 2]], "lists of different lengths"),
    "of any kind": ([{}, 1], "values that are neither numbers nor texts"),
}


@pytest.mark.parametrize("case", NONE)
def test_numbers_that_would_be_others_are_none(case: str):
    """What is left out is said."""
    values, why = NONE[case]
    found = labels_or_texts(values)
    assert (found.array, found.why) == (None, why)


def test_texts_of_digits_that_no_number_holds_stay_texts():
    """Each is itself: as floats they were one."""
    for values in ([f"{LARGE}{at}" for at in range(4)], [str(2**53 + 1), "0.5", "1"]):
        for many in (values, values * 12):
            found = labels_or_texts(many)
            assert found.texts == tuple(many) if many is values else found.classes == sorted(values)
