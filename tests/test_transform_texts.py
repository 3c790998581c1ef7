"""Strings that a function of the user's returns: any length, or the stored width under the name of a stored field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamload as sl

CODES = [b"a", b"abc", b"", b"abcdef", b"b", b"xyz"]
NAMES = np.array(["cat", "elephant", "ox"])


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    """Six records with a code of up to six bytes."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["code"] = np.array(CODES, "S6")
        file["pair"] = np.array([[one, one[:1]] for one in CODES], "S6")
        file["label"] = np.arange(6) % 3
    return sl.open(tmp_path / "data.h5", fields=["code", "pair", "label"])


def taken(data: sl.Source, transform: Any, workers: int) -> dict[str, Any]:
    """All records in one batch, in stored order."""
    with sl.Loader(data, batch_size=6, shuffle=False, num_workers=workers, transform=transform) as loader:
        return {name: array.copy() for name, array in next(iter(loader)).items()}


@pytest.mark.parametrize("workers", [0, 1], ids="{} workers".format)
def test_a_stored_field_keeps_its_width(data: sl.Source, workers: int) -> None:
    """Although each value, looked at alone, is as wide as it is long."""
    found = taken(data, lambda record: {"code": record["code"], "pair": record["pair"], "label": record["label"]}, workers)
    assert (found["code"].dtype, found["pair"].dtype, found["pair"].shape) == (np.dtype("S6"), np.dtype("S6"), (6, 2))
    assert found["code"].tolist() == CODES
    assert found["pair"][:, 0].tolist() == CODES
    shorter = taken(data, lambda record: {"pair": np.array([one.upper() for one in record["pair"]])}, workers)
    assert shorter["pair"].tolist() == [[one.upper(), one[:1].upper()] for one in CODES]


@pytest.mark.parametrize("workers", [0, 1], ids="{} workers".format)
def test_strings_under_another_name_have_any_length(data: sl.Source, workers: int) -> None:
    """NumPy's strings as Python's."""
    found = taken(
        data,
        lambda record: {
            "other": record["code"],
            "array": np.array(record["code"]),
            "plain": bytes(record["code"]) * 2,
            "name": NAMES[record["label"]],
            "text": str(record["label"]) * int(record["label"]),
        },
        workers,
    )
    assert found["other"].to_list() == found["array"].to_list() == CODES
    assert found["plain"].to_list() == [one * 2 for one in CODES]
    assert found["name"].to_list() == ["cat", "elephant", "ox"] * 2
    assert found["text"].to_list() == ["", "1", "22"] * 2


def test_what_is_wider_than_the_stored_field_says_what_to_return(data: sl.Source) -> None:
    text = r"the transform's field 'code' is \|S9 \(\) for record 3, and \|S6 \(\) for the first record"
    with pytest.raises(sl.SchemaMismatchError, match=text) as caught:
        taken(data, lambda record: {"code": np.bytes_(record["code"] + record["code"][:3])}, 0)
    assert "bytes or str are of any length" in caught.value.hint


def test_arrays_of_strings_that_grow_say_how_to_give_the_width(data: sl.Source) -> None:
    with pytest.raises(sl.SchemaMismatchError, match="the transform's field 'new'") as caught:
        taken(data, lambda record: {"new": np.array([record["code"]])}, 0)
    assert "np.asarray(value, 'S16')" in caught.value.hint
    assert taken(data, lambda record: {"new": np.asarray([record["code"]], "S16")}, 0)["new"].tolist() == [[one] for one in CODES]
