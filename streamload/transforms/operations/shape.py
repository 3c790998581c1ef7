"""Padding, resizing, flips and quarter-turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from streamload.errors import ConfigError
from streamload.transforms.chain import GEOMETRY, Chain, Where
from streamload.transforms.operations.arguments import (
    borders_of,
    chance_of,
    filter_of,
    padding_of,
    plane_of,
    refuse,
    settle_flag,
    size_of,
    whole,
)
from streamload.transforms.operations.by_chance import ByChance
from streamload.transforms.placement import Filter, Padding, Size


@dataclass(frozen=True, slots=True)
class Pad:
    """Pixels around an image."""

    padding: Any
    """One number, (left and right, top and bottom), or (left, top, right, bottom); of volumes (left, top, front, right, bottom, back),
    or (left and right, top and bottom, front and back)."""
    fill: Any = 0
    """The level outside, or one for each channel, with the padding mode "constant"."""
    padding_mode: str = "constant"
    """"constant", "edge", "reflect" (without the edge) or "symmetric" (with it)."""
    phases = (GEOMETRY, GEOMETRY)
    volumes = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "padding", borders_of(self, self.padding))
        padding_of(self, self.padding_mode, self.fill)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        placement = chain.placement
        left, top, right, bottom = plane_of(self, self.padding, volume=chain.depth is not None, name="padding")
        height, width = chain.sizes
        padding, known = padding_of(self, self.padding_mode, self.fill), placement.known
        placement.pad(padding, -top, -left, height + top + bottom, width + left + right, chain.where)
        placement.known = None if known is None else (known[0] + top + bottom, known[1] + left + right)
        chain.note(left=left, top=top, right=right, bottom=bottom, **self._pad_depth(chain, padding))

    def _pad_depth(self, chain: Chain, padding: Padding) -> dict[str, Any]:
        """Of a volume, planes before and behind."""
        if chain.depth is None or chain.depth.known is None:
            return {}
        planes, front, back = chain.depth.known[0], self.padding[2], self.padding[5]
        chain.depth.pad(padding, -front, 0, planes + front + back, 1)
        chain.depth.known = (planes + front + back, 1)
        return {"front": front, "back": back}


@dataclass(frozen=True, slots=True)
class Resize:
    """Stretch an image to a size, or until its shorter side has one.

    A chain resamples once, from what is stored to what comes out: two resizes in a row are one.
    """

    size: Any
    """Height and width; or the shorter side, and the other follows; or None, and `max_size` is the longer side."""
    interpolation: str = "bilinear"
    """"nearest" (torchvision's), "nearest-exact" (Pillow's), "bilinear", "bicubic", or "box" ("area"): the mean of an area."""
    max_size: int | None = None
    """The most that the longer side may have where `size` is one number."""
    antialias: bool = True
    """Whether "bilinear" and "bicubic" take in all pixels of what becomes smaller."""
    filter: Filter = field(init=False, repr=False, compare=False)
    phases = (GEOMETRY, GEOMETRY)

    def __post_init__(self) -> None:
        size: Any = self.size[0] if isinstance(self.size, (tuple, list)) and len(self.size) == 1 else self.size
        if size is None and self.max_size is None:
            raise refuse(self, "size", None, "says nothing", "Give a size, or max_size for the longer side.")
        if size is not None:
            size_of(self, size)
            object.__setattr__(self, "size", int(size) if whole(size) else size_of(self, size))
        if self.max_size is not None and not (whole(self.max_size) and self.max_size > 0):
            raise refuse(self, "max_size", self.max_size, "is no size", "Give a number of pixels.")
        if self.max_size is not None and isinstance(self.size, tuple):
            raise refuse(self, "max_size", self.max_size, "goes with one side alone", "Give size=256 or leave max_size out.")
        settle_flag(self, "antialias")
        object.__setattr__(self, "filter", filter_of(self, self.interpolation, antialias=self.antialias))

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        placement, known = chain.placement, chain.placement.known
        height, width = chain.sizes
        if isinstance(self.size, tuple) or known is not None:
            same = out_height, out_width = self.becomes(*(known or (1, 1)))
        else:
            pairs = zip(np.atleast_1d(height).tolist(), np.atleast_1d(width).tolist(), strict=True)
            same, (out_height, out_width) = None, np.array([self.becomes(h, w) for h, w in pairs], np.int64).T
        chain.note(height=out_height, width=out_width)
        placement.resize(out_height, out_width, self.filter, chain.where)
        placement.known = same

    def becomes(self, height: int, width: int) -> Size:
        """What an image of a size is resized to."""
        if isinstance(self.size, tuple):
            return self.size
        short, long = min(height, width), max(height, width)
        if self.size is None:
            assert self.max_size is not None
            short, long = int(self.max_size * short / long), self.max_size
        else:
            short, long = self.size, int(self.size * long / short)
            if self.max_size is not None and long > self.max_size:
                short, long = int(self.max_size * short / long), self.max_size
        short = max(short, 1)
        return (long, short) if height > width else (short, long)


@dataclass(frozen=True, slots=True)
class RandomHorizontalFlip(ByChance):
    """Left and right changed over, with a chance of `p`."""

    phases = (GEOMETRY, GEOMETRY)
    volumes = True

    def add(self, chain: Chain, where: Where) -> None:
        """See `ByChance.add`."""
        chain.placement.flip("horizontal", where)


@dataclass(frozen=True, slots=True)
class RandomVerticalFlip(ByChance):
    """Top and bottom changed over, with a chance of `p`."""

    phases = (GEOMETRY, GEOMETRY)
    volumes = True

    def add(self, chain: Chain, where: Where) -> None:
        """See `ByChance.add`."""
        chain.placement.flip("vertical", where)


@dataclass(frozen=True, slots=True)
class RandomFlip:
    """Mirrored along each of some axes, each by itself with a chance of `p`."""

    p: float = 0.5
    axes: str = "W"
    """Letters of axes: "W" (left to right), "H" (upside down), of volumes also "D"."""
    phases = (GEOMETRY, GEOMETRY)
    volumes = True

    def __post_init__(self) -> None:
        chance_of(self, self.p)
        if (
            not isinstance(cast(object, self.axes), str)
            or not self.axes
            or len(set(self.axes)) < len(self.axes)
            or set(self.axes) - set("DHW")
        ):
            raise refuse(self, "axes", self.axes, "are no axes", 'Give letters out of "DHW", each once.')

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        if "D" in self.axes and chain.depth is None:
            raise ConfigError(
                f"RandomFlip(axes={self.axes!r}): an image has no axis D.", hint='Only volumes have one: say stored="DHW" in Augment.'
            )
        for axis in self.axes:
            where = chain.chance(self.p)
            chain.note(where, axis=axis)
            if axis == "D":
                assert chain.depth is not None
                chain.depth.flip("vertical", where)
            else:
                chain.placement.flip({"W": "horizontal", "H": "vertical"}[axis], where)


@dataclass(frozen=True, slots=True)
class RandomRotate90:
    """Turned by none to three quarters, each as likely, with a chance of `p`. Images must be square by then."""

    p: float = 1.0
    phases = (GEOMETRY, GEOMETRY)

    def __post_init__(self) -> None:
        chance_of(self, self.p)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        placement = chain.placement
        if placement.known is None or placement.known[0] != placement.known[1]:
            found = "of several sizes" if placement.known is None else f"{placement.known[0]} x {placement.known[1]}"
            raise ConfigError(
                f"RandomRotate90 would change heights and widths over: images are {found} there.",
                hint="Crop or resize to a square first.",
            )
        where, turns = chain.chance(self.p), chain.draws.below(4)
        chain.note(where, turns=turns)
        odd, first, second = turns & 1 == 1, (turns == 1) | (turns == 2), (turns == 2) | (turns == 3)
        if where is not None:
            odd, first, second = odd & where, first & where, second & where
        # Anticlockwise: transposed, then flipped upside down; a half is both flips; three quarters are transposed, then mirrored.
        placement.transpose(odd)
        placement.flip("vertical", first)
        placement.flip("horizontal", second)
