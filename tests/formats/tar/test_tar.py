"""Tar archives: which members are one record, what they become, what is left out, and what is damaged or lacking."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples.tar import npy, png, write
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError, NullValueError, SchemaMismatchError, UnsafeSourceError
from streamload.formats import plan_cache
from streamload.formats.columns.file_ranges import FileRanges
from streamload.formats.tables import label_values
from streamload.formats.tables.label_values import labels_or_texts
from streamload.formats.tar import walk
from streamload.formats.tar.archive import Archive
from streamload.omissions import Omission
from streamload.ragged import Ragged
from streamload.storage.plain_file import PlainFile


def image(number: int) -> np.ndarray:
    """An image that no other number has."""
    return np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def as_webdataset(path: Path) -> list[dict[str, bytes]]:
    """What webdataset's group_by_keys makes of neighbouring members: by what follows the first point of the last part of a name."""
    records: list[dict[str, bytes]] = []
    with tarfile.open(path) as archive:
        for member in archive:
            folder, slash, last = member.name.rpartition("/")
            stem, _, ending = last.partition(".")
            data = archive.extractfile(member)
            if not member.isreg() or data is None or not ending:
                continue
            key = folder + slash + stem
            if not records or records[-1]["__key__"] != key.encode():
                records.append({"__key__": key.encode()})
            records[-1][ending.lower()] = data.read()
    return records


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_records_are_those_of_webdataset(form: int, tmp_path: Path):
    """Names with folders and several points, long ones, in any form of archive."""
    names = ["a/1", "a/b.c/2", "x" * 90, f"{'long' * 20}/{'name' * 15}", "ü/3"]
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as archive:
        for number, name in enumerate(names):
            for ending, data in (
                ("left.png", png(image(number))),
                ("right.PNG", png(image(number + 50))),
                ("cls", str(number % 2).encode()),
            ):
                head = tarfile.TarInfo(f"{name}.{ending}")
                head.size = len(data)
                archive.addfile(head, io.BytesIO(data))
    expected = as_webdataset(tmp_path / "x.tar")
    with sl.open(tmp_path / "x.tar", decode=False) as source:
        assert source.schema.names == ("left", "right", "label")
        taken = source[:]
    assert len(expected) == 5
    assert list(taken["left"]) == [one["left.png"] for one in expected]
    assert list(taken["right"]) == [one["right.png"] for one in expected]
    assert taken["label"].tolist() == [int(one["cls"]) for one in expected]


def test_texts_are_classes_where_they_are_called_so_or_repeat(tmp_path: Path):
    """Numbers stay numbers, lists of one length arrays; what can be no field is said."""
    members: list[tuple[str, bytes]] = []
    for number in range(8):
        said = {"kind": "ab"[number % 2], "caption": f"no {number}", "box": [1, 2, number], "tags": list(range(number)), "ok": number > 3}
        members += [(f"{number}.png", png(image(number))), (f"{number}.cls", f"class {number}".encode())]
        members += [(f"{number}.json", json.dumps(said).encode())]
    write(tmp_path / "x.tar", members)
    with sl.open(tmp_path / "x.tar") as source:
        taken = source[:]
        assert source.classes == {"label": tuple(f"class {number}" for number in range(8)), "kind": ("a", "b")}
        assert "'tags' left out: it holds lists of different lengths" in source.notes
    assert taken["label"].tolist() == list(range(8))
    assert list(taken["caption"]) == [f"no {number}" for number in range(8)]
    assert taken["box"].tolist() == [[1, 2, number] for number in range(8)]
    assert taken["ok"].dtype == bool


def test_archives_of_a_folder_follow_each_other_in_natural_order(tmp_path: Path):
    """2 before 10; a class that one of them lacks has its number all the same."""
    for number, (name, label) in enumerate((("2", "owl"), ("10", "cat"))):
        write(tmp_path / f"part-{name}.tar", [("0.png", png(image(number))), ("0.cls", label.encode())])
    with sl.open(tmp_path) as source:
        assert source.classes == {"label": ("cat", "owl")}
        np.testing.assert_array_equal(source[:]["image"], np.stack([image(0), image(1)]))
        assert source[:]["label"].tolist() == [1, 0]


