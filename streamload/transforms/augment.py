"""`Augment`: what becomes of one image field, and of the masks, boxes and key points that move with it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from streamload.errors import ConfigError
from streamload.sizes import flag_of
from streamload.transforms.chain import PHASES, Operation, is_operation
from streamload.transforms.images import LAYOUTS, OUTPUT_DTYPES
from streamload.transforms.operations import OPERATIONS
from streamload.transforms.operations.arguments import number

OUTPUT_LAYOUTS = ("CHW", "HWC", "HW", "DHW", "DHWC", "CDHW")
BOX_FORMATS = ("XYXY", "XYWH", "CXCYWH")
MOST_VIEWS = 15


@dataclass(frozen=True, slots=True, init=False)
class Augment:
    """What becomes of an image field: crop, flip, resize, colour, normalise, in one compiled pass, in the workers.

    ```python
    sl.Augment("image", sl.RandomResizedCrop(224), sl.RandomFlip(), sl.Normalize(mean, std), layout="CHW", dtype="float16")
    ```

    Operations run in the order given, which is geometry, then colour, then normalisation, then erasing. Geometry becomes one
    box of the stored record and is resampled once, however many resizes and crops there are. What is drawn depends on seed,
    epoch, record and operation alone: never on workers, ranks or the order of records.
    """

    fields: tuple[str, ...]
    """Image fields; several are treated alike, and must be of one size."""
    operations: tuple[Operation, ...]
    layout: str | None
    """Order of axes as they come out: "CHW", "HWC", or "HW" of one channel. None: as they are stored."""
    dtype: str | None
    """Of what comes out: "uint8", "float16", "bfloat16" or "float32". None: float32 after `Normalize`, else as stored.
    float16 reaches to 65,504: what is beyond is infinite of stored floats, an error of whole numbers (uint16 with `scale=False`)."""
    scale: bool
    """Whether whole numbers that become floats are divided by the largest of their dtype, as torchvision's `ToDtype(scale=True)`."""
    stored: str | None
    """Order of axes as they are stored. None: channels are the first or the last axis, whichever is the shortest of all. A volume of
    one channel has to be told from an image: "DHW". Volumes are cropped, padded, flipped and normalised. Encoded images are decoded to
    "HWC" or, by `Decode(channels="first")`, to "CHW"."""
    masks: tuple[str, ...]
    """Fields of whole numbers, one a pixel, of the same size: they move along, by nearest neighbour (Pillow's)."""
    mask_fill: int
    """What a mask holds outside of what is stored, where images are filled with a level."""
    boxes: tuple[str, ...]
    """Fields of boxes in pixels, shape (n, 4), n by record or fixed: they move along, and are cut at the edge of what comes out."""
    box_format: str
    """"XYXY" (two corners), "XYWH" (a corner and a size) or "CXCYWH" (the middle and a size)."""
    keypoints: tuple[str, ...]
    """Fields of points (x, y) in pixels, shape (n, 2), n by record or fixed. The first pixel reaches from 0 to 1; in a
    dtype without a sign, what comes to lie before it is at 0."""
    views: int
    """How many views of each record are drawn; more than one stand in an axis of their own, after that of records."""

    def __init__(
        self,
        fields: str | Sequence[str],
        *operations: Operation,
        layout: str | None = None,
        dtype: Any = None,
        scale: bool = True,
        stored: str | None = None,
        masks: str | Sequence[str] = (),
        mask_fill: int = 0,
        boxes: str | Sequence[str] = (),
        box_format: str = "XYXY",
        keypoints: str | Sequence[str] = (),
        views: int = 1,
    ) -> None:
        """Raises ConfigError for what cannot be right whatever the data; the rest is checked when a loader is made."""
        given: dict[str, Any] = {
            "fields": _names(fields, "fields"),
            "operations": _checked(operations),
            "layout": _one_of(layout, "layout", OUTPUT_LAYOUTS),
            "dtype": None if dtype is None else _dtype(dtype),
            "scale": flag_of(scale, "Augment: scale"),
            "stored": _one_of(stored, "stored", LAYOUTS),
            "masks": _names(masks, "masks"),
            "mask_fill": _level(mask_fill),
            "boxes": _names(boxes, "boxes"),
            "box_format": _one_of(box_format, "box_format", BOX_FORMATS),
            "keypoints": _names(keypoints, "keypoints"),
            "views": views,
        }
        if not given["fields"]:
            raise ConfigError("Augment() names no field.", hint='Name the images first: Augment("image", ...).')
        if isinstance(views, bool) or not isinstance(cast(object, views), (int, np.integer)) or not 1 <= views <= MOST_VIEWS:
            raise ConfigError(f"Augment(views={views!r}) is out of range.", hint=f"Give a whole number from 1 to {MOST_VIEWS}.")
        for name, of, usual in (("mask_fill", "masks", 0), ("box_format", "boxes", BOX_FORMATS[0])):
            if given[name] != usual and not given[of]:
                raise ConfigError(f"Augment({name}={given[name]!r}) is of {of}, and none are named.", hint=f"Name them with {of}=.")
        for name, value in given.items():
            object.__setattr__(self, name, value)
        every = self.every_field
        twice = sorted({name for name in every if every.count(name) > 1})
        if twice:
            raise ConfigError(f"Augment names {', '.join(map(repr, twice))} twice.", hint="A field is an image, a mask, boxes or points.")

    @property
    def every_field(self) -> tuple[str, ...]:
        """Images, masks, boxes and key points."""
        return (*self.fields, *self.masks, *self.boxes, *self.keypoints)

    @staticmethod
    def _many_crops(operations: Sequence[Operation]) -> int:
        return sum(getattr(one, "crops", 0) for one in operations)

    @property
    def crops(self) -> int:
        """Crops of each view: 5 with `FiveCrop`, else 1."""
        return self._many_crops(self.operations) or 1

    def __repr__(self) -> str:
        only = self.fields[0] if len(self.fields) == 1 else self.fields
        words = [repr(only), *map(repr, self.operations)]
        defaults = {"layout": None, "dtype": None, "scale": True, "stored": None, "mask_fill": 0, "box_format": "XYXY", "views": 1}
        for name in ("layout", "dtype", "scale", "stored", "masks", "mask_fill", "boxes", "box_format", "keypoints", "views"):
            value = getattr(self, name)
            if value != defaults.get(name, ()):
                words.append(f"{name}={value[0] if isinstance(value, tuple) and len(value) == 1 else value!r}")
        return f"Augment({', '.join(words)})"


