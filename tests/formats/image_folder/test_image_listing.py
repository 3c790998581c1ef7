"""What lies below a folder of images: found out side by side, kept from one run to the next, and never believed of files that changed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import streamload as sl
from streamload.errors import SourceChangedError, SourceError
from streamload.formats.image_folder import scanning, tree
from streamload.formats.image_folder.listing import LOOKED_AT, MAGIC, kept_listing
from streamload.formats.partitions import folders_below
from streamload.kernels import identities_plain, identity_kernels
from streamload.storage import disk_cache
from streamload.storage.file_table import FileTable

COUNT = 600


def save(path: Path, number: int) -> None:
    """An image that no other number has, as long as that of any other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), number % 251, np.uint8)).save(path, format="BMP")


def write(root: Path) -> None:
    """Two classes; as many images as are looked at and more."""
    for number in range(COUNT):
        save(root / f"{'ab'[number % 2]}" / f"{number:04}.bmp", number)


def numbers(source: sl.Source) -> list[int]:
    """Of the images of all records."""
    return source[:]["image"][:, 0, 0, 0].tolist()


class ScannedError(Exception):
    """Raised where a folder should have been known."""


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, looking into folders is an error."""

    def scanned(root: str) -> None:
        raise ScannedError

    return lambda: monkeypatch.setattr(scanning, "tree_below", scanned)


def test_a_folder_that_was_kept_is_the_one_that_was_scanned(tmp_path: Path, kept: Path, forbid: Callable[[], None]):
    """The same text, files, labels and images, as a whole or as a part of it."""
    write(tmp_path / "x")
    (tmp_path / "x" / "a" / "notes.xml").touch()
    with sl.open(tmp_path / "x") as first:
        expected = repr(first), [*first.fingerprints], numbers(first), first[:]["label"].tolist()
    forbid()
    with sl.open(tmp_path / "x") as source:
        assert (repr(source), [*source.fingerprints], numbers(source), source[:]["label"].tolist()) == expected
    with pytest.raises(ScannedError):
        sl.open(tmp_path / "x" / "a")


@pytest.mark.parametrize("what", ["added", "removed", "renamed", "replaced", "a new class", "deep"])
def test_what_was_added_or_removed_is_found_at_open(what: str, tmp_path: Path, kept: Path):
    """By the times of folders, whatever became of a file in them."""
    write(tmp_path / "x")
    (tmp_path / "x" / "a" / "deep").mkdir()
    sl.open(tmp_path / "x").close()
    assert kept_listing(str(tmp_path / "x")) is not None
    one = tmp_path / "x" / "a" / "0004.bmp"
    if what == "added":
        save(tmp_path / "x" / "b" / "0.bmp", 77)
    elif what == "removed":
        one.unlink()
    elif what == "renamed":
        one.rename(one.with_name("9999.bmp"))
    elif what == "replaced":
        save(tmp_path / "other.bmp", 78)
        (tmp_path / "other.bmp").rename(one)
    elif what == "a new class":
        (tmp_path / "x" / "c").mkdir()
    else:
        save(tmp_path / "x" / "a" / "deep" / "0.bmp", 79)
    assert kept_listing(str(tmp_path / "x")) is None
    found = sl.open(tmp_path / "x")
    shutil.rmtree(kept)
    with found, sl.open(tmp_path / "x") as anew:
        assert (repr(found), numbers(found)) == (repr(anew), numbers(anew))


def test_what_was_rewritten_is_noticed_when_it_is_read_and_found_out_at_the_next_open(tmp_path: Path, kept: Path):
    """Never old lengths for new bytes, nor the other way round; and not for ever."""
    write(tmp_path / "x")
    sl.open(tmp_path / "x").close()
    # None of those that an open looks at, of what is kept and of images.
    looked_at = {*range(0, COUNT, COUNT // LOOKED_AT), *np.linspace(0, COUNT - 1, 64).astype(int).tolist()}
    changed = min({*range(COUNT)} - looked_at)
    with sl.open(tmp_path / "x") as source:
        path = Path(source.fingerprints[changed].path)
    with open(path, "r+b") as file:
        file.write(bytes(60))
    os.utime(path, ns=(1, 1))
    source = sl.open(tmp_path / "x")
    assert isinstance(source.fingerprints, FileTable)
    assert source.fingerprints.kept_as
    with pytest.raises(SourceChangedError, match=re.escape(f"{path} was written to after it was opened.")):
        source[changed]
    source.close()
    save(path, 99)
    with sl.open(tmp_path / "x") as again:
        assert numbers(again)[changed] == 99


def test_the_first_images_are_never_those_of_another_day(tmp_path: Path, kept: Path):
    """All were rewritten to another size: the field is what they are now."""
    write(tmp_path / "x")
    sl.open(tmp_path / "x").close()
    for path in (tmp_path / "x").rglob("*.bmp"):
        with open(path, "wb") as file:
            Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(file, format="BMP")
    with sl.open(tmp_path / "x") as source:
        assert source.schema["image"].shape == (6, 6, 3)


def test_an_entry_that_was_tampered_with_is_thrown_away(tmp_path: Path, kept: Path):
    """Numbers that do not fit together under a checksum that is right."""
    write(tmp_path / "x")
    sl.open(tmp_path / "x").close()
    (entry,) = kept.iterdir()
    said, arrays = disk_cache.unpack(MAGIC, np.fromfile(entry, np.uint8))
    arrays[1] = arrays[1].copy()
    arrays[1].view(np.int64)[1] = 10**6
    entry.write_bytes(b"".join(disk_cache.pack(MAGIC, {name: one for name, one in said.items() if name != "arrays"}, arrays)))
    assert kept_listing(str(tmp_path / "x")) is None
    with sl.open(tmp_path / "x") as source:
        assert len(source) == COUNT


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("folders", lambda was: ["z", *was[1:]]),
        ("folders", lambda was: [5, *was[1:]]),
        ("folders", lambda was: ["a\0", *was[1:]]),
        ("table_folders", lambda was: ["/etc", *was[1:]]),
        ("classes", lambda was: was[1:]),
        ("classes", lambda was: was[::-1]),
        ("classes", lambda was: "".join(was)),
        ("others", lambda was: {"why": "x"}),
        ("others", lambda was: []),
        ("names", lambda was: np.where(was == was[0], 0, was)),
        ("names", lambda was: np.where(was == was[0], ord("/"), was)),
    ],
)
def test_an_entry_that_names_what_cannot_be_there_is_thrown_away(key: str, change: Any, tmp_path: Path, kept: Path):
    """Under a checksum that is right: folders that lie elsewhere or in no class, texts that are none, names that no file has."""
    write(tmp_path / "x")
    sl.open(tmp_path / "x").close()
    (entry,) = kept.iterdir()
    said, arrays = disk_cache.unpack(MAGIC, np.fromfile(entry, np.uint8))
    said = {name: one for name, one in said.items() if name != "arrays"}
    if key == "names":
        arrays[2] = change(arrays[2]).astype(np.uint8)
    else:
        said[key] = change(said[key])
    entry.write_bytes(b"".join(disk_cache.pack(MAGIC, said, arrays)))
    assert kept_listing(str(tmp_path / "x")) is None
    with sl.open(tmp_path / "x") as source:
        assert (len(source), source.classes["label"]) == (COUNT, ("a", "b"))


@given(st.lists(st.tuples(st.lists(st.sampled_from("abB.-"), min_size=1, max_size=3), st.sampled_from("xyé.")), max_size=8))
def test_a_tree_is_that_of_a_walk(tmp_path_factory: pytest.TempPathFactory, files: list[tuple[list[str], str]]):
    """The same folders and names, with links to folders among them, whatever their names."""
    root = tmp_path_factory.mktemp("tree")
    for number, (folders, name) in enumerate(files):
        here = root.joinpath(*(f"{one}{one}" for one in folders))
        here.mkdir(parents=True, exist_ok=True)
        (here / f"{name}1").write_bytes(bytes(number))
        if number % 3 == 2 and not os.path.lexists(here / "link"):
            os.symlink(root / (files[0][0][0] * 2), here / "link")
    expected = dict(folders_below(str(root), skipped=(".",)))
    found = {one.path: one for one in tree.tree_below(str(root))}
    assert {here: [*map(os.fsdecode, one.names)] for here, one in found.items()} == expected
    for here, one in found.items():
        for name, row in zip(expected[here], one.identities.tolist(), strict=True):
            status = os.stat(os.path.join(here, name))
            assert row == [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path):
    """What lies in it would be missing."""
    with pytest.raises(SourceError, match=re.escape(f"{tmp_path / 'none'} cannot be listed: No such file or directory.")):
        tree.tree_below(str(tmp_path / "none"))


def test_names_that_are_no_utf_8_sort_as_text_does(tmp_path: Path):
    """As Python sorts what it makes of them."""
    names = [b"\xff.bmp", "é.bmp".encode(), "\uffee.bmp".encode(), b"a.bmp"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    (found,) = tree.tree_below(str(tmp_path))
    assert [*map(os.fsdecode, found.names)] == sorted(os.listdir(tmp_path))


def test_images_of_a_late_date_are_read_as_others_are(tmp_path: Path):
    """Dates that 64 bits do not hold in ns, of files and of folders."""
    for number in range(4):
        save(tmp_path / "a" / f"{number}.bmp", number)
    for path in (tmp_path / "a" / "2.bmp", tmp_path / "a"):
        os.utime(path, (0, 13_569_465_600))  # The year 2400.
    with sl.Loader(sl.open(tmp_path), batch_size=2, num_workers=0, shuffle=False) as loader:
        assert [batch["image"][:, 0, 0, 0].tolist() for epoch in loader.epochs(2) for batch in epoch] == [[0, 1], [2, 3]] * 2


def test_compiled_and_plain_kernels_say_the_same_of_files(tmp_path: Path):
    """Of folders, links, devices, and of what is not there."""
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "folder").mkdir()
    os.symlink("a", tmp_path / "link")
    os.symlink("nowhere", tmp_path / "loose")
    os.utime(tmp_path / "a", ns=(5, -(10**9) + 7))
    (tmp_path / "late").touch()
    os.utime(tmp_path / "late", (0, 13_569_465_600))  # The year 2400, in more ns than 63 bits hold; some file systems have no such year.
    names = [b"a", b"folder", b"link", b"loose", b"none", b"/dev/null", b"late"]
    starts = np.cumsum([0, *(len(name) + 1 for name in names)])
    found = np.ones((2, len(names), 5), np.int64)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        for number, kernels in enumerate((identity_kernels(many=True), identities_plain)):
            kernels.identities(fd, b"\0".join(names) + b"\0", starts, found[number])
    finally:
        os.close(fd)
    there = [True, True, True, False, False, True, True]
    np.testing.assert_array_equal(found[0, there], found[1, there])
    assert (found[:, [3, 4], 4] == -1).all()
    assert found[0, 0].tolist()[2:4] == [3, -(10**9) + 7]


@pytest.mark.parametrize("quick", [0.0, 1e9], ids=["by many threads", "by few"])
def test_names_are_looked_at_side_by_side(quick: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A few at a time, folders among them; each is what the system says of it, and what it refuses is so marked."""
    monkeypatch.setattr(tree, "TOGETHER", 7)
    monkeypatch.setattr(tree, "QUICK_S", quick)
    for number in range(60):
        path = tmp_path / f"{number % 3}" / ("" if number % 4 else "deep") / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(number))
    (tmp_path / "1" / "broken.bmp").symlink_to(tmp_path / "nowhere")
    found: dict[str, list[int]] = {}
    for one in tree.tree_below(str(tmp_path)):
        found |= {os.path.join(one.path, os.fsdecode(name)): said.tolist() for name, said in zip(one.names, one.identities, strict=True)}
    assert found.pop(str(tmp_path / "1" / "broken.bmp"))[4] == -1
    assert len(found) == 60
    for path, said in found.items():
        status = os.stat(path)
        assert said == [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode]
