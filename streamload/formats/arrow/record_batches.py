"""Record batches as blocks: the buffers of one column read by offset, unpacked, and made an array by pyarrow."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError, damaged
from streamload.formats.arrow.dictionary_values import from_stream
from streamload.formats.arrow_types.decoded_blocks import DecodedBlocks, DecodedBlocksReader
from streamload.formats.columns.blocks import by_block
from streamload.formats.tables.table import read_exactly
from streamload.schema import Field
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles

Made = TypeVar("Made")

LARGEST_BATCH_NBYTES = 1024**3
"""Decoded bytes of one column in a record batch above which a file is refused."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchFile:
    """One column in the record batches of one file."""

    number: int
    """Of the file, among the source's fingerprints."""
    records: NDArray[np.int64]
    """Of each batch: shape (batches,)."""
    lengths: NDArray[np.int64]
    """Of the column's arrays, parents first: shape (batches, arrays)."""
    nulls: NDArray[np.int64]
    """In each of them."""
    offsets: NDArray[np.int64]
    """The byte at which each of its buffers begins: shape (batches, buffers)."""
    nbytes: NDArray[np.int64]
    """Of each buffer, as stored."""
    codecs: tuple[str, ...]
    """Of each batch; "" for none."""
    kind: bytes
    """Its Arrow type, without extensions, as a schema of one field that pyarrow reads. Files may differ in it."""
    values: Any
    """How Arrow's values become records: an `element_types.ArrowValues`, or a `ragged_types.RaggedValues`; None for words."""
    members: tuple[str, ...]
    """The names that lead from its type, a struct with that one member, to the values; none where it is them."""
    words: NDArray[np.uint8] | None = None
    """What the codes in it stand for, where it has a dictionary: see `dictionaries.values_in`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RecordBatches(DecodedBlocks):
    """One field that must be decoded, a record batch after the other."""

    field: Field
    """As it is delivered."""
    column: str
    """Its name in the files."""
    fill: Any
    """What stands for nulls; None where they are errors."""
    parts: tuple[BatchFile, ...]
    """The files, in order."""
    label: str
    """How it is stored, for people."""

    @property
    def block_sizes(self) -> Sequence[NDArray[np.int64]]:
        """Records of the batches of each file."""
        return [part.records for part in self.parts]

    @property
    def scratch_nbytes(self) -> int:
        """A batch as it is stored, unpacked, and as records."""
        cuts = self.cuts
        largest = int(np.diff(cuts).max(initial=0)) * self.field.nbytes if cuts is not None else 0
        return 4 * largest

    @property
    def file_nbytes(self) -> int:
        """As stored, of all files."""
        return sum(int(part.nbytes.sum()) for part in self.parts)

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader by offset."""
        return RecordBatchReader(self, files, meter)


