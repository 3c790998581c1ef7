"""An array that lies in an archive as the bytes of a .npy file."""

from __future__ import annotations

import io
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, UnsafeSourceError


def array_in(data: bytes, title: str) -> NDArray[Any]:
    """The array of a .npy file, which may say nothing that its bytes do not hold."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, SyntaxError, TokenError) as error:  # What NumPy makes of text that is no Python.
        raise CorruptDataError(f"{title} is no .npy: {error}.", hint="Leave it out with --on-bad skip.", path=title) from error
    if dtype.hasobject:
        raise UnsafeSourceError(f"{title} holds pickled objects, which could run anything.", hint="Save plain arrays.", path=title)
    rest = memoryview(data)[file.tell() :]
    if len(rest) != int(np.prod(shape, dtype=object)) * dtype.itemsize or dtype.kind not in "biuf":
        raise CorruptDataError(f"{title} holds {len(rest):,} bytes, which are no {dtype} {shape}.", hint="Write it again.", path=title)
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if fortran else "C")
