"""Conversions as a whole: any source to any target, shuffled, split, in parts; and `verify` on what comes of them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file, image_folder, names_in, said
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import streamload as sl
from streamload.errors import ConfigError
from streamload.ragged import Ragged
from streamload.schema import Field, Schema
from streamload.storage.owned_files import Folder
from streamload.tools.convert.manifest import BLOCK_NBYTES
from streamload.tools.convert.shuffle import Buckets, bucket_count
from streamload.tools.convert.split import shares_in


def everything(path: Any) -> dict[str, np.ndarray]:
    """All records of a source."""
    source = sl.open(path)
    taken = source[:]
    source.close()
    return taken


def chunked(path: Path, records: int) -> Path:
    """A file whose records must be decoded a block at a time; without records there is nothing to cut."""
    blocks = {"chunks": (min(16, records), 8, 8, 3), "compression": "gzip"} if records else {}
    return hdf5_file(path, arrays(records, labels=100), **blocks)


@pytest.mark.parametrize("records", [0, 1, 50])
def test_round_trips_through_every_format(records: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """HDF5 to Parquet to npy to HDF5: the last is what the first was, and `verify` says so of formats that differ."""
    chunked(tmp_path / "a.h5", records)
    steps = [("a.h5", "b.parquet"), ("b.parquet", "c.npy"), ("c.npy", "c.arrow"), ("c.arrow", "d.h5")]
    for number, (here, there) in enumerate(steps):
        options = ["--codec", "gzip", "--chunk-records", 7] if number == 3 else []
        code, document = answer(capsys, "convert", tmp_path / here, tmp_path / there, *options)
        assert (code, document["records"]) == (0, records)
    assert answer(capsys, "verify", tmp_path / "d.h5", "--against", tmp_path / "b.parquet", "--deep")[0] == 0
    for name, values in everything(tmp_path / "d.h5").items():
        np.testing.assert_array_equal(values, arrays(records, labels=100)[name])
    made = {name for _, name in steps}
    assert names_in(tmp_path) == {"a.h5"} | made | {f"{name}.manifest.json" for name in made}


@pytest.mark.parametrize("block", [False, True], ids=["addressable", "in blocks"])
def test_a_shuffled_file_holds_the_same_records_in_an_exact_order(block: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The order does not depend on how the source is stored; no record is lost, and few stay where they were."""
    source = chunked(tmp_path / "a.h5", 100) if block else hdf5_file(tmp_path / "a.h5", arrays(100, labels=100))
    assert answer(capsys, "convert", source, tmp_path / "b.npy", "--shuffle", "--seed", 3)[0] == 0
    mixed = everything(tmp_path / "b.npy")
    np.testing.assert_array_equal(mixed["label"], sl.Exact().bind(_layout(100), 3).records(0, 0, 100))
    np.testing.assert_array_equal(mixed["image"], arrays(100)["image"][mixed["label"]])
    assert answer(capsys, "verify", tmp_path / "b.npy", "--against", source, "--any-order")[0] == 0
    code, document = answer(capsys, "verify", tmp_path / "b.npy", "--against", source)
    how = "in any order, since it was shuffled" if block else "in the order into which it was shuffled"
    assert (code, document["checked"][-1]) == (0, f"100 records compared with {source}, {how}")


def _layout(records: int) -> Any:
    from streamload.order import layout_of

    return layout_of([0, records], cuts=None, record_nbytes=1, addressable=True)


