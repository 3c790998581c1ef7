"""Finds out which fields `transform=` and `batch_transform=` return, by calling them on the first records before any worker does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SourceError, TransformError
from streamload.fetch.augment_images import decoded_whole
from streamload.fetch.bad_records import RAISE
from streamload.fetch.job import Job, Stream
from streamload.fetch.transform_records import Workspace
from streamload.images.column import EncodedImages
from streamload.order import BoundOrder
from streamload.ragged import Ragged
from streamload.schema import Schema
from streamload.source import Column, Fault, ReadStats, read_records, stored_column
from streamload.storage.files import OpenFiles
from streamload.transforms.batch import BatchTransform
from streamload.transforms.record import RecordTransform, is_of_data
from streamload.transforms.stage import augment_arrays
from streamload.transforms.trial import Trial, schema_of

MOST_PROBED = 100
"""Records that are tried until one is good, if bad records are not an error."""
MOST_COMPARED = 8
"""Records that `transform` is tried on if there are ragged fields: a field of the result whose length differs is ragged too."""
BATCH = 2
"""Records that `batch_transform` is tried on; fewer if the data has fewer."""


class StoredRecord(NamedTuple):
    """A record of the first stream, as `transform` is given it: augmented."""

    fields: dict[str, Any]
    """By field, as of a batch of one record."""
    record: int
    """Its record number."""


def probe(job: Job) -> Schema:
    """The schema of what `transform` returns; or, once `job.known` has that, of what `batch_transform` returns.

    Raises TransformError if the function fails on a record that it is tried on, unless bad records are not an error and it succeeds on
    another; and what reading the records raises.
    """
    return transformed_schema(job) if job.known is None else batch_schema(job)


def transformed_schema(job: Job) -> Schema:
    """The schema of what `transform` returns for the first good record; for the first few if there are ragged fields."""
    assert job.transform is not None
    several = bool(job.augmented.ragged)
    trials: list[Trial] = []
    failed: TransformError | None = None
    for stored, record in good_records(job, MOST_COMPARED if several else 1):
        fixed, ragged = filled(job.augmented, [stored])
        transforming = RecordTransform(job.transform, stored=job.augmented, stored_arrays=fixed)
        transforming.stored_ragged.update(ragged)
        shortened = several and all(one.real for one in trials)
        try:
            trials += transforming.trials(record, seed=job.streams[0].seed, shortened=shortened)
        except TransformError as error:
            if job.on_bad == RAISE or not is_of_data(error):
                if trials:
                    break  # The step that has this record raises the error, if it is ever needed.
                raise
            failed = failed or error
        if sum(one.real for one in trials) == (MOST_COMPARED if several else 1):
            break
    if not trials and failed is not None:
        raise failed
    return schema_of(trials, job.augmented)


def batch_schema(job: Job) -> Schema:
    """The schema of what `batch_transform` returns for the first good records."""
    assert job.batch_transform is not None
    count = max(1, min(BATCH, _first_lane(job.streams[0]).n))
    transforming = BatchTransform(job.batch_transform)
    taken: list[StoredRecord] = []
    failed: TransformError | None = None
    for stored in good_records(job, count):
        try:
            whole_batch(job, [stored])
            taken.append(stored)
            if len(taken) == count:
                return _made_of(job, transforming, taken)
        except TransformError as error:
            if job.on_bad == RAISE or not is_of_data(error):
                raise
            failed, taken = failed or error, taken if len(taken) < count else []
    if failed is not None and not taken:
        raise failed
    return _made_of(job, transforming, taken)


def _made_of(job: Job, transforming: BatchTransform, taken: Sequence[StoredRecord]) -> Schema:
    """The schema of what `batch_transform` returns for a batch of these records."""
    records = np.array([one.record for one in taken], np.int64)
    result = transforming.call(whole_batch(job, taken), records, seed=job.streams[0].seed, epoch=0, position=0)
    return transforming.schema(result, len(records))


def good_records(job: Job, count: int) -> Iterator[StoredRecord]:
    """The first records of epoch 0 that can be read: of the first `count`; of the first MOST_PROBED if bad records are not an error.

    Raises the error of a bad record, if bad records are an error or no record is good.
    """
    stream, faults, found = job.streams[0], list[Fault](), 0
    lane = _first_lane(stream)
    tries = min(count if job.on_bad == RAISE else MOST_PROBED, lane.n)
    files, meter = OpenFiles(stream.fingerprints), ReadStats()
    try:
        for position in range(tries):
            record, before = np.asarray(lane.records(0, position, position + 1), np.int64), len(faults)
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
            found += 1
            yield StoredRecord(stored, int(record[0]))
        if not found:
            raise faults[0].error
    finally:
        files.close()


def _first_lane(stream: Stream) -> BoundOrder:
    """The first lane that has any records: of fewer records than lanes, some have none."""
    return next(lane for lane in stream.lanes if lane.n)


def filled(schema: Schema, records: list[dict[str, Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, Ragged]]:
    """Batches of one record put together: (fixed fields by name, of shape (len(records), *field.shape); ragged fields by name)."""
    fixed = {field.name: np.concatenate([one[field.name] for one in records]) for field in schema if not field.ragged}
    ragged: dict[str, Ragged] = {}
    for field in schema.ragged:
        parts = [one[field.name] for one in records]
        offsets = np.cumsum([0, *(int(part.offsets[-1] - part.offsets[0]) for part in parts)])
        values = [part.values[int(part.offsets[0]) : int(part.offsets[-1])] for part in parts]
        ragged[field.name] = Ragged(np.concatenate(values), offsets, field.ragged)
    return fixed, ragged


def whole_batch(job: Job, taken: Sequence[StoredRecord]) -> dict[str, Any]:
    """The batch of these records that `batch_transform` is given: `transform`, if there is one, is called for each record."""
    fixed, ragged = filled(job.augmented, [one.fields for one in taken])
    if job.transform is None:
        return {field.name: ragged[field.name] if field.ragged else fixed[field.name] for field in job.augmented}
    transforming = RecordTransform(job.transform, stored=job.augmented, stored_arrays=fixed)
    transforming.stored_ragged.update(ragged)
    records = np.array([one.record for one in taken], np.int64)
    workspace = Workspace(job.transformed, len(records))
    out = {name: array for name, array in workspace.fields.items() if not job.transformed[name].ragged}
    elements_of = transforming.apply(records, out, seed=job.streams[0].seed, epoch=0, start=0, ragged=job.transformed.ragged)
    for field in job.transformed.ragged:
        offsets = np.cumsum([0, *map(len, elements_of[field.name])])
        ragged[field.name] = Ragged(np.concatenate(elements_of[field.name]), offsets, field.ragged)
    return {field.name: ragged[field.name] if field.ragged else out[field.name] for field in job.transformed}


def probed(job: Job, column: Column, reader: Any, record: NDArray[np.int64], faults: list[Fault] | None) -> Any:
    """One record of a column, as a batch of one: as augmentation takes it, which decodes an image in its own size.

    A record that cannot be read is added to `faults`; without `faults`, it raises.
    """
    name = column.field.name
    encoded = stored_column(column) is not column
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
