"""Iterates over a loader, and converts its batches for a framework. Some batches may be converted ahead of the one that the user has; the
state is then that of the user's batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Protocol

from streamload.fetch.bad_records import SKIP
from streamload.loader.batch import Batch
from streamload.loader.loader import Loader


class Form(Protocol):
    """Converts a batch for a framework, in two steps: copies to a device are started ahead, and waited for when they are needed."""

    ahead: int
    """How many batches are begun ahead of the one that the user has."""

    def begin(self, batch: Batch) -> Any:
        """Start the conversion of a batch. The caller keeps no reference to the batch."""
        ...

    def finish(self, begun: Any) -> Any:
        """What the user is given, made of what `begin` returned."""
        ...

    def make(self, batch: Batch) -> Any:
        """Both in one, for batches that are not begun ahead."""
        ...


class EpochSetter:
    """The object that trainers find under `sampler`, and whose `set_epoch` they call. It is no sampler otherwise."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def set_epoch(self, epoch: int) -> None:
        """As `Loader.set_epoch`."""
        self._loader.set_epoch(epoch)


class Passes:
    """A loader's batches, converted for a framework. Every `for` goes over the next epoch, or over the rest of one that was resumed.

    Its length is that of a whole epoch. A pass begins with its first `next`. `state_dict()` is the state after the batch that the user was
    given last, without those that are begun ahead.
    """

    def __init__(self, loader: Loader, form: Form) -> None:
        self.loader = loader
        """The loader whose batches these are."""
        self._form = form
        self._taken: Mapping[str, Any] | None = None
        """The loader's state after the last batch that was begun; None if none is begun ahead."""
        self._used: Mapping[str, Any] = {}
        """The loader's state after the last batch that the user was given."""
        self._newest: object = None
        """The queue of the pass that began last: only this pass changes the state."""

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        # A `map` keeps no reference to a batch, and may be shared by threads as an epoch may.
        return self._ahead() if self._form.ahead else map(self._form.make, self.loader)

    def _ahead(self) -> Generator[Any]:
        begun: deque[tuple[Any, Mapping[str, Any]]] = deque()
        # If the very first batch cannot be begun (no memory, no such device), the state is that of before.
        self._used, self._newest = self.state_dict(), begun
        for batch in self.loader:
            self._taken = batch.state_dict()
            begun.append((self._form.begin(batch), self._taken))
            del batch
            if len(begun) > self._form.ahead:
                yield self._handed(begun)
        while begun:
            yield self._handed(begun)
        if self._newest is begun:
            self._taken = None

    def _handed(self, begun: deque[tuple[Any, Mapping[str, Any]]]) -> Any:
        made, state = begun.popleft()
        if self._newest is begun:
            self._used = state
        return self._form.finish(made)

    def state_dict(self) -> dict[str, Any]:
        """The loader's state after the batch that the user was given last: plain JSON, under 1 KB."""
        state = self.loader.state_dict()
        # If the loader was not moved meanwhile, the batches between the two states are begun, and were not given to the user.
        return dict(self._used) if state == self._taken else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As `Loader.load_state_dict`: the next pass goes on with the next batch."""
        self._taken = None
        self.loader.load_state_dict(state)

    def set_epoch(self, epoch: int) -> None:
        """As `Loader.set_epoch`: the next pass is this epoch, unless a state was loaded that is as far or further."""
        self.loader.set_epoch(epoch)

    def seek(self, epoch: int | None = None, step: int | None = None, *, total_step: int | None = None) -> None:
        """As `Loader.seek`."""
        self._taken = None
        self.loader.seek(epoch, step, total_step=total_step)

    def __repr__(self) -> str:
        return f"{type(self).__name__} over {self.loader!r}"


def batches_to_come(loader: Loader) -> int | None:
    """How many batches the next pass over a loader has; None if that is not known: if the pass is the rest of an epoch, or if bad records
    are left out, since a batch without records is not delivered.
    """
    job = loader._plan.job  # pyright: ignore[reportPrivateUsage]
    within = loader._delivery.progress.next_pass().step > 0  # pyright: ignore[reportPrivateUsage]
    return None if within or (job.on_bad == SKIP and not job.fills) else len(loader)


def at_the_end(loader: Loader) -> bool:
    """Whether the batch that a loader has delivered last is the last of its epoch."""
    return loader._delivery.progress.finished  # pyright: ignore[reportPrivateUsage]


def counted_in_last_step(loader: Loader) -> int:
    """How many records of the last step of the pass that begins now count, over all ranks, if rows are added to fill it up; 0 otherwise,
    and for mixtures. After a resume with another batch size or number of ranks it is not what it is in whole epochs."""
    shares = loader._plan.shares  # pyright: ignore[reportPrivateUsage]
    if len(shares.parts) != 1 or shares.drop_last or (shares.ranks == 1 and not shares.pad_last):
        return 0
    part, (place,) = shares.parts[0], loader._delivery.progress.next_pass().positions  # pyright: ignore[reportPrivateUsage]
    return (part.n - place.position) % (part.count * shares.ranks)


def allow_copies(loader: Loader) -> None:
    """Have a loader not warn of batches that are copied because earlier ones are still held."""
    loader._delivery.allow_copies()  # pyright: ignore[reportPrivateUsage]
