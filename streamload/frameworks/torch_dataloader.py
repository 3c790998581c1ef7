"""A loader's batches as a `torch.utils.data.DataLoader`, for trainers that accept nothing else."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from streamload.frameworks.passes import EpochSetter, Passes, at_the_end, counted_in_last_step
from streamload.frameworks.torch_form import TorchForm
from streamload.loader.batch import Batch
from streamload.loader.loader import Loader


class BatchDataset(IterableDataset[Any]):
    """The `dataset` of a `BatchDataLoader`: iterating over it gives the same batches. Its length is the steps of an epoch."""

    def __init__(self, noted: Passes) -> None:
        """`noted`: passes of (batch, whether it is the last), whose state is also that of iterating over this."""
        self._noted = noted

    def __len__(self) -> int:
        return len(self._noted)

    def __iter__(self) -> Iterator[Any]:
        return (made for made, _ in self._noted)

    def set_epoch(self, epoch: int) -> None:
        """As `Loader.set_epoch`."""
        self._noted.set_epoch(epoch)


class _LastNoted:
    """A form that adds to each batch whether it is the last of its epoch."""

    def __init__(self, form: TorchForm, loader: Loader) -> None:
        self._form = form
        self._loader = loader
        self.ahead = form.ahead

    def begin(self, batch: Batch) -> Any:
        """What the form returns, and whether the batch is the last of its epoch."""
        return self._form.begin(batch), at_the_end(self._loader)

    def finish(self, begun: Any) -> tuple[Any, bool]:
        """(what the form returns, whether the batch is the last of its epoch)."""
        made, last = begun
        return self._form.finish(made), last

    def make(self, batch: Batch) -> tuple[Any, bool]:
        """The same, of a batch that was not begun ahead."""
        return self._form.make(batch), at_the_end(self._loader)


class BatchDataLoader(DataLoader[Any]):
    """A DataLoader that gives a loader's batches, and loads nothing itself.

    In each pass it registers with accelerate, if that is imported, and tells it which batch is the last.
    """

    _is_accelerate_prepared = True
    """accelerate must not divide the batches among processes: the loader has done so."""

    def __init__(self, loader: Loader, form: TorchForm) -> None:
        self._form = form
        self._noted = Passes(loader, _LastNoted(form, loader))
        self.end_of_dataloader = False
        """Whether the present batch is the last of its epoch; accelerate reads it."""
        self.remainder = -1
        """How many records of the last step count, over all ranks, if rows were added to fill it up; otherwise 0. -1 before the last
        step. accelerate reads it."""
        super().__init__(BatchDataset(self._noted), batch_size=None, num_workers=0)

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchDataLoader, (self.loader, self._form)

    @property
    def loader(self) -> Loader:
        """The loader whose batches these are."""
        return self._noted.loader

    @property
    def sampler(self) -> EpochSetter:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The object whose `set_epoch` trainers call. Assigning another sampler has no effect: the loader decides the order."""
        return EpochSetter(self.loader)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "sampler":
            super().__setattr__(name, value)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._batches()

    def _batches(self) -> Generator[Any]:
        accelerate: Any = sys.modules.get("accelerate.state")
        gradients = accelerate.GradientState() if accelerate is not None else None
        self.end_of_dataloader, self.remainder = False, -1
        if gradients is not None:
            gradients._add_dataloader(self)
        counted = counted_in_last_step(self.loader)
        try:
            for made, last in self._noted:
                if last:
                    self.end_of_dataloader, self.remainder = True, counted
                yield made
        finally:
            if gradients is not None:
                gradients._remove_dataloader(self)

    def state_dict(self) -> dict[str, Any]:
        """As `Loader.state_dict`, after the batch that was handed out last."""
        return self._noted.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As `Loader.load_state_dict`."""
        self._noted.load_state_dict(state)

    def set_epoch(self, epoch: int) -> None:
        """As `Loader.set_epoch`."""
        self.loader.set_epoch(epoch)

    def seek(self, epoch: int | None = None, step: int | None = None, *, total_step: int | None = None) -> None:
        """As `Loader.seek`."""
        self._noted.seek(epoch, step, total_step=total_step)

    def __repr__(self) -> str:
        return f"BatchDataLoader over {self.loader!r}"
