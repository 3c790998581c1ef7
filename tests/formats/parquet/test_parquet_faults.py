"""Parquet files that are damaged, hostile, unlike each other or not supported: each is refused by name."""

from __future__ import annotations

import base64
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import parquet_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers
from parquet_files import footer
from table_files import NULL_LISTS

from streamload.errors import (
    ChecksumError,
    ConfigError,
    CorruptDataError,
    NullValueError,
    SchemaMismatchError,
    SourceChangedError,
    StreamloadError,
    UnsupportedFeatureError,
)
from streamload.formats.open import open_source
from streamload.formats.parquet import planning
from streamload.loader.loader import Loader
from streamload.order import Block


def refused(kind: type[StreamloadError], path: object, **options: Any) -> str:
    """The text of the error with which a source is refused, at open or when it is read."""

    def read() -> None:
        source = open_source(path, **options)
        try:
            source[:]
        finally:
            source.close()

    with pytest.raises(kind) as caught:
        read()
    assert type(caught.value) is kind
    return str(caught.value)


def save(path: Path, **columns: Any) -> Path:
    """A file of the given columns."""
    pq.write_table(pa.table(columns), path, row_group_size=4)
    return path


# Nulls and lengths (E12, E13, E14)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "compressed"])
def test_a_null_is_an_error_that_names_file_column_and_row(raw: bool, tmp_path: Path):
    """Integers stay integers: a null never becomes a NaN; with fill= it becomes what was said."""
    path, numbers = tmp_path / "a.parquet", [0, 1, 2, 3, 4, 5, None, 7, None]
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False} if raw else {}
    wide = pa.array([bytes([row]) * 100 for row in range(9)], pa.binary(100))
    pq.write_table(pa.table({"wide": wide, "y": pa.array(numbers, pa.int32())}), path, row_group_size=4, **options)
    hint = "Say what stands for it, fill={'y': 0}; or leave such records out, Loader(..., on_bad_record=\"skip\")."
    assert refused(NullValueError, path) == f"{path}: null at row 6 of column 'y'. {hint}"
    filled = np.array([-1 if one is None else one for one in numbers], "i4")
    expected = {"wide": np.repeat(np.arange(9, dtype="u1")[:, None], 100, 1), "y": filled}
    assert_delivers(path, expected, fill={"y": -1})
    assert_delivers(path, {"y": filled}, fill=-1, fields=["y"])


def test_a_value_that_would_change_cannot_stand_for_nulls(tmp_path: Path):
    """-1 is no uint8, 0.5 no integer; and fill= must name a column."""
    path = save(tmp_path / "a.parquet", y=pa.array([1, None], pa.uint8()))
    hint = "Give what it can hold, such as fill={'y': 0}."
    for value in (-1, 0.5, "x", [1, 2], [], float("nan")):
        assert refused(ConfigError, path, fill={"y": value}) == f"fill={value!r} cannot stand for nulls in 'y', which is uint8. {hint}"
    assert refused(ConfigError, path, fill={"z": 0}) == f"fill names 'z', which {path} does not hold. It holds ['y']."


def test_a_null_image_is_an_error_and_rows_never_shift(tmp_path: Path):
    """In a fixed-size list, a list, and fixed-size binary; within a record too."""
    if NULL_LISTS:
        fixed = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2))
        path = save(tmp_path / "a.parquet", x=fixed)
        assert "null at row 1 of column 'x'." in refused(NullValueError, path)
        assert_delivers(path, {"x": np.array([[1, 2], [9, 9], [3, 4]], "i4")}, fill=9)
    path = save(tmp_path / "b.parquet", x=pa.array([[1, 2], [3, None], [5, 6]], pa.list_(pa.int32())))
    assert "null at row 1 of column 'x'." in refused(NullValueError, path)
    assert_delivers(path, {"x": np.array([[1, 2], [3, 9], [5, 6]], "i4")}, fill=9)
    path = save(tmp_path / "c.parquet", x=pa.array([b"ab", b"cd", b"ef", b"gh", b"ij", None], pa.binary(2)))
    assert "null at row 5 of column 'x'." in refused(NullValueError, path)
    assert_delivers(path, {"x": np.array([*b"abcdefghij", 7, 7], "u1").reshape(6, 2)}, fill=7)


