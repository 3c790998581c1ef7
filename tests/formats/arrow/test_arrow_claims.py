"""What messages of Arrow files say of their bodies: how they are packed, where buffers begin, in which order batches come; and names."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from contract import assert_delivers

from streamload.errors import CorruptDataError
from streamload.formats.arrow.flatbuffers import FlatTable, root
from streamload.formats.arrow.ipc_messages import BLOCK
from streamload.formats.open import open_source
from streamload.ragged import Ragged

RECORDS = 2
"""The kind of a message that is a record batch."""
COUNT = 60


def table() -> pa.Table:
    """Numbers, wide bytes, text, and words in a dictionary."""
    wide = pa.array([bytes([at]) * 80 for at in range(COUNT)], pa.binary(80))
    words = pa.array(["cat", "dog"] * (COUNT // 2)).dictionary_encode()
    return pa.table({"x": np.arange(COUNT) % 7, "wide": wide, "text": [f"text {at}" for at in range(COUNT)], "word": words})


def expected() -> dict[str, object]:
    """What is delivered of it."""
    return {
        "x": np.arange(COUNT) % 7,
        "wide": np.arange(COUNT, dtype="u1")[:, None].repeat(80, axis=1),
        "text": Ragged.of([f"text {at}" for at in range(COUNT)]),
        "word": np.arange(COUNT, dtype="i4") % 2,
    }


def messages(whole: bytes, at: int = 8) -> Iterator[tuple[int, FlatTable]]:
    """The messages of a file, or of a stream from byte 0 on: the byte at which each one's metadata begins, and the message."""
    while length := int.from_bytes(whole[at + 4 : at + 8], "little"):
        message = root(whole[at + 8 : at + 8 + length])
        yield at + 8, message
        at += 8 + length + message.number(3, "q")


def without_compression(whole: bytes) -> bytes:
    """The same file, whose record batches and dictionaries do not say how they are packed."""
    found = bytearray(whole)
    for start, message in messages(whole):
        header = message.table(2)
        assert header is not None
        batch = header if message.number(1, "B") == RECORDS + 1 else header.table(1) if message.number(1, "B") == RECORDS else None
        if batch is not None:
            vtable = batch.at - struct.unpack_from("<i", batch.data, batch.at)[0]
            slot = start + vtable + 4 + 2 * 3
            found[slot : slot + 2] = bytes(2)
    return bytes(found)


@pytest.mark.parametrize("name", ["LZ4", "ZSTD", "zstd"])
def test_files_of_0_17_say_elsewhere_how_they_are_packed(name: str, tmp_path: Path):
    """Version 0.17 put it beside the message: their buffers were taken for values as they lie there."""
    path, whole = tmp_path / "a.arrow", table().drop_columns(["word"])
    options = pa.ipc.IpcWriteOptions(metadata_version=pa.ipc.MetadataVersion.V4, compression=name.lower())
    with pa.ipc.new_file(str(path), whole.schema, options=options) as writer:
        for batch in whole.to_batches(max_chunksize=25):
            writer.write_batch(batch, custom_metadata={"ARROW:experimental_compression": name})
    path.write_bytes(without_compression(path.read_bytes()))
    assert pa.ipc.open_file(str(path)).read_all().equals(whole)
    assert_delivers(path, {key: one for key, one in expected().items() if key != "word"})
    stored = path.read_bytes()
    path.write_bytes(stored.replace(name.encode(), b"?" * len(name)))
    with pytest.raises(CorruptDataError, match=r"a record batch has an unknown codec, '\?+'"):
        open_source(path)


def test_the_footer_says_in_which_order_batches_come(tmp_path: Path):
    """As pyarrow has it."""
    path, whole = tmp_path / "a.arrow", table()
    with pa.ipc.new_file(str(path), whole.schema) as writer:
        writer.write_table(whole, max_chunksize=20)
    stored = path.read_bytes()
    length = int.from_bytes(stored[-10:-6], "little")
    footer = stored[-10 - length : -10]
    blocks = root(footer).structures(3, BLOCK)
    first = footer.index(struct.pack("<qi", int(blocks["offset"][0]), int(blocks["metadata"][0])))
    listed = footer[first : first + 3 * BLOCK.itemsize]
    turned = footer.replace(listed, listed[2 * BLOCK.itemsize :] + listed[: 2 * BLOCK.itemsize])
    path.write_bytes(stored[: -10 - length] + turned + stored[-10:])
    order = np.r_[40:60, 0:40]
    assert pa.ipc.open_file(str(path)).read_all().equals(whole.take(order))
    assert_delivers(path, {key: one[order] for key, one in expected().items()})  # pyright: ignore[reportIndexIssue]


