"""Zarr stores deliver what the library zarr reads, of both versions, without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs
from contract import assert_delivers, assert_same
from examples.zarr import held, write
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.sync import cleanup_resources

import streamload as sl
from streamload import testing
from streamload.errors import ConfigError, CorruptDataError, SourceChangedError, UnsupportedFeatureError
from streamload.formats.columns import chunk_reader
from streamload.formats.open import open_source
from streamload.formats.zarr import planning
from streamload.storage.file_table import FileTable

numcodecs.Blosc().encode(b"0123456789")  # it makes a lock that lasts as long as the process: before the first test


@pytest.fixture(autouse=True)
def _end_threads():
    """The library keeps threads of its own until the process ends; here they end with the test."""
    yield
    cleanup_resources()


def as_zarr_reads(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of a store by the library, in native order of bytes."""
    group = zarr.open_group(path, mode="r")
    found = {name: np.asarray(group[name]) for name in names}
    return {name: one.astype(one.dtype.newbyteorder("=")) for name, one in found.items()}


COMPRESSORS: dict[str, tuple[int, Any]] = {
    **{f"blosc {name}": (2, numcodecs.Blosc(cname=name, shuffle=shuffle)) for name, shuffle in (("lz4", 2), ("zstd", 1), ("zlib", 0))},
    "zlib": (2, numcodecs.Zlib()),
    "gzip": (2, numcodecs.GZip()),
    "bz2": (2, numcodecs.BZ2()),
    "lzma": (2, numcodecs.LZMA()),
    "lz4": (2, numcodecs.LZ4()),
    "zstd": (2, numcodecs.Zstd()),
    "nothing": (2, None),
    "blosc of version 3": (3, zarr.codecs.BloscCodec(cname="lz4hc")),
    "gzip of version 3": (3, zarr.codecs.GzipCodec()),
    "zstd and a checksum": (3, [zarr.codecs.ZstdCodec(checksum=True), zarr.codecs.Crc32cCodec()]),
    "a checksum alone": (3, [zarr.codecs.Crc32cCodec()]),
}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_chunks_are_decoded(name: str, tmp_path: Path):
    """Of all usual codecs, of images and of floats in boxes that do not divide them, big-endian too."""
    version, compressor = COMPRESSORS[name]
    arrays = held() | {"x": np.random.default_rng(1).normal(size=(50, 9)).astype(">f4" if version == 2 else "<f4")}
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    for field, values in arrays.items():
        chunks = {"image": (16, 5, 6, 2), "x": (7, 4), "label": (11,)}[field]
        group.create_array(field, shape=values.shape, dtype=values.dtype, chunks=chunks, compressors=compressor)[...] = values
    assert_delivers(tmp_path / "a.zarr", as_zarr_reads(tmp_path / "a.zarr", *arrays))


