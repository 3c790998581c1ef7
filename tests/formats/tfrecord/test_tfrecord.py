"""TFRecord files of Examples: what features become, what they lack, what is damaged, and what is kept from one run to the next."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples.tar import png, write
from foreign_files import framed, part, tf_example, tfrecord

import streamload as sl
from streamload.errors import ChecksumError, ConfigError, CorruptDataError, NullValueError, UnsupportedFeatureError
from streamload.formats.tfrecord import framing
from streamload.ragged import Ragged


def image(number: int) -> np.ndarray:
    """An image that no other number has."""
    return np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)


RECORDS: list[dict[str, Any]] = [
    {
        "image/encoded": [png(image(k))],
        "image/class/label": [k % 3],
        "image/class/text": [b"ab"[k % 2 : k % 2 + 1]],
        "id": [f"n{k}".encode()],
    }
    for k in range(7)
]


def test_well_known_names_are_those_that_people_use(tmp_path: Path):
    """They can be asked for by either name; texts that repeat are classes."""
    tfrecord(tmp_path / "x.tfrecord", RECORDS)
    with sl.open(tmp_path / "x.tfrecord") as source:
        assert source.schema.names == ("image", "label", "image_class_text", "id")
        assert source.classes == {"image_class_text": ("a", "b")}
        assert "'image' is the feature 'image/encoded'" in source.notes
        taken = source[:]
        np.testing.assert_array_equal(taken["image"], np.stack([image(k) for k in range(7)]))
        assert taken["label"].tolist() == [k % 3 for k in range(7)]
        assert list(taken["id"]) == [f"n{k}" for k in range(7)]
    with sl.open(tmp_path / "x.tfrecord", fields=["image/class/label"]) as source:
        assert source.schema.names == ("image/class/label",)
        assert source[2]["image/class/label"] == 2
    with sl.open(tmp_path / "x.tfrecord", fields={"y": "image/class/label", "x": "image"}, decode=False) as source:
        assert source.schema.names == ("y", "x")
        assert list(source[:2]["x"]) == [png(image(0)), png(image(1))]


def test_files_of_a_folder_follow_each_other(tmp_path: Path):
    """As TensorFlow numbers them, without an ending."""
    for number in range(11):
        tfrecord(tmp_path / f"x-{number:05}-of-00011", [{"n": [number]}])
    with sl.open(tmp_path) as source:
        assert source[:]["n"].tolist() == list(range(11))
    with sl.open(str(tmp_path / "x-0000[23]-*")) as source:
        assert source[:]["n"].tolist() == [2, 3]


def test_a_record_that_lacks_a_feature_is_a_null(tmp_path: Path):
    """Of one number, of fractions, of bytes; of lists that differ it is one without numbers."""
    rows = [{"n": [1], "x": [1.5], "b": [bytes(3)], "ids": [1, 2]}, {"ids": [3]}, {"n": [3], "x": [2.5], "b": [b"\x00" * 4], "ids": [5]}]
    tfrecord(tmp_path / "x", rows)
    source = sl.open(tmp_path / "x")
    assert {name: one.count for name, one in source.nulls.items()} == {"n": 1, "b": 1}
    for name in ("n", "b"):
        with sl.open(tmp_path / "x", fields=[name]) as one, pytest.raises(NullValueError, match=f"null at row 1 of column '{name}'"):
            one[:]
    source.close()
    with sl.open(tmp_path / "x", fill={"n": -1, "b": b"none"}) as source:
        taken = source[:]
        assert taken["n"].tolist() == [1, -1, 3]
        np.testing.assert_array_equal(taken["x"], np.array([1.5, np.nan, 2.5], np.float32))
        assert list(taken["b"]) == [bytes(3), b"none", bytes(4)]
        assert [one.tolist() for one in taken["ids"]] == [[1, 2], [3], [5]]


def test_raw_pixels_take_the_shape_that_is_given(tmp_path: Path):
    """Else they are flat; one that does not fit is refused with the bytes that there are."""
    tfrecord(tmp_path / "x", [{"pixels": [image(k).tobytes()]} for k in range(3)])
    with sl.open(tmp_path / "x") as source:
        assert source.schema["pixels"].shape == (90,)
    with sl.open(tmp_path / "x", shapes={"pixels": (6, 5, 3)}) as source:
        np.testing.assert_array_equal(source[:]["pixels"], np.stack([image(k) for k in range(3)]))
    with pytest.raises(ConfigError, match=r"'pixels' holds 90 bytes a record, which are no \(7, 5, 3\)"):
        sl.open(tmp_path / "x", shapes={"pixels": (7, 5, 3)})


def test_a_shape_that_is_given_is_taken_or_refused(tmp_path: Path):
    """Bytes that could be text are raw pixels where somebody says so; a shape is never left aside in silence."""
    rows = [
        {"x": [b"AB%d4" % k], "n": [1, 2], "any": [bytes(3 + k)], "some": [b"\x80"] if k else [], "png": [png(image(k))]} for k in range(3)
    ]
    tfrecord(tmp_path / "x", rows)
    with sl.open(tmp_path / "x", fields=["x"], shapes={"x": (2, 2)}) as source:
        np.testing.assert_array_equal(source[:]["x"], np.array([[[65, 66], [48 + k, 52]] for k in range(3)], np.uint8))
    for name, shape, text in (
        ("x", (3, 3), "'x' holds 4 bytes a record, which are no (3, 3)."),
        ("x", (None, 2), "'x' holds 4 bytes a record, which are no (None, 2)."),
        ("n", (2,), "'n' holds numbers, no raw bytes that could have the shape (2,)."),
        ("any", (3,), "'any' holds 3 to 5 bytes a record, which are no (3,)."),
        ("some", (1,), "'some' is missing in 1 record, and raw bytes of the shape (1,) are in all."),
        ("png", (6, 5, 3), "'png' holds encoded images, no raw bytes that could have the shape (6, 5, 3)."),
    ):
        with pytest.raises(ConfigError) as caught:
            sl.open(tmp_path / "x", shapes={name: shape})
        assert (caught.value.message, caught.value.hint) == (text, "Leave it out of shapes={...}.")
    with pytest.raises(ConfigError, match=r"shapes names 'y', which .* does not hold\. It holds \['x', 'n', 'any', 'png', 'some'\]"):
        sl.open(tmp_path / "x", shapes={"y": (2, 2)})


@pytest.mark.parametrize(
    ("value", "kind"), [("👩\u200d🚀 soft\u00adly", "text"), ("tab\tline\n", "text"), ("nul\0", "bytes")], ids=["joined", "tab", "nul"]
)
def test_text_is_what_has_no_control_characters(value: str, kind: str, tmp_path: Path):
    """Whatever else the Unicode of this Python calls printable; the bytes are the same either way."""
    tfrecord(tmp_path / "x", [{"t": [value.encode() * (1 + k)]} for k in range(3)])
    with sl.open(tmp_path / "x") as source:
        assert source.schema["t"].ragged == kind
        assert [one.encode() if kind == "text" else bytes(one) for one in source[:]["t"]] == [value.encode() * (1 + k) for k in range(3)]


def test_what_is_no_field_is_said(tmp_path: Path):
    """Lists of bytes, and features that change their type."""
    tfrecord(tmp_path / "x", [{"n": [1], "many": [b"a", b"b"], "odd": [1]}, {"n": [2], "many": [b"c"], "odd": [1.5]}])
    with sl.open(tmp_path / "x") as source:
        assert source.schema.names == ("n",)
        assert source.notes == (
            "'many' left out: it holds lists of bytes",
            "'odd' left out: it holds whole numbers in some records, and fractions in others",
        )


def test_lists_of_images_are_not_left_out_in_silence(tmp_path: Path):
    """The steps of an episode are what such a file is for: refused as in tables, with the fields that go on."""
    tfrecord(tmp_path / "x", [{"reward": [1.0], "steps/image": [png(image(0))] * count} for count in (1, 2)])
    with pytest.raises(UnsupportedFeatureError) as caught:
        sl.open(tmp_path / "x")
    assert caught.value.message == (
        f"{tmp_path / 'x'}: column 'steps/image' holds lists of encoded images, several a record, which cannot be read yet."
    )
    assert caught.value.hint == "Leave it out: fields=['reward']."
    with sl.open(tmp_path / "x", fields=["reward"]) as source:
        assert source[:]["reward"].tolist() == [1, 1]


DAMAGED: dict[str, tuple[Any, type[Exception], str]] = {
    "a byte of a record": (lambda data: data[:20] + b"?" + data[21:], ChecksumError, "record 0 at byte 0: its checksum is wrong"),
    "a byte of a length": (
        lambda data: data + b"\x05" + data[1:],
        ChecksumError,
        "at byte {nbytes}: the checksum of its length is wrong",
    ),
    "cut in a record": (lambda data: data + data[:30], CorruptDataError, "record 1 at byte {nbytes} is cut short: it has"),
    "cut in a length": (lambda data: data + data[:7], CorruptDataError, "record 1 at byte {nbytes} is cut short: 7 bytes are there"),
    "no Example": (lambda data: data + framed(b"\xff\xff"), CorruptDataError, "record 1 is no tf.train.Example that can be read"),
    "a sequence": (
        lambda data: data + framed(part(2, b"x")),
        CorruptDataError,
        "it is a SequenceExample, whose records are of",
    ),
}


@pytest.mark.parametrize("piece_nbytes", [1, 16 * 1024**2])
@pytest.mark.parametrize("what", DAMAGED)
def test_damage_is_named_at_open(what: str, piece_nbytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the record and its place, however much is read at a time; nothing before it is delivered as if it were all."""
    monkeypatch.setattr(framing, "PIECE_NBYTES", piece_nbytes)
    change, error, said = DAMAGED[what]
    data = framed(tf_example({"n": [1], "x": [b"some bytes that are long enough"]}))
    (tmp_path / "x").write_bytes(change(data))
    with pytest.raises(error, match=re.escape(said.format(nbytes=len(data)))) as caught:
        sl.open(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value)


