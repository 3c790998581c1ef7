"""The values of a dictionary as bytes, so that a plan of plain arrays holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_stream(values: Any) -> NDArray[np.uint8]:
    """A chunked array as a stream of one column in Arrow's format: shape (bytes,)."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([pa.field("x", values.type)])) as writer:
        writer.write_table(pa.table({"x": values}))
    return np.frombuffer(sink.getvalue(), np.uint8)


def from_stream(stream: NDArray[np.uint8]) -> Any:
    """The array that `to_stream` wrote, in one piece."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.py_buffer(np.ascontiguousarray(stream))).read_all().column(0).combine_chunks()
