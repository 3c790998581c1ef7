"""What can be converted says everything that is asked of it, and whatever wraps it says what is said beneath it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from foreign_files import noise
from store_files import _end_threads  # noqa: F401 - a fixture
from test_convert_round_trips import SOURCES

from streamload.nulls import Nulls
from streamload.omissions import Omission
from streamload.ragged import Ragged
from streamload.schema import Field, Schema
from streamload.tools.convert.accounting import account_of
from streamload.tools.convert.chosen_records import ChosenRecords
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.encode_images import KeptImages, ReencodedImages, bytes_of
from streamload.tools.convert.readers.images import image_in
from streamload.tools.convert.readers.library import fields_left_out
from streamload.tools.convert.readers.open import open_records
from streamload.tools.convert.readers.resized_source import ResizedSource
from streamload.tools.convert.record_source import RecordSource, batch_records
from streamload.tools.convert.record_source_defaults import ForwardingSource, RecordSourceDefaults
from streamload.tools.convert.writers.registry import write_options

MEMBERS = {name for name in vars(RecordSource) if not name.startswith("_")}
LABELS = np.array([2, 0, 1, 2, 0], np.int64)


def wrapped(origin: RecordSource) -> Iterator[ForwardingSource]:
    """An origin within each wrapper that can hold it; they share it, and one closes it."""
    style = write_options(name="parquet", path="", codec="none", chunk_records=None, store="png")
    yield ReencodedImages(origin, style, threads=1)
    yield ChosenRecords(origin, np.array([3, 3, 0, 1], np.int64))
    if origin.encoded_fields:
        yield KeptImages(origin)
    smaller = [Field(field.name, field.dtype, (4, 4, *field.shape[2:])) if field.name == "image" else field for field in origin.schema]
    yield ResizedSource(origin, OpenRequest(path=origin.title), Schema(tuple(smaller)), 1)


def plain(values: Any) -> list[Any]:
    """Records of a field, ragged or not."""
    return values.to_list() if isinstance(values, Ragged) else values.tolist()


def check_records(origin: RecordSource) -> None:
    """What any source of records keeps to."""
    assert {name for name in MEMBERS if not hasattr(origin, name)} == set()
    count = len(origin)
    every = origin.take(np.arange(count, dtype=np.int64))
    assert {name: (one.dtype, one.shape[1:]) for name, one in every.items() if not isinstance(one, Ragged)} == {
        field.name: (field.dtype, field.shape) for field in origin.schema if not field.ragged
    }
    assert list(every) == list(origin.schema.names)
    chosen = np.array([count - 1, 0, count - 1], np.int64)
    taken = origin.take(chosen)
    for name, values in taken.items():
        assert plain(values) == [plain(every[name])[number] for number in chosen.tolist()]
        assert plain(origin.values(name, chosen)) == plain(values)
    begun = origin.begin_take(chosen)()
    assert {name: plain(values) for name, values in begun.items()} == {name: plain(values) for name, values in taken.items()}
    assert all(len(values) == 0 for values in origin.take(chosen[:0]).values())
    check_images(origin, every)
    assert 1 <= batch_records(origin) <= 8192
    assert json.loads(json.dumps(origin.identity))
    assert json.loads(json.dumps(origin.facts))["format"] == origin.format_name
    assert all(Path(path).exists() for path in (*origin.paths, *(origin.files or ())))


def check_images(origin: RecordSource, every: dict[str, Any]) -> None:
    """Encoded fields are the bytes of what is delivered, and headers say the shapes of it."""
    encoded = origin.take_encoded(np.arange(len(origin), dtype=np.int64))
    assert set(origin.encoded_fields) <= set(origin.schema.names)
    assert set(origin.stored_nbytes) <= set(every)
    for name, values in every.items():
        if name not in origin.encoded_fields:
            assert plain(encoded[name]) == plain(values)
        elif not isinstance(values, Ragged):
            np.testing.assert_array_equal([image_in(bytes(one), name, mode="rgb") for one in encoded[name]], values)
    for field, title, (shape, dtype) in origin.image_shapes(0):
        assert (field.shape, field.dtype) == (shape, dtype)
        assert title


@pytest.mark.parametrize("kind", SOURCES)
def test_every_reader_and_every_wrapper_of_it_is_a_source_of_records(kind: str, tmp_path: Path):
    """Fields by themselves, records begun before they are wanted, and images as bytes are what `take` delivers."""
    images = noise((5, 32, 32, 3))
    origin = open_records(OpenRequest(path=str(SOURCES[kind](tmp_path / "in", images, LABELS))))
    assert len(origin) == 5
    check_records(origin)
    np.testing.assert_array_equal(origin.values("image", np.arange(5)), images)
    for wrapper in wrapped(origin):
        check_records(wrapper)
        assert wrapper.values("label", np.arange(4)).tolist() == (LABELS[[3, 3, 0, 1]] if len(wrapper) == 4 else LABELS[:4]).tolist()
        wrapper.close()


def test_images_beside_texts_are_resized_and_read_a_few_at_a_time(tmp_path: Path):
    """Texts are as long as they are, and as many as the images that they belong to."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = noise((5, 32, 32, 3))
        file["caption"] = [f"{'long ' * number}text" for number in range(5)]
    origin = open_records(OpenRequest(path=str(tmp_path / "a.h5"), size=(4, 4)))
    try:
        assert isinstance(origin, ResizedSource)
        check_records(origin)
        assert origin.record_nbytes >= 32 * 32 * 3
    finally:
        origin.close()