def _names(given: Any, name: str) -> tuple[str, ...]:
    names: Any = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Sequence) else (None,)
    if not all(isinstance(one, str) and one for one in names):
        raise ConfigError(f"Augment({name}={given!r}) names no fields.", hint='Give a name such as "image", or a list of names.')
    return names


def _level(value: Any) -> int | float:
    """What masks are filled with; they refuse fractions, and numbers that their dtype does not hold, when they are known."""
    if not number(value):
        raise ConfigError(f"Augment(mask_fill={value!r}) is no number.", hint="Give a whole number, such as 255.")
    return float(value) if value % 1 else int(value)


def _one_of(value: Any, name: str, known: Sequence[str]) -> str | None:
    if value is not None and (not isinstance(value, str) or value not in known):
        raise ConfigError(f"Augment({name}={value!r}) is not known.", hint=f"Give one of {', '.join(map(repr, known))}.")
    return value


def _dtype(value: Any) -> str:
    name = value if isinstance(value, str) else getattr(value, "name", None) or getattr(value, "__name__", None) or str(value)
    name = str(name).removeprefix("torch.")
    if name not in OUTPUT_DTYPES:
        raise ConfigError(f"Augment(dtype={value!r}) is not known.", hint=f"Give one of {', '.join(map(repr, OUTPUT_DTYPES))}.")
    return name


def _checked(operations: Sequence[Any]) -> tuple[Operation, ...]:
    """Operations whose phases follow each other."""
    done, before = 0, ""
    for operation in operations:
        if not is_operation(operation):
            known = ", ".join(sorted(OPERATIONS))
            raise ConfigError(f"Augment: {operation!r} is no operation.", hint=f"Give values of sl.augment: {known}.")
        first, last = operation.phases
        if first < done:
            raise ConfigError(
                f"Augment: {type(operation).__name__} is {PHASES[first]}, and stands after {before}, which is {PHASES[done]}.",
                hint="Put geometry first, then colour, then Normalize, then RandomErasing.",
            )
        done, before = last, type(operation).__name__
    if sum(getattr(one, "crops", 0) > 1 for one in operations) > 1:
        raise ConfigError("Augment: FiveCrop stands twice.", hint="Use it once.")
    return tuple(operations)


def __getattr__(name: str) -> Any:
    if name not in OPERATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"streamload.transforms.operations.{OPERATIONS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(["Augment", *OPERATIONS])
