"""Values that are packed as netCDF does it: scale_factor, add_offset, and values that stand for missing ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALE, OFFSET = "scale_factor", "add_offset"
MISSING = ("_FillValue", "missing_value")
UNSIGNED = "_Unsigned"
"""Whether whole numbers are meant without a sign, or with one, whatever their type says: "true" or "false"."""
SAID = (SCALE, OFFSET, *MISSING, UNSIGNED)
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
    missing: tuple[int | float, ...]
    """Stored values that stand for missing ones: whole numbers as they are, since not every one of 64 bits is a float."""
    dtype: str
    """Of physical values: "f4" or "f8"."""
    sign: str = ""
    """What is meant by whole numbers that are stored in the other way: "u" without a sign, "i" with one; "" as they are stored."""
    unclear: str = ""
    """Why nobody can tell the physical values; "" where they can be told."""

    def __str__(self) -> str:
        scaled = f"scale_factor {self.scale:g}, add_offset {self.offset:g}" if (self.scale, self.offset) != (1.0, 0.0) else ""
        absent = f"{' and '.join(f'{value:g}' for value in self.missing)} for missing values" if self.missing else ""
        sign = {"u": "meant without a sign", "i": "meant with a sign"}.get(self.sign, "")
        return ", ".join(filter(None, (scaled, absent, sign, self.unclear)))

    def values_of(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """Stored values as they are meant: the same bits."""
        return stored.view(f"{self.sign}{stored.dtype.itemsize}") if self.sign else stored

    def absent_in(self, stored: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Which stored values stand for missing ones. What their type cannot hold stands for none."""
        found, seen = np.zeros(stored.shape, bool), (stored, self.values_of(stored))
        for value in self.missing:
            # What is meant without a sign may be told with one, and the other way round.
            held = next(((values, one) for values in seen if (one := _held(value, values.dtype)) is not None), None)
            if held is not None:
                found |= held[0] == held[1]
        return found


def packing_from(attributes: Mapping[str, Any], dtype: np.dtype) -> Packing | None:
    """How numbers of a dtype are packed, as attributes say; None where they are not. Missing values that are no numbers say nothing.

    Values are unpacked into the type of the factor and the offset, as the conventions of netCDF have it; but never into a narrower one than
    that of stored floats, which the conventions do not know: float64 with a float32 factor stays float64, as with netCDF4.
    """
    if dtype.kind not in "iuf":
        told = dtype.kind in "bc" and any(_numbers(attributes.get(name)) is not None for name in (SCALE, OFFSET))
        return Packing(scale=1.0, offset=0.0, missing=(), dtype="f8", unclear=f"it says a factor or an offset of {dtype}") if told else None
    said = {name: _numbers(attributes.get(name)) for name in SAID}
    missing = tuple(dict.fromkeys(value for name in MISSING for value in _plain(said[name])))
    unclear = next(filter(None, (_unclear(name, attributes.get(name), said[name]) for name in (SCALE, OFFSET))), "")
    scale, offset = (() if unclear else _plain(said[name])[:1] for name in (SCALE, OFFSET))
    sign = _sign(attributes.get(UNSIGNED), dtype)
    if not scale and not offset and not missing and not sign and not unclear:
        return None
    kinds = [one.dtype for one in (said[SCALE], said[OFFSET]) if one is not None]
    kinds = kinds or [dtype if dtype.kind == "f" else np.dtype("f8")]
    kinds += [dtype] if dtype.kind == "f" else []
    if dtype.kind == "f" and dtype.itemsize > 8:
        unclear = unclear or f"it holds {dtype}, of more digits than are unpacked"
    single = all(one.kind == "f" and one.itemsize <= 4 for one in kinds)
    return Packing(
        scale=float(scale[0]) if scale else 1.0,
        offset=float(offset[0]) if offset else 0.0,
        missing=missing,
        dtype="f4" if single else "f8",
        sign=sign,
        unclear=unclear,
    )


def _numbers(value: Any) -> Any:
    """The numbers of an attribute; None where it is not there, or holds something else."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "iuf" and array.size else None


def _plain(value: Any) -> tuple[int | float, ...]:
    return () if value is None else tuple(value.reshape(-1).tolist())


def _unclear(name: str, value: Any, numbers: Any) -> str:
    """Why a factor or an offset is none; "" where it is one, or is not there."""
    if value is None:
        return ""
    if numbers is None:
        return f"{name} is no number"
    different = len(set(_plain(numbers)))
    return f"{name} holds {different:,} different numbers" if different > 1 else ""


def _sign(said: Any, dtype: np.dtype) -> str:
    """What `_Unsigned` makes of whole numbers, where that is another thing than their type."""
    first = said[0] if isinstance(said, (list, np.ndarray)) and np.shape(said) == (1,) else said
    text = (first.decode(errors="replace") if isinstance(first, bytes) else str(first)).strip().lower()
    return {("i", "true"): "u", ("u", "false"): "i"}.get((dtype.kind, text), "")


def _held(value: int | float, dtype: np.dtype) -> Any:
    """A value in a type, rounded to it if that is of fractions; None where it cannot hold the value."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            one = np.array(value).astype(dtype)[()]
        return None if np.isinf(one) and not math.isinf(value) else one
    if not math.isfinite(value) or value != int(value):
        return None
    bits = 8 * dtype.itemsize
    least, most = (-(1 << bits - 1), 1 << bits - 1) if dtype.kind == "i" else (0, 1 << bits)
    return np.array(int(value), dtype)[()] if least <= value < most else None
