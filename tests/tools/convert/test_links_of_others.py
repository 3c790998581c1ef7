"""Links and files of others in every place where a conversion creates, replaces or deletes: what is not ours stays whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, arrays, environment, finished, hdf5_file, image_folder, names_in
from command_line import said as lines_said

import streamload as sl
from streamload.errors import ConversionError, SourceChangedError, UnsafeSourceError
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.staging import Staging
from streamload.tools.convert.tasks import perform
from streamload.tools.convert.working_folder import MARK


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code of a command, and all that it says, in one line."""
    code, text = lines_said(capsys, *words)
    return code, " ".join(text.split())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A few records in blocks, so that a shuffle goes through files."""
    return hdf5_file(tmp_path / "s.h5", arrays(40), chunks=(8, 8, 8, 3), compression="gzip")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of someone else's, with a subfolder."""
    folder = tmp_path / "victim"
    (folder / "chapters").mkdir(parents=True)
    (folder / "thesis.txt").write_text("ten years of work")
    (folder / "chapters" / "one.txt").write_text("the first")
    (folder / "thesis.txt").chmod(0o640)
    return folder


def whole(folder: Path) -> bool:
    """Whether the victim is as it was."""
    held = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    untouched = (folder / "thesis.txt").stat().st_mode & 0o777 == 0o640
    return untouched and held == {"thesis.txt": "ten years of work", "chapters/one.txt": "the first"}


PLACES = ["out", "entries", "buckets", "request.json", "kept.i64", "order.i64", "out/x.h5", "entries/x.json", MARK]


def linked(place: Path, victim: Path) -> Path:
    """A link at a place: to a folder, or where its name is a file's to a file."""
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(victim / "thesis.txt" if "." in place.name else victim)
    return place


