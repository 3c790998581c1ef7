"""Crops: of the centre, at random, of random size, and of the four corners and the centre."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.transforms.chain import GEOMETRY, Chain
from streamload.transforms.operations.arguments import (
    borders_of,
    chance_of,
    crop_size_of,
    filter_of,
    padding_of,
    plane_of,
    range_of,
    refuse,
    settle_flag,
    size_of,
)
from streamload.transforms.placement import Filter, Padding, Size, Whole

NOTHING = Padding(0, (0.0,))
"""Zeros outside."""
TRIES = 10
"""Boxes drawn before a random-resized crop falls back to the middle."""


def cut(chain: Chain, top: Whole, left: Whole, size: Size) -> None:
    """A crop of a size that is the same for all."""
    chain.placement.crop(top, left, *size, chain.where)
    chain.placement.known = size


def cut_depth(chain: Chain, front: Whole, depth: int) -> None:
    """The same of a volume's planes."""
    assert chain.depth is not None
    chain.depth.crop(front, 0, depth, 1)
    chain.depth.known = (depth, 1)


def at_least(least: int, found: Whole) -> Whole:
    """Numbers of at least so much: one for all stays one, which costs a tenth."""
    return max(found, least) if isinstance(found, int) else np.maximum(found, least)


def check_fits(operation: object, chain: Chain, size: Size, height: Whole, width: Whole) -> None:
    """Raise ConfigError where images of these sizes are smaller than a crop: all alike where their size is known."""
    short = (height < size[0]) | (width < size[1])
    if short is False:
        return
    if chain.where is not None and chain.placement.known is None:
        short = short & chain.where
    if np.any(short):
        first = int(np.argmax(np.atleast_1d(short)))
        found = " x ".join(str(np.broadcast_to(side, np.shape(np.atleast_1d(short)))[first]) for side in (height, width))
        raise ConfigError(
            f"{type(operation).__name__}(size={size}) is larger than the image, which is {found} there.",
            hint="Ask for a smaller size, pad with padding= or pad_if_needed=True, or resize first.",
        )


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """The middle of an image. One that is smaller is padded with 0 first."""

    size: Any
    """Height and width, or one number for both; of volumes depth, height and width."""
    phases = (GEOMETRY, GEOMETRY)
    volumes = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", crop_size_of(self, self.size))

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        placement, size = chain.placement, plane_of(self, self.size, volume=chain.depth is not None)
        height, width = chain.sizes
        if placement.known is None or placement.known[0] < size[0] or placement.known[1] < size[1]:
            more_h, more_w = np.maximum(size[0] - height, 0), np.maximum(size[1] - width, 0)
            placement.pad(NOTHING, -(more_h // 2), -(more_w // 2), height + more_h, width + more_w, chain.where)
            height, width = height + more_h, width + more_w
        top, left = np.rint((height - size[0]) / 2.0).astype(np.int64), np.rint((width - size[1]) / 2.0).astype(np.int64)
        chain.note(top=top, left=left, height=size[0], width=size[1], **self._cut_depth(chain))
        cut(chain, top, left, (size[0], size[1]))

    def _cut_depth(self, chain: Chain) -> dict[str, Any]:
        """Of a volume, the planes in the middle."""
        if chain.depth is None or chain.depth.known is None:
            return {}
        planes, wanted = chain.depth.known[0], self.size[0]
        if planes < wanted:
            chain.depth.pad(NOTHING, -((wanted - planes) // 2), 0, wanted, 1)
            planes = wanted
        front = round((planes - wanted) / 2)
        cut_depth(chain, front, wanted)
        return {"front": front, "depth": wanted}


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """A rectangle of one size, anywhere."""

    size: Any
    """Height and width, or one number for both; of volumes depth, height and width."""
    padding: Any = None
    """Pixels around the image before it is cut: one number, (left and right, top and bottom), or (left, top, right, bottom); of
    volumes (left, top, front, right, bottom, back), or (left and right, top and bottom, front and back)."""
    pad_if_needed: bool = False
    """Whether an image that is smaller is padded; without it, that is an error."""
    fill: Any = 0
    """The level outside, or one for each channel, with the padding mode "constant"."""
    padding_mode: str = "constant"
    """"constant", "edge", "reflect" (without the edge) or "symmetric" (with it)."""
    p: float = 1.0
    """The chance that it is done; what is not cut keeps its size, so a crop or a resize has to follow."""
    phases = (GEOMETRY, GEOMETRY)
    volumes = True

    def __post_init__(self) -> None:
        chance_of(self, self.p)
        object.__setattr__(self, "size", crop_size_of(self, self.size))
        padding_of(self, self.padding_mode, self.fill)
        settle_flag(self, "pad_if_needed")
        if self.padding is not None:
            object.__setattr__(self, "padding", borders_of(self, self.padding))

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        if self.p < 1 and chain.depth is not None:
            hint = "Leave p= out: every volume is cut to one size."
            raise refuse(self, "p", self.p, "is not for a volume", hint)
        with chain.only(chain.chance(self.p)):
            self._apply(chain)

    def _apply(self, chain: Chain) -> None:
        placement, draws, volume = chain.placement, chain.draws, chain.depth is not None
        size = plane_of(self, self.size, volume=volume)
        height, width = chain.sizes
        left, top, right, bottom = (0, 0, 0, 0) if self.padding is None else plane_of(self, self.padding, volume=volume, name="padding")
        above, before, height, width = top, left, height + top + bottom, width + left + right
        if self.pad_if_needed:
            more_h, more_w = np.maximum(size[0] - height, 0), np.maximum(size[1] - width, 0)
            above, before, height, width = above + more_h, before + more_w, height + 2 * more_h, width + 2 * more_w
        if self.pad_if_needed or self.padding is not None:
            placement.pad(padding_of(self, self.padding_mode, self.fill), -above, -before, height, width, chain.where)
        check_fits(self, chain, (size[0], size[1]), height, width)
        y, x = draws.places(at_least(0, height - size[0]) + 1, at_least(0, width - size[1]) + 1)
        chain.note(top=y - above, left=x - before, height=size[0], width=size[1], **self._cut_depth(chain))
        cut(chain, y, x, (size[0], size[1]))

    def _cut_depth(self, chain: Chain) -> dict[str, Any]:
        """Of a volume, planes that stand next to each other."""
        if chain.depth is None or chain.depth.known is None:
            return {}
        planes, wanted = chain.depth.known[0], self.size[0]
        front, back = (0, 0) if self.padding is None else (self.padding[2], self.padding[5])
        more = max(wanted - planes - front - back, 0) if self.pad_if_needed else 0
        before, planes = front + more, planes + front + back + 2 * more
        if self.pad_if_needed or self.padding is not None:
            chain.depth.pad(padding_of(self, self.padding_mode, self.fill), -before, 0, planes, 1)
        if planes < wanted:
            raise ConfigError(
                f"RandomCrop(size={self.size}) is larger than the volume, which has {planes} planes there.",
                hint="Ask for a smaller size, or pad with padding= or pad_if_needed=True.",
            )
        z = chain.draws.below(int(planes - wanted + 1))
        cut_depth(chain, z, wanted)
        return {"front": z - before, "depth": wanted}


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """A rectangle of random size and shape, stretched to one size.

    Pixels next to the rectangle count at its border, as in Pillow's `resize(box=...)`; torchvision cuts first.
    """

    size: Any
    """Height and width, or one number for both."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Least and largest share of the image's area."""
    ratio: tuple[float, float] = (3.0 / 4.0, 4.0 / 3.0)
    """Least and largest width over height."""
    interpolation: str = "bilinear"
    """"nearest" (torchvision's), "nearest-exact" (Pillow's), "bilinear", "bicubic", or "box" ("area"): the mean of an area."""
    antialias: bool = True
    """Whether "bilinear" and "bicubic" take in all pixels of what becomes smaller."""
    p: float = 1.0
    """The chance that it is done; what is left as it is keeps its size, so a crop or a resize has to follow."""
    filter: Filter = field(init=False, repr=False, compare=False)
    phases = (GEOMETRY, GEOMETRY)

    def __post_init__(self) -> None:
        chance_of(self, self.p)
        object.__setattr__(self, "size", size_of(self, self.size))
        object.__setattr__(self, "scale", range_of(self, "scale", self.scale, least=0, most=1))
        if not self.scale[1]:
            raise refuse(self, "scale", self.scale, "leaves nothing of an image", "Give shares of its area, the larger above 0.")
        object.__setattr__(self, "ratio", range_of(self, "ratio", self.ratio, least=1e-6))
        settle_flag(self, "antialias")
        object.__setattr__(self, "filter", filter_of(self, self.interpolation, antialias=self.antialias))

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        with chain.only(chain.chance(self.p)):
            self._apply(chain)

    def _apply(self, chain: Chain) -> None:
        top, left, height, width = self._boxes(chain, *chain.sizes)
        chain.note(top=top, left=left, height=height, width=width)
        placement = chain.placement
        placement.crop(top, left, height, width, chain.where)
        placement.resize(self.size[0], self.size[1], self.filter, chain.where)
        placement.known = self.size

    def _boxes(
        self, chain: Chain, height: Whole, width: Whole
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Top, left, height and width, as torchvision draws them: the first of ten tries that fits, else the middle."""
        tries = chain.draws.fractions(4 * TRIES).reshape(TRIES, 4, -1)
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * tries[:, 0])
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = np.exp(low + (high - low) * tries[:, 1])
        w, h = np.rint(np.sqrt(area * ratio)).astype(np.int64), np.rint(np.sqrt(area / ratio)).astype(np.int64)
        fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        first, rows = fits.argmax(0), np.arange(fits.shape[1])
        found, w, h = fits[first, rows], w[first, rows], h[first, rows]
        top = (tries[first, 2, rows] * (height - h + 1)).astype(np.int64)
        left = (tries[first, 3, rows] * (width - w + 1)).astype(np.int64)
        if found.all():
            return top, left, h, w
        narrow, wide = width / height < self.ratio[0], width / height > self.ratio[1]
        mid_w = np.where(wide, np.rint(height * self.ratio[1]), width).astype(np.int64)
        mid_h = np.where(narrow, np.rint(width / self.ratio[0]), height).astype(np.int64)
        h, w = np.where(found, h, mid_h), np.where(found, w, mid_w)
        return np.where(found, top, (height - h) // 2), np.where(found, left, (width - w) // 2), h, w


@dataclass(frozen=True, slots=True)
class FiveCrop:
    """The four corners and the middle: what comes out has five crops of each record, in an axis of its own after that of records."""

    size: Any
    """Height and width, or one number for both."""
    phases = (GEOMETRY, GEOMETRY)
    crops = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", size_of(self, self.size))

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        height, width = chain.sizes
        check_fits(self, chain, self.size, height, width)
        down, across = height - self.size[0], width - self.size[1]
        middle = np.rint(down / 2.0).astype(np.int64), np.rint(across / 2.0).astype(np.int64)
        top, left = ((0, 0), (0, across), (down, 0), (down, across), middle)[chain.crop]
        chain.note(top=top, left=left, height=self.size[0], width=self.size[1])
        cut(chain, top, left, self.size)
