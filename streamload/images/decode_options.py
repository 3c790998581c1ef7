"""What a decoded image is to look like: size, fit, mode and channel order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from streamload.errors import ConfigError
from streamload.sizes import flag_of

MOST_PIXELS = 1 << 27
"""More than any camera's image has (402 MB as RGB): an image that claims more is refused before anything is decoded, since
a few kilobytes can unpack to gigabytes."""

MODES: dict[str, tuple[int, np.dtype]] = {
    "L": (1, np.dtype("u1")),
    "RGB": (3, np.dtype("u1")),
    "RGBA": (4, np.dtype("u1")),
    "L16": (1, np.dtype("u2")),
    "RGB16": (3, np.dtype("u2")),
    "RGBA16": (4, np.dtype("u2")),
}
"""Channels and type of each mode: grey, colour, colour with alpha; of 8 and of 16 bits."""
FITS = ("crop", "resize", "exact")
CHANNELS = ("last", "first")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decode:
    """How encoded images of a field are delivered: `sl.open(path, decode={"image": sl.Decode(size=(224, 224))})`.

    Records are arrays of shape (height, width, channels), or (channels, height, width); grey ones have one channel. Exif
    orientation is honoured. Alpha is laid over white where the mode has none; grey becomes colour by repetition, colour
    grey by luma; palettes become what they stand for; CMYK becomes RGB by its own numbers, without a colour profile.
    Animations and files of many pages are errors, and so are images of 8 bits in a mode of 16, or the reverse: between
    them nothing is converted.
    """

    size: tuple[int, int] | None = None
    """Height and width in pixels. None: those that all images have (those looked at when the source is opened)."""
    fit: str = "crop"
    """How others are made so large: "crop" scales until the size is filled and keeps the middle, "resize" stretches, and
    "exact" takes none of another size. Scaling is bilinear over the whole area of a pixel."""
    mode: str | None = None
    """One of "L", "RGB", "RGBA", "L16", "RGB16", "RGBA16". None: that of the images, if those looked at have one, else "RGB"."""
    channels: str = "last"
    """"last": (height, width, channels); "first": (channels, height, width)."""
    mask: bool = False
    """Whether pixels stand for classes: they come as they are stored (grey levels, or indices of a palette, which then stands for
    nothing: modes "L" and "L16"; or colours), and another size is had by leaving pixels out or repeating them, never by mixing."""
    max_pixels: int = MOST_PIXELS
    """An image whose header claims more pixels is refused without being decoded."""

    def __post_init__(self) -> None:
        size: Any = self.size
        if size is not None:
            if not (isinstance(size, (tuple, list)) and len(size) == 2 and all(_whole(side) and side > 0 for side in size)):
                raise ConfigError(f"Decode(size={size!r}) is no size.", hint="Give height and width: size=(224, 224).")
            object.__setattr__(self, "size", (int(size[0]), int(size[1])))
        words: Any = (("fit", self.fit, FITS), ("mode", self.mode, (*MODES, None)), ("channels", self.channels, CHANNELS))
        for name, value, known in words:
            if not (value is None or isinstance(value, str)) or value not in known:
                raise ConfigError(f"Decode({name}={value!r}) is not known.", hint=f"Give one of {', '.join(map(repr, known))}.")
        object.__setattr__(self, "mask", flag_of(self.mask, "Decode: mask"))
        if not _whole(self.max_pixels) or self.max_pixels < 1:
            raise ConfigError(f"Decode(max_pixels={self.max_pixels!r}) leaves no image at all.", hint="Give a number of pixels.")
        if self.size is not None and self.size[0] * self.size[1] > self.max_pixels:
            raise ConfigError(
                f"Decode(size={self.size}) has {self.size[0] * self.size[1]:,} pixels, and max_pixels is {self.max_pixels:,}.",
                hint="Raise max_pixels, or ask for smaller images.",
            )

    def settled(self, size: tuple[int, int], mode: str) -> Decode:
        """The same with what was left open filled in: the size, then exact, and the mode."""
        if self.size is not None:
            return replace(self, mode=self.mode or mode)
        return replace(self, size=size, fit="exact", mode=self.mode or mode)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a record; size and mode must be known."""
        assert self.size is not None
        assert self.mode is not None
        count = MODES[self.mode][0]
        return (*self.size, count) if self.channels == "last" else (count, *self.size)

    @property
    def dtype(self) -> np.dtype:
        """Of a record; the mode must be known."""
        assert self.mode is not None
        return MODES[self.mode][1]


def _whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