def test_lists_of_different_lengths_are_refused_with_their_row(tmp_path: Path):
    """Where they are said to be of one length. Lists within lists cannot differ at all, which is known at open."""
    path = save(tmp_path / "a.parquet", x=[[1, 2, 3]] * 5 + [[1, 2, 3, 4]])
    assert refused(SchemaMismatchError, path, shapes={"x": (3,)}) == (
        f"{path}: row 5 of column 'x' holds 4 values where 3 are expected. Records of a field have one shape: pad them, say that "
        "they differ with shapes={'x': (None,)}, or leave the column out with fields=[...]."
    )
    path = save(tmp_path / "b.parquet", x=[[[1], [2]], [[1], [2, 3]]], label=[1, 2])
    assert refused(UnsupportedFeatureError, path) == (
        f"{path}: column 'x' holds lists within lists that differ in length (1 and 2): records of a field may differ along their "
        "first axis only. Leave it out: fields=['label']."
    )
    assert_delivers(path, {"label": np.array([1, 2])}, fields=["label"])


# Several files (E9, E10, E11)


def test_files_of_one_source_agree_or_are_refused(tmp_path: Path):
    """Types and missing columns are errors with both sides; columns are read by name; extra ones are reported."""
    first = save(tmp_path / "0.parquet", x=np.arange(5, dtype="i4"), y=np.arange(5.0))
    hint = "Files of one source have one schema: open them apart, or choose other fields with fields=[...]."
    other = save(tmp_path / "1.parquet", x=np.arange(5), y=np.arange(5.0))
    assert refused(SchemaMismatchError, [first, other]) == f"Column 'x' differs: int32 in {first}, int64 in {other}. {hint}"
    lacking = save(tmp_path / "2.parquet", x=np.arange(5, dtype="i4"))
    assert refused(SchemaMismatchError, [first, lacking]) == f"Column 'y' differs: double in {first}, missing in {lacking}. {hint}"
    turned = save(tmp_path / "3.parquet", z=np.arange(5), y=np.arange(5.0) + 5, x=np.arange(5, 10, dtype="i4"))
    assert_delivers([first, turned], {"x": np.arange(10, dtype="i4"), "y": np.arange(10.0)})
    assert f"'z' left out: in {turned}, not in {first}" in repr(open_source([first, turned]))


# Columns that are no fields


