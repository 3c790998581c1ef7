"""Physical values of fields that are stored packed: each value times a factor, plus an offset, and NaN for what is missing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import WrappedDefaults, WrappedReaderDefaults
from streamload.errors import ConfigError
from streamload.formats.derived.packing import Packing
from streamload.schema import Field
from streamload.source import Column, Reader, ReadStats
from streamload.storage.files import OpenFiles

PIECE_NBYTES = 4 * 1024**2
"""Packed values that are read at a time."""
_DELIVERED = "scaled=True delivers physical values, and NaN for missing ones"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scaled(WrappedDefaults):
    """One field, unpacked as it is read."""

    field: Field
    """As it is delivered: of floats."""
    packed: Column
    """As it is stored, with the same shape."""
    starts: NDArray[np.int64]
    """Records at which stretches with factors of their own begin, the number of records last: shape (stretches + 1,)."""
    packings: tuple[Packing, ...]
    """How each stretch is packed."""

    @property
    def wrapped(self) -> Column:
        """The column."""
        return self.packed

    @property
    def scratch_nbytes(self) -> int:
        """The packed field's, and a piece of it."""
        return self.packed.scratch_nbytes + max(PIECE_NBYTES, self.packed.field.nbytes) + 2 * max(PIECE_NBYTES, self.field.nbytes)

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader for the calling process."""
        return ScaledReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored, and that it is unpacked."""
        return f"{self.packed.describe()}, {self.packed.field.dtype} unpacked"


class ScaledReader(WrappedReaderDefaults):
    """Reads packed values a piece at a time, and unpacks them into their rows."""

    def __init__(self, column: Scaled, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._meter = meter
        self._reader = column.packed.reader(files, meter)
        self._scales = np.array([one.scale for one in column.packings])
        self._offsets = np.array([one.offset for one in column.packings])

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        packed = self._column.packed.field
        step = max(1, PIECE_NBYTES // max(1, packed.nbytes))
        for first in range(0, len(records), step):
            some = records[first : first + step]
            values = np.empty((len(some), *packed.shape), packed.dtype)
            self._reader.gather(some, values, np.arange(len(some), dtype=np.int64))
            began = time.perf_counter_ns()
            out[rows[first : first + step]] = self._unpacked(some, values)
            self._meter.decode_ns += time.perf_counter_ns() - began

    def _unpacked(self, records: NDArray[np.int64], values: NDArray[np.generic]) -> NDArray[np.generic]:
        column = self._column
        which = np.searchsorted(column.starts, records, side="right") - 1
        shape = (len(records), *(1,) * (values.ndim - 1))
        plain = values.astype(np.float64)
        stretches = np.unique(which).tolist()
        for stretch in stretches:
            packing = column.packings[stretch]
            if packing.sign:
                chosen = which == stretch
                plain[chosen] = packing.values_of(values[chosen])
        plain = plain * self._scales[which].reshape(shape) + self._offsets[which].reshape(shape)
        for stretch in stretches:
            packing = column.packings[stretch]
            if packing.missing:
                plain[packing.absent_in(values) & (which == stretch).reshape(shape)] = np.nan
        return plain.astype(column.field.dtype)


def unpacked(column: Column, packings: Sequence[Packing | None], records: Sequence[int], notes: list[str], *, scaled: bool) -> Column:
    """The column of physical values, if these are wanted; else notes that values are packed. `packings` are of stretches of `records`.

    Raises ConfigError where physical values are wanted and cannot be told, or records differ in length.
    """
    name, first = column.field.name, next((one for one in packings if one is not None), None)
    if first is None:
        return column
    unclear = next((one.unclear for one in packings if one is not None and one.unclear), "")
    if scaled and (unclear or column.field.ragged):
        raise ConfigError(
            f"scaled=True, and physical values of '{name}' cannot be told: "
            + (f"{unclear}." if unclear else f"it is packed ({first}), and its records differ in length."),
            hint="Leave scaled= out, which delivers values as they are stored, or choose other fields with fields=[...].",
            dataset=name,
        )
    if not scaled:
        can = not unclear and not column.field.ragged
        notes.append(f"'{name}' is stored packed ({first})" + (f": {_DELIVERED}" if can else ""))
        if len({repr(one) for one, count in zip(packings, records, strict=True) if count}) > 1:
            notes.append(f"'{name}' is packed in other ways in some files or datasets: as they are stored, its values do not compare")
        return column
    plain = Packing(scale=1.0, offset=0.0, missing=(), dtype="f4")
    kind = max(one.dtype for one in packings if one is not None)
    return Scaled(
        field=replace(column.field, dtype=np.dtype(kind)),
        packed=column,
        starts=np.cumsum([0, *records]).astype(np.int64),
        packings=tuple(one or plain for one in packings),
    )
