"""Mixtures as values: parts by name, of one schema, with counts."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError
from streamload.mixtures import mix


def source(path: Path, records: int, **fields: np.ndarray) -> sl.Source:
    held = fields or {"image": np.zeros((records, 4, 4), np.uint8), "label": np.arange(records)}
    with h5py.File(path, "w") as file:
        for name, values in held.items():
            file[name] = values
    return sl.open(path)


def test_a_mixture_says_what_is_in_a_batch(tmp_path: Path) -> None:
    """Parts in the order given, their counts, and the fields of the first."""
    a, b = source(tmp_path / "a.h5", 100), source(tmp_path / "b.h5", 7)
    mixed = mix({"a": (a, 6), "b": (b, np.int64(2))})
    assert (mixed.names, dict(mixed.counts), mixed.batch_size, len(mixed)) == (("a", "b"), {"a": 6, "b": 2}, 8, 107)
    assert mixed.schema == a.schema
    first, *parts = repr(mixed).splitlines()
    assert first.startswith("Mixture of 2 parts in batches of 8 · ")
    assert [part.split(" · ")[0] for part in parts] == ["  a: 6 of 100 records", "  b: 2 of 7 records"]
    assert mix({"a": (a, 4), "b": (b, 0)}).counts["b"] == 0


def test_fields_may_stand_in_any_order(tmp_path: Path) -> None:
    """Columns of every part follow the first one's fields."""
    a = source(tmp_path / "a.h5", 5, x=np.zeros(5), y=np.ones(5))
    b = sl.open(source(tmp_path / "b.h5", 5, x=np.zeros(5), y=np.ones(5)).fingerprints[0].path, fields=["y", "x"])
    mixed = mix({"b": (b, 1), "a": (a, 1)})
    for name in ("a", "b"):
        assert [column.field.name for column in mixed.columns(name)] == ["y", "x"]


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (
            {"image": np.zeros((5, 4, 5), np.uint8), "label": np.arange(5)},
            r"Field 'image' is image uint8 \(4, 4\) in part 'a', and image uint8 \(4, 5\) in part 'b'\. Choose and rename fields",
        ),
        ({"image": np.zeros((5, 4, 4), np.uint8), "label": np.zeros(5, np.int32)}, r"Field 'label' is label int64 .* and label int32"),
        ({"image": np.zeros((5, 4, 4), np.uint8)}, r"Part 'a' has a field 'label', and part 'b' has none\. Choose"),
        (
            {"image": np.zeros((5, 4, 4), np.uint8), "label": np.arange(5), "z": np.arange(5)},
            r"Part 'b' has a field 'z', and part 'a' has none\.",
        ),
    ],
    ids=["shape", "dtype", "missing", "more"],
)
def test_parts_of_other_fields_are_refused(tmp_path: Path, other: dict[str, np.ndarray], text: str) -> None:
    """By the field and both sides."""
    with pytest.raises(SchemaMismatchError, match=text):
        mix({"a": (source(tmp_path / "a.h5", 9), 1), "b": (source(tmp_path / "b.h5", 5, **other), 1)})


def test_what_are_no_parts_is_refused(tmp_path: Path) -> None:
    """With what was given, and an example."""
    a = source(tmp_path / "a.h5", 9)
    empty = source(tmp_path / "e.h5", 0)
    for parts, text in (
        ({}, r"mix\(\) was given dict in place of parts by name\. Give each part as a source and its records in a batch: sl\.mix"),
        ([(a, 1)], r"mix\(\) was given list in place"),
        ({1: (a, 1)}, r"mix\(\): 1 is no name of a part"),
        ({"a": a}, r"mix\(\): part 'a' is no pair of a source and a number"),
        ({"a": ("a.h5", 1)}, r"mix\(\): part 'a' is of str, not a source"),
        ({"a": (a, -1)}, r"mix\(\): -1 is no number of records of 'a'"),
        ({"a": (a, True)}, r"mix\(\): True is no number of records of 'a'"),
        ({"a": (a, 0)}, r"mix\(\) was given no records for a batch: every count is 0"),
        ({"a": (empty, 1)}, r"mix\(\): part 'a' has no records\. Leave it out"),
        ({str(k): (a, 1) for k in range(128)}, r"mix\(\) was given 128 parts; at most 127 are told apart\. Join files"),
    ):
        with pytest.raises(ConfigError, match=text):
            mix(parts)
