"""LMDB databases deliver what the library lmdb reads, without it; damaged ones never end the process."""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import lmdb
import numpy as np
import pytest
from contract import assert_delivers
from examples.lmdb import RECORDS, database, images, numbered, png
from hypothesis import given, settings
from hypothesis import strategies as st

from streamload.errors import CorruptDataError, NullValueError, SourceError, StreamloadError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.open import open_source


def by_folder(count: int, shape: tuple[int, ...] = (5, 4, 3)) -> dict[bytes, bytes]:
    """Images in two classes, by the folders in their keys."""
    return {b"train/%s/%03d.png" % ((b"cat", b"dog")[at % 2], at): png(image) for at, image in enumerate(images(shape)[:count])}


def as_lmdb_reads(path: Path) -> dict[bytes, bytes]:
    """All keys and values by the library, in the order of the keys."""
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as environment, environment.begin() as transaction:
        return dict(transaction.cursor())


@pytest.mark.parametrize("shape", [(5, 4, 3), (60, 60, 3)], ids=["in leaves", "on pages of their own"])
def test_values_are_those_that_lmdb_reads(shape: tuple[int, ...], tmp_path: Path):
    """Byte for byte, as encoded; the folders in keys are the classes."""
    path = database(tmp_path / "a.mdb", by_folder(RECORDS, shape))
    there = as_lmdb_reads(path)
    source = open_source(path, decode=False)
    assert [bytes(one) for one in source[:]["image"]] == list(there.values())
    assert source.classes == {"label": ("cat", "dog")}
    assert source[:]["label"].tolist() == [key.split(b"/")[1] == b"dog" for key in there]
    source.close()
    order = [int(key[-7:-4]) for key in there]
    assert_delivers(path, {"image": images(shape)[order], "label": np.array([at % 2 for at in order])})


@settings(max_examples=30)
@given(nbytes=st.lists(st.integers(0, 9000), min_size=1, max_size=80), gone=st.integers(1, 5))
def test_values_of_any_length_are_found(nbytes: list[int], gone: int, tmp_path_factory: pytest.TempPathFactory):
    """In trees of any depth, after some records were deleted."""
    path = tmp_path_factory.mktemp("any") / "a.mdb"
    held = {b"%05d" % (at * 7919 % 99991): png(images((2, 2))[0]) + bytes([at % 251]) * count for at, count in enumerate(nbytes)}
    database(path, held)
    with lmdb.open(str(path), subdir=False, map_size=1 << 26, lock=False) as environment, environment.begin(write=True) as transaction:
        for key in list(held)[1 :: gone + 1]:
            transaction.delete(key)
    source = open_source(path, decode=False)
    assert [bytes(one) for one in source[:]["image"]] == list(as_lmdb_reads(path).values())
    source.close()


def test_a_folder_and_the_file_in_it_are_the_same(tmp_path: Path):
    """And two databases are one source, in which what one lacks is a null."""
    expected = numbered((5, 4, 3), folder=True)(tmp_path / "a")
    assert_delivers(tmp_path / "a", expected)
    assert_delivers(tmp_path / "a" / "data.mdb", expected)
    database(tmp_path / "b", by_folder(4))
    both = open_source([tmp_path / "a", tmp_path / "b"], fields=["image"])
    assert len(both) == RECORDS + 4
    np.testing.assert_array_equal(both[:]["image"][:RECORDS], expected["image"])
    both.close()


def test_texts_beside_images_are_texts(tmp_path: Path):
    """What is written in a picture is no name of a class, though its keys say label; what repeats is one."""
    pictures = images((5, 4, 3))[:6]
    words = [b"one", b"two", b"three", b"four", b"five", b"six"]
    held = {b"image-%09d" % at: png(image) for at, image in enumerate(pictures)}
    database(tmp_path / "a.mdb", held | {b"label-%09d" % at: word for at, word in enumerate(words)} | {b"num-samples": b"6"})
    with open_source(tmp_path / "a.mdb") as source:
        assert not source.classes
        assert source[:]["label"].to_list() == [word.decode() for word in words]
    database(tmp_path / "b.mdb", held | {b"label-%09d" % at: words[at % 2] for at in range(6)})
    with open_source(tmp_path / "b.mdb") as source:
        assert source.classes == {"label": ("one", "two")}