def test_archives_of_one_split_are_chosen_by_its_name(tmp_path: Path):
    """Never mixed; another word for it will do."""
    for number, name in enumerate(("train-0", "train-1", "val-0")):
        write(tmp_path / f"{name}.tar", [("0.id", str(number).encode())])
    with pytest.raises(
        ConfigError, match=r"several splits .train: 2, val: 1., whose records would be mixed. Choose one: split='train', or"
    ):
        sl.open(tmp_path)
    for split, expected in (("train", [0, 1]), ("validation", [2])):
        with sl.open(tmp_path, split=split) as source:
            assert source[:]["id"].tolist() == expected
    with pytest.raises(ConfigError, match=r"has no split 'test'\. It has train, val\."):
        sl.open(tmp_path, split="test")
    with pytest.raises(ConfigError, match="split= is no option of tar files"):
        sl.open(tmp_path / "val-0.tar", split="val")


def test_a_record_that_lacks_a_member_is_a_null(tmp_path: Path):
    """Said at open, an error when it is asked for, left out where that is wanted."""
    write(tmp_path / "x.tar", [("0.png", png(image(0))), ("0.cls", b"1"), ("1.cls", b"2"), ("2.png", png(image(2)))])
    source = sl.open(tmp_path / "x.tar", decode=False)
    assert {name: one.count for name, one in source.nulls.items()} == {"image": 1, "label": 1}
    with pytest.raises(NullValueError, match=re.escape(f"{tmp_path / 'x.tar'}: null at row 1 of column 'image'.")):
        source[1]
    source.close()
    with sl.open(tmp_path / "x.tar") as source, pytest.warns(UserWarning, match="1 of 3 records are left out"):
        loader = sl.Loader(source, batch_size=3, num_workers=0, on_bad_record="skip")
    with loader:
        (batch,) = loader
        assert batch["label"].tolist() == [1]
    with sl.open(tmp_path / "x.tar", decode=False, fill={"label": -1, "image": b""}) as source:
        assert source[:]["label"].tolist() == [1, 2, -1]
        assert source[1]["image"] == b""


