"""What describes an array of a store: its shape, its type, its chunks and what they are packed with, of both versions."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from streamload.errors import CorruptDataError, UnsupportedFeatureError, damaged
from streamload.formats.zarr.codecs import CodecChain, Sharding, chain_of_v2, chain_of_v3

MOST_AXES = 32
KINDS = "biufcSMm"
"""Kinds of dtypes that are fields."""
_SAID = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayInfo:
    """One array."""

    key: str
    """Its path in the store."""
    shape: tuple[int, ...]
    """The number of records first."""
    stored: np.dtype
    """An element as it lies in chunks, once these are decoded."""
    chunk: tuple[int, ...]
    """Shape of a chunk; of the inner ones where these lie in shards."""
    chain: CodecChain
    """What chunks are packed with."""
    sharding: Sharding | None
    """How chunks lie in shards; None where each has a key of its own."""
    fill: bytes
    """One element of the fill value, as `stored`; b"" for zeros."""
    prefix: str
    """What the keys of chunks begin with: "c" or ""."""
    separator: str
    """What stands between the parts of the key of a chunk."""
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What it says of itself, as JSON has it."""

    @property
    def nbytes(self) -> int:
        """Of all values."""
        return math.prod(self.shape) * self.stored.itemsize


def nodes_in(data: bytes, key: str) -> dict[str, Any]:
    """The JSON that describes a node. Raises ValueError for anything but an object."""
    said = json.loads(data)
    if not isinstance(said, dict):
        raise ValueError(f"what describes {key or 'it'} is no object of JSON")
    return cast("dict[str, Any]", said)


def array_of_v2(said: Mapping[str, Any], key: str) -> ArrayInfo:
    """An array as .zarray describes it.

    Raises UnsupportedFeatureError, whose message goes on after the array's name, for what cannot be a field, and ValueError,
    TypeError or LookupError for what nobody could have written.
    """
    shape, chunk = _lengths(said["shape"], 0), _lengths(said["chunks"], 1)
    stored = _dtype_of_v2(said["dtype"])
    _refuse_odd(shape, chunk, stored)
    separator = said.get("dimension_separator", ".")
    if separator not in (".", "/") or said.get("order", "C") not in ("C", "F"):
        raise ValueError(f"separator {separator!r}, order {said.get('order')!r}")
    chain = chain_of_v2(said.get("filters"), said.get("compressor"), chunk, stored, fortran=said.get("order", "C") == "F")
    fill = fill_bytes(said.get("fill_value"), stored)
    return ArrayInfo(
        key=key, shape=shape, stored=stored, chunk=chunk, chain=chain, sharding=None, fill=fill, prefix="", separator=separator
    )


def array_of_v3(said: Mapping[str, Any], key: str) -> ArrayInfo:
    """An array as zarr.json describes it. Raises as `array_of_v2` does."""
    shape = _lengths(said["shape"], 0)
    stored = _dtype_of_v3(said["data_type"])
    grid = said["chunk_grid"]
    if grid["name"] != "regular":
        raise UnsupportedFeatureError(f"holds chunks in a grid that is {grid['name']!r}, which is not known here")
    if said.get("storage_transformers"):
        raise UnsupportedFeatureError("is stored by transformers, which are not known here")
    chunk = _lengths(grid["configuration"]["chunk_shape"], 1)
    _refuse_odd(shape, chunk, stored)
    chain, sharding, order = chain_of_v3(said["codecs"], chunk, stored)
    encoding: Any = said.get("chunk_key_encoding") or {"name": "default"}
    plain = encoding["name"] == "v2"
    if not plain and encoding["name"] != "default":
        raise UnsupportedFeatureError(f"names its chunks in a way that is not known here ({encoding['name']!r})")
    separator = (encoding.get("configuration") or {}).get("separator", "." if plain else "/")
    if separator not in (".", "/"):
        raise ValueError(f"separator {separator!r}")
    return ArrayInfo(
        key=key,
        shape=shape,
        stored=stored.newbyteorder(order),
        chunk=chunk if sharding is None else sharding.chunk,
        chain=chain,
        sharding=sharding,
        fill=fill_bytes(said.get("fill_value"), stored.newbyteorder(order)),
        prefix="" if plain else "c",
        separator=separator,
    )


def _lengths(said: Sequence[Any], least: int) -> tuple[int, ...]:
    lengths = tuple(said)
    if len(lengths) > MOST_AXES or any(type(one) is not int or not least <= one < 1 << 62 for one in lengths):
        raise ValueError(f"a shape of {lengths[:MOST_AXES]!r}")
    return lengths


