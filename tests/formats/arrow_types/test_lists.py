"""Columns of lists: arrays where all lists of all files have one length, ragged records where they have not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from contract import assert_delivers
from hypothesis import given, settings
from hypothesis import strategies as st
from table_files import WRITERS, Write, each_format, parquet

from streamload.errors import ConfigError, SchemaMismatchError, UnsupportedFeatureError
from streamload.formats.open import open_source
from streamload.formats.parquet import lists
from streamload.loader.loader import Loader
from streamload.ragged import Ragged


def ragged(values: list[list[int]]) -> Ragged:
    """Lists of whole numbers as they are delivered."""
    return Ragged.of([np.array(one, np.int64) for one in values])


def column(values: list[Any], kind: Any = None) -> pa.Table:
    """A column of lists, and labels."""
    return pa.table({"x": pa.array(values, kind), "label": np.arange(len(values))})


@each_format
@pytest.mark.parametrize(("few", "many"), [(64, 64), (600, 600), (1, 999)])
def test_lists_that_differ_late_are_ragged(write: Write, few: int, many: int, tmp_path: Path):
    """Though the first ones are alike, and the number of values is a multiple of the number of records."""
    values = [[1, 2]] * many + [[1, 2, 3, 4]] * few
    expected = {"x": ragged(values), "label": np.arange(len(values))}
    assert_delivers(write(tmp_path / "a", column(values)), expected)


@each_format
def test_lists_are_ragged_in_all_files_where_they_differ_between_any_two(write: Write, tmp_path: Path):
    """Whichever comes first, a file of one record too; and arrays where all agree."""
    paths = [write(tmp_path / name, column(values)) for name, values in (("a", [[1, 2, 3]] * 7), ("b", [[4]]), ("c", [[5, 6, 7]]))]
    alike, other, same = paths
    numbers = np.concatenate([np.arange(7), [0]])
    assert_delivers([alike, other], {"x": ragged([[1, 2, 3]] * 7 + [[4]]), "label": numbers})
    assert_delivers([other, alike], {"x": ragged([[4]] + [[1, 2, 3]] * 7), "label": np.roll(numbers, 1)})
    assert_delivers([alike, same], {"x": np.array([[1, 2, 3]] * 7 + [[5, 6, 7]]), "label": numbers})
    empty = write(tmp_path / "d", column([], pa.list_(pa.int64())))
    assert_delivers([empty, alike], {"x": np.array([[1, 2, 3]] * 7), "label": np.arange(7)})


@each_format
def test_lists_within_lists_may_differ_in_their_outer_lengths_alone(write: Write, tmp_path: Path):
    """Those that differ within are named at open, with the way to go on; in another file, too."""
    good = write(tmp_path / "a", column([[[1, 2], [3, 4]], [[5, 6]]]))
    assert_delivers(good, {"x": Ragged.of([np.array([[1, 2], [3, 4]]), np.array([[5, 6]])]), "label": np.arange(2)})
    bad = write(tmp_path / "b", column([[[1, 2, 3]]]))
    for paths in ([good, bad], [write(tmp_path / "c", column([[[1, 2], [3, 4]]] * 60 + [[[5, 6], [7]]]))]):
        with pytest.raises(UnsupportedFeatureError, match=r"lists within lists that differ in length .* Leave it out: fields=\['label'\]"):
            open_source(paths)
        open_source(paths, fields=["label"]).close()


@each_format
def test_files_may_store_one_field_as_different_types(write: Write, tmp_path: Path):
    """Lists of fixed and of any length, small and large text: each file is read as it is."""
    kinds = [pa.list_(pa.int64(), 3), pa.list_(pa.int64()), pa.large_list(pa.int64())]
    paths = [write(tmp_path / str(at), column([[at, 1, 2]] * 3, kind)) for at, kind in enumerate(kinds)]
    expected = np.array([[at, 1, 2] for at in range(3) for _ in range(3)])
    assert_delivers(paths, {"x": expected, "label": np.tile(np.arange(3), 3)})
    paths.append(write(tmp_path / "more", column([[9]])))
    assert_delivers(paths, {"x": ragged([*expected.tolist(), [9]]), "label": np.array([*np.tile(np.arange(3), 3), 0])})
    words = ["a", "", "long enough to differ"] * 20
    texts = [write(tmp_path / f"{kind}", pa.table({"x": pa.array(words, kind)})) for kind in (pa.string(), pa.large_string())]
    assert_delivers(texts, {"x": Ragged.of(words * 2)})


@each_format
def test_tensors_whose_axes_lie_in_another_order_in_each_file_are_turned_as_each_says(write: Write, tmp_path: Path):
    """The first file's order is not taken for all: both deliver one shape."""
    data = np.random.default_rng(0).integers(0, 256, (40, 4, 3), dtype=np.uint8)

    def tensors(values: np.ndarray, permutation: list[int] | None) -> pa.Table:
        shape = values.shape[1:] if permutation is None else [values.shape[1 + permutation.index(axis)] for axis in range(2)]
        stored = values if permutation is None else values.transpose(0, *(1 + permutation.index(axis) for axis in range(2)))
        storage = pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), 12)
        return pa.table({"x": pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), shape, permutation=permutation), storage)})

    paths = [write(tmp_path / "a", tensors(data[:20], None)), write(tmp_path / "b", tensors(data[20:], [1, 0]))]
    assert_delivers(paths, {"x": data})
    assert_delivers(paths[::-1], {"x": np.concatenate([data[20:], data[:20]])})


