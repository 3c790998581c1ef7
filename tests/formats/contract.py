"""What every format is held to: records equal to the arrays that were written, however they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from streamload.formats.open import open_source
from streamload.ragged import Ragged

Arrays = Mapping[str, Any]


def assert_same(found: Any, expected: Any) -> None:
    """Two arrays, two ragged ones, or two records of one, are alike, dtypes included."""
    if isinstance(expected, (str, bytes)):
        assert type(found) is type(expected)
        assert found == expected
        return
    if isinstance(expected, Ragged):
        assert isinstance(found, Ragged)
        assert found.kind == expected.kind
        np.testing.assert_array_equal(found.offsets, expected.offsets)
        found, expected = found.values, expected.values
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, expected)
    if expected.dtype.kind in "SUV":
        assert found.tobytes() == expected.tobytes(), "what NumPy does not compare: zeros at the end"


def assert_delivers(path: object, expected: Arrays, **options: Any) -> None:
    """Every kind of index gives exactly the expected arrays, dtypes and shapes included."""
    source = open_source(path, **options)  # pyright: ignore[reportArgumentType]
    records = len(next(iter(expected.values())))
    try:
        assert len(source) == records
        assert set(source.schema.names) == set(expected)
        choices: list[Any] = [slice(None), slice(3, 40, 7), slice(None, None, -1), np.arange(records) % 3 == 0]
        choices += [[5 % records, -1, 0, 5 % records]] if records else []
        for choice in choices:
            taken = source[choice]
            for name, array in expected.items():
                assert_same(taken[name], array[choice])
        if records:
            one = source[records - 1]
            for name, array in expected.items():
                assert_same(one[name], array[-1])
    finally:
        source.close()


def a_file_of(path: Path) -> Path:
    """The data file itself, or the largest of those in the folder that hold records, as a table of labels does not."""
    held = [one for one in sorted(path.rglob("*")) if one.is_file() and one.suffix != ".csv"]
    return path if path.is_file() else max(held, key=lambda one: one.stat().st_size)
