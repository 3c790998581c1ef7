"""Arrow's types as fields, and Arrow's arrays as NumPy's: no value changes its type, and no null goes unseen."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from streamload.errors import ConfigError, SchemaMismatchError, SourceError
from streamload.nulls import null_error, own_null
from streamload.schema import Field

RAY = ("ray.data.arrow_tensor", "ray.data.arrow_tensor_v2")
TENSOR = "arrow.fixed_shape_tensor"
BFLOAT16 = "lance.bfloat16"
BOOL8 = "arrow.bool8"
WHOLE_DIGITS = 18
"""Of decimals without a fraction that int64 holds."""
FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""What NumPy calls Arrow's types of fractions; whole numbers have one name in both. Asking pyarrow may take pandas."""
MOST_DEPTH = 8
"""Lists within lists."""


class SkippedColumnError(Exception):
    """A column that is no field: text, dates, amounts of money; internal to planning. `why` completes "it ..."."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class UnsupportedColumnError(SkippedColumnError):
    """A column with data for training that cannot be read yet; internal to planning."""


class NullFoundError(Exception):
    """A null where none may be; `row` is counted in the array at hand."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


class UnequalLengthError(Exception):
    """A list of another length than the field's shape says."""

    def __init__(self, row: int, length: int, expected: int, *, within: bool = False) -> None:
        """`within` says that it lies in another list."""
        super().__init__(row, length, expected)
        self.row, self.length, self.expected, self.within = row, length, expected, within


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrowValues:
    """How the values of a column become records of a field."""

    dtype: np.dtype
    lists: tuple[int | None, ...]
    """Lengths of nested lists, outermost first; None until it was looked up in the data."""
    binary: int
    """Bytes of a value of fixed-size binary, else 0."""
    raw: str
    """The Arrow type of a value without lists, "" where values must be decoded."""
    physical: tuple[int, ...] | None
    """The shape of a record as it lies in storage; None until lengths are known."""
    permutation: tuple[int, ...]
    """Axes of the storage in the order of the field's, () where they are the same."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a record, as it is delivered."""
        physical = self.physical or ()
        return tuple(physical[axis] for axis in self.permutation) if self.permutation else physical

    @property
    def plain(self) -> bool:
        """Whether a value is a number or bytes of fixed size, in place, without lists."""
        return not self.lists and bool(self.raw) and not self.permutation


def values_of(field: Any, shape: Sequence[int] | None) -> ArrowValues:
    """How an Arrow field becomes a field of records; `shape` is what the user says of a record's, if anything.

    Raises SkippedColumnError or UnsupportedColumnError for what cannot be one, ConfigError for a shape that does not fit.
    """
    kind, name, said = field.type, _extension(field)[0], _extension(field)[1]
    permutation: tuple[int, ...] = ()
    if isinstance(kind, pa.BaseExtensionType):
        if hasattr(kind, "shape") and name == TENSOR:
            said = {"shape": kind.shape, "permutation": kind.permutation}
        kind = kind.storage_type
    if name == TENSOR or name in RAY:
        shape = shape if shape is not None else _said_shape(said, field.name)
        permutation = tuple(said.get("permutation") or ()) if isinstance(said, dict) else ()
    elif name.startswith("ray.") or name == "lance.blob":
        raise UnsupportedColumnError(f"has the extension type {name}, which cannot be read")
    metadata = field.metadata or {}
    if shape is None and b"shape" in metadata:
        shape = _said_shape(_json(metadata[b"shape"], field.name), field.name)
    values = _storage(kind)
    if shape is not None and 0 in shape and kinds.is_boolean(kind) and b"dtype" in metadata:
        return replace(values, dtype=_dtype_said(metadata[b"dtype"].decode(errors="replace")), physical=tuple(shape))
    if name == BOOL8 and values.raw == "int8":
        values = ArrowValues(dtype=np.dtype(bool), lists=(), binary=0, raw="", physical=None, permutation=())
    if is_bfloat16(field) and values.binary == 2:
        values = _with_dtype(values, "u2", field.name)
    elif values.binary and b"dtype" in metadata:
        values = _with_dtype(values, metadata[b"dtype"].decode(errors="replace"), field.name)
    if permutation == tuple(range(len(permutation))):
        permutation = ()
    if permutation and (shape is None or sorted(permutation) != list(range(len(shape)))):
        raise UnsupportedColumnError(f"has a permutation {list(permutation)} that does not fit its shape")
    return _shaped(values, shape, permutation, field.name)


