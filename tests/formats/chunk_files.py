"""Chunked datasets for tests, and what planning would say of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from streamload.formats.columns.chunk_reader import ChunkedFile
from streamload.formats.columns.chunked import ChunkedColumn
from streamload.schema import Field
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles, fingerprint


def chunked_file(path: Path, *, dataset: str = "x", number: int = 0) -> ChunkedFile:
    """The chunks of a dataset, as `chunk_iter` lists them."""
    with h5py.File(path) as file:
        found = file[dataset]
        grid = [-(-side // box) for side, box in zip(found.shape, found.chunks, strict=True)]
        count = int(np.prod(grid))
        offsets, nbytes, masks = np.full(count, -1, np.int64), np.zeros(count, np.int64), np.zeros(count, np.uint32)

        def note(chunk: h5py.h5d.StoreInfo) -> None:
            place = np.ravel_multi_index([o // b for o, b in zip(chunk.chunk_offset, found.chunks, strict=True)], grid)
            offsets[place], nbytes[place], masks[place] = chunk.byte_offset, chunk.size, chunk.filter_mask

        found.id.chunk_iter(note)
        plist = found.id.get_create_plist()
        steps = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        return ChunkedFile(
            number=number,
            records=found.shape[0],
            chunk_shape=found.chunks,
            offsets=offsets,
            nbytes=nbytes,
            masks=masks,
            filters=tuple((step[0], tuple(step[2])) for step in steps),
            stored=found.dtype,
            fill=np.asarray(found.fillvalue, found.dtype).tobytes(),
        )


def column_of(paths: Sequence[Path], *, dataset: str = "x") -> ChunkedColumn:
    """A column over the same dataset of several files."""
    parts = tuple(chunked_file(path, dataset=dataset, number=number) for number, path in enumerate(paths))
    with h5py.File(paths[0]) as file:
        field = Field(dataset, file[dataset].dtype.newbyteorder("="), file[dataset].shape[1:])
    return ChunkedColumn(field=field, parts=parts, label="chunks")


class Opened:
    """A column's reader with its files, closed at the end of a `with`."""

    def __init__(self, column: ChunkedColumn, paths: Sequence[Path]) -> None:
        self.column = column
        self.files = OpenFiles([fingerprint(path) for path in paths])
        self.meter = ReadStats()
        self.reader = column.reader(self.files, self.meter)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        self.files.close()

    def take(self, records: Sequence[int] | np.ndarray, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """The records, row by row; rows that none is put into hold 0xAB."""
        places = np.arange(len(records), dtype=np.int64) if rows is None else np.asarray(rows, np.int64)
        field = self.column.field
        size = (int(places.max()) + 1 if len(places) else 0, *field.shape)
        out = np.frombuffer(bytearray(b"\xab" * (int(np.prod(size)) * field.dtype.itemsize)), field.dtype).reshape(size)
        self.reader.gather(np.asarray(records, np.int64), out, places)
        self.files.verify()
        return out
