"""Stores that are damaged, crafted, incomplete or of kinds that are not read: refused, or left out, by name."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs
import numpy as np
import pytest
import zarr
from contract import assert_delivers
from examples.zarr import held, write
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.sync import cleanup_resources

from streamload import Loader
from streamload.errors import (
    ChecksumError,
    ConfigError,
    CorruptDataError,
    SchemaMismatchError,
    SourceChangedError,
    SourceError,
    StreamloadError,
    UnsafeSourceError,
    UnsupportedFeatureError,
)
from streamload.formats.open import open_source
from streamload.formats.zarr import places

numcodecs.Blosc().encode(b"0123456789")  # it makes a lock that lasts as long as the process: before the first test


@pytest.fixture(autouse=True)
def _end_threads():
    """The library keeps threads of its own until the process ends; here they end with the test."""
    yield
    cleanup_resources()


def plain_array(path: Path, values: np.ndarray, **more: Any) -> Path:
    """An array of version 2, written by hand: chunks as they are, each of 10 records."""
    path.mkdir(parents=True, exist_ok=True)
    said = {"zarr_format": 2, "shape": list(values.shape), "chunks": [10, *values.shape[1:]], "dtype": values.dtype.str}
    said |= {"compressor": None, "fill_value": 0, "order": "C", "filters": None}
    (path / ".zarray").write_text(json.dumps(said | more))
    for number in range(-(-len(values) // 10)):
        chunk = np.zeros((10, *values.shape[1:]), values.dtype)
        chunk[: len(values[number * 10 :])] = values[number * 10 : number * 10 + 10]
        (path / ".".join([str(number), *("0" for _ in values.shape[1:])])).write_bytes(chunk.tobytes())
    return path


def said_of(path: Path) -> dict[str, Any]:
    """What describes an array."""
    return json.loads(path.read_text())


NONSENSE = {
    "nothing": "",
    "a list": "[1]",
    "no JSON": "{nonsense",
    "half": '{"zarr_format": 3, "node_type": "array", "shape": [4]}',
    "no node": '{"zarr_format": 3, "node_type": "leaf"}',
    "nested": "[" * 100_000,
}


@pytest.mark.parametrize("text", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_for_metadata_is_an_error(text: str, tmp_path: Path):
    """With the path of the store."""
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text(text)
    with pytest.raises(CorruptDataError, match=r"a\.zarr(/zarr\.json is empty| cannot be opened as a Zarr store)"):
        open_source(tmp_path / "a.zarr")


@settings(max_examples=60)
@given(data=st.data())
def test_any_change_of_what_describes_an_array_is_survived(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    """One value is another: records, or an error of ours, and never more memory than the chunks are said to take."""
    path = plain_array(tmp_path_factory.mktemp("any") / "a", np.arange(40).reshape(20, 2))
    said = said_of(path / ".zarray")
    key = data.draw(st.sampled_from(sorted(said)))
    values = st.one_of(
        st.none(), st.booleans(), st.integers(-5, 1 << 70), st.text(max_size=4), st.lists(st.integers(-2, 1 << 64), max_size=3), st.floats()
    )
    said[key] = data.draw(values)
    (path / ".zarray").write_text(json.dumps(said))
    with suppress(StreamloadError):
        source = open_source(path)
        if len(source) < 100:
            source[:]
        source.close()


BOMBS: dict[str, tuple[dict[str, Any], Callable[[bytes], bytes]]] = {
    "zlib": ({"id": "zlib", "level": 1}, zlib.compress),
    "gzip": ({"id": "gzip", "level": 1}, gzip.compress),
    "bz2": ({"id": "bz2", "level": 1}, bz2.compress),
    "lzma": ({"id": "lzma"}, lzma.compress),
    "zstd": ({"id": "zstd", "level": 1}, lambda data: bytes(imagecodecs.zstd_encode(data))),
    "lz4": ({"id": "lz4"}, lambda data: bytes(numcodecs.LZ4().encode(data))),
    "blosc": ({"id": "blosc"}, lambda data: bytes(numcodecs.Blosc().encode(data))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_that_inflates_is_refused(name: str, tmp_path: Path):
    """It holds 64 MiB, and should hold 160 bytes: nothing is made of it; one that is cut short is damaged too."""
    said, pack = BOMBS[name]
    values = np.arange(40).reshape(20, 2)
    path = plain_array(tmp_path / "a", values, compressor=said)
    (path / "0.0").write_bytes(pack(bytes(64 << 20)))
    sound = pack(values[10:].tobytes())
    (path / "1.0").write_bytes(sound)
    source = open_source(path)
    assert source[10:]["data"].tolist() == values[10:].tolist()
    with pytest.raises(CorruptDataError, match=r"0\.0: the chunk of records 0:10 of 'data', at byte 0, does not decode"):
        source[:5]
    source.close()
    (path / "1.0").write_bytes(sound[: len(sound) // 2])
    with pytest.raises(CorruptDataError, match=r"1\.0: the chunk of records 10:20 of 'data'"):
        open_source(path)[15]


@pytest.mark.parametrize(("name", "place"), [("crc32c", "end"), ("crc32", "start"), ("adler32", "start")])
def test_a_wrong_checksum_is_found(name: str, place: str, tmp_path: Path):
    """By whichever checksum there is; chunks shorter than it too."""
    values = np.arange(40).reshape(20, 2)
    path = plain_array(tmp_path / "a", values, filters=[{"id": name, "location": place}])
    codec = numcodecs.get_codec({"id": name, "location": place})
    for number in range(2):
        data = values[10 * number : 10 * number + 10].tobytes()
        (path / f"{number}.0").write_bytes(bytes(codec.encode(data)))
    assert_delivers(path, {"data": values})
    wrong = bytearray((path / "1.0").read_bytes())
    wrong[20] ^= 1
    (path / "1.0").write_bytes(wrong)
    with pytest.raises(ChecksumError, match=f"of records 10:20 of 'data', at byte 0, does not decode: its {name} checksum is"):
        open_source(path)[:]
    (path / "1.0").write_bytes(b"abc")
    with pytest.raises(CorruptDataError, match=f"{name} needs 4 bytes of checksum, and there are 3 bytes"):
        open_source(path)[:]


def test_chunks_that_are_not_packed_have_their_length(tmp_path: Path):
    """One that is too short or too long is damaged, whatever the others are."""
    values = np.arange(40).reshape(20, 2)
    for name, change in (("short", lambda data: data[:-1]), ("long", lambda data: data + b"x"), ("empty", lambda data: b"")):
        path = plain_array(tmp_path / name, values)
        (path / "1.0").write_bytes(change((path / "1.0").read_bytes()))
        source = open_source(path)
        assert source[:10]["data"].tolist() == values[:10].tolist()
        with pytest.raises(CorruptDataError, match="the chunk of records 10:20 of 'data'"):
            source[12]
        source.close()


def test_chunks_that_are_too_many_or_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before anything is allocated for them."""
    path = plain_array(tmp_path / "a", np.arange(40).reshape(20, 2), chunks=[1 << 40, 2], compressor={"id": "zlib"})
    with pytest.raises(UnsupportedFeatureError, match="'data' lies in chunks of 16 TB, which are decoded whole; up to 4 GB are"):
        open_source(path)
    path = plain_array(tmp_path / "b", np.arange(40).reshape(20, 2), shape=[1 << 50, 2])
    with pytest.raises(UnsupportedFeatureError, match="cut into 112,589,990,684,263 chunks, and more than 50,000,000 are not read"):
        open_source(path)
    monkeypatch.setattr(places, "MOST_CHUNKS", 1)
    with pytest.raises(UnsupportedFeatureError, match="'data' is cut into 2 chunks, and more than 1 are not read"):
        open_source(plain_array(tmp_path / "c", np.arange(40).reshape(20, 2)))