def said_shape(field: Any) -> tuple[int | None, ...] | None:
    """The shape that a field of lists says of its records, where they differ in length: None first. None where it says nothing of it."""
    text = (field.metadata or {}).get(b"shape", b"")
    said = _json(text, field.name, strict=False) if text.startswith(b"[null") else None
    return (None, *_said_shape(said[1:], field.name)) if isinstance(said, list) and said[:1] == [None] else None


def is_bfloat16(field: Any) -> bool:
    """Whether the values of a field, within lists too, are Lance's bfloat16: two bytes, of which NumPy has no type."""
    while True:
        if _extension(field)[0] == BFLOAT16:
            return True
        kind = storage_of(field.type)
        if not (kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)):
            return False
        field = kind.value_field


def note_of(field: Any) -> str:
    """What a reader of `repr` should know about the values of a field, after its name; "" for nothing."""
    if is_bfloat16(field):
        return "holds bfloat16, delivered as its bits: torch.from_numpy(x).view(torch.bfloat16)"
    kind = leaf_of(field.type)
    if kinds.is_timestamp(kind) and kind.tz is not None:
        return f"holds moments of the time zone {kind.tz}, delivered in UTC"
    return "holds times of day, delivered as what has passed since midnight" if kinds.is_time(kind) else ""


