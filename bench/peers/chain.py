"""A chain of streamload's, as torchvision or albumentations has it, in PyTorch's DataLoader over a mapped file."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bench.peers.torch_memmap import Pairs, passes
from bench.peers.torchvision_operators import import_torchvision
from streamload.tools.benchmark.peers.serving import Config, NoCounterpart
from streamload.tools.chain_file import chain_in, first_augment
from streamload.transforms.augment import Augment

IN_ALBUMENTATIONS = {
    "RandomCrop": lambda al, one: al.RandomCrop(*one.size, pad_if_needed=one.pad_if_needed or one.padding is not None),
    "CenterCrop": lambda al, one: al.CenterCrop(*one.size),
    "RandomResizedCrop": lambda al, one: al.RandomResizedCrop(one.size, scale=one.scale, ratio=one.ratio),
    "Resize": lambda al, one: al.Resize(*one.size) if isinstance(one.size, tuple) else al.SmallestMaxSize(one.size),
    "RandomHorizontalFlip": lambda al, one: al.HorizontalFlip(p=one.p),
    "RandomVerticalFlip": lambda al, one: al.VerticalFlip(p=one.p),
    "Grayscale": lambda al, one: al.ToGray(one.num_output_channels, p=1),
    "RandomGrayscale": lambda al, one: al.ToGray(3, p=one.p),
    "ColorJitter": lambda al, one: al.ColorJitter(
        one.brightness or (1, 1), one.contrast or (1, 1), one.saturation or (1, 1), one.hue or (0, 0), p=one.p
    ),
    "RandomSolarize": lambda al, one: al.Solarize((one.threshold / 255,) * 2, p=one.p),
    "RandomEqualize": lambda al, one: al.Equalize(p=one.p),
    "GaussianBlur": lambda al, one: al.GaussianBlur(blur_limit=one.kernel_size, sigma_limit=one.sigma, p=one.p),
    "Normalize": lambda al, one: al.Normalize(one.mean, one.std),
}
"""Operations of the same meaning; what albumentations draws otherwise is near enough for speed."""


def plain(operations: Sequence[Any]) -> list[Any]:
    """Operations with flips by their torchvision names."""
    from streamload.transforms import augment as ours

    found: list[Any] = []
    for one in operations:
        if type(one).__name__ == "RandomFlip":
            kinds = {"W": ours.RandomHorizontalFlip, "H": ours.RandomVerticalFlip}
            found += [kinds[axis](one.p) for axis in one.axes]
        else:
            found.append(one)
    return found


def in_torchvision(v2: Any, operations: Sequence[Any]) -> list[Any]:
    """The same operations of torchvision, by their names and arguments. Raises NoCounterpart for one that it has not."""
    return [_in_torchvision(v2, one) for one in plain(operations)]


def _in_torchvision(v2: Any, one: Any) -> Any:
    name = type(one).__name__
    kind = getattr(v2, name, None)
    if kind is None:
        raise NoCounterpart(f"torchvision has no {name}")
    given = {field.name: getattr(one, field.name) for field in dataclasses.fields(one) if field.init}
    known = inspect.signature(kind).parameters
    if "transforms" in given:
        given["transforms"] = in_torchvision(v2, given["transforms"])
    if "interpolation" in given:
        given["interpolation"] = v2.InterpolationMode(given["interpolation"])
    chance = given.pop("p") if "p" in given and "p" not in known else 1.0
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise NoCounterpart(f"torchvision's {name} has no {', '.join(unknown)}")
    made = kind(**{key: list(value) if isinstance(value, tuple) and key in ("mean", "std") else value for key, value in given.items()})
    return made if chance >= 1 else v2.RandomApply([made], chance)


def torchvision_of(augment: Augment) -> Any:
    """A function of a tensor, (channels, height, width) of uint8."""
    import_torchvision()
    from torchvision.transforms import v2

    geometry = [one for one in augment.operations if type(one).__name__ not in ("Normalize", "RandomErasing")]
    last = [one for one in augment.operations if one not in geometry]
    floats = augment.dtype not in (None, "uint8") or bool(last)
    dtype = [v2.ToDtype(getattr(torch, augment.dtype or "float32"), scale=augment.scale)] if floats else []
    return v2.Compose([*in_torchvision(v2, geometry), *dtype, *in_torchvision(v2, last)])


def albumentations_of(augment: Augment) -> Any:
    """A function of an array, (height, width, channels) of uint8."""
    import albumentations as al

    steps = []
    for one in plain(augment.operations):
        if type(one).__name__ not in IN_ALBUMENTATIONS:
            raise NoCounterpart(f"albumentations has no {type(one).__name__} that means the same")
        steps.append(IN_ALBUMENTATIONS[type(one).__name__](al, one))
    return al.Compose(steps)


class AugmentedPairs(Pairs):
    """Images that are stored in a layout, augmented one by one."""

    def __init__(self, path: str, chain: Any, *, tensors: bool, channels_first: bool) -> None:
        super().__init__(path)
        self._chain, self._tensors, self._channels_first = chain, tensors, channels_first

    def __getitem__(self, record: int) -> tuple[torch.Tensor, int]:
        image = self.images[record]
        image = image if image.ndim == 3 else image[:, :, None]
        label = int(self.labels[record])
        if self._tensors:
            tensor = torch.from_numpy(image)
            return self._chain(tensor if self._channels_first else tensor.permute(2, 0, 1)), label
        image = image.transpose(1, 2, 0) if self._channels_first else image
        made = self._chain(image=np.ascontiguousarray(image))["image"]
        return torch.from_numpy(np.ascontiguousarray(made.transpose(2, 0, 1))), label


def make(config: Config) -> Any:
    """A DataLoader with persistent workers, settled by a pass."""
    torch.set_num_threads(1)
    augment, tensors = first_augment(chain_in(config["chain"])), config["library"] == "torchvision"
    chain = torchvision_of(augment) if tensors else albumentations_of(augment)
    data = AugmentedPairs(config["path"], chain, tensors=tensors, channels_first=config["layout"] == "CHW")
    first = data[0][0]
    return passes(data, config, whole=False, record_nbytes=first.numel() * first.element_size())