SHARDS = {
    "cut": (lambda data: data[:20], "cannot be read: it is shorter than the index of its 4 chunks", CorruptDataError),
    "index": (lambda data: data[:-20] + b"\1" + data[-19:], "the checksum of the index of a shard of 'x' is wrong", ChecksumError),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_damaged_index_of_a_shard_is_found(name: str, tmp_path: Path):
    """At open."""
    change, text, kind = SHARDS[name]
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("x", data=np.arange(40), chunks=(5,), shards=(20,))
    shard = tmp_path / "a.zarr" / "x" / "c" / "1"
    shard.write_bytes(change(shard.read_bytes()))
    with pytest.raises(kind, match=text) as caught:
        open_source(tmp_path / "a.zarr")
    assert str(shard) in str(caught.value)


def test_an_index_that_leads_out_of_its_shard_is_refused(tmp_path: Path):
    """Even where its checksum is right, or there is none."""
    index = [{"name": "bytes", "configuration": {"endian": "little"}}]
    codec = {"chunk_shape": [5], "codecs": index, "index_codecs": index, "index_location": "start"}
    said = {"zarr_format": 3, "node_type": "array", "shape": [10], "data_type": "int64", "fill_value": 0}
    said |= {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10]}}, "chunk_key_encoding": {"name": "default"}}
    said |= {"codecs": [{"name": "sharding_indexed", "configuration": codec}], "attributes": {}}
    (tmp_path / "a" / "c").mkdir(parents=True)
    (tmp_path / "a" / "zarr.json").write_text(json.dumps(said))
    values = np.arange(10, dtype="<i8")
    for places_, sound in (([32, 40, 72, 40], True), ([32, 40, 73, 40], False), ([32, 40, (1 << 64) - 2, 40], False)):
        (tmp_path / "a" / "c" / "0").write_bytes(np.array(places_, "<u8").tobytes() + values.tobytes())
        if sound:
            assert_delivers(tmp_path / "a", {"data": values})
            continue
        with pytest.raises(CorruptDataError, match="a shard of '', cannot be read: its index leads behind its end"):
            open_source(tmp_path / "a")


