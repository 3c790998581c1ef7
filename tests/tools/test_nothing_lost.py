"""What could be lost on the way into a dataset without a word: records, fields, whole sources."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file, names_in, said
from foreign_files import noise, png, taken, tar_of
from streamload.tools.convert.readers.records import plain_names
from streamload.tools.convert.readers.tfrecord import HEAD, TAIL, masked

from streamload.errors import CorruptDataError, SchemaMismatchError
from streamload.kernels.crc32c_plain import crc32c


def varint(number: int) -> bytes:
    """As protocol buffers write it."""
    data = b""
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])


def part(number: int, data: bytes) -> bytes:
    """A message in a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(**features: Any) -> bytes:
    """A `tf.train.Example`: bytes, or whole numbers."""
    entries = b""
    for name, value in features.items():
        made = part(1, part(1, value)) if isinstance(value, bytes) else part(3, part(1, b"".join(map(varint, np.ravel(value).tolist()))))
        entries += part(1, part(1, name.encode()) + part(2, made))
    return part(1, entries)


def tfrecord(path: Path, records: list[bytes]) -> Path:
    """A file of records."""
    with path.open("wb") as file:
        for data in records:
            length = struct.pack("<Q", len(data))
            file.write(HEAD.pack(len(data), masked(crc32c(length))) + data + TAIL.pack(masked(crc32c(data))))
    return path


def tar(path: Path, files: list[tuple[str, bytes]]) -> Path:
    """An archive."""
    path.write_bytes(tar_of(files))
    return path


