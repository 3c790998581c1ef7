"""TFRecord files: every checksum is checked, messages are taken apart as TensorFlow puts them together, damage has a name and a number."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from command_line import answer, names_in, said
from foreign_files import crc32c, feature, framed, noise, part, png, taken, tf_example, tfrecord, varint
from hypothesis import given
from hypothesis import strategies as st

import streamload as sl
from streamload.errors import ChecksumError, ConfigError, CorruptDataError, SourceError
from streamload.formats.tfrecord.example import features_of, varints
from streamload.formats.tfrecord.framing import masked
from streamload.kernels import checksum_kernels, crc32c_plain
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.open import open_records

GOLDEN = (
    b"\nR\n\x14\n\x08feature2\x12\x08\n\x06\n\x04goat\n\x14\n\x08feature3\x12\x08\x12\x06\n\x04[\xd3|?"
    b"\n\x11\n\x08feature0\x12\x05\x1a\x03\n\x01\x00\n\x11\n\x08feature1\x12\x05\x1a\x03\n\x01\x04"
)
"""The message of TensorFlow's own tutorial."""


@given(data=st.binary(max_size=200))
def test_checksums_are_the_standard_ones_compiled_or_not(data: bytes):
    """Bit by bit, by table, and eight bytes at a time."""
    assert crc32c(b"123456789") == 0xE3069283
    assert checksum_kernels().crc32c(data) == crc32c_plain.crc32c(data) == crc32c(data)
    assert masked(crc32c(data)) == struct.unpack("<I", framed(data)[-4:])[0]


def test_messages_are_read_as_tensorflow_writes_them():
    """Bytes, fractions, whole numbers."""
    found = features_of(GOLDEN)
    assert {name: list(value) for name, value in found.items()} == {
        "feature2": [b"goat"],
        "feature3": [np.float32(0.9876)],
        "feature0": [0],
        "feature1": [4],
    }


@given(
    fields=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        st.lists(st.binary(max_size=9), min_size=1, max_size=3)
        | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40)
        | st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9),
        max_size=4,
    ),
    in_one=st.booleans(),
)
def test_any_message_comes_back(fields: dict[str, list], in_one: bool):
    """Numbers in one part, or each in its own; negative ones, too."""
    found = features_of(tf_example(fields, in_one=in_one))
    assert {name: list(value) for name, value in found.items()} == fields


