"""What chunks of a store are packed with, by the numbers that the codecs here have; what is not known is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from streamload.codecs.array_codecs import ADLER32, BZ2, CRC32, CRC32C, DELTA, END, GZIP, LZ4, PACKBITS, START, TRANSPOSE, XZ
from streamload.errors import UnsafeSourceError, UnsupportedFeatureError

SHUFFLE, FLETCHER32, BLOSC, ZLIB, ZSTD = 2, 3, 32001, 1, 32015
"""HDF5's numbers."""
BIG = tuple(b">")
Filter = tuple[int, tuple[int, ...]]
Codec = Mapping[str, Any]
Endian = Literal["<", ">"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecChain:
    """Filters in the order in which they were applied, as `codecs.FilterPipeline` takes them."""

    filters: tuple[Filter, ...]
    names: tuple[str, ...]
    """For people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharding:
    """Chunks that lie in shards, behind or before an index."""

    shard: tuple[int, ...]
    """Shape of a shard."""
    chunk: tuple[int, ...]
    """Shape of a chunk in it: divides the shard's."""
    at_end: bool
    """Where the index is."""
    checked: bool
    """Whether a checksum follows it."""


def _dtype_of(said: Codec, name: str, otherwise: np.dtype) -> np.dtype:
    return np.dtype(said[name]) if said.get(name) is not None else otherwise


def _delta(said: Codec, stored: np.dtype) -> Filter:
    """Differences: of the bytes as they are stored in version 2, of an array that is turned to bytes behind it in version 3."""
    dtype = _dtype_of(said, "dtype", stored)
    if _dtype_of(said, "astype", dtype) != dtype or dtype.kind not in "biuf":
        raise UnsupportedFeatureError("holds differences of another type, which are not known here")
    return DELTA, tuple(dtype.str.encode())


def _unchanged(said: Codec, stored: np.dtype) -> Filter | None:
    """Of codecs that lose bits when they write, and have nothing to undo."""
    if _dtype_of(said, "astype", stored) != stored:
        raise UnsupportedFeatureError("holds values that were rounded to another type, which is not known here")
    return None


def _checksum(number: int, otherwise: int) -> Callable[[Codec, np.dtype], Filter]:
    def make(said: Codec, stored: np.dtype) -> Filter:
        where = said.get("location") or ("start" if otherwise == START else "end")
        if where not in ("start", "end"):
            raise ValueError(f"a checksum at {where!r}")
        return number, (START if where == "start" else END,)

    return make


def _xz(said: Codec, stored: np.dtype) -> Filter:
    if said.get("format", 1) != 1 or said.get("filters") is not None:
        raise UnsupportedFeatureError("is packed by lzma in a form that is not known here")
    return XZ, ()


def _simple(number: int) -> Callable[[Codec, np.dtype], Filter]:
    return lambda said, stored: (number, ())


KNOWN: dict[str, Callable[[Codec, np.dtype], Filter | None]] = {
    "blosc": _simple(BLOSC),
    "zlib": _simple(ZLIB),
    "gzip": _simple(GZIP),
    "zstd": _simple(ZSTD),
    "lz4": _simple(LZ4),
    "lzma": _xz,
    "bz2": _simple(BZ2),
    "shuffle": lambda said, stored: (SHUFFLE, (int(said.get("elementsize", 4)),)),
    "fletcher32": _simple(FLETCHER32),
    "crc32c": _checksum(CRC32C, END),
    "crc32": _checksum(CRC32, START),
    "adler32": _checksum(ADLER32, START),
    "delta": _delta,
    "packbits": _simple(PACKBITS),
    "bitround": lambda said, stored: None,
    "quantize": _unchanged,
}
"""By name, of both versions, without "numcodecs."."""


def _filter(name: Any, said: Codec, stored: np.dtype, names: list[str]) -> list[Filter]:
    """A codec as a filter, its name noted."""
    plain = str(name).removeprefix("numcodecs.")
    if "pickle" in plain:
        raise UnsafeSourceError(f"is pickled ({plain}), which could run anything")
    if plain not in KNOWN:
        raise UnsupportedFeatureError(f"holds what the codec {plain!r} packed, which is not known here")
    names.append(plain)
    made = KNOWN[plain](said, stored)
    return [] if made is None else [made]


def _turned(order: Sequence[int], chunk: tuple[int, ...]) -> list[Filter]:
    """The step that puts axes back which are stored in this order; none where that changes nothing."""
    if sorted(order) != list(range(len(chunk))):
        raise ValueError(f"axes in the order {list(order)}")
    long = [axis for axis in order if chunk[axis] > 1]
    return [] if long == sorted(long) else [(TRANSPOSE, (*order, *chunk))]


def chain_of_v2(filters: Any, compressor: Any, chunk: tuple[int, ...], stored: np.dtype, *, fortran: bool) -> CodecChain:
    """What .zarray says; raises as `metadata.array_of_v2` does."""
    names: list[str] = ["Fortran order"] if fortran and len(chunk) > 1 else []
    made = _turned(range(len(chunk))[::-1], chunk) if fortran else []
    for one in (*(filters or ()), *((compressor,) if compressor is not None else ())):
        made += _filter(one["id"], one, stored, names)
    return CodecChain(filters=tuple(made), names=tuple(names))


def chain_of_v3(said: Any, chunk: tuple[int, ...], stored: np.dtype) -> tuple[CodecChain, Sharding | None, Endian]:
    """What zarr.json says of codecs, and the order of bytes, "<" or ">"; raises as `metadata.array_of_v3` does."""
    codecs = [(one, {}) if isinstance(one, str) else (one["name"], one.get("configuration") or {}) for one in said]
    if any(name == "sharding_indexed" for name, _ in codecs):
        if len(codecs) > 1:
            raise UnsupportedFeatureError("holds shards that are packed as a whole, so that no chunk can be read by itself")
        return _sharded(codecs[0][1], chunk, stored)
    made: list[Filter] = []
    names: list[str] = []
    order: Endian = "<"
    shape, as_bytes = chunk, False
    for name, more in codecs:
        if name == "bytes":
            endian = more.get("endian")
            if endian not in (None, "little", "big"):
                raise ValueError(f"an order of bytes of {endian!r}")
            order, as_bytes = ">" if endian == "big" else "<", True
            for number, values in made:
                if number == DELTA and (values[:1] == BIG or (order == ">" and np.dtype(bytes(values).decode()).itemsize > 1)):
                    raise UnsupportedFeatureError("holds differences of big-endian numbers, which are not known here")
        elif name == "transpose":
            made += _transposed(more["order"], shape)
            shape = tuple(shape[axis] for axis in more["order"])
            names.append("transpose")
        else:
            made += _filter(name, more, stored.newbyteorder(order), names)
    if not as_bytes:
        raise UnsupportedFeatureError("is turned to bytes in a way that is not known here")
    return CodecChain(filters=tuple(made), names=tuple(names)), None, order


def _transposed(said: Any, shape: tuple[int, ...]) -> list[Filter]:
    if said in ("C", "F"):
        return _turned(range(len(shape)) if said == "C" else range(len(shape))[::-1], shape)
    return _turned([int(one) for one in said], shape)


def _sharded(said: Codec, shard: tuple[int, ...], stored: np.dtype) -> tuple[CodecChain, Sharding, Endian]:
    chunk = tuple(said["chunk_shape"])
    if len(chunk) != len(shard) or any(type(one) is not int or one < 1 or side % one for one, side in zip(chunk, shard, strict=True)):
        raise ValueError(f"chunks of {chunk} in shards of {shard}")
    chain, inner, order = chain_of_v3(said["codecs"], chunk, stored)
    if inner is not None:
        raise UnsupportedFeatureError("holds shards within shards, which are not known here")
    index = [(one, {}) if isinstance(one, str) else (one["name"], one.get("configuration") or {}) for one in said["index_codecs"]]
    names = [name for name, _ in index]
    if names not in (["bytes"], ["bytes", "crc32c"]) or cast("Codec", index[0][1]).get("endian", "little") != "little":
        raise UnsupportedFeatureError("holds shards whose index is packed in a way that is not known here")
    where = said.get("index_location", "end")
    if where not in ("start", "end"):
        raise ValueError(f"an index at {where!r}")
    return chain, Sharding(shard=shard, chunk=chunk, at_end=where == "end", checked=len(names) > 1), order
