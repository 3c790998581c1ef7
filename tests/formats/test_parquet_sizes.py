"""Text whose encoding hides how much it is: there is room for all of it, memory for no more than that, and each block is decoded once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers
from parquet_files import footer
from test_parquet_lies import amend, zigzag

import streamload as sl
from streamload.formats.parquet import ragged_sizes, row_groups
from streamload.ragged import Ragged
from streamload.source import measured_of

ENCODINGS = ("DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY", "RLE_DICTIONARY")


def words(records: int = 600) -> list[str]:
    """Long beginnings that are alike, and lengths that change slowly: groups hold from nearly nothing to a great deal."""
    return ["beginning " * (number // 20) + str(number % 7) for number in range(records)]


def write(path: Path, texts: list[str], encoding: str, *, counted: bool) -> Path:
    """Row groups of 50 records; where they are not to be `counted`, as other libraries write them, no footer says what they hold."""
    if encoding == "RLE_DICTIONARY":
        options: dict[str, Any] = {"use_dictionary": ["text"]}
    else:
        options = {"use_dictionary": False, "column_encoding": {"text": encoding, "number": "PLAIN"}}
    pq.write_table(pa.table({"text": texts, "number": np.arange(len(texts))}), path, row_group_size=50, **options)
    metadata = pq.read_metadata(path)
    if not counted:
        for group in range(metadata.num_row_groups):
            size = sum(map(len, texts[50 * group : 50 * (group + 1)]))
            mark = b"\x16" + zigzag(size)
            if b"\x3c" + mark in path.read_bytes()[slice(*footer(path))]:
                amend(path, b"\x3c" + mark, b"\x8c" + mark)  # Under a number that nobody knows.
    return path


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_row_groups_hold_is_counted_or_measured(encoding: str, counted: bool, tmp_path: Path):
    """To the byte, or a little more where lengths stand in the same pages; the weights that the order goes by are what they were."""
    texts = words()
    path = write(tmp_path / "a.parquet", texts, encoding, counted=counted)
    column = sl.open(path, fields=["text"]).columns[0]
    measured = measured_of(column)
    assert measured is not None
    real = np.array([sum(map(len, texts[at : at + 50])) for at in range(0, 600, 50)])
    if encoding == "DELTA_LENGTH_BYTE_ARRAY" and not counted:
        assert (real <= measured.elements).all()
        assert (measured.elements <= real + 700).all()
    else:
        np.testing.assert_array_equal(measured.elements, real)
    assert measured.lengths.mean == pytest.approx(measured.elements.sum() / 600)
    assert_delivers(path, {"text": Ragged.of(texts), "number": np.arange(600)})


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_row_group_is_decoded_once_an_epoch(encoding: str, counted: bool, tmp_path: Path):
    """In block order, though some hold many times what the footer makes of them; and no batch is copied for want of room."""
    texts = words()
    path = write(tmp_path / "a.parquet", texts, encoding, counted=counted)
    decoded = sum(map(len, texts)) + 8 * 600
    with sl.Loader(sl.open(path, fields=["text"]), batch_size=8, shuffle=True, num_workers=0) as loader:
        for epoch in loader.epochs(2):
            found = {int(number): text for batch in epoch for number, text in zip(batch.records, batch["text"], strict=True)}
            assert [found[number] for number in range(600)] == texts
        assert loader.stats.read_nbytes < 2.2 * decoded
        assert loader.stats.copies == 0


def test_what_cannot_be_measured_in_a_moment_is_taken_to_be_like_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From row groups that lie evenly over all of them."""
    texts = words()
    path = write(tmp_path / "a.parquet", texts, "DELTA_BYTE_ARRAY", counted=False)
    monkeypatch.setattr(ragged_sizes, "MEASURED_NBYTES", 20_000)
    measured = measured_of(sl.open(path, fields=["text"]).columns[0])
    assert measured is not None
    real = np.array([sum(map(len, texts[at : at + 50])) for at in range(0, 600, 50)])
    known = measured.elements == real
    assert 2 <= known.sum() < 12
    assert (measured.elements[~known] >= real[~known].min()).all()
    assert_delivers(path, {"text": Ragged.of(texts), "number": np.arange(600)})


PROGRAM = """
import sys
import numpy as np
import pyarrow as pa
import streamload as sl
data = sl.open(sys.argv[1])
data[0]
try:
    sl.Loader(data, batch_size=16, shuffle=True, num_workers=0, memory="300 MB").close()
except sl.ResourceError as error:
    print(error)
print(pa.default_memory_pool().max_memory())
"""


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
def test_a_small_file_of_much_text_takes_no_more_memory_than_it_may(counted: bool, tmp_path: Path):
    """200 MB of it in 6 KB: opened, and looked into, in a tenth of that; a loader says what it would need."""
    texts = [f"{'abcdefgh' * 25_000}{number}" for number in range(1000)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts}), path, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY", compression="zstd")
    if not counted:
        mark = b"\x16" + zigzag(sum(map(len, texts)))
        amend(path, b"\x3c" + mark, b"\x8c" + mark)
    assert path.stat().st_size < 10_000
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True)
    said, most = done.stdout.rsplit("\n", 2)[:2]
    assert said.startswith('memory="300 MB" is too little: the least that works here is ')
    assert int(most) < 40_000_000


def test_a_page_for_which_there_is_no_memory_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before it is unpacked."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"blob": [bytes(1 << 20)] * 3}), path, use_dictionary=False, compression="zstd")
    monkeypatch.setattr(row_groups, "LARGE_PAGE_NBYTES", 1 << 20)
    source = sl.open(path)
    monkeypatch.setattr(row_groups, "available_nbytes", lambda: 5 << 20)
    with pytest.raises(sl.ResourceError) as caught:
        source[0]
    assert str(caught.value) == (
        f"{path}: a page of column 'blob' in row group 0 unpacks to 3 MB, which needs 6 MB of memory, and 5 MB are free. "
        "Free memory, or leave the column out with fields=[...]."
    )
    assert caught.value.available_nbytes == 5 << 20
    source.close()