def test_links_are_followed_within_a_store_and_no_further(tmp_path: Path):
    """Of chunks, of folders of chunks, of arrays; a store that is a link itself is where it leads to."""
    inside, outside = tmp_path / "a.zarr", tmp_path / "other.zarr"
    write(inside, held(), chunks=(25, 8, 6, 3))
    write(outside, held(), chunks=(25, 8, 6, 3))
    chunk = inside / "image" / "c" / "1"
    os.rename(chunk, inside / "kept")
    os.symlink(inside / "kept", chunk)
    assert_delivers(inside, held())
    os.symlink(inside, tmp_path / "b.zarr")
    assert_delivers(tmp_path / "b.zarr", held())
    chunk.unlink()
    os.symlink(outside / "image" / "c" / "1", chunk)
    with pytest.raises(UnsafeSourceError, match=r"image/c/1 leads out of the store, to .*other\.zarr/image/c/1"):
        open_source(inside)
    chunk.unlink()
    os.symlink(outside / "image", inside / "more")
    with pytest.raises(UnsafeSourceError, match=r"more/zarr\.json leads out of the store"):
        open_source(inside)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_pipe_in_place_of_a_chunk_is_a_damaged_one(shuffle: bool, tmp_path: Path):
    """It is named, whoever reads it or tells the kernel of it ahead, and nobody waits for what may be written into it."""
    path = plain_array(tmp_path / "a", np.arange(80).reshape(40, 2))
    (path / "2.0").unlink()
    os.mkfifo(path / "2.0")
    text = r"/a/2\.0 is not a regular file, where a data file was expected\."
    with open_source(path) as source:
        (name,) = source.schema.names
        assert source[5:12][name].tolist() == np.arange(10, 24).reshape(7, 2).tolist()
        for records in (slice(25, 26), slice(None)):
            with pytest.raises(CorruptDataError, match=text):
                source[records]
        with Loader(source, batch_size=4, num_workers=0, shuffle=shuffle) as loader, pytest.raises(CorruptDataError, match=text):
            list(loader)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "socket"])
def test_what_is_no_chunk_is_named_whenever_it_came(kind: str, when: str, tmp_path: Path):
    """And is an error whatever on_bad_record= says, as any chunk that cannot be read: it holds many records. Others are read."""
    path = plain_array(tmp_path / "a", np.arange(80).reshape(40, 2))
    source = open_source(path) if when == "after" else None
    (path / "2.0").unlink()
    if kind == "pipe":
        os.mkfifo(path / "2.0")
    elif kind == "folder":
        (path / "2.0").mkdir()
    else:
        os.mknod(path / "2.0", stat.S_IFSOCK | 0o600)
    with source or open_source(path) as source:
        (name,) = source.schema.names
        assert source[5:12][name].tolist() == np.arange(10, 24).reshape(7, 2).tolist()
        with pytest.raises(SourceError, match=r"/a/2\.0 (is|was|shrank|grew|cannot be opened)") as caught:
            source[:]
        assert when == "after" or not isinstance(caught.value, SourceChangedError)
        with (
            pytest.raises(SourceError, match=r"/a/2\.0 "),
            Loader(source, batch_size=4, num_workers=0, shuffle=False, on_bad_record="skip") as loader,
        ):
            list(loader)


