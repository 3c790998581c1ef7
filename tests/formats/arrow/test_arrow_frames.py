"""Arrow files and streams whose messages are framed otherwise: by old versions of the format, and by other libraries."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from contract import assert_delivers

from streamload.errors import CorruptDataError, StreamloadError
from streamload.formats.arrow.flatbuffers import root
from streamload.formats.arrow.ipc_messages import BLOCK, framed
from streamload.formats.open import open_source
from streamload.ragged import Ragged

WORDS = ["one", "two", "", "more than twelve bytes of text"]


def table(records: int = 100) -> pa.Table:
    """Numbers, text, codes of words, and lists."""
    codes = pa.DictionaryArray.from_arrays(pa.array(np.arange(records) % 2, pa.int8()), pa.array(["cat", "dog"]))
    return pa.table(
        {
            "wide": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(records * 20, dtype="f4")), 20),
            "text": pa.array([WORDS[at % 4] for at in range(records)]),
            "kind": codes,
            "tokens": pa.array([list(range(at % 5)) for at in range(records)], pa.list_(pa.int16())),
        }
    )


def expected(records: int = 100) -> dict[str, Any]:
    """What is delivered of it."""
    return {
        "wide": np.arange(records * 20, dtype="f4").reshape(records, 20),
        "text": Ragged.of([WORDS[at % 4] for at in range(records)]),
        "kind": np.arange(records, dtype="i1") % 2,
        "tokens": Ragged.of([np.arange(at % 5, dtype="i2") for at in range(records)]),
    }


def written(path: Path, *, stream: bool = False, **options: Any) -> bytes:
    """A file or stream of four batches."""
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(path), table().schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table(), max_chunksize=30)
    return path.read_bytes()


def moved(whole: bytes, pad: int) -> bytes:
    """A file with so many more bytes between its mark and its messages, which the footer knows."""
    length = int.from_bytes(whole[-10:-6], "little")
    start = len(whole) - 10 - length
    footer = bytearray(whole[start:-10])
    for field in (2, 3):
        for offset, metadata, body in root(bytes(footer)).structures(field, BLOCK).tolist():
            block = struct.pack("<qixxxxq", offset, metadata, body)
            at = footer.index(block)
            footer[at : at + 8] = struct.pack("<q", offset + pad)
    return whole[:8] + bytes(pad) + whole[8:start] + bytes(footer) + whole[-10:]


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_messages_without_a_mark_are_read(stream: bool, compression: str | None, tmp_path: Path):
    """As versions before 0.15 wrote them, ended by four zeros."""
    path = tmp_path / "a"
    whole = written(path, stream=stream, use_legacy_format=True, metadata_version=pa.ipc.MetadataVersion.V4, compression=compression)
    assert b"\xff\xff\xff\xff" not in whole[:16]
    assert_delivers(path, expected())
    assert open_source(path).classes == {"kind": ("cat", "dog")}
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(CorruptDataError, match=r"cannot be read as Arrow: .*(cut short|beyond the end of the file)"):
        open_source(path)


@pytest.mark.parametrize("pad", [8, 56])
def test_a_mark_that_is_padded_is_read(pad: int, tmp_path: Path):
    """The footer says where the messages are."""
    path = tmp_path / "a"
    path.write_bytes(moved(written(path), pad))
    assert pa.ipc.open_file(str(path)).read_all() == table()
    assert_delivers(path, expected())
    assert open_source(path).addressable


def test_a_file_whose_first_message_is_framed_otherwise_is_read_by_its_footer(tmp_path: Path):
    """The schema stands there too."""
    path = tmp_path / "a"
    whole = bytearray(written(path))
    whole[8:16] = whole[16:24]
    path.write_bytes(whole)
    assert_delivers(path, expected())


def test_mutations_of_a_footer_give_the_same_records_or_an_error(tmp_path: Path):
    """Though nothing else says where the messages are."""
    path = tmp_path / "a"
    whole = moved(written(path), 56)
    right, refusals = expected(), 0
    length = int.from_bytes(whole[-10:-6], "little")
    places = range(len(whole) - 10 - length, len(whole), 3)
    for place in places:
        mutant = bytearray(whole)
        mutant[place] ^= 1 << (place % 8)
        path.write_bytes(mutant)
        try:
            with open_source(path) as source:
                taken = source[:]
        except StreamloadError:
            refusals += 1
            continue
        for name, found in taken.items():
            if name in right and not isinstance(found, Ragged) and (found.dtype, found.shape) == (right[name].dtype, right[name].shape):
                np.testing.assert_array_equal(found, right[name])
            elif name in right and isinstance(found, Ragged) and found.kind == right[name].kind and found.dtype == right[name].dtype:
                np.testing.assert_array_equal(found.values, right[name].values)
    assert refusals > len(places) // 10


def test_a_stream_of_today_is_not_ended_by_zeros(tmp_path: Path):
    """A copy that was interrupted is often as long as the original, and holds zeros at its end."""
    path = tmp_path / "a"
    whole = written(path, stream=True)
    path.write_bytes(whole[:-8] + bytes(800))
    with pytest.raises(CorruptDataError, match="stands no message"):
        open_source(path)


@pytest.mark.parametrize(
    "head",
    [b"\x40\x00\x00\x00\x10\x00\x00\x00" + bytes(200), b"\x18\x00\x00\x00" + b"\x08\x00\x00\x00" * 40, framed(bytes(64))[4:]],
    ids=["zeros", "numbers", "an empty message"],
)
def test_other_files_are_not_taken_for_streams_without_a_mark(head: bytes, tmp_path: Path):
    """A schema must stand there, all of it."""
    (tmp_path / "a").write_bytes(head)
    with pytest.raises(StreamloadError, match=r"is of no known format|is nothing but|Arrow") as caught:
        open_source(tmp_path / "a")
    assert "Arrow" not in str(caught.value)


def test_codes_of_views_are_classes_too(tmp_path: Path):
    """As polars writes categories."""
    words = pa.array(["cat", "a dog of more than twelve bytes"], pa.string_view())
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1], pa.uint32()), words)
    with pa.ipc.new_file(str(tmp_path / "a"), pa.schema([pa.field("kind", column.type)])) as writer:
        writer.write_table(pa.table({"kind": column}))
    source = open_source(tmp_path / "a")
    assert source.classes == {"kind": ("cat", "a dog of more than twelve bytes")}
    assert source[:]["kind"].tolist() == [0, 1, 1]
    source.close()