class Unusual(RecordSourceDefaults):
    """A source that says of everything something that no other says by default."""

    title, format_name = "unusual", "a format"
    schema = Schema((Field("image", np.dtype(np.uint8), (6, 5, 3)), Field("label", np.dtype(np.int64), ())))
    addressable = False
    classes = {"label": ["a", "b"]}  # noqa: RUF012 - nobody changes what it says
    attributes = {"label": {"units": "class"}}  # noqa: RUF012
    nulls = {"label": Nulls("label", 1)}  # noqa: RUF012
    identity = ["the same"]  # noqa: RUF012
    paths = ("/there/a.x",)
    files = ("/there/a.x", "/there/b.x")
    left_out = {"x": "it is a graph"}  # noqa: RUF012
    omissions = (Omission("field", "datasets", 3), Omission("file", "no pair", 1, ("a.y",)), Omission("member", "a link", 2, ("b",)))
    notes, cautions = ("noted",), ("take care",)
    stored = {"image": "PNG"}  # noqa: RUF012
    stored_nbytes = {"image": 77}  # noqa: RUF012
    encoded_fields = ("image",)
    record_nbytes = 12_345
    facts = {"format": "a format", "files": ["a.x"], "more": 1}  # noqa: RUF012
    is_open = True

    def __len__(self) -> int:
        return 5

    def take(self, records: np.ndarray) -> dict[str, Any]:
        """Images of one value, and numbers."""
        images = np.broadcast_to(records.astype(np.uint8)[:, None, None, None], (len(records), 6, 5, 3))
        return {"image": np.array(images), "label": records}

    def take_encoded(self, records: np.ndarray) -> dict[str, Any]:
        """Bytes of a kind that nothing else makes."""
        return {"image": bytes_of([b"image %d" % number for number in records.tolist()]), "label": records}

    def image_shapes(self, number: int) -> Iterator[Any]:
        """One image."""
        return iter([(self.schema["image"], f"image {number}", ((6, 5, 3), np.dtype(np.uint8)))])

    def is_no_data(self, name: str) -> bool:
        """By an ending."""
        return name.endswith(".z")

    def close(self) -> None:
        """Note it."""
        self.is_open = False


OWN: dict[type, Sequence[str]] = {
    ReencodedImages: ("schema", "take", "take_encoded", "begin_take", "values", "encoded_fields", "close"),
    KeptImages: ("schema", "take", "take_encoded", "begin_take", "values", "close"),
    ChosenRecords: ("take", "take_encoded", "begin_take", "values", "image_shapes", "stored_nbytes", "close"),
    ResizedSource: ("schema", "record_nbytes", "take", "take_encoded", "begin_take", "values", "encoded_fields", "close"),
}
"""What a wrapper says itself, since it follows from what it makes of records."""


