"""Sources kept from one run to the next as plain data: ten thousand footers are read once.

What is kept is what planning found: columns, which are dataclasses of a few known kinds, as JSON and arrays of numbers. A
source with a column of any other kind is planned anew each time.
"""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError
from streamload.formats.attributes import attributes_from_json, attributes_to_json
from streamload.formats.columns.file_ranges import FileRanges
from streamload.formats.columns.packed_records import PackedArrays, PackedRanges
from streamload.formats.columns.raw import InMemory, RawRecords
from streamload.formats.columns.raw_ragged import InMemoryRagged, RawRagged
from streamload.formats.naming.field_names import Fields
from streamload.nulls import Nulls
from streamload.omissions import Omission
from streamload.schema import ARRAY, BYTES, TEXT
from streamload.source import Column, NullableColumn, Source
from streamload.storage import disk_cache
from streamload.storage.files import Fingerprint

MAGIC = b"SLPLAN14"
"""Changes whenever the meaning of what follows does: what an older version kept is then no longer read."""
KINDS = {
    "Field": "streamload.schema",
    "RawRecords": "streamload.formats.columns.raw",
    "InMemory": "streamload.formats.columns.raw",
    "InMemoryRagged": "streamload.formats.columns.raw_ragged",
    "FileRanges": "streamload.formats.columns.file_ranges",
    "PackedBlocks": "streamload.formats.columns.packed_blocks",
    "PackedRanges": "streamload.formats.columns.packed_records",
    "PackedArrays": "streamload.formats.columns.packed_records",
    "HeldWithNulls": "streamload.formats.tables.nulls",
    "ListFill": "streamload.formats.tables.nulls",
    "Lengths": "streamload.column",
    "Measured": "streamload.column",
    "PaddedText": "streamload.formats.npy.text",
    "Stacked": "streamload.formats.derived.stacked",
    "RaggedValues": "streamload.formats.arrow_types.ragged_types",
    "RaggedRowGroups": "streamload.formats.parquet.ragged_row_groups",
    "TransposedColumn": "streamload.formats.columns.transposed",
    "TransposedFile": "streamload.formats.columns.transposed",
    "ArrowValues": "streamload.formats.arrow_types.element_types",
    "RawRagged": "streamload.formats.columns.raw_ragged",
    "RaggedRecordBatches": "streamload.formats.arrow.ragged_record_batches",
    "RecordBatches": "streamload.formats.arrow.record_batches",
    "BatchFile": "streamload.formats.arrow.record_batches",
    "ChecksummedPages": "streamload.formats.parquet.checksummed_pages",
    "CompressedPages": "streamload.formats.parquet.compressed_pages",
    "RowGroups": "streamload.formats.parquet.row_groups",
    "RowGroupFile": "streamload.formats.parquet.row_groups",
}
"""The dataclasses that are kept, and their rooms. A column of a new kind needs a line here to be kept."""


class NotCacheableError(Exception):
    """A value that is not kept; internal."""


def cached_or_planned(module: str, paths: Sequence[str], fields: Fields | None, **options: Any) -> Source:
    """What `plan_files(paths, fields, **options)` of a module plans: known from an earlier run, or planned and kept."""
    try:
        asked = _request(module, paths, fields, options)
    except TypeError:
        asked = None  # An option that JSON cannot hold, such as a NumPy number.
    known = None if asked is None else disk_cache.load(asked, MAGIC, _read)
    if known is not None:
        return known
    plan_files = importlib.import_module(module).plan_files
    began = time.monotonic()
    source: Source = plan_files(paths, fields, **options)
    if asked is not None:
        store_plan(asked, source, time.monotonic() - began)
    return source


