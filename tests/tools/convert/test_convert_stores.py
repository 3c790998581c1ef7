"""Zarr stores and LMDB databases: what their own libraries write is read, record for record; what could run code is not."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from command_line import answer, arrays
from foreign_files import noise, png, taken
from store_files import _end_threads, database, zarr_store  # noqa: F401 - a fixture

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError, SourceError, UnsafeSourceError, UnsupportedFeatureError
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.open import open_records

LAYOUTS: dict[str, dict[str, Any]] = {
    "version 2": {"zarr_format": 2, "chunks": (3, 8, 8, 3)},
    "version 2, Fortran order, one chunk a record": {"zarr_format": 2, "chunks": (1, 8, 8, 3), "order": "F"},
    "version 3": {"zarr_format": 3, "chunks": (3, 4, 8, 3)},
    "version 3, shards": {"zarr_format": 3, "chunks": (2, 8, 8, 3), "shards": (4, 8, 8, 3)},
    "version 3, big-endian, without compression": {"zarr_format": 3, "chunks": (64, 8, 8, 3), "compressors": None},
}


class TestZarr:
    """Stores of both versions."""

    def test_names_that_would_be_one_stay_two(self, tmp_path: Path):
        """Each with its own values."""
        group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
        for number, name in enumerate(("a/b", "a_b")):
            group.create_array(name, shape=(4,), dtype="i8")[...] = np.arange(4) + number
        _, found = taken(tmp_path / "a.zarr")
        assert {name: values.tolist() for name, values in found.items()} == {"a__b": [0, 1, 2, 3], "a_b": [1, 2, 3, 4]}

    @pytest.mark.parametrize("records", [0, 1, 11])
    @pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
    def test_arrays_become_fields(self, layout: dict[str, Any], records: int, tmp_path: Path):
        """Whatever the chunks, in whatever order records are asked for."""
        held = arrays(records)
        origin, found = taken(zarr_store(tmp_path / "a.zarr", held, **layout))
        assert len(origin) == records
        for name, values in held.items():
            np.testing.assert_array_equal(found[name], values)
            assert found[name].dtype == values.dtype
        numbers = np.random.default_rng(0).permutation(records)
        origin = open_records(OpenRequest(path=str(tmp_path / "a.zarr")))
        np.testing.assert_array_equal(origin.take(numbers)["image"], held["image"][numbers])
        origin.close()

    def test_a_store_is_converted_shuffled_and_in_one_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """And verified against the store."""
        zarr_store(tmp_path / "a.zarr", arrays(20, labels=100), chunks=(8, 8, 8, 3))
        code, document = answer(capsys, "convert", tmp_path / "a.zarr", tmp_path / "b.parquet", "--shuffle")
        assert (code, document["records"]) == (0, 20)
        mixed = sl.open(tmp_path / "b.parquet")[:]
        np.testing.assert_array_equal(mixed["image"], arrays(20)["image"][mixed["label"]])
        assert sorted(mixed["label"].tolist()) == list(range(20))
        assert answer(capsys, "verify", tmp_path / "b.parquet", "--against", tmp_path / "a.zarr", "--any-order")[0] == 0

    def test_one_array_alone_and_one_that_was_zipped(self, tmp_path: Path):
        """It is called data."""
        array = zarr.create_array(tmp_path / "a.zarr", shape=(5, 3), chunks=(2, 3), dtype=">i2")
        array[...] = np.arange(15).reshape(5, 3)
        found = taken(tmp_path / "a.zarr")[1]["data"]
        assert found.dtype == np.dtype("i2")
        assert found.tolist() == np.arange(15).reshape(5, 3).tolist()
        store = zarr.storage.ZipStore(tmp_path / "b.zarr.zip", mode="w")
        group = zarr.open_group(store, mode="w")
        group.create_array("x", data=np.arange(4))
        store.close()
        assert taken(tmp_path / "b.zarr.zip")[1]["x"].tolist() == [0, 1, 2, 3]

    def test_what_cannot_be_a_field_is_left_out_by_name(self, tmp_path: Path):
        """Other lengths, texts, single numbers; groups in groups are fields with both names."""
        path = zarr_store(tmp_path / "a.zarr", {"image": arrays(4)["image"], "mean": np.zeros(3)}, chunks=(2, 8, 8, 3), zarr_format=2)
        group = zarr.open_group(path)
        group.create_array("one", shape=(), dtype="f4")
        group.create_array("text", shape=(4,), dtype="U5")
        group.create_group("more").create_array("y", data=np.arange(4))
        origin, found = taken(path)
        assert set(found) == {"image", "more_y"}
        assert origin.left_out == {
            "mean": "it has 3 records, not 4",
            "one": "it holds one number for all records",
            "text": "it holds <U5, which is no type of numbers",
        }
        assert list(taken(path, fields={"z": "more/y"})[1]) == ["z"]
        with pytest.raises(UnsupportedFeatureError, match="column 'text' holds <U5, which is no type of numbers"):
            taken(path, fields={"t": "text"})
        with pytest.raises(ConfigError, match=r"the arrays differ in their number of records \(image: 4, mean: 3\)"):
            taken(path, fields={"image": "image", "mean": "mean"})

    def test_files_that_are_no_chunks_are_counted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """A store is one thing; what lies in it and is not taken is named."""
        path = zarr_store(tmp_path / "a.zarr", arrays(8), chunks=(2, 8, 8, 3))
        code, document = answer(capsys, "info", path, "--no-measure")
        assert (code, document["account"]) == (0, {"unit": "store", "found": 1, "taken": 1, "left_out": []})
        (path / "image" / "c" / "old.bak").write_bytes(b"?")
        code, document = answer(capsys, "info", path, "--no-measure")
        left_out = {"what": "member", "why": "no chunk of 'image'", "count": 1, "expected": False, "names": ["c/old.bak"]}
        assert (code, document["account"]) == (1, {"unit": "store", "found": 1, "taken": 1, "left_out": [left_out]})

    def test_a_damaged_chunk_is_named_by_its_records(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """And only they are left out, where that is asked for."""
        zarr_store(tmp_path / "a.zarr", arrays(8, labels=100), chunks=(2, 8, 8, 3))
        chunk = tmp_path / "a.zarr" / "image" / "c" / "1" / "0" / "0" / "0"
        chunk.write_bytes(chunk.read_bytes()[:50])
        origin = open_records(OpenRequest(path=str(tmp_path / "a.zarr")))
        with pytest.raises(CorruptDataError, match=r"the chunk of records 2:4 of 'image', at byte 0, does not decode"):
            origin.take(np.arange(8))
        origin.close()
        code, document = answer(capsys, "convert", tmp_path / "a.zarr", tmp_path / "b.h5", "--on-bad", "skip")
        assert (code, document["records"]) == (1, 6)
        assert sl.open(tmp_path / "b.h5")[:]["label"].tolist() == [0, 1, 4, 5, 6, 7]

    @pytest.mark.parametrize("place", ["filters", "compressor"])
    def test_pickles_are_never_opened(self, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Neither as a filter nor as the compressor."""
        monkeypatch.chdir(tmp_path)
        path = zarr_store(tmp_path / "a.zarr", {"x": np.arange(4)}, zarr_format=2)
        said = json.loads((path / "x" / ".zarray").read_text())
        said |= {"compressor": None, place: {"id": "pickle", "protocol": 4} if place == "compressor" else [{"id": "pickle"}]}
        (path / "x" / ".zarray").write_text(json.dumps(said))
        (path / "x" / "0").write_bytes(pickle.dumps(Harm()))
        with pytest.raises(SourceError) as caught:
            taken(path)
        assert isinstance(caught.value, UnsafeSourceError | CorruptDataError)
        assert not (tmp_path / "harmed").exists()

    def test_nonsense_for_metadata_is_an_error_of_ours(self, tmp_path: Path):
        """With the path."""
        (tmp_path / "a.zarr").mkdir()
        for text in ("[1]", "{nonsense", '{"zarr_format": 3, "node_type": "array", "shape": [4]}'):
            (tmp_path / "a.zarr" / "zarr.json").write_text(text)
            with pytest.raises(CorruptDataError, match=r"a.zarr cannot be opened as a Zarr store"):
                taken(tmp_path / "a.zarr")

    def test_a_store_without_arrays_says_so(self, tmp_path: Path):
        """By name."""
        zarr.open_group(tmp_path / "a.zarr", mode="w")
        with pytest.raises(UnsupportedFeatureError, match="holds no array that could be a field: it has no arrays"):
            taken(tmp_path / "a.zarr")


