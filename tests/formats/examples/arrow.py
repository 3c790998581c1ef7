"""Arrow files and streams for the contract."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa
from parquet_files import Arrays, binary, image_field, images
from ragged_files import WRITERS


def write(path: Path, *, stream: bool = False, compression: str | None = None) -> Arrays:
    """Images and numbers in batches of 30."""
    data = images()
    table = pa.table([binary(data), pa.array(range(100))], schema=pa.schema([image_field(), pa.field("label", pa.int64())]))
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=30)
    return {"image": data, "label": table["label"].to_numpy()}


EXAMPLES = {"file": write, "stream": partial(write, stream=True), "zstd": partial(write, compression="zstd")}
EXAMPLES |= {layout: WRITERS[layout] for layout in WRITERS if layout.startswith("arrow")}