def test_where_not_all_of_a_file_can_be_looked_at_the_note_says_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Row groups all over it; one with more values than its share is always looked at."""
    monkeypatch.setattr(lists, "LOOKED_NBYTES", 2000)
    values = [[number, 1, 2] for number in range(1000)]
    source = open_source(parquet(tmp_path / "a", column(values)))
    assert source.schema["x"].shape == (3,)
    assert "'x' holds lists of 3 values in all of 150 records that were looked at, of 1,000; if others differ, say so: " in repr(source)
    assert "shapes={'x': (None,)}" in repr(source)
    source.close()
    values[710] = [7]
    assert_delivers(parquet(tmp_path / "b", column(values)), {"x": ragged(values), "label": np.arange(1000)})


FILES = st.lists(st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=6), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(files=FILES, how=st.sampled_from(list(WRITERS)))
def test_any_lists_in_any_files_are_delivered_as_they_are(files: list[list[list[int]]], how: str, tmp_path_factory: pytest.TempPathFactory):
    """Arrays where all lists of all files have one length, ragged elsewhere; in order, and in an epoch."""
    folder = tmp_path_factory.mktemp("lists")
    kind = pa.list_(pa.int64())
    paths = [WRITERS[how](folder / str(at), column(values, kind)) for at, values in enumerate(files)]
    flat = [one for values in files for one in values]
    lengths = {len(one) for one in flat}
    alike = len(lengths) == 1
    source = open_source(paths, shapes={"x": (1,)} if lengths == {1} else None)  # else it is a column of numbers
    expected = np.array(flat, np.int64).reshape(len(flat), -1) if alike else ragged(flat)
    found = source[:]["x"]
    assert isinstance(found, Ragged) is not alike
    assert [one.tolist() for one in found] == [one.tolist() for one in expected]
    with Loader(source, batch_size=2, shuffle=True, num_workers=0) as loader:
        delivered = {int(number): one.tolist() for batch in loader for number, one in zip(batch.records, batch["x"], strict=True)}
    assert [delivered[number] for number in range(len(flat))] == flat
    source.close()


@each_format
@pytest.mark.parametrize("shape", [(None, None), (2, None), (-1, 2), (2.0,), (True, 2), 3, None, "ab"], ids=repr)
def test_shapes_that_are_none_are_refused_by_name(write: Write, shape: Any, tmp_path: Path):
    """Before the file is looked at."""
    with pytest.raises(ConfigError) as caught:
        open_source(write(tmp_path / "a", column([[1, 2], [3]])), shapes={"x": shape})
    assert str(caught.value) == (
        f"shapes={{'x': {shape!r}}} is no shape of a record. "
        "Give whole numbers, shapes={'x': (32, 32, 3)}; None may stand first, where records differ in length."
    )
    with pytest.raises(ConfigError, match=r"shapes=3 names no columns\. Give \{column: shape\}: shapes="):
        open_source(write(tmp_path / "b", column([[1]])), shapes=3)


@each_format
def test_advice_on_the_shape_of_lists_leads_on(write: Write, tmp_path: Path):
    """What an error says to give is accepted; of lists within lists nothing is said that could not be given."""
    path = write(tmp_path / "a", column([[1, 2, 3]] * 5 + [[1, 2, 3, 4]]))
    with pytest.raises(SchemaMismatchError, match=r"say that they differ with shapes=\{'x': \(None,\)\}, or leave the column out"):
        open_source(path, shapes={"x": (3,)})[:]
    assert_delivers(path, {"x": ragged([[1, 2, 3]] * 5 + [[1, 2, 3, 4]]), "label": np.arange(6)}, shapes={"x": (None,)})
    with pytest.raises(ConfigError, match=r"holds 3 values a record \(3,\), and shape \(2, 2\) has 4\. Give one of 3, such as shapes="):
        open_source(path, shapes={"x": (2, 2)})
    nested = write(tmp_path / "b", column([[[1], [2]], [[1], [2, 3]]]))
    with pytest.raises(
        SchemaMismatchError, match=r"holds 2 values where 1 are expected\. .*: pad them, or leave the column out with fields"
    ):
        open_source(nested, shapes={"x": (2, 1)})[:]
    for shape in ((None,), (None, 1)):
        with pytest.raises((UnsupportedFeatureError, SchemaMismatchError), match=r"fields=\['label'\]|leave the column out with fields="):
            open_source(nested, shapes={"x": shape})[:]
