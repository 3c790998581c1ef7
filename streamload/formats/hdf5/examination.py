"""All of planning that needs the HDF5 library, which whoever imports this loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamload.formats.derived.grouped import Grouped
from streamload.formats.derived.sparse_rows import SparseRows
from streamload.formats.hdf5.columns.field_columns import field_columns
from streamload.formats.hdf5.columns.h5py_column import H5pyColumn
from streamload.formats.hdf5.columns.small_fields import read_small
from streamload.formats.hdf5.columns.vlen import VlenColumn
from streamload.formats.hdf5.discovery.inspection import inspect_files
from streamload.formats.hdf5.metadata import FilesInfo
from streamload.formats.hdf5.request import Request
from streamload.images.fixed_bytes import FixedBytes, holds_bytes
from streamload.images.image_fields import LookedAt, look_at
from streamload.ragged import Ragged
from streamload.source import Column


def examined(request: Request, beat: Callable[[int, int, int], None]) -> FilesInfo:
    """All of planning that needs the HDF5 library: the survey, and the values of small fields that it alone can read."""
    found = inspect_files(request, beat)
    columns, small = field_columns(found, [])
    wanted = {number: columns[number] for number in small if number not in found.values and _needs_library(columns[number])}
    values: dict[int, NDArray[np.generic]] = dict(found.values)
    for number, taken in read_small(wanted, found.total, found.files, lambda: beat(0, 0, 0)).items():
        if isinstance(taken, Ragged):
            values[number], values[-1 - number] = taken.values, taken.offsets
        else:
            values[number] = taken
    looked_at: dict[int, LookedAt] = {}
    for number, column in enumerate(columns):
        if number not in small and isinstance(column, (H5pyColumn, VlenColumn)) and holds_bytes(column.field) and found.total:
            beat(0, 0, 0)
            stored = column if isinstance(column, VlenColumn) else FixedBytes(column=column)
            looked_at[number] = look_at(stored, found.total, found.files)
    return replace(found, values=values, looked_at=looked_at)


def _needs_library(column: Column) -> bool:
    """Whether only the HDF5 library can read a column."""
    if isinstance(column, SparseRows):
        return _needs_library(column.values) or _needs_library(column.indices)
    return isinstance(column.elements if isinstance(column, Grouped) else column, (H5pyColumn, VlenColumn))
