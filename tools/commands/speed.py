"""How fast records of a file come: measured for a moment, and worked out for what would take longer."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import NullValueError
from streamload.loader.contents import spread
from streamload.memory.limits import available_nbytes
from streamload.source import ReadStats, Source, read_records, stored_column
from streamload.storage.file_table import sizes_of, total_nbytes
from streamload.storage.files import OpenFiles, is_cached
from streamload.tools.benchmark.peers.device import PAGE, Direct
from streamload.tools.convert.readers.library import LibraryRecords
from streamload.tools.convert.record_source import batch_records

MEASURED_SECONDS = 0.4
AHEAD = 256
"""Records for which the kernel is asked ahead in a cold measurement."""
AT_ONCE = 256
"""Records that are read by one call, as many as a usual batch has."""
MAPPED_NBYTES, MAPPED_FILES = 1 << 30, 1000
"""Files that are larger together, or more, are not mapped for a measurement of a moment."""
PIECE_NBYTES = 1 << 20
PROBED_NBYTES = 64 << 20
DEPTH = 4
COLD_FILES = 64
"""Records whose files are read from the disk, where each record has its own."""
COPIED_NBYTES = 64 << 20


def speeds(source: Source, *, cold: bool, orders: Sequence[str] = ("exact", "stored")) -> dict[str, float]:
    """Records a second in one process by order, warm, and from the disk: measured if asked, else worked out from the device's rate.

    Nulls are read as something else: they take as long. Nothing where one was met that nobody had counted.
    """
    source = source.complete()[0]
    try:
        return _speeds(source, cold=cold, orders=orders)
    except NullValueError:
        return {}


def _speeds(source: Source, *, cold: bool, orders: Sequence[str]) -> dict[str, float]:
    costly = max(column.amplification * column.field.nbytes for column in source.columns) > 1024**3
    rng = np.random.default_rng(0)
    batch = batch_records(LibraryRecords(source))
    jumping = rng.integers(0, len(source), min(65_536, max(batch, len(source))), dtype=np.int64)
    start = int(rng.integers(0, max(1, len(source) - len(jumping)), dtype=np.int64))
    running = np.arange(start, min(start + len(jumping), len(source)), dtype=np.int64)
    if source.addressable:
        running = np.resize(running, len(jumping))  # Of a few records the first ones alone would say little.
    found: dict[str, float] = {}
    device = 0.0 if cold else device_rate(source)
    each = 0.0 if cold else file_seconds(source)
    for name, records in (("exact", jumping), ("stored", running)):
        if name not in orders or (costly and name == "exact"):
            continue
        if cold:
            forget(source)
            found[f"{name}_cold"], _ = rates(source, records, batch)
        _, found[f"{name}_warm"] = rates(source, records, batch)
        if device or each:
            cost = each or read_nbytes(source, exact=name == "exact") / device
            found[f"{name}_cold"] = 1 / (1 / found[f"{name}_warm"] + cost)
    return found


def rates(source: Source, records: NDArray[np.int64], batch: int) -> tuple[float, float]:
    """Read in the order given until the time is over, and the same records again: records a second, first and again.

    Again everything is where it will be in later epochs: in the page cache, and in the tables of pages that are mapped.
    """
    files = OpenFiles(source.fingerprints)
    readers = [column.reader(files, ReadStats()) for column in source.columns]
    for reader in readers:
        reader.collect_faults([])  # This is about speed: a damaged image is left to whoever reads it.
    # As in a loader, batches are filled in memory that is there already: new memory would cost more than reading.
    batch = max(1, min(batch, AT_ONCE))
    places = [None if column.field.ragged else np.zeros((batch, *column.field.shape), column.field.dtype) for column in source.columns]
    try:
        first, done = _rate(source, readers, places, records, batch)
        if source.addressable:
            _map(files)
        again, _ = _rate(source, readers, places, records[:done], batch)
    finally:
        for reader in readers:
            reader.close()
        files.close()
    return first, again


def _map(files: OpenFiles) -> None:
    """Map what the page cache holds of not too large files, as workers do: records are then copied and not read."""
    if len(files.fingerprints) > MAPPED_FILES or total_nbytes(files.fingerprints) > MAPPED_NBYTES:
        return
    for number, was in enumerate(files.fingerprints):
        mapping = files.map(number) if was.nbytes else None
        while mapping is not None and not mapping.populated and mapping.populate():
            pass


def _rate(source: Source, readers: Sequence[Any], places: Sequence[Any], records: NDArray[np.int64], batch: int) -> tuple[float, int]:
    """Records a second, and how many were read before the time was over."""
    rows = np.arange(batch, dtype=np.int64)
    done = told = 0
    began = time.perf_counter()
    while done < len(records) and time.perf_counter() - began < MEASURED_SECONDS:
        if told < min(len(records), done + AHEAD // 2):
            for reader in readers:
                reader.advise(records[told : told + AHEAD])
            told += AHEAD
        chosen = records[done : done + batch]
        for column, reader, place in zip(source.columns, readers, places, strict=True):
            if place is None:
                read_records(column, reader, chosen)
            else:
                reader.gather(chosen, place[: len(chosen)], rows[: len(chosen)])
        done += len(chosen)
    return done / max(1e-9, time.perf_counter() - began), done


def forget(source: Source) -> None:
    """Drop the files from the page cache, where the system can."""
    for was in source.fingerprints if hasattr(os, "posix_fadvise") else ():
        fd = os.open(was.path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def read_nbytes(source: Source, *, exact: bool, free_nbytes: int | None = None) -> float:
    """Bytes that come from the device for one record, in exact order those of the blocks it costs, on the mean over an epoch.

    What fits into memory that is free, by default that of this machine, comes from the device once; of more, blocks that are
    met again are there as often as memory holds a share of all. A record by itself costs no less than a page.
    """
    free_nbytes = available_nbytes() if free_nbytes is None else free_nbytes
    each, cost = 0.0, 0.0
    for column in source.columns:
        stored = column.file_nbytes
        one = stored / max(1, len(source)) if stored is not None else float(column.field.nbytes)
        alone = exact and column.addressable and column.held is None
        each += one
        cost += max(one, PAGE) if alone else one * (column.amplification if exact else 1.0)
    held = min(1.0, free_nbytes / max(1.0, each * len(source)))
    return min(cost, each) if held == 1.0 else each + (cost - each) * (1 - held)


def file_seconds(source: Source) -> float:
    """What reading the files of a record takes that are not in the page cache, where each has its own; 0 where that cannot be told."""
    columns = [column for column in map(stored_column, source.columns) if len(source) and column.file_of(0) is not None]
    chosen = spread(len(source), COLD_FILES).tolist() if hasattr(os, "posix_fadvise") and columns else []
    numbers = [number for column in columns for record in chosen if (number := column.file_of(record)) is not None]
    seconds = 0.0
    for number in numbers:
        try:
            fd = os.open(source.fingerprints[number].path, os.O_RDONLY)
        except OSError:
            continue  # Whoever reads it will say why.
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if os.fstat(fd).st_size == 0 or is_cached(fd, 0):
                return 0.0  # In memory all the same: a file system that has no other place, or pages that are in use.
            began = time.perf_counter()
            os.read(fd, os.fstat(fd).st_size)
            seconds += time.perf_counter() - began
        finally:
            os.close(fd)
    return seconds / max(1, len(chosen))


def device_rate(source: Source) -> float:
    """Bytes a second that come from the device past the page cache, from a few places of the largest file; 0 where that cannot be had."""
    largest = int(sizes_of(source.fingerprints, np.arange(len(source.fingerprints))).argmax())
    return device_rate_of(source.fingerprints[largest].path)


def device_rate_of(path: str) -> float:
    """The same for a file."""
    nbytes = os.path.getsize(path)
    if nbytes < 2 * PIECE_NBYTES:
        return 0.0
    try:
        file = Direct(path)
    except (OSError, AttributeError):
        return 0.0
    try:
        pieces = nbytes // PIECE_NBYTES
        places = np.random.default_rng(0).permutation(pieces)[: PROBED_NBYTES // PIECE_NBYTES] * PIECE_NBYTES
        began = time.perf_counter()
        came = file.read(places.tolist(), PIECE_NBYTES, DEPTH)
        return came / max(1e-9, time.perf_counter() - began)
    except OSError:
        return 0.0
    finally:
        os.close(file.fd)


def copy_rate() -> float:
    """Bytes a second that one core copies from memory to memory."""
    # Filled, not zeroed: the system gives memory of zeros only when it is touched.
    here, there = np.ones(COPIED_NBYTES // 2, np.uint8), np.ones(COPIED_NBYTES // 2, np.uint8)
    began = time.perf_counter()
    np.copyto(there, here)
    np.copyto(here, there)
    return COPIED_NBYTES / max(1e-9, time.perf_counter() - began)
