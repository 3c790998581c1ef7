"""The module that creates, replaces and deletes: no link is followed, and only what is ours goes; with descriptors and without."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamload.errors import UnsafeSourceError
from streamload.kernels import cache_folder as kernel_folder
from streamload.storage import disk_cache, owned_files
from streamload.storage.owned_files import Folder


@pytest.fixture(params=["descriptors", "paths"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """A folder that is held, on systems that can look names up in it and on those that cannot."""
    if request.param == "paths":
        monkeypatch.setattr(owned_files, "BY_DESCRIPTOR", False)
    (tmp_path / "held").mkdir()
    with Folder.named(tmp_path / "held") as held:
        yield held


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of someone else's."""
    path = tmp_path / "thesis.txt"
    path.write_text("ten years of work")
    return path


def test_what_it_makes_can_be_replaced_and_deleted(folder: Folder):
    """By the run that made it."""
    folder.write("a", b"one", b" two")
    folder.write("a", b"three")
    with folder.open("a") as file:
        assert file.read() == b"three"
    assert folder.make_folder("inner")
    assert not folder.make_folder("inner")
    with folder.folder("inner") as inner:
        inner.write("b", b"x", lasting=False)
        assert not folder.delete_folder("inner")
        inner.move("b", "c", folder)
    assert folder.names() == ["a", "c", "inner"]
    folder.delete("a")
    folder.delete("a")
    folder.refresh("c")
    folder.sync()
    assert folder.delete_folder("inner")
    assert folder.names() == ["c"]


def test_what_it_did_not_make_stays(folder: Folder, tmp_path: Path):
    """Unless it is claimed."""
    path = tmp_path / "held" / "mine"
    path.write_text("mine")
    for call in (folder.delete, folder.delete_folder):
        with pytest.raises(UnsafeSourceError, match=r"held/mine was not made by this program\. Look at it, and move it away\."):
            call("mine")
    with pytest.raises(FileExistsError):
        folder.write("mine", b"x")
    with pytest.raises(FileExistsError):
        folder.create("mine")
    assert (path.read_text(), folder.names()) == ("mine", ["mine"])
    folder.claim("mine")
    folder.write("mine", b"ours")
    assert path.read_bytes() == b"ours"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc"])
def test_names_are_never_paths(name: str, folder: Folder):
    """Whoever asks."""
    for call in (folder.delete, folder.create, folder.status, folder.folder, folder.make_folder):
        folder.claim(name)
        with pytest.raises(ValueError, match="is no name of an entry"):
            call(name)


def test_no_link_in_it_is_followed(folder: Folder, victim: Path, tmp_path: Path):
    """To read, to write, to enter or to change; of a link that is claimed, the link goes."""
    (tmp_path / "other").mkdir()
    for name, there in (("file", victim), ("dir", tmp_path / "other"), ("none", tmp_path / "new")):
        (tmp_path / "held" / name).symlink_to(there)
    before = victim.stat()
    for name in ("file", "dir", "none"):
        with pytest.raises(OSError):
            folder.open(name).close()
        with pytest.raises(OSError):
            folder.folder(name).close()
        with pytest.raises(FileExistsError):
            folder.create(name)
        with pytest.raises(FileExistsError):
            folder.write(name, b"x")
        assert not folder.make_folder(name)
        with pytest.raises(OSError):
            folder.set_mode(name, 0o777)
        folder.refresh(name)
        folder.claim(name)
        folder.write(name, b"ours")
        folder.delete(name)
    after = victim.stat()
    assert (after.st_mode, after.st_mtime_ns, victim.read_text()) == (before.st_mode, before.st_mtime_ns, "ten years of work")
    assert list((tmp_path / "other").iterdir()) == []
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_exchanged_for_a_link_is_not_followed(folder: Folder, victim: Path, tmp_path: Path):
    """It goes on where the folder went; or where the system has no descriptors of folders, it is told."""
    os.rename(tmp_path / "held", tmp_path / "away")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "held").symlink_to(tmp_path / "elsewhere")
    if folder.fd >= 0:
        folder.write("a", b"x")
        assert (tmp_path / "away" / "a").read_bytes() == b"x"
        assert Path(folder.held_path("a")).read_bytes() == b"x"
    else:
        with pytest.raises(UnsafeSourceError, match=r"held was replaced while files were written to it\. See who else writes there\."):
            folder.write("a", b"x")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert victim.read_text() == "ten years of work"


