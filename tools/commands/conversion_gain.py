"""What a Parquet file in the place of a folder would bring: both are read from the disk for a moment, a part of them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.column import kept_column, read_records
from streamload.source import Column, ReadStats, Source
from streamload.storage.file_table import sizes_of
from streamload.storage.files import OpenFiles
from streamload.tools.files.page_cache import resident_share

MEASURED_SECONDS = 1.0
"""Each of them is read for no longer."""
MOST_RECORDS = 2_048
MOST_NBYTES = 64 << 20
LEAST_RECORDS = 32
"""Fewer say nothing."""
AHEAD = 256
"""Records that are asked for ahead, as a loader does."""
LOOKED_AT, STAYING = 16, 0.1
"""Files that are looked at to know whether they left the page cache, and how much of them may stay."""
UNWRITTEN_SECONDS = 120
"""Files that are older than this are on the disk: to ask takes a moment for each."""
PAYS = 1.2
"""From this gain on, writing the file is advised."""


def conversion_gain(source: Source, warm: float) -> dict[str, Any] | None:
    """Images a second of a folder and of a Parquet file of some of them, from the disk; None where that cannot be measured.

    Neither is faster than `warm`, what decoding and handing over allow. The files of the folder leave the page cache.
    """
    if source.format_name != "Images":
        return None
    column = next(kept_column(one) for one in source.columns if one.field.name == source.schema.names[0])
    records = _some(source)
    with tempfile.TemporaryDirectory(prefix="streamload-plan-") as folder:
        if os.stat(folder).st_dev != source.fingerprints[0].device or not _evicted(_paths(source, column, records)):
            return None  # Another disk, or memory: it says nothing of this one.
        held, seconds = _read(source, column, records)
        if len(held) < LEAST_RECORDS:
            return None
        path = Path(folder) / "part.parquet"
        _write(path, held)
        if not _evicted([str(path)]):
            return None
        with streamload.open(path, decode=False) as parquet:
            # Blocks are read one after the other in any order of them, single records in one of chance.
            order = np.random.default_rng(1).permutation(len(held)) if parquet.addressable else np.arange(len(held), dtype=np.int64)
            again, parquet_seconds = _read(parquet, parquet.columns[0], order)
    return {
        "records": len(held),
        "folder": min(warm, len(held) / seconds),
        "parquet": min(warm, len(again) / parquet_seconds),
    }


def gain_text(gain: dict[str, Any]) -> str:
    """What was measured, and of what."""
    return (
        f"this folder gives {gain['folder']:,.0f} images/s cold, a Parquet file of it would give {gain['parquet']:,.0f} "
        f"(measured on {gain['records']:,} of its images, read by one process)"
    )


def pays(gain: dict[str, Any]) -> bool:
    """Whether the file is worth writing."""
    return gain["parquet"] >= PAYS * gain["folder"]


def _some(source: Source) -> NDArray[np.int64]:
    """Records from all over the source, in an order of chance, and not too many bytes of them."""
    records = np.random.default_rng(0).permutation(len(source))[:MOST_RECORDS].astype(np.int64)
    column = kept_column(source.columns[0])
    records = np.array([record for record in records.tolist() if column.file_of(record) is not None], np.int64)
    numbers = np.array([column.file_of(record) for record in records.tolist()], np.int64)
    return records[: max(1, int(np.searchsorted(np.cumsum(sizes_of(source.fingerprints, numbers)), MOST_NBYTES)))]


def _paths(source: Source, column: Column, records: NDArray[np.int64]) -> list[str]:
    numbers = [column.file_of(record) for record in records.tolist()]
    return [source.fingerprints[number].path for number in numbers if number is not None]


def _evicted(paths: Sequence[str]) -> bool:
    """Whether files left the page cache, as far as some that are looked at tell: a look at each would take its time."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # Whoever reads it says why.
        try:
            if time.time() - os.fstat(fd).st_mtime < UNWRITTEN_SECONDS:
                os.fsync(fd)  # Pages that are not on the disk yet stay.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
    looked_at = [Path(path) for path in paths[:: max(1, len(paths) // LOOKED_AT)]]
    try:
        return sum(resident_share(path) for path in looked_at if path.stat().st_size) <= STAYING * len(looked_at)
    except OSError:
        return False


def _read(source: Source, column: Any, records: NDArray[np.int64]) -> tuple[list[bytes], float]:
    """Stored bytes of records in this order, until the time is over; those that cannot be read are empty. And the seconds it took."""
    files = OpenFiles(source.fingerprints)
    reader = column.reader(files, ReadStats())
    reader.collect_faults([])
    held: list[bytes] = []
    began = time.perf_counter()
    try:
        told = 0
        while len(held) < len(records) and time.perf_counter() - began < MEASURED_SECONDS:
            if told < len(held) + AHEAD:
                reader.advise(records[told : told + AHEAD])
                told += AHEAD
            found = read_records(column, reader, records[len(held) : len(held) + AHEAD // 4])
            held += [bytes(one) for one in found]
        return held, max(1e-9, time.perf_counter() - began)
    finally:
        reader.close()
        files.close()


def _write(path: Path, held: list[bytes]) -> None:
    """A Parquet file as `convert` writes it: bytes that do not compress, in small row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": pa.array(held, pa.binary())}), path, compression="none", row_group_size=256, use_dictionary=False)