UNREADABLE: dict[str, tuple[Any, str]] = {
    "several images a record": (
        pa.array([[{"bytes": b"abc", "path": "p"}]]),
        "holds lists of encoded images, several a record, which cannot be read yet",
    ),
    "lists of bytes": (pa.array([[b"abc"]]), "holds lists of bytes, which cannot be read yet"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_columns_with_data_that_cannot_be_read_are_refused_by_name(what: str, tmp_path: Path):
    """Never left out in silence; the error says how to go on without them."""
    column, why = UNREADABLE[what]
    path = save(tmp_path / "a.parquet", image=column, label=[3])
    assert refused(UnsupportedFeatureError, path) == f"{path}: column 'image' {why}. Leave it out: fields=['label']."
    text = f"{path}: column 'image' {why}. Choose other fields with fields=[...]."
    assert refused(UnsupportedFeatureError, path, fields=["image"]) == text
    assert_delivers(path, {"label": np.array([3])}, fields=["label"])


def test_amounts_and_nulls_are_left_out_and_reported(tmp_path: Path):
    """They are refused where they are asked for, with the reason."""
    path = save(tmp_path / "a.parquet", label=[1], price=pa.array([1], pa.decimal128(5, 2)), none=pa.nulls(1))
    assert repr(open_source(path)).endswith(
        "  'price' left out: it holds values of the type decimal128(5, 2), which has no counterpart in NumPy\n"
        "  'none' left out: it holds nothing but nulls"
    )
    why = "column 'price' holds values of the type decimal128(5, 2), which has no counterpart in NumPy. Choose other fields"
    assert why in refused(UnsupportedFeatureError, path, fields={"x": "price"})
    close = f"{path} holds no column 'lable'; it holds 'label', 'price', 'none'. Did you mean 'label'?"
    assert refused(ConfigError, path, fields=["lable"]).startswith(close.split(" it holds")[0])
    path = save(tmp_path / "b.parquet", none=pa.nulls(1))
    assert refused(ConfigError, path) == (
        f"{path} holds no column that could be a field: 'none' holds nothing but nulls. "
        "Records need at least one column of numbers, arrays, text or bytes."
    )


def test_shapes_are_taken_from_the_argument_and_must_fit(tmp_path: Path):
    """shapes= beats the file's own metadata."""
    data = parquet_files.write(tmp_path / "a.parquet")["image"]
    assert_delivers(tmp_path / "a.parquet", {"image": data.reshape(-1, 18, 7)}, shapes={"image": (18, 7)}, fields=["image"])
    path = save(tmp_path / "b.parquet", image=pa.array([b"abcdef"] * 3, pa.binary(6)))
    assert_delivers(path, {"image": np.tile(np.frombuffer(b"abcdef", "u1"), (3, 1))})
    assert refused(ConfigError, path, shapes={"image": (2, 2)}) == (
        "Column 'image' holds 6 values a record (6,), and shape (2, 2) has 4. Give one of 6, such as shapes={'image': (6,)}."
    )
    assert refused(ConfigError, path, shapes={"imag": (2, 3)}) == f"shapes names 'imag', which {path} does not hold. It holds ['image']."
    assert refused(ConfigError, path, shape=(2, 3)) == "shape= is no option of Parquet files. It has shapes=, fill=, verify=."


# Damage (E1, E2, E3, E4, E15) and lies (E5, E6)


def test_a_file_that_is_cut_short_says_so(tmp_path: Path):
    """At every percent of its length."""
    path = tmp_path / "a.parquet"
    parquet_files.write(path)
    whole = path.read_bytes()
    for percent in range(1, 100):
        path.write_bytes(whole[: len(whole) * percent // 100])
        text = f"{path} ({len(whole) * percent // 100:,} bytes) begins as a Parquet file and does not end as one: it is cut short, or "
        assert refused(CorruptDataError, path).startswith(text)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "zstd"])
def test_a_flipped_byte_under_a_checksum_is_found(raw: bool, tmp_path: Path):
    """In raw pages that are read by offset as in compressed ones, in the file and page that hold it."""
    path = tmp_path / "a.parquet"
    codec = {} if raw else {"raw": False, "compression": "zstd"}
    data = parquet_files.write(path, write_page_checksum=True, data_page_size=500, write_batch_size=3, **codec)["image"]
    whole = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(1).column(0)
    place = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 20
    whole[place] ^= 0x10
    path.write_bytes(whole)
    source = open_source(path, fields=["image"])
    np.testing.assert_array_equal(source[:30]["image"], data[:30])
    with pytest.raises(ChecksumError) as caught:
        source[59]
    assert caught.value.path == str(path)
    if raw:
        assert f"{path}: the page of 'image' at byte " in str(caught.value)
        np.testing.assert_array_equal(open_source(path, fields=["image"])[50]["image"], data[50])
        assert (open_source(path, fields=["image"], verify=False)[59]["image"] != data[59]).sum() == 1
    else:
        assert f"{path}: column 'image' cannot be read: the page at byte " in str(caught.value)
        assert "has the checksum" in str(caught.value)
    source.close()


def test_swapped_pages_are_found_where_they_have_checksums(tmp_path: Path):
    """Two bodies of one size exchanged."""
    path = tmp_path / "a.parquet"
    parquet_files.write(path, write_page_checksum=True, data_page_size=500, write_batch_size=3)
    column: Any = open_source(path).columns[0]
    (one, two), nbytes = column.bodies[[0, 1]].tolist(), int(column.nbytes[0])
    whole = bytearray(path.read_bytes())
    whole[one : one + nbytes], whole[two : two + nbytes] = whole[two : two + nbytes], whole[one : one + nbytes]
    path.write_bytes(whole)
    assert "has the checksum" in refused(ChecksumError, path)


def test_a_row_group_beyond_the_limit_is_refused_with_its_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From the footer alone, and with the command that rewrites it; what is read page by page has no such limit."""
    monkeypatch.setattr(planning, "LARGEST_GROUP_NBYTES", 5000)
    path = tmp_path / "a.parquet"
    parquet_files.write(path, raw=False, compression="zstd", row_group_size=50, write_statistics=False)
    assert refused(UnsupportedFeatureError, path) == (
        f"{path}: row group 0 of column 'image' has 50 records, 6.24 KB decoded; the limit is 4.88 KB. "
        f"Rewrite it in smaller row groups: python -c \"import pyarrow.parquet as pq; f = pq.ParquetFile('{path}'); "
        f"w = pq.ParquetWriter('{tmp_path / 'a-small.parquet'}', f.schema_arrow); "
        '[w.write_batch(b) for b in f.iter_batches(524288)]; w.close()"'
    )
    monkeypatch.setattr(planning, "REWRITTEN_NBYTES", 1260)
    exec(shlex.split(refused(UnsupportedFeatureError, path).split("row groups: ")[1])[2], {})
    assert pq.ParquetFile(tmp_path / "a-small.parquet").metadata.num_row_groups == 13
    assert_delivers(tmp_path / "a-small.parquet", parquet_files.write(tmp_path / "same.parquet"))
    for options in ({}, {"raw": False, "compression": "zstd"}):
        assert_delivers(path, parquet_files.write(path, row_group_size=100, **options))


def test_a_row_group_larger_than_a_window_is_an_error_with_sizes_and_cure(tmp_path: Path):
    """In block order, from the footer, before anything is read; in sequence, it is read a stretch at a time."""
    path = tmp_path / "a.parquet"
    expected = parquet_files.write(path, raw=False, compression="zstd", row_group_size=50, records=100)
    source = open_source(path, fields=["image"])
    with pytest.raises(ConfigError) as caught:
        Loader(source, batch_size=10, shuffle=Block(window="5 KB"), num_workers=0)
    assert str(caught.value) == (
        "Block 0 of the data has 6.15 KB (6,300 bytes); a window has 5 KB (5,120 bytes), and a block must fit in it. "
        'Give shuffle=Block(window="394 KB") and memory= to match, or write smaller blocks with `streamload convert --chunk-records` '
        "(Parquet: row_group_size= of pyarrow's write_table)."
    )
    with Loader(source, batch_size=10, shuffle=False, num_workers=0) as loader:
        np.testing.assert_array_equal(np.concatenate([batch["image"].copy() for batch in loader]), expected["image"])


def test_a_bomb_is_refused_from_its_footer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """64 MB of zeros in a few KB: the limit is on what it unpacks to, and nothing is unpacked to find out."""
    monkeypatch.setattr(planning, "LARGEST_GROUP_NBYTES", 2**25)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.zeros(2**23)}), path, compression="zstd", use_dictionary=False, row_group_size=2**23)
    assert path.stat().st_size < 2**16
    text = "row group 0 of column 'x' has 8,388,608 records, 64 MB decoded; the limit is 32 MB. Rewrite it in smaller row groups"
    assert text in refused(UnsupportedFeatureError, path)


def test_a_footer_that_claims_other_numbers_of_records_is_refused(tmp_path: Path):
    """Rows of the file against those of its row groups, and of row groups against their pages."""
    path = tmp_path / "a.parquet"
    parquet_files.write(path, raw=False, compression="zstd")
    start, stop = footer(path)
    whole = path.read_bytes()
    place = whole.index(b"\x16\xc8\x01", start, stop)
    path.write_bytes(whole[:place] + b"\x16\xca\x01" + whole[place + 3 :])
    text = (
        f"{path} has a footer that cannot be read: it claims 101 records, and its row groups hold 100. "
        "The file is damaged or was cut short: fetch or write it again."
    )
    assert refused(CorruptDataError, path) == text


def test_a_column_name_that_is_no_text_is_refused(tmp_path: Path):
    """Bytes that are no UTF-8 in the schema."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": [1, 2]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"label", b"la\xff\xfel"))
    assert refused(CorruptDataError, path).startswith(f"{path} has a footer that cannot be read: 'utf-8' codec can't")


