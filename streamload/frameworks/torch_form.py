"""Converts batches to PyTorch tensors, on any device. No other module does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from streamload.frameworks.fields import DICT, ONE, SHORT_FLOATS, BatchFields, is_text, refused
from streamload.frameworks.passes import EpochSetter, Passes
from streamload.loader.batch import Batch
from streamload.ragged import Ragged
from streamload.schema import Field

AHEAD = 2
"""Batches that are being copied to a device, ahead of the one that the user has."""


class TorchForm:
    """The `Form` of PyTorch: a batch becomes tensors."""

    def __init__(
        self, choice: BatchFields, *, device: torch.device | None, pin_memory: bool | None, channels_first: frozenset[str]
    ) -> None:
        """`channels_first` names fields of shape (height, width, channels)."""
        self.choice = choice
        self.device = device
        self.pin_memory = pin_memory
        self.channels_first = channels_first
        on_gpu = device is not None and device.type == "cuda"
        self.pin = (on_gpu if pin_memory is None else bool(pin_memory)) and torch.cuda.is_available()
        self.ahead = AHEAD if device is not None and device.type != "cpu" else 0
        self._plain = not self.ahead and not self.pin and not channels_first
        self._stream: Any = None
        self._makers = tuple((field.name, tensor_maker(field)) for field in choice.fields)
        plain = self._plain and not choice.computed and all(make is torch.from_numpy for _, make in self._makers)
        self._tensors = tensors_of(choice) if plain else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _form, (self.choice, self.device, self.pin_memory, self.channels_first)

    def begin(self, batch: Batch) -> Any:
        """Tensors that share the batch's memory; for a device, (copies that are under way, the CUDA event of their arrival, the tensors
        to be kept until then)."""
        value = self.choice.value
        made = [make(value(batch, name)) for name, make in self._makers]
        if self._plain:
            return made
        if not self.ahead:
            return self._turned([self._pinned(one) for one in made])
        moved: list[torch.Tensor] = []
        if self.device is None or self.device.type != "cuda":
            return self._turned([self._moved(one, moved) for one in made]), None, moved
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)
        with torch.cuda.stream(self._stream):
            there = self._turned([self._moved(self._pinned(one), moved) for one in made])
            return there, self._stream.record_event(), moved

    def finish(self, begun: Any) -> Any:
        """What the user is given. Work that is queued on the current CUDA stream from now on runs after the copies."""
        if not self.ahead:
            return self.choice.arranged(begun)
        made, arrival, moved = begun
        if arrival is not None:
            current = torch.cuda.current_stream(self._stream.device)
            current.wait_event(arrival)
            for one in moved:
                # Their memory belongs to the stream of the copies, which must not have it back before this one is done.
                one.record_stream(current)
        return self.choice.arranged(made)

    def make(self, batch: Batch) -> Any:
        """What the user is given, of a batch that is not begun ahead."""
        return self._tensors(batch) if self._tensors is not None else self.finish(self.begin(batch))

    def _turned(self, made: list[Any]) -> list[Any]:
        """The fields of `channels_first` with their channels first, as views of the same memory; the others as they are."""
        if not self.channels_first:
            return made
        return [one.permute(0, 3, 1, 2) if name in self.channels_first else one for (name, _), one in zip(self._makers, made, strict=True)]

    def _pinned(self, one: Any) -> Any:
        """A copy in pinned memory; its allocator keeps it until copies from it to a GPU are done."""
        return _each_part(one, torch.Tensor.pin_memory) if self.pin else one

    def _moved(self, one: Any, moved: list[torch.Tensor]) -> Any:
        def move(tensor: torch.Tensor) -> torch.Tensor:
            # The batch's memory is given back as soon as this returns: only a copy in pinned memory may be read afterwards.
            there = tensor.to(self.device, non_blocking=self.pin and self._stream is not None)
            moved.append(there)
            return there

        return _each_part(one, move)


class TorchPasses(Passes, IterableDataset[Any]):
    """Passes over a loader's batches as tensors: what PyTorch loops and Lightning take.

    It is no DataLoader, and has no `dataset`, so that Lightning uses it as it is. A DataLoader around it needs `batch_size=None`.
    """

    batch_sampler = None
    """Trainers that find a `sampler` read this too."""

    @property
    def sampler(self) -> EpochSetter:
        """The object whose `set_epoch` Lightning calls."""
        return EpochSetter(self.loader)


def _form(choice: BatchFields, device: torch.device | None, pin_memory: bool | None, channels_first: frozenset[str]) -> TorchForm:
    return TorchForm(choice, device=device, pin_memory=pin_memory, channels_first=channels_first)


def tensors_of(choice: BatchFields) -> Callable[[Batch], Any]:
    """The function that converts a batch of numbers, which share its memory: what `TorchForm` does in general, in a fifth of the time."""
    names, from_numpy = choice.names, torch.from_numpy
    if choice.container == ONE:
        (name,) = names
        return lambda batch: from_numpy(batch[name])
    if choice.container == DICT:
        return lambda batch: {name: from_numpy(batch[name]) for name in names}
    return lambda batch: tuple(map(from_numpy, batch.tuple(*names)))


def tensor_maker(field: Field) -> Callable[[Any], Any]:
    """The function that converts one field of a batch: to a tensor, or to a list of text or bytes. Raises ConfigError for dtypes that
    PyTorch does not have."""
    if is_text(field):
        return Ragged.to_list if field.as_ragged else np.ndarray.tolist
    short = getattr(torch, field.dtype.name, None) if field.dtype.name in SHORT_FLOATS and not field.as_ragged else None
    if short is not None:
        return partial(_same_bits, short, np.dtype(f"i{field.dtype.itemsize}"))
    try:
        torch.from_numpy(np.empty(0, field.dtype))
    except TypeError:
        raise refused(field, "PyTorch") from None
    return Ragged.to_torch if field.as_ragged else torch.from_numpy


def _same_bits(dtype: torch.dtype, bits: np.dtype[Any], array: NDArray[Any]) -> torch.Tensor:
    """A tensor of a dtype that PyTorch does not take from NumPy, over the array's memory."""
    return torch.from_numpy(array.view(bits)).view(dtype)


def _each_part(one: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Apply `change` to a tensor, or to the values and the offsets of a nested one. A list is returned as it is."""
    if isinstance(one, list):
        return one
    return torch.nested.nested_tensor_from_jagged(change(one.values()), change(one.offsets())) if one.is_nested else change(one)
