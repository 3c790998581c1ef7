"""A loader's batches as a Keras `DataAdapter`, which `fit`, `evaluate` and `predict` take on every backend."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import numpy as np
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from streamload.frameworks.fields import BatchFields, is_number, is_text, refused
from streamload.frameworks.narrowing import narrowed
from streamload.frameworks.passes import allow_copies, at_the_end
from streamload.loader.batch import Batch
from streamload.loader.loader import Loader
from streamload.loader.options import whole_number
from streamload.schema import Field


class KerasBatches(DataAdapter):
    """Passes over a loader's batches, begun and ended as Keras expects it.

    Rules:

    1. A pass begins when its first batch is asked for, no matter how many iterators Keras has made before.
    2. A pass that was left before its last batch is followed by one that begins at the same batch: Keras reads a first batch to see its
       shapes, and then starts again.
    3. After a resume with `steps_per_epoch`, a pass has as many steps as an epoch of the loader, and continues into the next epoch: Keras
       counts the steps. If `steps_per_epoch` does not divide an epoch of the loader, Keras ends its own epoch together with the
       loader's, and a pass is the rest of the loader's epoch.
    4. With `steps_per_epoch`, a pass that begins while another one was left (`fit` was interrupted and called again) begins at the
       epoch that Keras has named by `set_epoch`.
    """

    def __init__(self, loader: Loader, choice: BatchFields) -> None:
        for field in choice.fields:
            if field.as_ragged or is_text(field) or not is_number(field):
                raise refused(field, "Keras")
        self.loader = loader
        """The loader whose batches these are."""
        self._choice = choice
        self._open: int | None = None
        """The first step of the pass that has not given its last batch, counted through epochs; None if there is none."""
        self._next: int | None = None
        """The first step of the next pass, counted through epochs; None if the loader's position decides."""
        self._through = False
        """Whether a pass continues into the next epoch of the loader (rule 3)."""
        self._told: int | None = None
        """The number of the epoch that Keras has named last, with `steps_per_epoch`."""
        self._due: int | None = None
        """The first step of that epoch, counted through epochs of the loader."""

    def _pass(self) -> Generator[Batch]:
        loader, left = self.loader, len(self.loader)
        at = self._next if self._open is None else self._open if self._due is None else self._due
        if at is not None:
            loader.seek(total_step=at)
        through, first = self._through, True
        while left:
            for batch in loader:
                if first:
                    self._open, first = batch.total_step, False
                left = left - 1 if through else int(not at_the_end(loader))
                if not left:
                    self._open, self._next = None, batch.total_step + 1 if through else None
                yield batch
                if not left:
                    break
            if not through:
                self._open = self._next = None
                break

    def _arrays(self, batch: Batch) -> tuple[Any, ...]:
        return tuple([self._choice.value(batch, name) for name in self._choice.names])

    # What Keras asks for

    def get_numpy_iterator(self) -> Iterator[Any]:
        """Tuples of NumPy arrays."""
        return map(self._arrays, self._pass())

    def get_jax_iterator(self) -> Iterator[Any]:
        """Tuples of NumPy arrays in dtypes that JAX has. Raises OverflowError for a value that does not fit."""
        from streamload.frameworks.jax_form import CURE, jax_dtype

        allow_copies(self.loader)
        dtypes = [(field.name, jax_dtype(field)) for field in self._choice.fields]
        for batch in self._pass():
            arrays = zip(dtypes, self._arrays(batch), strict=True)
            yield tuple([narrowed(array, dtype, name, cure=CURE) for (name, dtype), array in arrays])

    def get_torch_dataloader(self) -> Iterator[Any]:
        """Tuples of tensors that share the batches' memory; numbers that Keras has no dtype for there are copied to int64."""
        from streamload.frameworks.torch_form import tensor_maker

        makers = [_without_uint64(field.name) if field.dtype == np.uint64 else tensor_maker(field) for field in self._choice.fields]
        return (tuple([make(array) for make, array in zip(makers, self._arrays(batch), strict=True)]) for batch in self._pass())

    def get_tf_dataset(self) -> Any:
        """A `tf.data.Dataset` whose signature is made of the fields, without reading a batch."""
        from streamload.frameworks.tensorflow_form import TensorFlowForm, dataset_of

        return dataset_of(TensorFlowForm(self._choice), self.get_numpy_iterator, length=None)

    @property
    def num_batches(self) -> int:
        """Steps of an epoch."""
        return len(self.loader)

    @property
    def batch_size(self) -> None:
        """None: unknown to Keras, which would look for it in arrays."""
        return

    @property
    def has_partial_batch(self) -> None:
        """Left open."""
        return

    @property
    def partial_batch_size(self) -> None:
        """Left open."""
        return

    # The position

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.loader)

    def state_dict(self) -> dict[str, Any]:
        """As `Loader.state_dict`."""
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As `Loader.load_state_dict`."""
        self._forget()
        self.loader.load_state_dict(state)

    def set_epoch(self, epoch: int, steps_per_epoch: int | None = None) -> None:
        """Have the next pass be this epoch: for a callback's `on_epoch_begin`.

        With `steps_per_epoch` the next pass begins with the step that is the first of this epoch of Keras. A pass that is under way
        stays as it is: from one of its epochs to the next Keras goes on with it.
        """
        if steps_per_epoch is None:
            self._forget()
            self.loader.set_epoch(epoch)
            return
        steps = whole_number(steps_per_epoch, "steps_per_epoch", least=1)
        length = len(self.loader)
        # Of Keras in one of the loader; the last has fewer steps where they do not divide it.
        whole, part = divmod(whole_number(epoch, "epoch", least=0), max(1, -(-length // steps)))
        due = whole * length + part * steps
        if self._told is None or epoch != self._told + 1:
            self._open, self._next, self._through = None, due, length % steps == 0
        self._told, self._due = epoch, due

    def seek(self, epoch: int | None = None, step: int | None = None, *, total_step: int | None = None) -> None:
        """As `Loader.seek`."""
        self._forget()
        self.loader.seek(epoch, step, total_step=total_step)

    def _forget(self) -> None:
        """The loader alone says where the next pass begins."""
        self._open = self._next = self._told = self._due = None
        self._through = False

    def __repr__(self) -> str:
        return f"KerasBatches over {self.loader!r}"


def _without_uint64(name: str) -> Callable[[Any], Any]:
    """What makes an int64 tensor of a field of uint64, after a look at every value: Keras on PyTorch knows no uint64."""
    from streamload.frameworks.torch_form import tensor_maker

    dtype = np.dtype(np.int64)
    make = tensor_maker(Field(name, dtype, ()))
    return lambda array: make(narrowed(array, dtype, name, cure="Make smaller numbers of it in the loader's transform=."))