def test_what_is_no_field_is_counted_and_named(tmp_path: Path):
    """Links to nowhere, devices, other endings, pickles, texts that are none; a hard link is what it leads to."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:

        def add(name: str, data: bytes = b"", **said: object) -> None:
            head = tarfile.TarInfo(name)
            head.size = len(data)
            for key, value in said.items():
                setattr(head, key, value)
            archive.addfile(head, io.BytesIO(data))

        add("folder", type=tarfile.DIRTYPE)
        add("0.png", png(image(0)))
        add("1.png", type=tarfile.LNKTYPE, linkname="0.png")
        add("2.png", type=tarfile.SYMTYPE, linkname="0.png")
        add("0.xml", b"<x/>")
        add("0.pkl", pickle.dumps([1]))
        add("README", b"hello")
        add("__meta__/1.json", b"{}")
        add("0.json", b"{")
    with sl.open(tmp_path / "x.tar") as source:
        np.testing.assert_array_equal(source[:]["image"], np.stack([image(0), image(0)]))
        reasons = {one.why: (one.count, one.names) for one in source.omissions}
        assert reasons == {
            "a symbolic link": (1, ("2.png",)),
            ".xml is not read here": (1, ("0.xml",)),
            ".pkl is a pickle, which could run anything": (1, ("0.pkl",)),
            "no ending says what it is": (1, ("README",)),
            "it says something of the archive, as its folder __NAME__ tells in WebDataset": (1, ("__meta__/1.json",)),
            "text or JSON that cannot be read": (1, reasons["text or JSON that cannot be read"][1]),
        }
        assert all(one.what == "member" for one in source.omissions)
    assert isinstance(source.omissions[0], Omission)


WRONG: dict[str, tuple[Sequence[tuple[str, bytes]], type[Exception], str]] = {
    "twice": ([("0.png", b"x"), ("0.png", b"y")], SchemaMismatchError, "holds '0.png' twice"),
    "a field a record": (
        [(f"img.{number}.cls", b"1") for number in range(1001)],
        SchemaMismatchError,
        (
            "the names of its files end in more than 1,000 ways after their first points, and each would be a field: "
            ".0.cls, .1.cls, .2.cls and so on. As in WebDataset, the first point of a name ends its record's key: "
            "rename files so that only .jpg and the like follow it."
        ),
    ),
    "nothing": (
        [("LICENSE", b"words")],
        CorruptDataError,
        "holds no member that could be a field of a record: left out: 1 member",
    ),
    "pickled": ([("0.npy", npy(np.array([{}], object)))], UnsafeSourceError, "holds pickled objects, which could run anything"),
}


@pytest.mark.parametrize("what", WRONG)
def test_archives_that_cannot_be_records_are_refused(what: str, tmp_path: Path):
    """With their names."""
    members, error, said = WRONG[what]
    write(tmp_path / "x.tar", members)
    with pytest.raises(error, match=re.escape(said)) as caught:
        sl.open(tmp_path / "x.tar")
    assert str(tmp_path / "x.tar") in str(caught.value)


def test_arrays_that_differ_are_no_field(tmp_path: Path):
    """Said at open; the others are delivered."""
    write(tmp_path / "x.tar", [("0.x.npy", npy(np.zeros(3))), ("0.cls", b"1"), ("1.x.npy", npy(np.zeros(4))), ("1.cls", b"0")])
    with sl.open(tmp_path / "x.tar") as source:
        assert source.schema.names == ("label",)
        assert source.notes == ("'x' left out: it holds arrays that differ: float64 (3,) and float64 (4,)",)
    with pytest.raises(ConfigError, match="Did you mean 'label'"):
        sl.open(tmp_path / "x.tar", fields=["labl"])


@pytest.mark.parametrize(
    ("endings", "names"),
    [
        (["0.5x.jpg", "0.5x.cls"], ["0.5x", "0.5x.cls"]),
        (["left.jpg", "right.jpg", "left.cls"], ["left", "right", "left.cls"]),
        (["left.jpg", "left.png", "left.cls", "left.txt"], ["left.jpg", "left.png", "left.cls", "left.txt"]),
        (["jpg", "png", "cls"], ["jpg", "png", "label"]),
        (["jpg", "image.cls", "image.json"], ["image", "image.cls", "label"]),
        (["cls", "label", "label.txt"], ["cls", "label", "label.txt"]),
        (["a.cls.png", "a.png", "a.cls"], ["a.cls.png", "a", "a.cls"]),
        (["json", "label", "json.label.txt"], ["json.json.label", "label", "json.label"]),
    ],
    ids=lambda one: " ".join(one),
)
def test_what_follows_a_key_is_a_field_of_its_own(endings: list[str], names: list[str], tmp_path: Path):
    """Each with its own values, whatever stands first; only one name twice is a collision."""
    for number, turn in enumerate((1, -1)):
        members: list[tuple[str, bytes]] = []
        held: dict[str, list[object]] = {name: [] for name in names}
        for key in range(3):
            for at, (ending, name) in enumerate(zip(endings[::turn], names[::turn], strict=True)):
                value = 100 * at + key
                kind = ending.rpartition(".")[2]
                data = {"jpg": png(image(value)), "png": png(image(value)), "json": b'{"label": %d}' % value}.get(kind, b"%d" % value)
                members.append((f"img_{key}.{ending}", data))
                held[name].append(image(value).tolist() if kind in ("jpg", "png") else value)
        write(tmp_path / f"{number}.tar", members)
        with sl.open(tmp_path / f"{number}.tar") as source:
            taken = source[:]
            assert {name: taken[name].tolist() for name in source.schema.names} == held


def test_a_point_in_a_number_is_said_to_end_a_key(tmp_path: Path):
    """As it does in WebDataset; a record that lacks what others have is a null."""
    members = [
        (f"img_{number}.{number // 2}x.{ending}", data)
        for number in range(4)
        for ending, data in (("png", png(image(number))), ("cls", b"1"))
    ]
    write(tmp_path / "x.tar", members)
    expected = as_webdataset(tmp_path / "x.tar")
    with sl.open(tmp_path / "x.tar", decode=False) as source:
        rule = "as in WebDataset, the first point of a file's name ends the name of its record"
        assert f"{rule}: 'img_0.0x.cls' is the field '0x.cls' of record 'img_0'" in source.notes
        assert source.schema.names == ("0x", "1x", "0x.cls", "1x.cls")
        assert {name: one.count for name, one in source.nulls.items()} == dict.fromkeys(source.schema.names, 2)
        assert len(source) == len(expected) == 4
        with pytest.raises(NullValueError, match="null at row 2 of column '0x'"):
            source[2]
    with sl.open(tmp_path / "x.tar", ["0x"], fill=b"") as source:
        assert list(source[:]["0x"]) == [one.get("0x.png", b"") for one in expected]


def test_masks_in_archives_keep_their_numbers(tmp_path: Path):
    """Indices of a palette, by the name of the member."""
    numbers = np.random.default_rng(0).integers(0, 4, (6, 5), dtype=np.uint8)
    indexed, file = Image.fromarray(numbers, mode="P"), io.BytesIO()
    indexed.putpalette([9, 8, 7] * 4)
    indexed.save(file, "png")
    write(tmp_path / "x.tar", [("0.jpg", png(image(0))), ("0.mask.png", file.getvalue())])
    with sl.open(tmp_path / "x.tar") as source:
        np.testing.assert_array_equal(source[0]["mask"][:, :, 0], numbers)


@pytest.mark.usefixtures("kept")
def test_the_index_is_kept_from_one_run_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With what was left out and which fields are masks; an index that leads out of its file is made anew."""
    write(tmp_path / "x.tar", [("0.png", png(image(0))), ("0.mask.png", png(image(0)[:, :, 0])), ("1.xml", b""), ("1.png", png(image(1)))])
    planned = sl.open(tmp_path / "x.tar", decode=False)
    with monkeypatch.context() as forbidden:
        forbidden.setattr("streamload.formats.tar.planning.plan_files", None)
        known = sl.open(tmp_path / "x.tar", decode=False)
        assert repr(known) == repr(planned)
        assert known.omissions == planned.omissions
        assert known.masks == planned.masks == {"mask"}
        assert list(known[:1]["image"]) == [png(image(0))]
    assert isinstance(known[:1]["image"], Ragged)
    (column, *_), nbytes = planned.columns, os.path.getsize(tmp_path / "x.tar")
    assert isinstance(column, FileRanges)
    with pytest.raises(ValueError, match="records lie behind the end of their file"):
        plan_cache._refuse_outside(replace(column, offsets=column.offsets + nbytes), planned)  # pyright: ignore[reportPrivateUsage]
    known.close()
    planned.close()