def test_names_are_exchanged(folder: Folder, tmp_path: Path):
    """Both must be ours; afterwards the old one can be deleted here."""
    (tmp_path / "other").mkdir()
    (tmp_path / "held" / "out").mkdir()
    (tmp_path / "other" / "target").mkdir()
    (tmp_path / "other" / "target" / "old").write_text("old")
    with Folder.named(tmp_path / "other") as other:
        folder.claim("out")
        with pytest.raises(UnsafeSourceError):
            folder.exchange("out", "target", other)
        other.claim("target")
        folder.exchange("out", "target", other)
    assert (tmp_path / "held" / "out" / "old").read_text() == "old"
    assert list((tmp_path / "other" / "target").iterdir()) == []
    assert folder.names() == ["out"]


def test_whoever_comes_first_keeps_the_name(tmp_path: Path):
    """Two hundred races between a rename and a file that appears: neither is ever lost."""
    (tmp_path / "held").mkdir()
    kept = 0
    for number in range(200):
        with Folder.named(tmp_path / "held") as held:
            os.close(held.create("half"))
            path = tmp_path / "held" / f"{number}"
            other = threading.Thread(target=lambda path=path: _tried(path))
            other.start()
            try:
                held.move("half", f"{number}")
                kept += 1
            except FileExistsError:
                held.delete("half")
            other.join()
        assert path.read_text() in ("", "theirs")
    assert 0 <= kept <= 200
    assert len(list((tmp_path / "held").iterdir())) == 200


def _tried(path: Path) -> None:
    try:
        with open(path, "x") as file:
            file.write("theirs")
    except FileExistsError:
        pass


def test_a_closed_folder_is_told(tmp_path: Path):
    """And not taken for another of the same number."""
    folder = Folder.named(tmp_path)
    folder.close()
    with pytest.raises(ValueError, match="is closed"):
        folder.names()
    with pytest.raises(ValueError, match="is closed"):
        folder.create("a")


class TestFiles:
    """What there is for single files."""

    def test_a_file_of_an_earlier_try_is_replaced_and_a_link_is_not_followed(self, victim: Path, tmp_path: Path):
        """The link goes."""
        (tmp_path / "a").symlink_to(victim)
        for data in (b"one", b"two"):
            with owned_files.replace_file(tmp_path / "a") as file:
                file.write(data)
        assert (tmp_path / "a").read_bytes() == b"two"
        assert not (tmp_path / "a").is_symlink()
        assert victim.read_text() == "ten years of work"

    def test_a_new_file_is_new(self, victim: Path, tmp_path: Path):
        """Where a link or a file stands, there is none."""
        (tmp_path / "a").symlink_to(victim)
        (tmp_path / "b").symlink_to(tmp_path / "nowhere")
        for name in ("a", "b", "thesis.txt"):
            with pytest.raises(FileExistsError):
                owned_files.create_file(tmp_path / name)
        assert not (tmp_path / "nowhere").exists()

    def test_a_report_goes_where_a_link_leads_and_to_what_is_no_file(self, tmp_path: Path):
        """Whole, or what was there stays."""
        (tmp_path / "a").symlink_to("b")
        for data in (b"one", b"two"):
            owned_files.write_report(tmp_path / "a", data)
            assert (tmp_path / "b").read_bytes() == data
        assert (tmp_path / "a").is_symlink()
        assert len(list(tmp_path.iterdir())) == 2
        reading, writing = os.pipe()
        owned_files.write_report(f"/dev/fd/{writing}", b"three")
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            assert file.read() == b"three"

    def test_what_is_not_finished_is_gone(self, victim: Path, tmp_path: Path):
        """A file, a folder with a link in it, a scratch file."""
        with pytest.raises(ZeroDivisionError), owned_files.finished_file(tmp_path / "a") as path:
            Path(path).write_text(str(1 / 0))
        with pytest.raises(FileExistsError), owned_files.finished_folder(tmp_path / "b") as path:
            [(Path(path) / "link").symlink_to(victim.parent) for _ in range(2)]
        with owned_files.scratch_file(str(tmp_path / "c")) as (fd, path):
            os.write(fd, b"x")
            assert Path(path).read_bytes() == b"x"
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    def test_what_is_finished_has_its_name(self, tmp_path: Path):
        """A file in place of one that has it; a folder only where there is none."""
        for data in ("one", "two"):
            with owned_files.finished_file(tmp_path / "a") as path:
                Path(path).write_text(data)
        assert (tmp_path / "a").read_text() == "two"
        with owned_files.finished_folder(tmp_path / "b") as path:
            (Path(path) / "x").write_text("one")
        with pytest.raises(FileExistsError), owned_files.finished_folder(tmp_path / "b") as path:
            (Path(path) / "x").write_text("two")
        assert (tmp_path / "b" / "x").read_text() == "one"
        assert len(list(tmp_path.iterdir())) == 2


