"""Records to one .npy file: an array, or records of a structure where there are several fields."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from streamload.schema import Schema
from streamload.storage.owned_files import create_file
from streamload.tools.convert.writers.registry import Annotations, WriteOptions


class NpyWriter:
    """A header, then records one after the other."""

    def __init__(self, path: str, schema: Schema, records: int) -> None:
        self._fields = [(field.name, field.dtype.newbyteorder("<"), field.shape) for field in schema]
        self._single = len(self._fields) == 1
        name, dtype, shape = self._fields[0]
        whole = (records, *shape) if self._single else (records,)
        kind = dtype if self._single else np.dtype(self._fields)
        self._file = os.fdopen(create_file(path), "wb")
        header = {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": whole}
        _write_header(self._file, header)
        self._dtype = kind
        self._name = name

    def append(self, taken: Mapping[str, NDArray[Any]]) -> None:
        """Write records behind those that are there."""
        if self._single:
            self._file.write(np.ascontiguousarray(taken[self._name], self._dtype).reshape(-1).view(np.uint8).data)
            return
        rows = np.empty(len(taken[self._name]), self._dtype)
        for name, _, _ in self._fields:
            rows[name] = taken[name]
        self._file.write(rows.view(np.uint8).data)

    def settled(self) -> list[tuple[int, int]]:
        """Nothing: all goes through the page cache."""
        return []

    def close(self) -> None:
        """Finish the file."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file, whatever it says of what it could not write."""
        with suppress(OSError):
            self._file.close()


def _write_header(file: BinaryIO, header: dict[str, Any]) -> None:
    """The header of an array: of version 3, which NumPy writes by an array alone, where names of fields need it."""
    text = "{" + "".join(f"'{key}': {value!r}, " for key, value in sorted(header.items())) + "}"
    try:
        text.encode("latin1")
    except UnicodeEncodeError:
        data, magic = text.encode(), npy.magic(3, 0)
        padding = -(len(magic) + 4 + len(data) + 1) % npy.ARRAY_ALIGN
        file.write(magic + struct.pack("<I", len(data) + padding + 1) + data + b" " * padding + b"\n")
    else:
        npy.write_array_header_2_0(file, header)


def writer(path: str, schema: Schema, records: int, style: WriteOptions, said: Annotations) -> NpyWriter:
    """A writer of one file."""
    return NpyWriter(path, schema, records)
