"""Records to one .npz file: an array a field, stored side by side without compression, so that records are read by offset."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from streamload.formats.attributes import attributes_to_json
from streamload.formats.npy.planning import ARE_FIELDS, ATTRIBUTES, CLASSES
from streamload.schema import Schema
from streamload.storage.owned_files import anonymous_file, create_file
from streamload.tools.convert.writers.registry import Annotations, WriteOptions

TIME = (1980, 1, 1, 0, 0, 0)
"""Members have no time: the same records are to give the same bytes."""
COPIED_NBYTES = 1 << 22


class NpzWriter:
    """The first field goes to its place at once, the others to files of their own beside it until the first is whole."""

    def __init__(self, path: str, schema: Schema, records: int, said: Annotations) -> None:
        self._file = os.fdopen(create_file(path), "w+b")
        self._archive = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._said: dict[str, NDArray[np.str_]] = {}
        """Texts about fields, under the names that they are read by."""
        for field in schema:
            if said.words(field):
                self._said[field.name + CLASSES] = np.array(said.words(field), np.str_)
            if said.attributes.get(field.name):
                self._said[field.name + ATTRIBUTES] = np.array(attributes_to_json(said.attributes[field.name]), np.str_)
        # The largest is written once, the others twice.
        fields = sorted(schema, key=lambda field: -field.nbytes)
        self._files: dict[str, Any] = {}
        self._first = fields[0].name
        for field in fields:
            member = None if field.name != self._first else self._archive.open(_member(field.name), "w", force_zip64=True)
            file = anonymous_file(os.path.dirname(path)) if member is None else member
            header = {"descr": npy.dtype_to_descr(field.dtype.newbyteorder("<")), "fortran_order": False, "shape": (records, *field.shape)}
            npy.write_array_header_2_0(file, header)
            self._files[field.name] = file
        self._dtypes = {field.name: field.dtype.newbyteorder("<") for field in fields}

    def append(self, taken: Mapping[str, NDArray[Any]]) -> None:
        """Write records behind those that are there."""
        for name, file in self._files.items():
            file.write(np.ascontiguousarray(taken[name], self._dtypes[name]).reshape(-1).view(np.uint8).data)

    def settled(self) -> list[tuple[int, int]]:
        """Nothing: all goes through the page cache."""
        return []

    def close(self) -> None:
        """Put all arrays into the one file."""
        for name, file in self._files.items():
            if name == self._first:
                file.close()
                continue
            file.seek(0)
            with self._archive.open(_member(name), "w", force_zip64=True) as member:
                shutil.copyfileobj(file, member, COPIED_NBYTES)
            file.close()
        for name, texts in self._said.items():
            with self._archive.open(_member(name), "w") as member:
                npy.write_array(member, texts, allow_pickle=False)
        self._archive.comment = ARE_FIELDS
        self._archive.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Let go of all files, whatever they say of what they could not write."""
        for file in (*self._files.values(), self._archive, self._file):
            with suppress(OSError, ValueError):
                file.close()


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name + ".npy", TIME)


def writer(path: str, schema: Schema, records: int, style: WriteOptions, said: Annotations) -> NpzWriter:
    """A writer of one file."""
    return NpzWriter(path, schema, records, said)