class Harm:
    """An object whose pickle runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch harmed",)


class TestLmdb:
    """Databases of images."""

    @pytest.mark.parametrize("folder", [True, False], ids=["folder", "file"])
    @pytest.mark.parametrize("records", [1, 7])
    def test_images_by_number_with_their_labels(self, records: int, folder: bool, tmp_path: Path):
        """As sets of text recognition come: image-000000001, label-000000001, num-samples."""
        held = {b"num-samples": b"%d" % records}
        for at in range(1, records + 1):
            held |= {b"image-%09d" % at: png(noise(seed=at)), b"label-%09d" % at: b"%d" % (at * 10)}
        before = set(tmp_path.iterdir())
        origin, found = taken(database(tmp_path / "a", held, folder=folder))
        assert len(origin) == records
        np.testing.assert_array_equal(found["image"], [noise(seed=at) for at in range(1, records + 1)])
        assert found["label"].tolist() == [at * 10 for at in range(1, records + 1)]
        assert not before

    def test_folders_in_keys_are_classes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """In order of their names; without folders there are no labels."""
        held = {f"train/{kind}/{at}.png".encode(): png(noise(seed=at)) for at, kind in enumerate(["dog", "cat", "dog"])}
        origin, found = taken(database(tmp_path / "a.lmdb", held))
        assert found["label"].tolist() == [0, 1, 1]
        assert origin.facts["classes"] == {"label": ["cat", "dog"]}
        assert list(taken(database(tmp_path / "b.lmdb", {b"x1": png(noise()), b"x2": png(noise())}))[1]) == ["image"]
        code, document = answer(capsys, "convert", tmp_path / "a.lmdb", tmp_path / "c.h5")
        assert (code, document["records"]) == (0, 3)
        assert answer(capsys, "verify", tmp_path / "c.h5", "--against", tmp_path / "a.lmdb")[0] == 0

    @pytest.mark.parametrize(
        ("value", "error", "text"),
        [
            (pickle.dumps((b"x", 1)), UnsafeSourceError, "is a pickle, which could run anything"),
            (b"\x08\x03\x10\x20\x18\x20\x22\x04abcd", UnsupportedFeatureError, "is a Datum of Caffe"),
            (b"\x92\xc4\x01a\x01", UnsupportedFeatureError, "is an object of MessagePack"),
            (b"\xff\xff\xff\xff\x00", UnsupportedFeatureError, "is an object of Arrow"),
            (b"hello", UnsupportedFeatureError, "it begins with 68 65 6c 6c 6f"),
        ],
        ids=["pickle", "Caffe", "MessagePack", "Arrow", "text"],
    )
    def test_other_values_are_refused_by_name(self, value: bytes, error: type[Exception], text: str, tmp_path: Path):
        """Before anything is read of them."""
        with pytest.raises(error, match=text):
            taken(database(tmp_path / "a", {b"0": value, b"1": value}))

    def test_strays_are_named_by_their_numbers(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """A pickle among images, a damaged image, one of another size."""
        good = png(noise())
        held = {b"a": good, b"b": pickle.dumps(1), b"c": good[:70], b"d": png(noise((9, 9, 3))), b"e": good}
        origin = open_records(OpenRequest(path=str(database(tmp_path / "a", held)), first_size=True))
        for number, text in (
            (1, r"data\.mdb: record 1 of 'image' is no image"),
            (2, r"data\.mdb: record 2 of 'image' is a PNG that cannot be decoded"),
            (3, r"data\.mdb: record 3 of 'image' .*9 x 9"),
        ):
            with pytest.raises(SourceError, match=text):
                origin.take(np.array([number]))
        origin.close()
        assert answer(capsys, "convert", tmp_path / "a", tmp_path / "b.npy", "--on-bad", "skip")[1]["records"] == 2

    def test_a_file_that_is_damaged_is_an_error_of_ours(self, tmp_path: Path):
        """Where the library sees it."""
        database(tmp_path / "a", {b"a": png(noise())})
        data = bytearray((tmp_path / "a" / "data.mdb").read_bytes())
        data[20:24] = b"\xff\xff\xff\xff"
        (tmp_path / "b.mdb").write_bytes(data)
        with pytest.raises(CorruptDataError, match=r"b.mdb cannot be read as an LMDB database: it leads to a head of version"):
            taken(tmp_path / "b.mdb")
