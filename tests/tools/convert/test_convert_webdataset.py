"""WebDataset archives: what tarfile writes is read, whatever the names; damage is named, and never read past."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from command_line import answer, names_in, said
from foreign_files import noise, packed, png, taken, tar_of, webdataset
from hypothesis import example, given
from hypothesis import strategies as st

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.tables.label_values import values_of
from streamload.formats.tar.members import Members
from streamload.omissions import Omission
from streamload.storage.compressed_file import open_unpacked
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.open import open_records

FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
PACKINGS = ["", "gz", "zst"]
BOMB = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }".ljust(118)
"""An array that says to have more bytes than any machine."""


@pytest.mark.parametrize("packing", PACKINGS, ids=["plain", "gz", "zst"])
@pytest.mark.parametrize("records", [1, 7])
def test_members_of_one_key_are_one_record(records: int, packing: str, tmp_path: Path):
    """In the order of the archive, packed or not, in whatever order they are asked for."""
    images = np.stack([noise(seed=seed) for seed in range(records)])
    path = webdataset(tmp_path / f"a.tar.{packing}".rstrip("."), images, [seed % 3 for seed in range(records)], packing)
    origin, records_ = taken(path)
    assert len(origin) == records
    np.testing.assert_array_equal(records_["image"], images)
    assert records_["label"].tolist() == [seed % 3 for seed in range(records)]
    again = open_records(OpenRequest(path=str(path)), threads=2)
    backwards = again.take(np.arange(records - 1, -1, -1))
    again.close()
    np.testing.assert_array_equal(backwards["image"], images[::-1])


@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=300), max_size=5, unique=True
    ),
    sizes=st.lists(st.integers(0, 2000), min_size=5, max_size=5),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_what_tarfile_wrote(tmp_path: Path, names: list[str], sizes: list[int], form: int):
    """Names of any length and script; sizes of any number of blocks."""
    files = [(f"d/{name}", bytes([at + 1]) * size) for at, (name, size) in enumerate(zip(names, sizes, strict=False))]
    (tmp_path / "a.tar").write_bytes(tar_of(files, form))
    file = open_unpacked(str(tmp_path / "a.tar"))

    def refuse(name: str, why: str) -> None:
        raise AssertionError(f"{name} is left out: {why}")

    found = [(one.name, file.read(one.offset, one.nbytes)) for one in Members(file, "a.tar", lambda name: False, refuse)]
    wanted = [(one.name, one.data) for one in Members(file, "a.tar", lambda name: True, refuse)]
    file.close()
    assert found == wanted == files


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_folders_and_links_are_passed_over_and_names_lead_nowhere(form: int, tmp_path: Path):
    """A name with dots in it is a key like any other."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/l.png", tarfile.SYMTYPE), ("d/fifo.png", tarfile.FIFOTYPE)):
            head = tarfile.TarInfo(name)
            head.type, head.linkname = kind, "/etc/passwd"
            archive.addfile(head)
        for name, data in (("../../1.png", png(noise())), ("../../1.cls", b"4"), ("/etc/2.png", png(noise())), ("/etc/2.cls", b"5")):
            head = tarfile.TarInfo(name)
            head.size = len(data)
            archive.addfile(head, io.BytesIO(data))
    (tmp_path / "a.tar").write_bytes(made.getvalue())
    assert taken(tmp_path / "a.tar")[1]["label"].tolist() == [4, 5]
    assert names_in(tmp_path) == {"a.tar"}


def test_archives_of_a_folder_or_pattern_follow_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """In natural order, packed beside plain; also those put behind each other in one file."""
    images = [noise((1, 5, 4, 3), seed=seed) for seed in range(3)]
    for number, packing in ((10, "gz"), (2, ""), (1, "zst")):
        webdataset(tmp_path / f"part-{number}.tar{packing and '.'}{packing}", images[number % 3], [number], packing)
    assert taken(tmp_path)[1]["label"].tolist() == [1, 2, 10]
    assert taken(f"{tmp_path}/part-[12]*.tar*")[1]["label"].tolist() == [1, 2, 10]
    both = b"".join(tar_of([(f"{at}.png", png(image[0])), (f"{at}.cls", b"%d" % at)]) for at, image in enumerate(images))
    (tmp_path / "both.tar").write_bytes(both)
    assert taken(tmp_path / "both.tar")[1]["label"].tolist() == [0, 1, 2]
    code, document = answer(capsys, "convert", tmp_path / "part-*", tmp_path / "out.h5")
    assert (code, document["records"]) == (0, 3)
    np.testing.assert_array_equal(sl.open(tmp_path / "out.h5")[:]["image"], np.concatenate([images[1], images[2], images[1]]))


