"""A dataset seen along another axis than its first, or as one record: what is stored stays where it lies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.formats.hdf5.metadata import RUNS, ChunkIndex, DatasetInfo


def along(stored: DatasetInfo, index: ChunkIndex | None, axis: int, rank: int, file_path: str) -> tuple[DatasetInfo, ChunkIndex | None]:
    """The dataset, whose axes number `rank`, with another one that counts records; its chunks in the order of the grid seen so."""
    if not -rank <= axis < rank:
        raise ConfigError(
            f"{file_path}: dataset '{stored.key}' has {rank} {'axis' if rank == 1 else 'axes'}, and record_axis={axis} asks for another.",
            hint=f"Its shape is {stored.shape[:rank]}; an axis by field is asked for as record_axis={{{stored.key!r}: 0}}.",
            path=file_path,
            dataset=stored.key,
        )
    axis %= rank
    if not axis:
        return stored, index
    stride_nbytes = stored.stride_nbytes * stored.shape[0] // max(1, stored.shape[axis])
    seen = replace(stored, axis=axis, shape=_moved(stored.shape, axis), chunk=_moved(stored.chunk, axis), stride_nbytes=stride_nbytes)
    if index is None:
        return seen, None
    turned = {name: _turned(getattr(index, name), stored.grid, axis) for name in ("offsets", "nbytes", "masks")}
    return seen, ChunkIndex(**turned)


def _turned(values: NDArray[Any], grid: tuple[int, ...], axis: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(values.reshape(grid), axis, 0)).reshape(-1)


def _moved(sides: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (sides[axis], *sides[:axis], *sides[axis + 1 :]) if sides else ()


def whole(stored: DatasetInfo) -> DatasetInfo:
    """Each dataset as one record, of those that are seen along their first axis; one of a single value is one already."""
    if stored.axis is None:
        return stored
    each = stored.records // stored.datasets
    return replace(
        stored,
        axis=None,
        shape=(stored.datasets, each, *stored.shape[1:]),
        chunk=(1, *stored.chunk) if stored.chunk else (),
        stride_nbytes=stored.stride_nbytes * each,
        packed=stored.packed and (not stored.member or each == 1 or stored.layout == RUNS),
    )