WHOLE: dict[str, tuple[list[int], int, str]] = {
    "a byte of a record": ([7, 8], 1, "record 1 at byte {first}: its checksum is wrong."),
    "a byte of a length": ([7, 1], 1, "record 2 at byte {second}: the checksum of its length is wrong."),
    "cut in a record": ([7, 1], 2, "record 2 at byte {second}: its checksum is wrong."),
    "cut in a length": ([7, 1], 1, "record 2 at byte {second}: the checksum of its length is wrong."),
    "no Example": ([7, 1, 8], 1, "record 2 is no tf.train.Example that can be read: "),
    "a sequence": ([7, 1, 8], 1, "record 2 is no tf.train.Example that can be read: it is a SequenceExample"),
}
"""The records that are read of a whole one, a changed one and another whole one; how much is left out; and why the first of that."""


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_whole_is_read_where_that_is_asked_for(what: str, compress: Any, tmp_path: Path):
    """Records before and behind damage, as far as lengths can be believed; what is left out is counted, with its place."""
    expected, count, said = WHOLE[what]
    data = framed(tf_example({"n": [1], "x": [b"some bytes that are long enough"]}))
    before, behind = (framed(tf_example({"n": [n], "x": [b"so long %d" % n]})) for n in (7, 8))
    (tmp_path / "x").write_bytes(compress(before + DAMAGED[what][0](data) + behind))
    with sl.open(tmp_path / "x", on_damage="skip") as source:
        taken = source[:]
        assert taken["n"].tolist() == expected
        assert list(taken["x"]) == ["some bytes that are long enough" if n == 1 else f"so long {n}" for n in expected]
        (omission,) = source.omissions
    assert (omission.what, omission.why, omission.count) == ("record", "damaged", count)
    assert said.format(first=len(before), second=len(before + data)) in omission.names[0]