def test_labels_and_what_json_holds_become_fields(tmp_path: Path):
    """Numbers stay numbers, texts become classes, lists of one length arrays; what cannot be one field is left out by name."""
    files = []
    for at in range(4):
        held = {
            "width": at + 0.5,
            "box": [at, 1, 2, 3],
            "kind": "ab"[at % 2],
            "nested": {"x": 1},
            "list": [0] * at,
            "image": at,
            "ok": True,
        }
        files += [(f"{at}.jpg.png", png(noise((4, 4, 3), at))), (f"{at}.json", json.dumps(held).encode()), (f"{at}.mp3", b"la")]
        array = io.BytesIO()
        np.save(array, np.full((2, 2), at, ">f4"))
        files += [(f"{at}.left.npy", array.getvalue()), (f"{at}.x.pyd", pickle.dumps(1)), (f"{at}.cls", b"cat" if at else b"dog")]
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    origin, records = taken(tmp_path / "a.tar")
    assert records["width"].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert records["box"].shape == (4, 4)
    assert records["kind"].tolist() == [0, 1, 0, 1]
    assert records["left"].dtype == np.dtype("f4")
    assert records["left"][:, 1, 1].tolist() == [0, 1, 2, 3]
    assert records["ok"].all()
    assert records["jpg"].shape == (4, 4, 4, 3)
    assert origin.facts["classes"] == {"kind": ["a", "b"], "label": ["cat", "dog"]}
    assert origin.left_out == {
        "nested": "it holds values that are neither numbers nor texts",
        "list": "it holds lists of different lengths",
    }
    assert list(origin.omissions) == [
        Omission.of("member", ".mp3 is not read here", [f"{at}.mp3" for at in range(4)]),
        Omission.of("member", ".x.pyd is a pickle, which could run anything", [f"{at}.x.pyd" for at in range(4)]),
    ]
    chosen = taken(tmp_path / "a.tar", fields={"y": "kind", "x": "jpg"})[1]
    assert list(chosen) == ["y", "x"]
    with pytest.raises(UnsupportedFeatureError, match=r"'nested' holds values that are neither numbers nor texts"):
        taken(tmp_path / "a.tar", fields={"nested": "nested"})


def test_files_that_are_nobodys_are_no_records(tmp_path: Path):
    """Tables and licences that were packed along; they are said."""
    files = [("boxes.csv", b"1,2"), ("LICENSE", b"free"), ("1.png", png(noise())), ("2.png", png(noise()))]
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    origin, records = taken(tmp_path / "a.tar")
    assert len(records["image"]) == 2
    told = {one.why: one.names for one in origin.omissions}
    assert told == {".csv is not read here": ("boxes.csv",), "no ending says what it is": ("LICENSE",)}


def test_two_images_of_a_record_are_two_fields(tmp_path: Path):
    """Called by their kind, or by what stands before it; a mask keeps the numbers of its palette."""
    mask = np.arange(30, dtype=np.uint8).reshape(6, 5)
    files = [("1.input.png", png(noise())), ("1.seg.png", png(mask))]
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    records = taken(tmp_path / "a.tar")[1]
    np.testing.assert_array_equal(records["input"][0], noise())
    np.testing.assert_array_equal(records["seg"][0, ..., 0], mask)
    (tmp_path / "b.tar").write_bytes(tar_of([("1.png", png(noise())), ("1.bmp", png(noise(seed=1)))]))
    assert list(taken(tmp_path / "b.tar")[1]) == ["bmp", "png"]


IMAGES = [noise(seed=one) for one in range(3)]


