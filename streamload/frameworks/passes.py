"""Passes over a loader in the form of a framework, some batches ahead of the one in use, with the state that belongs to that one."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Protocol

from streamload.fetch.bad_records import SKIP
from streamload.loader.batch import Batch
from streamload.loader.loader import Loader


class Form(Protocol):
    """How a batch becomes what a framework is given, in two halves: copies to a device are begun ahead of being waited for."""

    ahead: int
    """Batches that are begun before the one in use is done with."""

    def begin(self, batch: Batch) -> Any:
        """Begin; the batch is let go of afterwards."""
        ...

    def finish(self, begun: Any) -> Any:
        """What is handed out."""
        ...


class EpochSetter:
    """What trainers look for under `sampler`, to say which epoch comes next. It has nothing else of a sampler."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def set_epoch(self, epoch: int) -> None:
        """As `Loader.set_epoch`."""
        self._loader.set_epoch(epoch)


class Passes:
    """Passes over a loader's batches, each in the form of a framework: every `for` is the next epoch, or the rest of a resumed one.

    Its length is that of a whole epoch, and nothing moves before the first `next` of a pass. What is begun ahead is not in
    its state: `state_dict()` says what comes after the batch that was handed out last.
    """

    def __init__(self, loader: Loader, form: Form) -> None:
        self.loader = loader
        """The loader whose batches these are."""
        self._form = form
        self._taken: Mapping[str, Any] | None = None
        """The loader's state after the last batch that was begun, where that is ahead."""
        self._used: Mapping[str, Any] = {}
        """Its state after the last batch that was handed out."""
        self._newest: object = None
        """What is under way in the pass that began last: the one whose batches the state is of."""

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        # What is handed out is all that holds a batch's memory; and threads may share a `map`, as they may an epoch.
        return self._ahead() if self._form.ahead else map(self._made, self.loader)

    def _made(self, batch: Batch) -> Any:
        return self._form.finish(self._form.begin(batch))

    def _ahead(self) -> Generator[Any]:
        begun: deque[tuple[Any, Mapping[str, Any]]] = deque()
        # Should the very first batch not be begun, because memory ran out or there is no such device, nothing was handed out.
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
        """The loader's state after the batch that was handed out last: plain JSON, under 1 KB."""
        state = self.loader.state_dict()
        # Unless somebody has moved the loader meanwhile, the batches between the two are begun, and nobody has had them.
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
    """How many batches the next pass over a loader has, where it is a whole one.

    None where it is the rest of an epoch, and where bad records are left out: a batch of which nothing is left does not come.
    """
    job = loader._plan.job  # pyright: ignore[reportPrivateUsage]
    within = loader._delivery.progress.next_pass().step > 0  # pyright: ignore[reportPrivateUsage]
    return None if within or (job.on_bad == SKIP and not job.fills) else len(loader)


def at_the_end(loader: Loader) -> bool:
    """Whether the batch that a loader handed out last was the epoch's last, known without taking another."""
    return loader._delivery.progress.finished  # pyright: ignore[reportPrivateUsage]


def counted_in_last_step(loader: Loader) -> int:
    """Records of an epoch's last step that count, over all ranks, where ranks fill it up; 0 where it is full, or of several parts."""
    shares = loader._plan.shares  # pyright: ignore[reportPrivateUsage]
    if len(shares.parts) != 1 or shares.drop_last or (shares.ranks == 1 and not shares.pad_last):
        return 0
    part = shares.parts[0]
    return part.n % (part.count * shares.ranks)


def allow_copies(loader: Loader) -> None:
    """Have a loader say nothing of batches that are held, and copied therefore."""
    loader._delivery.allow_copies()  # pyright: ignore[reportPrivateUsage]