def test_what_cannot_be_a_field_is_left_out_by_name(tmp_path: Path):
    """Other lengths, texts, single numbers, unknown codecs; asking for them says why."""
    write(tmp_path / "a.zarr", {"image": held()["image"]}, 2, chunks=(16, 8, 6, 3))
    plain_array(tmp_path / "a.zarr" / "mean", np.zeros(3))
    plain_array(tmp_path / "a.zarr" / "one", np.zeros(50), shape=[], chunks=[])
    plain_array(tmp_path / "a.zarr" / "text", np.zeros(50, "U5"))
    plain_array(tmp_path / "a.zarr" / "object", np.zeros(50), dtype="|O")
    plain_array(tmp_path / "a.zarr" / "members", np.zeros(50), dtype=[["x", "<i4"]])
    plain_array(tmp_path / "a.zarr" / "odd", np.zeros(50), compressor={"id": "zfpy"})
    plain_array(tmp_path / "a.zarr" / "rounded", np.zeros(50), filters=[{"id": "quantize", "dtype": "<f8", "astype": "<f4"}])
    plain_array(tmp_path / "a.zarr" / "pickled", np.zeros(50), filters=[{"id": "pickle"}])
    reasons = {
        "mean": "it has 3 records, not 50",
        "members": "it holds structures, which are no type of numbers",
        "object": "it holds |O, which is no type of numbers",
        "odd": "it holds what the codec 'zfpy' packed, which is not known here",
        "one": "it holds one number for all records",
        "pickled": "it is pickled (pickle), which could run anything",
        "rounded": "it holds values that were rounded to another type, which is not known here",
        "text": "it holds <U5, which is no type of numbers",
    }
    assert open_source(tmp_path / "a.zarr").notes[-8:] == tuple(f"'{name}' left out: {why}" for name, why in reasons.items())
    assert_delivers(tmp_path / "a.zarr", {"image": held()["image"]})
    with pytest.raises(UnsupportedFeatureError, match="column 'text' holds <U5, which is no type of numbers"):
        open_source(tmp_path / "a.zarr", fields=["text"])
    with pytest.raises(UnsafeSourceError, match="'pickled' is pickled"):
        open_source(tmp_path / "a.zarr", fields=["image", "pickled"])
    with pytest.raises(ConfigError, match=r"the arrays differ in their number of records \(image: 50, mean: 3\)"):
        open_source(tmp_path / "a.zarr", fields=["image", "mean"])
    with pytest.raises(ConfigError, match="fields names 'image' twice"):
        open_source(tmp_path / "a.zarr", fields=["image", "image"])


def test_a_store_of_nothing_says_so(tmp_path: Path):
    """By what it holds, and why that does not serve."""
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(UnsupportedFeatureError, match="holds no array that could be a field: it has no arrays"):
        open_source(tmp_path / "a.zarr")
    plain_array(tmp_path / "b", np.zeros(5), dtype="<U5")
    with pytest.raises(UnsupportedFeatureError, match="holds no array that could be a field: 'data' holds <U5, which is no type"):
        open_source(tmp_path / "b")
    plain_array(tmp_path / "c", np.zeros(5), compressor={"id": "pickle"})
    with pytest.raises(UnsafeSourceError, match=r"'data' is pickled \(pickle\), which could run anything\. Choose other arrays"):
        open_source(tmp_path / "c")


def test_guesses_that_could_be_wrong_are_refused(tmp_path: Path):
    """Two lengths as good; a pair that differs; records of which not one chunk is there."""
    write(tmp_path / "a.zarr", {"a": np.zeros((4, 3)), "b": np.zeros((6, 2))})
    with pytest.raises(ConfigError, match=r"two sets of arrays, equally large: fields=\['a'\] \(4 records\); fields=\['b'\] \(6 records\)"):
        open_source(tmp_path / "a.zarr")
    write(tmp_path / "b.zarr", {"images": np.ones((40, 3)), "labels": np.ones(30), "mean": np.ones(2)})
    with pytest.raises(SchemaMismatchError, match="'images' has 40 records and 'labels' has 30: they look like a pair"):
        open_source(tmp_path / "b.zarr")
    zarr.create_array(tmp_path / "c", shape=(50, 2), chunks=(10, 2), dtype="f4", fill_value=7)
    with pytest.raises(CorruptDataError, match=r"claims 50 records, and not one chunk of them is there\. .*fields=\['data'\] "):
        open_source(tmp_path / "c")
    assert_delivers(tmp_path / "c", {"data": np.full((50, 2), 7, "f4")}, fields=["data"])


def test_a_zip_file_that_packs_its_members_is_refused(tmp_path: Path):
    """Nothing in it can be read by offset; one that lies about where members begin is damaged."""
    write(tmp_path / "a.zarr", held(), chunks=(25, 8, 6, 3))
    names = sorted(path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file())
    for packing in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        with zipfile.ZipFile(tmp_path / f"{packing}.zip", "w", packing) as archive:
            for path in names:
                archive.write(path, str(path.relative_to(tmp_path / "a.zarr")))
    with pytest.raises(UnsupportedFeatureError, match="is compressed or encrypted by the zip file"):
        open_source(tmp_path / f"{zipfile.ZIP_DEFLATED}.zip")
    path = tmp_path / f"{zipfile.ZIP_STORED}.zip"
    assert_delivers(path, held())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("label/c/1").header_offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptDataError, match="label/c/1 is cut short, or does not begin where it should"):
        open_source(path)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As the system says it."""
    path = plain_array(tmp_path / "a", np.arange(40).reshape(20, 2))

    def refuse(name: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(name))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"a cannot be read: Permission denied\. Check its permissions"):
        open_source(path)
