"""One pass over the records, as the user iterates over it."""

from __future__ import annotations

from typing import Protocol

from streamload.errors import LoaderClosedError
from streamload.loader.batch import Batch


class Feed(Protocol):
    """What an epoch takes its batches from."""

    def next_batch(self, epoch: Epoch) -> Batch | None:
        """The next batch of that epoch, or None at its end."""
        ...


class Epoch:
    """An iterator over the batches of one epoch, or over the rest of it after a resume.

    A newer iterator of the same loader closes it: `next` then raises LoaderClosedError. After an error it stays failed, and
    raises the same error again.
    """

    def __init__(self, feed: Feed, *, index: int, length: int) -> None:
        self._feed = feed
        self._length = length
        self.index = index
        """The number of the epoch, from 0."""
        self._error: BaseException | None = None
        self._ended = False

    def __len__(self) -> int:
        """Steps of the whole epoch, also where it was resumed in the middle."""
        return self._length

    def __iter__(self) -> Epoch:
        return self

    def __next__(self) -> Batch:
        if self._error is not None:
            raise self._error
        if self._ended:
            raise StopIteration
        try:
            batch = self._feed.next_batch(self)
        except Exception as error:
            # Where another thread has closed this iterator meanwhile, it has said why.
            self._error = self._error or error
            raise self._error from None
        except BaseException as error:
            self._error = interrupted(error)
            raise
        if batch is None:
            self._ended = True
            raise StopIteration
        return batch

    def close(self, why: str) -> None:
        """Hand out nothing more: `next` raises LoaderClosedError, saying why."""
        if not self._ended and self._error is None:
            self._error = LoaderClosedError(
                f"this iterator over epoch {self.index} was closed: {why}.",
                hint="Use one iterator of a loader at a time; two loaders can run side by side.",
            )

    def __repr__(self) -> str:
        return f"<Epoch {self.index}: {self._length:,} steps>"


def interrupted(error: BaseException) -> LoaderClosedError:
    """What an iterator says after its work was interrupted half-way."""
    return LoaderClosedError(
        f"this iterator was interrupted by {type(error).__name__}.",
        hint="Iterate over the loader again: loader.epochs(stop) goes on with the batch that was not handed out.",
    )