def test_a_record_that_lacks_a_value_is_a_null(tmp_path: Path):
    """An error that names it, or what stands for it."""
    held = {b"image-%d" % at: png(image) for at, image in enumerate(images((5, 4, 3))[:5])}
    held |= {b"label-%d" % at: b"%d" % at for at in range(4)} | {
        b"text-%d" % at: (b"one", b"two", b"three", b"four", b"five")[at] for at in range(5)
    }
    held |= {b"angle-%d" % at: b"%.1f" % (at / 2) for at in range(3)}
    path = database(tmp_path / "a.mdb", held)
    source = open_source(path)
    np.testing.assert_array_equal(source[:4]["angle"], [0, 0.5, 1, np.nan])
    assert "'angle' holds 2 nulls, delivered as NaN" in repr(source)
    assert "NaN" not in repr(open_source(path, fill={"angle": -1.0}))
    assert source[:4]["label"].tolist() == [0, 1, 2, 3]
    assert list(source[:4]["text"]) == ["one", "two", "three", "four"]
    with pytest.raises(NullValueError, match="null at row 4 of column 'label'"):
        source[4]
    source.close()
    assert open_source(path, fill={"label": -1})[:]["label"].tolist() == [0, 1, 2, 3, -1]


def test_nothing_stands_for_a_value_that_is_no_text(tmp_path: Path):
    """It is there, and so no missing one: a bad record among texts, and where such are more, the field is left out."""
    held = {b"image-%d" % at: png(image) for at, image in enumerate(images((5, 4, 3))[:5])}
    held |= {b"text-%d" % at: "\u00e9".encode("latin-1" if at == 3 else "utf-8") * at for at in range(5)}
    held |= {b"angle-%d" % at: b"\xff" if at == 3 else b"%d.5" % at for at in range(4)}
    path = database(tmp_path / "a.mdb", held | {b"label-%d" % at: (at + 98).to_bytes(8, "little") for at in range(5)})
    with open_source(path) as source:
        assert source.schema.names == ("image", "angle", "text")
        said = repr(source)
        assert "left out: 1 member, bytes that are no text ('text' of record 3)" in said
        assert "left out: 1 member, bytes that are no text ('angle' of record 3)" in said
        assert "'label' left out: it holds bytes of a kind that is not known: it begins with 62 00" in said
        np.testing.assert_array_equal(source[[0, 2, 4]]["angle"], [0.5, 2.5, np.nan])
        with pytest.raises(NullValueError, match="null at row 3 of column"):
            source[3]
    with pytest.raises(CorruptDataError) as caught:
        open_source(path, fill={"text": "?"})
    assert caught.value.message == (
        f"{path}: 'angle' of record 3 is no text. fill= stands for values that are missing, not for those that cannot be read."
    )
    hint = 'Write that value anew, as UTF-8, or leave fill= out, and such records too: Loader(..., on_bad_record="skip").'
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (pickle.dumps((b"x", 1)), UnsafeSourceError, "is a pickle, which could run anything. Save the arrays as HDF5 where you trust it"),
        (b"\x08\x03\x10\x20\x18\x20\x22\x04abcd", UnsupportedFeatureError, "is a Datum of Caffe"),
        (b"\x92\xc4\x01a\x01", UnsupportedFeatureError, "is an object of MessagePack"),
        (b"\x93NUMPY\x01\x00v\x00", UnsupportedFeatureError, "is an array of NumPy"),
        (b"\xff\xff\xff\xff\x00", UnsupportedFeatureError, "is an object of Arrow"),
        (b"hello", UnsupportedFeatureError, "is bytes of a kind that is not known: it begins with 68 65 6c 6c 6f"),
    ],
    ids=["pickle", "Caffe", "MessagePack", "NumPy", "Arrow", "text"],
)
def test_other_values_are_refused_by_what_they_are(value: bytes, error: type[Exception], text: str, tmp_path: Path):
    """Nothing of them is run, or guessed at."""
    with pytest.raises(error, match=text):
        open_source(database(tmp_path / "a", {b"0": value, b"1": value}))


