"""What to read, and how: plain values, so that every process of a conversion opens the same."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from streamload.images import named_as_mask


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRequest:
    """A path, the fields that are wanted of it, and what files do not say themselves."""

    path: str
    fields: dict[str, str] | None = None
    """The name to deliver: the name in the file."""
    shapes: dict[str, tuple[int, ...]] | None = None
    """Of records, where no file says them."""
    record_axis: int | dict[str, int | None] | None = 0
    """Which axis counts records, of all fields or by field; None where each dataset is one record."""
    fill: dict[str, Any] | None = None
    """What stands for nulls of tables, by column."""
    mode: str = "rgb"
    """Of images from folders: rgb or grey."""
    in_colour: bool = False
    """Whether they are to be rgb wherever they are from: else those in tables and arrays stay as they are."""
    size: tuple[int, int] | None = None
    """Height and width that images are made."""
    labels: str | None = None
    """A CSV, JSONL or Parquet file that says the labels of images."""
    first_size: bool = False
    """Whether images without a `size` must have that of the first one; else they stay bytes where they differ."""
    on_damage: str = "raise"
    """What becomes of records that are damaged where files can be read on behind them: "raise", or "skip", which counts them."""
    split: str | bool | None = None
    """Which of several splits of a folder; None: the one that is for training, and of a folder of images all, where there are none."""
    scaled: bool = False
    """Whether arrays that are packed are unpacked, as netCDF and Zarr have them."""
    masks: tuple[str, ...] | None = None
    """Fields whose pixels are numbers, never mixed; None: those whose names say so."""

    def is_mask(self, name: str) -> bool:
        """Whether a field of images holds masks."""
        return named_as_mask(name) if self.masks is None else name in self.masks

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        fill = None if self.fill is None else {name: repr(value) for name, value in self.fill.items()}
        return asdict(self) | {"fill": fill}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> OpenRequest:
        """What `plain` wrote down."""
        values = dict(plain)
        values["size"] = tuple(values["size"]) if values["size"] else None
        values["shapes"] = {name: tuple(shape) for name, shape in values["shapes"].items()} if values["shapes"] else None
        values["fill"] = {name: ast.literal_eval(text) for name, text in values["fill"].items()} if values.get("fill") else None
        values.setdefault("first_size", True)  # What conversions did before they said so.
        values["masks"] = tuple(values["masks"]) if values.get("masks") is not None else None
        return cls(**values)
