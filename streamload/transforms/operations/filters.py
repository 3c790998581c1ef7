"""Operations that look at neighbouring pixels: Gaussian blur and sharpness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.transforms.chain import COLOR, Chain
from streamload.transforms.operations.arguments import chance_of, number, range_of, refuse, size_of
from streamload.transforms.operations.color import check_channels


def bell(size: int, sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of a Gaussian that add up to one, as torchvision has them: shape (size, records)."""
    reach = (size - 1) / (2.0 * np.sqrt(2.0))
    parts = np.exp(-((np.linspace(-reach, reach, size)[:, None] / sigma) ** 2))
    return (parts / parts.sum(0)).astype(np.float32).astype(np.float64)


@dataclass(frozen=True, slots=True)
class GaussianBlur:
    """Blurred with a bell of random width; what is outside mirrors what is inside."""

    kernel_size: Any
    """Pixels across and down, both odd, or one number for both."""
    sigma: Any = (0.1, 2.0)
    """A range of the bell's width in pixels, or one."""
    p: float = 1.0
    """The chance that it is done."""
    phases = (COLOR, COLOR)

    def __post_init__(self) -> None:
        chance_of(self, self.p)
        size = size_of(self, self.kernel_size, name="kernel_size")
        if not size[0] % 2 or not size[1] % 2:
            raise refuse(self, "kernel_size", self.kernel_size, "is even", "Give odd numbers of pixels, such as 5.")
        sigma = (self.sigma, self.sigma) if number(self.sigma) else self.sigma
        object.__setattr__(self, "kernel_size", size)
        object.__setattr__(self, "sigma", range_of(self, "sigma", sigma, least=1e-6))

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        with chain.only(chain.chance(self.p)):
            self._apply(chain)

    def _apply(self, chain: Chain) -> None:
        known, (wide, tall) = chain.placement.known, self.kernel_size
        if known is not None and (tall // 2 >= known[0] or wide // 2 >= known[1]):
            raise ConfigError(
                f"GaussianBlur(kernel_size={self.kernel_size}) reaches further than the image, which is {known[0]} x {known[1]} there.",
                hint="Take a smaller kernel, or blur larger images.",
            )
        sigma = chain.draws.uniform(*self.sigma)
        chain.note(sigma=sigma)
        chain.color("gaussian_blur", float(wide), float(tall), *bell(wide, sigma), *bell(tall, sigma))


@dataclass(frozen=True, slots=True)
class RandomAdjustSharpness:
    """Sharper or softer, with a chance of `p`."""

    sharpness_factor: float
    """0 is blurred, 1 as it was, 2 sharper."""
    p: float = 0.5
    phases = (COLOR, COLOR)

    def __post_init__(self) -> None:
        if not number(self.sharpness_factor) or self.sharpness_factor < 0:
            raise refuse(self, "sharpness_factor", self.sharpness_factor, "is no factor", "Give a number from 0 up.")
        chance_of(self, self.p)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        check_channels(self, chain, 1, 3)
        where = chain.chance(self.p)
        chain.note(where, sharpness_factor=self.sharpness_factor)
        chain.color("sharpness", self.sharpness_factor, where=where)