def test_the_end_of_a_cut_compressed_file_is_left_out(tmp_path: Path):
    """All that can be unpacked is read; without that wish nothing is."""
    tfrecord(tmp_path / "x", [{"n": [n], "x": [np.random.default_rng(n).bytes(3000)]} for n in range(40)])
    data = gzip.compress((tmp_path / "x").read_bytes())
    (tmp_path / "x").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptDataError, match=r"x cannot be unpacked beyond byte"):
        sl.open(tmp_path / "x")
    with sl.open(tmp_path / "x", on_damage="skip") as source:
        assert 10 <= len(source) <= 20
        assert source[:]["n"].tolist() == list(range(len(source)))
        assert bytes(source[len(source) - 1]["x"]) == np.random.default_rng(len(source) - 1).bytes(3000)
        assert "cannot be unpacked beyond byte" in source.omissions[0].names[0]


def test_a_file_of_nothing_but_damage_is_an_error(tmp_path: Path):
    """With what is wrong with its first record; so is a wish that is not known, and a length that is wrong in the first place."""
    data = framed(tf_example({"n": [1]}))
    (tmp_path / "x.tfrecord").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ChecksumError, match="record 0 at byte 0: its checksum is wrong"):
        sl.open(tmp_path / "x.tfrecord", on_damage="skip")
    with pytest.raises(ConfigError, match=r"on_damage='keep' is not known\. Give \"raise\" or \"skip\"\."):
        sl.open(tmp_path / "x.tfrecord", on_damage="keep")
    (tmp_path / "x.tfrecord").write_bytes(b"\x07" + data[1:])
    with pytest.raises(CorruptDataError, match=r"is no TFRecord file, .*: the checksum of its first length is wrong\."):
        sl.open(tmp_path / "x.tfrecord")


