"""What comes last: normalisation, and rectangles that are erased."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamload.errors import ConfigError
from streamload.transforms.chain import ERASE, NORMALIZE, Chain, Erased
from streamload.transforms.operations.arguments import chance_of, listed, number, range_of, refuse

MOST = float(np.finfo(np.float32).max)
TRIES = 10
"""Rectangles drawn before nothing is erased."""


def numbers_of(operation: object, name: str, value: Any) -> tuple[float, ...]:
    """A number for each channel, or one for all."""
    numbers: Any = (value,) if number(value) else tuple(value) if isinstance(value, np.ndarray) and value.ndim else listed(value)
    if not numbers or not all(map(number, numbers)):
        raise refuse(operation, name, value, "are no numbers", "Give one for each channel.")
    return tuple(map(float, numbers))


@dataclass(frozen=True, slots=True)
class Normalize:
    """Less the mean, over the deviation, of each channel: of images that reach from 0 to 1, as torchvision's are by then.

    Images of whole numbers are divided by the largest that their dtype has first, unless `Augment(scale=False)`.
    """

    mean: Any
    """Of each channel, or one for all."""
    std: Any
    """Of each channel, or one for all."""
    phases = (NORMALIZE, NORMALIZE)
    volumes = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", numbers_of(self, "mean", self.mean))
        object.__setattr__(self, "std", numbers_of(self, "std", self.std))
        if 0 in self.std:
            raise refuse(self, "std", self.std, "would divide by zero", "Give deviations above 0.")
        if min(self.std) < 0:
            raise refuse(self, "std", self.std, "is below 0, as no deviation is", "Give deviations above 0.")
        if not all(-MOST <= part <= MOST for deviation in self.std for part in (1 / deviation, *(one / deviation for one in self.mean))):
            raise refuse(self, "std", self.std, "makes numbers that float32 does not reach", "Give deviations of levels from 0 to 1.")

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        if chain.mean:
            raise ConfigError("Normalize stands twice in a chain.", hint="Put both into one.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, chain.channels):
                raise refuse(self, name, values, f"is not for an image of {chain.channels} channels", "Give one number for each channel.")
        chain.mean = self.mean * (chain.channels // len(self.mean))
        chain.std = self.std * (chain.channels // len(self.std))


@dataclass(frozen=True, slots=True)
class RandomErasing:
    """A rectangle of random size and place overwritten, with a chance of `p`; of what is delivered, after `Normalize`."""

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    """Least and largest share of the image's area."""
    ratio: tuple[float, float] = (0.3, 3.3)
    """Least and largest height over width."""
    value: Any = 0
    """What is written, or one for each channel."""
    phases = (ERASE, ERASE)

    def __post_init__(self) -> None:
        chance_of(self, self.p)
        object.__setattr__(self, "scale", range_of(self, "scale", self.scale, least=0, most=1))
        object.__setattr__(self, "ratio", range_of(self, "ratio", self.ratio, least=1e-6))
        if isinstance(self.value, str):
            raise refuse(self, "value", self.value, "is not known", "Give a number, or one for each channel.")
        object.__setattr__(self, "value", numbers_of(self, "value", self.value))

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        if len(self.value) not in (1, chain.channels):
            hint = "Give one number for each channel."
            raise refuse(self, "value", self.value, f"is not for an image of {chain.channels} channels", hint)
        where, (height, width) = chain.chance(self.p), chain.sizes
        tries = chain.draws.fractions(4 * TRIES).reshape(TRIES, 4, -1)
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * tries[:, 0])
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = np.exp(low + (high - low) * tries[:, 1])
        h, w = np.rint(np.sqrt(area * ratio)).astype(np.int64), np.rint(np.sqrt(area / ratio)).astype(np.int64)
        fits = (h < height) & (w < width)
        first, rows = fits.argmax(0), np.arange(fits.shape[1])
        h, w, found = h[first, rows], w[first, rows], fits[first, rows]
        top = (tries[first, 2, rows] * (height - h + 1)).astype(np.int64)
        left = (tries[first, 3, rows] * (width - w + 1)).astype(np.int64)
        where = found if where is None else where & found
        chain.note(where, top=top, left=left, height=h, width=w)
        chain.erased.append(Erased(top=top, left=left, height=h, width=w, value=self.value, where=where))
