"""Arrow's strings, bytes and lists of any length as ragged fields: values and offsets, checked, without a copy where that can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.formats.arrow_types.element_types import (
    ArrowValues,
    NullFoundError,
    UnequalLengthError,
    plain,
    said_shape,
    storage_of,
    to_numpy,
    values_of,
)
from streamload.formats.tables.nulls import ListFill
from streamload.images import spark
from streamload.schema import ARRAY, BYTES, TEXT

IMAGE_MEMBER = "bytes"
"""Of Hugging Face's struct<bytes, path>: what holds an encoded file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RaggedValues:
    """How the values of a column become records of a ragged field."""

    ragged: str
    """ "text", "bytes" or "array"."""
    member: str
    """The member of a struct that holds them; "" where they are not in one."""
    inner: ArrowValues | None
    """How the values of a list become elements; None for text and bytes."""
    spark: bool = False
    """Whether the struct is Spark's for images, all of which goes into the bytes: see `images.spark`."""

    @property
    def dtype(self) -> np.dtype:
        """Of an element."""
        return np.dtype(np.uint8) if self.inner is None else self.inner.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an element."""
        return () if self.inner is None else self.inner.shape


def is_image(kind: Any) -> bool:
    """Whether a struct holds encoded images: Hugging Face's, or Spark's."""
    return _is_hugging_face(kind) or _is_spark(kind)


def _is_hugging_face(kind: Any) -> bool:
    names = {kind.field(number).name for number in range(kind.num_fields)}
    return names == {IMAGE_MEMBER, "path"} and _text_or_bytes(kind.field(kind.get_field_index(IMAGE_MEMBER)).type) == BYTES


def ragged_of(field: Any, shape: Sequence[int | None] | None) -> RaggedValues | None:
    """How an Arrow field becomes a ragged one; None where it does not: numbers, and lists that may be of one length.

    A list is ragged for certain only where `shape`, or the file, says None first: the length of each record is then its own. Raises
    SkippedColumnError or UnsupportedColumnError for lists of what cannot be an element, ConfigError for a shape that does not fit.
    """
    kind, member = storage_of(field.type), ""
    if kinds.is_struct(kind) and _is_hugging_face(kind):
        kind, member = kind.field(kind.get_field_index(IMAGE_MEMBER)).type, IMAGE_MEMBER
    if _is_spark(kind):
        return RaggedValues(ragged=BYTES, member="data", inner=None, spark=True)
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    simple = _text_or_bytes(kind)
    if simple:
        if shape is not None and tuple(shape) != (None,):
            raise ConfigError(
                f"Column '{field.name}' holds {'text' if simple == TEXT else 'bytes'} of any length, and has no shape {tuple(shape)}.",
                hint="Leave it out of shapes={...}.",
                dataset=field.name,
            )
        return RaggedValues(ragged=simple, member=member, inner=None)
    is_list = kinds.is_list(kind) or kinds.is_large_list(kind)
    own = said_shape(field) if shape is None and is_list else None
    if own is not None:
        return listed(field, cast("Sequence[int]", own[1:]))
    if shape is None or not len(shape) or shape[0] is not None:
        return None
    if not is_list:
        raise ConfigError(
            f"Column '{field.name}' is {field.type}, whose records are of one length: shape {tuple(shape)} does not fit.",
            hint="Give whole numbers in shapes={...}, or leave the column out of it.",
            dataset=field.name,
        )
    return listed(field, cast("Sequence[int]", tuple(shape[1:])) or None)


def listed(field: Any, shape: Sequence[int] | None) -> RaggedValues:
    """A list column as a ragged one, elements of `shape` where that is known."""
    inner, said = storage_of(field.type).value_field, (field.metadata or {}).get(b"dtype")
    if said is not None:
        inner = inner.with_metadata({**(inner.metadata or {}), b"dtype": said})
    return RaggedValues(ragged=ARRAY, member="", inner=values_of(inner, shape))


def to_ragged(array: Any, values: RaggedValues, fill: Any) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """An Arrow array as elements (elements, *shape) and offsets (len(array) + 1,), the first of which is 0.

    Raises NullFoundError and UnequalLengthError with the first row that is wrong; pyarrow's errors where the array contradicts itself.
    """
    array = plain(array)
    if values.spark:
        return _spark_images(array, values, fill)
    if values.member:
        array = member_of(array, values)
    if kinds.is_dictionary(array.type):
        array = array.dictionary_decode()
    if is_view(array.type):
        array.validate(full=True)
        array = array.cast(pa.large_string() if kinds.is_string_view(array.type) else pa.large_binary())
    if array.null_count:
        if fill is None or (isinstance(fill, ListFill) and not fill.empty):
            raise NullFoundError(int(array.is_null().to_numpy(zero_copy_only=False).argmax()))
        array = _filled(array, fill)
    if kinds.is_fixed_size_list(array.type):
        array = array.cast(pa.large_list(array.type.value_field))
    array.validate(full=True)
    wide = kinds.is_large_binary(array.type) or kinds.is_large_string(array.type) or kinds.is_large_list(array.type)
    buffers = array.buffers()
    if not len(array):
        return np.zeros((0, *values.shape), values.dtype), np.zeros(1, np.int64)
    offsets = np.frombuffer(buffers[1], np.int64 if wide else np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    offsets -= first
    if values.inner is None:
        data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.zeros(0, np.uint8)
        return data[first:last], offsets
    try:
        within = fill.value if isinstance(fill, ListFill) else None
        return np.ascontiguousarray(to_numpy(array.values.slice(first, last - first), values.inner, within)), offsets
    except NullFoundError as error:
        raise NullFoundError(_record_of(offsets, error.row)) from None
    except UnequalLengthError as error:
        raise UnequalLengthError(_record_of(offsets, error.row), error.length, error.expected) from None


def member_of(array: Any, values: ArrowValues | RaggedValues) -> Any:
    """The values of a column: what holds them in a struct, null where the struct is; the array itself elsewhere."""
    array = plain(array)
    if not isinstance(values, RaggedValues) or not values.member:
        return array
    # Unlike the children themselves, what flatten gives is null where the struct is.
    children = array.flatten()
    if values.spark:
        members = [children[array.type.get_field_index(name)] for name in spark.MEMBERS]
        return pa.StructArray.from_arrays(members, list(spark.MEMBERS))
    return children[array.type.get_field_index(values.member)]


def _is_spark(kind: Any) -> bool:
    """Whether a type is Spark's for images."""
    if not kinds.is_struct(kind) or not {kind.field(number).name for number in range(kind.num_fields)} >= set(spark.MEMBERS):
        return False
    types = [kind.field(kind.get_field_index(name)).type for name in spark.MEMBERS]
    return all(map(kinds.is_int32, types[:-1])) and kinds.is_binary(types[-1])