def storage_of(kind: Any) -> Any:
    """An Arrow type without its extension."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def leaf_of(kind: Any) -> Any:
    """The type of the values within lists."""
    kind = storage_of(kind)
    while kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def with_lengths(values: ArrowValues, lists: tuple[int, ...], name: str) -> ArrowValues:
    """The same with lengths of lists that were found in the data."""
    known = ArrowValues(
        dtype=values.dtype, lists=lists, binary=values.binary, raw=values.raw, physical=None, permutation=values.permutation
    )
    return _shaped(known, values.physical, values.permutation, name, looked_at=True)


def to_numpy(array: Any, values: ArrowValues, fill: Any) -> NDArray[np.generic]:
    """An Arrow array as records: shape (length, *values.shape), not always contiguous.

    `fill` stands for nulls; without it, NaN and NaT do where the dtype has them. Raises NullFoundError and UnequalLengthError with
    the first row that is wrong; pyarrow's errors where the array contradicts itself.
    """
    array = plain(array)
    if values.lists or not values.raw:
        array.validate(full=True)
    if values.physical is not None and 0 in values.physical and not values.lists:
        return np.zeros((len(array), *values.shape), values.dtype)
    flat = _flat(array, values, values.lists, fill)
    assert values.physical is not None
    records = flat.reshape((len(array), *values.physical))
    return records.transpose((0, *(axis + 1 for axis in values.permutation))) if values.permutation else records


def _flat(array: Any, values: ArrowValues, lists: tuple[int | None, ...], fill: Any) -> NDArray[np.generic]:
    """The values of an array of lists of equal lengths, one after the other: shape (length * product of lengths * binary,)."""
    if kinds.is_dictionary(array.type):
        array = array.dictionary_decode()
    size = math.prod(length or 0 for length in lists) * max(1, values.binary // values.dtype.itemsize)
    if array.null_count:
        missing = array.is_null().to_numpy(zero_copy_only=False)
        fill = own_null(values.dtype) if fill is None else fill
        if fill is None:
            raise NullFoundError(int(missing.argmax()))
        records = np.full((len(array), size), fill, values.dtype)
        records[~missing] = _flat(array.drop_null(), values, lists, fill).reshape(-1 if size else len(array) - int(missing.sum()), size)
        return records.reshape(-1)
    if not lists:
        if values.binary:
            whole = np.frombuffer(array.buffers()[1] or b"", np.uint8)[array.offset * values.binary :][: len(array) * values.binary]
            return whole.view(values.dtype) if len(whole) else np.zeros(0, values.dtype)
        return _numbers(array, values.dtype)
    length = lists[0] or 0
    if kinds.is_fixed_size_list(array.type):
        inner = array.values.slice(array.offset * length, len(array) * length)
    else:
        offsets = array.offsets.to_numpy()
        wrong = np.flatnonzero(np.diff(offsets) != length)
        if len(wrong):
            raise UnequalLengthError(int(wrong[0]), int(np.diff(offsets)[wrong[0]]), length)
        inner = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0])) if len(offsets) else array.values.slice(0, 0)
    try:
        return _flat(inner, values, lists[1:], fill)
    except NullFoundError as error:
        raise NullFoundError(error.row // max(1, length)) from None
    except UnequalLengthError as error:
        raise UnequalLengthError(error.row // max(1, length), error.length, error.expected, within=True) from None


def plain(array: Any) -> Any:
    """An Arrow array without its extension."""
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _extension(field: Any) -> tuple[str, Any]:
    """Name of the extension type of a field and what it says of itself, as JSON; ("", None) where it is a plain one."""
    kind, metadata = field.type, field.metadata or {}
    if isinstance(kind, pa.BaseExtensionType):
        said = kind.__arrow_ext_serialize__() if hasattr(kind, "__arrow_ext_serialize__") else b""
        return str(getattr(kind, "extension_name", "")), _json(said, field.name, strict=False)
    name = metadata.get(b"ARROW:extension:name", b"").decode(errors="replace")
    return name, _json(metadata.get(b"ARROW:extension:metadata", b""), field.name, strict=False)


def _json(text: bytes, name: str, *, strict: bool = True) -> Any:
    try:
        return json.loads(text) if len(text) < 65_536 else None
    except (ValueError, RecursionError) as error:
        if strict:
            raise UnsupportedColumnError(f"has a shape that cannot be read: {text[:80]!r}") from error
        return None


def _said_shape(said: Any, name: str) -> tuple[int, ...]:
    shape = said.get("shape") if isinstance(said, dict) else said
    if not isinstance(shape, (list, tuple)) or not all(type(length) is int and length >= 0 for length in shape):
        raise UnsupportedColumnError(f"has a shape that cannot be read: {str(shape)[:80]}")
    return tuple(shape)


def _storage(kind: Any) -> ArrowValues:
    """The values of an Arrow type, its shape left open."""
    lists: list[int | None] = []
    while kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        lists.append(kind.list_size if kinds.is_fixed_size_list(kind) else None)
        kind = kind.value_type
        if len(lists) > MOST_DEPTH:
            raise UnsupportedColumnError(f"holds lists nested more than {MOST_DEPTH} deep")
    raw = str(kind)
    if kinds.is_dictionary(kind):
        kind, raw = kind.value_type, ""
    if kinds.is_fixed_size_binary(kind):
        return ArrowValues(dtype=np.dtype("u1"), lists=tuple(lists), binary=kind.byte_width, raw=raw, physical=None, permutation=())
    decoded = _dtype_of(kind)
    if decoded is not None:
        return ArrowValues(dtype=decoded, lists=tuple(lists), binary=0, raw="", physical=None, permutation=())
    if kinds.is_integer(kind) or kinds.is_floating(kind):
        dtype = np.dtype(FLOATS.get(str(kind), str(kind)))
        return ArrowValues(dtype=dtype, lists=tuple(lists), binary=0, raw=raw, physical=None, permutation=())
    raise _unreadable(kind, within=bool(lists))


def _dtype_of(kind: Any) -> np.dtype | None:
    """The dtype of values that are no plain numbers in Arrow, and lose nothing in it; None where there is none.

    Moments with a time zone are stored in UTC, which NumPy's are in too; times of day are durations since midnight.
    """
    if kinds.is_boolean(kind):
        return np.dtype(bool)
    if kinds.is_timestamp(kind):
        return np.dtype(f"M8[{kind.unit}]")
    if kinds.is_date(kind):
        return np.dtype("M8[D]" if kinds.is_date32(kind) else "M8[ms]")
    if kinds.is_duration(kind) or kinds.is_time(kind):
        return np.dtype(f"m8[{kind.unit}]")
    whole = kinds.is_decimal(kind) and kind.scale == 0 and kind.precision <= WHOLE_DIGITS
    return np.dtype(np.int64) if whole else None


def _numbers(array: Any, dtype: np.dtype) -> NDArray[np.generic]:
    """Values that lie in no list, and hold no null, as the dtype that `_dtype_of` or Arrow gives them."""
    kind = array.type
    if kinds.is_time(kind):
        return array.cast(pa.int32() if kinds.is_time32(kind) else pa.int64()).to_numpy(zero_copy_only=False).astype("i8").view(dtype)
    if kinds.is_decimal(kind):
        return array.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return array.to_numpy(zero_copy_only=False).astype(dtype, copy=False)


def _unreadable(kind: Any, *, within: bool) -> SkippedColumnError:
    """Why a type is no field; `within` says that it is that of values in lists."""
    if kinds.is_null(kind):
        return SkippedColumnError("holds nothing but nulls")
    if within and kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return UnsupportedColumnError("holds lists of encoded images, several a record, which cannot be read yet")
    if within and kinds.is_struct(kind):
        return SkippedColumnError("holds lists of structs, whose members lie side by side in no array")
    if kinds.is_struct(kind):
        return SkippedColumnError("is a struct without members")
    if kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind):
        return UnsupportedColumnError("holds lists of bytes, which cannot be read yet")
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
        return SkippedColumnError("holds lists of text, and several texts a record are neither an array nor a Ragged")
    return SkippedColumnError(f"holds values of the type {kind}, which has no counterpart in NumPy")


def _with_dtype(values: ArrowValues, text: str, name: str) -> ArrowValues:
    """Values of fixed-size binary that the file says are numbers."""
    dtype = _dtype_said(text)
    if not dtype.itemsize or values.binary % dtype.itemsize:
        raise UnsupportedColumnError(f"says that its dtype is {text[:40]!r}, which does not fit values of {values.binary:,} bytes")
    return ArrowValues(dtype=dtype, lists=values.lists, binary=values.binary, raw=values.raw, physical=None, permutation=())


def _dtype_said(text: str) -> np.dtype:
    """The dtype that a file says values are of."""
    try:
        dtype = np.dtype(text)
    except TypeError as error:
        raise UnsupportedColumnError(f"says that its dtype is {text[:40]!r}, which NumPy does not know") from error
    if dtype.kind not in "biufcSMm":
        raise UnsupportedColumnError(f"says that its dtype is {text[:40]!r}, which cannot be delivered")
    if dtype != dtype.newbyteorder("<"):
        raise UnsupportedColumnError(f"says that its dtype is {text[:40]!r}, and big-endian values in tables are not read")
    return dtype


def _shaped(
    values: ArrowValues, shape: Sequence[int] | None, permutation: tuple[int, ...], name: str, *, looked_at: bool = False
) -> ArrowValues:
    """The same with the shape of a record: what the lists and bytes come to, or what was said if it fits.

    Lengths that were `looked_at` are those of a first record, and others may have others.
    """
    physical: tuple[int, ...] | None = tuple(shape) if shape is not None else None
    if None not in values.lists:
        own = tuple(length or 0 for length in values.lists)
        if values.binary and not 1 < values.binary == values.dtype.itemsize:
            own += (values.binary // values.dtype.itemsize,)
        if physical is None:
            physical = own
        elif math.prod(physical) != math.prod(own):
            differ = f"; where records differ in length, shapes={{{name!r}: (None,)}}" if looked_at and len(own) == 1 else ""
            raise ConfigError(
                f"Column '{name}' holds {math.prod(own):,} values a record {own}, and shape {physical} has {math.prod(physical):,}.",
                hint=f"Give one of {math.prod(own):,}, such as shapes={{{name!r}: {own}}}{differ}.",
                dataset=name,
            )
    return ArrowValues(
        dtype=values.dtype, lists=values.lists, binary=values.binary, raw=values.raw, physical=physical, permutation=permutation
    )


def wrong_value(path: str, column: str, first: int, error: NullFoundError | UnequalLengthError, field: Field) -> SourceError:
    """The error for a null, or a list of another length; `first` is the record at which the array at hand begins."""
    record = first + error.row
    if isinstance(error, NullFoundError):
        return null_error(path, column, record, field)
    return SchemaMismatchError(
        f"{path}: row {record:,} of column '{column}' holds {error.length:,} values where {error.expected:,} are expected.",
        hint="Records of a field have one shape: pad them, "
        + ("" if error.within or field.ragged else f"say that they differ with shapes={{{column!r}: (None,)}}, ")
        + "or leave the column out with fields=[...].",
        path=path,
        dataset=column,
        records=(record, record + 1),
    )
