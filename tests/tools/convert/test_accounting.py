"""Every file is accounted for: found, taken, left out and why, in the last line of a command and in its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file, image_folder, said
from foreign_files import noise, png, tar_of, write_files
from PIL import Image

import streamload as sl
from streamload.tools.convert.readers.open import is_image_folder

COMMANDS = {"info": [], "convert": ["o.h5"], "dry run": ["o.h5", "--dry-run"]}


def asked(capsys: pytest.CaptureFixture[str], command: str, path: Path, *more: object) -> tuple[int, dict[str, Any]]:
    """The exit code of a command about a path, and its account."""
    words = [path.parent / word if word == "o.h5" else word for word in COMMANDS[command]]
    code, document = answer(capsys, command.replace("dry run", "convert"), path, *words, *more)
    return code, document["account"]


def reasons(account: dict[str, Any], *, expected: bool = False) -> dict[str, list[str]]:
    """Names of what was left out, by reason."""
    return {one["why"]: sorted(one["names"]) for one in account["left_out"] if one["expected"] is expected}


@pytest.mark.parametrize("command", COMMANDS)
class TestImages:
    """Folders of images."""

    def test_any_depth_is_taken(self, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """The label is the first folder; nothing is left out."""
        path = write_files(tmp_path / "in", "found/cat/1.png", "found/cat/more/2.png", "lost/dog/batch2/3.png", "lost/4.png")
        code, account = asked(capsys, command, path)
        assert (code, account["found"], account["taken"], account["left_out"]) == (0, 4, 4, [])
        if command == "convert":
            assert sl.open(tmp_path / "o.h5")[:]["label"].tolist() == [0, 0, 1, 1]

    def test_what_is_not_read_is_named(self, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """By its ending; what nobody takes for data is told and makes no fault."""
        path = write_files(tmp_path / "in", "a/1.png", "b/2.png")
        write_files(path, "a/3.avif", "b/4.jp2", "b/5", "b/6.avif", data=b"x")
        code, account = asked(capsys, command, path)
        assert (code, account["found"], account["taken"]) == (1, 6, 2)
        assert reasons(account) == {
            ".avif is not read here": ["a/3.avif", "b/6.avif"],
            ".jp2 is not read here": ["b/4.jp2"],
            "no ending says what it is": ["b/5"],
        }
        code, account = asked(capsys, command, path, "--leave-out", "*.avif", "--leave-out", "b/4*", "--leave-out", "5", *_again(command))
        assert (code, reasons(account)) == (0, {})
        write_files(path, "README.md", ".DS_Store", "a/Thumbs.db", "LICENSE", data=b"x")
        for name in ("a/3.avif", "b/4.jp2", "b/5", "b/6.avif"):
            (path / name).unlink()
        code, account = asked(capsys, command, path, *_again(command))
        assert (code, account["found"], account["taken"]) == (0, 6, 2)
        assert reasons(account, expected=True) == {
            "hidden, or of the system": [".DS_Store", "a/Thumbs.db"],
            "words about the data": ["LICENSE", "README.md"],
        }

    def test_a_table_that_names_only_some(self, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Images that it lacks are named; a table found by chance is announced."""
        path = write_files(tmp_path / "in", "1.png", "2.png", "3.png")
        (path / "metadata.csv").write_text("file,label\n1.png,4\n3.png,5\n")
        code, account = asked(capsys, command, path)
        assert (code, account["found"], account["taken"]) == (1, 4, 3)
        assert reasons(account) == {"an image that metadata.csv does not name": ["2.png"]}
        words = [tmp_path / "p.h5", *COMMANDS[command][1:]] if command != "info" else []
        told = said(capsys, command.replace("dry run", "convert"), path, *words)[1]
        assert "labels are those of metadata.csv, which lies in the folder" in told

    def test_links_to_folders_are_followed_once(self, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """And one that leads back up is told."""
        path = write_files(tmp_path / "in", "a/1.png", "b/2.png")
        write_files(tmp_path / "disk", "3.png", "deep/4.png")
        (path / "c").symlink_to(tmp_path / "disk")
        (path / "a" / "again").symlink_to(tmp_path / "disk" / "deep")
        (path / "b" / "up").symlink_to("..")
        code, account = asked(capsys, command, path)
        assert (code, account["found"], account["taken"]) == (0, 4, 4)
        assert reasons(account, expected=True) == {"leads back to a folder above it": ["b/up"]}


def _again(command: str) -> list[str]:
    return [] if command == "info" else ["--overwrite"]


class TestTables:
    """What a table says of images."""

    def test_a_row_for_each_box_is_no_label(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Refused, and counted."""
        path = write_files(tmp_path / "in", "1.png", "2.png")
        (path / "labels.csv").write_text("file,box\n1.png,1\n1.png,2\n./1.png,3\n2.png,4\n2.png,5\n")
        code, document = answer(capsys, "convert", path, tmp_path / "o.h5")
        assert code == 1
        assert document["error"]["message"] == f"{path}/labels.csv names 1.png in 3 rows, and 1 other more than once."
        assert document["error"]["hint"] == "Give one row for each image; a row for each box or caption is no label of an image."

    def test_files_that_are_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Found before anything is written; left out where that is asked for."""
        path = write_files(tmp_path / "in", "1.png", "2.png")
        (path / "labels.csv").write_text("file,label\n1.png,1\n8.png,2\n2.png,3\n9.png,4\n")
        code, document = answer(capsys, "convert", path, tmp_path / "o.h5")
        assert (code, document["error"]["message"]) == (1, f"{path}: 'image' is missing in 2 of the 4 records.")
        assert "labels.csv names 2 files of which there is no image: 8.png, 9.png" in said(capsys, "info", path)[1]
        code, document = answer(capsys, "convert", path, tmp_path / "o.h5", "--on-bad", "skip")
        assert (code, document["records"], [number for number, _ in document["left_out"]]) == (1, 2, [1, 3])
        assert sl.open(tmp_path / "o.h5")[:]["label"].tolist() == [1, 3]


class TestFoldersThatAreNoClasses:
    """What looks like classes and is none."""

    @pytest.mark.parametrize("names", [["test", "train", "valid"], ["train"], ["train", "val"], ["Training", "Test_1"]])
    def test_parts_of_a_set(self, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Refused with the command that works."""
        path = write_files(tmp_path / "in", *(f"{name}/{kind}/{at}.png" for name in names for kind in "ab" for at in range(2)))
        code, document = answer(capsys, "convert", path, tmp_path / "o.h5")
        assert (code, document["error"]["kind"]) == (2, "ConfigError")
        held = (
            "one split (train), which is no class"
            if names == ["train"]
            else f"splits ({', '.join(sorted(names))}), whose records would be mixed"
        )
        assert document["error"]["message"] == f"{path} holds {held}."
        first = sorted(names)[0]
        assert document["error"]["hint"] == f"Convert each by itself: streamload convert {path}/{first} {first}.h5"
        assert answer(capsys, "convert", path / first, tmp_path / "o.h5")[0] == 0

    def test_a_class_may_be_called_train(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Among others."""
        path = write_files(tmp_path / "in", "bus/1.png", "train/2.png", "tram/3.png")
        assert answer(capsys, "convert", path, tmp_path / "o.h5")[1]["records"] == 3

    @pytest.mark.parametrize("mode", ["P", "L"])
    def test_masks_beside_photographs(self, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Refused; a class called mask is one."""
        path = write_files(tmp_path / "in", "photos/1.png", "photos/2.png", "other/7.png")
        (path / "masks").mkdir()
        for at in (1, 2):
            Image.new(mode, (5, 6), at).save(path / "masks" / f"{at}_mask.png")
        code, document = answer(capsys, "convert", path, tmp_path / "o.h5")
        assert code == 2
        assert document["error"]["message"] == f"{path} holds masks (masks) of the images in photos, which are no class of their own."
        path = write_files(tmp_path / "faces", "mask/1.png", "without/1.png")
        assert answer(capsys, "convert", path, tmp_path / "o.h5")[0] == 0


class TestContainers:
    """Archives, stores and files of fields."""

    def test_a_zip_beside_tars_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """And keeps the tars from being taken without it; one in a folder of its own is taken, and what says something of them is not."""
        write_files(tmp_path / "in", "0.tar", "sub/1.tar", data=tar_of([("0.png", png(noise()))]))
        write_files(tmp_path / "in", "2.zip", data=b"PK")
        code, document = answer(capsys, "info", tmp_path / "in")
        assert (code, f"{tmp_path}/in/2.zip" in document["error"]["message"]) == (1, True)
        (tmp_path / "in" / "2.zip").rename(tmp_path / "in" / "sizes.json")
        code, account = asked(capsys, "info", tmp_path / "in")
        assert (code, account["found"], account["taken"]) == (0, 3, 2)
        assert reasons(account, expected=True) == {"no data by their names": ["sizes.json"]}

    def test_datasets_that_are_left_out(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """With their reasons; chosen fields are what was asked for."""
        path = hdf5_file(tmp_path / "a.h5", arrays(9))
        with h5py.File(path, "r+") as file:
            file["meta"] = np.arange(3)
            file["gone"] = h5py.SoftLink("/nowhere")
        for command in COMMANDS:
            code, account = asked(capsys, command, path, *_again(command))
            assert code == 1
            assert reasons(account) == {
                "'gone' (a link to /nowhere, where nothing is)": ["gone"],
                "'meta' (3 records, not 9)": ["meta"],
            }
            code, account = asked(capsys, command, path, "--fields", "image,label", *_again(command))
            assert (code, reasons(account)) == (0, {})

    def test_the_test_set_beside_the_training_set(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Of MNIST as it is published: named as another part."""
        for name, count in (("train", 4), ("t10k", 2)):
            write_files(
                tmp_path / "in",
                f"{name}-images-idx3-ubyte",
                data=bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(4 * count),
            )
            write_files(tmp_path / "in", f"{name}-labels-idx1-ubyte", data=bytes([0, 0, 8, 1, 0, 0, 0, count]) + bytes(count))
        code, account = asked(capsys, "info", tmp_path / "in")
        assert (code, account["found"], account["taken"]) == (1, 4, 2)
        assert reasons(account) == {"of another part (t10k): convert it by itself": ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]}

    def test_a_folder_of_data_files_with_a_link_to_more(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Followed, once, and under its own name first."""
        (tmp_path / "in" / "sub").mkdir(parents=True)
        (tmp_path / "disk").mkdir()
        for at, name in enumerate(("in/0.npy", "in/sub/1.npy", "disk/2.npy")):
            np.save(tmp_path / name, np.full(2, at))
        (tmp_path / "in" / "link").symlink_to(tmp_path / "disk")
        (tmp_path / "in" / "again").symlink_to(tmp_path / "in" / "sub")
        (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
        write_files(tmp_path / "in", "_SUCCESS", "notes.txt", data=b"x")
        assert sl.open(tmp_path / "in")[:].popitem()[1].tolist() == [0, 0, 2, 2, 1, 1]
        code, account = asked(capsys, "info", tmp_path / "in")
        assert (code, account["found"], account["taken"]) == (0, 5, 3)
        assert reasons(account, expected=True) == {
            "leads back to a folder above it": ["circle"],
            "no data by their names": ["_SUCCESS", "notes.txt"],
        }

    def test_what_was_converted_is_whole(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """All parts of a split are taken, by all commands; a stray file is not."""
        hdf5_file(tmp_path / "a.h5", arrays(20))
        assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "in", "--split", "0.5,0.5", "--to", "npy")[0] == 0
        code, account = asked(capsys, "info", tmp_path / "in")
        assert (code, account["found"], account["taken"]) == (0, 3, 2)
        write_files(tmp_path / "in", "stray.npy", data=b"x")
        assert asked(capsys, "info", tmp_path / "in")[0] == 1


class TestWords:
    """What people read."""

    def test_the_last_line_and_the_word_verified(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """It is said of what was accounted for."""
        path = write_files(tmp_path / "in", "a/1.png", "b/2.png")
        lines = said(capsys, "convert", path, tmp_path / "o.h5")[1].splitlines()
        assert lines[0] == f"{tmp_path}/o.h5: 2 records, verified"
        assert lines[-1] == "  accounted for: 2 files found, 2 taken, nothing left out"
        write_files(path, "a/3.avif", "a/4.avif", "b/5.gz", data=b"x")
        write_files(path, "README", data=b"x")
        lines = said(capsys, "convert", path, tmp_path / "p.h5")[1].splitlines()
        assert lines[0] == f"{tmp_path}/p.h5: 2 records, verified but for 3 files that were left out"
        assert lines[-1] == (
            "  accounted for: 6 files found, 2 taken; left out: 2 files: .avif is not read here; 1 file: .gz is not read here; "
            "1 file: words about the data (--list-left-out names them)"
        )
        lines = said(capsys, "info", path, "--list-left-out")[1].splitlines()
        assert lines[-5:-1] == [
            "  file a/3.avif: .avif is not read here",
            "  file a/4.avif: .avif is not read here",
            "  file b/5.gz: .gz is not read here",
            "  file README: words about the data",
        ]

    def test_records_are_counted_too(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Those that a condition or damage left out, as was asked."""
        image_folder(tmp_path / "in", {"a": 4, "b": 3})
        (tmp_path / "in" / "b" / "001.png").write_bytes(b"no image")
        words = ["--where", "label == 'b'", "--on-bad", "skip"]
        code, document = answer(capsys, "convert", tmp_path / "in", tmp_path / "o.h5", *words)
        assert code == 1
        told = [(one["what"], one["count"], one["why"]) for one in document["account"]["left_out"]]
        assert told == [("record", 1, "cannot be read"), ("record", 4, "--where \"label == 'b'\"")]

    def test_a_manifest_and_verify_know_what_was_left_out(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Of the result nothing is lacking; against its source it is told, with exit code 1."""
        path = write_files(tmp_path / "in", "a/1.png", "b/2.png")
        write_files(path, "a/3.avif", data=b"x")
        assert answer(capsys, "convert", path, tmp_path / "o.h5")[0] == 1
        said_there = json.loads((tmp_path / "o.h5.manifest.json").read_text())["provenance"]["account"]
        assert reasons(said_there) == {".avif is not read here": ["a/3.avif"]}
        code, document = answer(capsys, "verify", tmp_path / "o.h5")
        assert (code, reasons(document["account"], expected=True)) == (0, {".avif is not read here, when it was made": ["a/3.avif"]})
        code, document = answer(capsys, "verify", tmp_path / "o.h5", "--against", path)
        assert (code, document["counts"], reasons(document["account_against"])) == (1, {}, {".avif is not read here": ["a/3.avif"]})
        told = said(capsys, "verify", tmp_path / "o.h5", "--against", path)[1].splitlines()
        assert told[0] == f"{tmp_path}/o.h5: good but for 1 file that was left out"
        assert told[-1].startswith(f"  {path} is accounted for: 3 files found, 2 taken; left out: 1 file: .avif is not read here")
        assert answer(capsys, "verify", tmp_path / "o.h5", "--against", path, "--leave-out", "*.avif")[0] == 0


def test_images_far_below_other_data_make_no_folder_of_images(tmp_path: Path):
    """What comes first in the order of names decides."""
    write_files(tmp_path / "in", "docs/pictures/1.png")
    np.save(tmp_path / "in" / "a.npy", np.arange(4))
    assert not is_image_folder(str(tmp_path / "in"))
    (tmp_path / "in" / "a.npy").unlink()
    assert is_image_folder(str(tmp_path / "in"))
