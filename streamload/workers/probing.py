"""What a function of the user's makes of a record, found in a worker of its own."""

from __future__ import annotations

from streamload.fetch.job import Job
from streamload.memory.progress import WorkerProgress
from streamload.schema import Field, Schema, dtype_of
from streamload.workers.pool import ProcessPool


def probe_schema(job: Job, *, timeout: float) -> Schema:
    """What the job's transform makes of a record, found in a worker of its own: a function that dies takes nothing along."""
    progress = WorkerProgress.create(1)
    pool = ProcessPool(job, ring=progress.block, progress=progress, arena=None, tables=None, timeout=timeout, probe=True)
    try:
        found = pool.probed()
    finally:
        pool.stop()
        progress.close()
    return Schema(tuple(Field(name, dtype_of(dtype), tuple(shape), ragged) for name, dtype, shape, ragged in found))