def test_what_is_no_field_and_no_record_is_named(tmp_path: Path):
    """Databases in the database, keys without a number, values beside images that are pickles."""
    held = {b"image-%d" % at: png(image) for at, image in enumerate(images((5, 4, 3))[:3])}
    held |= {b"box-%d" % at: b"\x80\x02]." for at in range(3)} | {b"cover": b"1"}
    path = database(tmp_path / "a.mdb", held)
    with lmdb.open(str(path), subdir=False, map_size=1 << 26, max_dbs=2, lock=False) as environment:
        environment.open_db(b"inside")
    text = repr(open_source(path))
    assert "'box' left out: it holds a pickle, which could run anything" in text
    assert "left out: 1 member, a database of its own (inside)" in text
    assert "left out: 1 member, a key without the number of a record (cover)" in text
    path = database(tmp_path / "b.mdb", {})
    with lmdb.open(str(path), subdir=False, map_size=1 << 26, max_dbs=2, lock=False) as environment:
        environment.open_db(b"only")
    with pytest.raises(CorruptDataError, match=r"holds no records: left out: 1 member, a database of its own \(only\)"):
        open_source(path)


def test_the_library_lmdb_is_not_needed(tmp_path: Path):
    """And nothing is written beside the database."""
    path = database(tmp_path / "a.mdb", by_folder(4))
    before = sorted(tmp_path.iterdir())
    code = "import sys; sys.modules['lmdb'] = None\nimport streamload as sl; print(len(sl.open(sys.argv[1])[:]['image']))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert (done.stdout, sorted(tmp_path.iterdir())) == ("4\n", before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of some pages, with values that have pages of their own."""
    large = {b"cat/%d" % at: png(image) for at, image in enumerate(images((40, 40, 3))[:3])}
    return database(tmp_path_factory.mktemp("whole") / "a.mdb", by_folder(40) | large)


@settings(max_examples=100)
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.one_of(st.none(), st.floats(0, 1)))
def test_damage_is_an_error_or_changes_little(whole: Path, at: float, value: int, cut: float | None):
    """A byte that is another, a file that is cut: no signal ends the process, and nothing outside the file is read."""
    data = bytearray(whole.read_bytes())
    data[int(at * len(data))] = value
    changed = whole.with_name("b.mdb")
    changed.write_bytes(data if cut is None else data[: int(cut * len(data)) + 1])
    with suppress(StreamloadError):
        source = open_source(changed, decode=False)
        assert len(source) <= 43
        for number in range(len(source)):
            with suppress(SourceError):
                source[number]
        source.close()


def test_two_values_in_one_place_are_damage(whole: Path):
    """A pointer that leads to the pages of another record would deliver that record's bytes."""
    data = bytearray(whole.read_bytes())
    pages = [at for at in range(0, len(data), 4096) if int.from_bytes(data[at + 10 : at + 12], "little") == 4]
    assert len(pages) == 3
    first, second = ((page // 4096).to_bytes(8, "little") for page in pages[:2])
    for key in (b"cat/0", b"cat/1"):
        at = data.index(key) + len(key)
        if data[at : at + 8] == second:
            data[at : at + 8] = first
    changed = whole.with_name("c.mdb")
    changed.write_bytes(data)
    with pytest.raises(CorruptDataError, match="cannot be read as an LMDB database: it leads to two values at byte"):
        open_source(changed)


def test_a_chain_of_pages_ends(tmp_path: Path):
    """Pages that each lead to the next, deeper than any database has them."""
    data = bytearray(database(tmp_path / "a.mdb", by_folder(2)).read_bytes())
    count = 200
    for page in range(2, 2 + count):
        node = (page + 1).to_bytes(6, "little") + (0).to_bytes(2, "little")
        head = page.to_bytes(8, "little") + bytes(2) + (1).to_bytes(2, "little") + (18).to_bytes(2, "little") + (4088).to_bytes(2, "little")
        body = head + (4088).to_bytes(2, "little")
        data[page * 4096 : (page + 1) * 4096] = body + bytes(4088 - len(body)) + node
    for meta in (0, 4096):
        data[meta + 16 + 24 + 48 + 40 : meta + 16 + 24 + 48 + 48] = (2).to_bytes(8, "little")
    (tmp_path / "a.mdb").write_bytes(data)
    with pytest.raises(CorruptDataError, match="it leads to more than 64 pages on the way to a record"):
        open_source(tmp_path / "a.mdb")
