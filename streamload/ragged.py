"""Records that differ in length, side by side: all their values in one array, and where each begins."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError
from streamload.masked_arrays import refuse_masked
from streamload.schema import ARRAY, BYTES, TEXT

MOST_SHOWN = 6
"""Records that `repr` shows."""
MOST_CHARACTERS = 40
"""Of each of them."""
MOST_TEXTS_NBYTES = 64 * 1024**2
"""Of an array of several texts, all of which take as much room as the longest."""


class Ragged:
    """Several records of one ragged field: arrays of different lengths, strings, or bytes.

    `values` holds the elements of all records one after the other, shape (elements, *shape); record k has those from
    `offsets[k]` to `offsets[k + 1]`, an int64 array of shape (records + 1,) that begins with 0 and never falls. `kind` is
    "array", "bytes" or "text"; the latter two have `values` of uint8. In a batch both arrays are views of shared memory,
    which is the user's own for as long as anything looks at either of them.

    Index it with an integer for one record (a view of `values`, a `bytes` or a `str`); with a slice, integers or booleans for
    several, again as a Ragged.
    """

    __slots__ = ("kind", "offsets", "values")

    def __init__(self, values: NDArray[Any], offsets: NDArray[np.int64], kind: str = ARRAY) -> None:
        self.values = values
        """The elements of all records: shape (elements, *shape)."""
        self.offsets = offsets
        """The element at which each record begins, and their number: shape (records + 1,), int64."""
        self.kind = kind
        """ "array", "bytes" or "text"."""

    @classmethod
    def of(cls, records: Sequence[Any]) -> Ragged:
        """Records from a list of strings, of bytes, or of arrays that agree in dtype and in all axes but the first.

        Raises ConfigError for a list that mixes them, and for arrays some of which is masked; an empty list gives arrays of float64.
        """
        kinds = {TEXT if isinstance(one, str) else BYTES if isinstance(one, (bytes, bytearray, memoryview)) else ARRAY for one in records}
        if len(kinds) > 1:
            raise ConfigError(
                f"a ragged field holds strings, bytes or arrays, and these records are of {len(kinds)} kinds.", hint="Give one kind."
            )
        kind = kinds.pop() if kinds else ARRAY
        if kind == ARRAY:
            for number, one in enumerate(records):
                if type(one) is not np.ndarray:
                    refuse_masked(one, f"array {number:,} of a ragged field")
            arrays = [np.asarray(one) for one in records] or [np.zeros(0)]
        else:
            arrays = [np.frombuffer(one.encode() if isinstance(one, str) else bytes(one), np.uint8) for one in records]
        if any(one.ndim == 0 for one in arrays) or len({(one.dtype, one.shape[1:]) for one in arrays}) > 1:
            found = list(dict.fromkeys(f"{one.dtype} {one.shape}" for one in arrays))
            raise ConfigError(
                f"arrays of a ragged field differ in their first axis only, and these are {', '.join(found[:3])}.",
                hint="Cast or reshape them to one dtype, and to one shape after the first axis.",
            )
        offsets = np.cumsum([0, *(len(one) for one in arrays)], dtype=np.int64) if records else np.zeros(1, np.int64)
        return cls(np.concatenate(arrays), offsets, kind)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of an element."""
        return self.values.dtype

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Elements of each record, bytes where it is text: shape (records,)."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Bytes of values and offsets."""
        return self.values.nbytes + self.offsets.nbytes

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[Any]:
        return (self._record(number) for number in range(len(self)))

    def __getitem__(self, index: object) -> Any:
        if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.bool_)):
            number = operator.index(index)
            if not -len(self) <= number < len(self):
                raise IndexError(f"record {number} is out of range for {len(self):,} records")
            return self._record(number % len(self))
        if isinstance(index, slice) and index.step in (None, 1):
            start, stop, _ = index.indices(len(self))
            first, last = int(self.offsets[start]), int(self.offsets[max(start, stop)])
            return Ragged(self.values[first:last], self.offsets[start : max(start, stop) + 1] - first, self.kind)
        if isinstance(index, tuple) or index is None or index is ...:
            raise IndexError(self._no_axes(index))
        refuse_masked(index, "What records are chosen by")
        chosen = np.arange(len(self))[cast(Any, index)]
        if chosen.ndim != 1:
            raise IndexError(f"records are chosen by an integer, a slice, integers or booleans, not by {index!r}")
        lengths = self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        elements = np.arange(int(offsets[-1])) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return Ragged(self.values[elements], offsets, self.kind)

    def _no_axes(self, index: object) -> str:
        """What is said where these records are indexed as if they were one array."""
        cure = "; images that are stored as bytes become arrays by sl.open(path, decode=(224, 224))" if self.kind == BYTES else ""
        return f"a Ragged is indexed by record alone, ragged[5], not by {index!r}: its records differ in length{cure}"

    def _record(self, number: int) -> Any:
        values = self.values[int(self.offsets[number]) : int(self.offsets[number + 1])]
        if self.kind == ARRAY:
            return values
        stored = values.tobytes()
        if self.kind == BYTES:
            return stored
        try:
            return stored.decode()
        except UnicodeDecodeError as error:
            raise CorruptDataError(
                f"text number {number:,} is not UTF-8: {error.reason} at byte {error.start:,} of {len(stored):,}.",
                hint="Its bytes are in `values`, from offsets[number] to offsets[number + 1]: decode them as they were encoded.",
            ) from error

    def __array__(self, *arguments: object, **keywords: object) -> NDArray[Any]:
        raise TypeError("records of different lengths are no array: take .values and .offsets, .padded() or .to_list()")

    def copy(self) -> Ragged:
        """The same in memory of its own."""
        return Ragged(self.values.copy(), self.offsets.copy(), self.kind)

    def to_list(self) -> list[Any]:
        """The records: arrays (views of `values`), `bytes` or `str`."""
        return list(self)

    def padded(self, value: Any = 0, length: int | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """One array of shape (records, length, *shape), filled up with `value`; and a mask (records, length), True for elements.

        `length` is that of the longest record unless it is given; longer records are then cut. Both arrays are new.
        """
        lengths = self.lengths
        if length is None:
            length = int(lengths.max(initial=0))
        elif length < 0:
            raise ConfigError(f"padded(length={length}) is less than nothing.", hint="Give the elements of a record, 0 or more.")
        mask = np.arange(length) < lengths[:, None]
        room = np.full((len(self), length, *self.values.shape[1:]), value, self.values.dtype)
        if int(lengths.max(initial=0)) <= length:
            room[mask] = self.values[: int(self.offsets[-1])]
        else:
            kept = np.minimum(lengths, length)
            ends = np.cumsum(kept)
            room[mask] = self.values[np.arange(int(ends[-1])) + np.repeat(self.offsets[:-1] - (ends - kept), kept)]
        return room, mask

    def to_arrow(self) -> Any:
        """An Arrow array of `large_string`, `large_binary` or `large_list`, without a copy where Arrow has the same layout."""
        import pyarrow as pa

        offsets = pa.py_buffer(np.ascontiguousarray(self.offsets))
        if self.kind != ARRAY:
            kind = pa.large_string() if self.kind == TEXT else pa.large_binary()
            return pa.Array.from_buffers(kind, len(self), [None, offsets, pa.py_buffer(np.ascontiguousarray(self.values))])
        inner = pa.array(np.ascontiguousarray(self.values).reshape(-1))
        for axis in range(self.values.ndim - 1, 0, -1):
            count = math.prod(self.values.shape[:axis])
            inner = pa.Array.from_buffers(pa.list_(inner.type, self.values.shape[axis]), count, [None], children=[inner])
        return pa.Array.from_buffers(pa.large_list(inner.type), len(self), [None, offsets], children=[inner])

    def to_torch(self) -> Any:
        """A nested tensor of torch's jagged layout, which shares the memory of `values` and `offsets`."""
        import torch

        return torch.nested.nested_tensor_from_jagged(torch.from_numpy(self.values), torch.from_numpy(self.offsets))

    def __repr__(self) -> str:
        shown = [self._shown(number) for number in range(min(len(self), MOST_SHOWN))] + ["..."] * (len(self) > MOST_SHOWN)
        shape = f"({', '.join(['*', *map(str, self.values.shape[1:])])}{',' if self.values.ndim == 1 else ''})"
        what = f"{self.values.dtype} {shape}" if self.kind == ARRAY else self.kind
        return f"Ragged({len(self):,} x {what}: [{', '.join(shown)}])"

    def _shown(self, number: int) -> str:
        """One record, in at most some forty characters."""
        start, stop = int(self.offsets[number]), int(self.offsets[number + 1])
        if self.kind == ARRAY:
            return np.array2string(self.values[start:stop], threshold=6, edgeitems=2, separator=", ").replace("\n", "")
        stored = self.values[start : min(stop, start + MOST_CHARACTERS)].tobytes()
        text = repr(stored.decode(errors="ignore")) if self.kind == TEXT else repr(stored)
        return text + (f"... ({stop - start:,} bytes)" if stop - start > MOST_CHARACTERS else "")


def text_arrays(taken: Mapping[str, Any], count: int) -> Iterator[tuple[int, int, dict[str, NDArray[Any]]]]:
    """The fields of `count` records with arrays in place of texts, which are Ragged in `taken`. Yields (start, stop, fields) for stretches
    of the records: for few at a time where one text is very long. Arrays are of objects where a text ends in a zero character, which
    NumPy's own texts would lose."""
    texts = [one for one in taken.values() if isinstance(one, Ragged)]
    left = [(0, count)] if count else []
    while left:
        start, stop = left.pop()
        longest = max((int(one.lengths[start:stop].max()) for one in texts), default=0)
        if stop - start > 1 and 4 * longest * (stop - start) > MOST_TEXTS_NBYTES:
            half = (start + stop) // 2
            left += [(half, stop), (start, half)]
            continue
        yield (
            start,
            stop,
            {name: _text_array([*one[start:stop]]) if isinstance(one, Ragged) else one[start:stop] for name, one in taken.items()},
        )


def _text_array(texts: Sequence[str]) -> NDArray[Any]:
    return np.array(texts, object if any(text.endswith("\0") for text in texts) else None)
