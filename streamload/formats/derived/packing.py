"""Values that are packed as netCDF does it: scale_factor, add_offset, and values that stand for missing ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from streamload.source import Column

SCALE, OFFSET = "scale_factor", "add_offset"
MISSING = ("_FillValue", "missing_value")
SAID = (SCALE, OFFSET, *MISSING)
"""Attributes that say how values are packed."""
OF_STORED = (*SAID, "valid_min", "valid_max", "valid_range")
"""Attributes that are of values as they are stored, and not of physical ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """How physical values were made into those that are stored."""

    scale: float
    """What a stored value is to be multiplied by ..."""
    offset: float
    """... and what is added then."""
    missing: tuple[float, ...]
    """Stored values that stand for missing ones."""
    dtype: str
    """Of physical values: "f4" or "f8"."""

    def __str__(self) -> str:
        scaled = f"scale_factor {self.scale:g}, add_offset {self.offset:g}" if (self.scale, self.offset) != (1.0, 0.0) else ""
        absent = f"{' and '.join(f'{value:g}' for value in self.missing)} for missing values" if self.missing else ""
        return ", ".join(filter(None, (scaled, absent)))


def packing_from(attributes: Mapping[str, Any], dtype: np.dtype) -> Packing | None:
    """How numbers of a dtype are packed, as attributes say; None where they are not. Attributes that are no numbers say nothing."""
    if dtype.kind not in "iuf":
        return None
    said = {name: _numbers(attributes.get(name)) for name in SAID}
    missing = tuple(dict.fromkeys(value for name in MISSING for value in _plain(said[name])))
    scale, offset = (_plain(said[name])[:1] for name in (SCALE, OFFSET))
    if not scale and not offset and not missing:
        return None
    kinds = [one.dtype for one in (said[SCALE], said[OFFSET]) if one is not None]
    kinds = kinds or [dtype if dtype.kind == "f" else np.dtype("f8")]
    single = all(one.kind == "f" and one.itemsize <= 4 for one in kinds)
    return Packing(scale=scale[0] if scale else 1.0, offset=offset[0] if offset else 0.0, missing=missing, dtype="f4" if single else "f8")


def unpacked(column: Column, packings: Sequence[Packing | None], records: Sequence[int], notes: list[str], *, scaled: bool) -> Column:
    """The column of physical values, if these are wanted; else a note that values are packed. `packings` are of stretches of `records`."""
    from streamload.formats.derived.scaled import Scaled

    first = next((one for one in packings if one is not None), None)
    if first is None:
        return column
    if not scaled:
        notes.append(f"'{column.field.name}' is stored packed ({first}): scaled=True delivers physical values, and NaN for missing ones")
        return column
    plain = Packing(scale=1.0, offset=0.0, missing=(), dtype="f4")
    kind = max(one.dtype for one in packings if one is not None)
    return Scaled(
        field=replace(column.field, dtype=np.dtype(kind)),
        packed=column,
        starts=np.cumsum([0, *records]).astype(np.int64),
        scales=np.array([(one or plain).scale for one in packings]),
        offsets=np.array([(one or plain).offset for one in packings]),
        missing=tuple((one or plain).missing for one in packings),
    )


def _numbers(value: Any) -> Any:
    """The numbers of an attribute; None where it is not there, or holds something else."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "iuf" and array.size else None


def _plain(value: Any) -> tuple[float, ...]:
    return () if value is None else tuple(float(one) for one in value.reshape(-1)[:8])