@pytest.mark.parametrize("which", OWN, ids=lambda one: one.__name__)
def test_a_wrapper_says_what_is_said_beneath_it(which: type):
    """Everything but what it changes: a member that is new to the protocol has to be forwarded, or to be named here."""
    origin = Unusual()
    wrapper = next(one for one in wrapped(origin) if type(one) is which)
    said = {name: getattr(wrapper, name) for name in MEMBERS - set(OWN[which])}
    assert said == {name: getattr(origin, name) for name in said}
    wrapper.close()
    assert origin.is_open is (which is not ResizedSource), "it closes what was opened for it alone"


def test_chosen_records_are_asked_for_by_their_own_numbers():
    """Names, headers and bytes are those of the records that were chosen."""
    chosen = ChosenRecords(Unusual(), np.array([4, 2], np.int64))
    assert len(chosen) == 2
    assert [title for _, title, _ in chosen.image_shapes(1)] == ["image 2"]
    assert chosen.take_encoded(np.array([1, 0]))["image"].to_list() == [b"image 2", b"image 4"]


class UnusualStore(Unusual):
    """The same as one thing, whatever files it consists of."""

    files = None
    omissions = (*Unusual.omissions, Omission("record", "a null stands in it", 4))


@pytest.mark.parametrize("fields", [None, {"label": "label"}], ids=["all fields", "chosen fields"])
def test_whatever_a_source_leaves_out_is_accounted_for(fields: dict[str, str] | None):
    """Fields, which nobody misses who chose others; what lies in files, by name or not; and records."""
    account = account_of(UnusualStore(), OpenRequest(path="/there", fields=fields), leave_out=["b"])
    told = {(one.what, one.why, one.count, one.names, one.expected) for one in account.left_out}
    assert told == {
        ("field", "'x' (it is a graph)", 1, ("x",), fields is not None),
        ("field", "datasets", 3, (), fields is not None),
        ("member", "by --leave-out", 1, ("b",), True),
        ("member", "a link", 1, (), False),
        ("record", "a null stands in it", 4, (), False),
    }
    assert (account.unit, account.found, account.is_lacking) == ("store", 1, True)


def test_the_bases_say_all_of_the_protocol_and_nothing_else():
    """What is added to one is added to the others."""
    needed = {"schema", "title", "format_name", "paths", "identity", "take"}
    assert {name for name in dir(RecordSourceDefaults) if not name.startswith("_")} == MEMBERS - needed
    assert {name for name in dir(ForwardingSource) if not name.startswith("_")} == MEMBERS - {"schema", "take"}


def test_notes_of_the_library_say_what_is_left_out():
    """By name where there is one, else by how many; what is no such note is none."""
    notes = [
        "fields were found, not named; fields=['a'] says the same",
        "'a', 'b' left out: in x.parquet, not in y.parquet",
        "'/c' left out: it holds text of 3 kinds, left out: yes",
        "'d' is a link in a circle: left out",
        "'e' is more than 8 groups deep: not looked into",
        "'/f' holds 2,000 groups: only the first 1,000 were looked into",
        "the file holds more than 9 objects: only the first were looked at; choose with fields=[...]",
        "1,003 more datasets of other lengths left out",
        "'g' was never written: its records are fill values",
    ]
    named, unnamed = fields_left_out(notes)
    assert named == {
        "a": "in x.parquet, not in y.parquet",
        "b": "in x.parquet, not in y.parquet",
        "/c": "it holds text of 3 kinds, left out: yes",
        "d": "a link in a circle",
        "e": "more than 8 groups deep: not looked into",
        "/f": "holds 2,000 groups: only the first 1,000 were looked into",
        "the file": "holds more than 9 objects: only the first were looked at; choose with fields=[...]",
    }
    assert unnamed == [Omission("field", "datasets of other lengths", 1003)]