FILTERS: dict[str, tuple[list[Any], np.ndarray]] = {
    "shuffle": ([numcodecs.Shuffle(elementsize=4)], np.arange(60, dtype="<f4").reshape(20, 3)),
    "delta": ([numcodecs.Delta(dtype="<i4")], np.cumsum(np.arange(60, dtype="<i4")).reshape(20, 3).astype("<i4")),
    "delta, big-endian": ([numcodecs.Delta(dtype=">i4")], (np.arange(60) * 1000 - 7000).astype(">i4").reshape(20, 3)),
    "delta of fractions, big-endian": ([numcodecs.Delta(dtype=">f4")], np.arange(60).astype(">f4").reshape(20, 3)),
    "delta of bytes that wrap": ([numcodecs.Delta(dtype="u1")], (np.arange(60) * 77).astype("u1").reshape(20, 3)),
    "bitround": ([numcodecs.BitRound(keepbits=5)], np.linspace(0, 1, 60, dtype="<f4").reshape(20, 3)),
    "quantize": ([numcodecs.Quantize(digits=2, dtype="<f8")], np.linspace(0, 1, 60).reshape(20, 3)),
    "packbits": ([numcodecs.PackBits()], (np.arange(60) % 3 == 0).reshape(20, 3)),
    "fletcher32": ([numcodecs.Fletcher32()], np.arange(60, dtype="<f8").reshape(20, 3)),
    "crc32": ([numcodecs.CRC32()], np.arange(60, dtype="<i2").reshape(20, 3)),
    "crc32 behind": ([numcodecs.CRC32(location="end")], np.arange(60, dtype="<i2").reshape(20, 3)),
    "adler32": ([numcodecs.Adler32()], np.arange(60, dtype="<i2").reshape(20, 3)),
    "two": ([numcodecs.Delta(dtype="<i8"), numcodecs.Shuffle(elementsize=8)], np.arange(60, dtype="<i8").reshape(20, 3)),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_of_version_2_are_undone(name: str, tmp_path: Path):
    """In their order, under a compressor."""
    filters, values = FILTERS[name]
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("x", shape=values.shape, dtype=values.dtype, chunks=(7, 2), filters=filters, compressors=numcodecs.Zlib())[...] = (
        values
    )
    assert_delivers(tmp_path / "a.zarr", as_zarr_reads(tmp_path / "a.zarr", "x"))


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_differences_of_big_endian_numbers_of_version_3_are_refused(tmp_path: Path):
    """What is summed depends on the array in memory that was written, and the library does not always read what it wrote."""
    values = (np.arange(60) * 1000 - 7000).reshape(20, 3)
    for delta in "<>":
        for order in ("little", "big"):
            path = tmp_path / f"{'big' if delta == '>' else 'little'}-{order}"
            zarr.create_array(
                path,
                shape=values.shape,
                dtype="i4",
                chunks=(7, 2),
                filters=[zarr.codecs.numcodecs.Delta(dtype=f"{delta}i4")],
                serializer=zarr.codecs.BytesCodec(endian=order),
            )[...] = values
            if path.name == "little-little":
                with sl.open(path) as source:
                    assert source[:]["data"].tolist() == values.tolist()
                continue
            with pytest.raises(UnsupportedFeatureError, match="'data' holds differences of big-endian numbers, which are not known"):
                sl.open(path)


def test_axes_in_another_order_are_put_back(tmp_path: Path):
    """Fortran order of version 2; any order of version 3, within shards too."""
    images = held()["image"]
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    for name, order, shards in (("a", (3, 1, 0, 2), None), ("b", (0, 3, 2, 1), (20, 8, 6, 3))):
        turned = [zarr.codecs.TransposeCodec(order=order)]
        group.create_array(name, shape=images.shape, dtype="u1", chunks=(10, 4, 6, 3), filters=turned, shards=shards)[...] = images
    assert_delivers(tmp_path / "a.zarr", {"a": images, "b": images})


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", ">i4", "<u8", "<f2", ">f8", "<c8", "<M8[s]", "<m8[ms]", "S5"])
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_every_type_of_numbers_is_a_field(version: int, dtype: str, tmp_path: Path):
    """In native order of bytes, dates and fixed strings too; and so is its fill value where a chunk is not there."""
    values = np.arange(40).reshape(20, 2).astype(dtype)
    fill = values[3, 1] if dtype != "?" else np.True_
    array = zarr.create_array(tmp_path / "a", shape=(20, 2), dtype=dtype, chunks=(4, 2), zarr_format=version, fill_value=fill)
    array[:8], array[12:] = values[:8], values[12:]
    expected = values.astype(np.dtype(dtype).newbyteorder("="))
    expected[8:12] = fill
    np.testing.assert_array_equal(np.asarray(array[...]).astype(expected.dtype), expected)
    assert_delivers(tmp_path / "a", {"data": expected})
    assert " of 5 chunks are not there, and their records have the fill value" in repr(open_source(tmp_path / "a"))


@pytest.mark.parametrize(
    ("dtype", "fill", "value"),
    [("float32", "NaN", np.nan), ("float64", "-Infinity", -np.inf), ("float32", "0xc0490fdb", np.float32(-3.1415927)), ("int16", -7, -7)],
)
def test_fill_values_are_read_as_they_are_written(dtype: str, fill: Any, value: Any, tmp_path: Path):
    """As words, as bits, and as numbers; zarr agrees."""
    array = zarr.create_array(tmp_path / "a", shape=(10,), dtype=dtype, chunks=(2,), fill_value=value)
    array[2:4] = 1
    said = json.loads((tmp_path / "a" / "zarr.json").read_text())
    (tmp_path / "a" / "zarr.json").write_text(json.dumps(said | {"fill_value": fill}))
    expected = np.full(10, value, dtype)
    expected[2:4] = 1
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a", mode="r")[...], expected)
    assert_delivers(tmp_path / "a", {"data": expected})


def test_a_chunk_that_is_not_there_is_zeros_where_nothing_else_is_said(tmp_path: Path):
    """In boxes of records, in shards, and of arrays that are not packed."""
    images = held()["image"]
    for name, options in (
        ("boxes", {"chunks": (10, 4, 6, 3)}),
        ("shards", {"chunks": (5, 8, 6, 3), "shards": (10, 8, 6, 3)}),
        ("plain", {"chunks": (10, 8, 6, 3), "compressors": None}),
    ):
        array = zarr.create_array(tmp_path / name, shape=images.shape, dtype="u1", **options)
        array[:5], array[20:40] = images[:5], images[20:40]
        expected = np.zeros_like(images)
        expected[:5], expected[20:40] = images[:5], images[20:40]
        assert_delivers(tmp_path / name, {"data": expected})


@pytest.mark.parametrize(("name", "separator"), [("default", "."), ("v2", "/"), ("v2", ".")])
def test_chunks_may_be_named_in_any_of_the_ways(name: str, separator: str, tmp_path: Path):
    """Of version 3; and a file that is no chunk is counted."""
    values = np.arange(60).reshape(20, 3)
    zarr.create_array(tmp_path / "a", data=values, chunks=(3, 2), chunk_key_encoding={"name": name, "separator": separator})
    (tmp_path / "a" / "notes.txt").write_text("?")
    (tmp_path / "a" / "c.99.0").write_text("?")
    assert_delivers(tmp_path / "a", {"data": values})
    assert "left out: 2 files, no chunk of 'data' (c.99.0, notes.txt)" in repr(open_source(tmp_path / "a"))


def test_a_zipped_store_is_a_whole_source(tmp_path: Path):
    """Read by offset within the zip file, whatever it is called; with an array a store, or in groups."""
    with zarr.storage.ZipStore(tmp_path / "a", mode="w") as store:
        write(store, held(), chunks=(16, 5, 6, 3), shards=(32, 10, 6, 3))
    source = open_source(tmp_path / "a")
    testing.check_source(source, held(), num_workers=(0,))
    source.close()
    with zarr.storage.ZipStore(tmp_path / "b", mode="w") as store:
        zarr.create_array(store, data=np.arange(30), chunks=(8,), compressors=None)
    assert_delivers(tmp_path / "b", {"data": np.arange(30)})


def test_groups_in_groups_give_names_of_their_own(tmp_path: Path):
    """Arrays are asked for by path, or by the name that they are given."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    values = {"a/b": np.arange(4), "a_b": np.arange(4) + 1, "deep/er/x": np.arange(4) + 2}
    for name, array in values.items():
        group.create_array(name, shape=(4,), dtype="i8", chunks=(3,))[...] = array
    plain = {"a__b": values["a/b"], "a_b": values["a_b"], "deep_er_x": values["deep/er/x"]}
    assert_delivers(tmp_path / "a.zarr", plain)
    assert_delivers(tmp_path / "a.zarr", {"a__b": values["a/b"], "deep_er_x": values["deep/er/x"]}, fields=["a/b", "deep_er_x"])
    assert_delivers(tmp_path / "a.zarr", {"y": values["deep/er/x"]}, fields={"y": "deep/er/x"})
    assert_delivers(tmp_path / "a.zarr", {"y": np.stack([values["a/b"], values["a_b"]], axis=1)}, fields={"y": ["a/b", "a_b"]})
    assert_delivers(tmp_path / "a.zarr" / "deep", {"er_x": values["deep/er/x"]})
    assert open_source(tmp_path / "a.zarr").asked == {"a__b": "a/b", "deep_er_x": "deep/er/x"}


def test_several_stores_are_one_source(tmp_path: Path):
    """By a pattern, in natural order, packed in ways of their own."""
    images, labels = held()["image"], held()["label"]
    for number, (stop, options) in enumerate(
        ((20, {"chunks": (8, 8, 6, 3)}), (20, {"chunks": (3, 4, 6, 3)}), (50, {"chunks": (50, 8, 6, 3)}))
    ):
        start = (0, 20, 20)[number]
        write(tmp_path / f"part-{9 + number}.zarr", {"image": images[start:stop], "label": labels[start:stop]}, **options)
    assert_delivers(str(tmp_path / "part-*.zarr"), {"image": images, "label": labels})
    (tmp_path / "README.md").write_text("three stores")
    assert_delivers(tmp_path, {"image": images, "label": labels})
    (tmp_path / "part-9.zarr").rename(tmp_path / "train.zarr")
    (tmp_path / "part-10.zarr").rename(tmp_path / "test.zarr")
    with pytest.raises(ConfigError) as caught:
        open_source(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds datasets of several splits (test, train), whose records would be mixed. "
        "Choose one: split='train', or open its folder."
    )
    assert_delivers(tmp_path, {"image": images[:20], "label": labels[:20]}, split="train")
    with pytest.raises(ConfigError, match=r"has no split 'val'\. It has (test, train|train, test)\."):
        open_source(tmp_path, split="val")


@pytest.mark.filterwarnings("ignore:A window mixes only")
def test_chunks_are_decoded_once_an_epoch_in_block_order(tmp_path: Path):
    """As of HDF5: a chunk is read by whoever decodes it, and its records are dealt out."""
    write(tmp_path / "a.zarr", held(), chunks=(10, 8, 6, 3))
    data = open_source(tmp_path / "a.zarr")
    column = data.columns[0]
    assert column.cuts.tolist() == [0, 10, 20, 30, 40, 50]
    with sl.Loader(data, batch_size=10, shuffle=sl.Block(window=3000), num_workers=0) as loader:
        seen = np.concatenate([np.array(batch["label"]) for batch in loader])
        stats = loader.stats
    assert sorted(seen.tolist()) == list(range(50))
    assert stats.read_nbytes <= 1.5 * column.file_nbytes
    data.close()


def test_the_library_zarr_is_not_needed(tmp_path: Path):
    """Neither to open a store nor to read it."""
    write(tmp_path / "a.zarr", held(), chunks=(10, 8, 6, 3))
    code = (
        "import sys; sys.modules['zarr'] = sys.modules['numcodecs'] = None\n"
        "import streamload as sl; data = sl.open(sys.argv[1]); print(int(data[:]['image'].sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.zarr")], capture_output=True, text=True, check=True)
    assert int(done.stdout) == int(held()["image"].sum())


@settings(max_examples=25)
@given(data=st.data())
def test_any_chunks_and_shards_give_what_zarr_reads(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    """Of any shape, with some chunks not there, in any order of records."""
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3), label="shape"))
    chunk = tuple(data.draw(st.integers(1, 5), label="chunk") for _ in shape)
    shard = (
        tuple(side * data.draw(st.integers(1, 3), label="shard") for side in chunk) if data.draw(st.booleans(), label="sharded") else None
    )
    packed = data.draw(st.booleans(), label="packed")
    path = tmp_path_factory.mktemp("any") / "a"
    options: dict[str, Any] = {} if packed else {"compressors": None}
    array = zarr.create_array(path, shape=shape, dtype="<i2", chunks=chunk, shards=shard, fill_value=-3, **options)
    count = data.draw(st.integers(1, shape[0]), label="written")
    array[:count] = np.arange(int(np.prod((count, *shape[1:])))).reshape(count, *shape[1:])
    expected = np.asarray(array[...])
    cleanup_resources()
    source = open_source(path)
    order = np.array(data.draw(st.permutations(range(shape[0])), label="order"))
    given_shape = expected.reshape(shape[0], *source.schema.fields[0].shape)
    assert_same(source[order]["data"], given_shape[order])
    assert_same(source[:]["data"], given_shape)
    source.close()


@pytest.mark.parametrize("shards", [None, (160, 64, 192)], ids=["chunks in files of their own", "shards"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:A window mixes only")
def test_chunks_are_read_ahead_past_the_page_cache(shards: tuple[int, ...] | None, workers: int, tmp_path: Path):
    """The same records, from whichever file a chunk is in."""
    values = np.random.default_rng(7).integers(0, 256, (1100, 64, 192), np.uint8)
    array = zarr.create_array(tmp_path / "a", shape=values.shape, dtype="u1", chunks=(16, 64, 192), shards=shards)
    array[...] = values
    cleanup_resources()
    data = open_source(tmp_path / "a")
    for shuffle in (sl.Block(window="4 MB"), False):
        with sl.Loader(data, batch_size=50, shuffle=shuffle, num_workers=workers, io="direct", memory="900 MB", seed=5) as loader:
            assert "read past the page cache" in repr(loader)
            seen: list[int] = []
            for batch in loader:
                assert (batch["data"] == values[batch.records]).all()
                seen += batch.records.tolist()
            assert sorted(seen) == list(range(1100))
    data.close()


def test_very_many_chunks_are_files_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Which say of each file what was found, and notice one that changes."""
    write(tmp_path / "a.zarr", held(), chunks=(1, 8, 6, 3))
    few = open_source(tmp_path / "a.zarr")
    monkeypatch.setattr(planning, "MANY_FILES", 10)
    many = open_source(tmp_path / "a.zarr")
    assert isinstance(many.fingerprints, FileTable)
    assert list(many.fingerprints) == list(few.fingerprints)
    testing.check_source(many, held(), num_workers=(0,))
    many.close()
    chunk = tmp_path / "a.zarr" / "image" / "c" / "3" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes())
    with pytest.raises(SourceChangedError, match="image/c/3/0/0/0 was written to after it was opened"):
        many[3]
    many.close()