def strange_archives() -> st.SearchStrategy[tuple[list[tuple[str, bytes]], int]]:
    """Members by name, and the form of an archive: several of a record, in any order, some of them nothing that is read."""
    names = st.sampled_from(["0", "1", "a/1", "a/b.c/2", "x" * 90, f"{'d' * 90}/{'n' * 60}", "ü/3", ".hidden", "__MACOSX/4", "__meta__/5"])
    endings = st.sampled_from(["jpg", "JPG", "left.png", "cls", "txt", "json", "b.json", "csv", "pkl", "", "É.png"])
    data = st.sampled_from([b"7", b"cat\n", b'{"x": 1, "y": "b"}', b"{", b"\xff", b"", b"z" * 700])
    one = st.tuples(st.builds(lambda name, ending: f"{name}.{ending}" if ending else name, names, endings), data)
    forms = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    return st.tuples(st.lists(one, max_size=8), forms)


def everything_of(archive: Archive) -> dict[str, object]:
    """What planning asks of an archive, in its order."""
    names = ("values", "counts", "left_out", "unread_nbytes")
    found: dict[str, object] = {name: list(one.items()) if isinstance(one := getattr(archive, name), dict) else one for name in names}
    return found | {"keys": [*archive.keys], "places": [(name, places.tolist()) for name, places in archive.places.items()]}