class TestWorkingFolder:
    """The hidden folder beside the target."""

    @pytest.mark.parametrize("words", [["--where", "label == 'nope'"], ["--shuffle"]], ids=["fails", "succeeds"])
    @pytest.mark.parametrize("place", PLACES)
    def test_one_that_came_with_links_is_refused(
        self, place: str, words: list[str], source: Path, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        """As out of an archive, or in a shared folder."""
        link = linked(tmp_path / ".o.h5.converting" / place, victim)
        code, told = said(capsys, "convert", source, tmp_path / "o.h5", *words)
        assert whole(victim)
        assert link.is_symlink()
        assert code == 1
        assert f"{tmp_path}/.o.h5.converting is no working folder of a conversion: " in told
        assert "Nothing in it was touched. Look what it is, and move or delete it." in told
        assert names_in(tmp_path) == {"s.h5", "victim", ".o.h5.converting"}

    @pytest.mark.parametrize("place", PLACES)
    def test_one_of_ours_into_which_a_link_was_put_is_refused(
        self, place: str, source: Path, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        """After a conversion was ended, before the next one."""
        with Staging(str(tmp_path / "o.h5")) as staging:
            staging.begin({"another": "request"})
            staging.keep("o.h5", 1)
        linked(tmp_path / ".o.h5.converting" / place, victim)
        code, told = said(capsys, "convert", source, tmp_path / "o.h5")
        assert (code, "is no working folder of a conversion" in told) == (1, True)
        assert whole(victim)

    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (lambda place, victim: place.symlink_to(victim), "it is a link"),
            (lambda place, victim: place.symlink_to("/nowhere"), "it is a link"),
            (lambda place, victim: place.write_text("mine"), "it is a file"),
            (lambda place, victim: shutil.copytree(victim, place), "no conversion has marked it"),
            (lambda place, victim: place.mkdir(), ""),
        ],
        ids=["link", "link to nowhere", "file", "folder of other things", "empty folder"],
    )
    def test_what_stands_in_its_place_is_told(
        self, make: Any, why: str, source: Path, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        """In a sentence; in an empty folder nothing can be lost."""
        make(tmp_path / ".o.h5.converting", victim)
        code, told = said(capsys, "convert", source, tmp_path / "o.h5")
        assert code == (1 if why else 0), told
        assert f".o.h5.converting is no working folder of a conversion: {why}." in told or not why
        assert whole(victim)
        assert ((tmp_path / ".o.h5.converting").exists() or why == "it is a link") == bool(why)

    def test_a_copy_of_one_of_ours_is_not_ours(self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """What is in it may have been changed; the first is taken up."""
        with Staging(str(tmp_path / "o.h5")) as staging:
            staging.begin({"another": "request"})
            staging.keep("o.h5", 1)
        (tmp_path / "there").mkdir()
        shutil.copytree(tmp_path / ".o.h5.converting", tmp_path / "there" / ".o.h5.converting")
        code, told = said(capsys, "convert", source, tmp_path / "there" / "o.h5")
        assert (code, "its mark is not its own, as in a copy or out of an archive" in told) == (1, True)
        assert answer(capsys, "convert", source, tmp_path / "o.h5")[0] == 0

    @pytest.mark.parametrize("name", ["notes.txt", "out/notes.txt", "entries/deep/x.json", "buckets/notes.txt"])
    def test_one_with_a_file_of_others_is_refused(self, name: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """It is named, and stays."""
        with Staging(str(tmp_path / "o.h5")) as staging:
            staging.begin({"another": "request"})
            staging.keep("o.h5", 1)
            staging.renew_folder("buckets")
        place = tmp_path / ".o.h5.converting" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text("mine")
        code, told = said(capsys, "convert", source, tmp_path / "o.h5")
        strange = "entries/deep" if "deep" in name else name
        assert (code, f"'{strange}' in it is nothing that a conversion writes" in told) == (1, True), told
        assert place.read_text() == "mine"

    def test_a_file_that_comes_into_it_meanwhile_stays(self, tmp_path: Path):
        """And the folder with it, when all else is deleted."""
        with Staging(str(tmp_path / "o.h5")) as staging:
            staging.begin({"a": 1})
            (Path(staging.out) / "notes.txt").write_text("mine")
        assert (tmp_path / ".o.h5.converting" / "out" / "notes.txt").read_text() == "mine"

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
    def test_one_of_another_user_is_refused(self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Also an empty one: its owner could put anything into it meanwhile."""
        (tmp_path / ".o.h5.converting").mkdir()
        os.chown(tmp_path / ".o.h5.converting", 65534, 65534)
        code, told = said(capsys, "convert", source, tmp_path / "o.h5")
        assert (code, "it belongs to another user, or others may write to it" in told) == (1, True)
        assert names_in(tmp_path) == {"s.h5", ".o.h5.converting"}

    def test_one_that_is_exchanged_meanwhile_leads_nowhere(self, victim: Path, tmp_path: Path):
        """What is done by who holds it goes on in it, wherever it is, and no link in its old place is followed."""
        with Staging(str(tmp_path / "o.h5")) as staging:
            staging.begin({"a": 1})
            os.rename(staging.folder, tmp_path / "away")
            for name in ("out", "entries", "buckets"):
                linked(Path(staging.folder) / name, victim)
            staging.keep("x", 1)
            staging.renew_folder("buckets")
            staging.create("kept.i64").close()
            assert staging.kept("x") == 1
        assert whole(victim)

    @pytest.mark.parametrize("kind", ["hdf5", "parquet", "arrow", "npy", "npz", "png"])
    def test_a_task_goes_on_in_the_folder_that_it_was_given(self, kind: str, source: Path, victim: Path, tmp_path: Path):
        """Another in its place is told; one that is exchanged while it writes is not written to."""
        name, style = f"data-00000-of-00001.{kind}", {"format": "parquet" if kind == "png" else kind, "codec": "none", "level": None}
        style |= {"chunk_records": None, "store": "png" if kind == "png" else "raw"}
        order = {"ends": [40], "shuffle": "no", "seed": 0, "file": None}
        with Staging(str(tmp_path / "o")) as staging:
            staging.begin({"a": 1})
            within = {"folder": staging.folder, "inode": staging.inode}
            task = {"streamload": sl.__version__, "request": OpenRequest(path=str(source)).plain(), "kind": "write", "order": order}
            task |= {"style": style, "total": 40, "threads": 1, "scattered": False, "buckets": 1, "part": "", "part_start": 0}
            task |= {"nbytes": 1, "name": name, "path": f"{staging.out}/{name}", "start": 0, "stop": 40, "staging": within}

            def exchange(_: int) -> None:
                if not (tmp_path / "away").exists():
                    os.rename(staging.folder, tmp_path / "away")
                    linked(Path(staging.folder) / "out", victim)

            perform(task, saw=exchange)
            if not (tmp_path / "away").exists():
                exchange(0)
            assert whole(victim)
            reply = perform(task)
            assert "another was put in its place" in reply["error"]["message"]
            assert whole(victim)


class TestTarget:
    """The final name, and what stands beside it."""

    @pytest.mark.parametrize("words", [[], ["--overwrite"]], ids=["", "overwrite"])
    @pytest.mark.parametrize("name", ["o.h5", "o"])
    @pytest.mark.parametrize("there", ["thesis.txt", ".", "nowhere"])
    def test_a_link_is_not_replaced(
        self, there: str, name: str, words: list[str], source: Path, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        """Neither it nor what it leads to was meant for certain."""
        (tmp_path / name).symlink_to(victim / there)
        code, told = said(capsys, "convert", source, tmp_path / name, *words)
        assert whole(victim)
        assert (tmp_path / name).is_symlink()
        nowhere = ", which does not exist" if there == "nowhere" else ""
        assert code == 2
        assert f"is a link to {os.path.realpath(victim / there)}{nowhere}; links are not replaced." in told
        assert "Name what it leads to, or delete the link." in told
        assert names_in(tmp_path) == {"s.h5", "victim", name}

    def test_links_in_the_folder_that_was_named_are_resolved(self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Once: a target in a folder behind a link is written there."""
        (tmp_path / "disk").mkdir()
        (tmp_path / "data").symlink_to(tmp_path / "disk")
        assert answer(capsys, "convert", source, tmp_path / "data" / "o.h5")[0] == 0
        assert names_in(tmp_path / "disk") == {"o.h5", "o.h5.manifest.json"}

    @pytest.mark.parametrize("name", ["o.h5.bad.jsonl", "o.h5.manifest.json"])
    @pytest.mark.parametrize("how", ["link", "file"])
    def test_what_stands_beside_it_is_not_written_to(
        self, how: str, name: str, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        """A log and a manifest are replaced only where a conversion wrote them; also with --overwrite."""
        image_folder(tmp_path / "in", {"a": 4, "b": 4})
        (tmp_path / "in" / "a" / "002.png").write_bytes(b"no image")
        (tmp_path / name).symlink_to(victim / "thesis.txt") if how == "link" else (tmp_path / name).write_text("mine")
        for words in ([], ["--overwrite"]):
            code, told = said(capsys, "convert", tmp_path / "in", tmp_path / "o.h5", "--on-bad", "log", *words)
            assert whole(victim)
            assert (code, f"{name} exists, and is {'a link' if how == 'link' else 'no '}" in told) == (2, True), told
            assert "it is not replaced. Move it away, or give another name for DST." in told
            assert names_in(tmp_path) == {"in", "victim", name}
        assert how == "link" or (tmp_path / name).read_text() == "mine"

    def test_a_log_and_a_manifest_of_ours_are_replaced(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Also where the target is gone."""
        image_folder(tmp_path / "in", {"a": 4, "b": 4})
        (tmp_path / "in" / "a" / "002.png").write_bytes(b"no image")
        for number in range(3):
            words = ["--overwrite"] if number == 1 else []
            assert answer(capsys, "convert", tmp_path / "in", tmp_path / "o.h5", "--on-bad", "log", *words)[0] == 1
            (line,) = (tmp_path / "o.h5.bad.jsonl").read_text().splitlines()
            assert json.loads(line)["record"] == 2
            if number == 1:
                (tmp_path / "o.h5").unlink()
        assert names_in(tmp_path) == {"in", "o.h5", "o.h5.bad.jsonl", "o.h5.manifest.json"}

    @pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry run"])
    def test_overwriting_a_folder_of_other_things_is_refused(
        self, dry: list[str], source: Path, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        """Before the work, and by --dry-run."""
        code, told = said(capsys, "convert", source, victim, "--to", "npy", "--overwrite", *dry)
        assert whole(victim)
        assert (code, "victim holds what no manifest of a conversion names: chapters, thesis.txt." in told) == (2, True), told
        assert "--overwrite replaces only what a conversion wrote: give another name, or move the rest away." in told
        assert names_in(tmp_path) == {"s.h5", "victim"}

    @pytest.mark.parametrize("strange", ["notes.txt", "link", "folder/x", "data-00000-of-00001.npy"])
    def test_overwriting_a_dataset_to_which_something_was_added_is_refused(
        self, strange: str, source: Path, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        """A file, a link, a folder; or a link in place of a file that the manifest names."""
        assert answer(capsys, "convert", source, tmp_path / "o", "--to", "npy")[0] == 0
        place = tmp_path / "o" / strange
        if strange == "folder/x":
            place.parent.mkdir()
            place.write_text("mine")
        elif strange == "notes.txt":
            place.write_text("mine")
        else:
            place.unlink(missing_ok=True)
            place.symlink_to(victim / "thesis.txt")
        before = names_in(tmp_path / "o")
        code, told = said(capsys, "convert", source, tmp_path / "o", "--to", "npy", "--overwrite")
        assert (code, f"names: {strange.split('/')[0]}" in told) == (2, True), told
        assert names_in(tmp_path / "o") == before
        assert whole(victim)

    @pytest.mark.parametrize(("name", "there"), [("o.h5", "folder"), ("o", "file")])
    def test_a_file_and_a_folder_do_not_replace_each_other(
        self, name: str, there: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        """Told before the work."""
        (tmp_path / name).mkdir() if there == "folder" else (tmp_path / name).write_text("mine")
        code, told = said(capsys, "convert", source, tmp_path / name, "--overwrite")
        assert (code, f"{name} is a {there}, and a " in told) == (2, True), told
        assert "one does not replace the other. Give another name, or move it away." in told
        assert names_in(tmp_path) == {"s.h5", name}

    def test_what_came_into_an_old_folder_meanwhile_is_kept(self, tmp_path: Path):
        """Between the last look and the exchange."""
        (tmp_path / "o").mkdir()
        (tmp_path / "o" / "notes.txt").write_text("mine")
        with Staging(str(tmp_path / "o")) as staging:
            staging.begin({"a": 1})
            (Path(staging.out) / "data-00000-of-00001.npy").write_bytes(b"new")
            aside = staging.move_folder({"files": []}, overwrite=True)
        assert aside is not None
        assert (tmp_path / aside / "notes.txt").read_text() == "mine"
        assert names_in(tmp_path) == {"o", aside}
        assert names_in(tmp_path / "o") == {"manifest.json", "data-00000-of-00001.npy"}

    @pytest.mark.parametrize("name", ["o.npy", "o"])
    def test_what_came_under_the_final_name_meanwhile_is_not_replaced(self, name: str, tmp_path: Path):
        """What was written waits for the next try."""
        made = "o.npy" if name == "o.npy" else "data-00000-of-00001.npy"
        with Staging(str(tmp_path / name)) as staging:
            staging.begin({"a": 1})
            (Path(staging.out) / made).write_bytes(b"new")
            staging.keep(made, 1)
            (tmp_path / name).write_text("mine")
            with pytest.raises(ConversionError, match=r"has come to exist while it was converted, and is not replaced\. Move it away or"):
                staging.move_folder({}, overwrite=False) if name == "o" else staging.move_file(made, {}, overwrite=False)
        assert (tmp_path / name).read_text() == "mine"
        with Staging(str(tmp_path / name)) as staging:
            assert staging.begin({"a": 1})
            assert staging.kept(made) == 1

    def test_a_source_that_was_replaced_leaves_nothing_behind(self, source: Path, tmp_path: Path):
        """What was written of the old one is gone, as the error says."""
        words = ["convert", source, tmp_path / "o", "--shard-size", "2 KB", "--workers", 1, "--to", "hdf5"]
        assert finished(*words, env=environment(STREAMLOAD_TEST_KILL="convert.written:SIGKILL:3"))[0] != 0
        with Staging(str(tmp_path / "o")) as staging:
            assert staging.finished()
            request = json.loads((Path(staging.folder) / "request.json").read_text())

        def changed() -> None:
            with Staging(str(tmp_path / "o")) as staging:
                assert staging.begin(request)
                raise SourceChangedError("changed")

        with pytest.raises(SourceChangedError):
            changed()
        assert names_in(tmp_path) == {"s.h5"}


class TestReports:
    """A path that the user names may be a link: what it leads to is replaced whole."""

    def test_a_page_is_written_through_a_link(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """The link stays; so does the old page, where the new one cannot be made."""
        results = tmp_path / "results.json"
        results.write_text(json.dumps({"command": "bench", "figures": []}))
        (tmp_path / "www").mkdir()
        (tmp_path / "www" / "page.html").write_text("old")
        (tmp_path / "report.html").symlink_to(tmp_path / "www" / "page.html")
        code, told = said(capsys, "report", results, "--html", tmp_path / "report.html")
        if code == 0:
            assert (tmp_path / "www" / "page.html").read_text().startswith("<!DOCTYPE html>")
        assert (tmp_path / "report.html").is_symlink(), told
        assert names_in(tmp_path / "www") == {"page.html"}

    def test_a_picture_is_not_written_over_without_asking(self, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Through a link either; with --overwrite what it leads to is replaced."""
        hdf5_file(tmp_path / "a.h5", arrays(4))
        (tmp_path / "sheet.png").symlink_to(victim / "thesis.txt")
        assert said(capsys, "show", tmp_path / "a.h5", "-o", tmp_path / "sheet.png")[0] == 2
        assert whole(victim)
        assert said(capsys, "show", tmp_path / "a.h5", "-o", tmp_path / "sheet.png", "--overwrite")[0] == 0
        assert (victim / "thesis.txt").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / "sheet.png").is_symlink()

    def test_a_manifest_of_one_file_is_not_written_through_a_link(self, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """To nowhere: nothing comes to be there."""
        np.save(tmp_path / "a.npy", np.arange(10))
        (tmp_path / "a.npy.manifest.json").symlink_to(victim / "new.json")
        code, told = said(capsys, "verify", tmp_path / "a.npy", "--write-manifest")
        assert (code, "a.npy.manifest.json is no file, and is not replaced. Move it away." in told) == (1, True), told
        assert whole(victim)


def test_an_error_of_a_folder_that_is_not_ours_has_a_class(victim: Path, tmp_path: Path):
    """One that callers can tell apart."""
    (tmp_path / ".o.converting").symlink_to(victim)
    with pytest.raises(UnsafeSourceError, match="it is a link"), Staging(str(tmp_path / "o")):
        pass
