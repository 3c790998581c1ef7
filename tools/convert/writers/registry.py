"""What can be written: formats by name, each a module that makes a writer for one file."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.formats.naming.field_names import is_utf8
from streamload.images import named_as_mask
from streamload.schema import Field, Schema
from streamload.tools.console import clean, meant
from streamload.tools.convert.writers.annotation_limits import annotation_not_held

FORMATS = {"hdf5": ".h5", "parquet": ".parquet", "npy": ".npy", "npz": ".npz", "arrow": ".arrow"}
"""Names of formats, and how their files are called."""
SUFFIXES = {
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".he5": "hdf5",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npy": "npy",
    ".npz": "npz",
    ".arrow": "arrow",
    ".feather": "arrow",
}
CODECS = {
    "hdf5": ("none", "gzip", "zstd"),
    "parquet": ("none", "zstd", "gzip", "snappy"),
    "npy": ("none",),
    "npz": ("none",),
    "arrow": ("none",),
}
STORES = ("raw", "jpeg", "png", "keep")
TABLES = ("arrow", "parquet")
MOST_VALUE_NBYTES = 2**31 - 1
"""Of one value of fixed size in a table."""
MOST_CHUNK_NBYTES = 2**32 - 1
"""Of one chunk in HDF5."""
CODED_NBYTES = 64
"""Fields with smaller records, such as labels, are never compressed or chunked: they are read whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteOptions:
    """How files of a format are written."""

    format: str
    codec: str
    level: int | None
    """Of the codec; None for its own default."""
    chunk_records: int | None
    """Records of a chunk, or of a row group; None where the format chooses."""
    store: str = "raw"
    """What is kept of images: "raw" pixels, "jpeg" or "png" of them, or, with "keep", the bytes that the source holds."""
    quality: int | None = None
    """Of JPEG, 1 to 100, or how hard PNG is packed, 1 to 9; None for the usual."""
    values_only: bool = False
    """Whether names of classes and attributes are left out."""
    masks: Sequence[str] | None = None
    """Fields of images whose pixels are numbers, which JPEG would mix: stored as PNG. None: those whose names say so."""

    def is_mask(self, name: str) -> bool:
        """Whether a field of images holds masks."""
        return named_as_mask(name) if self.masks is None else name in self.masks


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotations:
    """What is said of fields besides their values, by field."""

    classes: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """What the numbers of labels mean."""
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Units and the like: texts, lists of texts, numbers."""

    def words(self, field: Field) -> list[str]:
        """The names of classes of a field, where its values can be their numbers."""
        return list(self.classes.get(field.name, ())) if field.dtype.kind in "iu" and not field.ragged else []


class Writer(Protocol):
    """One file under way. Whatever goes wrong, it is thrown away: nothing is written after an error."""

    def append(self, taken: Mapping[str, NDArray[Any]]) -> None:
        """Write records behind those that are there: every field, records along the first axis."""
        ...

    def settled(self) -> list[tuple[int, int]]:
        """Bytes [start, stop) of the file that were written past the page cache since this was last asked, and will stay."""
        ...

    def close(self) -> None:
        """Finish the file, and make it last. All its records have been appended."""
        ...

    def abandon(self) -> None:
        """Let go of what is open, after an error: the file is thrown away."""
        ...


def write_options(*, name: str | None, path: str, codec: str, chunk_records: int | None, store: str = "raw") -> WriteOptions:
    """A style from what the user asked for: a format, or a path that says it."""
    guessed = SUFFIXES.get(os.path.splitext(path)[1].lower())
    suffix = os.path.splitext(path.rstrip(os.sep))[1].lower()
    if name is None and guessed is None and suffix[1:].isalpha():
        raise ConfigError(
            f"{path}: no format that is written has the ending {suffix}.",
            hint=f"{_meant_suffix(suffix)} For a folder of that name say what goes into it: --to hdf5.",
        )
    format_name = name or guessed or "hdf5"
    if format_name not in FORMATS:
        raise ConfigError(f"--to {format_name} is not known.", hint=meant(format_name, FORMATS))
    if name and guessed and guessed != name:
        raise ConfigError(f"{path} is named like {guessed}, and --to says {name}.", hint="Make them agree, or leave --to out.")
    kind, _, level = codec.partition(":")
    if kind not in CODECS[format_name]:
        raise ConfigError(f"--codec {kind} is not written to {format_name} files.", hint=meant(kind, CODECS[format_name]))
    if level and not (level.isdecimal() and 0 < int(level) <= 22 and kind in ("gzip", "zstd") and (kind != "gzip" or int(level) <= 9)):
        raise ConfigError(f"--codec {codec} has a level that {kind} does not.", hint="gzip knows 1 to 9, zstd 1 to 22: gzip:4.")
    if chunk_records is not None and chunk_records < 1:
        raise ConfigError(f"--chunk-records {chunk_records} holds nothing.", hint="Give at least 1.")
    if chunk_records is not None and format_name in ("npy", "npz"):
        raise ConfigError(f"--chunk-records means nothing in {format_name} files, which have no chunks.", hint="Leave it out.")
    kept, quality = _store_of(store, format_name)
    if kept != "raw" and kind != "none":
        raise ConfigError(f"--codec {kind} would pack what --store {kept} has packed already.", hint="Leave --codec out.")
    return WriteOptions(
        format=format_name, codec=kind, level=int(level) if level else None, chunk_records=chunk_records, store=kept, quality=quality
    )


def _meant_suffix(suffix: str) -> str:
    hint = meant(suffix, SUFFIXES)
    return hint if hint.startswith("Did") else "Name DST .h5, .parquet, .arrow, .npy or .npz."


def _store_of(store: str, format_name: str) -> tuple[str, int | None]:
    """What --store says: "jpeg", or "jpeg:95"."""
    kind, _, quality = store.partition(":")
    if kind not in STORES:
        raise ConfigError(f"--store {kind} is not known.", hint=meant(kind, STORES))
    if kind != "raw" and format_name != "parquet":
        raise ConfigError(f"--store {kind} is written to Parquet only, not to {format_name}.", hint="Name DST like train.parquet.")
    most = {"jpeg": 100, "png": 9}.get(kind, 0)
    if quality and not (quality.isdecimal() and 1 <= int(quality) <= most):
        raise ConfigError(f"--store {store} has a quality that {kind} does not.", hint="JPEG knows 1 to 100, PNG 1 to 9: jpeg:95.")
    return kind, int(quality) if quality else None


def require_said(schema: Schema, title: str, style: WriteOptions, said: Annotations) -> None:
    """Raise ConfigError for names of classes and attributes that files of the format have no place for, before anything is written."""
    for one in () if style.values_only else schema:
        why = annotation_not_held(one.name, style.format, schema.names, said.words(one), said.attributes.get(one.name, {}))
        if why:
            raise ConfigError(
                f"{title}: '{one.name}' has {why}.",
                hint="Write Parquet or Arrow, which keep them, or --values-only, which writes values without what is said of them.",
            )


def require_held(schema: Schema, title: str, style: WriteOptions) -> None:
    """Raise ConfigError for a field that files of the format cannot hold, before anything is written."""
    found = [(one, why) for one in schema if (why := _not_held(one, style.format, schema.names))]
    if not found:
        return
    lacking, why = found[0]
    others = [one.name for one in schema if one.name not in {lost.name for lost, _ in found}]
    without = f", or choose --fields {','.join(others)}" if others else ""
    instead = "Write HDF5, which can" if style.format in TABLES else "Write Parquet or Arrow, which can"
    instead = instead if is_utf8(lacking.name) else "Rename it in the source"
    raise ConfigError(f"{title}: '{clean(lacking.name)}' {why}.", hint=f"{instead}{without}.")


def require_chunks(schema: Schema, title: str, style: WriteOptions, records: int) -> None:
    """Raise ConfigError for chunks of a file of so many records that are larger than HDF5 has them."""
    chunked = style.format == "hdf5" and (style.codec != "none" or style.chunk_records is not None)
    for one in schema if chunked else ():
        nbytes = min(style.chunk_records or 1, records) * one.nbytes
        if not one.ragged and nbytes > MOST_CHUNK_NBYTES:
            raise ConfigError(
                f"{title}: chunks of '{one.name}' would have {nbytes:,} bytes, and HDF5 has them up to {MOST_CHUNK_NBYTES:,}.",
                hint="Give a smaller --chunk-records." if one.nbytes <= MOST_CHUNK_NBYTES else "Leave --codec and --chunk-records out.",
            )


def _not_held(one: Field, format_name: str, names: Sequence[str]) -> str:
    """Why files of a format cannot hold a field; "" where they can."""
    if not is_utf8(one.name):
        return "has a name that is not UTF-8, and files of no format hold that"
    if "\0" in one.name and format_name in ("hdf5", "npz"):
        return f"has a name with a zero byte in it, where names in {FORMATS[format_name]} files end"
    if one.ragged and format_name in ("npy", "npz"):
        return f"holds records of different lengths ({one}), and .{format_name} files cannot hold that"
    if format_name in TABLES and one.nbytes > MOST_VALUE_NBYTES:
        return f"has records of {one.nbytes:,} bytes, and values of tables have up to {MOST_VALUE_NBYTES:,}"
    if format_name == "npy" and not one.name and len(names) > 1:
        return "has no name, as every field of a structured .npy has"
    if format_name == "hdf5":
        from streamload.tools.convert.writers.hdf5_limits import name_not_held  # It loads h5py.

        if why := name_not_held(one.name, names):
            return why
    if one.ragged and not one.nbytes and format_name == "hdf5":
        return f"holds records of different lengths, and nothing else ({one}), and HDF5 files cannot hold that"
    return ""


def writer_of(path: str, schema: Schema, records: int, style: WriteOptions, said: Annotations | None = None) -> Writer:
    """A writer of one file with so many records; `said` is what is kept of fields besides.

    Raises ConfigError, before anything is created, for fields that the format cannot hold, and for what it has no place for.
    """
    require_held(schema, os.path.basename(path), style)
    require_chunks(schema, os.path.basename(path), style, records)
    require_said(schema, os.path.basename(path), style, said or Annotations())
    name = "hugging_face" if style.store != "raw" else style.format
    module = importlib.import_module(f"streamload.tools.convert.writers.{name}")
    return cast(Writer, module.writer(path, schema, records, style, said or Annotations()))
