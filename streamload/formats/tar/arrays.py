"""Members that are .npy files of one dtype and shape: read by offset as raw records."""

from __future__ import annotations

import io
from collections.abc import Sequence
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import UnsafeSourceError
from streamload.formats.columns.packed_blocks import PackedBlocks
from streamload.formats.columns.packed_records import PackedArrays
from streamload.formats.columns.raw import RawRecords
from streamload.formats.tables.planned_fields import Made, PlannedField
from streamload.schema import Field
from streamload.storage.compressed_file import open_unpacked
from streamload.storage.files import Fingerprint
from streamload.storage.plain_file import StoredFile

HEAD_NBYTES = 10_000 + 16
"""NumPy's own limit for headers of files that are not trusted."""
USUAL_NBYTES = 256


def array_field(
    key: str,
    places: NDArray[np.int64],
    blocks: PackedBlocks | None,
    fingerprints: Sequence[Fingerprint],
    starts: NDArray[np.int64],
) -> PlannedField | str:
    """A field of arrays of one dtype and shape, at `places` (offset and length of each record); or why it can be none.

    There are `blocks` where archives are compressed: each is then unpacked once more, for the heads of its arrays.
    """
    if (places[:, 0] < 0).any():
        return f"arrays that {int((places[:, 0] < 0).sum()):,} records lack"
    offsets = np.empty(len(places), np.int64)
    first: tuple[np.dtype[Any], tuple[int, ...]] | None = None
    for number, was in enumerate(fingerprints):
        file = open_unpacked(was.path)
        try:
            own = np.arange(starts[number], starts[number + 1])
            for record in own[np.argsort(places[own, 0], kind="stable")].tolist():
                offset, nbytes = places[record].tolist()
                found = _header(file, offset, nbytes, f"{was.path}: .npy of record {record:,}")
                if isinstance(found, str):
                    return found
                dtype, shape, start = found
                if first is None:
                    first = dtype, shape
                if (dtype, shape) != first:
                    return f"arrays that differ: {first[0]} {first[1]} and {dtype} {shape}"
                offsets[record] = start
        finally:
            file.close()
    assert first is not None
    dtype, shape = first

    def make(field: Field, stands: Any) -> Made:
        if blocks is not None:
            label = "a .npy a record, compressed as a whole"
            return PackedArrays(field=field, stored=dtype, blocks=blocks, offsets=offsets, label=label), 0
        column = RawRecords(
            field=field,
            stored=dtype,
            starts=np.arange(len(places) + 1, dtype=np.int64),
            numbers=np.repeat(np.arange(len(fingerprints), dtype=np.int32), np.diff(starts)),
            offsets=offsets,
            strides=np.full(len(places), field.nbytes, np.int64),
            blocks=False,
            label="a .npy a record",
        )
        return column, 0

    return PlannedField(dtype=dtype.newbyteorder("="), shape=shape, ragged="", make=make)


def _header(file: StoredFile, offset: int, nbytes: int, title: str) -> tuple[np.dtype[Any], tuple[int, ...], int] | str:
    """The dtype and shape of an array in an archive, and where its values begin; or what it is instead."""
    head = file.read(offset, min(nbytes, USUAL_NBYTES if file.addressable else HEAD_NBYTES))  # There is no going back in what is unpacked.
    if head[6:7] in (b"\x02", b"\x03") or int.from_bytes(head[8:10], "little") + 10 > USUAL_NBYTES:
        head = head if len(head) == min(nbytes, HEAD_NBYTES) else file.read(offset, min(nbytes, HEAD_NBYTES))
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, SyntaxError, TokenError):  # What NumPy makes of text that is no Python.
        return "members that are no .npy"
    if dtype.hasobject:
        raise UnsafeSourceError(f"{title} holds pickled objects, which could run anything.", hint="Save plain arrays.", path=title)
    if fortran and len(shape) > 1:
        return "arrays in Fortran order"
    start = offset + stream.tell()
    if dtype.kind not in "biufc" or start + int(np.prod(shape, dtype=object)) * dtype.itemsize != offset + nbytes:
        return "arrays that are cut short, or of no numbers"
    return dtype, shape, start
