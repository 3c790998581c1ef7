"""Nulls in tables: NaN and NaT where NumPy has them; elsewhere said at open, of all columns at once, filled, or left out."""

from __future__ import annotations

import base64
import datetime as dt
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers, assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from table_files import NULL_LISTS, WRITERS, each_format, lacks, parquet

from streamload.errors import ConfigError, NullValueError, UnsupportedFeatureError
from streamload.formats.open import open_source
from streamload.formats.tables import table
from streamload.loader.loader import Loader
from streamload.ragged import Ragged

COUNTED: dict[str, Any] = WRITERS | {"no statistics": lambda path, table: parquet(path, table, write_statistics=False)}


def mixed(records: int = 9) -> pa.Table:
    """A column of each kind, every third record null."""
    holes = [at % 3 == 1 for at in range(records)]

    def some(values: Any, kind: Any) -> Any:
        return pa.array([None if hole else value for value, hole in zip(values, holes, strict=True)], kind)

    return pa.table(
        {
            "number": np.arange(records),
            "fraction": some(np.arange(records) / 4, pa.float32()),
            "moment": some([dt.datetime(2020, 1, 1 + at) for at in range(records)], pa.timestamp("us")),
            "label": some(range(records), pa.int16()),
            "flag": some([True] * records, pa.bool_()),
            "caption": some([f"caption {at}" for at in range(records)], pa.string()),
            "tokens": some([list(range(at)) for at in range(records)], pa.list_(pa.int32())),
        }
    )


@each_format
def test_nan_and_nat_stand_for_nulls_by_themselves(write: Any, tmp_path: Path):
    """Of fractions and moments, in lists and arrays too; a note says how many."""
    table = mixed().select(["number", "fraction", "moment"])
    last = [None, None] if lacks(write) else None
    table = table.append_column("pairs", pa.array([[0.5, None]] * 8 + [last], pa.list_(pa.float64(), 2)))
    table = table.append_column("some", pa.array([[1.0]] * 8 + [[None, 2.0]]))
    path = write(tmp_path / "a", table)
    fractions, moments = np.arange(9, dtype="f4") / 4, np.datetime64("2020-01-01", "us") + np.arange(9) * np.timedelta64(1, "D")
    fractions[1::3], moments[1::3] = np.nan, "NaT"
    expected = {
        "number": np.arange(9),
        "fraction": fractions,
        "moment": moments,
        "pairs": np.array([[0.5, np.nan]] * 8 + [[np.nan, np.nan]]),
        "some": Ragged.of([np.array([1.0])] * 8 + [np.array([np.nan, 2.0])]),
    }
    assert_delivers(path, expected)
    text = repr(open_source(path))
    assert "'fraction' holds 3 nulls, delivered as NaN" in text
    assert "'moment' holds 3 nulls, delivered as NaT" in text
    assert re.search("'pairs' holds (9 )?nulls, delivered as NaN", text)
    assert "nulls in" not in text
    filled = open_source(path, fill={"fraction": -1, "moment": "1970-01-01"})
    assert filled[1]["fraction"] == -1
    assert filled[1]["moment"] == np.datetime64(0, "us")


@each_format
@pytest.mark.parametrize("rows", [[[1, 2], None, [3, 4]], [[1, 2], [None, 2], [3, 4]]], ids=["a list", "a value"])
def test_a_null_among_lists_of_one_length_is_counted_once(write: Any, rows: list[Any], tmp_path: Path):
    """Though Arrow keeps a value for each element of a list that is null."""
    if None in rows and (reason := lacks(write)):
        pytest.skip(reason)
    source = open_source(write(tmp_path / "a", pa.table({"pair": pa.array(rows, pa.list_(pa.int32(), 2))})))
    assert source.nulls["pair"].count == 1
    source.close()