@pytest.mark.parametrize("how", ["cut short", "damaged", "gone", "replaced"])
def test_chunks_are_read_together_up_to_the_one_that_is_bad(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Those before it come as they are; it is said of the one by name, never another's bytes."""
    monkeypatch.setattr(planning, "MANY_FILES", 10)
    monkeypatch.setattr(chunk_reader, "READ_NBYTES", 5_000)
    values = (np.arange(40_000).reshape(160, 250) // 7 % 251).astype(np.uint8)
    array = zarr.create_array(tmp_path / "a", shape=values.shape, dtype="u1", chunks=(4, 250), zarr_format=2, compressors=numcodecs.Zlib())
    array[:] = values
    chunk = tmp_path / "a" / "23.0"
    if how == "damaged":
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    with open_source(tmp_path / "a") as source:
        (name,) = source.schema.names
        np.testing.assert_array_equal(source[:92][name], values[:92])
        if how == "gone":
            chunk.unlink()
        elif how != "damaged":
            chunk.write_bytes(chunk.read_bytes()[:-3] if how == "cut short" else (tmp_path / "a" / "22.0").read_bytes())
        said = {"gone": "is gone", "damaged": "does not decode", "cut short": "shrank from", "replaced": "was written to|shrank|grew"}
        for order in (np.arange(160), np.arange(160)[::-1], np.arange(92, 96)):
            with pytest.raises(CorruptDataError if how == "damaged" else SourceChangedError, match=said[how]) as caught:
                source[order]
            assert str(chunk) in str(caught.value) or how == "damaged"
            assert "92:96" in str(caught.value) or how != "damaged"
        if how == "damaged":
            np.testing.assert_array_equal(source[96:][name], values[96:])


@pytest.mark.parametrize("how", ["version 2", "nested", "version 3", "a shard", "in a shard"])
def test_a_chunk_that_is_added_is_noticed(how: str, tmp_path: Path):
    """It stood for fill values when the store was opened: an error that names it, never zeros for what is there."""
    version, shards = 2 if how in ("version 2", "nested") else 3, (8, 4) if "shard" in how else None
    keys = {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "/"}}} if how == "nested" else {}
    array = zarr.create_array(
        tmp_path / "a", shape=(40, 4), dtype="i4", chunks=(4, 2), shards=shards, zarr_format=version, fill_value=7, **keys
    )
    values = np.arange(160, dtype="i4").reshape(40, 4)
    array[:20] = values[:20]
    if how == "in a shard":
        array[32:36] = values[32:36]
    with open_source(tmp_path / "a") as source:
        (name,) = source.schema.names
        expected = np.asarray(array[:])
        np.testing.assert_array_equal(source[:][name], expected)
        array[36:] = values[36:]
        np.testing.assert_array_equal(source[:32][name], expected[:32])
        with pytest.raises(SourceChangedError, match=r" was (replaced|written|added)|(grew|shrank) from") as caught:
            source[36:]
        assert str(tmp_path / "a") in str(caught.value)
        if how in ("version 2", "version 3"):
            path = tmp_path / "a" / ("9.0" if version == 2 else "c/9/0")
            said = f"{path} was added after its store was opened, when this chunk was not there and stood for fill values."
            assert said in str(caught.value)
    with open_source(tmp_path / "a") as source:
        np.testing.assert_array_equal(source[36:][name], values[36:])
