"""LMDB files: what their own library wrote is found, and one that is cut or damaged is an error, never the end of the process."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import pytest
from command_line import answer
from foreign_files import noise, png, taken
from hypothesis import given, settings
from hypothesis import strategies as st

from streamload.errors import CorruptDataError, SourceError, StreamloadError, UnsupportedFeatureError
from streamload.formats.lmdb.pages import LmdbPages
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.open import open_records

KEYS = st.binary(min_size=1, max_size=40)
VALUES = st.one_of(st.binary(max_size=30), st.integers(0, 20_000).map(bytes))


def database(path: Path, held: dict[bytes, bytes], gone: tuple[bytes, ...] = (), **options: bool) -> Path:
    """A file with keys and values, some of which were deleted again."""
    with lmdb.open(str(path), subdir=False, map_size=1 << 24, max_dbs=2) as environment:
        inside = environment.open_db(b"inside", **options) if options else None
        with environment.begin(write=True, db=inside) as transaction:
            for key, value in held.items():
                transaction.put(key, value)
        with environment.begin(write=True, db=inside) as transaction:
            for key in gone:
                transaction.delete(key)
    return path


def images(records: int) -> dict[bytes, bytes]:
    """Images in two classes."""
    return {b"%s/%d.png" % (kind, at): png(noise(seed=at)) for at in range(records) for kind in (b"cat", b"dog")}


@settings(max_examples=40)
@given(held=st.dictionaries(KEYS, VALUES, max_size=200), share=st.integers(1, 4))
def test_keys_and_values_are_those_that_were_written(held: dict[bytes, bytes], share: int, tmp_path_factory: pytest.TempPathFactory):
    """Values of any length, in trees of any depth, after some were deleted."""
    gone = tuple(list(held)[:: share + 1])
    pages = LmdbPages(str(database(tmp_path_factory.mktemp("a") / "a.mdb", held, gone)))
    found = [(key, pages.read(place)) for key, place in pages.entries() if place is not None]
    pages.close()
    assert found == sorted((key, value) for key, value in held.items() if key not in gone)


@pytest.mark.parametrize("step", [512, 4096], ids=["in the middle of a page", "at the end of one"])
def test_a_file_that_is_cut_is_an_error(step: int, tmp_path: Path):
    """Wherever that is."""
    data = database(tmp_path / "a.mdb", images(60)).read_bytes()
    for nbytes in range(step if step < 4096 else 2 * step, len(data), 7 * step // 4 if step < 4096 else step):
        (tmp_path / "b.mdb").write_bytes(data[:nbytes])
        with pytest.raises(CorruptDataError, match=r"b\.mdb .*(fetch it again)?"):
            taken(tmp_path / "b.mdb")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of some pages, with values that have pages of their own."""
    return database(tmp_path_factory.mktemp("whole") / "a.mdb", images(40) | {b"cat/large.png": png(noise((60, 60, 3)))})


@settings(max_examples=100)
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_byte_that_is_flipped_is_an_error_or_changes_little(whole: Path, at: float, value: int):
    """A walk through damaged pages ends, and leads nowhere outside the file."""
    data = bytearray(whole.read_bytes())
    data[int(at * len(data))] = value
    changed = whole.with_name("b.mdb")
    changed.write_bytes(data)
    try:
        origin = open_records(OpenRequest(path=str(changed)))
    except StreamloadError:
        return
    try:
        assert len(origin) <= 81
        for number in range(len(origin)):
            try:
                origin.take(np.array([number]))
            except SourceError:
                continue
    finally:
        origin.close()


def test_several_values_for_a_key_and_databases_in_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Are named."""
    database(tmp_path / "a.mdb", {b"x": b"y"}, dupsort=False)
    with lmdb.open(str(tmp_path / "a.mdb"), subdir=False, map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"0.png", png(noise()))
    code, found = answer(capsys, "info", tmp_path / "a.mdb", "--no-measure")
    assert (code, found["records"]) == (1, 1)
    assert [(one["why"], one["names"]) for one in found["account"]["left_out"]] == [("a database of its own", ["inside"])]
    database(tmp_path / "b.mdb", {b"a": b"1"})
    data = bytearray((tmp_path / "b.mdb").read_bytes())
    for page in (0, 4096):
        data[page + 92] |= 4  # the main database's own flag
    (tmp_path / "b.mdb").write_bytes(data)
    with pytest.raises(UnsupportedFeatureError, match=r"several values for a key. Write each under a key of its own"):
        LmdbPages(str(tmp_path / "b.mdb"))


class TestFields:
    """What stands under keys of one number is one record."""

    def test_every_beginning_of_keys_is_a_field(self, tmp_path: Path):
        """Images, numbers and texts; a fraction that a record lacks is NaN, and that is said."""
        held = {b"num-samples": b"3"}
        for at in range(1, 4):
            number = b"-%09d" % at
            held |= {b"image" + number: png(noise(seed=at)), b"depth" + number: png(noise((4, 4), seed=at)), b"label" + number: b"%d" % at}
        held |= {b"angle-%09d" % at: b"%.1f" % (at / 2) for at in (1, 2)}
        origin, found = taken(database(tmp_path / "a.mdb", held), fields={"image": "image", "depth": "depth", "label": "label"})
        np.testing.assert_array_equal(found["depth"][..., 0], [noise((4, 4), seed=at) for at in range(1, 4)])
        assert found["label"].tolist() == [1, 2, 3]
        assert list(origin.omissions) == []
        origin, found = taken(tmp_path / "a.mdb")
        np.testing.assert_array_equal(found["angle"], [0.5, 1.0, np.nan])
        assert "'angle' holds 1 null, delivered as NaN" in origin.notes

    def test_a_record_without_its_image_is_named(self, tmp_path: Path):
        """It is not left out."""
        held = {b"image-1": png(noise()), b"label-1": b"1", b"label-2": b"2"}
        with pytest.raises(CorruptDataError, match=r"a\.mdb: record 1 of 'image' is empty"):
            taken(database(tmp_path / "a.mdb", held))

    def test_all_keys_are_looked_at(self, tmp_path: Path):
        """One that is called as a numbered image does not make the others none."""
        held = {b"image-000000001": png(noise())} | {b"cat/%d.png" % at: png(noise(seed=at)) for at in range(9)}
        origin, found = taken(database(tmp_path / "a.mdb", held), fields={"image": "image"})
        assert (len(origin), len(found["image"]), list(origin.omissions)) == (10, 10, [])

    def test_what_cannot_be_a_field_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """With what it is; and a key without a number."""
        held = (
            {b"image-%d" % at: png(noise(seed=at)) for at in range(3)}
            | {b"box-%d" % at: b"\x80\x02]." for at in range(3)}
            | {b"cover": b"1"}
        )
        code, found = answer(capsys, "info", database(tmp_path / "a.mdb", held), "--no-measure")
        (box,) = [one for one in found["account"]["left_out"] if one["what"] == "field"]
        assert (code, box["names"], box["why"]) == (1, ["box"], "'box' (it holds a pickle, which could run anything)")
        reasons = {one["why"]: one["names"] for one in found["account"]["left_out"] if one["what"] == "member"}
        assert reasons == {"a key without the number of a record": ["cover"]}
