"""NumPy's own files, .npy and .npz: records read by offset; nothing in them is ever unpickled."""

from __future__ import annotations

import ast
import io
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from streamload.errors import (
    ChecksumError,
    ConfigError,
    CorruptDataError,
    SourceError,
    StreamloadError,
    UnsafeSourceError,
    UnsupportedFeatureError,
    damaged,
)
from streamload.formats.attributes import attributes_from_json
from streamload.formats.naming.field_names import Fields
from streamload.formats.npy.columns import NpyArray, column_of, decoded
from streamload.formats.npy.format import MAGIC, NAME, ZIP
from streamload.formats.split_choice import refuse_splits_beside
from streamload.formats.tables.fields import FileColumn, Table, WantedColumns
from streamload.formats.tables.table import RESIDENT_NBYTES, assemble
from streamload.schema import TEXT
from streamload.sizes import format_nbytes
from streamload.source import Source
from streamload.storage.files import Fingerprint, fingerprint, recheck, regular_file

MOST_HEADER_NBYTES = 10_000
"""Of the text that describes an array; NumPy's own limit for files that are not trusted."""
MOST_MEMBERS = 10_000
"""Arrays in one .npz."""
CLASSES, ATTRIBUTES = ".classes", ".attributes"
"""Arrays of texts in an .npz that are called like another one and so: the names of its classes, and as JSON what else is said of it."""
ARE_FIELDS = b"arrays are fields of the same records"
"""The comment of an archive whose arrays lie beside each other whatever they are called: a conversion writes it."""
MOST_SAID_NBYTES = 16 * 1024**2
"""Of either."""
SMALL_SHARE = 1 / 16
"""Arrays of other lengths are left out with a note where they hold no more of the bytes: a mean, names of classes."""
MOST_VERIFIED_NBYTES = 1024**3
"""A stored member of an .npz is read whole when it is planned, to verify its checksum, unless it is larger: a second or two,
once for as long as the file stays as it is."""


def plan_files(paths: Sequence[str], fields: Fields | None) -> Source:
    """The source, planned anew."""
    name = _array_name(paths)
    wanted = WantedColumns(fields)
    tables = [_table(path, name, wanted) for path in paths]
    fingerprints = [table.fingerprint for table in tables]
    return assemble(NAME, tables, fields, lambda field, parts, stands: column_of(field, parts, fingerprints))


