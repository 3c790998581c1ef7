"""Free affine geometry: rotation by any angle, shear, shift and zoom around the centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.transforms.chain import GEOMETRY, Chain
from streamload.transforms.operations.arguments import chance_of, fill_of, listed, number, range_of, refuse, settle_flag

INTERPOLATIONS = ("nearest", "bilinear")


def inverse_map(
    *,
    angle: NDArray[np.float64],
    shift: tuple[NDArray[np.float64], NDArray[np.float64]],
    scale: NDArray[np.float64],
    shear: tuple[NDArray[np.float64], NDArray[np.float64]],
    center: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """From what comes out to where it comes from, as torchvision's `affine` has it: shape (6, records).

    Angles are in degrees, clockwise; `shift` is (x, y) in pixels; `center` is counted from the centre of the image.
    """
    rotation, sx, sy = np.radians(angle), np.radians(shear[0]), np.radians(shear[1])
    a, b = np.cos(rotation - sy) / np.cos(sy), -np.cos(rotation - sy) * np.tan(sx) / np.cos(sy) - np.sin(rotation)
    c, d = np.sin(rotation - sy) / np.cos(sy), -np.sin(rotation - sy) * np.tan(sx) / np.cos(sy) + np.cos(rotation)
    m0, m1, m3, m4 = d / scale, -b / scale, -c / scale, a / scale
    (cx, cy), (tx, ty) = center, shift
    m2 = m0 * (-cx - tx) + m1 * (-cy - ty) + cx
    m5 = m3 * (-cx - tx) + m4 * (-cy - ty) + cy
    return np.stack(np.broadcast_arrays(m0, m1, m2, m3, m4, m5)).astype(np.float64)


def interpolation_of(operation: object, value: Any) -> str:
    """One of the two that a free map knows."""
    if not isinstance(value, str) or value not in INTERPOLATIONS:
        raise refuse(operation, "interpolation", value, "is not known here", 'Give "nearest" or "bilinear".')
    return value


def degrees_of(operation: object, name: str, value: Any) -> tuple[float, float]:
    """A range of angles: given as such, or as the most to either side."""
    if number(value):
        if value < 0:
            raise refuse(operation, name, value, "is below 0", f"Give the most to either side, or a range: {name}=(-10, 10).")
        return -float(value), float(value)
    return range_of(operation, name, value)


def center_of(operation: object, value: Any) -> tuple[float, float] | None:
    """A point in pixels from the upper left corner, (x, y); None for the middle."""
    if value is None:
        return None
    pair = listed(value)
    if len(pair) != 2 or not all(map(number, pair)):
        raise refuse(operation, "center", value, "is no point", "Give (x, y) in pixels from the upper left corner.")
    return float(pair[0]), float(pair[1])


def from_center(chain: Chain, center: tuple[float, float] | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The point that stays, counted from the centre of each image."""
    height, width = chain.sizes
    if center is None:
        return np.zeros(1), np.zeros(1)
    return center[0] - width * 0.5 * np.ones(1), center[1] - height * 0.5 * np.ones(1)


@dataclass(frozen=True, slots=True)
class RandomRotation:
    """Turned by a random angle around a point, onto an image of the same size.

    Quarter-turns of square images alone are `RandomRotate90`, which resamples nothing.
    """

    degrees: Any
    """The most to either side, or a range of angles, anticlockwise."""
    interpolation: str = "nearest"
    """"nearest" or "bilinear"."""
    expand: bool = False
    """Not here: records of a batch have one size, so nothing is made larger."""
    center: Any = None
    """The point that stays, (x, y) from the upper left corner. None: the middle."""
    fill: Any = 0
    """The level outside, or one for each channel."""
    p: float = 1.0
    """The chance that it is done."""
    phases = (GEOMETRY, GEOMETRY)

    def __post_init__(self) -> None:
        chance_of(self, self.p)
        settle_flag(self, "expand")
        if self.expand:
            hint = "Leave it out; pad before it if nothing may be lost."
            raise refuse(self, "expand", self.expand, "would give every record a size of its own", hint)
        object.__setattr__(self, "degrees", degrees_of(self, "degrees", self.degrees))
        object.__setattr__(self, "center", center_of(self, self.center))
        interpolation_of(self, self.interpolation)
        fill_of(self, self.fill)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        with chain.only(chain.chance(self.p)):
            self._apply(chain)

    def _apply(self, chain: Chain) -> None:
        angle, none = chain.draws.uniform(*self.degrees), np.zeros(1)
        inverse = inverse_map(
            angle=-angle, shift=(none, none), scale=np.ones(1), shear=(none, none), center=from_center(chain, self.center)
        )
        chain.note(angle=angle)
        free_map(chain, inverse, self.fill, self.interpolation)


