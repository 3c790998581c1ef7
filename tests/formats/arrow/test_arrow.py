"""Arrow files and streams deliver what pyarrow reads: raw buffers by offset, everything else a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from contract import assert_delivers
from parquet_files import SHAPE, Arrays, binary, image_field, images

from streamload.errors import (
    ConfigError,
    CorruptDataError,
    NullValueError,
    SchemaMismatchError,
    SourceChangedError,
    StreamloadError,
    UnsupportedFeatureError,
)
from streamload.formats.arrow import planning
from streamload.formats.arrow.flatbuffers import FlatError, root
from streamload.formats.arrow_types import element_types
from streamload.formats.open import open_source


def save(path: Path, table: pa.Table, *, stream: bool = False, size: int = 30, compression: str | None = None) -> Path:
    """A table in batches of `size`."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=size)
    return path


def pair(records: int = 100, seed: int = 0) -> tuple[pa.Table, Arrays]:
    """Images and labels."""
    data = images(records, seed=seed)
    schema = pa.schema([pa.field("price", pa.decimal128(5, 2)), image_field(), pa.field("label", pa.int64())])
    prices = pa.array(range(records), pa.decimal128(5, 2))
    table = pa.table([prices, binary(data), pa.array(np.arange(records))], schema=schema)
    return table, {"image": data, "label": np.arange(records)}


def numbers() -> tuple[pa.Table, Arrays]:
    """A column of each plain type."""
    kinds = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
    arrays = {kind: np.random.default_rng(3).integers(0, 100, 100).astype(kind) for kind in kinds}
    return pa.table({name: pa.array(array) for name, array in arrays.items()}), arrays


def tensors() -> tuple[pa.Table, Arrays]:
    """Tensors, their axes in order and permuted."""
    data = images(100)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(data.reshape(-1)), data[0].size)
    straight = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), SHAPE), storage)
    turned = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), SHAPE, permutation=[2, 0, 1]), storage)
    return pa.table({"straight": straight, "turned": turned}), {"straight": data, "turned": data.transpose(0, 3, 1, 2)}


def lists() -> tuple[pa.Table, Arrays]:
    """Lists of one length as Hugging Face's arrays have them, fixed-size lists of lists, booleans, moments."""
    data = images(40)
    nested = pa.array([[[row.tolist() for row in plane] for plane in one] for one in data], pa.list_(pa.list_(pa.list_(pa.uint8()))))
    floats = np.random.default_rng(1).normal(size=(40, 2, 3))
    fixed = pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(pa.array(floats.reshape(-1)), 3), 2)
    moments = np.arange(40).astype("M8[us]")
    table = pa.table({"nested": nested, "fixed": fixed, "flag": pa.array(np.arange(40) % 3 == 0), "at": moments})
    return table, {"nested": data, "fixed": floats, "flag": np.arange(40) % 3 == 0, "at": moments}


TABLES: dict[str, Callable[[], tuple[pa.Table, Arrays]]] = {"pairs": pair, "numbers": numbers, "tensors": tensors, "lists": lists}


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_delivered(table: str, stream: bool, compression: str | None, tmp_path: Path):
    """Equal to what was written, however records are chosen."""
    written, expected = TABLES[table]()
    assert_delivers(save(tmp_path / "a", written, stream=stream, compression=compression), expected)