def store_plan(asked: list[Any], source: Source, seconds: float) -> None:
    """Keep a source that took `seconds` to plan, if that is worth it, and if it is of kinds that are kept."""
    if seconds <= disk_cache.WORTH_SECONDS:
        return
    try:
        out = _Writing()
        said = {
            "format": source.format_name,
            "title": source.title,
            "notes": source.notes,
            "classes": source.classes,
            "attributes": {name: attributes_to_json(said) for name, said in source.attributes.items()},
            "nulls": {name: [one.column, one.count] for name, one in source.nulls.items()},
            "omissions": [[one.what, one.why, one.count, one.names] for one in source.omissions],
            "masks": sorted(source.masks),
            "files": [was.path for was in source.fingerprints],
            "starts": out.plain(source.file_starts),
            "columns": [out.plain(column) for column in source.columns],
        }
    except NotCacheableError:
        return
    files: dict[str, tuple[int, int, int, int] | None] = {was.path: was.identity for was in source.fingerprints}
    disk_cache.store(
        asked, MAGIC, files, lambda more: disk_cache.pack(MAGIC, {**said, **out.pools(), "more": dict(more)}, out.arrays()), seconds
    )


def _request(module: str, paths: Sequence[str], fields: Fields | None, options: Mapping[str, Any]) -> list[Any]:
    asked = [_jsonable(pair) for pair in fields.items()] if isinstance(fields, Mapping) else None if fields is None else list(fields)
    return disk_cache.request(paths, module, asked, _jsonable(options))


def _jsonable(value: Any) -> Any:
    """An option as JSON has it, so that what was asked can be compared. Raises TypeError for what JSON cannot hold."""
    if isinstance(value, Mapping):
        return [[_jsonable(key), _jsonable(one)] for key, one in cast("Mapping[Any, Any]", value).items()]
    if isinstance(value, (list, tuple)):
        return [_jsonable(one) for one in cast("Sequence[Any]", value)]
    if value is None or type(value) in (bool, int, str) or (type(value) is float and value == value):
        return value
    raise TypeError(f"{value!r} cannot be kept")


