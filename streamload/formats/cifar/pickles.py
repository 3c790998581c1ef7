"""Pickles that can do nothing here but hold data: arrays of numbers, lists, dicts, text and bytes."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import UnsafeSourceError, damaged

_FORBIDDEN = frozenset(
    code[0]
    for code in (
        pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID,
        pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET,
    )
)  # fmt: skip
"""Steps that make objects of classes, look outside the file, or make what is neither list nor dict."""


class HarmlessUnpickler(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]
    """A reader of pickles that admits arrays, lists, dicts, numbers, text and bytes: it calls no function that a file names.

    It is the one in Python, not the one in C, which a file can make take all memory by numbering its memos from a billion on.
    Steps that data do not need are unknown to it.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        code: step
        for code, step in pickle._Unpickler.dispatch.items()  # pyright: ignore[reportPrivateUsage]
        if code not in _FORBIDDEN
    }

    def load_bytes_to_change(self) -> None:
        """Bytes that may be written to, as protocol 5 has arrays: the length that is said takes no memory before they were read."""
        unpickler: Any = self
        (length,) = struct.unpack("<Q", unpickler.read(8))
        unpickler.append(bytes(unpickler.read(length)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytes_to_change

    def load(self) -> Any:
        """What the pickle holds. Raises UnsafeSourceError for a step that it may not take."""
        try:
            return super().load()
        except KeyError as error:
            code = error.args[0] if error.args else None
            if isinstance(code, int) and code in _FORBIDDEN:
                raise UnsafeSourceError(
                    f"its pickle takes a step that data do not need ({cast(Any, pickletools).code2op[chr(code)].name}).",
                    hint="Only arrays, lists, dicts and bytes are read. Save the arrays as HDF5 where you trust it.",
                ) from error
            raise

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call: our own ways to make arrays. Raises UnsafeSourceError for anything else."""
        found = _ALLOWED.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise UnsafeSourceError(
                f"its pickle asks for {module[:80]}.{name[:80]}, which could run anything.",
                hint="Only arrays, lists, dicts and bytes are read. Save the arrays as HDF5 where you trust it.",
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Nothing lies outside the file."""
        raise UnsafeSourceError("its pickle refers to something outside the file.", hint="Save the arrays as HDF5 where you trust it.")


class _Numbers:
    """A dtype of a pickle, as far as it is one of numbers."""

    __slots__ = ("dtype",)

    def __init__(self, text: Any) -> None:
        self.dtype = np.dtype(text if isinstance(text, str) else bytes(text).decode("ascii"))
        if self.dtype.kind not in "biuf":
            raise UnsafeSourceError("its pickle holds an array of other things than numbers.", hint="Only arrays of numbers are read.")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class PickledArray:
    """An array of a pickle: NumPy's own way to take up its state would believe whatever it says."""

    __slots__ = ("values",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, numbers, fortran, data = state
        held = data.encode("latin1") if isinstance(data, str) else bytes(data)
        self.values = np.frombuffer(held, numbers.dtype).reshape(shape, order="F" if fortran else "C")


class _Call:
    """Something that a pickle may call. It has no attributes that a pickle could change."""

    __slots__ = ()


class _Reconstruct(_Call):
    __slots__ = ()

    def __call__(self, *_: Any) -> PickledArray:
        return PickledArray()


class _FromBuffer(_Call):
    __slots__ = ()

    def __call__(self, data: bytes, numbers: _Numbers, shape: tuple[int, ...], order: str, *axes: Any) -> PickledArray:
        if any(one is not None for one in axes):
            raise UnsafeSourceError("its pickle holds an array whose axes are turned.", hint="Save the arrays as HDF5.")
        made = PickledArray()
        made.__setstate__((1, shape, numbers, order == "F", data))
        return made


class _Dtype(_Call):
    __slots__ = ()

    def __call__(self, text: Any, *_: Any) -> _Numbers:
        return _Numbers(text)


class _Encode(_Call):
    __slots__ = ()

    def __call__(self, text: str, *_: Any) -> bytes:
        return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer(),
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Dtype(),
    ("_codecs", "encode"): _Encode(),
}


def held_in(data: bytes, path: str) -> dict[Any, Any]:
    """The dict that a pickle holds, its names as text; an empty one where it holds something else.

    Raises UnsafeSourceError for a pickle that asks for anything but data, CorruptDataError for one that cannot be read.
    """
    try:
        held = HarmlessUnpickler(io.BytesIO(data), encoding="latin1").load()
    except UnsafeSourceError as error:
        raise UnsafeSourceError(f"{path}: {error.message}", hint=error.hint, path=path) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise damaged(f"{path} is no pickle that can be read: {error}.", path=path) from error
    if not isinstance(held, dict):
        return {}
    return {name.decode("latin1") if isinstance(name, bytes) else name: value for name, value in held.items()}


def array_in(held: object) -> NDArray[Any] | None:
    """An array of numbers that a pickle holds; None for anything else."""
    values = getattr(held, "values", None) if isinstance(held, PickledArray) else None
    return values if isinstance(values, np.ndarray) else None