@pytest.mark.parametrize("kind", ["tar", "TFRecord"])
def test_labels_of_very_many_words_are_not_left_out(kind: str, tmp_path: Path):
    """A text stays a text, or is one of as many classes as there are."""
    words = [f"word {number}" for number in range(1500)]
    if kind == "tar":
        write(tmp_path / "x", [(f"{at}.{end}", word.encode()) for at, word in enumerate(words) for end in ("cls", "txt")])
    else:
        tfrecord(tmp_path / "x", [{"label": word.encode(), "txt": word.encode()} for word in words])
    with sl.open(tmp_path / "x") as source:
        taken, names = source[:], source.classes.get("label")
    assert list(taken["txt"]) == words
    assert [names[number] for number in taken["label"]] == words if names else list(taken["label"]) == words


@pytest.mark.usefixtures("kept")
def test_the_index_is_kept_from_one_run_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing is gone through twice."""
    tfrecord(tmp_path / "x", RECORDS)
    planned = sl.open(tmp_path / "x")
    monkeypatch.setattr("streamload.formats.tfrecord.planning.plan_files", None)
    known = sl.open(tmp_path / "x")
    assert repr(known) == repr(planned)
    for name, values in planned[:].items():
        assert list(known[:][name]) == list(values) if isinstance(values, Ragged) else np.array_equal(known[:][name], values)
    known.close()
    planned.close()


def test_a_feature_without_any_value_is_left_out_by_name(tmp_path: Path):
    """Lists that are all empty say no type that a field could have."""
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"".join(framed(tf_example({"x": [at], "empty": []})) for at in range(3)))
    source = sl.open(path)
    assert source.notes == ("'empty' left out: it has no values",)
    assert source[:]["x"].tolist() == [0, 1, 2]
    source.close()
