"""A network trained in different orders on real pixels that are stored class by class, everything else being equal."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.mixing import Epochs
from streamload.tools.demonstration.dataset import PHOTOGRAPHS, SIDE, cut_crops, photograph_folder, scales_of

HALF = SIDE // 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Images:
    """Pixels and classes."""

    images: NDArray[np.uint8]
    """Shape (records, HALF, HALF, 3)."""
    labels: NDArray[np.int64]


def stored_by_class(records: int, *, seed: int) -> Images:
    """Crops of photographs, halved, as many of each, one class after the other."""
    folder, rng = photograph_folder(), np.random.default_rng([seed, 2])
    each = records // len(PHOTOGRAPHS)
    parts: list[NDArray[np.uint8]] = []
    for name in PHOTOGRAPHS:
        crops = np.empty((each, SIDE, SIDE, 3), np.uint8)
        cut_crops(scales_of(folder / name), crops, rng)
        parts.append(crops.reshape(each, HALF, 2, HALF, 2, 3).mean(axis=(2, 4)).astype(np.uint8))
    return Images(images=np.concatenate(parts), labels=np.repeat(np.arange(len(PHOTOGRAPHS)), each))


def trainer() -> tuple[str, Callable[..., float]] | None:
    """What is trained, in words, and the function that does it; None where PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    return "a CNN of three convolutions with batch norm, SGD with momentum", train_network


def train_network(order: Epochs, train: Images, test: Images, *, seed: int, epochs: int, batch: int) -> float:
    """Train from nothing in an order; the share of test images whose class is found."""
    import torch
    from torch import nn

    torch.set_num_threads(1)  # so small a network gains nothing from more, and loses much where others use the cores
    torch.manual_seed(seed)
    channels_first = {
        name: torch.from_numpy(part.images).permute(0, 3, 1, 2).contiguous() for name, part in (("train", train), ("test", test))
    }
    labels = torch.from_numpy(train.labels)

    def layer(inputs: int, outputs: int) -> list[Any]:
        return [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    network = nn.Sequential(*layer(3, 16), *layer(16, 32), *layer(32, 48), nn.Flatten(), nn.Linear(48 * (HALF // 8) ** 2, len(PHOTOGRAPHS)))
    steps = epochs * (len(train.labels) // batch)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    network.train()
    for number in range(epochs):
        records = torch.from_numpy(order(number))
        for start in range(0, len(records) - batch + 1, batch):
            chosen = records[start : start + batch]
            loss = nn.functional.cross_entropy(network(as_floats(channels_first["train"][chosen])), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.inference_mode():
        found = torch.cat([network(as_floats(part)).argmax(dim=1) for part in channels_first["test"].split(500)])
    return float((found.numpy() == test.labels).mean())


def as_floats(images: Any) -> Any:
    """Pixels as the network wants them, about -1 to 1."""
    return images.float().div_(127.5).sub_(1)
