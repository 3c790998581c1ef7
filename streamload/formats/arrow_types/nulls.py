"""Which values of an Arrow array are null, or hold a null within."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from streamload.formats.arrow_types.element_types import ArrowValues, NullFoundError
from streamload.formats.arrow_types.ragged_types import RaggedValues, member_of
from streamload.formats.tables.nulls import refusals, without_refusals
from streamload.schema import Field

Made = TypeVar("Made")


def made_of(
    array: Any, values: ArrowValues | RaggedValues, field: Field, fill: Any, make: Callable[[Any, Any, Any], Made]
) -> tuple[Made, NDArray[np.bool_] | None]:
    """What `make` makes of an array, its values and what stands for nulls; and which of its records have one that is an error.

    None where no record has. Raises UnequalLengthError as `make` does.
    """
    try:
        return make(array, values, fill), None
    except NullFoundError:
        wrong = refused_nulls(member_of(array, values), field, fill)
        if not wrong.any():
            raise
        return make(array, values, without_refusals(field, fill)), wrong


def refused_nulls(array: Any, field: Field, fill: Any) -> NDArray[np.bool_]:
    """Which records have a null for which neither `fill` nor NumPy has anything: shape (len(array),)."""
    whole, within = refusals(field, fill)
    return _missing(array, whole=whole, within=within)


def _missing(array: Any, *, whole: bool = True, within: bool = True) -> NDArray[np.bool_]:
    """Which values are null themselves (`whole`), or are not and hold one (`within`)."""
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if kinds.is_dictionary(array.type):
        array = array.dictionary_decode()
    null = array.is_null().to_numpy(zero_copy_only=False)
    found = null.copy() if whole else np.zeros(len(array), bool)
    if not within or not len(array):
        return found
    if kinds.is_struct(array.type):
        for member in array.flatten():
            found |= _missing(member) & ~null
    elif kinds.is_list(array.type) or kinds.is_large_list(array.type):
        offsets = array.offsets.to_numpy()
        below = np.concatenate([[0], np.cumsum(_missing(array.values))])
        found |= (below[offsets[1:]] > below[offsets[:-1]]) & ~null
    elif kinds.is_fixed_size_list(array.type):
        size = array.type.list_size
        values = array.values.slice(array.offset * size, len(array) * size)
        found |= _missing(values).reshape(len(array), size).any(axis=1) & ~null
    return found
