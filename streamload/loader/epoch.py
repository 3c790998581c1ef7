"""The iterator over an epoch that users are given."""

from __future__ import annotations

from typing import NoReturn, Protocol

from streamload.errors import LoaderBusyError, LoaderClosedError, without_frames
from streamload.loader.batch import Batch


class Feed(Protocol):
    """What an epoch takes its batches from."""

    @property
    def next_epoch(self) -> int:
        """The number of the epoch that a pass would begin now."""
        ...

    def next_batch(self, epoch: Epoch) -> Batch | None:
        """The next batch of that epoch, or None at its end. The first call begins the pass, and says which epoch it is (`Epoch.begin`)."""
        ...


class Epoch:
    """An iterator over the batches of one epoch, or over the rest of it after a resume.

    It begins with its first `next`: until then it changes nothing. When a newer iterator of the same loader begins, this one is closed, and
    its `next` raises LoaderClosedError. After an error, `next` raises the same error again.
    """

    def __init__(self, feed: Feed, *, length: int, index: int | None = None) -> None:
        """`length`: steps of the whole epoch. `index`: the number of the epoch, if it has begun already."""
        self._feed = feed
        self._length = length
        self._index = index
        self._error: BaseException | None = None
        self._ended = False

    @property
    def index(self) -> int:
        """The number of the epoch, from 0. Before the first `next`, it is that of the epoch that would begin now."""
        return self._feed.next_epoch if self._index is None else self._index

    @property
    def begun(self) -> bool:
        """Whether it has begun, so that `index` no longer changes."""
        return self._index is not None

    @property
    def running(self) -> bool:
        """Whether further batches may follow: it has not ended, failed or been closed."""
        return not self._ended and self._error is None

    def begin(self, index: int) -> None:
        """Note that it has begun, and is this epoch."""
        self._index = index

    def __len__(self) -> int:
        """Steps of the whole epoch, even if it was resumed in the middle."""
        return self._length

    def __iter__(self) -> Epoch:
        return self

    def __next__(self) -> Batch:
        if self._error is not None:
            raise without_frames(self._error)
        if self._ended:
            raise StopIteration
        try:
            batch = self._feed.next_batch(self)
        except LoaderBusyError:
            raise  # The call that was interrupted goes on.
        except Exception as error:
            # If another thread has closed this iterator meanwhile, that is the reason to give.
            error = self._error or error
            self._error = without_frames(error)  # Frames would keep batches in memory for as long as this iterator lives.
            raise error from None
        except BaseException as error:
            self._error = interrupted(error)
            raise
        if batch is None:
            self._ended = True
            raise StopIteration
        return batch

    def close(self) -> None:
        """End this iterator. The loader keeps the position after the last batch that was handed out, as after a `break`."""
        self.end("its close() was called")

    def end(self, why: str) -> None:
        """Close it, so that `next` raises LoaderClosedError, which says why. Does nothing if it has ended or failed."""
        if self.running:
            self._error = LoaderClosedError(
                f"this iterator over epoch {self.index} was closed: {why}.",
                hint="Use one iterator of a loader at a time; two loaders can run side by side.",
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("an iterator over an epoch cannot be copied: copy its loader, whose epochs() goes on with the next batch.")

    def __repr__(self) -> str:
        return f"<Epoch {self.index}: {self._length:,} steps>"


def interrupted(error: BaseException) -> LoaderClosedError:
    """The error that an iterator raises from now on, after it was interrupted."""
    return LoaderClosedError(
        f"this iterator was interrupted by {type(error).__name__}.",
        hint="Iterate over the loader again: loader.epochs(stop) goes on with the batch that was not handed out.",
    )