def test_a_split_deals_every_record_to_one_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Stratified: each label in the same shares; shards of the size that was asked for; the whole appears as one folder."""
    hdf5_file(tmp_path / "a.h5", arrays(200))
    words = ["--split", "0.8,0.1,0.1", "--stratify", "label", "--shard-size", "20 KB", "--to", "parquet"]
    code, document = answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "out", *words)
    assert (code, document["records"]) == (0, 200)
    names = names_in(tmp_path / "out")
    assert {name.split("-")[0] for name in names} == {"train", "validation", "test", "manifest.json"}
    parts = {part: everything(tmp_path / "out" / f"{part}-*.parquet") for part in ("train", "validation", "test")}
    assert {part: Counter(taken["label"].tolist()).most_common(1)[0][1] for part, taken in parts.items()} == {
        "train": 16,
        "validation": 2,
        "test": 2,
    }
    together = np.concatenate([taken["image"] for taken in parts.values()])
    assert sorted(map(bytes, together)) == sorted(map(bytes, arrays(200)["image"]))
    assert answer(capsys, "verify", tmp_path / "out", "--deep", "--duplicates")[0] == 0
    assert answer(capsys, "info", tmp_path / "out", "--no-measure")[1]["records"] == len(parts["train"]["label"])
    assert answer(capsys, "verify", tmp_path / "out", "--against", tmp_path / "a.h5", "--any-order")[0] == 0


def test_the_number_of_workers_changes_no_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Tasks are the same, however many are done at a time."""
    image_folder(tmp_path / "in", {"a": 5, "b": 4})
    for workers in (1, 3):
        words = ["--workers", workers, "--shard-size", "1 KB", "--shuffle", "--to", "hdf5"]
        assert answer(capsys, "convert", tmp_path / "in", tmp_path / f"out{workers}", *words)[0] == 0
    names = names_in(tmp_path / "out1")
    assert len(names) == 5 + 1
    assert names_in(tmp_path / "out3") == names
    assert all((tmp_path / "out1" / name).read_bytes() == (tmp_path / "out3" / name).read_bytes() for name in names)


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """It says what would be."""
    image_folder(tmp_path / "in", {"a": 2, "b": 2})
    code, document = answer(capsys, "convert", tmp_path / "in", tmp_path / "out", "--split", "0.5,0.5", "--dry-run")
    assert (code, document["records"]) == (0, 4)
    assert document["files"] == ["train-00000-of-00001.h5", "test-00000-of-00001.h5"]
    assert names_in(tmp_path) == {"in"}


def test_only_the_fields_that_were_chosen_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Under the names that were given."""
    hdf5_file(tmp_path / "a.h5", arrays(3))
    assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5", "--fields", "x=image")[0] == 0
    assert list(everything(tmp_path / "b.h5")) == ["x"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nowhere", "b.h5"], "nowhere does not exist"),
        (["a.h5", "a.h5"], "a.h5 is the source itself"),
        (["in", "in/b.h5"], "inside the source"),
        (["a.h5", "b.h5", "--split", "0.5,0.5"], "is one file, and --split or --shard-size make several"),
        (["a.h5", "b", "--split", "0.5,0.6"], "--split 0.5,0.6 cannot be made"),
        (["a.h5", "b", "--stratify", "label"], "--stratify means something with --split only"),
        (["a.h5", "b", "--split", "0.5,0.5", "--stratify", "lable"], "Did you mean 'label'?"),
        (["a.h5", "b.h5", "--size", "big"], "--size big cannot be read"),
        (["a.h5", "b.h5", "--workers", "0"], "--workers 0 leaves nobody to work"),
        (["a.h5", "none/b.h5"], "none does not exist"),
        (["a.h5", "b.h5", "--fields", "image,,label"], "--fields 'image,,label' cannot be read"),
        (["a.h5", "b.h5", "--where", "label == cat"], "If it is a text, put it in quotes: 'cat'."),
        (["a.h5", "b.h5", "--where", "label = 3"], 'Did you mean "label == 3"?'),
        (["a.h5", "b.h5", "--where", "label=3"], 'Did you mean "label == 3"?'),
        (["in", "b.h5", "--mode", "gray"], "--mode gray is not known. Did you mean 'grey'?"),
        (["a.h5", "b.h5", "--on-bad", "skp"], "--on-bad skp is not known. Did you mean 'skip'?"),
        (["in", "b.h5", "--size", "100000x100000"], "--size 100000x100000 is too large: 65,535 high or wide and"),
        (["a.h5", "b.h5", "--shape", "image=8,8,3"], "--shape is for files that do not say the shapes of records"),
        (["a.h5", "b.h5", "--seed", "3"], "--seed means something with --shuffle or --split only"),
        (["a.h5", "b.h5", "--labels", "x.csv"], "--labels says the labels of a folder of images, and"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused(words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Exit code 2, and nothing was touched."""
    hdf5_file(tmp_path / "a.h5", arrays(3))
    image_folder(tmp_path / "in", {"x": 1})
    before = (tmp_path / "a.h5").read_bytes()
    code, told = said(capsys, "convert", tmp_path / words[0], tmp_path / words[1], *words[2:])
    assert (code, text in " ".join(told.split())) == (2, True), told
    assert names_in(tmp_path) == {"a.h5", "in"}
    assert (tmp_path / "a.h5").read_bytes() == before


