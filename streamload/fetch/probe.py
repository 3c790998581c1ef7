"""What functions of the user's make of records, found by trying them on the first ones."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SourceError
from streamload.fetch.augment_images import decoded_whole
from streamload.fetch.bad_records import RAISE
from streamload.fetch.job import Job
from streamload.fetch.transform_records import Workspace
from streamload.images.column import EncodedImages
from streamload.ragged import Ragged
from streamload.schema import Schema
from streamload.source import Column, Fault, ReadStats, kept_column, read_records
from streamload.storage.files import OpenFiles
from streamload.transforms.batch import BatchTransform
from streamload.transforms.record import RecordTransform
from streamload.transforms.stage import augment_arrays

MOST_PROBED = 100
"""Records that a transform is tried on until one is good, where bad ones are not an error."""
BATCH = 2
"""Records that a function of whole batches is tried on, where there are so many."""


def probe(job: Job) -> Schema:
    """The schema of what the transform makes of the first good record; or, once that is known, the batch transform of the first few."""
    given, records = good_records(job, 1 if job.known is None else max(1, min(BATCH, job.streams[0].lanes[0].n)))
    if job.known is None:
        assert job.transform is not None
        workspace = filled(job.augmented, given[:1])
        transforming = RecordTransform(job.transform, stored=job.augmented, stored_arrays=workspace[0])
        transforming.stored_ragged.update(workspace[1])
        return transforming.schema(int(records[0]), seed=job.streams[0].seed)
    assert job.batch_transform is not None
    batch = whole_batch(job, given, records)
    transforming = BatchTransform(job.batch_transform)
    return transforming.schema(transforming.call(batch, records, seed=job.streams[0].seed, epoch=0, position=0), len(records))


def good_records(job: Job, count: int) -> tuple[list[dict[str, Any]], NDArray[np.int64]]:
    """The first good records of epoch 0, augmented, each as a batch of its own; and their numbers. Raises where the first is bad."""
    stream, found, numbers = job.streams[0], list[dict[str, Any]](), list[int]()
    tries = count if job.on_bad == RAISE else min(MOST_PROBED, stream.lanes[0].n)
    faults: list[Fault] = []
    files, meter = OpenFiles(stream.fingerprints), ReadStats()
    try:
        for position in range(tries):
            record, before = np.asarray(stream.lanes[0].records(0, position, position + 1), np.int64), len(faults)
            stored: dict[str, Any] = {}
            for column in stream.columns:
                reader = column.reader(files, meter)
                try:
                    stored[column.field.name] = probed(job, column, reader, record, faults if job.on_bad != RAISE else None)
                finally:
                    reader.close()
            if len(faults) > before:
                continue
            if job.augmentation is not None:
                stored = augment_arrays(job.augmentation, stored, record, seed=stream.seed, epoch=0)
            found.append(stored)
            numbers.append(int(record[0]))
            if len(found) == count:
                break
        if not found:
            raise faults[0].error
        return found, np.array(numbers, np.int64)
    finally:
        files.close()


def filled(schema: Schema, records: list[dict[str, Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, Ragged]]:
    """Records, each a batch of its own, put together: fixed fields as arrays, ragged ones as such."""
    fixed = {field.name: np.concatenate([one[field.name] for one in records]) for field in schema if not field.ragged}
    ragged: dict[str, Ragged] = {}
    for field in schema.ragged:
        parts = [one[field.name] for one in records]
        offsets = np.cumsum([0, *(int(part.offsets[-1] - part.offsets[0]) for part in parts)])
        values = [part.values[int(part.offsets[0]) : int(part.offsets[-1])] for part in parts]
        ragged[field.name] = Ragged(np.concatenate(values), offsets, field.ragged)
    return fixed, ragged


def whole_batch(job: Job, given: list[dict[str, Any]], records: NDArray[np.int64]) -> dict[str, Any]:
    """A batch as the batch transform is given it: augmented, and transformed record by record."""
    fixed, ragged = filled(job.augmented, given)
    if job.transform is None:
        return {field.name: ragged[field.name] if field.ragged else fixed[field.name] for field in job.augmented}
    transforming = RecordTransform(job.transform, stored=job.augmented, stored_arrays=fixed)
    transforming.stored_ragged.update(ragged)
    workspace = Workspace(job.transformed, len(records))
    out = {name: array for name, array in workspace.fields.items() if not job.transformed[name].ragged}
    uneven = transforming.apply(records, out, seed=job.streams[0].seed, epoch=0, start=0, ragged=job.transformed.ragged)
    for field in job.transformed.ragged:
        offsets = np.cumsum([0, *map(len, uneven[field.name])])
        ragged[field.name] = Ragged(np.concatenate(uneven[field.name]), offsets, field.ragged)
    return {field.name: ragged[field.name] if field.ragged else out[field.name] for field in job.transformed}


def probed(job: Job, column: Column, reader: Any, record: NDArray[np.int64], faults: list[Fault] | None) -> Any:
    """One record of a column as it is stored, an image in its own size where it is augmented; one that is bad is noted in `faults`."""
    name = column.field.name
    encoded = kept_column(column) is not column
    reader.collect_faults(faults)
    plans = job.augmentation.plans if job.augmentation is not None else ()
    masks = {mask.name for plan in plans for mask in plan.masks}
    if not encoded or not any(image.name == name for plan in plans for image in (*plan.images, *plan.masks)):
        return read_records(column, reader, record)
    try:
        return [decoded_whole(cast(EncodedImages, column), reader, record, mask=name in masks)]
    except SourceError as error:
        if faults is None:
            raise
        faults.append(Fault(0, int(record[0]), error))
        return []
