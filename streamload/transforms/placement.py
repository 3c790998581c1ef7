"""Where each pixel of an image comes from, while operations of geometry are put together: for many records at a time.

Crops, pads, flips, quarter-turns and resizes compose into one pass over the stored record: a box of it, the size that the box
becomes, one of eight orientations, and one filter. What does not compose (padding of what was resampled or cut, a free affine
map, a second filter) begins another pass over what the one before made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.frame import HORIZONTAL, TRANSPOSED, VERTICAL

Where = NDArray[np.bool_] | None
"""The records that an operation applies to; None for all."""
Whole = NDArray[np.int64] | int
"""A whole number of each record, or one for all: most sizes are known before anything is drawn."""
Size = tuple[int, int]
NOTHING_OUTSIDE = 0
FLIPS = {"horizontal": HORIZONTAL, "vertical": VERTICAL}
_TRANSPOSED = np.array([((o & 1) << 1 | (o & 2) >> 1 | (o & 4)) ^ TRANSPOSED for o in range(8)])
"""The orientation of what was transposed after it had an orientation: its flips change places."""


@dataclass(frozen=True, slots=True)
class Padding:
    """What stands outside of an image."""

    mode: int
    fill: tuple[float, ...]
    """The level of each channel, or one for all, where the mode is CONSTANT."""


@dataclass(frozen=True, slots=True)
class Filter:
    """How an image is resampled."""

    name: str
    antialias: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoxPass:
    """One pass that composes: a box of what was there, made so large, and turned."""

    box: tuple[Any, Any, Any, Any]
    """x0, y0, x1, y1: numbers of each record, or one for all."""
    height: Whole
    width: Whole
    """Of what the box becomes before it is turned."""
    orientation: Whole
    padding: Padding | None
    filter: Filter | None
    """None where nothing is resampled: boxes are whole numbers, and as large as what comes out."""

    def smaller(self) -> Any:
        """By how much what was there could be smaller, and the box still have as many pixels as come out: of each record, or all.

        1 where single pixels are taken: smaller images are made of means.
        """
        if self.filter is None or self.filter.name.startswith("nearest") or not self.filter.antialias:
            return 1.0
        x0, y0, x1, y1 = self.box
        return np.minimum((x1 - x0) / self.width, (y1 - y0) / self.height)

    def forward(self, size: tuple[Whole, Whole], records: int) -> NDArray[np.float64]:
        """The map of coordinates from what was there to what comes out: shape (records, 2, 3). `size` is of what was there."""
        x0, y0, x1, y1, height, width, orientation = (_each(one, records) for one in (*self.box, self.height, self.width, self.orientation))
        orientation = orientation.astype(np.int64)
        sx, sy, zero = width / (x1 - x0), height / (y1 - y0), np.zeros(records)
        across, down = np.stack([sx, zero, -x0 * sx], -1), np.stack([zero, sy, -y0 * sy], -1)
        turned = (orientation & TRANSPOSED != 0)[:, None]
        x, y = np.where(turned, down, across), np.where(turned, across, down)
        w, h = np.where(turned[:, 0], height, width), np.where(turned[:, 0], width, height)
        for bit, line, extent in ((HORIZONTAL, x, w), (VERTICAL, y, h)):
            flipped = orientation & bit != 0
            line[flipped] *= -1
            line[flipped, 2] += extent[flipped]
        return np.stack([x, y], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AffinePass:
    """One pass by a free affine map, of the records that it applies to."""

    inverse: NDArray[np.float64]
    """From what comes out to where it comes from, both counted from their centres: shape (6, records), or (6, 1)."""
    height: Whole
    width: Whole
    fill: tuple[float, ...]
    interpolation: str
    where: Where

    def forward(self, size: tuple[Whole, Whole], records: int) -> NDArray[np.float64]:
        """The map of coordinates from what was there to what comes out: shape (records, 2, 3)."""
        a, b, c, d, e, f = np.broadcast_to(self.inverse, (6, records))
        determinant = a * e - b * d
        p, q, r, s = e / determinant, -b / determinant, -d / determinant, a / determinant
        # out - out_centre = M (in - in_centre - t)
        cx, cy = size[1] * 0.5 + c, size[0] * 0.5 + f
        x = np.stack([p, q, self.width * 0.5 - p * cx - q * cy], -1)
        y = np.stack([r, s, self.height * 0.5 - r * cx - s * cy], -1)
        whole = np.stack([x, y], axis=1)
        return whole if self.where is None else np.where(self.where[:, None, None], whole, np.eye(2, 3))


Pass = BoxPass | AffinePass


class Placement:
    """What the operations so far have made of the images of some records."""

    def __init__(self, height: Whole, width: Whole, *, records: int, known: Size | None) -> None:
        """Images of these sizes; `known` is the size of all of them where it is one."""
        self.records = records
        self.known = known
        """The height and width of all images that operations work on at the moment, whatever is drawn; None where they may differ."""
        self.passes: list[Pass] = []
        self.sizes: list[tuple[Whole, Whole]] = []
        """Heights and widths before each pass."""
        self._begin(height, width)

    def _begin(self, height: Whole, width: Whole) -> None:
        """A new pass, over images of these sizes, which changes nothing yet."""
        self._source = height, width
        self._box: tuple[Any, Any, Any, Any] = (0, 0, width, height)
        self._height, self._width = height, width
        self._orientation: Whole = 0
        self._turned = self._flipped = self._cut = self._changed = False
        self._padding: Padding | None = None
        self._filter: Filter | None = None

    @property
    def size(self) -> tuple[Whole, Whole]:
        """Heights and widths as they are now."""
        if not self._turned:
            return self._height, self._width
        turned = self._orientation & TRANSPOSED != 0
        return np.where(turned, self._width, self._height), np.where(turned, self._height, self._width)

    def crop(self, top: Whole, left: Whole, height: Whole, width: Whole, where: Where = None) -> None:
        """Keep a rectangle, which may reach outside where there is padding."""
        if self._flipped:
            top, left, height, width = self._unturned(top, left, height, width)
        x0, y0, x1, y1 = self._box
        right, bottom = left + width, top + height
        if self._filter is None:
            box = (x0 + left, y0 + top, x0 + right, y0 + bottom)
        else:
            sx, sy = (x1 - x0) / self._width, (y1 - y0) / self._height
            ends = np.where(right == self._width, x1, x0 + right * sx), np.where(bottom == self._height, y1, y0 + bottom * sy)
            box = (x0 + left * sx, y0 + top * sy, *ends)
        if where is not None:
            box = tuple(np.where(where, new, old) for new, old in zip(box, self._box, strict=True))
            height, width = np.where(where, height, self._height), np.where(where, width, self._width)
        self._box, self._height, self._width = box, height, width
        self._cut = self._changed = True

    def _unturned(self, top: Whole, left: Whole, height: Whole, width: Whole) -> tuple[Whole, Whole, Whole, Whole]:
        """The rectangle in what the box becomes before it is turned."""
        (h, w), o = self.size, self._orientation
        left = np.where(o & HORIZONTAL, w - left - width, left)
        top = np.where(o & VERTICAL, h - top - height, top)
        if not self._turned:
            return top, left, height, width
        turned = o & TRANSPOSED != 0
        return (
            np.where(turned, left, top),
            np.where(turned, top, left),
            np.where(turned, width, height),
            np.where(turned, height, width),
        )

    def pad(
        self,
        padding: Padding,
        top: Whole,
        left: Whole,
        height: Whole,
        width: Whole,
        where: Where = None,
    ) -> None:
        """A rectangle that reaches outside, top and left being negative then."""
        if self._padding is not None or self._filter is not None or self._cut:
            self.finish_pass()
        self.crop(top, left, height, width, where)
        self._padding = padding

    def resize(self, height: Whole, width: Whole, resampling: Filter, where: Where = None) -> None:
        """Stretch to a size."""
        if self._padding is not None or self._filter not in (None, resampling):
            self.finish_pass()
        if self._turned:
            turned = self._orientation & TRANSPOSED != 0
            height, width = np.where(turned, width, height), np.where(turned, height, width)
        if where is not None:
            height, width = np.where(where, height, self._height), np.where(where, width, self._width)
        self._height, self._width, self._filter, self._changed = height, width, resampling, True

    def flip(self, axis: str, where: Where = None) -> None:
        """Mirror, "horizontal" (left to right) or "vertical"."""
        changed = self._orientation ^ FLIPS[axis]
        self._orientation = changed if where is None else np.where(where, changed, self._orientation)
        self._flipped = self._changed = True

    def transpose(self, where: Where = None) -> None:
        """Rows become columns. Whoever asks for it sees to it that sizes stay known."""
        changed = _TRANSPOSED[self._orientation]
        self._orientation = changed if where is None else np.where(where, changed, self._orientation)
        self._turned = self._flipped = self._changed = True

    def affine(
        self, inverse: NDArray[np.float64], *, fill: tuple[float, ...], interpolation: str, where: Where = None, always: bool = False
    ) -> None:
        """A free affine map onto an image of the same size; `inverse` as `AffinePass` has it. A pass of its own.

        `always` says that it applies to every record: what is there then need not be copied first.
        """
        if self._changed or not (always or self.passes):
            self.finish_pass()
        height, width = self.size
        self.sizes.append(self._source)
        self.passes.append(AffinePass(inverse=inverse, height=height, width=width, fill=fill, interpolation=interpolation, where=where))
        self._begin(height, width)

    def finish_pass(self) -> None:
        """What follows works on what comes out now."""
        self.sizes.append(self._source)
        self.passes.append(
            BoxPass(
                box=self._box,
                height=self._height,
                width=self._width,
                orientation=self._orientation,
                padding=self._padding,
                filter=self._filter,
            )
        )
        self._begin(*self.size)

    def finish(self) -> None:
        """There is nothing more to come: at least one pass has been made."""
        if self._changed or not self.passes:
            self.finish_pass()

    def forward(self) -> NDArray[np.float64]:
        """The map of coordinates from the stored image to what comes out, of a placement that is finished: (records, 2, 3)."""
        whole = np.broadcast_to(np.eye(3), (self.records, 3, 3))
        for one, size in zip(self.passes, self.sizes, strict=True):
            step = np.zeros_like(whole)
            step[:, :2], step[:, 2, 2] = one.forward(size, self.records), 1.0
            whole = step @ whole
        return whole[:, :2]


def _each(value: Any, records: int) -> NDArray[np.float64]:
    """A number of each record, where one may stand for all."""
    return np.broadcast_to(np.asarray(value, np.float64), (records,))
