"""Structs that are null here and there: each member is read by itself, whatever lies beside it."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from contract import assert_same

from streamload.formats.open import open_source
from streamload.ragged import Ragged

COUNT = 60
NULL = np.arange(COUNT) % 7 == 3
"""Where the struct is."""

BESIDE: dict[str, Any] = {
    "nothing but nulls": lambda: pa.nulls(COUNT),
    "a map": lambda: pa.array([[("a", 1)]] * COUNT, pa.map_(pa.string(), pa.int32())),
    "views of lists": lambda: pa.array([[1]] * COUNT, pa.list_view(pa.int32())),
    "large views of lists": lambda: pa.array([[1]] * COUNT, pa.large_list_view(pa.int32())),
    "views of text": lambda: pa.array(["longer than what a view holds itself"] * COUNT, pa.string_view()),
    "words": lambda: pa.array(["a", "b"] * (COUNT // 2)).dictionary_encode(),
    "runs": lambda: pa.RunEndEncodedArray.from_arrays(pa.array([COUNT], pa.int32()), pa.array([5])),
    "a dense union": lambda: pa.UnionArray.from_dense(pa.array([0] * COUNT, pa.int8()), pa.array(range(COUNT), pa.int32()), [ONES]),
    "a sparse union": lambda: pa.UnionArray.from_sparse(pa.array([0] * COUNT, pa.int8()), [ONES]),
    "an interval": lambda: pa.array([(1, 2, 3)] * COUNT, pa.month_day_nano_interval()),
    "money": lambda: pa.array([decimal.Decimal("1.25")] * COUNT, pa.decimal128(9, 2)),
    "a struct of lists": lambda: pa.array([{"l": [1, 2], "n": None}] * COUNT, pa.struct([("l", pa.list_(pa.int8())), ("n", pa.null())])),
}
ONES = pa.array(np.ones(COUNT, "i8"))


def write(path: Path, members: dict[str, Any], compression: str | None) -> Path:
    """A struct of these members, within another one that is null as well, in batches of 25."""
    inner = pa.StructArray.from_arrays(list(members.values()), list(members), mask=pa.array(NULL))
    outer = pa.StructArray.from_arrays([ONES, inner], ["one", "in"], mask=pa.array(np.arange(COUNT) == 5))
    table = pa.table({"s": outer, "label": np.arange(COUNT)})
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=25)
    return path


@pytest.mark.parametrize("compression", [None, "lz4"])
@pytest.mark.parametrize("beside", BESIDE)
def test_members_do_not_depend_on_what_lies_beside_them(beside: str, compression: str | None, tmp_path: Path):
    """Arrays and buffers of the others are nobody's business, and the values are those that pyarrow reads."""
    wide = pa.array([bytes([at]) * 80 for at in range(COUNT)], pa.binary(80))
    x, text = pa.array(np.arange(COUNT, dtype="i4")), pa.array([f"t{at}" for at in range(COUNT)])
    members = {"x": x, "o": BESIDE[beside](), "t": text, "w": wide}
    names = {name: f"s.in.{name}" for name in "xtw"}
    source = open_source(write(tmp_path / "a.arrow", members, compression), names, fill={"x": -1, "t": "?", "w": 255})
    gone = NULL | (np.arange(COUNT) == 5)
    found = source[:]
    assert_same(found["x"], np.where(gone, -1, np.arange(COUNT)).astype("i4"))
    assert_same(found["t"], Ragged.of(["?" if gone[at] else f"t{at}" for at in range(COUNT)]))
    assert_same(found["w"], np.where(gone, 255, np.arange(COUNT)).astype("u1")[:, None].repeat(80, axis=1))
    source.close()


def test_words_and_views_of_null_structs_are_delivered(tmp_path: Path):
    """Words as codes of classes, numbers of a dictionary as themselves, and text in views."""
    texts = [f"text number {at}, longer than a view" if at % 2 else f"{at}" for at in range(COUNT)]
    members = {
        "word": pa.array(["dog", "cat"] * (COUNT // 2)).dictionary_encode(),
        "number": pa.array([1.5, 2.5] * (COUNT // 2)).dictionary_encode(),
        "view": pa.array(texts, pa.string_view()),
    }
    names = {name: f"s.in.{name}" for name in members}
    source = open_source(write(tmp_path / "a.arrow", members, "zstd"), names, fill={"word": -1, "number": 0, "view": "?"})
    assert source.classes == {"word": ("dog", "cat")}
    gone, found = NULL | (np.arange(COUNT) == 5), source[:]
    assert_same(found["word"], np.where(gone, -1, np.arange(COUNT) % 2).astype("i4"))
    assert_same(found["number"], np.where(gone, 0, np.arange(COUNT) % 2 + 1.5))
    assert_same(found["view"], Ragged.of(["?" if gone[at] else texts[at] for at in range(COUNT)]))
    source.close()
