"""What could be lost on the way into a dataset without a word: records, fields, whole sources."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from command_line import answer, arrays, environment, hdf5_file, mounts, names_in, said
from foreign_files import noise, png, taken, tar_of

from streamload.errors import CorruptDataError, SourceError
from streamload.formats.naming.field_names import plain_names
from streamload.formats.tfrecord.framing import HEAD, TAIL, masked
from streamload.kernels.crc32c_plain import crc32c
from streamload.tools.__main__ import main
from streamload.tools.convert.needed_disk import MARGIN, MARGIN_NBYTES, needed_nbytes
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.open import open_records
from streamload.tools.convert.writers.registry import write_options


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
        files = [(f"{at}.png", png(noise())) for at in range(2)] + [(f"{at}.cls", b"1") for at in range(2, 4)]
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
        told = " ".join((document["error"]["message"] + " " + document["error"]["hint"]).split())
        why = {
            "table": "holds no records: it has no row. Give it a row for each image",
            "tfrecord": "is empty (0 bytes). Was the download or the copy interrupted?",
            "lmdb": "holds no records. Is it whole, and the database that you mean?",
        }
        assert why.get(kind, "holds no records. Is it the right file, and was all of it fetched?") in told
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
            (["a/b", "a_b", "a__b"], ["a___b", "a_b", "a__b"]),
        ],
    )
    def test_both_are_kept(self, stored: list[str], plain: list[str]):
        """Under names that do not depend on their order."""
        assert plain_names(stored) == dict(zip(plain, stored, strict=True))
        assert plain_names(stored[::-1]) == dict(zip(plain, stored, strict=True))

    def test_of_a_tfrecord(self, tmp_path: Path):
        """Each with its own values."""
        records = [example(**{"label": [at], "image/class/label": [at + 10], "a/b": [1, at], "a_b": [2, at]}) for at in range(5)]
        _, found = taken(tfrecord(tmp_path / "a.tfrecord", records))
        assert found["label"].tolist() == list(range(5))
        assert found["image_class_label"].tolist() == list(range(10, 15))
        assert (found["a__b"][3].tolist(), found["a_b"][3].tolist()) == ([1, 3], [2, 3])

    @pytest.mark.parametrize(
        ("files", "one", "other"),
        [
            (["left.jpg", "right.jpg", "left.cls"], "left", "left.cls"),
            (["0.5x.jpg", "0.5x.cls"], "0.5x", "0.5x.cls"),
            (["jpg", "image.cls"], "image", "image.cls"),
        ],
    )
    def test_of_a_tar(self, files: list[str], one: str, other: str, tmp_path: Path):
        """An image and a text of one name are two fields: neither takes the place of the other."""
        held = [(f"img_{at}.{name}", b"%d" % at if name.endswith("cls") else png(noise(seed=at))) for at in range(3) for name in files]
        _, found = taken(tar(tmp_path / "a.tar", held))
        assert len(found) == len(files)
        np.testing.assert_array_equal(found[one][2], noise(seed=2))
        assert found[other].tolist() == [0, 1, 2]

    @pytest.mark.parametrize("command", ["info", "convert"])
    def test_that_a_point_in_a_number_ends_a_key_is_said(self, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Where many files of one key were meant to be many records."""
        files = [(f"img_0.{at}x.{ending}", data) for at in range(3) for ending, data in (("png", png(noise(seed=at))), ("cls", b"1"))]
        words = [str(tmp_path / "b.h5")] if command == "convert" else ["--no-measure"]
        assert main([command, str(tar(tmp_path / "a.tar", files)), *words]) == 0
        told = " ".join(capsys.readouterr().out.split())
        rule = "as in WebDataset, the first point of a file's name ends the name of its record"
        assert f"{rule}: 'img_0.0x.cls' is the field '0x.cls' of record 'img_0'" in told

    def test_of_images_of_several_kinds(self, tmp_path: Path):
        """Are one field, where each record has one of them."""
        files = [(f"{at}.left.{'png' if at % 2 else 'jpg'}", png(noise(seed=at))) for at in range(4)]
        _, found = taken(tar(tmp_path / "a.tar", files))
        assert list(found) == ["left"]
        np.testing.assert_array_equal(found["left"][3], noise(seed=3))


