"""Where row groups and record batches end: by records or by bytes, and never by how records came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from streamload.ragged import Ragged
from streamload.schema import Schema


class RecordGroups:
    """Records that wait, as tables of Arrow, until they fill a group.

    A group holds `records` of them, where that is said; else as many as `nbytes` hold, one at least and `most` at most.
    """

    def __init__(self, schema: Schema, made: Any, *, records: int | None, nbytes: int, most: int) -> None:
        self._schema = schema
        self._made = made
        """As Arrow has it."""
        self._most = records or most
        self._nbytes_limit = None if records else nbytes
        self._waiting: list[Any] = []
        self._count = self._nbytes = 0

    def add(self, columns: list[Any], taken: Mapping[str, Any]) -> Iterator[Any]:
        """Take records, as columns in the order of the schema and as they were; the groups that they fill."""
        table = pa.Table.from_arrays(columns, schema=self._made)
        ends = np.cumsum(self._widths(taken, len(table)))
        start = 0
        while start < len(table):
            before = int(ends[start - 1]) if start else 0
            room = len(table) if self._nbytes_limit is None else self._fitting(ends, before)
            stop = min(room, start + self._most - self._count, len(table))
            if stop <= start and not self._count:
                stop = start + 1  # A record that is larger than a group is one.
            if stop > start:
                self._waiting.append(table.slice(start, stop - start))
                self._count += stop - start
                self._nbytes += int(ends[stop - 1]) - before
            if stop < len(table) or self._count == self._most or self._is_full():
                yield self._group()
            start = max(start, stop)

    def _fitting(self, ends: Any, before: int) -> int:
        """The first record that does not fit any more."""
        assert self._nbytes_limit is not None
        return int(np.searchsorted(ends, self._nbytes_limit - self._nbytes + before, side="right"))

    def _is_full(self) -> bool:
        """Whether no other record fits, however small: a record that is larger than a group need not wait for the next one."""
        return self._nbytes_limit is not None and self._nbytes > self._nbytes_limit

    def rest(self) -> Iterator[Any]:
        """What is left, if anything is."""
        if self._count:
            yield self._group()

    def _group(self) -> Any:
        # Tables are only put behind each other: no record is copied before Arrow writes it.
        whole = pa.concat_tables(self._waiting)
        self._waiting = []
        self._count = self._nbytes = 0
        return whole

    def _widths(self, taken: Mapping[str, Any], count: int) -> Any:
        """Bytes of each record."""
        widths = np.full(count, self._schema.record_nbytes, np.int64)
        for field in self._schema.ragged:
            values: Ragged = taken[field.name]
            widths += values.lengths * field.nbytes
        return widths
