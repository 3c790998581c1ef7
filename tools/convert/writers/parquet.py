"""Records to Parquet such that they can be read by offset: arrays as binary of fixed size, in pages without compression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from streamload.schema import Schema
from streamload.tools.convert.writers.arrow_fields import annotated_schema, arrow_array
from streamload.tools.convert.writers.record_groups import RecordGroups
from streamload.tools.convert.writers.registry import Annotations, WriteOptions
from streamload.tools.files.direct_io import DirectFile

GROUP_NBYTES = 64 * 1024**2
"""Row groups of raw records: large, since nothing must be decoded whole."""
CODED_GROUP_NBYTES = 4 * 1024**2
"""Row groups that must be decoded whole."""
PAGE_NBYTES = 1024**2


class ParquetWriter:
    """Row groups, one after the other; records wait until a group is full."""

    def __init__(self, path: str, schema: Schema, records: int, style: WriteOptions, said: Annotations) -> None:
        self._fields = list(schema)
        self._schema = annotated_schema(schema, said)
        raw = style.codec == "none"
        room = GROUP_NBYTES if raw and not schema.ragged else CODED_GROUP_NBYTES
        self._groups = RecordGroups(schema, self._schema, records=style.chunk_records, nbytes=room, most=1_000_000)
        self._file = DirectFile(path)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._file, mode="w"),
            self._schema,
            compression="NONE" if raw else style.codec.upper(),
            compression_level=style.level,
            use_dictionary=False,
            write_statistics=False,
            data_page_size=PAGE_NBYTES,
            write_page_checksum=not raw,  # a raw record is read without the rest of its page; the manifest vouches for it
            write_batch_size=max(1, min(1024, PAGE_NBYTES // max(1, schema.record_nbytes))),
            store_schema=True,
        )

    def append(self, taken: Mapping[str, NDArray[Any]]) -> None:
        """Write records behind those that are there, as far as they fill row groups."""
        columns = [arrow_array(taken[field.name], field) for field in self._fields]
        for group in self._groups.add(columns, taken):
            self._writer.write_table(group, row_group_size=len(group))

    def settled(self) -> list[tuple[int, int]]:
        """Bytes of the file that were written since this was last asked."""
        return self._file.settled()

    def close(self) -> None:
        """Write what waits, and the footer."""
        for group in self._groups.rest():
            self._writer.write_table(group, row_group_size=len(group))
        self._writer.close()
        self._file.close()

    def abandon(self) -> None:
        """Nothing: the file lets go of itself."""


def writer(path: str, schema: Schema, records: int, style: WriteOptions, said: Annotations) -> ParquetWriter:
    """A writer of one file."""
    return ParquetWriter(path, schema, records, style, said)
