"""One task of a conversion, in a process of its own: a codec that crashes, or a library that gives up, takes nothing with it."""

from __future__ import annotations

import errno
import json
import os
import queue
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from streamload.tools.convert_order import Buckets, Numbers
from streamload.tools.manifest import Content, file_entry, schema_entry
from streamload.tools.origins import Origin, Request, origin_of
from streamload.tools.reading import batch_records
from streamload.tools.targets import Style, writer_of

import streamload
from streamload.errors import ChecksumError, ConversionError, SourceError, StreamloadError, to_plain
from streamload.schema import Schema

Batch = tuple[int, dict[str, NDArray[Any]]]
"""The position of the first record, and records that follow each other: every field."""
PERIOD_RECORDS = 256
"""How often the parent hears of progress, at least."""


def main() -> None:
    """Do the tasks that come as lines on standard input, one after the other; answer in lines of JSON."""
    # Ctrl-C reaches the whole group of processes: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    while True:
        task = json.loads(tasks.get())
        try:
            _tell({"answer": KINDS[task["kind"]](task)})
        except StreamloadError as error:
            _tell({"error": to_plain(error)})
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            _tell({"error": to_plain(_explained(error, task))})


def _listen(tasks: queue.SimpleQueue[str]) -> None:
    """Hand on what the parent sends. Its end of the pipe closes when it is done, or dead: then nothing here is of use."""
    for line in sys.stdin:
        tasks.put(line)
    # Not the usual way out: the HDF5 library may crash in it, after a write that failed.
    os._exit(0)


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _explained(error: BaseException, task: dict[str, Any]) -> StreamloadError:
    """An error of the system or of a library as one of ours: a full disk with what is free, anything else by its text."""
    path = str(task.get("path", ""))
    folder = os.path.dirname(path)
    number = getattr(error, "errno", None)
    if number is None:
        said = re.search(r"errno\s*=\s*([0-9]+)", str(error))
        number = int(said[1]) if said else errno.ENOMEM if isinstance(error, MemoryError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        needed, free = int(task["nbytes"]), shutil.disk_usage(folder).free
        reasons = {errno.EFBIG: "a file may not be so large", errno.EDQUOT: "the quota is used up"}
        what = reasons.get(number, f"{free:,} bytes are free there")
        return ConversionError(
            f"{os.path.basename(path)} needs about {needed:,} bytes in {folder}, and {what}: {os.strerror(number)}.",
            hint="Make room or choose another folder; the same command then goes on where it was.",
            errno=number,
            needed_nbytes=needed,
            available_nbytes=free,
        )
    return ConversionError(
        f"{os.path.basename(path)} could not be written: {type(error).__name__}: {error}",
        hint="Nothing was left under the final name.",
        errno=number,
    )


def _progress(count: int, waiting: list[int]) -> None:
    waiting[0] += count
    if waiting[0] >= PERIOD_RECORDS:
        _tell({"done": waiting[0]})
        waiting[0] = 0


def scan(task: dict[str, Any]) -> dict[str, Any]:
    """Decode a stretch of records, and say which cannot be."""
    origin = origin_of(Request.of(task["request"]))
    bad: list[tuple[int, str]] = []
    waiting = [0]
    try:
        for number in range(task["start"], task["stop"]):
            try:
                origin.take(np.array([number], np.int64))
            except SourceError as error:
                bad.append((number, error.message))
            _progress(1, waiting)
    finally:
        origin.close()
    return {"bad": bad}


def scatter(task: dict[str, Any]) -> dict[str, Any]:
    """Read all records as they are stored, and put each into the bucket of the place where it will stand."""
    origin = origin_of(Request.of(task["request"]), threads=task["threads"])
    buckets = Buckets(task["path"], origin.schema, len(origin), count=task["buckets"])
    places = Numbers(task["order"]).inverse(len(origin))
    waiting = [0]
    batch = batch_records(origin)
    try:
        for start in range(0, len(origin), batch):
            numbers = np.arange(start, min(start + batch, len(origin)), dtype=np.int64)
            buckets.scatter(places[numbers], origin.take(numbers))
            _progress(len(numbers), waiting)
    finally:
        buckets.close()
        origin.close()
    return {}


def write(task: dict[str, Any]) -> dict[str, Any]:
    """Write one file, read it again, and say what a manifest says of it."""
    path, records, style = task["path"], task["stop"] - task["start"], Style(**task["style"])
    if os.path.lexists(path):
        os.unlink(path)
    origin = origin_of(Request.of(task["request"]), threads=task["threads"])
    first = task["start"] - task["part_start"]
    written = Content()
    waiting = [0]
    try:
        schema = origin.schema
        writer = writer_of(path, schema, records, style)
        # Digests are computed beside everything else: hashing lets go of the interpreter.
        with ThreadPoolExecutor(1) as beside:
            for start, taken in _ahead(_in_order(task, origin)):
                hashing = beside.submit(written.add, taken, first + start - task["start"])
                writer.append(taken)
                hashing.result()
                _progress(len(next(iter(taken.values()))), waiting)
        writer.close()
    finally:
        origin.close()
    read = Content()
    delivered = _read_again(path, schema, lambda start, taken: read.add(taken, first + start))
    if read.numbered != written.numbered:
        raise ChecksumError(
            f"{path} does not hold what was written to it: the digest of its records differs.", hint="Check disk and memory.", path=path
        )
    return {"entry": file_entry(path, records=records, content=read, part=task["part"], first=first), "schema": schema_entry(delivered)}


def _in_order(task: dict[str, Any], origin: Origin) -> Iterator[Batch]:
    """The records of positions start to stop, a few at a time."""
    batch = batch_records(origin)
    if task["scattered"]:
        buckets = Buckets(task["scattered"], origin.schema, task["total"], count=task["buckets"])
        yield from buckets.gathered(task["start"], task["stop"], batch)
        return
    order = Numbers(task["order"])
    for start in range(task["start"], task["stop"], batch):
        yield start, origin.take(order.at(start, min(start + batch, task["stop"])))


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; each is made while the one before it is written."""
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = beside.submit(next, batches, None)
            yield batch


def _read_again(path: str, schema: Schema, saw: Callable[[int, dict[str, NDArray[Any]]], object]) -> Schema:
    """What was written, as a loader will read it; the schema that it then has."""
    source = streamload.open(path)
    try:
        if len(schema) == len(source.schema) == 1:
            # An array alone has no name in an .npy file: it is called like the file.
            name, called = schema.names[0], source.schema.names[0]
            schema = Schema((replace(schema[name], name=called),))
        # HDF5 files with labels of shape (N, 1) are read as single numbers, whoever wrote them.
        found = {field.name: (field.dtype, field.shape) for field in source.schema}
        wanted = {field.name: (field.dtype, field.shape) for field in schema}
        flat = {name: (dtype, () if set(shape) == {1} else shape) for name, (dtype, shape) in wanted.items()}
        if any(found.get(name) not in (wanted[name], flat[name]) for name in wanted) or len(found) != len(wanted):
            raise ConversionError(f"{path} was written with {schema}, and reads as {source.schema}.", hint="Please report this.")
        batch = batch_records(source)
        with ThreadPoolExecutor(1) as beside:
            hashing: Future[object] | None = None
            for start in range(0, len(source), batch):
                taken = source.take(np.arange(start, min(start + batch, len(source)), dtype=np.int64))
                if hashing is not None:
                    hashing.result()
                hashing = beside.submit(saw, start, taken)
            if hashing is not None:
                hashing.result()
        return source.schema
    finally:
        source.close()


KINDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"scan": scan, "scatter": scatter, "write": write}

if __name__ == "__main__":
    main()