def _array_name(paths: Sequence[str]) -> str:
    """What the array of an .npy is called: its file, without what tells several files apart."""
    stems = [re.sub(r"\.npy$", "", os.path.basename(path)) for path in paths]
    common = stems[0]
    if len(set(stems)) > 1:
        first, last = min(stems), max(stems)  # What these two share at their beginning, all do.
        shared = next((k for k, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
        common = first[:shared]
        common = re.sub(r"[-_.]*(part|shard)?[-_.]*[0-9]*$", "", common)
    return common or "array"


def _table(path: str, name: str, wanted: WantedColumns) -> Table:
    was = fingerprint(path)
    aside: dict[str, str] = {}
    try:
        with open(was.path, "rb", opener=regular_file) as file:
            head = file.read(len(MAGIC))
            file.seek(0)
            if head == MAGIC:
                records, columns = _array(file, was.nbytes, path, name, aside)
            else:
                records, columns = _archive(file, was, path, wanted, aside)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions and the disk.", path=path) from error
    recheck(was)
    return Table(path=path, fingerprint=was, records=records, columns=columns, aside=aside, refused={})


def _header(file: BinaryIO, path: str, member: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype, read from the header alone; leaves the file at the first byte of data."""
    where = path if not member else f"{path}: member '{member}'"
    try:
        version = npy_format.read_magic(file)
        nbytes = struct.unpack("<H" if version == (1, 0) else "<I", file.read(2 if version == (1, 0) else 4))[0]
        if version not in ((1, 0), (2, 0), (3, 0)) or nbytes > MOST_HEADER_NBYTES:
            raise ValueError(f"version {version}, a header of {nbytes:,} bytes")
        text = file.read(nbytes)
        if len(text) < nbytes:
            raise ValueError("the header is cut short")
        if not text.endswith(b"\n"):
            raise ValueError("the header does not end with its line")
        found = ast.literal_eval(text.decode("utf-8" if version == (3, 0) else "latin1").strip())
        if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
            raise ValueError("the header does not name descr, fortran_order and shape")
        shape, fortran = found["shape"], found["fortran_order"]
        dtype = npy_format.descr_to_dtype(found["descr"])
        if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape) or type(fortran) is not bool:
            raise ValueError(f"shape {shape!r}, fortran_order {fortran!r}")
    except (ValueError, SyntaxError, TypeError, KeyError, struct.error, RecursionError, MemoryError, UnicodeDecodeError) as error:
        raise damaged(f"{where} has no header that NumPy could have written: {error}.", path=path) from error
    if dtype.hasobject:
        raise UnsafeSourceError(
            f"{where} holds Python objects (dtype {dtype}), stored as pickles, which can run any program: they are never loaded.",
            hint="Load it where you trust it, and save arrays of numbers: np.save(path, np.stack(list(objects))).",
            path=path,
        )
    if not shape:
        raise ConfigError(f"{where} holds a single value, no axis that counts records.", hint="Save arrays of records.", path=path)
    return shape, fortran, dtype


def _array(file: BinaryIO, stop: int, path: str, name: str, aside: dict[str, str], member: str = "") -> tuple[int, dict[str, FileColumn]]:
    """The fields of one array whose data ends by byte `stop`; members of a structure that are no fields are put `aside`."""
    shape, fortran, dtype = _header(file, path, member)
    offset = file.tell()
    expected = math.prod(shape) * dtype.itemsize
    if expected > stop - offset:
        where = path if not member else f"{path}: member '{member}'"
        raise damaged(
            f"{where} claims {shape} {dtype}, {format_nbytes(expected)}, and holds {format_nbytes(max(0, stop - offset))} of data.",
            path=path,
        )
    fortran = fortran and len(shape) > 1 and math.prod(shape[1:]) > 1
    stride = dtype.itemsize * math.prod(shape[1:])
    columns: dict[str, FileColumn] = {}
    for names, leaf, at in _leaves(dtype):
        element, inner = leaf.subdtype if leaf.subdtype is not None else (leaf, ())
        key = ".".join((*((name,) if member or not names else ()), *names))
        apart = bool(names) and math.prod(shape[1:]) > 1
        record_shape = (() if names else shape[1:]) + tuple(inner)
        why = "holds several structures a record" if apart or (names and fortran) else _unreadable(leaf, element, record_shape)
        if why:
            aside[key] = why
            continue
        opaque = element.itemsize if element.kind == "V" else 0
        if opaque:
            record_shape, element = (*record_shape, opaque), np.dtype(np.uint8)
        array = NpyArray(
            offset=offset + at, stride=stride, dtype=element, fortran=fortran, shape=record_shape, values=None, opaque_nbytes=opaque
        )
        columns[key] = _stored(array, leaf)
    if not columns and not member:
        listed = "; ".join(f"'{key}' {why}" for key, why in aside.items())
        raise UnsupportedFeatureError(
            f"{path}: {listed}, which cannot be read as a field.",
            hint="Save numbers, booleans, text or fixed-size bytes, one structure a record.",
            path=path,
            dataset=next(iter(aside)),
        )
    return shape[0], columns  # pyright: ignore[reportGeneralTypeIssues]


def _unreadable(leaf: np.dtype, element: np.dtype, shape: tuple[int, ...]) -> str:
    """Why an array cannot be a field; "" where it can."""
    if element.kind == "U" and shape:
        return f"holds several texts a record, of dtype {leaf}"
    return "" if element.kind in "biufcSMmUV" and element.itemsize else f"holds dtype {leaf}"


def _stored(array: NpyArray, leaf: np.dtype) -> FileColumn:
    """The column of an array."""
    element, shape = array.dtype, array.shape
    if element.kind == "U":
        mean = float(element.itemsize // 4)
        return FileColumn(dtype=np.dtype(np.uint8), shape=(), kind=f"text, dtype {element.str}", detail=array, ragged=TEXT, mean=mean)
    kind = f"{element.newbyteorder('=') if element.isnative else element.str} {shape}"
    note = f"holds opaque bytes ({leaf.str}), delivered as they are" if leaf.base.kind == "V" else ""
    return FileColumn(dtype=element.newbyteorder("="), shape=shape, kind=kind, detail=array, note=note)


def _leaves(dtype: np.dtype, names: tuple[str, ...] = (), at: int = 0) -> list[tuple[tuple[str, ...], np.dtype, int]]:
    """The members of a structured dtype down to those that are plain: names, dtype, offset."""
    if dtype.names is None:
        return [(names, dtype, at)]
    found: list[tuple[tuple[str, ...], np.dtype, int]] = []
    for name in dtype.names:
        inner, offset = dtype.fields[name][:2]  # pyright: ignore[reportOptionalSubscript, reportArgumentType]
        found += _leaves(inner, (*names, name), at + offset)
    return found


def _archive(
    file: BinaryIO, was: Fingerprint, path: str, wanted: WantedColumns, aside: dict[str, str]
) -> tuple[int, dict[str, FileColumn]]:
    """The arrays of an .npz that are wanted: stored members by offset, compressed ones decoded where they are small."""
    columns: dict[str, dict[str, FileColumn]] = {}
    lengths: dict[str, int] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            members = {re.sub(r"\.npy$", "", member.filename): member for member in archive.infolist()}
            if len(members) > MOST_MEMBERS:
                raise zipfile.BadZipFile(f"{len(members):,} members, more than {MOST_MEMBERS:,}")
            are_fields = archive.comment == ARE_FIELDS
            words = {name: found for name in members if (found := _class_names(archive, members.get(f"{name}{CLASSES}")))}
            said = {name: found for name in members if (found := _attributes(archive, members.get(f"{name}{ATTRIBUTES}")))}
            for name in (*(f"{name}{CLASSES}" for name in words), *(f"{name}{ATTRIBUTES}" for name in said)):
                if not wanted.by_name(name):
                    del members[name]
            for name, member in members.items():
                if not wanted.within(name, members):
                    aside[name] = "was not asked for"
                    continue
                with _putting_aside(name, members, wanted, aside):
                    records, columns[name] = _member(file, archive, member, was, path, name, aside)
                    if columns[name]:
                        lengths[name] = records
    except ConfigError:
        raise
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, struct.error, ValueError) as error:
        kind = ChecksumError if "CRC" in str(error) else CorruptDataError
        raise damaged(f"{path} is no whole .npz: {error}.", kind=kind, path=path) from error
    chosen = _of_one_length(lengths, columns, path, aside, guess=wanted.all)
    held = {key: one for name, found in columns.items() if lengths.get(name) == chosen for key, one in found.items()}
    held = {key: replace(one, classes=words[key]) if key in words and one.dtype.kind in "iu" else one for key, one in held.items()}
    if wanted.all and not are_fields:
        refuse_splits_beside(path, {key: (one.dtype, one.shape) for key, one in held.items()}, chosen or 0)
    return chosen or 0, {key: replace(one, attributes=said[key]) if key in said else one for key, one in held.items()}


@contextmanager
def _putting_aside(name: str, members: Iterable[str], wanted: WantedColumns, aside: dict[str, str]) -> Generator[None]:
    """Put a member aside that proves to hold no field, or raise what it is where it was asked for, or could be read in other ways."""
    try:
        yield
    except ConfigError as error:  # A single value.
        if not wanted.all:
            raise _or_without(error, [one for one in members if one != name]) from error
        aside[name] = "holds a single value, no axis that counts records"
    except UnsafeSourceError:
        if not wanted.all:
            raise
        aside[name] = "holds Python objects, stored as pickles, which are never loaded"
    except UnsupportedFeatureError as error:
        raise _or_without(error, [one for one in members if one != name]) from error


def _class_names(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> tuple[str, ...]:
    """The names of classes in an array of texts that is called like another and ".classes"; () where there is none."""
    found = _texts(archive, member)
    return tuple(found.tolist()) if found is not None and found.ndim == 1 else ()


def _attributes(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> dict[str, Any]:
    """What a single text says that is called like an array and ".attributes"; {} where there is none, or nonsense."""
    found = _texts(archive, member)
    try:
        return attributes_from_json(str(found)) if found is not None and found.ndim == 0 else {}
    except ValueError:
        return {}


def _texts(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> NDArray[np.str_] | None:
    if member is None or member.file_size > MOST_SAID_NBYTES:
        return None
    try:
        found = np.load(io.BytesIO(archive.read(member)), allow_pickle=False)
    except ValueError:
        return None
    return found if found.dtype.kind == "U" else None


def _of_one_length(
    lengths: Mapping[str, int], columns: Mapping[str, Mapping[str, FileColumn]], path: str, aside: dict[str, str], *, guess: bool
) -> int | None:
    """How many records there are: those of the arrays with the most bytes, where it is plain which these are.

    Arrays of other lengths are put aside. Raises ConfigError where they hold more than a small share of the bytes, or were
    all asked for.
    """
    nbytes: dict[int, float] = {}
    for name, records in lengths.items():
        nbytes[records] = nbytes.get(records, 0.0) + records * sum(float(one.record_nbytes) for one in columns[name].values())
    chosen = max(nbytes, key=lambda records: nbytes[records], default=None)
    others = sum(size for records, size in nbytes.items() if records != chosen)
    if chosen is not None and len(nbytes) > 1 and (not guess or others > SMALL_SHARE * nbytes[chosen]):
        listed = ", ".join(f"{name}: {records:,}" for name, records in lengths.items())
        alike = [[name for name in lengths if lengths[name] == count] for count in dict.fromkeys(lengths.values())]
        raise ConfigError(
            f"{path}: its arrays differ in their number of records ({listed}).",
            hint=f"Choose those of one length: {' or '.join(f'fields={names}' for names in alike[:4])}.",
            path=path,
        )
    aside.update({name: f"has {records:,} records, not {chosen:,}" for name, records in lengths.items() if records != chosen})
    return chosen


def _or_without(error: StreamloadError, others: list[str]) -> StreamloadError:
    """The error of one member, with the way to read the others."""
    more = f" Or leave it out: fields={others[:12]}." if others else ""
    return type(error)(error.message, hint=error.hint + more, **error.details)


def _member(
    file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo, was: Fingerprint, path: str, name: str, aside: dict[str, str]
) -> tuple[int, dict[str, FileColumn]]:
    if member.flag_bits & 1:
        raise UnsupportedFeatureError(f"{path}: member '{name}' is encrypted.", hint="Save it without a password.", path=path, dataset=name)
    if member.compress_type == zipfile.ZIP_STORED:
        file.seek(member.header_offset)
        local = file.read(30)
        if local[:4] != ZIP:
            raise zipfile.BadZipFile(f"member '{name}' does not begin where the index says")
        named, more = struct.unpack("<HH", local[26:30])
        if file.read(named) != member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437"):
            raise zipfile.BadZipFile(f"member '{name}' has another name before its data")
        start = member.header_offset + 30 + named + more
        file.seek(start)
        if start + member.compress_size > was.nbytes or member.compress_size != member.file_size:
            raise zipfile.BadZipFile(f"member '{name}' is cut short")
        note = _verified(file, member, name, path)
        file.seek(start)
        records, found = _array(file, start + member.file_size, path, name, aside, member=name)
        return records, {key: replace(stored, note="; ".join(filter(None, (stored.note, note)))) for key, stored in found.items()}
    if member.file_size > RESIDENT_NBYTES:
        raise UnsupportedFeatureError(
            f"{path}: member '{name}' is compressed as one stream of {format_nbytes(member.file_size)}; "
            f"up to {format_nbytes(RESIDENT_NBYTES)} are decoded at open.",
            hint="Save it uncompressed (np.savez), or as HDF5.",
            path=path,
            dataset=name,
        )
    data = archive.read(member)
    records, found = _array(io.BytesIO(data), len(data), path, name, aside, member=name)
    return records, {key: decoded(stored, data, records) for key, stored in found.items()}


def _verified(file: BinaryIO, member: zipfile.ZipInfo, name: str, path: str) -> str:
    """Read a stored member that begins where the file stands, and compare its checksum; what is to be said where it is too large."""
    left, found = member.file_size, 0
    if left > MOST_VERIFIED_NBYTES:
        most = format_nbytes(MOST_VERIFIED_NBYTES)
        return f"has {format_nbytes(left)}, which are not verified against the checksum of the archive (up to {most} are)"
    while left:
        piece = file.read(min(left, 1 << 22))
        if not piece:
            raise zipfile.BadZipFile(f"member '{name}' is cut short")
        found, left = zlib.crc32(piece, found), left - len(piece)
    if found != member.CRC:
        raise damaged(
            f"{path}: member '{name}' has the checksum {found:08x}, and the archive says {member.CRC:08x}.",
            path=path,
            dataset=name,
            kind=ChecksumError,
        )
    return ""
