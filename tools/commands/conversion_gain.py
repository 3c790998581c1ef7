"""What a Parquet file in the place of a folder, of tars or of TFRecord files would bring: a part of both is read from the disk."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.column import read_records, stored_column
from streamload.source import Column, ReadStats, Source, stored_nbytes
from streamload.storage.files import OpenFiles, is_cached

CALLED = {"Images": "this folder", "tar": "this tar", "TFRecord": "this TFRecord file"}
"""What is measured, by format: that of others is read from the disk as fast as it is stored, or `info` says what it costs."""
Place = tuple[str, int, int]
"""A path, an offset in the file, and a number of bytes."""
MEASURED_SECONDS = 1.0
"""Each of them is read for no longer."""
SHORT_SECONDS, MOST_TIMES = 0.2, 3
MOST_RECORDS = 2_048
MOST_NBYTES = 64 << 20
LEAST_RECORDS = 32
"""Fewer say nothing."""
AHEAD = 256
"""Records that are asked for ahead, as a loader does."""
LOOKED_AT, STAYING = 16, 0.1
"""Stretches that are looked at to know whether they left the page cache, and what share of them may stay."""
EVICTED_NBYTES = 1 << 20
"""Whole stretches of a file of so many bytes leave the page cache: it keeps pages by the hundred, and lets none of them go alone."""
UNWRITTEN_SECONDS = 120
"""Files that are older than this are on the disk: to ask takes a moment for each."""
PAYS = 1.2
"""From this gain on, writing the file is advised."""


def conversion_gain(source: Source, warm: float, fastest: Callable[[Source], float]) -> dict[str, Any] | None:
    """Records a second of a source and of a Parquet file of some of them, from the disk; None where that cannot be measured.

    Neither is faster than `warm`, what decoding and handing over allow; a Parquet file of what is compressed as a whole may be as
    fast as `fastest` says of it, since all cores decode it. What is read leaves the page cache before.
    """
    if source.format_name not in CALLED:
        return None
    source = source.complete()[0] if source.forward_only else source
    column = max(map(stored_column, source.columns), key=lambda one: 0 if one.held is not None else stored_nbytes(one))
    records, places = _some(source, column)
    with tempfile.TemporaryDirectory(prefix="streamload-plan-") as folder:
        if os.stat(folder).st_dev != source.fingerprints[0].device:
            return None  # Another disk, or memory: it says nothing of this one.
        held, rate = _from_disk(source, column, records, places)
        if len(held) < LEAST_RECORDS:
            return None
        path = Path(folder) / "part.parquet"
        _write(path, held)
        with streamload.open(path, decode=False) as parquet:
            # Blocks are read one after the other in any order of them, single records in one of chance.
            order = np.random.default_rng(1).permutation(len(held)) if parquet.addressable else np.arange(len(held), dtype=np.int64)
            again, parquet_rate = _from_disk(parquet, parquet.columns[0], order, [(str(path), 0, path.stat().st_size)])
        if not again:
            return None
        if source.forward_only:
            with streamload.open(path) as parquet:
                warm_parquet = fastest(parquet)
        else:
            warm_parquet = warm
    return {
        "what": CALLED[source.format_name] if len(source.fingerprints) == 1 or source.format_name == "Images" else "these files",
        "records": len(held),
        "source": min(warm, rate),
        "parquet": min(warm_parquet, parquet_rate),
    }


def gain_text(gain: dict[str, Any]) -> str:
    """What was measured, and of what."""
    records = "images" if gain["what"] == CALLED["Images"] else "records"
    gives, of = ("give", "them") if gain["what"].startswith("these") else ("gives", "it")
    return (
        f"{gain['what']} {gives} {gain['source']:,.0f} {records}/s cold, a Parquet file of {of} would give {gain['parquet']:,.0f} "
        f"(measured on {gain['records']:,} of {'its' if of == 'it' else 'their'} {records}, read by one process)"
    )


def pays(gain: dict[str, Any]) -> bool:
    """Whether the file is worth writing."""
    return gain["parquet"] >= PAYS * gain["source"]


def _some(source: Source, column: Column) -> tuple[NDArray[np.int64], list[Place]]:
    """Records from all over the source, in an order of chance, and where they lie: not too many bytes of them.

    Of compressed files these are the first, in the order in which they must be read.
    """
    if source.forward_only:
        least = max(1, stored_nbytes(column))
        records = np.arange(min(len(source), MOST_RECORDS, max(1, int(MOST_NBYTES // least))), dtype=np.int64)
        return records, [(was.path, 0, was.nbytes) for was in source.fingerprints[:1]]
    chosen: list[int] = []
    places: list[Place] = []
    nbytes = 0
    for record in np.random.default_rng(0).permutation(len(source))[:MOST_RECORDS].tolist():
        place = _place(source, column, record)
        if place is not None and (not chosen or nbytes + place[2] <= MOST_NBYTES):
            chosen.append(record)
            places.append(place)
            nbytes += place[2]
    return np.array(chosen, np.int64), places


def _place(source: Source, column: Column, record: int) -> Place | None:
    """Where a record lies; None where that cannot be told, or where there is none."""
    number = column.file_of(record)
    if number is not None:
        return source.fingerprints[number].path, 0, source.fingerprints[number].nbytes
    runs = column.byte_runs(record, record + 1)
    if runs is None or len(runs) != 1:
        return None
    number, start, stop = runs[0].tolist()
    return source.fingerprints[number].path, start, stop - start


def _evicted(places: Sequence[Place]) -> bool:
    """Whether stretches of files left the page cache, as far as some that are looked at tell: a look at each would take its time."""
    if not hasattr(os, "posix_fadvise") or not places:
        return False
    looked_at, staying = set(range(0, len(places), max(1, len(places) // LOOKED_AT))), 0
    for path, stretches in groupby(sorted((place, number) for number, place in enumerate(places)), key=lambda one: one[0][0]):
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # Whoever reads it says why.
        try:
            if time.time() - os.fstat(fd).st_mtime < UNWRITTEN_SECONDS:
                os.fsync(fd)  # Pages that are not on the disk yet stay.
            here = list(stretches)
            for (_, offset, nbytes), _ in here:
                start, stop = offset // EVICTED_NBYTES * EVICTED_NBYTES, -(-(offset + nbytes) // EVICTED_NBYTES) * EVICTED_NBYTES
                os.posix_fadvise(fd, start, stop - start, os.POSIX_FADV_DONTNEED)
            staying += sum(is_cached(fd, offset + nbytes // 2) for (_, offset, nbytes), number in here if nbytes and number in looked_at)
        finally:
            os.close(fd)
    return staying <= STAYING * len(looked_at)


def _from_disk(source: Source, column: Any, records: NDArray[np.int64], places: Sequence[Place]) -> tuple[list[bytes], float]:
    """Stored bytes of records, read from the disk in this order, and how many a second come; nothing where the page cache keeps them.

    What is read in a moment is read several times, and the fastest counts: something else may have happened meanwhile.
    """
    held: list[bytes] = []
    rate = 0.0
    for _ in range(MOST_TIMES):
        if not _evicted(places):
            return [], 0.0
        held, seconds = _read(source, column, records)
        rate = max(rate, len(held) / seconds)
        if seconds > SHORT_SECONDS:
            break
    return held, rate


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
            held += [one.encode() if isinstance(one, str) else bytes(one) for one in found]
        return held, max(1e-9, time.perf_counter() - began)
    finally:
        reader.close()
        files.close()


def _write(path: Path, held: list[bytes]) -> None:
    """A Parquet file as `convert` writes it: bytes that do not compress, in small row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": pa.array(held, pa.binary())}), path, compression="none", row_group_size=256, use_dictionary=False)