def free_map(chain: Chain, inverse: NDArray[np.float64], fill: Any, interpolation: str) -> None:
    """Add an affine map to what has been done."""
    chain.placement.affine(
        inverse,
        fill=fill_of(chain, fill),
        interpolation=interpolation,
        where=chain.where,
        always=chain.where is None,
    )


@dataclass(frozen=True, slots=True)
class RandomAffine:
    """Turned, shifted, zoomed and sheared at random around a point, onto an image of the same size."""

    degrees: Any
    """The most to either side, or a range of angles, clockwise."""
    translate: Any = None
    """The largest shift, as shares of width and height."""
    scale: Any = None
    """A range of zoom."""
    shear: Any = None
    """Degrees: the most along x to either side, a range, or two ranges in a row, along x and y."""
    interpolation: str = "nearest"
    """"nearest" or "bilinear"."""
    fill: Any = 0
    """The level outside, or one for each channel."""
    center: Any = None
    """The point that stays, (x, y) from the upper left corner. None: the middle."""
    p: float = 1.0
    """The chance that it is done."""
    phases = (GEOMETRY, GEOMETRY)

    def __post_init__(self) -> None:
        chance_of(self, self.p)
        object.__setattr__(self, "degrees", degrees_of(self, "degrees", self.degrees))
        object.__setattr__(self, "center", center_of(self, self.center))
        if self.translate is not None:
            pair = listed(self.translate)
            if len(pair) != 2 or not all(number(part) and 0 <= part <= 1 for part in pair):
                raise refuse(self, "translate", self.translate, "are no shares", "Give two numbers from 0 to 1.")
            object.__setattr__(self, "translate", (float(pair[0]), float(pair[1])))
        if self.scale is not None:
            object.__setattr__(self, "scale", range_of(self, "scale", self.scale, least=1e-6))
        if self.shear is not None:
            four = listed(self.shear)
            ranges = (four[:2], four[2:]) if len(four) == 4 else (self.shear, (0.0, 0.0))
            object.__setattr__(self, "shear", (*degrees_of(self, "shear", ranges[0]), *degrees_of(self, "shear", ranges[1])))
        interpolation_of(self, self.interpolation)
        fill_of(self, self.fill)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        with chain.only(chain.chance(self.p)):
            self._apply(chain)

    def _apply(self, chain: Chain) -> None:
        draws, (height, width) = chain.draws, chain.sizes
        angle, (tx, ty) = draws.uniform(*self.degrees), draws.fractions(2) * 2 - 1
        scale = draws.uniform(*(self.scale or (1.0, 1.0)))
        shear = self.shear or (0.0, 0.0, 0.0, 0.0)
        shear_x, shear_y = draws.uniform(*shear[:2]), draws.uniform(*shear[2:])
        most_x, most_y = self.translate or (0.0, 0.0)
        x, y = np.rint(tx * most_x * width), np.rint(ty * most_y * height)
        inverse = inverse_map(angle=angle, shift=(x, y), scale=scale, shear=(shear_x, shear_y), center=from_center(chain, self.center))
        chain.note(angle=angle, translate=np.stack([x, y], -1), scale=scale, shear=np.stack([shear_x, shear_y], -1))
        free_map(chain, inverse, self.fill, self.interpolation)
