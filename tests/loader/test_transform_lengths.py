"""What a function of records returns decides whether a field is fixed or ragged, not the name that it returns it under."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError

RECORDS = 40
LENGTHS = {"mixed": [3 + (7 * k) % 31 for k in range(RECORDS)], "long": [200 + k for k in range(RECORDS)], "equal": [20] * RECORDS}
Record = dict[str, Any]


def spectrum(record: int, length: int) -> np.ndarray:
    return np.arange(length, dtype="f4") + record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of spectra, by what their lengths are like."""
    found = tmp_path_factory.mktemp("lengths")
    for name, lengths in LENGTHS.items():
        with h5py.File(found / f"{name}.h5", "w") as file:
            mz = file.create_dataset("mz", RECORDS, h5py.vlen_dtype("f4"))
            for record, length in enumerate(lengths):
                mz[record] = spectrum(record, length)
            file["label"] = np.arange(RECORDS)
    return found


def padded(record: Record) -> Record:
    return {"mz": np.resize(record["mz"], 16), "label": record["label"]}


def in_place(record: Record) -> Record:
    record["mz"] = np.resize(record["mz"], 16)
    return record


def doubled(record: Record) -> Record:
    return {"mz": record["mz"] * 2, "label": record["label"]}


def cut(record: Record) -> Record:
    return {"mz": record["mz"][:100], "label": record["label"]}


def renamed(record: Record) -> Record:
    return {"even": record["mz"][::2].astype("f8"), "label": record["label"]}


def said(record: Record) -> Record:
    return {"mz": sl.Ragged.of([record["mz"][:2]]), "label": record["label"]}


CASES: dict[str, tuple[Callable[[Record], Record], str, dict[str, bool]]] = {
    "padded": (padded, "mz", {"mixed": False, "long": False, "equal": False}),
    "padded in place": (in_place, "mz", {"mixed": False, "long": False, "equal": False}),
    "as long as it was": (doubled, "mz", {"mixed": True, "long": True, "equal": True}),
    "cut": (cut, "mz", {"mixed": True, "long": True, "equal": True}),
    "under a new name": (renamed, "even", {"mixed": True, "long": True, "equal": False}),
    "said to be ragged": (said, "mz", {"mixed": True, "long": True, "equal": True}),
}
"""Functions, the field to look at, and by file whether that is ragged."""


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("case", CASES)
def test_what_is_returned_decides(folder: Path, case: str, lengths: str) -> None:
    """The schema says it before the first batch, and every record comes as it was returned."""
    function, name, ragged = CASES[case]
    with sl.open(folder / f"{lengths}.h5") as data, sl.Loader(data, batch_size=7, num_workers=0, transform=function) as loader:
        assert bool(loader.schema[name].ragged) == ragged[lengths]
        for batch in loader:
            for row, record in enumerate(batch.records.tolist()):
                result = function({"mz": spectrum(record, LENGTHS[lengths][record]), "label": record})[name]
                expected = result[0] if isinstance(result, sl.Ragged) else result
                found = batch[name][row]
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found, expected)


def test_the_same_with_workers(folder: Path) -> None:
    for function, name, _ in (CASES["padded"], CASES["under a new name"]):
        schemas, batches = [], []
        for workers in (0, 2):
            options: Any = {"batch_size": 7, "num_workers": workers, "transform": function}
            with sl.open(folder / "mixed.h5") as data, sl.Loader(data, **options) as loader:
                schemas.append(loader.schema)
                batches.append([np.concatenate(list(batch[name])).tolist() for batch in loader])
        assert schemas[0] == schemas[1]
        assert batches[0] == batches[1]


def test_a_length_that_first_differs_later_says_how_to_mean_it(folder: Path) -> None:
    """Only records that were tried are known when a loader is made."""

    def late(record: Record) -> Record:
        return {"few": np.zeros(4 if int(record["label"]) < 30 else 5), "label": record["label"]}

    options: Any = {"batch_size": 10, "num_workers": 0, "shuffle": False, "transform": late}
    with (
        sl.open(folder / "mixed.h5") as data,
        sl.Loader(data, **options) as loader,
        pytest.raises(SchemaMismatchError, match=r"'few' is float64 \(5,\) for record 30, and float64 \(4,\)") as caught,
    ):
        [batch.step for batch in loader]
    assert "return sl.Ragged.of([array]), for every record" in caught.value.hint


def test_a_ragged_of_several_records_is_refused(folder: Path) -> None:
    def several(record: Record) -> Record:
        return {"mz": sl.Ragged.of([record["mz"], record["mz"]])}

    with (
        sl.open(folder / "mixed.h5") as data,
        pytest.raises(ConfigError, match="the transform's field 'mz' is a Ragged of 2 records, where one was expected"),
    ):
        sl.Loader(data, batch_size=4, num_workers=0, transform=several)


def test_numbers_of_another_package_are_the_same_at_any_number_of_workers(folder: Path) -> None:
    """bfloat16, which NumPy has no text for."""
    brain = pytest.importorskip("ml_dtypes").bfloat16

    def halved(record: Record) -> Record:
        return {"mz": np.resize(record["mz"], 6).astype(brain)}

    found = []
    for workers in (0, 2):
        options: Any = {"batch_size": 7, "num_workers": workers, "transform": halved}
        with sl.open(folder / "mixed.h5") as data, sl.Loader(data, **options) as loader:
            assert str(loader.schema) == "mz bfloat16 (6,)"
            found.append([batch["mz"].view(np.uint16).tolist() for batch in loader])
    assert found[0] == found[1]
