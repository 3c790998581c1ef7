"""Writers of tables: Parquet and Arrow, in one block and in several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

NULL_LISTS = int(pa.__version__.partition(".")[0]) >= 26
"""Whether this pyarrow can write and read lists of one length, some of which are null, as Parquet."""


def parquet(path: Path, table: pa.Table, **options: Any) -> Path:
    """Row groups of 50 records, unless options say otherwise."""
    pq.write_table(table, path.with_suffix(".parquet"), **({"row_group_size": 50} | options))
    return path.with_suffix(".parquet")


def arrow(path: Path, table: pa.Table, compression: str | None = None) -> Path:
    """Batches of 50 records."""
    path = path.with_suffix(".arrow")
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=50)
    return path


def lacks(write: object) -> str | None:
    """Why null lists of one length cannot be tested with one of these writers; None where they can."""
    if NULL_LISTS or write in (WRITERS["arrow"], WRITERS["arrow zstd"]):
        return None
    return f"pyarrow {pa.__version__} keeps no null lists of one length in Parquet"


Write = Callable[[Path, pa.Table], Path]
WRITERS: dict[str, Write] = {
    "parquet": parquet,
    "one row group": lambda path, table: parquet(path, table, row_group_size=10_000),
    "arrow": arrow,
    "arrow zstd": lambda path, table: arrow(path, table, "zstd"),
}
each_format = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
