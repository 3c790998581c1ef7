"""How a worker came to its end, or to none, as an error: who, how, doing what, and why, where files and system tell."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from streamload.errors import ResourceError, SourceChangedError, WorkerCrashedError, WorkerTimeoutError
from streamload.fetch.job import Job
from streamload.fetch.tasks import StepTask
from streamload.storage.files import recheck

MOST_CHECKED_FILES = 1000
MOST_NAMED_RECORDS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerExit:
    """A worker that ended, and what it was at."""

    worker: int
    pid: int | None
    status: int
    """An exit status, or minus a signal's number."""
    task: StepTask | None
    """The oldest step that it had been given and had not answered."""
    trace: str
    """What its fault handler wrote."""


def not_started(worker: int, why: str, errno: int | None) -> ResourceError:
    """The error for a worker that the system would not fork."""
    return ResourceError(
        f"worker {worker} could not be started: {why}.", hint="Lower num_workers, free memory, or raise `ulimit -u`.", errno=errno
    )


def crashed(job: Job, death: WorkerExit, *, others: Sequence[int] = (), before: int = 0, poison: bool = False) -> WorkerCrashedError:
    """The error for a worker that died; `others` are process ids of workers that had died by then too.

    `before`: how many workers in its place had died before they had done anything. `poison`: a second one died of the same step.
    """
    task, status = death.task, death.status
    name = signal.Signals(-status).name if status < 0 else None
    how = f"was killed by {name}" if name else f"exited with status {status}"
    doing = f"while preparing {_step(task)}" if task else "before its work was done"
    also = f"; {len(others)} more died with it" if others else ""
    records = _records(job, task) if poison and task else None
    if before and not poison:
        also += f", as {before} before it in its place had been" if name else f", as {before} before it in its place had done"
    if poison:
        also += ", as the worker before it had done" + (f" with the same records ({_few(records)})" if records else "")
    trace = death.trace or None
    return WorkerCrashedError(
        f"worker {death.worker} (pid {death.pid}) {how} {doing}{where(job)}{also}.",
        hint=_cause(job, name) or ("The native traceback is in `error.native_traceback`." if trace else "Look at the system log."),
        worker_id=death.worker,
        pid=death.pid,
        epoch=task.epoch if task else None,
        batch_index=task.step if task else None,
        files=[was.path for was in job.fingerprints[:10]],
        positions=[task.pieces[0].start, task.pieces[-1].stop] if task else None,
        exitcode=status,
        signal_name=name,
        native_traceback=trace,
        dead=[*([death.pid] if death.pid is not None else []), *others],
        poison=poison,
        records=records,
    )


def timed_out(job: Job, *, worker: int, pid: int | None, task: StepTask | None, stack: str, timeout: float) -> WorkerTimeoutError:
    """The error for a worker that does not answer, with where it is."""
    doing = _step(task) if task else "its work"
    return WorkerTimeoutError(
        f"worker {worker} has not finished {doing} within {timeout:g} s{where(job)}."
        + (f"\nIt is here:\n{stack}" if stack else " It does not say where it is: it may be stopped, or wait for a disk."),
        hint="Raise `timeout=` if the work is really that slow.",
        worker_id=worker,
        pid=pid,
        epoch=task.epoch if task else None,
        batch_index=task.step if task else None,
        stack=stack or None,
    )


def where(job: Job) -> str:
    """The files, in brackets, in a few words."""
    names = [PurePath(was.path).name for was in job.fingerprints[:1]]
    if not names:
        return ""
    return f" ({names[0]})" if len(job.fingerprints) == 1 else f" ({names[0]} and {len(job.fingerprints) - 1} more files)"


def _step(task: StepTask) -> str:
    return f"batch {task.step} of epoch {task.epoch}"


def _cause(job: Job, signal_name: str | None) -> str:
    """What most likely killed it."""
    try:
        for was in job.fingerprints if len(job.fingerprints) <= MOST_CHECKED_FILES else ():
            recheck(was)
    except SourceChangedError as error:
        return f"{error.message} A mapped file that shrinks kills whoever reads it."
    if signal_name == "SIGKILL":
        return "This is often the kernel's out-of-memory killer: lower `memory=` or num_workers, and look at the system log."
    if signal_name is None:
        return "A function of yours, or a library that it uses, ended the process: look for os._exit or sys.exit."
    return ""


def _records(job: Job, task: StepTask) -> list[int] | None:
    """The record numbers of a step, as far as they can be worked out here."""
    try:
        pieces = [piece._replace(stop=min(piece.stop, piece.start + MOST_NAMED_RECORDS)) for piece in task.pieces]
        return np.concatenate([job.records(piece) for piece in pieces]).tolist()[:MOST_NAMED_RECORDS]
    except Exception:
        return None


def _few(records: Sequence[int]) -> str:
    return ", ".join(map(str, records[:16])) + (", ..." if len(records) > 16 else "")