@pytest.mark.parametrize("step", [8, 16, 32, 64])
def test_buffers_may_begin_at_multiples_that_writers_choose(step: int, tmp_path: Path):
    """Of 8, 16, 32 or 64 bytes; pyarrow writes the first."""
    numbers, path = pa.table({"a": np.arange(3, dtype="u1"), "b": np.arange(3, dtype="u1") + 9}), tmp_path / "a.arrow"
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, numbers.schema) as writer:
        writer.write_table(numbers)
    whole = bytearray(sink.getvalue())
    start, message = next(one for one in messages(bytes(whole), 0) if one[1].number(1, "B") == RECORDS + 1)
    length, place = int.from_bytes(whole[start - 4 : start], "little"), message.place(3)
    assert place is not None
    assert message.number(3, "q") == 16
    whole[start + place : start + place + 8] = struct.pack("<q", step + 8)
    assert struct.pack("<qq", 8, 3) in whole
    head = bytes(whole[: start + length]).replace(struct.pack("<qq", 8, 0), struct.pack("<qq", step, 0))
    head = head.replace(struct.pack("<qq", 8, 3), struct.pack("<qq", step, 3))
    path.write_bytes(head + bytes([0, 1, 2]).ljust(step, b"?") + bytes([9, 10, 11]).ljust(8, b"?") + whole[start + length + 16 :])
    assert pa.ipc.open_stream(str(path)).read_all().equals(numbers)
    assert_delivers(path, {"a": np.arange(3, dtype="u1"), "b": np.arange(3, dtype="u1") + 9})


@pytest.mark.parametrize("code", [-1, 2, 77])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_code_of_no_word_is_refused(code: int, compression: str | None, tmp_path: Path):
    """As a class of training data it would be one more, or count from the end."""
    path = tmp_path / "a.arrow"
    codes = np.arange(COUNT, dtype="i1") % 2
    codes[33] = code
    words = pa.DictionaryArray.from_arrays(pa.array(codes), ["cat", "dog"], safe=False)
    batches = pa.table({"word": words, "wide": table()["wide"]}).to_batches(max_chunksize=20)
    with pa.ipc.new_file(str(path), batches[0].schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    with pytest.raises(CorruptDataError) as caught:
        open_source(path)
    told = f"{path}: column 'word' holds the code {code} in records 20 to 40, and there are 2 words. The file is damaged or was cut short"
    assert str(caught.value).startswith(told)
    assert caught.value.records == (20, 40)


NAMES = {
    "a column": (pa.field("name", pa.int64()), pa.array([1, 2])),
    "a list's values": (pa.field("x", pa.list_(pa.field("name", pa.int64()))), pa.array([[1], [2]])),
    "a time zone": (pa.field("x", pa.list_(pa.timestamp("s", "name"))), pa.array([[1], [2]])),
    "a struct's member": (pa.field("x", pa.struct([("name", pa.int64())])), pa.array([{"name": 1}, {"name": 2}])),
}


@pytest.mark.parametrize("what", NAMES)
def test_names_that_are_no_text_are_damage(what: str, tmp_path: Path):
    """Wherever they stand in the schema."""
    (field, values), path = NAMES[what], tmp_path / "a.arrow"
    schema = pa.schema([field, pa.field("y", pa.int64())])
    with pa.ipc.new_file(str(path), schema) as writer:
        writer.write_table(pa.table([values.cast(field.type), pa.array([1, 2])], schema=schema))
    path.write_bytes(path.read_bytes().replace(b"name", b"n\xffme"))
    with pytest.raises(CorruptDataError, match="cannot be read as Arrow: 'utf-8' codec can't decode byte 0xff"):
        open_source(path)


@pytest.mark.parametrize("place", ["first message", "footer"])
def test_a_schema_that_differs_from_the_footer_is_damage(place: str, tmp_path: Path):
    """A flipped bit makes other numbers of the same bytes, and nothing else would tell."""
    path, signed = tmp_path / "a.arrow", pa.table({"x": np.arange(9, dtype="i2")})
    with pa.ipc.new_file(str(path), signed.schema) as writer:
        writer.write_table(signed)
    whole = bytearray(path.read_bytes())
    length = int.from_bytes(whole[-10:-6], "little")
    start = 16 if place == "first message" else len(whole) - 10 - length
    schema = root(bytes(whole[start:])).table(2 if place == "first message" else 1)
    assert schema is not None
    kind = schema.tables(1)[0].table(3)
    assert kind is not None
    assert kind.number(1, "b")
    flag = kind.place(1)
    assert flag is not None
    whole[start + flag] = 0
    path.write_bytes(whole)
    with pytest.raises(CorruptDataError, match="cannot be read as Arrow: its footer has another schema than its first message"):
        open_source(path)


@pytest.mark.parametrize("version", [1, 3, 6])
@pytest.mark.parametrize("number", [0, 1], ids=["schema", "records"])
def test_messages_of_other_versions_are_refused(number: int, version: int, tmp_path: Path):
    """Nobody knows what they mean."""
    path = tmp_path / "a.arrow"
    with pa.ipc.new_stream(str(path), table().select(["x"]).schema) as writer:
        writer.write_table(table().select(["x"]))
    whole = bytearray(path.read_bytes())
    start, message = list(messages(bytes(whole), 0))[number]
    place = message.place(0)
    assert place is not None
    whole[start + place] = version - 1
    path.write_bytes(whole)
    with pytest.raises(CorruptDataError, match=f"is of version {version} of the format, and 4 and 5 are read"):
        open_source(path)