def _refuse_odd(shape: tuple[int, ...], chunk: tuple[int, ...], stored: np.dtype) -> None:
    if len(shape) != len(chunk):
        raise ValueError(f"a shape of {shape} in chunks of {chunk}")
    if not shape:
        raise UnsupportedFeatureError("holds one number for all records")
    if math.prod(shape[1:]) * stored.itemsize >= 1 << 62:
        raise ValueError(f"a shape of {shape}")


def _dtype_of_v2(said: Any) -> np.dtype:
    if not isinstance(said, str):
        raise UnsupportedFeatureError("holds structures, which are no type of numbers")
    return _plain(np.dtype(said), said)


def _plain(dtype: np.dtype, said: str) -> np.dtype:
    if dtype.kind not in KINDS or dtype.hasobject or not dtype.itemsize or dtype.subdtype is not None:
        raise UnsupportedFeatureError(f"holds {said}, which is no type of numbers")
    return dtype


def _dtype_of_v3(said: Any) -> np.dtype:
    """The dtype, little-endian: how it lies in chunks is said elsewhere."""
    if isinstance(said, dict):
        name, more = said["name"], cast("dict[str, Any]", said).get("configuration") or {}
        if name in ("numpy.datetime64", "numpy.timedelta64"):
            factor = more.get("scale_factor", 1)
            unit = more["unit"] if factor == 1 else f"{int(factor)}{more['unit']}"
            return np.dtype(f"<{'M' if 'date' in name else 'm'}8[{unit}]" if unit != "generic" else f"<{'M' if 'date' in name else 'm'}8")
        if name == "null_terminated_bytes":
            return _plain(np.dtype(f"S{int(more['length_bytes'])}"), name)
        raise UnsupportedFeatureError(f"holds {name}, which is no type of numbers")
    known = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    if said not in (*known, "float16", "float32", "float64", "complex64", "complex128"):
        raise UnsupportedFeatureError(f"holds {said}, which is no type of numbers")
    return np.dtype(str(said)).newbyteorder("<")


def fill_bytes(said: Any, stored: np.dtype) -> bytes:
    """One element of a fill value, as it lies in chunks; b"" for zeros. Raises ValueError where it is none of the dtype."""
    if said is None:
        return b""
    kind = stored.kind
    if kind == "c":
        parts = [said, 0.0] if not isinstance(said, (list, tuple)) else list(cast("list[Any]", said))
        real, imaginary = (_float(one, stored.itemsize // 2) for one in parts)
        value = np.array(complex(real, imaginary), stored)
    elif kind == "f":
        value = np.array(_float(said, stored.itemsize)).astype(stored) if not _is_hex(said) else _hex(said, stored)
    elif kind == "S":
        data = base64.b64decode(said, validate=True) if isinstance(said, str) else b"" if said == 0 else bytes(said)
        value = np.array(data, stored)
    elif kind in "Mm":
        number = np.iinfo(np.int64).min if said == "NaT" else int(said)
        return _unless_zero(np.array(number, np.int64).astype(np.dtype("i8").newbyteorder(stored.byteorder)).tobytes())
    else:
        if type(said) not in (bool, int) and not (isinstance(said, float) and said.is_integer()):
            raise ValueError(f"a fill value of {said!r}")
        value = np.array(int(said)).astype(stored, casting="unsafe") if kind == "b" else np.array(int(said), stored)
    return _unless_zero(value.tobytes())


def _unless_zero(data: bytes) -> bytes:
    return data if data.strip(b"\0") else b""


def _is_hex(said: Any) -> bool:
    return isinstance(said, str) and said.startswith("0x")


def _hex(said: str, stored: np.dtype) -> np.ndarray[Any, Any]:
    """The bits of a number, the highest first."""
    data = bytes.fromhex(said[2:])
    return np.frombuffer(data, stored.newbyteorder(">"), 1)[0].astype(stored)


def _float(said: Any, itemsize: int) -> float:
    if _is_hex(said):
        return float(_hex(said, np.dtype(f"f{itemsize}")))
    if isinstance(said, str):
        if said not in _SAID:
            raise ValueError(f"a fill value of {said!r}")
        return _SAID[said]
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        raise ValueError(f"a fill value of {said!r}")
    return float(said)


def unreadable_store(path: str, error: object) -> CorruptDataError:
    """The error for a store that nobody could have written."""
    return damaged(f"{path} cannot be opened as a Zarr store: {error}.", path=path)


def float_of_base64(text: str) -> float | None:
    """A number as xarray writes it into attributes of version 3: the eight bytes of a float; None for any other text."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return struct.unpack("<d", data)[0] if len(data) == 8 else None
