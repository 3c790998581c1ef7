"""Records to an Arrow IPC file: batches without compression, whose arrays are read by offset."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from streamload.schema import Schema
from streamload.storage.owned_files import create_file
from streamload.tools.convert.writers.arrow_fields import annotated_schema, arrow_array
from streamload.tools.convert.writers.record_groups import RecordGroups
from streamload.tools.convert.writers.registry import Annotations, WriteOptions

BATCH_NBYTES = 16 * 1024**2
"""Record batches hold about so much, where nothing else was asked for."""


class ArrowWriter:
    """Record batches, one after the other; records wait until one is full."""

    def __init__(self, path: str, schema: Schema, style: WriteOptions, said: Annotations) -> None:
        self._fields = list(schema)
        self._schema = annotated_schema(schema, said)
        self._groups = RecordGroups(schema, self._schema, records=style.chunk_records, nbytes=BATCH_NBYTES, most=1_000_000)
        self._file = os.fdopen(create_file(path), "wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)

    def append(self, taken: Mapping[str, NDArray[Any]]) -> None:
        """Write records behind those that are there, as far as they fill batches."""
        columns = [arrow_array(taken[field.name], field) for field in self._fields]
        for group in self._groups.add(columns, taken):
            self._write(group)

    def _write(self, group: Any) -> None:
        for batch in group.combine_chunks().to_batches():
            self._writer.write_batch(batch)

    def settled(self) -> list[tuple[int, int]]:
        """Nothing: all goes through the page cache."""
        return []

    def close(self) -> None:
        """Write what waits, and the footer."""
        for group in self._groups.rest():
            self._write(group)
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file, whatever it says of what it could not write."""
        with suppress(OSError):
            self._file.close()


def writer(path: str, schema: Schema, records: int, style: WriteOptions, said: Annotations) -> ArrowWriter:
    """A writer of one file."""
    return ArrowWriter(path, schema, style, said)
