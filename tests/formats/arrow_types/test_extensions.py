"""Columns with extension types: read by their storage and by JSON alone, in a process that knows none of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers

from streamload.errors import UnsupportedFeatureError
from streamload.formats.open import open_source

Save = Callable[[Path, pa.Field, pa.Array], Path]


def parquet(path: Path, field: pa.Field, column: pa.Array) -> Path:
    """A Parquet file of one column."""
    pq.write_table(pa.table([column], schema=pa.schema([field])), path, row_group_size=7)
    return path


def raw_parquet(path: Path, field: pa.Field, column: pa.Array) -> Path:
    """The same, neither compressed nor encoded."""
    table = pa.table([column], schema=pa.schema([field]))
    pq.write_table(table, path, row_group_size=7, compression="none", use_dictionary=False)
    return path


def arrow(path: Path, field: pa.Field, column: pa.Array) -> Path:
    """An Arrow stream of one column."""
    table = pa.table([column], schema=pa.schema([field]))
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return path


SAVES: dict[str, Save] = {"Parquet": parquet, "raw Parquet": raw_parquet, "Arrow": arrow}


def extension(name: str, said: bytes = b"") -> dict[bytes, bytes]:
    """The metadata of a field of an extension type, as files have it."""
    return {b"ARROW:extension:name": name.encode(), b"ARROW:extension:metadata": said}


def flat(data: np.ndarray, *, large: bool = False) -> pa.Array:
    """Each record as a list of numbers."""
    offsets = np.arange(len(data) + 1) * data[0].size
    values = pa.array(data.reshape(-1))
    if large:
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("version", ["ray.data.arrow_tensor", "ray.data.arrow_tensor_v2"])
def test_tensors_of_ray_are_read_by_their_shape(version: str, save: str, tmp_path: Path):
    """Lists, large ones in version 2, and the shape as JSON."""
    data = np.random.default_rng(0).normal(size=(20, 2, 3, 4)).astype("f4")
    column = flat(data, large=version.endswith("v2"))
    field = pa.field("x", column.type, metadata=extension(version, b"[2, 3, 4]"))
    assert_delivers(SAVES[save](tmp_path / "a", field, column), {"x": data})


@pytest.mark.parametrize("save", SAVES)
def test_bfloat16_is_delivered_as_its_bits(save: str, tmp_path: Path):
    """Single numbers, and vectors; exactly those of the upper halves of 32-bit numbers; and repr says so."""
    numbers = np.random.default_rng(0).normal(size=(20, 4)).astype("f4")
    bits = (numbers.view("u4") >> 16).astype("u2")
    halves = pa.FixedSizeBinaryArray.from_buffers(pa.binary(2), bits.size, [None, pa.py_buffer(bits)])
    path = SAVES[save](tmp_path / "a", pa.field("x", pa.binary(2), metadata=extension("lance.bfloat16")), halves)
    assert_delivers(path, {"x": bits.reshape(-1)})
    assert open_source(path).addressable == (save != "Parquet")
    assert "  'x' holds bfloat16, delivered as its bits: torch.from_numpy(x).view(torch.bfloat16)" in repr(open_source(path))
    inner = pa.field("item", pa.binary(2), metadata=extension("lance.bfloat16"))
    vectors = pa.FixedSizeListArray.from_arrays(halves, type=pa.list_(inner, 4))
    path = SAVES[save](tmp_path / "b", pa.field("x", pa.list_(inner, 4)), vectors)
    assert_delivers(path, {"x": bits})
    widened = (open_source(path)[3]["x"].astype("u4") << 16).view("f4")
    np.testing.assert_allclose(widened, numbers[3], rtol=2**-7)


@pytest.mark.parametrize("save", SAVES)
def test_fixed_size_lists_of_lance_need_no_extension(save: str, tmp_path: Path):
    """Vectors as Lance has them, of halves too."""
    for kind in ("f2", "f4", "f8"):
        data = np.random.default_rng(0).normal(size=(20, 8)).astype(kind)
        column = pa.FixedSizeListArray.from_arrays(pa.array(data.reshape(-1)), 8)
        assert_delivers(SAVES[save](tmp_path / kind, pa.field("vector", column.type), column), {"vector": data})


class Touch:
    """Creates a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


HOSTILE: dict[str, Callable[[Path], tuple[str, bytes]]] = {
    "pickled extension type": lambda path: ("arrow.py_extension_type", pickle.dumps(Touch(path))),
    "Ray, its shape pickled": lambda path: ("ray.data.arrow_tensor", pickle.dumps(Touch(path))),
    "Ray, objects": lambda path: ("ray.data.arrow_pickled_object", b""),
    "Ray, shapes that vary": lambda path: ("ray.data.arrow_variable_shaped_tensor", b"2"),
    "Ray, no shape": lambda path: ("ray.data.arrow_tensor", b'"all"'),
    "a shape that is no list": lambda path: ("ray.data.arrow_tensor", json.dumps({"shape": "2,3"}).encode()),
    "a negative shape": lambda path: ("ray.data.arrow_tensor", b"[-1, -6]"),
    "a deep shape": lambda path: ("ray.data.arrow_tensor", b"[" * 60_000),
}


@pytest.mark.parametrize("save", ["Parquet", "Arrow"])
@pytest.mark.parametrize("what", HOSTILE)
def test_e18_nothing_is_unpickled_whatever_a_type_says_of_itself(what: str, save: str, tmp_path: Path):
    """The storage is read, or the column is refused by name."""
    data = np.arange(120, dtype="i4").reshape(20, 6)
    name, said = HOSTILE[what](tmp_path / "unpickled")
    column = flat(data)
    path = SAVES[save](tmp_path / "a", pa.field("x", column.type, metadata=extension(name, said)), column)
    try:
        assert_delivers(path, {"x": data})
        refusal = ""
    except UnsupportedFeatureError as error:
        refusal = str(error)
    assert not (tmp_path / "unpickled").exists()
    if what == "pickled extension type":
        assert not refusal
    else:
        wanted = (
            f"has the extension type {name}, which cannot be read"
            if what == "Ray, objects" or "vary" in what
            else "has a shape that cannot"
        )
        assert f"{path}: column 'x' {wanted}" in refusal