def test_null_lists_of_one_length_in_parquet_are_read_or_pyarrow_is_too_old(tmp_path: Path):
    """Older versions stumble over them as over damage: that the file is good, and what to install, is said."""
    pairs = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float32()))
    schema = base64.b64encode(pa.schema([("pair", pa.list_(pa.float32(), 2))]).serialize())
    table = pa.table({"pair": pairs})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema, store_schema=False) as writer:
        writer.add_key_value_metadata({"ARROW:schema": schema})  # as a newer version writes them
        writer.write_table(table)
    source = open_source(tmp_path / "a.parquet")
    if NULL_LISTS:
        assert_same(source[1]["pair"], np.full(2, np.nan, "f4"))
    else:
        with pytest.raises(UnsupportedFeatureError, match=r"some of which are null, and pyarrow .* Run: pip install 'pyarrow>=26'"):
            source[0]
    source.close()


@pytest.mark.parametrize("how", COUNTED)
def test_other_nulls_are_told_at_open_of_all_columns_at_once(how: str, tmp_path: Path):
    """What is to be said is said in one line, can be pasted, and is enough; whoever makes a loader without it hears the same."""
    path = COUNTED[how](tmp_path / "a", mixed())
    source = open_source(path)
    known = "nulls in 'label' (3), 'flag' (3), 'caption' (3), 'tokens' (3)"
    fill = "fill={'label': 0, 'flag': False, 'caption': \"\", 'tokens': [0]}"
    advice = f'Say what stands for them, {fill}; or leave such records out, Loader(..., on_bad_record="skip").'
    assert f"  {known}. {advice}" in repr(source).splitlines()
    with pytest.raises(NullValueError) as caught:
        Loader(source, batch_size=2, num_workers=0)
    assert str(caught.value) == f"{path} holds {known}. {advice}"
    for policy in ("raise", "substitute"):
        with pytest.raises(NullValueError, match="holds nulls in"):
            Loader(source, batch_size=2, num_workers=0, on_bad_record=policy)
    with pytest.raises(NullValueError) as caught:
        source[4]
    assert str(caught.value) == f"{path}: null at row 4 of column 'label'. {advice}"
    assert source[5]["caption"] == "caption 5"
    said: dict[str, Any] = eval(f"dict({fill})")
    filled = open_source(path, **said)
    assert not filled.nulls
    record = filled[4]
    assert (record["label"], record["flag"], record["caption"], record["tokens"].tolist()) == (0, False, "", [])
    with Loader(filled, batch_size=4, num_workers=0) as loader:
        assert sum(len(batch.records) for batch in loader) == 9
    source.close()
    filled.close()


@pytest.mark.parametrize(("how", "workers"), [("parquet", 2), ("arrow", 0), ("no statistics", 0)])
def test_records_with_nulls_are_left_out_where_that_is_asked_for(how: str, workers: int, tmp_path: Path):
    """At any number of workers, with a word; the others keep their numbers, with a subset of the user's own too."""
    source = open_source(COUNTED[how](tmp_path / "a", mixed()))
    told = r"3 of 9 records are left out, for nulls in 'label' \(3\), 'flag' \(3\), 'caption' \(3\), 'tokens' \(3\)\."
    for indices, wanted in ((None, [0, 2, 3, 5, 6, 8]), ([1, 2, 3, 4], [2, 3])):
        with pytest.warns(UserWarning, match=told):
            loader = Loader(source, batch_size=2, num_workers=workers, on_bad_record="skip", indices=indices)
        with loader:
            found = {int(number): text for batch in loader for number, text in zip(batch.records, batch["caption"], strict=True)}
            state = loader.state_dict()
        assert found == {number: f"caption {number}" for number in wanted}
        with warnings.catch_warnings(), Loader(open_source(source.title), batch_size=2, num_workers=0, indices=wanted) as other:
            other.load_state_dict(state)
    with Loader(source, batch_size=2, num_workers=workers, indices=[0, 2, 3]) as loader:
        assert sum(len(batch.records) for batch in loader) == 3
    with Loader(source, batch_size=2, num_workers=workers, indices=[0, 1], shuffle=False) as loader, pytest.raises(NullValueError):
        next(iter(loader))
    source.close()


def test_fields_that_are_not_chosen_may_hold_nulls(tmp_path: Path):
    """They are no matter of the loader's."""
    path = parquet(tmp_path / "a", mixed())
    assert_delivers(path, {"number": np.arange(9)}, fields=["number"])
    assert open_source(path, fields=["number", "flag"]).nulls.keys() == {"flag"}