def _spark_images(array: Any, values: RaggedValues, fill: Any) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Spark's structs as encoded images: bytes and offsets. Raises as `to_ragged` does."""
    children = array.flatten()
    members = [children[array.type.get_field_index(name)] for name in spark.MEMBERS]
    missing = np.zeros(len(array), bool)
    for member in members[:-1]:
        missing |= member.is_null().to_numpy(zero_copy_only=False)
    if missing.any() and fill is None:
        raise NullFoundError(int(missing.argmax()))
    members[:-1] = [member.fill_null(0) for member in members[:-1]]
    data, offsets = to_ragged(members[-1], replace(values, member="", spark=False), fill)
    numbers = [member.to_numpy(zero_copy_only=False).astype(np.int32) for member in members[:-1]]
    return spark.packed(numbers, cast("NDArray[np.uint8]", data), offsets)


def _filled(array: Any, fill: Any) -> Any:
    import pyarrow.compute as pc

    value = [] if isinstance(fill, ListFill) else fill
    return pc.fill_null(array, pa.scalar(value, array.type))


def _record_of(offsets: NDArray[np.int64], element: int) -> int:
    return int(np.searchsorted(offsets, element, side="right")) - 1


def is_view(kind: Any) -> bool:
    """Whether values are views: where each begins and how long it is, in any of several buffers."""
    return bool(kinds.is_string_view(kind) or kinds.is_binary_view(kind))


def _text_or_bytes(kind: Any) -> str:
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
        return TEXT
    return BYTES if kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind) else ""
