"""Commands show fields of encoded images, of text and of bytes for what they are."""

from __future__ import annotations

import io
import re
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, said
from foreign_files import noise, png
from PIL import Image


@pytest.fixture
def various(tmp_path: Path) -> Path:
    """JPEG of different sizes, one of them cut short, with captions."""
    images: list[bytes] = []
    for record in range(20):
        stream = io.BytesIO()
        Image.fromarray(np.full((30 + record, 40, 3), 10 * record, np.uint8)).save(stream, format="JPEG")
        images.append(stream.getvalue()[: 300 if record == 11 else None])
    columns = {"image": pa.array(images, pa.binary()), "caption": [f"number {record}" for record in range(20)]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=8)
    return tmp_path / "a.parquet"


def test_info_names_what_is_stored_and_how_to_decode_it(various: Path, capsys: pytest.CaptureFixture[str]):
    """A damaged image does not keep anything from being shown."""
    code, text = said(capsys, "info", various)
    assert code == 0
    assert "image" in text
    assert "any length" in text
    assert (
        "'image' holds JPEG 30 x 40 ... 49 x 40 (RGB) of different sizes, delivered as bytes; --decode 224x224 decodes them to one size"
        in text
    )
    code, document = answer(capsys, "info", various, "--decode", "16x16")
    assert code == 0
    assert [field["ragged"] for field in document["fields"]] == ["", "text"]
    assert document["fields"][0]["shape"] == [16, 16, 3]
    assert "scaled and cut to (16, 16, 3) RGB" in document["fields"][0]["stored"]
    assert "decode=(16, 16)" in document["call"]


def test_head_says_which_image_the_bytes_are(various: Path, capsys: pytest.CaptureFixture[str]):
    """Format, size, mode and number of bytes; of bytes that are none, the text that they hold."""
    code, document = answer(capsys, "head", various, "-n", 2)
    assert code == 0
    assert document["records"][1]["image"].startswith("JPEG 31 x 40 (RGB), ")
    assert document["records"][1]["caption"] == "number 1"
    pq.write_table(pa.table({"x": pa.array([b"hello world"] * 3, pa.binary())}), various)
    assert answer(capsys, "head", various, "-n", 1)[1]["records"][0]["x"] == "b'hello world'"


def test_show_draws_images_of_any_size(various: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Decoded for the sheet, although the library would leave them as bytes."""
    code, document = answer(capsys, "show", various, "-n", 4, "-o", tmp_path / "sheet.png")
    assert code == 0
    assert document["labels"]["caption"] == ["number 0", "number 1", "number 2", "number 3"]
    assert imagecodecs.png_decode((tmp_path / "sheet.png").read_bytes()).shape[2] == 3


def test_plan_counts_what_is_stored_in_windows(various: Path, capsys: pytest.CaptureFixture[str]):
    """And gives the size to decode to in the call."""
    code, document = answer(capsys, "plan", various, "--decode", "16x16", "--batch", 4)
    assert code == 0
    assert "decode=(16, 16)" in document["call"]


def test_a_size_that_cannot_be_read(various: Path, capsys: pytest.CaptureFixture[str]):
    """Says what can."""
    assert said(capsys, "head", various, "--decode", "big")[0] == 2
    code, document = answer(capsys, "head", various, "--decode", "big")
    assert code == 2
    assert document["error"]["message"] == "--decode big cannot be read."
    assert answer(capsys, "head", various, "--decode", "no", "-n", 1)[0] == 0


def test_bytes_that_are_text_are_shown_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Strings of a fixed width, as barcodes are, and bytes of any length; others by how they begin."""
    values = [b"AAAC-1", b"y" * 100, b"\x00\x01z", b""]
    pq.write_table(pa.table({"any": pa.array(values, pa.binary())}), tmp_path / "a.parquet")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["code"] = np.array([b"AAAC-1", b"T"])
    for name, shown in (
        ("a.parquet", ["any b'AAAC-1'", f"any b'{'y' * 60}' … of 100 bytes", "any 3 bytes: 00 01 7a", "any 0 bytes:"]),
        ("a.h5", ["code b'AAAC-1'", "code b'T'"]),
    ):
        code, text = said(capsys, "head", tmp_path / name)
        lines = [" ".join(line.split()) for line in text.splitlines()]
        assert (code, [line for line in lines if line.startswith(("any ", "code "))]) == (0, shown)


def test_what_a_record_takes_counts_what_has_any_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """On average, and said to be about that; and a thousand decodes are written as such."""
    pq.write_table(pa.table({"x": pa.array([[1] * (at % 3) for at in range(5000)], pa.list_(pa.int64()))}), tmp_path / "a.parquet")
    code, text = said(capsys, "info", tmp_path / "a.parquet", "--no-measure")
    assert code == 0
    assert 4 <= int(re.search(r"a record +(\d+) B on average\n", text)[1]) <= 16  # type: ignore[index]
    assert "each record costs 5,000 decodes in exact order" in text


def test_images_in_compressed_tables_are_compared_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Those that are not looked at when the table is opened, too; and by a dry run."""
    images = [png(noise((6, 9, 3) if at == 90 else (6, 5, 3), at)) for at in range(100)]
    pq.write_table(pa.table({"image": images}), tmp_path / "in.parquet", compression="zstd", use_dictionary=False, row_group_size=60)
    for more in (["--dry-run"], []):
        code, document = answer(capsys, "convert", tmp_path / "in.parquet", tmp_path / "o.h5", *more)
        assert (code, document["error"]["kind"]) == (1, "SchemaMismatchError")
        assert document["error"]["message"].startswith("1 image of 100 differs from the first, which is uint8 (6, 5, 3): ")
    assert not (tmp_path / "o.h5").exists()
    assert answer(capsys, "convert", tmp_path / "in.parquet", tmp_path / "o.h5", "--on-bad", "skip")[1]["records"] == 99
