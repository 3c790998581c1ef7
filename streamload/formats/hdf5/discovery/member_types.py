"""Types of HDF5 as NumPy and ragged records have them: a type itself, or the members of a compound, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from h5py import h5t  # pyright: ignore[reportAttributeAccessIssue]

from streamload.schema import ARRAY, BYTES, TEXT

_BITFIELDS = tuple(getattr(h5t, f"STD_B{bits}{order}") for bits in (8, 16, 32, 64) for order in ("LE", "BE"))


class Member(NamedTuple):
    """A type, or a member of a compound one."""

    names: tuple[str, ...]
    """Of nested members down to it; () for a type that is no compound."""
    kind: h5t.TypeID
    dtype: np.dtype
    """As NumPy has it, in the byte order of the file; of an element where it is ragged."""
    at: int
    """The byte within the compound."""
    ragged: str = ""
    """How records of it differ in length."""
    why: str = ""
    """What it is, where it cannot be delivered."""


def members(kind: h5t.TypeID) -> Iterator[Member]:
    """The type itself, or the members of a compound type, nested ones included."""
    try:
        dtype = kind.dtype
    except (TypeError, ValueError, RuntimeError) as error:
        yield Member((), kind, np.dtype("V1"), 0, why=f"a type that NumPy has no name for ({error})")
        return
    bits = kind.get_super() if isinstance(kind, h5t.TypeArrayID) else kind
    if isinstance(bits, h5t.TypeBitfieldID) and not any(bits == full for full in _BITFIELDS):
        yield Member((), kind, dtype, 0, why=f"bitfields that do not use all bits of their {bits.get_size()} bytes")
        return
    if isinstance(kind, h5t.TypeVlenID) and isinstance(kind.get_super(), h5t.TypeBitfieldID):
        yield Member((), kind, dtype, 0, why="bitfields of variable length")
        return
    if isinstance(kind, h5t.TypeCompoundID) and dtype.names is not None:
        for number in range(kind.get_nmembers()):
            name = kind.get_member_name(number).decode(errors="replace")
            inner, at = kind.get_member_type(number), kind.get_member_offset(number)
            for one in members(inner):
                yield one._replace(names=(name, *one.names), at=at + one.at)
        return
    variable = _variable(kind)
    if variable is not None:
        yield Member((), kind, variable[1], 0, ragged=variable[0])
        return
    base, outer = dtype.subdtype or (dtype, ())
    if isinstance(element_of(kind), h5t.TypeOpaqueID) and base.names is None:
        # Moments and durations as h5py writes them; any others are bytes.
        yield Member((), kind, np.dtype((base.str, outer) if base.kind in "Mm" else (np.uint8, (*outer, base.itemsize))), 0)
        return
    if base.kind not in "biufcS" or base.itemsize == 0 or h5t.check_opaque_dtype(base):
        yield Member((), kind, dtype, 0, why=_type_name(kind, base))
        return
    plain = np.dtype(base.str)
    yield Member((), kind, np.dtype((plain, dtype.subdtype[1])) if dtype.subdtype else plain, 0)


def _variable(kind: h5t.TypeID) -> tuple[str, np.dtype] | None:
    """How records of a variable-length type are ragged, and the dtype of an element; None for every other type."""
    try:
        dtype = kind.dtype
    except (TypeError, ValueError, RuntimeError):
        return None
    said = h5t.check_string_dtype(dtype)
    if said is not None:
        return (TEXT, np.dtype(np.uint8)) if said.length is None else None
    base = h5t.check_vlen_dtype(dtype)
    if not isinstance(base, np.dtype) or base.kind not in "biufcS" or base.subdtype is not None or not base.itemsize:
        return None
    return (BYTES if base == np.uint8 else ARRAY), np.dtype(base.str)


def _type_name(kind: h5t.TypeID, dtype: np.dtype) -> str:
    if h5t.check_string_dtype(dtype):
        return "variable-length strings"
    if isinstance(kind, h5t.TypeVlenID):
        return f"variable-length arrays of {h5t.check_vlen_dtype(dtype)}"
    if h5t.check_ref_dtype(dtype):
        return "references to other objects"
    return f"dtype {dtype}"


def element_of(kind: h5t.TypeID) -> h5t.TypeID:
    """The type of the elements of an array type; any other type itself."""
    return kind.get_super() if isinstance(kind, h5t.TypeArrayID) else kind


def is_raw(kind: h5t.TypeID, dtype: np.dtype) -> bool:
    """Whether elements of the type lie in the file exactly as NumPy has them in memory."""
    if isinstance(kind, h5t.TypeOpaqueID):
        return dtype == np.uint8 or (kind.get_size() == dtype.itemsize and kind.get_tag() == b"NUMPY:" + dtype.str.encode())
    if isinstance(kind, h5t.TypeEnumID):
        kind, dtype = kind.get_super(), np.dtype("i1") if dtype.kind == "b" else dtype
    if isinstance(kind, h5t.TypeStringID):
        return kind.get_strpad() == h5t.STR_NULLPAD and kind.get_size() == dtype.itemsize
    if isinstance(kind, h5t.TypeCompoundID):
        part = np.dtype(f"{dtype.byteorder if dtype.byteorder != '|' else '='}f{dtype.itemsize // 2}")
        return (
            dtype.kind == "c"
            and kind.get_size() == dtype.itemsize
            and [kind.get_member_offset(number) for number in (0, 1)] == [0, part.itemsize]
            and all(h5t.py_create(part) == kind.get_member_type(number) for number in (0, 1))
        )
    return kind.get_size() == dtype.itemsize and bool(h5t.py_create(dtype) == kind)
