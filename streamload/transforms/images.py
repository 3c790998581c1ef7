"""What an augmented field looks like, as it is stored and as it comes out, read off its shape and dtype."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.schema import Field

LAYOUTS = ("HW", "HWC", "CHW", "DHW", "DHWC", "CDHW")
"""Orders of axes: depth, height, width, channels."""
IMAGE_DTYPES = ("uint8", "uint16", "int16", "float16", "float32")
OUTPUT_DTYPES = ("uint8", "uint16", "int16", "float16", "bfloat16", "float32")


class ScaledPixels(NamedTuple):
    """A decoded image."""

    pixels: NDArray[Any]
    """Upright, C-contiguous, of shape (height, width, channels)."""
    smaller: int = 1
    """By how much they are smaller than the image."""
    top: float = 0.0
    left: float = 0.0
    """Where the image begins in them: not at 0 where a pixel that is covered in part became the first, since the image was turned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredImage:
    """How the images of a field are stored."""

    name: str
    dtype: np.dtype
    layout: str
    """One of `LAYOUTS`."""
    channels: int
    size: tuple[int, int] | None
    """Height and width; None where records differ."""
    depth: int = 0
    """Planes of a volume; 0 of an image."""
    usual: tuple[int, int] = (1, 1)
    """Height and width of one of them, where they differ."""
    encoded: bool = False
    """Whether bytes are stored that have to be decoded."""

    @property
    def planar(self) -> bool:
        """Whether channels lie one after the other, not woven."""
        return self.layout.startswith("C")

    @property
    def plane_nbytes(self) -> int:
        """Bytes of an element between two steps: levels of one byte, or floats."""
        return 1 if self.dtype == np.uint8 else 4

    @property
    def most(self) -> float:
        """The level that stands for 1.0: the largest of a whole-number dtype."""
        return _most(self.dtype)


@cache
def _most(dtype: np.dtype) -> float:
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)


def stored_image(field: Field, layout: str | None, *, mask: bool = False) -> StoredImage:
    """How images of a field are stored; `layout` is what the user says. Raises ConfigError, naming the field."""
    shape, name = field.shape, field.name
    if field.ragged:
        raise ConfigError(f"field '{name}' is ragged: {field}.", hint="Augment works on images of one shape; decode= makes them so.")
    if mask and (field.dtype.kind not in "iub" or field.dtype.itemsize > 8):
        raise ConfigError(f"field '{name}' is no mask: it is {field.dtype}.", hint="Masks are whole numbers, one a pixel.")
    if not mask and field.dtype.name not in IMAGE_DTYPES:
        raise ConfigError(
            f"field '{name}' is of dtype {field.dtype}, which is not augmented.", hint=f"Store one of {', '.join(IMAGE_DTYPES)}."
        )
    layout = layout or guess_layout(name, shape)
    if len(layout) != len(shape):
        raise ConfigError(f"field '{name}' has shape {shape}, which is not {layout}.", hint='Say how it is stored: stored="HWC".')
    sides = dict(zip(layout, shape, strict=True))
    if 0 in shape:
        raise ConfigError(f"field '{name}' has shape {shape}: there is nothing in it.", hint="Augment another field.")
    return StoredImage(
        name=name, dtype=field.dtype, layout=layout, channels=sides.get("C", 1), size=(sides["H"], sides["W"]), depth=sides.get("D", 0)
    )


@lru_cache(maxsize=256)
def check_levels(name: str, values: tuple[float, ...], dtype: np.dtype) -> None:
    """Raise ConfigError for numbers of an argument that a dtype does not hold: others would come out in silence."""
    if dtype.kind not in "biuf":
        return
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype) if dtype.kind == "f" else None
    low, high = (0, 1) if limits is None else (limits.min, limits.max) if dtype.kind != "f" else (float(limits.min), float(limits.max))
    fractions = dtype.kind != "f" and any(value % 1 for value in values)
    if fractions or not all(low <= value <= high for value in values):
        given = values[0] if len(set(values)) == 1 else values
        without = ", without fractions" if fractions else ""
        raise ConfigError(f"{name}={given} cannot be held in {dtype}.", hint=f"Give numbers from {low} to {high}{without}.")


def guess_layout(name: str, shape: tuple[int, ...]) -> str:
    """The order of axes: channels are the first or the last of three or four, whichever is the shortest of all."""
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3:
        first, middle, last = shape
        if last < min(first, middle):
            return "HWC"
        if first < min(middle, last):
            return "CHW"
    if len(shape) == 4 and shape[3] < min(shape[:3]):
        return "DHWC"
    if len(shape) == 4 and shape[0] < min(shape[1:]):
        return "CDHW"
    raise ConfigError(
        f"field '{name}' has shape {shape}: which of its axes are height, width and channels is not plain.",
        hint='Say it: Augment(..., stored="HWC") or stored="CHW"; of volumes stored="DHW", "DHWC" or "CDHW".',
    )


def output_dtype(name: str) -> np.dtype:
    """The dtype of a name. bfloat16 is that of ml_dtypes; raises ConfigError, with the command, where it is missing."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        ml_dtypes = importlib.import_module("ml_dtypes")
    except ImportError as error:
        raise ConfigError("bfloat16 arrays need ml_dtypes, which is not installed.", hint="Run: pip install ml_dtypes") from error
    return np.dtype(ml_dtypes.bfloat16)
