"""What can go wrong, as one family: each error says what failed, why, and what to do."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


class StreamloadError(Exception):
    """The root of the family.

    `message` says what failed and why, with numbers; `hint` says what to do. `details` is a plain dict that JSON
    can hold; the attributes that a subclass annotates are filled from it (None where it says nothing).
    """

    hint: str
    details: dict[str, Any]

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        for kind in type(self).__mro__:
            for name in kind.__dict__.get("__annotations__", ()):
                if name not in ("hint", "details"):
                    setattr(self, name, details.get(name))

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.message, self.hint, self.details)


class ConfigError(StreamloadError, ValueError):
    """An argument that cannot be right, whatever the data."""


class SourceError(StreamloadError):
    """A data file that cannot be used, or not in this way."""

    path: str | None
    dataset: str | None
    records: tuple[int, int] | None


class CorruptDataError(SourceError):
    """A file that is damaged, cut short, or not what its name says."""


class ChecksumError(CorruptDataError):
    """Bytes whose checksum is wrong."""


class SourceChangedError(SourceError):
    """A file that was changed, cut, or replaced after it was opened."""


class SourceBusyError(SourceError):
    """A file that another process is still writing."""


class UnsupportedFeatureError(SourceError):
    """Something in a file that cannot be read here: a missing filter, an unknown type."""


class NullValueError(SourceError):
    """A null in a field whose type has none, and for which nothing stands."""


class SchemaMismatchError(SourceError):
    """Files or fields that should agree and do not."""


class UnsafeSourceError(SourceError):
    """A file that asks for something outside its own folder, or for code to be run."""


class WorkerError(StreamloadError):
    """Work that a worker process could not finish."""

    worker_id: int | None
    pid: int | None
    epoch: int | None
    batch_index: int | None
    files: list[str] | None


class WorkerCrashedError(WorkerError):
    """A worker process that ended before its work was done."""

    exitcode: int | None
    signal_name: str | None
    native_traceback: str | None


class WorkerTimeoutError(WorkerError, TimeoutError):
    """A worker that did not answer within `timeout` seconds; `stack` is where it was."""

    stack: str | None


class WorkerStartError(WorkerError):
    """Workers that could not be started."""


class TransformError(WorkerError):
    """An exception in a function of the user's; it is also an instance of that exception's type where possible."""

    traceback: str | None


class ResourceError(StreamloadError, OSError):
    """Not enough memory, descriptors, processes or disk."""

    errno: int | None  # pyright: ignore[reportIncompatibleVariableOverride]
    needed_nbytes: int | None
    available_nbytes: int | None


class LoaderClosedError(StreamloadError):
    """Use of a loader, or of an epoch of it, that has ended."""


class LoaderBusyError(StreamloadError):
    """Use of a loader while the same thread takes a batch of it: by a handler of a signal, or by something that is collected."""


class StateError(StreamloadError):
    """A saved state that does not belong to this loader."""


class ConversionError(StreamloadError):
    """A conversion that could not be finished; nothing half-done stands under the final name."""


def damaged(said: str, *, kind: type[CorruptDataError] = CorruptDataError, **details: Any) -> CorruptDataError:
    """The error of a file whose bytes cannot be right: `said` is the sentence that tells what is wrong with them, with numbers.

    What to do is the same for all: only files that have a better cure than to be fetched anew are told of it where it is known.
    """
    return kind(said, hint="The file is damaged or was cut short: fetch or write it again.", **details)


def _rebuilt(kind: type[StreamloadError], message: str, hint: str, details: dict[str, Any]) -> StreamloadError:
    return kind(message, hint=hint, **details)


def _family(kind: type[StreamloadError]) -> dict[str, type[StreamloadError]]:
    found = {kind.__name__: kind}
    for child in kind.__subclasses__():
        found.update(_family(child))
    return found


FAMILY: dict[str, type[StreamloadError]] = _family(StreamloadError)


def to_plain(error: StreamloadError) -> dict[str, Any]:
    """The error as a dict that JSON can hold, to cross a process border."""
    kind = next(k.__name__ for k in type(error).__mro__ if k.__name__ in FAMILY)
    return {"kind": kind, "message": error.message, "hint": error.hint, "details": error.details}


def from_plain(plain: Mapping[str, Any]) -> StreamloadError:
    """The error that `to_plain` wrote down; an unknown kind becomes a StreamloadError."""
    kind, details = FAMILY.get(str(plain["kind"]), StreamloadError), dict(plain.get("details") or {})
    if isinstance(records := details.get("records"), list):
        details["records"] = tuple(records)  # JSON has lists alone.
    return kind(str(plain["message"]), hint=str(plain.get("hint", "")), **details)


def without_frames(error: BaseException) -> BaseException:
    """An equal error that has not been raised: one that is kept must not keep alive all that it passed through."""
    try:
        twin = copy.copy(error)
    except Exception:  # Whatever somebody else's class makes of being copied.
        return error
    vars(twin).update(vars(error))  # What was said of it after it was made, notes among it.
    return twin


MOST_TEXT_NBYTES = 1 << 20
"""Longest text that an error may bring along from another process; the rest of it is left out."""


def shortened(text: str) -> str:
    """`text`, shortened in the middle if it is too long to send."""
    if len(text) <= MOST_TEXT_NBYTES // 4:
        return text
    half = MOST_TEXT_NBYTES // 8
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}"