class _Writing:
    """Values as JSON, their arrays apart: those of one dtype lie one after the other."""

    def __init__(self) -> None:
        self._pools: dict[str, list[NDArray[Any]]] = {}

    def plain(self, value: Any) -> Any:
        """A value as JSON. Raises NotCacheableError for what is of no known kind."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is tuple:
            return {"tuple": [self.plain(one) for one in value]}
        if type(value) is bytes:
            return {"bytes": value.hex()}
        if isinstance(value, np.dtype):
            return {"dtype": _dtype_text(cast("np.dtype[Any]", value))}
        if isinstance(value, np.ndarray):
            return self._array(cast("NDArray[Any]", value))
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value))["array"]}
        name = type(value).__name__
        if dataclasses.is_dataclass(value) and KINDS.get(name) == type(value).__module__:
            return {name: {one.name: self.plain(getattr(value, one.name)) for one in dataclasses.fields(value)}}
        raise NotCacheableError

    def _array(self, array: NDArray[Any]) -> dict[str, Any]:
        text = _dtype_text(array.dtype)
        self._pools.setdefault(text, []).append(np.ascontiguousarray(array).reshape(-1))
        return {"array": [text, *array.shape]}

    def pools(self) -> dict[str, Any]:
        """The dtypes of `arrays`, in their order."""
        return {"pools": list(self._pools)}

    def arrays(self) -> list[NDArray[Any]]:
        """All arrays that were met, an array a dtype."""
        return [np.concatenate(pool) for pool in self._pools.values()]


class _Reading:
    """The way back."""

    def __init__(self, pools: Mapping[str, NDArray[Any]]) -> None:
        self._pools = dict(pools)
        self._kinds: dict[str, Any] = dict.fromkeys(KINDS)
        self.numbers: list[int] = []
        """Of all files that were named."""

    def value(self, said: Any) -> Any:
        """What a piece of JSON stands for. Raises ValueError, or another of `disk_cache.DAMAGED`, for what `plain` never wrote."""
        if not isinstance(said, dict):
            return said
        ((kind, inner),) = cast("dict[str, Any]", said).items()
        if kind == "array":
            return self._array(inner[0], tuple(inner[1:]))
        if kind == "tuple":
            return tuple(self.value(one) for one in inner)
        if kind == "scalar":
            return self._array(inner[0], ())[()]
        if kind == "dtype":
            return _dtype(inner)
        if kind == "bytes":
            return bytes.fromhex(inner)
        made = self._kinds[kind] or getattr(importlib.import_module(KINDS[kind]), kind)
        self._kinds[kind] = made
        values = {name: self.value(one) for name, one in inner.items()}
        if kind == "Field":
            _refuse_odd_field(**values)
        elif type(values.get("number")) is int:
            self.numbers.append(values["number"])
        return made(**values)

    def _array(self, text: str, shape: tuple[int, ...]) -> NDArray[Any]:
        count = 1
        for length in shape:
            count *= length
        pool = self._pools[text]
        if count < 0 or count > len(pool):
            raise ValueError("an array is cut short")
        self._pools[text] = pool[count:]
        return pool[:count].reshape(shape)


def _read(data: NDArray[np.uint8]) -> tuple[Source, Mapping[str, Any]]:
    """The source that `remember` wrote, and what came with it. Raises CorruptDataError for anything else."""
    try:
        said, arrays = disk_cache.unpack(MAGIC, data)
        reading = _Reading({text: array.view(_dtype(text)) for text, array in zip(said["pools"], arrays, strict=True)})
        times = said["more"]["times"]
        source = Source(
            format_name=str(said["format"]),
            title=str(said["title"]),
            file_starts=reading.value(said["starts"]),
            columns=[reading.value(column) for column in said["columns"]],
            fingerprints=[Fingerprint(path, *map(int, times[path][:4])) for path in said["files"]],
            notes=[str(note) for note in said["notes"]],
            classes={str(name): tuple(map(str, words)) for name, words in said["classes"].items()},
            attributes={str(name): attributes_from_json(str(text)) for name, text in said["attributes"].items()},
            nulls={str(name): Nulls(str(column), count) for name, (column, count) in said["nulls"].items()},
            masks=map(str, said["masks"]),
            omissions=[Omission(str(what), str(why), int(count), tuple(map(str, names))) for what, why, count, names in said["omissions"]],
        )
        _refuse_unknown_files(source, reading.numbers)
        for column in source.columns:
            _refuse_unheld(column, source)
            _refuse_nonsense(getattr(column, "raw", getattr(column, "pairs", column)), source)
            if isinstance(column, RawRagged):
                _refuse_loose(column, source)
            if isinstance(column, (PackedRanges, PackedArrays)):
                _refuse_miscounted(column, source)
            if isinstance(column, FileRanges):
                _refuse_outside(column, source)
    except disk_cache.DAMAGED as error:
        raise CorruptDataError(f"what was kept of a plan cannot be read: {error}.", hint="It is made anew.") from error
    return source, said["more"]


def _refuse_odd_field(*, name: Any, dtype: Any, shape: Any, ragged: Any) -> None:
    """Raise ValueError for what no field is called, or holds."""
    shaped = isinstance(shape, tuple) and all(type(length) is int and length >= 0 for length in cast("tuple[Any, ...]", shape))
    if type(name) is not str or not isinstance(dtype, np.dtype) or not shaped or ragged not in ("", ARRAY, BYTES, TEXT):
        raise ValueError("a field is none")


def _refuse_unknown_files(source: Source, numbers: Sequence[int]) -> None:
    """Raise ValueError for files that there are none of, and for records that lie in no file."""
    starts = source.file_starts
    if any(not 0 <= number < len(source.fingerprints) for number in numbers):
        raise ValueError("it names a file that is not there")
    if starts.ndim != 1 or len(starts) < 1 or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise ValueError("files begin nowhere")


def _refuse_unheld(column: Column, source: Source) -> None:
    """Raise ValueError where values that were kept are not those of all records: compiled code copies them without another look."""
    field = column.field
    if field.name in source.nulls:
        column = cast(NullableColumn, column).filled()
    if bool(field.ragged) != hasattr(column, "lengths"):
        raise ValueError("a field is ragged, and its records are not")
    if isinstance(column, InMemory) and (column.values.shape != (len(source), *field.shape) or column.values.dtype != field.dtype):
        raise ValueError("values are not those of all records")
    if isinstance(column, InMemoryRagged):
        offsets, values = column.offsets, column.values
        rising = offsets.shape == (len(source) + 1,) and offsets[0] >= 0 and not (np.diff(offsets) < 0).any()
        if not rising or offsets[-1] > len(values) or values.shape[1:] != field.shape or values.dtype != field.dtype:
            raise ValueError("values are not those of all records")


def _refuse_nonsense(column: Column, source: Source) -> None:
    """Raise ValueError where raw records would lie outside their files: they are copied from mappings without another look."""
    if not isinstance(column, RawRecords):
        return
    counts = np.diff(column.starts)
    sizes = np.array([was.nbytes for was in source.fingerprints], np.int64)[column.numbers]
    stops = column.offsets + np.maximum(counts - 1, 0) * column.strides + column.field.nbytes
    least = min(int(one.min(initial=0)) for one in (counts, column.offsets, column.strides, column.numbers))
    if least < 0 or (stops > sizes).any() or column.starts[-1] != len(source):
        raise ValueError("records lie behind the end of their file")


def _refuse_loose(column: RawRagged, source: Source) -> None:
    """Raise ValueError where elements of raw ragged records would lie outside their files."""
    pairs = column.pairs
    if pairs.field.shape != (2,) or pairs.field.dtype.kind not in "iu" or not len(column.bases) == len(column.limits) == len(pairs.numbers):
        raise ValueError("places of elements are none")
    sizes = np.array([was.nbytes for was in source.fingerprints], np.int64)[pairs.numbers]
    stops = column.bases + column.limits * column.field.nbytes
    if min(int(column.bases.min(initial=0)), int(column.limits.min(initial=0))) < 0 or (stops > sizes).any():
        raise ValueError("elements lie behind the end of their file")


def _refuse_outside(column: FileRanges, source: Source) -> None:
    """Raise ValueError where records would lie outside their files."""
    counts = np.diff(column.starts)
    if len(counts) != len(column.numbers) or (counts < 0).any() or column.starts[0] != 0 or column.starts[-1] != len(source):
        raise ValueError("records are counted wrong")
    limits = np.repeat(np.array([was.nbytes for was in source.fingerprints], np.int64)[column.numbers], counts)
    if len(limits) != len(column.offsets) or len(limits) != len(column.sizes) or int(column.numbers.min(initial=0)) < 0:
        raise ValueError("records are counted wrong")
    there = column.offsets >= 0
    if int(column.sizes.min(initial=0)) < 0 or (column.offsets[there] + column.sizes[there] > limits[there]).any():
        raise ValueError("records lie behind the end of their file")


def _refuse_miscounted(column: PackedRanges | PackedArrays, source: Source) -> None:
    """Raise ValueError where blocks of compressed files, or the records in them, are no such: where they lie is seen when they are read."""
    blocks, sizes = column.blocks, column.sizes if isinstance(column, PackedRanges) else column.offsets
    counts = len(blocks.begins) == len(blocks.ends) == len(blocks.cuts) - 1 and len(blocks.starts) == len(blocks.numbers) + 1
    counts = counts and 0 <= int(blocks.numbers.min(initial=0)) <= int(blocks.numbers.max(initial=0)) < len(source.fingerprints)
    if not counts or len(column.offsets) != len(source) or len(sizes) != len(source) or int(sizes.min(initial=0)) < 0:
        raise ValueError("records are counted wrong")
    borders = [(blocks.cuts, int(np.diff(blocks.cuts).min(initial=1))), (blocks.starts, int(np.diff(blocks.starts).min(initial=0)) + 1)]
    rising = all(one[0] == 0 and one[-1] == len(source) and least > 0 for one, least in borders)
    if not rising or (blocks.ends < blocks.begins).any() or int(blocks.begins.min(initial=0)) < 0:
        raise ValueError("blocks lie nowhere")


def _dtype(text: str) -> np.dtype[Any]:
    dtype = np.dtype(str(text))
    if dtype.kind not in "biufcSMm":
        raise ValueError(f"{dtype} is no type of a field")
    return dtype


def _dtype_text(dtype: np.dtype[Any]) -> str:
    if dtype.kind not in "biufcSMm":
        raise NotCacheableError
    return dtype.str
