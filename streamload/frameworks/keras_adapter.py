"""A loader's batches as Keras's own kind of data, for every backend."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from streamload.frameworks.fields import BatchFields, is_text, refused
from streamload.frameworks.narrowing import narrowed
from streamload.frameworks.passes import allow_copies, at_the_end
from streamload.loader.batch import Batch
from streamload.loader.loader import Loader


class KerasBatches(DataAdapter):
    """Passes over a loader's batches as Keras wants them.

    Rules:

    1. A pass begins with its first batch, whoever made the iterator, and however many were made.
    2. One that was left before its last batch begins again where it began: Keras looks at a batch and starts over.
    3. After a resume by `steps_per_epoch` each has as many steps as an epoch, and so goes through the end of one: Keras counts.
    """

    def __init__(self, loader: Loader, choice: BatchFields) -> None:
        for field in choice.fields:
            if field.as_ragged or is_text(field) or field.dtype.kind not in "biufc":
                raise refused(field, "Keras")
        self.loader = loader
        """The loader whose batches these are."""
        self._choice = choice
        self._open: int | None = None
        """The step, counted through epochs, with which the pass began that was not yet given its last batch."""
        self._through: int | None = None
        """The step before which the next pass begins, where passes go through the ends of epochs."""
        self._running = 0
        """Passes that have begun and neither ended nor been let go of."""

    def _pass(self) -> Generator[Batch]:
        loader, left = self.loader, len(self.loader)
        if self._open is not None:
            loader.seek(total_step=self._open)
        elif self._through is not None:
            loader.seek(total_step=self._through)
        through, first = self._through is not None, True
        self._running += 1
        try:
            while left:
                for batch in loader:
                    if first:
                        self._open, first = batch.total_step, False
                    left = left - 1 if through else int(not at_the_end(loader))
                    if not left:
                        self._open, self._through = None, batch.total_step + 1 if through else None
                    yield batch
                    if not left:
                        break
                if not through:
                    break
            self._open = None
        finally:
            self._running -= 1

    def _arrays(self, batch: Batch) -> tuple[Any, ...]:
        return tuple([self._choice.value(batch, name) for name in self._choice.names])

    # What Keras asks for

    def get_numpy_iterator(self) -> Iterator[Any]:
        """Tuples of NumPy arrays."""
        return map(self._arrays, self._pass())

    def get_jax_iterator(self) -> Iterator[Any]:
        """The same, narrowed to what JAX has, after a look at every value."""
        from streamload.frameworks.jax_form import CURE, jax_dtype

        allow_copies(self.loader)
        dtypes = {field.name: jax_dtype(field) for field in self._choice.fields}
        for batch in self._pass():
            arrays = zip(dtypes.items(), self._arrays(batch), strict=True)
            yield tuple([narrowed(array, dtype, name, cure=CURE) for (name, dtype), array in arrays])

    def get_torch_dataloader(self) -> Iterator[Any]:
        """Tuples of tensors that share the batches' memory."""
        import torch

        return (tuple([torch.from_numpy(array) for array in self._arrays(batch)]) for batch in self._pass())

    def get_tf_dataset(self) -> Any:
        """A data set whose signature is that of the fields: nothing is looked at to find it out."""
        from streamload.frameworks.tensorflow_form import TensorFlowForm, dataset_of

        return dataset_of(TensorFlowForm(self._choice), self.get_numpy_iterator, length=None)

    @property
    def num_batches(self) -> int:
        """Steps of an epoch."""
        return len(self.loader)

    @property
    def batch_size(self) -> None:
        """Left open: Keras would look for it in arrays."""
        return

    @property
    def has_partial_batch(self) -> None:
        """Left open."""
        return

    @property
    def partial_batch_size(self) -> None:
        """Left open."""
        return

    # Standing

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.loader)

    def state_dict(self) -> dict[str, Any]:
        """As `Loader.state_dict`."""
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As `Loader.load_state_dict`."""
        self._open = self._through = None
        self.loader.load_state_dict(state)

    def set_epoch(self, epoch: int, steps_per_epoch: int | None = None) -> None:
        """Have the next pass be this epoch: for a callback's `on_epoch_begin`.

        With `steps_per_epoch` Keras goes on with the pass that is under way, which stays as it is; where none is, the next begins
        before step epoch * steps_per_epoch, counted through the loader's epochs.
        """
        if steps_per_epoch is None:
            self._open = self._through = None
            self.loader.set_epoch(epoch)
        elif not self._running:
            self._open, self._through = None, epoch * steps_per_epoch

    def seek(self, epoch: int | None = None, step: int | None = None, *, total_step: int | None = None) -> None:
        """As `Loader.seek`."""
        self._open = self._through = None
        self.loader.seek(epoch, step, total_step=total_step)

    def __repr__(self) -> str:
        return f"KerasBatches over {self.loader!r}"