@pytest.mark.parametrize("plaintext", [True, False], ids=["columns", "footer too"])
def test_an_encrypted_file_is_refused_at_open(plaintext: bool, tmp_path: Path):
    """With a readable footer as without one; columns that are not encrypted can be read."""
    encryption = pytest.importorskip("pyarrow.parquet.encryption")

    class Keys(encryption.KmsClient):
        """Keys in the clear."""

        def __init__(self, configuration: Any) -> None:
            encryption.KmsClient.__init__(self)
            self.keys = configuration.custom_kms_conf

        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            """Any reversible text."""
            return base64.b64encode(key_bytes)

    factory = encryption.CryptoFactory(Keys)
    connection = encryption.KmsConnectionConfig(custom_kms_conf={"k": "0123456789012345"})
    configuration = encryption.EncryptionConfiguration(footer_key="k", column_keys={"k": ["x"]}, plaintext_footer=plaintext)
    properties = factory.file_encryption_properties(connection, configuration)
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, pa.schema([("x", pa.int64()), ("y", pa.int64())]), encryption_properties=properties) as writer:
        writer.write_table(pa.table({"x": [1, 2], "y": [3, 4]}))
    assert "is encrypted" in refused(UnsupportedFeatureError, path)


def test_two_columns_of_one_name_are_refused(tmp_path: Path):
    """Neither can be meant."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]), path)
    assert refused(UnsupportedFeatureError, path) == f"{path} holds two columns called 'x'. Rename one of them."


@pytest.mark.parametrize("layout", ["required", "zstd"])
@pytest.mark.parametrize("how", ["truncated", "replaced", "written to"])
def test_a_file_that_changes_after_it_was_opened_is_found_out(layout: str, how: str, tmp_path: Path):
    """Never other bytes, and no signal."""
    path = tmp_path / "a.parquet"
    make = (parquet_files.RAW | parquet_files.DECODED)[layout]
    make(path)
    source = open_source(path)
    if how == "truncated":
        os.truncate(path, 1000)
    elif how == "replaced":
        parquet_files.write(tmp_path / "b.parquet", seed=1)
        os.replace(tmp_path / "b.parquet", path)
    else:
        with open(path, "r+b") as file:
            file.write(b"PAR1")
        os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChangedError):
        source[50]
    source.close()