class TestNothingThere:
    """Sources without records, and conditions that nothing meets, are no success."""

    @pytest.mark.parametrize("where", ["label > 100", "label > 8 and label < 2"])
    def test_a_condition_that_holds_for_nothing(self, where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Exit code 1, nothing is written, and what the field holds is told."""
        hdf5_file(tmp_path / "a.h5", arrays(30))
        code, document = answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5", "--where", where)
        assert code == 1
        assert document["error"]["message"] == f"--where '{where}' holds for none of the 30 records: nothing was written."
        assert document["error"]["hint"] == f"`streamload info {tmp_path}/a.h5` shows what values its fields have."
        assert names_in(tmp_path) == {"a.h5"}

    def test_records_all_of_which_are_damaged(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Left out as asked, there is none."""
        files = [("0.png", png(noise()))] + [(f"{at}.cls", b"1") for at in range(1, 4)]
        tar(tmp_path / "b.tar", files)
        code, document = answer(capsys, "convert", tmp_path / "b.tar", tmp_path / "b.h5", "--on-bad", "skip")
        assert code == 1
        assert document["error"]["message"].startswith("None of the 4 records can be read: nothing was written. Record 0: ")
        assert document["error"]["hint"] == "Choose --fields that records have, or look at the files."
        assert not (tmp_path / "b.h5").exists()

    @pytest.mark.parametrize("kind", ["tar", "zeros", "tfrecord", "lmdb", "table"])
    @pytest.mark.parametrize("command", ["convert", "info", "head"])
    def test_a_source_without_records(self, command: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Is told by what it is; no fields are made up."""
        path = tmp_path / {"tar": "a.tar", "zeros": "a.tar.gz", "tfrecord": "a.tfrecord", "lmdb": "a", "table": "in"}[kind]
        if kind == "lmdb":
            import lmdb

            lmdb.open(str(path)).close()
        elif kind == "table":
            path.mkdir()
            (path / "0.png").write_bytes(png(noise()))
            (path / "labels.csv").write_text("file,label\n")
        else:
            path.write_bytes({"tar": tar_of([]), "zeros": gzip.compress(bytes(1 << 16)), "tfrecord": b""}[kind])
        words = [tmp_path / "b.h5"] if command == "convert" else []
        code, document = answer(capsys, command, path, *words)
        assert (code, document["error"]["kind"]) == (1, "CorruptDataError")
        assert "holds no records. Is it the right file, and was all of it fetched?" in " ".join(
            (document["error"]["message"] + " " + document["error"]["hint"]).split()
        )
        assert not (tmp_path / "b.h5").exists()


class TestNames:
    """Fields whose names would be one."""

    @pytest.mark.parametrize(
        ("stored", "plain"),
        [
            (["image/class/label", "label"], ["image_class_label", "label"]),
            (["a/b", "a_b"], ["a__b", "a_b"]),
            (["image/encoded", "image", "image_raw"], ["image_encoded", "image", "image_raw"]),
            (["image/encoded", "image/class/label"], ["image", "label"]),
        ],
    )
    def test_both_are_kept(self, stored: list[str], plain: list[str]):
        """Under names that do not depend on their order."""
        assert plain_names(stored) == dict(zip(plain, stored, strict=True))
        assert plain_names(stored[::-1]) == dict(zip(plain, stored, strict=True))

    def test_what_cannot_be_told_apart_is_an_error(self):
        """With what to do."""
        with pytest.raises(SchemaMismatchError, match=r"'a/b' and 'a_b' would have one name\. Choose one of them, and name it: --fields"):
            plain_names(["a/b", "a_b", "a__b"])

    def test_of_a_tfrecord(self, tmp_path: Path):
        """Each with its own values."""
        records = [example(**{"label": [at], "image/class/label": [at + 10], "a/b": [1, at], "a_b": [2, at]}) for at in range(5)]
        _, found = taken(tfrecord(tmp_path / "a.tfrecord", records))
        assert found["label"].tolist() == list(range(5))
        assert found["image_class_label"].tolist() == list(range(10, 15))
        assert (found["a__b"][3].tolist(), found["a_b"][3].tolist()) == ([1, 3], [2, 3])

    @pytest.mark.parametrize(
        ("files", "one", "other", "field"),
        [
            (["left.jpg", "right.jpg", "left.cls"], "left.cls", "left.jpg", "left"),
            (["0.5x.jpg", "0.5x.cls"], "0.5x.cls", "0.5x.jpg", "0.5x"),
            (["left.jpg", "left.png"], "left.jpg", "left.png", "left"),
            (["jpg", "image.cls"], "image.cls", "jpg", "image"),
        ],
    )
    def test_of_a_tar(self, files: list[str], one: str, other: str, field: str, tmp_path: Path):
        """An error: one of them would take the place of the other."""
        held = [(f"img_{at}.{name}", b"1" if name.endswith("cls") else png(noise(seed=at))) for at in range(3) for name in files]
        with pytest.raises(SchemaMismatchError) as caught:
            taken(tar(tmp_path / "a.tar", held))
        assert f"files of one key that end in .{one} and .{other} would both be the field '{field}'." in str(caught.value)
        assert "A key goes up to the first point of a name, and what follows names the field: rename one of them." in str(caught.value)

    def test_of_images_of_several_kinds(self, tmp_path: Path):
        """Are one field, where each record has one of them."""
        files = [(f"{at}.left.{'png' if at % 2 else 'jpg'}", png(noise(seed=at))) for at in range(4)]
        _, found = taken(tar(tmp_path / "a.tar", files))
        assert list(found) == ["left"]
        np.testing.assert_array_equal(found["left"][3], noise(seed=3))


class TestSomeRecords:
    """What only some records have."""

    @pytest.mark.parametrize("kind", ["tar", "json", "tfrecord"])
    def test_a_field_that_comes_late_is_an_error(self, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """It is named; chosen fields are taken without it."""
        path = tmp_path / ("a.tfrecord" if kind == "tfrecord" else "a.tar")
        if kind == "tfrecord":
            tfrecord(path, [example(x=[at], **({"late": [1]} if at >= 70 else {})) for at in range(80)])
        elif kind == "json":
            tar(path, [(f"{at}.json", json.dumps({"x": at} | ({"late": 1} if at >= 70 else {})).encode()) for at in range(80)])
        else:
            files = [(f"{at:03d}.json", b'{"x": 1}') for at in range(80)] + [(f"{at:03d}.late.png", png(noise())) for at in range(70, 80)]
            tar(path, sorted(files))
        with pytest.raises(
            SchemaMismatchError, match=r"late is there, which none of the first 64 records had\. Choose --fields without it: x"
        ):
            taken(path)
        assert taken(path, fields={"x": "x"})[1]["x"].shape == (80,)
        code, document = answer(capsys, "convert", path, tmp_path / "b.npz", "--on-bad", "skip")
        assert (code, document["records"], len(document["left_out"])) == (1, 70, 10)

    def test_one_rule_says_where_a_label_comes_from(self, tmp_path: Path):
        """Whatever stands first in a record, a file of its own is the label, and what JSON says has a longer name."""
        files = [("0.cls", b"1"), ("0.json", b'{"label": 7}'), ("1.json", b'{"label": 8}'), ("1.cls", b"2")]
        _, found = taken(tar(tmp_path / "a.tar", files))
        assert {name: values.tolist() for name, values in found.items()} == {"label": [1, 2], "json.label": [7, 8]}


def test_an_empty_part_of_a_container_is_no_error(tmp_path: Path):
    """Where another has records."""
    (tmp_path / "in").mkdir()
    tar(tmp_path / "in" / "0.tar", [])
    tar(tmp_path / "in" / "1.tar", [("0.cls", b"1")])
    assert taken(tmp_path / "in")[1]["label"].tolist() == [1]
    tar(tmp_path / "in" / "1.tar", [])
    with pytest.raises(CorruptDataError, match="holds no records"):
        taken(tmp_path / "in")


def test_a_part_of_a_split_without_records_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Three records, one tenth of them."""
    hdf5_file(tmp_path / "a.h5", arrays(3))
    code, told = said(capsys, "convert", tmp_path / "a.h5", tmp_path / "o", "--split", "0.9,0.1")
    assert code == 0
    assert "test holds no records" in told
