"""What was written, as a loader will read it, compared with what was meant: by checksums of what the device gave back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np

import streamload
from streamload.errors import ChecksumError, ConversionError
from streamload.schema import Schema
from streamload.source import Column, Source
from streamload.tools.files.checksums import record_checksums
from streamload.tools.files.verify_writes import ReadBehind

Stretch = tuple[int, int, dict[str, tuple[int, int]]]
"""Records [start, stop) of a file, and their checksums by field."""
Piece = tuple[int, int, int]
"""Bytes [start, stop) of a file, and the number of the stretch that they belong to."""
MOST_RUNS = 64
"""Fields that lie in more runs than this for each stretch are read record by record."""


def read_back(path: str, schema: Schema, stretches: Sequence[Stretch], behind: ReadBehind, *, title: str, threads: int) -> Schema:
    """Compare a file, all of which was read behind its writer, with the checksums of what was written; the schema that it has.

    Raises ConversionError where it reads as other fields, ChecksumError where it holds other records.
    """
    source = streamload.open(path, decode=False)
    try:
        # HDF5 files with labels of shape (N, 1) are read as single numbers, whoever wrote them.
        # An array alone has no name in an .npy file: it is called like the file.
        names = schema.names if len(schema) == len(source.schema) == 1 else source.schema.names
        delivered = Schema(tuple(replace(field, name=name) for field, name in zip(source.schema, names, strict=True)))
        found = {field.name: (field.dtype, field.shape, field.ragged) for field in delivered}
        wanted = {field.name: (field.dtype, field.shape, field.ragged) for field in schema}
        flat = {name: (dtype, () if set(shape) == {1} else shape, ragged) for name, (dtype, shape, ragged) in wanted.items()}
        if any(found.get(name) not in (wanted[name], flat[name]) for name in wanted) or len(found) != len(wanted):
            raise ConversionError(f"{path} was written with {schema}, and reads as {source.schema}.", hint="Please report this.")
        right = [[sums[name] for _, _, sums in stretches] for name in names]
        others: list[int] = []
        sound = len(source) == (stretches[-1][1] if stretches else 0)
        for which, column in enumerate(source.columns):
            pieces = _pieces(column, stretches) if sound else []
            if pieces is None:
                others.append(which)
                continue
            sums = [0] * len(stretches)
            for start, stop, number in pieces:
                sums[number] = behind.checksum(start, stop, sums[number])
            sound = sound and sums == [checksum for checksum, _ in right[which]]
        if not sound or not _taken_alike(path, others, names, stretches, threads):
            raise ChecksumError(
                f"{title} does not hold what was written to it: checksums of its records differ.", hint="Check disk and memory.", path=title
            )
        return delivered
    finally:
        source.close()


LARGE_STRETCH_NBYTES = 32 * 1024**2
"""Of stretches that are larger on average, one is decoded at a time."""


def _pieces(column: Column, stretches: Sequence[Stretch]) -> list[Piece] | None:
    """Where the bytes of a field lie that a checksum is over, in its order; None where they are no bytes of the file, or lie scattered."""
    pieces: list[Piece] = []
    for number, (start, stop, _) in enumerate(stretches):
        runs = column.byte_runs(start, stop)
        if runs is None or len(pieces) + len(runs) > MOST_RUNS * len(stretches):
            return None
        pieces += [(begin, end, number) for _, begin, end in runs.tolist()]
    return pieces


def _taken_alike(path: str, others: Sequence[int], names: Sequence[str], stretches: Sequence[Stretch], threads: int) -> bool:
    """Whether fields that are more than bytes in a file are read as they were written."""
    if not others:
        return True
    large = os.path.getsize(path) > LARGE_STRETCH_NBYTES * len(stretches)
    threads = 1 if large else max(1, min(threads, len(stretches)))

    def same(which: int) -> bool:
        # One source serves one thread at a time.
        with closing(streamload.open(path, decode=False)) as whole:
            own = Source(
                format_name=whole.format_name,
                title=whole.title,
                columns=[whole.columns[at] for at in others],
                fingerprints=whole.fingerprints,
                file_starts=whole.file_starts,
            )
            stored = {whole.columns[at].field.name: names[at] for at in others}
            try:
                for start, stop, wanted in stretches[which::threads]:
                    taken = own.take(np.arange(start, stop, dtype=np.int64))
                    if record_checksums(taken) != {name: wanted[stored[name]] for name in taken}:
                        return False
                return True
            finally:
                own.close()

    with ThreadPoolExecutor(threads) as pool:
        return all(pool.map(same, range(threads)))
