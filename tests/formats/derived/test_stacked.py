"""Columns side by side in one field, and tables of very many columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers
from table_files import WRITERS

from streamload.errors import ConfigError, NullValueError, SchemaMismatchError
from streamload.formats.open import open_source
from streamload.formats.tables import table
from streamload.loader.loader import Loader

FEATURES = np.random.default_rng(0).random((200, 12)).astype("f4")


def npz(path: Path, table: pa.Table) -> Path:
    """Each column as an array of its own."""
    np.savez(path.with_suffix(".npz"), **{name: table[name].to_numpy() for name in table.column_names})
    return path.with_suffix(".npz")


HOW: dict[str, Any] = WRITERS | {"npz": npz}
each_way = pytest.mark.parametrize("write", HOW.values(), ids=HOW)


def features() -> pa.Table:
    """Twelve columns of features, and a label."""
    return pa.table({**{f"f{at}": FEATURES[:, at] for at in range(12)}, "label": np.arange(200)})


@each_way
@pytest.mark.parametrize("held", [True, False], ids=["held", "in blocks"])
def test_columns_are_put_side_by_side(write: Any, held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By a list in its order, by a pattern in natural order; a pattern without a name chooses."""
    if not held:
        monkeypatch.setattr(table, "RESIDENT_NBYTES", 2000)
    path = write(tmp_path / "a", features())
    labels = np.arange(200)
    assert_delivers(path, {"x": FEATURES, "y": labels}, fields={"x": "f*", "y": "label"})
    assert_delivers(path, {"x": FEATURES[:, [3, 11, 0]], "label": labels}, fields={"x": ["f3", "f11", "f0"], "label": "label"})
    assert_delivers(path, {"x": FEATURES[:, :1]}, fields={"x": ["f0"]})
    assert_delivers(path, {"f10": FEATURES[:, 10], "f11": FEATURES[:, 11], "label": labels}, fields=["f1?", "label"])
    source = open_source(path, fields={"x": ["f*"]})
    assert (source.schema["x"].dtype, source.schema["x"].shape) == (np.float32, (12,))
    assert "x: 12 columns side by side: " in repr(source)
    for shuffle in (True, False):
        with Loader(source, batch_size=7, shuffle=shuffle, num_workers=0) as loader:
            found = {int(number): one.copy() for batch in loader for number, one in zip(batch.records, batch["x"], strict=True)}
        np.testing.assert_array_equal(np.stack([found[number] for number in range(200)]), FEATURES)
    source.close()


def test_several_files_of_arrays_are_put_side_by_side(tmp_path: Path):
    """Axes of a record come behind that of the columns; each file is read as it is."""
    left, right = (np.arange(40 * 3).reshape(40, 3) + add for add in (0, 1000))
    for number, half in enumerate((slice(0, 25), slice(25, 40))):
        columns = [pa.FixedSizeListArray.from_arrays(pa.array(side[half].reshape(-1)), 3) for side in (left, right)]
        pq.write_table(pa.table(columns, names=["a", "b"]), tmp_path / f"{number}.parquet", compression="zstd" if number else "none")
    assert_delivers(tmp_path, {"x": np.stack([left, right], axis=1)}, fields={"x": ["a", "b"]})


@each_way
def test_what_cannot_stand_side_by_side_is_refused_by_name(write: Any, tmp_path: Path):
    """Columns of other types, twice the same, none."""
    path = write(tmp_path / "a", features())
    with pytest.raises(SchemaMismatchError, match=r"'x' cannot be made of columns side by side: 'label' is int64.*, and 'f1' is float"):
        open_source(path, fields={"x": ["f1", "label"]})
    with pytest.raises(ConfigError, match=r"fields=\{'x': \[\.\.\.\]\} names column 'f1' twice\. Name each of the columns"):
        open_source(path, fields={"x": ["f1", "f1"]})
    with pytest.raises(ConfigError, match=r"names no column\. Name each"):
        open_source(path, fields={"x": []})
    for missing in ("q*", ["q*"], ["nope"]):
        with pytest.raises(ConfigError, match=r"holds no column '(q\*|nope)'; it holds 'f0', 'f1'"):
            open_source(path, fields={"x": missing})
    with pytest.raises(ConfigError, match="fields names 3: a field is named by text"):
        open_source(path, fields={"x": [3]})
    words = write(tmp_path / "b", pa.table({"f0": ["a", "b"], "f1": ["c", "d"]})) if write is not npz else None
    if words is not None:
        with pytest.raises(SchemaMismatchError, match="'f0' is string"):
            open_source(words, fields={"x": "f*"})


@pytest.mark.parametrize("held", [True, False], ids=["held", "in blocks"])
@pytest.mark.parametrize("how", ["parquet", "arrow"])
def test_nulls_of_any_column_are_nulls_of_the_field(how: str, held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """NaN where there is one; else told, and filled by the name of the field or of a column."""
    if not held:
        monkeypatch.setattr(table, "RESIDENT_NBYTES", 100)
    numbers = {f"n{at}": pa.array([None if row == at else 10 * row + at for row in range(30)]) for at in range(3)}
    fractions = {f"f{at}": pa.array([None if row == at else row / 4 for row in range(30)]) for at in range(3)}
    path = WRITERS[how](tmp_path / "a", pa.table(numbers | fractions))
    source = open_source(path, fields={"x": "f*", "n": "n*"})
    assert np.isnan(source.complete()[0][:]["x"]).sum() == 3
    assert "nulls in 'n' (3). Say what stands for it, fill={'n': 0}; or leave" in repr(source)
    assert source[3]["n"].tolist() == [30, 31, 32]
    with pytest.raises(NullValueError, match=r"null at row 1 of column 'n"):
        source[1]
    assert source.complete()[1].tolist() == list(range(3, 30))
    assert open_source(path, fields={"n": "n*"}, fill={"n": -1})[1]["n"].tolist() == [10, -1, 12]
    assert open_source(path, fields={"n": "n*"}, fill={"n0": -1, "n1": -2, "n2": -3})[:3]["n"].diagonal().tolist() == [-1, -2, -3]


def test_a_file_of_very_many_columns_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever is read of each: what costs as much as the file has columns is not done for each of them."""
    path = tmp_path / "a.parquet"
    values = np.arange(300 * 40).reshape(300, 40)
    pq.write_table(pa.table({f"f{at}": one for at, one in enumerate(values)}), path, row_group_size=20)
    opened: list[str] = []
    before = pq.ParquetFile

    def counted(name: str, **options: Any) -> Any:
        opened.append(name)
        return before(name, **options)

    monkeypatch.setattr(pq, "ParquetFile", counted)
    source = open_source(path)
    assert len(source.schema) == 300
    assert 1 <= len(opened) <= 3
    np.testing.assert_array_equal(source[7]["f299"], values[299, 7])
    assert len(opened) <= 4
    source.close()
