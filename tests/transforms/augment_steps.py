"""Augments arrays without a loader, compiled and plain, as tests of either want it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.ragged import Ragged
from streamload.schema import ARRAY, Field, Schema
from streamload.transforms.augmentation import augmentation_of
from streamload.transforms.stage import AugmentStage, augment_arrays

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECORDS = np.array([7, 0, 3, 2**33, 5, 11, 12, 13])


def photographs(shape: tuple[int, ...] = (40, 32, 3), records: int = len(RECORDS)) -> NDArray[np.uint8]:
    """Smooth images, each another."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (records, -(-shape[0] // 8), -(-shape[1] // 8), *shape[2:])).astype(np.float64)
    fine = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : shape[0], : shape[1]]
    return (fine + rng.normal(0, 6, fine.shape)).clip(0, 255).astype(np.uint8)


def schema_of(arrays: dict[str, Any]) -> Schema:
    """The fields of records."""
    fields = []
    for name, array in arrays.items():
        values, ragged = (array.values, ARRAY) if isinstance(array, Ragged) else (array, "")
        fields.append(Field(name, values.dtype, values.shape[1:], ragged))
    return Schema(tuple(fields))


def augmented(
    augment: Any,
    arrays: dict[str, Any],
    *,
    records: NDArray[np.int64] = RECORDS,
    seed: int = 0,
    epoch: int = 0,
    compiled: bool = True,
    piece: int = 100,
    position: int = 0,
) -> dict[str, Any]:
    """What becomes of records, written in pieces of so many."""
    augmentation = augmentation_of(augment, schema_of(arrays))
    try:
        kernels.use(compiled=compiled)
        if piece >= len(records):
            return augment_arrays(augmentation, arrays, records, seed=seed, epoch=epoch, position=position)
        stage, out = AugmentStage(augmentation), {}
        step = stage.draw(records, seed=seed, epoch=epoch)
        for name in stage.image_fields:
            array, field = np.ascontiguousarray(arrays[name]), augmentation.schema[name]
            out[name] = np.zeros((len(records), *field.shape), field.dtype)
            for start in range(0, len(records), piece):
                rows = np.arange(start, min(start + piece, len(records)))
                addresses = array.ctypes.data + rows * array[0].nbytes
                stage.write(step, name, addresses, out[name], rows, start=start, stop=start + len(rows))
        return out
    finally:
        kernels.use(compiled=True)
