"""Ragged columns of the less common kinds: views of text and bytes, and what errors say of nulls in each."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers

from streamload.errors import NullValueError, SchemaMismatchError, StreamloadError, UnsupportedFeatureError
from streamload.formats.open import open_source
from streamload.loader.loader import Loader
from streamload.ragged import Ragged

TEXT = ["", "short", "exactly 12 b", "longer than twelve bytes: é", "x" * 300] * 8
BYTES = [one.encode()[::-1] for one in TEXT]


def views(*, nulls: bool = False) -> pa.Table:
    """Columns of views, between others whose places depend on theirs."""
    text = [None if nulls and at % 5 == 1 else one for at, one in enumerate(TEXT)]
    return pa.table(
        {
            "first": np.arange(40),
            "text": pa.array(text, pa.string_view()),
            "between": pa.array(TEXT),
            "blob": pa.array(BYTES, pa.binary_view()),
            "last": np.arange(40) / 2,
        }
    )


def save(path: Path, table: pa.Table, how: str) -> Path:
    """As Parquet, or as Arrow batches of 16 records."""
    if how.startswith("parquet"):
        pq.write_table(table, path, row_group_size=16, compression=how.split()[1])
        return path
    options = pa.ipc.IpcWriteOptions(compression=None if how.endswith("raw") else how.split()[-1])
    with (pa.ipc.new_stream if "stream" in how else pa.ipc.new_file)(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=16)
    return path


WAYS = ["parquet none", "parquet zstd", "arrow raw", "arrow stream raw", "arrow lz4", "arrow zstd"]


@pytest.mark.parametrize("how", WAYS)
def test_views_are_delivered_as_text_and_bytes(how: str, tmp_path: Path):
    """As Polars and newer Arrow write them; columns beside them are found where they lie."""
    path = save(tmp_path / "data", views(), how)
    expected = {
        "first": np.arange(40),
        "text": Ragged.of(TEXT),
        "between": Ragged.of(TEXT),
        "blob": Ragged.of(BYTES),
        "last": np.arange(40) / 2,
    }
    assert_delivers(path, expected)
    assert_delivers(path, {"last": expected["last"]}, fields=["last"])
    assert_delivers(path, {"blob": expected["blob"]}, fields=["blob"])


@pytest.mark.parametrize("how", WAYS)
def test_nulls_among_views_are_errors_or_filled(how: str, tmp_path: Path):
    """With the row, and what may stand for them."""
    path = save(tmp_path / "data", views(nulls=True), how)
    with pytest.raises(NullValueError) as caught:
        open_source(path)[:]
    hint = 'Say what stands for it, fill={\'text\': ""}; or leave such records out, Loader(..., on_bad_record="skip").'
    assert str(caught.value) == f"{path}: null at row 1 of column 'text'. {hint}"
    filled = open_source(path, fill={"text": "none"})[:]["text"].to_list()
    assert filled == ["none" if at % 5 == 1 else one for at, one in enumerate(TEXT)]


@pytest.mark.parametrize("how", ["arrow raw", "arrow lz4"])
def test_views_within_others_are_refused_by_name(how: str, tmp_path: Path):
    """And do not hide where their neighbours lie."""
    inner = pa.array([[one] for one in TEXT], pa.list_(pa.string_view()))
    pairs = pa.array([{"bytes": one, "path": "p"} for one in BYTES], pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())]))
    path = save(tmp_path / "data", pa.table({"lists": inner, "image": pairs, "last": np.arange(40), "text": pa.array(TEXT)}), how)
    with pytest.raises(UnsupportedFeatureError, match="column 'image' holds views within a struct, which cannot be read in Arrow files"):
        open_source(path)
    assert_delivers(path, {"last": np.arange(40), "text": Ragged.of(TEXT)}, fields=["last", "text"])


@pytest.mark.parametrize("how", ["parquet zstd", "arrow raw", "arrow lz4"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_a_file_without_records_agrees_on_lists(how: str, last: bool, tmp_path: Path):
    """As writers leave them for empty partitions: nothing in them says how long lists are."""
    some = pa.table({"even": [[1, 2]] * 3, "nested": [[[1.0, 2.0]] * 3] * 3, "uneven": [[1], [], [2, 3]]})
    paths = [save(tmp_path / "a", some.slice(0, 0), how), save(tmp_path / "b", some, how)]
    expected = {
        "even": np.array([[1, 2]] * 3),
        "nested": np.array([[[1.0, 2.0]] * 3] * 3),
        "uneven": Ragged.of([np.array(one, np.int64) for one in ([1], [], [2, 3])]),
    }
    assert_delivers(paths[::-1] if last else paths, expected)
    other = save(tmp_path / "c", some.slice(0, 0).set_column(0, "even", pa.array([], pa.list_(pa.float32()))), how)
    with pytest.raises(SchemaMismatchError, match="Column 'even' differs"):
        open_source([other, paths[1]])


@pytest.mark.parametrize("stream", ["", "stream "], ids=["file", "stream"])
def test_columns_behind_those_of_other_types_are_found(stream: str, tmp_path: Path):
    """Types that cannot be delivered: left out or refused by name, and their neighbours read all the same."""
    ones = pa.array([0, 0, 0], pa.int8())
    others = {
        "view": pa.array([[1], [2, 3], None], pa.list_view(pa.int64())),
        "large": pa.array([["a"], [], ["b"]], pa.large_list_view(pa.string())),
        "dense": pa.UnionArray.from_dense(ones, pa.array([0, 1, 2], pa.int32()), [pa.array([1, 2, 3])]),
        "sparse": pa.UnionArray.from_sparse(ones, [pa.array(["a", "b", "c"])]),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 3], pa.int32()), pa.array([5, 6])),
        "map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
    }
    path = save(tmp_path / "a", pa.table({**others, "last": [1, 2, 3]}), f"arrow {stream}raw")
    assert_delivers(path, {"last": np.array([1, 2, 3])})
    assert all(f"'{name}' left out: it holds values of the type" in repr(open_source(path)) for name in others)


def test_views_that_lead_astray_are_refused(tmp_path: Path):
    """Each changed byte of the views themselves: as many records, or an error that names the column."""
    path = save(tmp_path / "data", pa.table({"text": views()["text"].combine_chunks()}), "arrow raw")
    whole = path.read_bytes()
    start = whole.index(b"\x05\x00\x00\x00short") - 16
    refused: list[str] = []
    for place in range(start, start + 5 * 16):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            found = open_source(path)[:]["text"]
        except StreamloadError as error:
            refused.append(str(error))
            continue
        assert len(found) == len(TEXT)
    assert len(refused) > 20
    assert all("column 'text'" in one for one in refused)


@pytest.mark.parametrize(
    ("column", "stands", "becomes"),
    [
        (pa.array([1, None]), "0", 0),
        (pa.array([True, None]), "False", False),
        (pa.array(["a", None]), '""', ""),
        (pa.array([b"a", None]), 'b""', b""),
        (pa.array([[1], [1, 2], None]), "[0]", []),
        (pa.array([[1], [1, 2], [None, 3]]), "[0]", [0, 3]),
        (pa.array([[1.0], [1.0, 2.0], None]), "[]", []),
        (pa.array([[1, 2], None]), "0", [0, 0]),
        (pa.array([[True, False], [True, None]], pa.list_(pa.bool_(), 2)), "False", [True, False]),
    ],
    ids=["numbers", "booleans", "text", "bytes", "lists", "numbers in lists", "lists of fractions", "arrays", "booleans in arrays"],
)
@pytest.mark.parametrize("how", ["parquet none", "arrow raw"])
def test_what_may_stand_for_nulls_is_said(how: str, column: Any, stands: str, becomes: Any, tmp_path: Path):
    """And is accepted; the other records can be read without it, and an epoch leaves the one out."""
    path = save(tmp_path / "data", pa.table({"x": column, "y": np.arange(len(column))}), how)
    source = open_source(path)
    advice = f"Say what stands for it, fill={{'x': {stands}}}; or leave such records out, Loader(..., on_bad_record=\"skip\")."
    assert f"nulls in 'x' (1). {advice}" in repr(source)
    with pytest.raises(NullValueError, match=re.escape(f"null at row {len(column) - 1} of column 'x'. {advice}")):
        source[:]
    np.testing.assert_array_equal(source[0]["x"], column[0].as_py())
    with pytest.raises(NullValueError, match=re.escape(f"holds nulls in 'x' (1). {advice}")):
        Loader(source, batch_size=2, num_workers=0)
    with (
        pytest.warns(UserWarning, match=rf"^1 of {len(column)} records are left out, for nulls in 'x' \(1\)\."),
        Loader(source, batch_size=2, shuffle=False, num_workers=0, on_bad_record="skip") as loader,
    ):
        assert np.concatenate([batch["y"].copy() for batch in loader]).tolist() == list(range(len(column) - 1))
    source.close()
    np.testing.assert_array_equal(open_source(path, fill={"x": ast.literal_eval(stands)})[:]["x"][-1], becomes)