class RecordBatchReader(DecodedBlocksReader):
    """Decodes batches, each once a call, and keeps the last."""

    def __init__(self, column: RecordBatches, files: OpenFiles, meter: ReadStats) -> None:
        super().__init__(column, files, meter)
        self._types: dict[int, Any] = {}
        self._words: dict[int, Any] = {}

    def type_of(self, part: BatchFile) -> Any:
        """The column's Arrow type in a file, without extensions."""
        import pyarrow as pa

        if part.number not in self._types:
            self._types[part.number] = pa.ipc.read_schema(pa.py_buffer(part.kind)).field(0).type
        return self._types[part.number]

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`. Raises CorruptDataError, with file and records."""
        began, read_before = time.perf_counter_ns(), self._meter.read_ns
        for block, chosen, local in by_block(self._cuts, records):
            self._files.descriptor(self._places[block][0].number)
            self._put(block, 0, *self._last.get(block, self._decoded), local, out, rows[chosen])
        self._meter.decode_ns += time.perf_counter_ns() - began - (self._meter.read_ns - read_before)

    def _decoded(self, block: int) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        from streamload.formats.arrow_types.element_types import to_numpy

        return self.made(block, to_numpy)

    def made(self, block: int, make: Callable[[Any, Any, Any], Made]) -> tuple[Made, NDArray[np.bool_] | None]:
        """What `make` makes of the array of a batch, its values and what stands for nulls; and which of its records have a null
        that is an error, None where none has. Raises SchemaMismatchError, with file and record, for lists of other lengths."""
        from streamload.formats.arrow_types.element_types import NullFoundError, UnequalLengthError, wrong_value
        from streamload.formats.arrow_types.nulls import made_of

        column, part, array = self._column, self._places[block][0], self.array(block)
        try:
            return made_of(array, part.values, column.field, column.fill, make)
        except (NullFoundError, UnequalLengthError) as error:
            path, records = self.place(block)
            raise wrong_value(path, column.column, records[0], error, column.field) from None

    def nulls_in(self, block: int) -> NDArray[np.bool_]:
        """Which records of a batch have a null for which nothing stands: shape (records,)."""
        from streamload.formats.arrow_types.nulls import refused_nulls
        from streamload.formats.arrow_types.ragged_types import member_of

        part, batch = self._places[block]
        self._files.descriptor(part.number)
        if not part.nulls[batch].any():
            return np.zeros(int(part.records[batch]), bool)
        return refused_nulls(member_of(self.array(block), part.values), self._column.field, self._column.fill)

    def place(self, block: int) -> tuple[str, tuple[int, int]]:
        """The file that holds a batch, touched so that it is verified, and the records of it there."""
        part, batch = self._places[block]
        self._files.descriptor(part.number)
        first = int(part.records[:batch].sum())
        return self._files.fingerprints[part.number].path, (first, first + int(part.records[batch]))

    def array(self, block: int) -> Any:
        """The column's array in a batch, proved sound. Raises CorruptDataError, with file and records."""
        with self._told(block):
            return self._sound(*self._places[block])

    @contextmanager
    def _told(self, block: int) -> Generator[None]:
        """Whatever is wrong with a batch is told with its file and records."""
        import pyarrow as pa

        try:
            yield
        except StreamloadError:
            raise
        except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, StopIteration, MemoryError) as error:
            path, records = self.place(block)
            self._files.verify()
            raise damaged(
                f"{path}: column '{self._column.column}' cannot be decoded in records {records[0]:,} to {records[1]:,}: {error}.",
                path=path,
                dataset=self._column.column,
                records=records,
            ) from error

    def _sound(self, part: BatchFile, batch: int) -> Any:
        numbers = iter(zip(part.lengths[batch].tolist(), part.nulls[batch].tolist(), strict=True))
        array = _build(self.type_of(part), numbers, self._buffers(part, batch))
        if len(array) != int(part.records[batch]):
            raise ValueError(f"it has {len(array):,} records of {int(part.records[batch]):,}")
        array.validate(full=True)
        if part.members:
            from streamload.formats.arrow_types.schema_columns import member_at

            array = member_at(array, part.members)
        if part.words is None:
            return array
        import pyarrow as pa

        if part.number not in self._words:
            self._words[part.number] = from_stream(part.words)
        return pa.DictionaryArray.from_arrays(array, self._words[part.number])

    def buffer(self, block: int, which: int) -> Any:
        """One buffer of the column in a batch, unpacked. Raises CorruptDataError, with file and records."""
        part, batch = self._places[block]
        with self._told(block):
            return self._buffer(part, batch, which, self._most(part, batch))

    def _most(self, part: BatchFile, batch: int) -> int:
        """Bytes of a buffer above which it claims too much."""
        if self._column.field.ragged:
            return LARGEST_BATCH_NBYTES
        return 2 * int(part.records[batch]) * max(16, self._column.field.nbytes * 16) + 2**20

    def _buffers(self, part: BatchFile, batch: int) -> Iterator[Any]:
        most = self._most(part, batch)
        return (self._buffer(part, batch, which, most) for which in range(part.offsets.shape[1]))

    def _buffer(self, part: BatchFile, batch: int, which: int, most: int) -> Any:
        import pyarrow as pa

        offset, nbytes = int(part.offsets[batch, which]), int(part.nbytes[batch, which])
        began = time.perf_counter_ns()
        data = pa.py_buffer(read_exactly(self._files, part.number, offset, nbytes, self._column.column))
        self._meter.read_ns += time.perf_counter_ns() - began
        self._meter.read_nbytes += nbytes
        if not part.codecs[batch] or not nbytes:
            return data
        size = int.from_bytes(data[:8].to_pybytes(), "little", signed=True)
        if size < -1 or size > most:
            raise ValueError(f"a buffer claims {size:,} bytes unpacked")
        return data[8:] if size == -1 else _unpacked(part.codecs[batch], data[8:], size)


def _unpacked(codec: str, data: Any, nbytes: int) -> Any:
    """A buffer of so many bytes, unpacked. Raises ValueError, or pyarrow's error, where there are fewer or more."""
    import pyarrow as pa

    if codec != "lz4":
        return pa.Codec(codec).decompress(data, nbytes)
    import imagecodecs

    # Of an LZ4 frame that ends too soon, pyarrow would give what the memory held before. With a byte more, one that goes on is seen.
    room = pa.allocate_buffer(nbytes + 1)
    try:
        found = imagecodecs.lz4f_decode(np.frombuffer(data, np.uint8), out=np.frombuffer(room, np.uint8))
    except RuntimeError as error:
        raise ValueError(f"a buffer is no LZ4 frame: {error}") from error
    if len(found) != nbytes:
        really = "more" if len(found) > nbytes else f"{len(found):,}"
        raise ValueError(f"a buffer claims {nbytes:,} bytes unpacked, and unpacks to {really}")
    return room.slice(0, nbytes)


def _build(kind: Any, numbers: Iterator[tuple[int, int]], buffers: Iterator[Any]) -> Any:
    """An array of a type out of the buffers of its arrays, parents first."""
    import pyarrow as pa
    import pyarrow.types as kinds

    length, nulls = next(numbers)
    validity = next(buffers)
    validity = validity if nulls else None
    if kinds.is_fixed_size_list(kind):
        return pa.Array.from_buffers(kind, length, [validity], nulls, children=[_build(kind.value_type, numbers, buffers)])
    if kinds.is_struct(kind):
        members = [_build(kind.field(number).type, numbers, buffers) for number in range(kind.num_fields)]
        return pa.Array.from_buffers(kind, length, [validity], nulls, children=members)
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    data = next(buffers)
    if kinds.is_string_view(kind) or kinds.is_binary_view(kind):
        return pa.Array.from_buffers(kind, length, [validity, data, *buffers], nulls)
    if kinds.is_binary(kind) or kinds.is_string(kind) or kinds.is_large_binary(kind) or kinds.is_large_string(kind):
        return pa.Array.from_buffers(kind, length, [validity, data, next(buffers)], nulls)
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        return pa.Array.from_buffers(kind, length, [validity, data], nulls, children=[_build(kind.value_type, numbers, buffers)])
    return pa.Array.from_buffers(kind, length, [validity, data], nulls)