@given(data=st.binary(max_size=60))
def test_nonsense_is_refused(data: bytes):
    """With a ValueError, whatever the bytes are: nothing else ever comes of it."""
    for head in (b"", b"\n\x20\n\x1e\n\x01a\x12", GOLDEN[:30]):
        try:
            features_of(head + data)
        except ValueError:
            pass


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (GOLDEN[:-3], "a part of 82 bytes has 79"),
        (b"\x0a", "a number is cut short"),
        (b"\x0b", "there is no wire type 3"),
        (b"\xff" * 11, "a number has more than 10 bytes"),
        (b"\x08\x01", "a message was expected, and wire type 0 found"),
        (part(2, b""), "it is a SequenceExample"),
        (part(1, part(1, part(1, b"a") + part(2, part(2, part(1, b"abc"))))), "is no whole number of them"),
        (part(1, part(1, part(1, b"a") + part(2, part(3, part(1, b"\x80"))))), "a number is cut short"),
        (part(1, part(1, part(1, b"a") + part(2, part(3, b"\x0d\0\0\0\0")))), "a list of whole numbers holds something else"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(data: bytes, text: str):
    """In words."""
    with pytest.raises(ValueError, match=text):
        features_of(data)


def test_long_numbers_are_refused_in_lists_too():
    """Ten bytes at most."""
    assert varints(b"".join(varint(one) for one in (0, 127, 128, 2**64 - 1))).tolist() == [0, 127, 128, 2**64 - 1]
    with pytest.raises(ValueError, match="more than 10 bytes"):
        varints(b"\x80" * 10 + b"\x01")


@pytest.mark.parametrize("packing", ["", "gz", "zst"], ids=["plain", "gz", "zst"])
@pytest.mark.parametrize("records", [1, 6])
def test_images_and_numbers_become_fields(records: int, packing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Under the names that people know."""
    images = [noise(seed=seed) for seed in range(records)]
    made = [
        {"image/encoded": png(image), "image/class/label": [at], "image/height": [6], "box": np.arange(4) / 2, "image/format": "PNG"}
        for at, image in enumerate(images)
    ]
    path = tfrecord(tmp_path / f"a.tfrecord.{packing}".rstrip("."), made, packing)
    code, document = answer(capsys, "convert", path, tmp_path / "b.h5")
    assert (code, document["records"], document["account"]["left_out"]) == (0, records, [])
    source = sl.open(tmp_path / "b.h5")
    held = source[:]
    np.testing.assert_array_equal(held["image"], images)
    assert held["label"].tolist() == list(range(records))
    assert held["box"].dtype == np.float32
    names = source.classes.get("image_format")  # A text that repeats is a name of a class.
    assert [names[number] for number in held["image_format"]] == ["PNG"] * records if names else held["image_format"].to_list() == ["PNG"]
    assert set(held) == {"image", "label", "image_height", "box", "image_format"}
    assert answer(capsys, "verify", tmp_path / "b.h5", "--against", path)[1]["counts"] == {}
    assert names_in(tmp_path) == {path.name, "b.h5", "b.h5.manifest.json"}


def test_raw_pixels_take_the_shape_that_numbers_beside_them_say(tmp_path: Path):
    """Or the one that is given; else they are flat."""
    image = noise((4, 3, 2))
    record = {"image_raw": image.tobytes(), "height": [4], "width": [3], "depth": [2]}
    np.testing.assert_array_equal(taken(tfrecord(tmp_path / "a.tfrecord", [record]))[1]["image"], image[None])
    path = tfrecord(tmp_path / "b.tfrecord", [{"x": image.tobytes()}] * 2)
    assert taken(path)[1]["x"].shape == (2, 24)
    assert taken(path, shapes={"x": (2, 4, 3)})[1]["x"].shape == (2, 2, 4, 3)


def test_files_of_a_folder_follow_each_other_with_or_without_an_ending(tmp_path: Path):
    """As TensorFlow numbers them."""
    for at in range(3):
        tfrecord(tmp_path / f"train-{at:05d}-of-00003", [{"x": [at]}])
    assert taken(tmp_path)[1]["x"].tolist() == [0, 1, 2]
    assert taken(f"{tmp_path}/train-0000[02]*")[1]["x"].tolist() == [0, 2]
    assert taken(tmp_path / "train-00001-of-00003")[1]["x"].tolist() == [1]


def test_texts_stay_texts_and_lists_of_bytes_are_left_out_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Texts are classes where they repeat; lists of any length are kept."""
    made = [{"x": [at], "name": ["b", "a", "b"][at], "boxes": [1.5] * (at + 1), "texts": [b"a", b"b"], "none": []} for at in range(3)]
    path = tfrecord(tmp_path / "a.tfrecord", made)
    origin, records = taken(path)
    assert records["x"].tolist() == [0, 1, 2]
    assert records["name"].to_list() == ["b", "a", "b"]
    assert [one.tolist() for one in records["boxes"]] == [[1.5], [1.5] * 2, [1.5] * 3]
    assert origin.left_out == {"texts": "it holds lists of bytes", "none": "it has no values"}
    assert "(it holds lists of bytes)" in said(capsys, "convert", path, tmp_path / "b.h5")[1]
    assert [one.tolist() for one in sl.open(tmp_path / "b.h5")[:]["boxes"]] == [[1.5], [1.5] * 2, [1.5] * 3]
    often = tfrecord(tmp_path / "often.tfrecord", [{"x": [at], "name": "ba"[at % 2], "label": f"l{at}"} for at in range(4)])
    origin, records = taken(often, fields={"y": "name", "label": "label"})
    assert records["y"].tolist() == [1, 0, 1, 0]
    assert records["label"].to_list() == ["l0", "l1", "l2", "l3"]
    assert origin.facts["classes"] == {"y": ["a", "b"]}
    with pytest.raises(ConfigError, match=r"'name2'.* Did you mean 'name'"):
        taken(path, fields={"name2": "name2"})


class TestDamage:
    """Files that are not what was written."""

    RECORDS = tuple({"image": png(noise(seed=at)), "label": [at]} for at in range(4))

    @pytest.mark.parametrize("at", range(4))
    @pytest.mark.parametrize(
        ("place", "text"),
        [
            (0, "the checksum of its length is wrong"),
            (9, "the checksum of its length is wrong"),
            (60, "its checksum is wrong"),
            (-1, "its checksum is wrong"),
        ],
    )
    def test_a_flipped_byte_is_found_and_its_record_named(self, at: int, place: int, text: str, tmp_path: Path):
        """In the length, in its checksum, in the data, in theirs; of the records before it none is lost."""
        frames = [bytearray(framed(tf_example(one))) for one in self.RECORDS]
        frames[at][place] ^= 4
        (tmp_path / "a.tfrecord").write_bytes(b"".join(frames))
        good = [one for one in range(4) if (one < at if "length" in text else one != at)]
        if not good:
            with pytest.raises(CorruptDataError, match=r"no TFRecord file, .* the checksum of its first length is wrong"):
                taken(tmp_path / "a.tfrecord")
            return
        with pytest.raises(ChecksumError, match=rf"a.tfrecord: record {at}.*{text}"):
            taken(tmp_path / "a.tfrecord")
        origin, records = taken(tmp_path / "a.tfrecord", on_damage="skip")
        assert records["label"].tolist() == good
        (omission,) = origin.omissions
        assert f"a.tfrecord: record {at} " in omission.names[0]
        assert text in omission.names[0]

    def test_what_is_whole_is_converted_where_that_is_asked_for(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """And the exit code says that something was left out."""
        frames = [bytearray(framed(tf_example(one))) for one in self.RECORDS]
        frames[1][60] ^= 4
        (tmp_path / "a.tfrecord").write_bytes(b"".join(frames)[:-1])
        code, told = said(capsys, "convert", tmp_path / "a.tfrecord", tmp_path / "b.npy")
        assert (code, "record 1 at byte" in told) == (1, True)
        assert answer(capsys, "convert", tmp_path / "a.tfrecord", tmp_path / "b.npy", "--on-bad", "skip")[0] == 1
        assert sl.open(tmp_path / "b.npy")[:]["label"].tolist() == [0, 2]

    def test_info_and_head_look_at_what_is_whole(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """And say what is not, and how to open it so; verify says that it is damaged."""
        path = tfrecord(tmp_path / "a.tfrecord", self.RECORDS)
        path.write_bytes(path.read_bytes()[:-1])
        code, document = answer(capsys, "info", path, "--no-measure")
        assert (code, document["records"]) == (1, 3)
        assert [(one["what"], one["why"], one["count"]) for one in document["account"]["left_out"]] == [("record", "damaged", 1)]
        with eval(document["call"], {"sl": sl}) as source:
            assert source[:]["label"].tolist() == [0, 1, 2]
        assert [one["label"] for one in answer(capsys, "head", path)[1]["records"]] == [0, 1, 2]
        code, document = answer(capsys, "verify", path)
        assert (code, "record 3 at byte" in document["error"]["message"]) == (1, True)

    def test_info_says_of_compressed_files_how_they_are_read(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """In stored order, for which alone a speed is told; and what leads on."""
        path = tfrecord(tmp_path / "a.tfrecord.gz", self.RECORDS, "gz")
        document = answer(capsys, "info", path)[1]
        assert document["forward_only"]
        assert {name for name in document["speed"] if name.startswith("exact")} == set()
        assert document["advice"] == [f"they are read with shuffle=False; to shuffle them: `streamload convert {path} new.h5`"]
        assert "unpacked in the order in which they are stored" in said(capsys, "info", path, "--no-measure")[1]

    @given(cut=st.integers(1, 700))
    def test_a_file_that_is_cut_short_says_so(self, tmp_path: Path, cut: int):
        """Wherever it was cut but between two records, which nothing tells."""
        data = b"".join(framed(tf_example(one)) for one in self.RECORDS)
        ends = np.cumsum([len(framed(tf_example(one))) for one in self.RECORDS])
        (tmp_path / "a.tfrecord").write_bytes(data[: len(data) - cut])
        whole = int((ends <= len(data) - cut).sum())
        if len(data) - cut in ends:
            assert len(open_records(OpenRequest(path=str(tmp_path / "a.tfrecord")))) == whole
            return
        with pytest.raises(CorruptDataError, match="cut short"):
            open_records(OpenRequest(path=str(tmp_path / "a.tfrecord")))
        if not whole:
            return
        origin = open_records(OpenRequest(path=str(tmp_path / "a.tfrecord"), on_damage="skip"))
        assert len(origin) == whole
        assert "cut short" in origin.omissions[0].names[0]
        origin.close()

    def test_strays_are_named(self, tmp_path: Path):
        """Another size, a missing feature, numbers where bytes were."""
        made = [*self.RECORDS, {"image": png(noise((9, 9, 3))), "label": [1]}, {"image": png(noise())}]
        path = tfrecord(tmp_path / "a.tfrecord", made)
        origin = open_records(OpenRequest(path=str(path), first_size=True))
        told = []
        for number in (4, 5):
            with pytest.raises(SourceError) as caught:
                origin.take(np.array([0, number]))
            told.append(str(caught.value))
        origin.close()
        assert "9 x 9" in told[0]
        assert "record 4" in told[0]
        assert "null at row 5 of column 'label'" in told[1]
        mixed = tfrecord(tmp_path / "b.tfrecord", [*self.RECORDS, {"image": [1], "label": [1]}])
        assert taken(mixed)[0].left_out == {"image": "it holds bytes in some records, and numbers in others"}

    def test_what_is_no_message_is_named(self, tmp_path: Path):
        """Records can hold anything; only Examples are known."""
        (tmp_path / "a.tfrecord").write_bytes(framed(b"hello"))
        with pytest.raises(CorruptDataError, match=r"record 0 is no tf.train.Example that can be read"):
            taken(tmp_path / "a.tfrecord")
        (tmp_path / "b.tfrecord").write_bytes(b"nonsense, and more of it")
        with pytest.raises(CorruptDataError, match=r"no TFRecord file, .* the checksum of its first length is wrong"):
            taken(tmp_path / "b.tfrecord")

    def test_a_length_beyond_all_memory_is_only_a_number(self, tmp_path: Path):
        """With the right checksum, too."""
        length = struct.pack("<Q", 2**62)
        head = length + framed(b"")[8:12]
        head = length + struct.pack("<I", masked(crc32c(length)))
        (tmp_path / "a.tfrecord").write_bytes(head + feature([1]))
        with pytest.raises(CorruptDataError, match="is cut short: it has 4,611,686,018,427,387,904 bytes"):
            taken(tmp_path / "a.tfrecord")
