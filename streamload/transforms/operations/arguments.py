"""Checks of the arguments that operations share. Each raises ConfigError, naming the operation and what it got."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from streamload.errors import ConfigError
from streamload.kernels.augment.frame import CONSTANT, EDGE, REFLECT, SYMMETRIC
from streamload.sizes import flag_of
from streamload.transforms.placement import Filter, Padding, Size

MOST_WHOLE = 2**31 - 1
"""The largest size, or number of things, that is computed with."""
PADDING_MODES = {"constant": CONSTANT, "edge": EDGE, "reflect": REFLECT, "symmetric": SYMMETRIC}
INTERPOLATIONS = {
    "nearest": "nearest",
    "nearest-exact": "nearest-exact",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "box": "box",
    "area": "box",
}


def whole(value: object) -> bool:
    """Whether a value is a whole number that counts something, and no boolean: none beyond `MOST_WHOLE`."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_)) and abs(int(value)) <= MOST_WHOLE


def number(value: object) -> bool:
    """Whether a value is a finite number, and no boolean."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # A whole number beyond all floats.
        return False


def listed(value: object) -> tuple[Any, ...]:
    """What a sequence of several values holds; nothing of what is none, as texts and bytes are."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)) else ()


def settle_flag(operation: object, name: str) -> None:
    """Make an argument True or False. Raises ConfigError where it is neither."""
    object.__setattr__(operation, name, flag_of(getattr(operation, name), f"{type(operation).__name__}: {name}"))


def check_word(operation: object, name: str, value: object, known: Iterable[str]) -> None:
    """Raise ConfigError for what is none of some words."""
    if not isinstance(value, str) or value not in known:
        raise refuse(operation, name, value, "is not known", f"Give one of {', '.join(map(repr, known))}.")


def check_name(operation: object, name: str, value: object) -> None:
    """Raise ConfigError for what no field can be called."""
    if not isinstance(value, str) or not value:
        raise refuse(operation, name, value, "names no field", f'Give its name, such as {name}="label".')


def refuse(operation: object, name: str, value: object, why: str, hint: str) -> ConfigError:
    """The error for an argument."""
    return ConfigError(f"{type(operation).__name__}({name}={value!r}) {why}.", hint=hint)


def size_of(operation: object, value: Any, *, name: str = "size") -> Size:
    """Height and width: of a pair, or of one number, which is both."""
    pair = (value, value) if whole(value) else listed(value)
    pair = pair * 2 if len(pair) == 1 else pair
    if len(pair) != 2 or not all(whole(side) and side > 0 for side in pair):
        raise refuse(
            operation, name, value, "is no size", f"Give a height and a width in pixels, {name}=(224, 224), or one number for both."
        )
    return int(pair[0]), int(pair[1])


def crop_size_of(operation: object, value: Any) -> tuple[int, ...]:
    """Height and width as `size_of` takes them; or, of a volume, depth, height and width."""
    sides = listed(value)
    if len(sides) == 3 and all(whole(side) and side > 0 for side in sides):
        return tuple(map(int, sides))
    return size_of(operation, value)


def plane_of(operation: object, sides: tuple[int, ...], *, volume: bool, name: str = "size") -> tuple[int, ...]:
    """What of an argument is of height and width. Raises ConfigError where volumes have to be told the depth too, and images not."""
    if volume != (len(sides) in (3, 6)):
        hint = "Give depth, height and width: size=(64, 64, 64)." if volume else "Give height and width: size=(224, 224)."
        if name == "padding":
            hint = "Give (left, top, front, right, bottom, back)." if volume else "Give (left, top, right, bottom)."
        raise refuse(operation, name, sides, f"is not for {'a volume' if volume else 'an image'}", hint)
    return (sides[0], sides[1], sides[3], sides[4]) if len(sides) == 6 else sides[1:] if len(sides) == 3 else sides


def chance_of(operation: object, value: Any) -> float:
    """A probability."""
    if not number(value) or not 0 <= value <= 1:
        raise refuse(operation, "p", value, "is no probability", "Give a number from 0 to 1.")
    return float(value)


def range_of(operation: object, name: str, value: Any, *, least: float = -np.inf, most: float = np.inf) -> tuple[float, float]:
    """A pair of numbers, the smaller first."""
    pair = listed(value)
    if len(pair) != 2 or not all(map(number, pair)) or not least <= pair[0] <= pair[1] <= most:
        limits = "" if least == -np.inf and most == np.inf else f", from {least:g}" + (f" to {most:g}" if most < np.inf else " up")
        raise refuse(operation, name, value, "is no range", f"Give two numbers, the smaller first{limits}.")
    return float(pair[0]), float(pair[1])


def filter_of(operation: object, interpolation: Any, *, antialias: bool) -> Filter:
    """How images are resampled."""
    if not isinstance(interpolation, str) or interpolation.lower() not in INTERPOLATIONS:
        known = ", ".join(map(repr, INTERPOLATIONS))
        raise refuse(operation, "interpolation", interpolation, "is not known", f"Give one of {known}.")
    name = INTERPOLATIONS[interpolation.lower()]
    return Filter(name, antialias if name in ("bilinear", "bicubic") else True)


def fill_of(operation: object, value: Any) -> tuple[float, ...]:
    """A level, or one for each channel."""
    levels: Any = (0,) if value is None else (value,) if number(value) else listed(value)
    if not levels or not all(map(number, levels)):
        raise refuse(operation, "fill", value, "is no level", "Give a number, or one for each channel.")
    return tuple(map(float, levels))


def padding_of(operation: object, mode: Any, fill: Any) -> Padding:
    """What stands outside of an image."""
    check_word(operation, "padding_mode", mode, PADDING_MODES)
    return Padding(PADDING_MODES[mode], fill_of(operation, fill))


def borders_of(operation: object, value: Any) -> tuple[int, ...]:
    """Left, top, right and bottom: of one number, of (left and right, top and bottom), or of all four.

    Of volumes left, top, front, right, bottom and back: of those six, or of (left and right, top and bottom, front and back).
    """
    borders: Any = (value,) if whole(value) else listed(value)
    borders = {1: borders * 4, 2: borders * 2, 3: borders * 2, 4: borders, 6: borders}.get(len(borders), ())
    if not borders or not all(whole(border) and border >= 0 for border in borders):
        hint = "Give pixels: one number, (left and right, top and bottom), or (left, top, right, bottom)."
        raise refuse(operation, "padding", value, "is no padding", hint)
    return borders