class TestSomeRecords:
    """What only some records have."""

    @pytest.mark.parametrize("kind", ["tar", "json"])
    def test_a_field_that_comes_late_is_an_error(self, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """It is named; chosen fields are taken without it."""
        path = tmp_path / "a.tar"
        if kind == "json":
            tar(path, [(f"{at}.json", json.dumps({"x": at} | ({"late": 1} if at >= 70 else {})).encode()) for at in range(80)])
        else:
            files = [(f"{at:03d}.json", b'{"x": 1}') for at in range(80)] + [(f"{at:03d}.late.png", png(noise())) for at in range(70, 80)]
            tar(path, sorted(files))
        late = "late is there, which none of the first 64 records had" if kind == "tfrecord" else "null at row 0 of column 'late'"
        with pytest.raises(SourceError, match=late):
            taken(path)
        assert taken(path, fields={"x": "x"})[1]["x"].shape == (80,)
        code, document = answer(capsys, "convert", path, tmp_path / "b.npz", "--on-bad", "skip")
        if kind == "tar":  # An image that hardly a record has.
            assert document["error"]["message"] == f"{path}: 'late' is missing in 70 of the 80 records."
            assert document["error"]["hint"] == "Choose --fields without it: x."
            return
        assert (code, document["records"], len(document["left_out"])) == ((1, 70, 10) if kind == "tfrecord" else (1, 10, 70))

    def test_a_feature_that_comes_late_is_a_null_before(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """It is named; something stands for it, its records are left out, or chosen fields are taken without it."""
        path = tfrecord(tmp_path / "a.tfrecord", [example(x=[at], **({"late": [at]} if at >= 70 else {})) for at in range(80)])
        code, document = answer(capsys, "convert", path, tmp_path / "b.npz")
        assert (code, document["error"]["message"]) == (1, f"{path} holds nulls in 'late' (70).")
        assert document["error"]["hint"] == "Say what stands for it, --fill late=0; or leave such records out, --on-bad skip."
        for name, more, records, late in (("b", ["--on-bad", "skip"], 10, 0), ("c", ["--fill", "late=0"], 80, 70)):
            code, document = answer(capsys, "convert", path, tmp_path / f"{name}.npz", *more)
            assert (code, document["records"], len(document["left_out"])) == (records < 80, records, 80 - records)
            assert np.load(tmp_path / f"{name}.npz")["late"].tolist() == [0] * late + list(range(70, 80))
        assert taken(path, fields={"x": "x"})[1]["x"].shape == (80,)

    def test_one_rule_says_where_a_label_comes_from(self, tmp_path: Path):
        """Whatever stands first in a record, a file of its own is the label, and what JSON says has a longer name."""
        files = [("0.cls", b"1"), ("0.json", b'{"label": 7}'), ("1.json", b'{"label": 8}'), ("1.cls", b"2")]
        _, found = taken(tar(tmp_path / "a.tar", files))
        assert {name: values.tolist() for name, values in found.items()} == {"label": [1, 2], "json.label": [7, 8]}


@pytest.mark.parametrize(
    ("kind", "alone"), [("h5", False), ("h5", True), ("parquet", True), ("arrow", False), ("npy", True), ("npz", False)]
)
def test_a_field_without_values_is_kept(alone: bool, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """By every format."""
    held = {"a": np.zeros((5, 0), np.float32)} | ({} if alone else {"b": np.arange(5)})
    np.savez(tmp_path / "a.npz", **held)
    for dry in (["--dry-run"], []):
        code, document = answer(capsys, "convert", tmp_path / "a.npz", tmp_path / f"o.{kind}", *dry)
        assert (code, document["records"]) == (0, 5)
    (found,) = [values for values in taken(tmp_path / f"o.{kind}")[1].values() if values.dtype == np.float32]
    assert found.shape == (5, 0)


class TestRoom:
    """What a conversion takes of a disk is known before it begins."""

    def test_npz_writes_all_but_the_largest_field_twice(self, tmp_path: Path):
        """Beside the file, until that is whole."""
        np.savez(tmp_path / "a.npz", **{name: np.zeros((100, 1 << 18), np.uint8) for name in "abcd"})
        origin = open_records(OpenRequest(path=str(tmp_path / "a.npz")))
        styles = [write_options(name=None, path=f"o.{kind}", codec="none", chunk_records=None) for kind in ("npz", "h5")]
        needed = [needed_nbytes(origin, style, 100) - MARGIN_NBYTES for style in styles]
        origin.close()
        assert needed == [int(7 * 100 * (1 << 18) * MARGIN), int(4 * 100 * (1 << 18) * MARGIN)]

    @pytest.mark.parametrize("kind", ["folder", "tar"])
    def test_images_that_are_kept_take_what_they_take(self, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Not a share of their pixels."""
        files = [(f"{at % 2}/{at}.png", png(noise((64, 64, 3), at))) for at in range(20)]
        for name, data in files:
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_bytes(data)
        path = tmp_path / "in" if kind == "folder" else tar(tmp_path / "a.tar", files)
        origin = open_records(OpenRequest(path=str(path)))
        style = write_options(name=None, path="o.parquet", codec="none", chunk_records=None, store="keep")
        needed = needed_nbytes(origin, style, len(origin)) - MARGIN_NBYTES
        origin.close()
        assert answer(capsys, "convert", path, tmp_path / "o.parquet", "--store", "keep")[0] == 0
        assert sum(len(data) for _, data in files) < needed < 1.1 * (tmp_path / "o.parquet").stat().st_size

    @pytest.mark.skipif(not mounts(), reason="needs to mount a small file system")
    def test_a_dry_run_refuses_what_does_not_fit(self, tmp_path: Path):
        """As the conversion itself does, before it writes."""
        np.savez(tmp_path / "a.npz", **{name: np.zeros((8, 1 << 20), np.uint8) for name in "abcd"})
        (tmp_path / "full").mkdir()
        convert = f"{sys.executable} -m streamload convert a.npz full/o.npz"
        script = f"mount -t tmpfs -o size=40m tmpfs full && {{ {convert} --dry-run; echo $?; {convert}; echo $?; ls -A full; }}"
        done = subprocess.run(
            ["unshare", "-rm", "bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment()
        )
        assert done.stdout == "3\n3\n", done.stdout + done.stderr
        assert done.stderr.count("full/o.npz needs about 58.1 MB; 40 MB are free in") == 2, done.stderr


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


class TestVerifyAgainstTheSource:
    """A manifest knows what was shuffled, split and left out, and `verify --against` holds the result against that."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """Images in folders, two of them damaged."""
        for at in range(24):
            folder = tmp_path / "in" / "ab"[at % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{at:02d}.png").write_bytes(b"no image" if at in (5, 6) else png(noise(seed=at)))
        return tmp_path / "in"

    WORDS = (
        ["o.h5", "--shuffle", "--seed", "3"],
        ["o.npz", "--where", "label == 'a'"],
        ["o", "--to", "npy", "--split", "0.5,0.5", "--stratify", "label", "--shuffle", "--values-only"],
        ["o.parquet", "--store", "keep", "--shuffle"],
    )

    @pytest.mark.parametrize("words", WORDS, ids=" ".join)
    def test_it_is_good(self, words: list[str], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """And says what was left out; one record that is another's is found."""
        code, document = answer(capsys, "convert", source, tmp_path / words[0], *words[1:], "--on-bad", "skip")
        assert (code, len(document["left_out"])) == (1, 2)
        code, document = answer(capsys, "verify", tmp_path / words[0], "--against", source)
        assert code == 0, document
        assert "2 records of it left out, which could not be read" in document["checked"][-1]
        for part, why in (("--where", "of it left out by --where"), ("--shuffle", "shuffled"), ("--split", "order")):
            assert part not in words or why in document["checked"][-1], document
        (source / "a" / "08.png").write_bytes(png(noise(seed=99)))
        (source / "b" / "09.png").write_bytes(png(noise(seed=98)))
        code, document = answer(capsys, "verify", tmp_path / words[0], "--against", source)
        assert code == 1

    def test_another_dataset_is_compared_as_it_is(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """What was made of the one says nothing about the other."""
        source = hdf5_file(tmp_path / "a.h5", arrays(20, labels=20))
        for name in ("b.npy", "c.npz"):
            assert answer(capsys, "convert", source, tmp_path / name, "--shuffle")[0] == 0
        assert answer(capsys, "verify", tmp_path / "b.npy", "--against", tmp_path / "c.npz")[0] == 0
        (tmp_path / "other").mkdir()
        shutil.copy(source, tmp_path / "other" / "d.h5")
        assert answer(capsys, "verify", tmp_path / "b.npy", "--against", tmp_path / "other" / "d.h5")[0] == 1
        assert answer(capsys, "verify", tmp_path / "b.npy", "--against", tmp_path / "other" / "d.h5", "--any-order")[0] == 0


class TestSizes:
    """Images that are not alike are found before anything is written."""

    @pytest.fixture(params=["folder", "tar"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        """Of fifty images the 37th is larger, and one is grey, which makes no difference."""
        files = [(f"c/{at:02d}.png", png(noise((6, 9, 3) if at == 37 else (6, 5, 1) if at == 9 else (6, 5, 3), at))) for at in range(50)]
        if request.param == "tar":
            return tar(tmp_path / "in.tar", files)
        (tmp_path / "in" / "c").mkdir(parents=True)
        for name, data in files:
            (tmp_path / "in" / name).write_bytes(data)
        return tmp_path / "in"

    def test_they_are_counted_and_named(self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """What the hint says leads on."""
        code, document = answer(capsys, "convert", source, tmp_path / "o.h5")
        assert (code, document["error"]["kind"]) == (1, "SchemaMismatchError")
        name = f"{source}: record 37 of 'image'" if source.suffix else f"{source}/c/37.png"
        text = f"1 image of 50 differs from the first, which is uint8 (6, 5, 3): {name}. {name} is uint8 (6, 9, 3)."
        assert document["error"]["message"] == text
        assert document["error"]["hint"] == (
            "Give --size HEIGHTxWIDTH to make them alike, as 6x5; or --store keep to keep each as it is, "
            "or --on-bad skip to leave them out."
        )
        assert answer(capsys, "convert", source, tmp_path / "o.h5", "--size", "6x5")[0] == 0
        assert answer(capsys, "convert", source, tmp_path / "p.h5", "--on-bad", "skip")[1]["records"] == 49
        assert answer(capsys, "convert", source, tmp_path / "q.parquet", "--store", "keep")[1]["records"] == 50

    def test_a_dry_run_refuses_what_a_conversion_refuses(self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """With its words; what makes them alike is accepted by both."""
        for at, (words, code) in enumerate((([], 1), (["--size", "6x5"], 0), (["--on-bad", "skip"], 0))):
            told = [answer(capsys, "convert", source, tmp_path / f"{at}.h5", *words, *more) for more in (["--dry-run"], [])]
            assert told[0][0] == code
            assert told[0][1].get("error") == told[1][1].get("error")

    def test_info_advises_a_size(self, source: Path, capsys: pytest.CaptureFixture[str]):
        """And a conversion that works."""
        _, document = answer(capsys, "info", source)
        note = "'image' holds PNG 6 x 5 ... 6 x 9 (RGB or L) of different sizes, delivered as bytes; decode={'image': (224, 224)} decodes"
        assert [one for one in document["notes"] if one.startswith(note)]
        assert "--decode 224x224 decodes them to one size" in said(capsys, "info", source)[1]
        keep = f"`streamload convert {source} new.parquet --store keep` makes one file of them"
        assert (keep in document["advice"][0]) == (not source.suffix)

    def test_a_large_preview_before_the_size_does_not_matter(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """A JPEG with a hundred kilobytes of comments in front."""
        (tmp_path / "in").mkdir()
        for at in range(3):
            data = bytes(imagecodecs.jpeg8_encode(noise((6, 5, 3), at)))
            comments = b"".join(b"\xff\xfe\xc3\x52" + bytes(50_000) for _ in range(2))
            (tmp_path / "in" / f"{at}.jpg").write_bytes(data[:2] + comments + data[2:])
        assert answer(capsys, "convert", tmp_path / "in", tmp_path / "o.h5")[0] == 0
