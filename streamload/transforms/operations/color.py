"""Colour of images of one or three channels: brightness, contrast, saturation, hue, grey, and which channel is which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from streamload.errors import ConfigError
from streamload.transforms.chain import COLOR, Chain, Group, Step, Where
from streamload.transforms.operations.arguments import chance_of, number, range_of, refuse, whole
from streamload.transforms.operations.by_chance import ByChance

Factors = tuple[float, float] | None


def check_channels(operation: object, chain: Chain, *allowed: int) -> None:
    """Raise ConfigError for images of another number of channels."""
    if chain.channels not in allowed:
        raise ConfigError(
            f"{type(operation).__name__} needs an image of {' or '.join(map(str, allowed))} channels, and there are {chain.channels}.",
            hint="Leave it out, or augment the channels that are colours as a field of their own.",
        )


def factors_of(operation: object, name: str, value: Any, *, hue: bool = False) -> Factors:
    """A range of factors: given as such, or as the most to either side of what changes nothing, which is None."""
    middle, least, most = (0.0, -0.5, 0.5) if hue else (1.0, 0.0, np.inf)
    if value is None:
        return None
    if number(value):
        if value < 0:
            raise refuse(operation, name, value, "is below 0", f"Give how far to go, such as {name}=0.4, or a range.")
        value = (middle - value if hue else max(0.0, middle - value), middle + value)
    low, high = range_of(operation, name, value, least=least, most=most)
    return None if low == high == middle else (low, high)


@dataclass(frozen=True, slots=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue changed at random, in random order.

    Levels are rounded after each, as torchvision does on uint8.
    """

    brightness: Any = None
    """A factor's range, or how far it may be from 1."""
    contrast: Any = None
    """A factor's range, or how far it may be from 1."""
    saturation: Any = None
    """A factor's range, or how far it may be from 1."""
    hue: Any = None
    """Parts of a turn, from -0.5 to 0.5: a range, or how far it may be from 0."""
    p: float = 1.0
    """The chance that it is done."""
    phases = (COLOR, COLOR)

    def __post_init__(self) -> None:
        chance_of(self, self.p)
        for name in ("brightness", "contrast", "saturation", "hue"):
            object.__setattr__(self, name, factors_of(self, name, getattr(self, name), hue=name == "hue"))

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        with chain.only(chain.chance(self.p)):
            self._apply(chain)

    def _apply(self, chain: Chain) -> None:
        check_channels(self, chain, 1, 3)
        order, parts = chain.draws.permutations(4), chain.draws.fractions(4)
        kinds = [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation), ("hue", self.hue)]
        steps: list[Step] = []
        places: list[int] = []
        noted: dict[str, Any] = {}
        for place, ((name, limits), part) in enumerate(zip(kinds, parts, strict=True)):
            if limits is None:
                continue
            noted[name] = limits[0] + (limits[1] - limits[0]) * part
            if chain.channels == 3 or name in ("brightness", "contrast"):
                steps.append(Step(kernel=name, parameters=(noted[name],), where=chain.where))
                places.append(place)
        if not steps:
            return
        words = np.array(["brightness", "contrast", "saturation", "hue"])
        present = np.isin(order, places)
        chain.note(**noted, order=words[order[present].reshape(len(order), -1)])
        numbers = np.full(4, -1)
        numbers[places] = np.arange(len(places))
        chain.colors.append(Group(steps=tuple(steps), order=numbers[order[present]].reshape(len(order), -1)))


@dataclass(frozen=True, slots=True)
class Grayscale:
    """Grey, as one channel or as three alike."""

    num_output_channels: int = 1
    phases = (COLOR, COLOR)

    def __post_init__(self) -> None:
        if not whole(self.num_output_channels) or self.num_output_channels not in (1, 3):
            raise refuse(self, "num_output_channels", self.num_output_channels, "is not known", "Give 1 or 3.")
        object.__setattr__(self, "num_output_channels", int(self.num_output_channels))

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        check_channels(self, chain, 1, 3)
        if chain.where is not None and self.num_output_channels != chain.channels:
            raise ConfigError(
                f"Grayscale({self.num_output_channels}) would give some records other channels than others.",
                hint=f"Use Grayscale({chain.channels}) or RandomGrayscale, which keep as many.",
            )
        chain.note()
        chain.color("grayscale", self.num_output_channels)
        chain.set_channels(self.num_output_channels)


@dataclass(frozen=True, slots=True)
class RandomGrayscale(ByChance):
    """Grey with a chance of `p`, in as many channels as there are."""

    p: float = 0.1
    phases = (COLOR, COLOR)

    def add(self, chain: Chain, where: Where) -> None:
        """See `ByChance.add`."""
        check_channels(self, chain, 1, 3)
        chain.color("grayscale", chain.channels, where=where)


@dataclass(frozen=True, slots=True)
class RandomChannelPermutation:
    """Channels in random order, however many there are."""

    p: float = 1.0
    """The chance that it is done."""
    phases = (COLOR, COLOR)

    def __post_init__(self) -> None:
        chance_of(self, self.p)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        with chain.only(chain.chance(self.p)):
            self._apply(chain)

    def _apply(self, chain: Chain) -> None:
        order = chain.draws.permutations(chain.channels)
        chain.note(permutation=order)
        chain.color("permute_channels", *order.T)
