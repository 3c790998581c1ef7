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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.errors import ConversionError, SourceError, StreamloadError, to_plain
from streamload.formats.hdf5.inspector import Inspector
from streamload.processes.fault_points import fault_point
from streamload.storage.owned_files import Folder
from streamload.tools.convert.manifest import BLOCK_NBYTES, VERSION, file_entry, schema_entry
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.encode_images import ReencodedImages, stored
from streamload.tools.convert.readers.open import open_records
from streamload.tools.convert.record_hashes import Content
from streamload.tools.convert.record_source import RecordSource, batch_records
from streamload.tools.convert.shuffle import Buckets, WrittenOrder, WrittenOrderIndex
from streamload.tools.convert.working_folder import staged
from streamload.tools.convert.writers.registry import Annotations, WriteOptions, writer_of
from streamload.tools.convert.writers.text_limits import require_held_texts, unheld_among
from streamload.tools.convert.writers.verify_file import Stretch, read_back
from streamload.tools.files.checksums import record_checksums
from streamload.tools.files.direct_io import aligned_records
from streamload.tools.files.verify_writes import ReadBehind

Batch = tuple[int, dict[str, NDArray[Any]]]
"""The position of the first record, and records that follow each other: every field."""
LARGE_RECORD_NBYTES = 32 * 1024**2
"""Records that are larger are taken when they are written, and not ahead of it: one of them is in memory at a time."""
PERIOD_RECORDS = 256
"""How often the parent hears of progress, at least."""


def main() -> None:
    """Do the tasks that come as lines on standard input, one after the other; answer in lines of JSON."""
    # Ctrl-C, and what schedulers send, reaches the whole group of processes: the parent decides what it means.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    while True:
        task = json.loads(tasks.get())
        _tell(perform(task, saw=lambda count: _tell({"done": count})))


def perform(task: dict[str, Any], *, saw: Callable[[int], None] = lambda count: None) -> dict[str, Any]:
    """Do one task, wherever this process is; {"answer": what came of it} or {"error": why not}. `saw` hears of records on the way."""
    try:
        if task["streamload"] != streamload.__version__:
            raise ConversionError(
                f"This worker has streamload {streamload.__version__}, and the conversion was begun with {task['streamload']}.",
                hint="Install one version everywhere.",
            )
        return {"answer": KINDS[task["kind"]](task, ProgressReporter(saw))}
    except StreamloadError as error:
        return {"error": to_plain(error)}
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        return {"error": to_plain(_explained(error, task))}