@example(([("0", b"7"), ("0.csv", b"7"), (".hidden.jpg", b"7")], tarfile.USTAR_FORMAT), 0.0, b"\0")
@given(strange_archives(), st.floats(0, 1), st.binary(min_size=1, max_size=3))
def test_a_compiled_walk_finds_the_same_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, strange: tuple[list[tuple[str, bytes]], int], where: float, damage: bytes
):
    """Whatever the archive holds, and wherever it is damaged: the same records, values and places, in the same order."""
    members, form = strange
    path = tmp_path_factory.mktemp("walk") / "x.tar"
    with tarfile.open(path, "w", format=form) as archive:
        for number, (name, data) in enumerate(members):
            said = tarfile.TarInfo(name)
            said.size, said.mtime = len(data), number + 0.5 if form == tarfile.PAX_FORMAT else number
            archive.addfile(said, io.BytesIO(data))
    for damaged in (False, True):
        if damaged:
            with path.open("r+b") as file:
                file.seek(int(where * path.stat().st_size))
                file.write(damage)
        found, file = walk.walked(str(path), str(path)), PlainFile(str(path))
        try:
            expected = Archive(str(path), file)
        except SchemaMismatchError:
            expected = None
        finally:
            file.close()
        if found is not None:
            assert expected is not None
            assert expected.damage is None
            assert not expected.bad
            assert everything_of(found) == everything_of(expected)


def test_large_archives_are_walked_through_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Several with a compiled loop, whatever form they have, and one with something unusual in it without."""
    monkeypatch.setattr(walk, "WORTH_NBYTES", 0)
    monkeypatch.setattr(walk, "TOGETHER", 7)
    for number, form in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.PAX_FORMAT)):
        with tarfile.open(tmp_path / f"{number}.tar", "w", format=form) as archive:
            for record in range(20):
                for ending, data in (
                    ("png", png(image(20 * number + record))),
                    ("cls", str(record).encode()),
                    ("x.npy", npy(np.arange(3))),
                ):
                    said = tarfile.TarInfo(f"{'deep/' * 25}{record:04}.{ending}")
                    said.size, said.mtime = len(data), record + 0.5
                    archive.addfile(said, io.BytesIO(data))
            if number == 3:
                link = tarfile.TarInfo("link.png")
                link.type, link.linkname = tarfile.SYMTYPE, "nowhere"
                archive.addfile(link)
    assert all(walk.walked(str(path), str(path)) is not None for path in sorted(tmp_path.iterdir())[:3])
    assert walk.walked(str(tmp_path / "3.tar"), str(tmp_path / "3.tar")) is None
    with sl.open(tmp_path) as source:
        assert source[:]["label"].tolist() == [*range(20)] * 4
        np.testing.assert_array_equal(source[:]["image"], np.stack([image(number) for number in range(80)]))
        assert source.omissions == (Omission("member", "a symbolic link", 1, ("link.png",)),)


def test_labels_that_repeat_are_what_they_are_one_by_one(monkeypatch: pytest.MonkeyPatch):
    """Numbers, names, texts, and records without any."""
    for texts in (["3", "1", None], ["b", "a", None], ["1.5", "2"], [None], ["1", "x"]):
        for as_classes in (None, True, False):
            values = texts * 6
            slow = labels_or_texts(values, as_classes=as_classes)
            with monkeypatch.context() as lower:
                lower.setattr(label_values, "MANY", 1)
                fast = labels_or_texts(values, as_classes=as_classes)
            assert (slow.classes, slow.why, slow.texts, slow.there.tolist()) == (fast.classes, fast.why, fast.texts, fast.there.tolist())
            assert (slow.array is None) == (fast.array is None)
            if slow.array is not None and fast.array is not None:
                assert slow.array.dtype == fast.array.dtype
                assert slow.array.tolist() == fast.array.tolist()
