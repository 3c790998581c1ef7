"""Values of every kind, the awkward ones among them: zeros at the end and inside, empty ones, every bit pattern of a float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamload.ragged import Ragged

RECORDS = 60
TAIL, TAIL_ELEMENTS = 12, 120
"""The last records of ragged fields are so much longer that a batch of them alone does not fit its slot."""


def fixed(dtype: Any, shape: Sequence[int] = (), *, records: int = RECORDS, seed: int = 0) -> np.ndarray:
    """Values of a dtype, in its byte order; the first one is all zeros, so that strings begin with an empty one."""
    rng = np.random.default_rng([seed, *np.dtype(dtype).str.encode(), *shape])
    values = _values(np.dtype(dtype), (records, *shape), rng)
    if records and values.size:
        values[0] = np.zeros((), values.dtype)
    return values


def _values(dtype: np.dtype, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if dtype.names is not None:
        out = np.zeros(shape, dtype)
        for name in dtype.names:
            base, inner = dtype[name].subdtype or (dtype[name], ())
            out[name] = _values(base, (*shape, *inner), rng)
        return out
    size = int(np.prod(shape, dtype=np.int64))
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "S":
        letters = rng.choice(np.frombuffer(b"\0\0ab\xff", np.uint8), (size, dtype.itemsize))
        letters[np.arange(dtype.itemsize) >= rng.integers(0, dtype.itemsize + 1, size)[:, None]] = 0
        return np.frombuffer(letters.tobytes(), dtype, size).reshape(shape).copy()
    if dtype.kind == "U":
        letters = rng.choice(np.array([0, 97, 0xE4, 0x20AC], np.uint32), (size, dtype.itemsize // 4))
        return np.frombuffer(letters.tobytes(), dtype.newbyteorder("="), size).reshape(shape).astype(dtype)
    if dtype.char in "gG":
        return rng.normal(size=shape).astype(dtype)
    return np.frombuffer(rng.bytes(size * dtype.itemsize), dtype, size).reshape(shape).copy()


def lengths(records: int, seed: int) -> np.ndarray:
    """How long ragged records are: a few elements, none, and at the end many."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 6, records) * (rng.random(records) < 0.8)
    found[records - TAIL :] += TAIL_ELEMENTS
    return found


def ragged(dtype: Any, shape: Sequence[int] = (), *, records: int = RECORDS, seed: int = 0) -> Ragged:
    """Records of any length."""
    sizes = lengths(records, seed)
    values = fixed(dtype, shape, records=int(sizes.sum()), seed=seed)
    return Ragged(values, np.append(0, np.cumsum(sizes)).astype(np.int64), "array")


def texts(*, records: int = RECORDS, seed: int = 0) -> list[str]:
    """Text of letters that take one to four bytes."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ab ä€𝄞"), size)) for size in lengths(records, seed).tolist()]


def blobs(*, records: int = RECORDS, seed: int = 0) -> list[bytes]:
    """Bytes, zeros at the end among them."""
    rng = np.random.default_rng(seed)
    return [rng.choice(np.frombuffer(b"\0\0ab\xff", np.uint8), size).tobytes() for size in lengths(records, seed).tolist()]


def native(values: Any) -> Any:
    """Values as they are delivered: in the byte order of the machine."""
    if isinstance(values, Ragged):
        return Ragged(native(values.values), values.offsets, values.kind)
    return values.astype(values.dtype.newbyteorder("="))


def difference(found: Any, expected: Any) -> str:
    """In what two fields differ, to the byte; "" where they do not."""
    if isinstance(expected, Ragged):
        if not isinstance(found, Ragged) or found.kind != expected.kind:
            return f"kind {getattr(found, 'kind', None)!r}, not {expected.kind!r}"
        if found.lengths.tolist() != expected.lengths.tolist():
            return f"lengths {found.lengths.tolist()}, not {expected.lengths.tolist()}"
        # An order of records gathers values anew, so that only what each record holds can be compared.
        found, expected = found[np.arange(len(found))].values, expected[np.arange(len(expected))].values
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        return f"{found.dtype} {found.shape}, not {expected.dtype} {expected.shape}"
    if expected.dtype.char in "gG":
        return "" if np.array_equal(found, expected) else "other values"  # Long doubles have bytes that mean nothing.
    return "" if found.tobytes() == expected.tobytes() else "other bytes"
