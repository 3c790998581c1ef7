"""Curves: functions of a level, of images of any number of channels. Those in a row become one table, and cost as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.transforms.chain import COLOR, Chain, Step, Where
from streamload.transforms.operations.arguments import chance_of, number, range_of, refuse, whole
from streamload.transforms.operations.by_chance import ByChance

LEVELS = np.arange(256)


def add_curve(chain: Chain, levels: NDArray[np.integer], where: Where = None) -> None:
    """Add a curve: what each level becomes, of shape (256,), or (records, 256)."""
    packed = np.ascontiguousarray(np.atleast_2d(levels), np.uint8).view(np.float64).T
    chain.colors.append(Step(kernel="curve", parameters=tuple(packed), where=where))


def solarized(threshold: NDArray[np.float64] | float) -> NDArray[np.int64]:
    """Levels at the threshold or above inverted: shape (256,), or (records, 256)."""
    return np.where(np.asarray(threshold)[..., None] <= LEVELS, 255 - LEVELS, LEVELS)


def posterized(bits: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Levels with so many of their upper bits kept: shape (256,), or (records, 256)."""
    kept = np.asarray(bits)[..., None]
    return LEVELS & (((1 << kept) - 1) << (8 - kept))


@dataclass(frozen=True, slots=True)
class RandomGamma:
    """Levels, as parts of 255, raised to a random power and multiplied by `gain`, with a chance of `p`.

    torchvision has it as the function `adjust_gamma` alone.
    """

    gamma: Any = (0.7, 1.5)
    """A range of powers, or one."""
    gain: float = 1.0
    p: float = 0.5
    phases = (COLOR, COLOR)

    def __post_init__(self) -> None:
        gamma = (self.gamma, self.gamma) if number(self.gamma) else self.gamma
        object.__setattr__(self, "gamma", range_of(self, "gamma", gamma, least=0))
        if not number(self.gain) or self.gain < 0:
            raise refuse(self, "gain", self.gain, "is no factor", "Give a number from 0 up.")
        chance_of(self, self.p)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        where, gamma = chain.chance(self.p), chain.draws.uniform(*self.gamma)
        chain.note(where, gamma=gamma)
        level = np.float32(LEVELS / 255.0) ** gamma.astype(np.float32)[:, None]
        if self.gain != 1:
            level = np.clip(level * np.float32(self.gain), 0, 1)
        add_curve(chain, (level * np.float32(255.999)).astype(np.int64), where)


@dataclass(frozen=True, slots=True)
class RandomSolarize:
    """Levels at a threshold or above inverted, with a chance of `p`."""

    threshold: float
    p: float = 0.5
    phases = (COLOR, COLOR)

    def __post_init__(self) -> None:
        if not number(self.threshold) or not 0 <= self.threshold <= 255:
            raise refuse(self, "threshold", self.threshold, "is no level", "Give a number from 0 to 255.")
        chance_of(self, self.p)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        where = chain.chance(self.p)
        chain.note(where, threshold=self.threshold)
        add_curve(chain, solarized(self.threshold), where)


@dataclass(frozen=True, slots=True)
class RandomPosterize:
    """Levels of fewer bits, with a chance of `p`."""

    bits: int
    """How many are kept, of 8."""
    p: float = 0.5
    phases = (COLOR, COLOR)

    def __post_init__(self) -> None:
        if not whole(self.bits) or not 0 <= self.bits <= 8:
            raise refuse(self, "bits", self.bits, "is no number of bits", "Give a whole number from 0 to 8.")
        chance_of(self, self.p)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        where = chain.chance(self.p)
        chain.note(where, bits=self.bits)
        add_curve(chain, posterized(self.bits), where)


@dataclass(frozen=True, slots=True)
class RandomInvert(ByChance):
    """Levels subtracted from 255, with a chance of `p`."""

    phases = (COLOR, COLOR)

    def add(self, chain: Chain, where: Where) -> None:
        """See `ByChance.add`."""
        add_curve(chain, 255 - LEVELS, where)


@dataclass(frozen=True, slots=True)
class RandomEqualize(ByChance):
    """Levels of each channel spread until each is as frequent as any, with a chance of `p`."""

    phases = (COLOR, COLOR)

    def add(self, chain: Chain, where: Where) -> None:
        """See `ByChance.add`."""
        chain.color("equalize", where=where)


@dataclass(frozen=True, slots=True)
class RandomAutocontrast(ByChance):
    """Levels of each channel stretched to reach from 0 to 255, with a chance of `p`."""

    phases = (COLOR, COLOR)

    def add(self, chain: Chain, where: Where) -> None:
        """See `ByChance.add`."""
        chain.color("autocontrast", where=where)