class TestStrays:
    """Records that are not like the others."""

    @pytest.fixture
    def strays(self, tmp_path: Path) -> Path:
        """Three good records, one of another size, one damaged, one without a label, one without an image, one with JSON that is none."""
        files = []
        for at in range(8):
            files += [(f"{at}.png", png(noise((9, 9, 3) if at == 2 else (6, 5, 3), at))), (f"{at}.cls", b"%d" % at), (f"{at}.json", b"{}")]
        files[9] = ("3.png", files[9][1][:60])
        files[3 * 6 + 2] = ("6.json", b"{broken")
        del files[5 * 3], files[4 * 3 + 1]
        (tmp_path / "a.tar").write_bytes(tar_of(files))
        return tmp_path / "a.tar"

    def test_each_is_named_with_the_ways_out(self, strays: Path):
        """The archive, the key, and what is wrong."""
        origin = open_records(OpenRequest(path=str(strays), first_size=True))
        told = {}
        for number in range(len(origin)):
            try:
                origin.take(np.array([number]))
            except SourceError as error:
                told[number] = str(error)
        origin.close()
        assert list(told) == [2, 3, 4, 5]
        assert "a.tar: record 2 of 'image' is 9 x 9 pixels, where 6 x 5 are expected" in told[2]
        assert "a.tar: record 3 of 'image' is a PNG that cannot be decoded" in told[3]
        assert "a.tar: null at row 4 of column 'label'" in told[4]
        assert "a.tar: record 5 of 'image' is empty, where an image should be" in told[5]
        assert [(one.what, one.count, "6.json cannot be read" in one.names[0]) for one in origin.omissions] == [("member", 1, True)]

    def test_skip_leaves_them_out(self, strays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """The good ones are there, and only they."""
        code, document = answer(capsys, "convert", strays, tmp_path / "out.h5", "--on-bad", "skip")
        assert (code, document["records"], [number for number, _ in document["left_out"]]) == (1, 4, [2, 3, 4, 5])
        assert sl.open(tmp_path / "out.h5")[:]["label"].tolist() == [0, 1, 6, 7]
        assert "'image' is missing in 1 of the 8 records" in said(capsys, "convert", strays, tmp_path / "no.h5")[1]

    @pytest.mark.parametrize("packing", PACKINGS, ids=["plain", "gz", "zst"])
    def test_an_archive_that_is_cut_short_gives_what_is_whole(self, packing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Only where that was asked for; else it is refused before anything is written."""
        data = tar_of([(f"{at}.png", png(noise((200, 200, 3), at))) for at in range(4)])
        cut = packed(data, packing)
        cut = cut[: int(len(cut) * 0.9)] if packing else cut[: cut.rindex(b"ustar") + 1000]
        (tmp_path / "a.tar").write_bytes(cut)
        code, told = said(capsys, "convert", tmp_path / "a.tar", tmp_path / "out.h5")
        assert (code, "cut short" in told) == (1, True)
        code, document = answer(capsys, "convert", tmp_path / "a.tar", tmp_path / "out.h5", "--on-bad", "skip")
        lost = [one for one in document["account"]["left_out"] if one["why"] == "damaged"]
        assert (code, [(one["what"], one["count"]) for one in lost]) == (1, [("record", 1)])
        assert "cut short" in lost[0]["names"][0] or "cannot be unpacked" in lost[0]["names"][0]
        images = sl.open(tmp_path / "out.h5")[:]["image"]
        assert 2 <= document["records"] == len(images)
        np.testing.assert_array_equal(images, np.stack([noise((200, 200, 3), at) for at in range(len(images))]))

    def test_an_archive_without_an_end_is_cut_short(self, tmp_path: Path):
        """It ends between two members, and nothing but the mark of the end says so."""
        data = tar_of([("1.png", png(noise()))])
        (tmp_path / "a.tar").write_bytes(data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512))
        with pytest.raises(CorruptDataError, match="ends without the mark of an end"):
            open_records(OpenRequest(path=str(tmp_path / "a.tar")))
        origin, found = taken(tmp_path / "a.tar", on_damage="skip")
        np.testing.assert_array_equal(found["image"], noise()[None])
        assert "ends without the mark of an end" in origin.omissions[0].names[0]

    @example(at=528, value=1)
    @given(at=st.integers(0, 10_239), value=st.integers(1, 255))
    def test_a_flipped_byte_is_an_error_of_ours_or_changes_one_record(self, tmp_path: Path, at: int, value: int):
        """Never a crash, never another record's bytes."""
        stored = [png(noise(seed=one)) for one in range(3)]
        data = bytearray(tar_of([(f"{number}.png", one) for number, one in enumerate(stored)]))
        data[at % len(data)] ^= value
        (tmp_path / "a.tar").write_bytes(data)
        try:
            origin = open_records(OpenRequest(path=str(tmp_path / "a.tar"), fields={"image": "image"}, on_damage="skip"))
        except (SourceError, ConfigError):
            return
        good = refused = 0
        for number in range(len(origin)):
            try:
                found = origin.take(np.array([number]))["image"]
            except SourceError:
                refused += 1
                continue
            # Where the first image's head is damaged it is no image, and all stay bytes.
            good += found[0] in stored if origin.schema["image"].ragged else any(np.array_equal(found[0], one) for one in IMAGES)
        origin.close()
        # What the first image says of its size holds for all: where that is damaged, each of the others is refused.
        assert good >= 2 or origin.omissions or good + refused == len(origin) == 3


@pytest.mark.parametrize(
    ("files", "error", "text"),
    [
        ([("1.pkl", pickle.dumps({}))], CorruptDataError, r"holds no member that could be a field .*1 member, .pkl is a pickle"),
        ([("1.png", png(noise())), ("1.png", png(noise()))], SchemaMismatchError, r"holds '1.png' twice"),
        ([("1.png", b"\x89PNG\r\n\x1a\nno")], CorruptDataError, "is a PNG whose header is damaged or cut short"),
        ([("1.x.npy", BOMB)], ConfigError, "'x' holds arrays that are cut short"),
        ([("1.x.npy", b"nonsense")], ConfigError, "'x' holds members that are no .npy"),
    ],
    ids=["pickles alone", "one name twice", "no image", "header bomb", "no npy"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(files: list[tuple[str, bytes]], error: type[Exception], text: str, tmp_path: Path):
    """With the name of the archive."""
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    with pytest.raises(error, match=text):
        taken(tmp_path / "a.tar")


def test_pickled_arrays_are_never_opened(tmp_path: Path):
    """Not even where only an array was meant."""
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    (tmp_path / "a.tar").write_bytes(tar_of([("1.x.npy", file.getvalue())]))
    with pytest.raises(UnsafeSourceError, match="holds pickled objects, which could run anything"):
        taken(tmp_path / "a.tar")


def test_a_packed_archive_must_be_sorted(tmp_path: Path):
    """Going back in it would unpack it again for every record."""
    data = tar_of([("1.png", png(noise())), ("2.png", png(noise())), ("1.cls", b"1"), ("2.cls", b"2")])
    (tmp_path / "a.tar").write_bytes(data)
    assert taken(tmp_path / "a.tar")[1]["label"].tolist() == [1, 2]
    (tmp_path / "a.tar.gz").write_bytes(packed(data, "gz"))
    with pytest.raises(
        SchemaMismatchError, match=r"is packed, and the files of record '1' do not follow each other. Unpack it, or .*--sort=name"
    ):
        taken(tmp_path / "a.tar.gz")


class TestValues:
    """Labels from text."""

    @given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9).map(str), max_size=20))
    def test_whole_numbers_stay_what_they_are(self, values: list[int | str | None]):
        """Written as text or not."""
        made = values_of(values)
        if made.array is None:
            assert not made.there.any()
        else:
            assert [int(one) for one, there in zip(made.array, made.there, strict=True) if there] == [
                int(v) for v in values if v is not None
            ]

    def test_texts_that_differ_too_often_are_no_labels(self):
        """A caption is none, unless it is asked for."""
        texts = [f"text {at}" for at in range(1001)]
        assert values_of(texts).why == "1,001 different texts, where labels have 1,000 at most"
        assert values_of(texts, most_classes=5000).classes == sorted(texts)