class TestVerify:
    """What `verify` finds."""

    @pytest.fixture
    def made(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
        """A file of about 70 KB with its manifest."""
        hdf5_file(tmp_path / "a.h5", arrays(340))
        assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5")[0] == 0
        return tmp_path / "b.h5"

    def test_every_flipped_byte(self, made: Path, capsys: pytest.CaptureFixture[str]):
        """Every 4096th, one at a time."""
        data = bytearray(made.read_bytes())
        for at in range(0, len(data), 4096):
            data[at] ^= 1
            made.write_bytes(data)
            code, document = answer(capsys, "verify", made)
            assert (code, document["counts"]) == (1, {"checksum": 1})
            data[at] ^= 1
        made.write_bytes(data)
        assert answer(capsys, "verify", made)[0] == 0

    def test_the_block_is_named(self, made: Path, capsys: pytest.CaptureFixture[str]):
        """A megabyte at most."""
        assert BLOCK_NBYTES == 1 << 20
        data = bytearray(made.read_bytes())
        data[-1] ^= 255
        made.write_bytes(data)
        assert f"bytes 0 to {len(data):,} are not what was written" in said(capsys, "verify", made)[1]

    def test_a_copy_under_another_name_is_what_is_checked(self, made: Path, capsys: pytest.CaptureFixture[str]):
        """Not the file whose name the manifest remembers, which may still stand beside it."""
        copy = made.with_name("c.h5")
        copy.write_bytes(made.read_bytes())
        copy.with_name("c.h5.manifest.json").write_bytes(made.with_name("b.h5.manifest.json").read_bytes())
        assert answer(capsys, "verify", copy, "--deep")[0] == 0
        data = bytearray(copy.read_bytes())
        data[5000] ^= 1
        copy.write_bytes(data)
        code, document = answer(capsys, "verify", copy)
        assert (code, document["counts"]) == (1, {"checksum": 1})
        assert f"{copy}: bytes" in document["found"][0]
        assert answer(capsys, "verify", made)[0] == 0

    def test_a_manifest_of_several_files_is_not_that_of_one(self, made: Path, capsys: pytest.CaptureFixture[str]):
        """It would say nothing about it."""
        assert answer(capsys, "convert", made, made.with_name("d"), "--shard-size", "20 KB")[0] == 0
        made.with_name("b.h5.manifest.json").write_bytes((made.with_name("d") / "manifest.json").read_bytes())
        for path in made.with_name("d").glob("*.h5"):
            path.rename(made.with_name(path.name))
        code, document = answer(capsys, "verify", made)
        assert (code, document["error"]["kind"]) == (1, "CorruptDataError")
        assert "is the manifest of 4 files, and not of" in document["error"]["message"]

    def test_parts_of_a_split_are_compared_with_other_parts(self, made: Path, capsys: pytest.CaptureFixture[str]):
        """All of them, in order; also with one file of all records in another order."""
        folders = [made.with_name("x"), made.with_name("y")]
        for folder, kind in zip(folders, ["npy", "parquet"], strict=True):
            assert answer(capsys, "convert", made, folder, "--split", "0.5,0.5", "--shuffle", "--to", kind)[0] == 0
        assert answer(capsys, "verify", folders[0], "--against", folders[1])[0] == 0
        assert answer(capsys, "verify", made, "--against", folders[1], "--any-order")[0] == 0
        assert answer(capsys, "verify", made, "--against", folders[1])[0] == 1

    def test_what_was_never_converted_has_nothing_to_be_held_against(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """But every record is decoded, also images that are delivered as bytes since their sizes differ."""
        image_folder(tmp_path / "in", {"x": 3})
        Image.new("RGB", (90, 20)).save(tmp_path / "in" / "x" / "wide.png")
        code, document = answer(capsys, "verify", tmp_path / "in")
        assert (code, document["found"]) == (0, [])
        assert document["checked"] == ["4 records decoded (no manifest: nothing says what they should be)"]
        victim = sorted((tmp_path / "in" / "x").iterdir())[1]
        os.truncate(victim, victim.stat().st_size // 2)
        code, document = answer(capsys, "verify", tmp_path / "in")
        assert (code, document["counts"]) == (1, {"image": 1})
        assert "record 1: image" in str(document["found"])

    @pytest.mark.parametrize("change", [-1, 1], ids=["cut", "grown"])
    def test_a_byte_too_few_or_too_many(self, change: int, made: Path, capsys: pytest.CaptureFixture[str]):
        """By the size."""
        data = made.read_bytes()
        made.write_bytes(data[:change] if change < 0 else data + b"x")
        code, document = answer(capsys, "verify", made)
        assert code == 1
        assert f"has {len(data) + change:,} bytes, and should have {len(data):,}" in document["found"][0]

    def test_files_that_are_missing_or_too_many(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Of a folder, with a manifest and without."""
        source = hdf5_file(tmp_path / "a.h5", arrays(30))
        assert answer(capsys, "convert", source, tmp_path / "out", "--shard-size", "2 KB")[0] == 0
        (shards := sorted((tmp_path / "out").glob("*.h5")))[1].rename(tmp_path / "out" / "stray.h5")
        code, document = answer(capsys, "verify", tmp_path / "out")
        assert (code, document["counts"]) == (1, {"missing file": 1, "unknown file": 1})
        os.remove(tmp_path / "out" / "manifest.json")
        document = answer(capsys, "verify", tmp_path / "out")[1]
        assert document["found"] == [f"{tmp_path}/out/data-*.h5: 1 of the {len(shards)} files are missing, the first of them number 1"]
        assert document["checked"] == ["30 records decoded (no manifest: nothing says what they should be)"]

    def test_records_that_differ_are_named_with_their_fields(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Across formats; missing and extra ones are counted."""
        held = arrays(20)
        hdf5_file(tmp_path / "a.h5", held)
        held["label"][7] += 1
        held["image"][9, 0, 0, 0] ^= 1
        np.save(tmp_path / "b.npy", np.zeros(0))
        hdf5_file(tmp_path / "b.h5", {name: values[:19] for name, values in held.items()})
        code, document = answer(capsys, "verify", tmp_path / "b.h5", "--against", tmp_path / "a.h5")
        assert code == 1
        assert document["found"] == [
            f"record 7 differs from {tmp_path}/a.h5 in label",
            f"record 9 differs from {tmp_path}/a.h5 in image",
            f"19 records here, 20 in {tmp_path}/a.h5",
        ]

    def test_chosen_fields_are_compared_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Also where they were renamed when they were converted, or are renamed now."""
        held = arrays(20)
        hdf5_file(tmp_path / "a.h5", held)
        hdf5_file(tmp_path / "c.h5", {"pixels": held["image"]})
        assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5", "--fields", "x=image,y=label")[0] == 0
        held["label"][7] += 1
        hdf5_file(tmp_path / "a.h5", held)
        against = "--against", tmp_path / "a.h5"
        assert answer(capsys, "verify", tmp_path / "b.h5", *against, "--fields", "x")[0] == 0
        code, document = answer(capsys, "verify", tmp_path / "b.h5", *against, "--fields", "y")
        assert (code, document["found"]) == (1, [f"record 7 differs from {tmp_path}/a.h5 in y"])
        assert answer(capsys, "verify", tmp_path / "c.h5", *against, "--fields", "image=pixels")[0] == 0
        assert answer(capsys, "verify", tmp_path / "c.h5", *against)[1]["found"][0].startswith("the fields differ")

    def test_a_pattern_says_how_the_source_is_read(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """What an error says of SRC is followed, where no manifest says it: its groups are records, and ours are what they became."""
        held = arrays(12)
        hdf5_file(tmp_path / "a.h5", {f"g{at}/{name}": values[at] for at in range(12) for name, values in held.items()})
        hdf5_file(tmp_path / "b.h5", held)
        words = ["verify", tmp_path / "b.h5", "--against", tmp_path / "a.h5"]
        code, document = answer(capsys, *words)
        assert (code, document["error"]["hint"].partition(" (")[0]) == (
            2,
            "Say it: --fields 'image=g*/image,label=g*/label', --record-axis none",
        )
        flags = ["--fields", "image=g*/image,label=g*/label", "--record-axis", "none"]
        assert answer(capsys, *words, *flags)[0] == 0
        held["label"][7] += 1
        hdf5_file(tmp_path / "b.h5", held)
        assert answer(capsys, *words, *flags)[1]["found"] == [f"record 7 differs from {tmp_path}/a.h5 in label"]

    def test_values_that_cannot_be_right(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """NaN, labels out of range, records that are there twice."""
        values = np.arange(20, dtype=np.float32).reshape(5, 4)
        values[3] = values[1]
        values[2, 0] = np.nan
        hdf5_file(tmp_path / "a.h5", {"x": values, "label": np.array([0, 1, 2, 1, 9])})
        code, document = answer(capsys, "verify", tmp_path / "a.h5", "--labels", "label=9", "--duplicates", "--nan")
        assert code == 1
        assert document["found"] == [
            "record 2: 'x' holds NaN",
            "record 4: 'label' is 9, not in 0 to 8",
            "record 3 is the same as record 1",
        ]

    def test_values_that_are_no_number_are_said_and_wrong_only_where_that_is_asked(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        """Measurements that are missing are NaN by right; a label never is."""
        values = np.arange(20, dtype=np.float32).reshape(5, 4)
        values[[0, 2]] = np.nan
        hdf5_file(tmp_path / "a.h5", {"x": values, "label": np.array([0, np.nan, 1, 2, 3])})
        code, document = answer(capsys, "verify", tmp_path / "a.h5")
        assert (code, document["found"]) == (0, [])
        assert document["checked"][0].endswith("; NaN in 'x' in 2, 'label' in 1 (--nan finds them)")
        assert answer(capsys, "verify", tmp_path / "a.h5", "--nan")[1]["counts"] == {"NaN": 3}
        assert answer(capsys, "verify", tmp_path / "a.h5", "--labels", "label=4")[1]["found"] == ["record 1: 'label' is nan, not in 0 to 3"]

    def test_a_manifest_can_be_written_for_a_file_that_has_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """And then finds what changes."""
        path = hdf5_file(tmp_path / "a.h5", arrays(20))
        assert answer(capsys, "verify", path, "--write-manifest")[0] == 0
        assert "has a manifest already" in said(capsys, "verify", path, "--write-manifest")[1]
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        assert answer(capsys, "verify", path)[0] == 1

    def test_a_manifest_says_where_records_come_from_and_no_place_of_this_machine(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Names of files and classes, no folders."""
        image_folder(tmp_path / "in", {"a": 1, "b": 1})
        answer(capsys, "convert", tmp_path / "in", tmp_path / "b.h5")
        text = (tmp_path / "b.h5.manifest.json").read_text()
        assert json.loads(text)["provenance"]["source"] == {"format": "Images", "files": ["in"], "classes": {"label": ["a", "b"]}}
        assert str(tmp_path) not in text


class TestOrder:
    """Which records go where."""

    @given(total=st.integers(1, 60), count=st.integers(1, 7), batch=st.integers(1, 9), start=st.integers(0, 59), size=st.integers(0, 60))
    def test_buckets_give_records_in_the_order_of_their_positions(
        self, tmp_path: Path, total: int, count: int, batch: int, start: int, size: int
    ):
        """However they came in; those without a position are left out."""
        points = Field("points", np.dtype("f4"), (2,), "array")
        schema = Schema((Field("text", np.dtype("u1"), (), "text"), Field("x", np.dtype("i4"), (2,)), points))
        rng = np.random.default_rng(total)
        positions = rng.permutation(total)
        positions = np.concatenate([positions, [-1, -1]])
        values = np.stack([positions, positions * 2], axis=1).astype(np.int32)
        folder = Folder.named(tmp_path)
        buckets = Buckets(folder, schema, total, count=count)
        for at in range(0, total + 2, batch):
            some = positions[at : at + batch].tolist()
            texts, lists = Ragged.of([str(one) for one in some]), Ragged.of([np.full((one % 3, 2), one, np.float32) for one in some])
            buckets.scatter(positions[at : at + batch], {"x": values[at : at + batch], "text": texts, "points": lists})
        buckets.close()
        start = min(start, total)
        stop = min(total, start + size)
        at = start
        for first, taken in buckets.gathered(start, stop, batch):
            wanted = list(range(first, first + len(taken["x"])))
            assert (first, taken["x"][:, 0].tolist(), taken["text"].to_list()) == (at, wanted, list(map(str, wanted)))
            assert [one.tolist() for one in taken["points"]] == [[[one, one]] * (one % 3) for one in wanted]
            at += len(wanted)
        assert at == stop
        folder.close()

    def test_buckets_bound_memory(self):
        """128 MB each, and no more open files than a process may have."""
        assert bucket_count(150_000, 1_000_000) == 512 or bucket_count(150_000, 1_000_000) * 128 * 2**20 >= 150_000 * 1_000_000
        assert bucket_count(10, 10) == 1
        assert shares_in("0.9,0.1") == [0.9, 0.1]
        with pytest.raises(ConfigError, match="cannot be made"):
            shares_in("a,b")


def test_what_is_written_has_the_usual_permissions(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The working folder is private; the result is what the umask says."""
    hdf5_file(tmp_path / "a.h5", arrays(3))
    answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "b.h5").stat().st_mode & 0o777 == 0o666 & ~mask
