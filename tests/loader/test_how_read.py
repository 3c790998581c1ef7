"""Whatever lies raw in files is mapped, read past the page cache and told to the kernel ahead, however it is wrapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow as pa
import pytest

import streamload as sl

RECORDS, NBYTES = 60, 40_000


def ragged(folder: Path) -> Any:
    """Bytes of different lengths, uncompressed."""
    table = pa.table({"data": [bytes([number]) * (NBYTES + 7 * number) for number in range(RECORDS)]})
    with pa.OSFile(str(folder / "data.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=16)
    return folder / "data.arrow"


def fixed(folder: Path) -> Any:
    """Arrays of one shape."""
    np.save(folder / "fixed.npy", np.arange(RECORDS, dtype=np.uint8)[:, None].repeat(NBYTES, axis=1))
    return folder / "fixed.npy"


def padded(folder: Path) -> Any:
    """Encoded images, filled up to one length."""
    rows = np.zeros((RECORDS, NBYTES), np.uint8)
    for number, row in enumerate(rows):
        image = imagecodecs.png_encode(np.full((8, 9, 3), number, np.uint8))
        row[: len(image)] = np.frombuffer(image, np.uint8)
    np.save(folder / "padded.npy", rows)
    return folder / "padded.npy"


def joined(folder: Path) -> Any:
    """The others, each from a file of its own."""
    return {"data": ragged(folder), "fixed": fixed(folder), "padded": padded(folder)}


@pytest.mark.parametrize("io", ["auto", "read", "direct", "mmap"])
@pytest.mark.parametrize("write", [fixed, ragged, padded, joined], ids=lambda write: write.__name__)
def test_raw_records_are_read_as_was_asked_for_however_they_are_wrapped(write: Any, io: str, tmp_path: Path) -> None:
    """Mapped where that is wanted or there is memory to spare, past the page cache where that is wanted; and rightly."""
    data = sl.open(write(tmp_path))
    with sl.Loader(data, batch_size=16, num_workers=1, shuffle=sl.Exact(), io=io, memory="200 MB") as loader:
        shape = loader._plan.sizing
        assert (shape.mapped, shape.direct) == (io in ("auto", "mmap"), io == "direct")
        assert shape.ahead >= RECORDS, "the kernel is told of what steps will read"
        seen: list[int] = []
        for _ in range(2):
            for batch in loader:
                expected = data.take(batch.records)
                seen += batch.records.tolist()
                for name, array in dict(batch).items():
                    if isinstance(array, sl.Ragged):
                        assert array.to_list() == expected[name].to_list()
                    else:
                        assert (array == expected[name]).all()
    assert sorted(seen) == sorted(2 * list(range(RECORDS)))
    data.close()
