"""PyTorch: `for_torch`, for loops, Lightning, Fabric, accelerate, transformers and whatever else takes a DataLoader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streamload.errors import ConfigError
from streamload.frameworks.fields import DECODED, BatchFields, WantedFields, chosen_fields
from streamload.frameworks.missing import framework
from streamload.loader.loader import Loader
from streamload.loader.options import did_you_mean
from streamload.schema import BYTES
from streamload.sizes import flag_of

CHANNELS = (1, 3, 4)
"""Lengths of the last of three axes that are taken for colours: grey, RGB, and RGB with opacity."""


def for_torch(
    loader: Loader,
    fields: WantedFields = None,
    *,
    device: Any = None,
    pin_memory: bool | None = None,
    channels_first: bool | Sequence[str] = False,
    dataloader: bool = False,
) -> Any:
    """A loader's batches as PyTorch tensors, epoch after epoch: for loops of your own, Lightning, Fabric, accelerate and others.

    ```python
    for image, label in sl.for_torch(loader, ("image", "label"), device="cuda"):
        loss = criterion(model(image), label)
    ```

    `fields`: names give a tuple of tensors a batch, one name gives a tensor, None gives a dict of all. "valid" is the name of
    which records of a batch count, bool of shape (records,), where no field of the data has it.

    | field | becomes |
    |---|---|
    | bool, integers, floats, bfloat16 and floats of 8 bits, complex64, complex128 | a tensor of the same dtype, shape (records, \
*shape): float64 stays so |
    | ragged arrays | a nested tensor of the jagged layout |
    | text, bytes, and strings of one length | a list of `str` or `bytes`, one a record |
    | dates and times, float128, records of several parts | ConfigError: name other fields |

    Tensors share the memory of the batch: nothing is copied, they can be written to, and stay as they are while anything looks at
    them. `channels_first` turns images of shape (height, width, channels) into (channels, height, width), also without a copy:
    True for all whose last of three axes is 1, 3 or 4 long, or names of fields.

    `device`: where tensors shall be. Towards a GPU two batches are under way ahead of the one in use: each is copied into pinned
    memory, where `pin_memory` is not False, and from there on a stream of its own; the current stream waits for it when the
    batch is handed out. `pin_memory=True` without a device gives tensors in pinned memory, and nothing else where no GPU is.
    This was not measured on a GPU; `bench/gpu.py` does that.

    What comes back has `len`, `state_dict`, `load_state_dict`, `seek` and `set_epoch` as the loader does, and what Lightning looks
    for: `trainer.fit(model, sl.for_torch(loader))` resumes from any of its checkpoints (from one that is written on an exception,
    after the batch that failed); `overfit_batches=` needs a loader with `shuffle=False`. `dataloader=True` makes it a
    `torch.utils.data.DataLoader`, which Fabric, accelerate, transformers, Ray and Keras on PyTorch ask for; Lightning's
    predict wants the other form. With a DataLoader around a loader, or `num_workers`, nothing is gained: the loader has workers.

    Raises ConfigError where PyTorch is not installed, and for fields that it has no tensors for.
    """
    dataloader = flag_of(dataloader, "sl.for_torch: dataloader")
    pin_memory = None if pin_memory is None else flag_of(pin_memory, "sl.for_torch: pin_memory")
    torch = framework("torch", asked="sl.for_torch", extra="torch")
    choice = chosen_fields(loader, fields, asked="sl.for_torch")
    from streamload.frameworks.torch_form import TorchForm, TorchPasses

    where = None if device is None else torch.device(device)
    form = TorchForm(choice, device=where, pin_memory=pin_memory, channels_first=_images(choice, channels_first))
    if not dataloader:
        return TorchPasses(loader, form)
    from streamload.frameworks.torch_dataloader import BatchDataLoader

    return BatchDataLoader(loader, form)


def _images(choice: BatchFields, channels_first: bool | Sequence[str]) -> frozenset[str]:
    """The fields whose channels come first. Raises ConfigError where that means nothing."""
    if isinstance(channels_first, str):
        channels_first = (channels_first,)
    three = {field.name: field for field in choice.fields if len(field.shape) == 3 and not field.ragged}
    if isinstance(channels_first, Iterable):
        for name in channels_first:
            if name not in three:
                stored = any(field.name == name and field.ragged == BYTES for field in choice.fields)
                others = f"Name such fields.{did_you_mean(str(name), tuple(three))}" if three else "Leave it out: no field has that shape."
                raise ConfigError(
                    f"channels_first is asked for {name!r}, which is no field of shape (height, width, channels) here.",
                    hint=DECODED if stored else others,
                )
        return frozenset(channels_first)
    if not flag_of(channels_first, "sl.for_torch: channels_first"):
        return frozenset()
    images = frozenset(name for name, field in three.items() if field.shape[-1] in CHANNELS)
    if not images:
        shapes = ", ".join(str(field) for field in choice.fields)
        raise ConfigError(
            f"channels_first=True finds no images of shape (height, width, 1, 3 or 4): {shapes}.",
            hint=DECODED if any(field.ragged == BYTES for field in choice.fields) else "Leave it out, or name the fields.",
        )
    return images