def test_whoever_asks_for_all_records_at_once_is_told_what_helps_there(tmp_path: Path):
    """Fields that are asked about alone; a loader leaves records out, and a condition cannot."""
    path = parquet(tmp_path / "a", mixed())
    with open_source(path) as source:
        for ask in (lambda: source.where("label > 1 and number < 9"), lambda: source["label"]):
            with pytest.raises(NullValueError, match=r"null at row 1 of column 'label'\.") as caught:
                ask()
            assert caught.value.hint == "Say what stands for it, fill={'label': 0}."
        with pytest.raises(NullValueError) as caught:
            source.where("label > 1 or caption == 'cat'")
        assert caught.value.hint == "Say what stands for them, fill={'label': 0, 'caption': \"\"}."
    with open_source(path, fill={"label": 0}) as source:
        assert source.where("label > 1").tolist() == [2, 3, 5, 6, 8]


def test_one_value_stands_for_nulls_of_all_columns_that_can_hold_it(tmp_path: Path):
    """Numbers for numbers, text for text; NaN and NaT elsewhere, and the rest stays to be said."""
    path = parquet(tmp_path / "a", mixed())
    numbers = open_source(path, fill=0)
    assert numbers.nulls.keys() == {"caption", "tokens"}
    record = open_source(path, fill=0, fields=["fraction", "label", "flag", "moment"])[1]
    assert (record["fraction"], record["label"], record["flag"], np.isnat(record["moment"])) == (0, 0, False, True)
    assert open_source(path, fill="?").nulls.keys() == {"label", "flag", "tokens"}
    assert open_source(path, fill=[]).nulls.keys() == {"label", "flag", "caption"}
    assert open_source(path, fill=0.5).nulls.keys() == {"label", "flag", "caption", "tokens"}
    for idle in (b"?", object(), {1}):
        with pytest.raises(
            ConfigError, match=r"fill=.* cannot stand for nulls in any column that is read of .* such as fill=\{'"
        ) as caught:
            open_source(path, fill=idle)
        assert caught.value.hint.endswith("}, or leave it out.")
    with pytest.raises(ConfigError, match=r"fill='\?' cannot stand for nulls in any .* Give .* fill=\{'label': 0\}, or leave it out\."):
        open_source(path, ["label"], fill="?")
    with pytest.raises(
        ConfigError, match=r"fill=\[1, 2\] cannot stand for nulls in 'tokens', which is ragged \(array\)\..* fill=\{'tokens': \[0\]\}"
    ):
        open_source(path, fill={"tokens": [1, 2]})


def test_renamed_joined_and_travelling_sources_keep_their_nulls(tmp_path: Path):
    """With the names that fill= goes by; by folders called key=value, and through a pickle."""
    path = parquet(tmp_path / "a", mixed())
    source = open_source(path, fields={"x": "label", "n": "number"})
    assert "fill={'label': 0}" in repr(source)
    assert pickle.loads(pickle.dumps(source)).nulls == source.nulls
    np.save(tmp_path / "y.npy", np.arange(9))
    joined = open_source({"y": tmp_path / "y.npy", "x": open_source(path, fields=["label"])})
    assert {name: one[:2] for name, one in joined.nulls.items()} == {"x": ("label", 3)}
    assert joined[3] == {"y": 3, "x": 3}
    with pytest.raises(NullValueError, match=r"a\.parquet: null at row 4 of column 'label'"):
        joined[4]
    complete, records = joined.complete()
    assert records.tolist() == [0, 2, 3, 5, 6, 8]
    assert complete[8] == {"y": 8, "x": 8}
    (tmp_path / "parts" / "k=1").mkdir(parents=True)
    path.rename(tmp_path / "parts" / "k=1" / "a.parquet")
    assert open_source(tmp_path / "parts").nulls.keys() == {"label", "flag", "caption", "tokens"}


