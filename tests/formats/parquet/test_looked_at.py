"""How much of large values is read to find out what a file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import streamload as sl

VALUE_NBYTES = 1 << 20


def read_nbytes() -> int:
    """What this process has read of all files so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_opening_large_values_reads_a_few_of_them(tmp_path: Path):
    """64 MB of values that are no images: eight of them tell how much they differ, and four more what they are."""
    values = [np.random.default_rng(at).bytes(VALUE_NBYTES) for at in range(64)]
    path = tmp_path / "large.parquet"
    pq.write_table(pa.table({"x": values}), path, compression="zstd", use_dictionary=False, write_batch_size=1, data_page_size=VALUE_NBYTES)
    before = read_nbytes()
    with sl.open(path) as source:
        assert read_nbytes() - before < 24 * VALUE_NBYTES
        assert source[63]["x"] == values[63]