class TestCache:
    """The user's cache folder."""

    @pytest.fixture
    def root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where it is; files count as settled, and everything is worth keeping."""
        monkeypatch.setenv("STREAMLOAD_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setattr(disk_cache, "SETTLED_NS", -(10**10))
        monkeypatch.setattr(disk_cache, "WORTH_SECONDS", -1)
        monkeypatch.setattr(disk_cache, "MOST_ENTRIES", 1)
        (tmp_path / "cache").mkdir()
        return tmp_path / "cache"

    def test_a_link_in_its_place_is_not_used(self, root: Path, tmp_path: Path):
        """The folder that a user names may be one."""
        (tmp_path / "victim").mkdir()
        for name in ("index", kernel_name()):
            (root / name).symlink_to(tmp_path / "victim")
        assert disk_cache.folder() is None
        assert kernel_folder() is None
        disk_cache.store(["a"], b"eight by", {}, lambda more: [b"x"], 1.0)
        assert list((tmp_path / "victim").iterdir()) == []
        root.rename(tmp_path / "disk")
        root.symlink_to(tmp_path / "disk")
        (root / "index").unlink()
        with disk_cache.folder() as found:  # pyright: ignore[reportOptionalContextManager]
            assert found.path == str(tmp_path / "disk" / "index")

    def test_entries_that_are_links_are_neither_read_nor_written_through(self, root: Path, victim: Path):
        """An entry of ours takes the name; what was linked stays, whatever is pruned."""
        (root / "index").mkdir(mode=0o700)
        disk_cache.store(["a"], b"eight by", {}, lambda more: [b"x"], 1.0)
        (entry,) = (root / "index").iterdir()
        entry.unlink()
        links = [entry, root / "index" / f"{'0' * 32}.survey", root / "index" / ".0123456_.part", root / "index" / "notes.survey"]
        for link in links:
            link.symlink_to(victim)
        (root / "index" / "notes.txt").write_text("mine")
        before = victim.stat().st_mtime_ns
        assert disk_cache.load(["a"], b"eight by", lambda data: (1, {"request": ["a"], "times": {}})) is None
        for asked in (["a"], ["b"], ["c"]):
            disk_cache.store(asked, b"eight by", {}, lambda more: [b"x"], 1.0)
        assert (victim.read_text(), victim.stat().st_mtime_ns) == ("ten years of work", before)
        assert (root / "index" / "notes.txt").read_text() == "mine"
        assert [link.is_symlink() for link in links[1:]] == [True, True, True]
        assert not entry.is_symlink()


def kernel_name() -> str:
    """The folder of compiled kernels."""
    folder = kernel_folder()
    assert folder is not None
    folder.rmdir()
    return folder.name


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"STREAMLOAD_CACHE_DIR": "~/mine"}, "home/mine"),
        ({"XDG_CACHE_HOME": "{}/caches"}, "caches/streamload"),
        ({"XDG_CACHE_HOME": "caches"}, "home/.cache/streamload"),
        ({}, "home/.cache/streamload"),
        ({"STREAMLOAD_CACHE_DIR": "~no-such-user/mine"}, None),
    ],
    ids=["in the home", "as XDG says", "a relative one, which XDG forbids", "where nobody says", "of a user without a home"],
)
def test_the_cache_folder_is_never_one_that_is_called_tilde(
    told: dict[str, str], found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A container's user may have no home: `~` stands for nothing there, and would be a folder where the program happens to run."""
    for name in ("STREAMLOAD_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path / "home"), **told}.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = owned_files.cache_folder("index")
    if folder is None:
        assert found is None
    else:
        with folder:
            assert found is not None
            assert folder.path == str(tmp_path / found / "index")
    assert list(tmp_path.rglob("~*")) == []