def test_nulls_that_no_file_counts_are_met_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where looking for them would take long: without a word at open, and with the whole advice then."""
    monkeypatch.setattr(table, "COUNTED_NBYTES", 0)
    blobs = pa.array([None if at == 70 else bytes([at]) * 100 for at in range(141)])
    path = parquet(tmp_path / "a", pa.table({"blob": blobs, "label": pa.array([1, None] * 70 + [3])}), write_statistics=False)
    source = open_source(path)
    assert {name: one[:2] for name, one in source.nulls.items()} == {"blob": ("blob", None), "label": ("label", 70)}
    assert source[[0, 2, 68, 72]]["blob"].lengths.tolist() == [100] * 4
    with pytest.raises(
        NullValueError, match=r"null at row 70 of column 'blob'\. Say what stands for them, fill=\{'blob': b\"\", 'label': 0\}"
    ):
        source[70]
    only = open_source(path, fields=["blob"])
    with Loader(only, batch_size=10, shuffle=False, num_workers=0) as loader, pytest.raises(NullValueError, match="null at row 70"):
        list(loader)


VALUES = {
    pa.int32(): st.integers(-5, 5),
    pa.float64(): st.floats(-5, 5),
    pa.bool_(): st.booleans(),
    pa.string(): st.text("ab", max_size=3),
    pa.binary(): st.binary(max_size=3),
    pa.list_(pa.int16()): st.lists(st.none() | st.integers(0, 5), max_size=3),
    pa.list_(pa.float32(), 2): st.lists(st.none() | st.integers(0, 5), min_size=2, max_size=2),
}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), how=st.sampled_from(list(COUNTED)))
def test_every_record_without_a_null_is_delivered_and_no_other(data: st.DataObject, how: str, tmp_path_factory: pytest.TempPathFactory):
    """Whatever the kinds, and wherever nulls lie; what complete() names are just the others."""
    count = data.draw(st.integers(1, 8))
    kinds = [kind for kind in VALUES if not (pa.types.is_fixed_size_list(kind) and lacks(COUNTED[how]))]
    names = {f"{kind}": kind for kind in data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3, unique=True))}
    columns = {name: data.draw(st.lists(st.none() | VALUES[kind], min_size=count, max_size=count)) for name, kind in names.items()}
    table = pa.table({name: pa.array(values, names[name]) for name, values in columns.items()})
    source = open_source(COUNTED[how](tmp_path_factory.mktemp("nulls") / "a", table))

    def wanting(name: str, value: Any) -> bool:
        if pa.types.is_floating(names[name]) or pa.types.is_fixed_size_list(names[name]):
            return False
        return value is None or (isinstance(value, list) and None in value)

    whole = [at for at in range(count) if not any(wanting(name, values[at]) for name, values in columns.items())]
    complete, records = source.complete()
    assert records.tolist() == whole
    assert sum(one.count or 0 for one in source.nulls.values()) >= bool(len(whole) < count)
    for at in range(count):
        if at not in whole:
            with pytest.raises(NullValueError):
                source[at]
            continue
        for name, found in source[at].items():
            value = columns[name][at]
            if isinstance(value, (str, bytes)):
                assert_same(found, value)
                continue
            hole = [np.nan, np.nan] if "list" in name else np.nan
            assert_same(found, np.asarray(hole if value is None else value, found.dtype))
    source.close()
    complete.close()


def test_a_fraction_that_stands_for_nulls_is_rounded_to_the_field(tmp_path: Path):
    """0.1 is no number of single precision: it was left aside, and NaN delivered; what is too large, or would be 0, is refused."""
    pq.write_table(pa.table({"x": pa.array([1.5, None], pa.float32()), "y": [1, 2]}), tmp_path / "a.parquet")
    for fill in (0.1, {"x": 0.1}):
        with open_source(tmp_path / "a.parquet", fill=fill) as source:
            assert source[:]["x"].tolist() == [1.5, np.float32(0.1)]
    for fill in (1e300, 1e-300):
        with pytest.raises(ConfigError, match=re.escape(f"fill={fill} cannot stand for nulls in 'x', which is float32")):
            open_source(tmp_path / "a.parquet", fill={"x": fill})