class ProgressReporter:
    """Counts records, and tells of them now and then."""

    def __init__(self, saw: Callable[[int], None]) -> None:
        self._saw = saw
        self._waiting = 0

    def add(self, count: int) -> None:
        """So many more are done."""
        self._waiting += count
        if self._waiting >= PERIOD_RECORDS:
            self._saw(self._waiting)
            self._waiting = 0


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
        named = re.search(r"errno\s*=\s*([0-9]+)", str(error))
        number = int(named[1]) if named else errno.ENOMEM if isinstance(error, MemoryError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        needed, free = int(task["nbytes"]), shutil.disk_usage(folder).free
        reasons = {errno.EFBIG: "a file may not be so large", errno.EDQUOT: "the quota is used up"}
        what = reasons.get(number, f"{free:,} bytes are free there")
        return ConversionError(
            f"{os.path.basename(path)} needs about {needed:,} bytes in {folder}, and {what}: {os.strerror(number)}.",
            hint="Make room or choose another folder; the same command then does what is missing.",
            errno=number,
            needed_nbytes=needed,
            available_nbytes=free,
        )
    said = re.sub(r"/proc/self/fd/[0-9]+(?=/)", os.path.dirname(path), str(error))
    return ConversionError(
        f"{os.path.basename(path)} could not be written: {type(error).__name__}: {said}",
        hint="Nothing was left under the final name.",
        errno=number,
    )


def scan(task: dict[str, Any], progress: ProgressReporter) -> dict[str, Any]:
    """Take a stretch of records, and say which cannot be had: one by one only where several could not."""
    origin = open_records(OpenRequest.of(task["request"]))
    style = WriteOptions(**task["style"])
    # Where bytes are kept, images may differ in size; nothing is encoded only to be thrown away.
    kept = stored(origin, style) if style.store == "keep" else origin
    bad: list[tuple[int, str]] = []
    batch = batch_records(origin)
    try:
        for start in range(task["start"], task["stop"], batch):
            numbers = np.arange(start, min(start + batch, task["stop"]), dtype=np.int64)
            try:
                require_held_texts(kept.take(numbers), style.format)
            except SourceError:
                for number in numbers.tolist():
                    try:
                        require_held_texts(kept.take(np.array([number], np.int64)), style.format)
                    except SourceError as error:
                        bad.append((number, error.message))
            progress.add(len(numbers))
    finally:
        if kept is not origin:
            kept.close()
        origin.close()
    return {"bad": bad}


def look_at_texts(task: dict[str, Any], progress: ProgressReporter) -> dict[str, Any]:
    """The first text of a stretch of records that the files to be written cannot hold: its record and field."""
    style, order = WriteOptions(**task["style"]), WrittenOrderIndex(WrittenOrder.of(task["order"]))
    with closing(open_records(OpenRequest.of(task["request"]))) as origin:
        batch = batch_records(origin)
        for start in range(task["start"], task["stop"], batch):
            numbers = order.written(start, min(start + batch, task["stop"]))
            found = unheld_among(origin, numbers, style.format)
            if found is not None:
                return {"unheld": [found]}
            progress.add(len(numbers))
    return {"unheld": []}


def scatter(task: dict[str, Any], progress: ProgressReporter) -> dict[str, Any]:
    """Read all records as they are stored, and put each into the bucket of the place where it will stand."""
    origin = open_records(OpenRequest.of(task["request"]), threads=task["threads"])
    folder = _folder(task, "buckets")
    buckets = Buckets(folder, origin.schema, task["total"], count=task["buckets"])
    batch = batch_records(origin)
    stretches = [(start, min(start + batch, len(origin))) for start in range(0, len(origin), batch)]
    try:
        for (start, stop), places in zip(
            stretches, WrittenOrderIndex(WrittenOrder.of(task["order"])).positions(iter(stretches)), strict=True
        ):
            numbers = np.arange(start, stop, dtype=np.int64)[places >= 0]
            if len(numbers):
                buckets.scatter(places[places >= 0], origin.take(numbers))
            progress.add(len(numbers))
    finally:
        buckets.close()
        folder.close()
        origin.close()
    return {}


def _folder(task: dict[str, Any], name: str) -> Folder:
    """A folder of the working folder that a task belongs to; of a task without one the folder of its file."""
    if "staging" not in task:
        return Folder.named(os.path.dirname(task["path"]))
    with staged(**task["staging"]) as held:
        return held.folder(name)


def write(task: dict[str, Any], progress: ProgressReporter) -> dict[str, Any]:
    """Write one file, read it again, and say what a manifest says of it."""
    name = os.path.basename(task["path"])
    with _folder(task, "out") as folder:
        # Two workers may do one task, where a cluster thinks that one was lost: each has a file of its own until it is whole.
        half = f".{name}.tmp-{os.getpid()}-{os.urandom(4).hex()}"
        folder.claim(half, name)
        try:
            answer = _written(task, folder, half, progress)
            folder.move(half, name)
        except BaseException:
            folder.delete(half)
            raise
    fault_point("convert.written")
    return answer


def _written(task: dict[str, Any], folder: Folder, half: str, progress: ProgressReporter) -> dict[str, Any]:
    path, records, style = folder.held_path(half), task["stop"] - task["start"], WriteOptions(**task["style"])
    with ExitStack() as held:
        origin = held.enter_context(closing(open_records(OpenRequest.of(task["request"]), threads=task["threads"])))
        first = task["start"] - task["part_start"]
        written = Content(VERSION)
        stretches: list[Stretch] = []
        kept = stored(origin, style, threads=task["threads"])
        if kept is not origin:
            held.enter_context(closing(kept))
        schema = kept.schema
        said = Annotations() if style.values_only else Annotations(classes=origin.classes, attributes=origin.attributes)
        writer = writer_of(path, schema, records, style, said)
        held.push(lambda kind, *_: writer.abandon() if kind is not None else None)
        behind = held.enter_context(ReadBehind(path, BLOCK_NBYTES))
        if style.format == "hdf5":
            Inspector.warm()
        # Digests are computed beside everything else: hashing lets go of the interpreter.
        beside = held.enter_context(ThreadPoolExecutor(1))
        ahead = _ahead if origin.record_nbytes <= LARGE_RECORD_NBYTES else iter
        for start, taken in ahead(_in_order(task, origin, kept)):
            hashing = beside.submit(written.add, taken, first + start - task["start"])
            stop = start + len(next(iter(taken.values())))
            stretches.append((start - task["start"], stop - task["start"], record_checksums(taken)))
            writer.append(taken)
            behind.settled(writer.settled())
            fault_point("convert.batch")
            hashing.result()
            progress.add(stop - start)
            del taken, hashing  # large records are taken one by one: this one goes before the next one comes
        writer.close()
        fault_point("convert.closed")
        behind.finish()
        delivered = read_back(folder.path_of(half), schema, stretches, behind, title=task["path"], threads=int(task["threads"]))
        entry = file_entry(path, records=records, content=written, part=task["part"], first=first, blocks=behind.blocks())
    return {"entry": entry | {"name": os.path.basename(task["path"])}, "schema": schema_entry(delivered)}


def _in_order(task: dict[str, Any], origin: RecordSource, kept: RecordSource) -> Iterator[Batch]:
    """The records of positions start to stop, a few at a time, as they are stored."""
    batch = aligned_records(batch_records(origin), max(field.nbytes for field in origin.schema))
    if task["scattered"]:
        with _folder(task, "buckets") as folder:
            buckets = Buckets(folder, origin.schema, task["total"], count=task["buckets"])
            for start, taken in buckets.gathered(task["start"], task["stop"], batch):
                yield start, kept.encoded(taken) if isinstance(kept, ReencodedImages) else taken
        return
    order = WrittenOrderIndex(WrittenOrder.of(task["order"]))
    if origin.record_nbytes > LARGE_RECORD_NBYTES:
        yield from ((at, kept.take(order.at(at, at + 1))) for at in range(task["start"], task["stop"]))
        return
    coming: tuple[int, Callable[[], dict[str, Any]]] | None = None
    for start in range(task["start"], task["stop"], batch):
        following = start, kept.begin_take(order.at(start, min(start + batch, task["stop"])))
        if coming is not None:
            yield coming[0], coming[1]()
        coming = following
    if coming is not None:
        yield coming[0], coming[1]()


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; each is made while the one before it is written."""
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = beside.submit(next, batches, None)
            yield batch


KINDS: dict[str, Callable[[dict[str, Any], ProgressReporter], dict[str, Any]]] = {
    "scan": scan,
    "texts": look_at_texts,
    "scatter": scatter,
    "write": write,
}

if __name__ == "__main__":
    main()