def test_raw_buffers_are_read_by_offset_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Fixed-size binary, numbers, tensors in order; runs are record batches."""
    table, expected = pair()
    source = open_source(save(tmp_path / "a.arrow", table))
    assert source.addressable
    assert [type(column).__name__ for column in source.columns] == ["RawRecords", "InMemory"]
    cuts = source.columns[0].cuts
    assert cuts is not None
    assert cuts.tolist() == [0, 30, 60, 90, 100]
    assert "image: raw batches of up to 30 records" in repr(source)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pyarrow was asked")

    monkeypatch.setattr(element_types, "to_numpy", refuse)
    np.testing.assert_array_equal(source[::-1]["image"], expected["image"][::-1])
    source.close()


def test_compressed_batches_are_blocks(tmp_path: Path):
    """Each decoded once; cuts fall on their borders."""
    source = open_source(save(tmp_path / "a.arrow", pair()[0], compression="zstd"))
    assert not source.addressable
    assert "image: batches of up to 30 records, zstd, decoded by pyarrow" in repr(source)
    cuts = source.columns[0].cuts
    assert cuts is not None
    assert cuts.tolist() == [0, 30, 60, 90, 100]


def test_several_files_and_streams_are_one_source(tmp_path: Path):
    """A file, a stream, an empty one, and one that is compressed."""
    parts = [pair(10, 1), pair(7, 2), pair(0, 3), pair(9, 4)]
    for number, (table, _) in enumerate(parts):
        save(tmp_path / f"{number}.arrow", table, stream=number == 1, compression="lz4" if number == 3 else None)
    expected = {name: np.concatenate([arrays[name] for _, arrays in parts]) for name in ("image", "label")}
    assert_delivers(str(tmp_path / "*.arrow"), expected)
    save(tmp_path / "9.arrow", pair(3)[0].set_column(2, "label", pa.array([1, 2, 3], pa.int32())))
    with pytest.raises(SchemaMismatchError, match=r"Column 'label' differs: int64 in .*0\.arrow, int32 in .*9\.arrow"):
        open_source(str(tmp_path / "*.arrow"))


def test_nulls_are_errors_or_filled(tmp_path: Path):
    """With file, column and row."""
    table = pa.table(
        {"wide": pa.array([bytes([row]) * 100 for row in range(5)], pa.binary(100)), "y": pa.array([1, 2, 3, None, 5], pa.int16())}
    )
    path = save(tmp_path / "a.arrow", table, size=2)
    with pytest.raises(NullValueError) as caught:
        open_source(path)[:]
    hint = "Say what stands for it, fill={'y': 0}; or leave such records out, Loader(..., on_bad_record=\"skip\")."
    assert str(caught.value) == f"{path}: null at row 3 of column 'y'. {hint}"
    assert_delivers(path, {"y": np.array([1, 2, 3, -7, 5], "i2")}, fields=["y"], fill=-7)


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path):
    """Several images a record, dictionaries within lists, batches beyond the limit, options of other formats."""
    path = save(tmp_path / "a.arrow", pa.table({"image": pa.array([[{"bytes": b"abc", "path": "p"}]]), "label": [1]}))
    with pytest.raises(UnsupportedFeatureError) as caught:
        open_source(path)
    why = "holds lists of encoded images, several a record, which cannot be read yet"
    assert str(caught.value) == f"{path}: column 'image' {why}. Leave it out: fields=['label']."
    assert_delivers(path, {"label": np.array([1])}, fields=["label"])
    within = pa.ListArray.from_arrays([0, 1, 2], pa.array([7, 8]).dictionary_encode())
    path = save(tmp_path / "b.arrow", pa.table({"x": within, "y": [1.0, 2.0]}))
    with pytest.raises(UnsupportedFeatureError, match="column 'x' has a dictionary within lists, which cannot be read in Arrow files"):
        open_source(path)
    assert_delivers(path, {"y": np.array([1.0, 2.0])}, fields=["y"])
    with pytest.raises(ConfigError, match=r"verify= is no option of Arrow files\. It has shapes=, fill=\."):
        open_source(path, verify=True)


def test_a_batch_beyond_the_limit_is_refused_with_its_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where it must be decoded; raw ones are read by offset, whatever their size."""
    monkeypatch.setattr(planning, "LARGEST_BATCH_NBYTES", 3000)
    path = save(tmp_path / "a.arrow", pair()[0], compression="zstd")
    with pytest.raises(UnsupportedFeatureError) as caught:
        open_source(path)
    assert str(caught.value) == (
        f"{path}: a record batch of column 'image' has 30 records, 3.69 KB decoded; the limit is 2.93 KB. "
        "Rewrite it in smaller batches: max_chunksize= of the method write_table of pyarrow.ipc.new_file(...)."
    )
    assert_delivers(save(tmp_path / "b.arrow", pair()[0]), pair()[1])


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_a_file_that_is_cut_short_says_so(stream: bool, tmp_path: Path):
    """At every percent of its length, by its end: a footer, or the mark of a stream's."""
    path = save(tmp_path / "a", pair()[0], stream=stream)
    whole = path.read_bytes()
    for percent in range(1, 100):
        path.write_bytes(whole[: len(whole) * percent // 100])
        with pytest.raises(CorruptDataError, match=r"cut short|begins with the bytes|beyond the end of the file"):
            open_source(path)


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_mutations_of_metadata_give_the_same_records_or_an_error(stream: bool, compression: str | None, tmp_path: Path):
    """Bits of all messages flipped, by the hundred: never other bytes of the same schema, and no crash."""
    table, expected = pair(40)
    path = save(tmp_path / "a", table, stream=stream, size=20, compression=compression)
    whole = path.read_bytes()
    body = whole.find(expected["image"][:20].tobytes())
    first = body - 700 if body > 0 else 900
    places = [*range(0, first, 3), *range(first, first + 700), *range(len(whole) - 900, len(whole), 3)]
    refusals = 0
    for place in places:
        mutant = bytearray(whole)
        mutant[place] ^= 1 << (place % 8)
        path.write_bytes(mutant)
        refusals += met(path, expected, whole, place)
    assert len(places) > 300
    assert refusals > len(places) // 20


def met(path: Path, expected: Arrays, whole: bytes, place: int) -> bool:
    """Whether a mutant was refused; fails if it gives other values under the same names, dtypes and shapes."""
    try:
        source = open_source(path)
        try:
            taken = source[:]
        finally:
            source.close()
    except StreamloadError:
        return True
    for name, values in taken.items():
        if name in expected and (values.dtype, values.shape) == (expected[name].dtype, expected[name].shape):
            differ = int((values != expected[name]).sum())
            assert differ <= 1, f"byte {place} of {len(whole)}: {differ} values of {name} differ"  # one where the byte was data
    return False


@pytest.mark.parametrize("offset", [-1, 0, 7, 2**31 - 1], ids=["negative", "turned back", "one too many", "far away"])
def test_offsets_of_lists_that_lead_astray_are_refused(offset: int, tmp_path: Path):
    """Stored offsets are validated before anything is looked up by them, where records are said to be of one length."""
    lists = pa.array([[at, at + 1, at + 2] for at in range(5)], pa.list_(pa.int32()))
    path = save(tmp_path / "a.arrow", pa.table({"x": lists}))
    whole, offsets = bytearray(path.read_bytes()), np.arange(0, 18, 3, dtype="<i4").tobytes()
    place = bytes(whole).index(offsets)
    whole[place + 8 : place + 12] = np.array([offset], "<i4").tobytes()
    path.write_bytes(whole)
    with pytest.raises((CorruptDataError, SchemaMismatchError), match=r"column 'x'"):
        open_source(path, shapes={"x": (3,)})[:]


def test_a_file_that_changes_is_found_out(tmp_path: Path):
    """Truncated after it was opened: an error, and no signal, since nothing is mapped."""
    for compression in (None, "zstd"):
        path = save(tmp_path / "a.arrow", pair()[0], compression=compression)
        source = open_source(path)
        os.truncate(path, 1000)
        with pytest.raises(SourceChangedError):
            source[99]
        source.close()


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff\x7f", b"\x04\x00\x00\x00\xff\xff\xff\x7f", b"\x04\x00\x00\x00\x80\x00\x00\x00"])
def test_a_table_that_is_none_is_refused(data: bytes):
    """Every access is within the message."""
    with pytest.raises(FlatError, match=r"an offset leads (before|beyond) the message"):
        root(data).number(0, "h")


@pytest.mark.parametrize("short", [1, 20])
@pytest.mark.parametrize("text", [False, True], ids=["numbers", "text"])
def test_a_frame_that_unpacks_to_less_than_it_claims_is_refused(text: bool, short: int, tmp_path: Path):
    """Never are bytes delivered that the memory held before: of LZ4 frames pyarrow does not tell how many bytes they held."""
    whole = b"z" * 1000
    column = pa.array([whole[:100].decode()] * 10) if text else binary(np.full((10, 100), ord("z"), np.uint8))
    path = save(tmp_path / "a.arrow", pa.table({"x": column}), compression="lz4")
    frame, less = (pa.Codec("lz4_frame").compress(data, asbytes=True) for data in (whole, whole[:-short]))
    assert len(frame) == len(less)
    stored = path.read_bytes()
    assert frame in stored
    path.write_bytes(stored.replace(frame, less))
    told = rf"column 'x' cannot be decoded in records 0 to 10: a buffer claims 1,000 bytes unpacked, and unpacks to {1000 - short}\."
    with pytest.raises(CorruptDataError, match=told):
        open_source(path)[:]
