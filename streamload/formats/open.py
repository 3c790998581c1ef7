"""From paths to a source: local files only, one format, whatever their names say."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Mapping
from typing import Any, cast

from streamload.errors import ConfigError, SchemaMismatchError, SourceChangedError
from streamload.formats import Format, no_paths, options_of, partitions, side_by_side
from streamload.formats.derived import joined
from streamload.formats.derived.by_file import one_each_file
from streamload.formats.derived.rows_of_pictures import refuse_rows
from streamload.formats.derived.single_numbers import as_numbers
from streamload.formats.found_files import FoundFiles, find_files, refuse_unknown
from streamload.formats.naming.field_names import Fields, natural_key
from streamload.formats.paths import Path, matching
from streamload.source import Source
from streamload.storage.file_table import is_forgotten


def open_source(
    path: Path | Iterable[Path] | Mapping[str, Path | Iterable[Path] | Source],
    fields: Fields | str | None = None,
    *,
    decode: Any = None,
    **options: Any,
) -> Source:
    """The records of one data file, of a list of files, of a folder, or of all files that match a pattern ("train-*.h5",
    "train-{000..146}.tar").

    Files with the same fields are one source, in the order given; those of a pattern in natural order (2 before 10). Only what describes
    the data is read, and fields that are small enough to be held in memory. `repr` of the source says what was found.

    `fields`: names, or {name to deliver: name in the file}; without it the fields are found. {"x": ["f0", "f1"]}, or the pattern
    {"x": "f*"}, puts columns of a table side by side in one field; "sample_*/image" is a pattern of groups in HDF5. Files that have other
    fields of the same records are joined: sl.open({"image": "x.npy", "label": "y.npy"}); sources may stand in place of paths.
    `decode`: for encoded images (JPEG, PNG, WebP, TIFF, BMP, GIF), a size such as (224, 224), a `Decode`, or these by field; False leaves
    bytes. By default images are decoded if those that are examined (up to 64) have one size, and stay bytes otherwise.

    Further options, each of the formats that have it (the error for another one lists those of a format):
    `record_axis`: the axis that counts records, of all fields or by field, in HDF5; None takes each dataset, or each file, for one record.
    `split`: "train", "test" ...: the files, folders or images of one split; False says that folders of images which are called so
    are classes. `labels`: a table with a row for each image of a folder.
    `scaled`: True unpacks values as netCDF and xarray do (HDF5, Zarr). `shapes`: {"image": (32, 32, 3)} where a file has bytes alone;
    {"tokens": (None,)} says that lists differ in length. `fill`: what stands for nulls and missing members, for all fields or by field.
    `on_damage`: "skip" leaves out what is damaged of tars and TFRecord files. `verify`: False skips the checksums of Parquet pages.

    A record of one element is delivered as one number, except in the field with the largest records.

    Raises ConfigError for an argument that cannot be right, and a SourceError that names the file otherwise.
    """
    no_paths.refuse_opened(path)
    if isinstance(path, Mapping):
        return _joined(cast("Mapping[str, Path | Iterable[Path] | Source]", path), fields, decode, options)
    files = find_files(path, options.get("split"))
    wanted = [fields] if isinstance(fields, str) else fields
    _refuse_nameless(wanted)
    settled = fields is not None or "record_axis" in options
    by_file = options.get("record_axis", 0) is None and "record_axis" not in options_of(files.format)
    done = {"record_axis"} if by_file else set[str]()
    asked = {name: value for name, value in options.items() if name not in (done | {"split"} if files.by_split else done)}
    refuse_unknown(asked, files.format)
    _refuse_stacked(wanted, files.format)
    partition_values = partitions.partitions(path, files.paths)
    stored_fields, partition_fields = partitions.split(wanted, partition_values)
    try:
        source = _planned(files, stored_fields, asked, by_file, decode)
    except SchemaMismatchError as error:
        hint = "" if settled else side_by_side.joining(files.paths, open_source)
        if not hint:
            raise
        raise SchemaMismatchError(error.message, hint=hint, **error.details) from error
    if not settled:
        refuse_rows(source)
    source = partitions.with_partitions(source, partition_values, partition_fields) if partition_fields else source
    source = source.replaced(omissions=[*source.omissions, *files.omissions]) if files.omissions else source
    return as_numbers(source, options.get("shapes") or ())


def _planned(files: FoundFiles, fields: Fields | None, options: dict[str, Any], by_file: bool, decode: Any) -> Source:
    """The source, its images decoded. What was kept of files and proves untrue as the first of them are read is found out anew."""
    while True:
        source = files.format.plan(files.paths, fields, **options)
        fingerprints = source.fingerprints
        try:
            source = _decoded(one_each_file(source) if by_file else source, decode)
        except SourceChangedError:
            if not is_forgotten(fingerprints):
                raise
        if not is_forgotten(fingerprints):
            return source


def _refuse_nameless(fields: Fields | None) -> None:
    """Raise ConfigError where no field is asked for, or one by something else than a name."""
    if fields is not None and not len(fields):
        raise ConfigError("fields is empty: a record needs at least one field.", hint="Leave `fields` out to have them found.")
    for name in _names_in(fields):
        if not isinstance(name, str):
            raise ConfigError(f"fields names {name!r}: a field is named by text.", hint='Give fields=["image"] or fields={"x": "image"}.')


def _refuse_stacked(fields: Fields | None, chosen: Format) -> None:
    """Raise ConfigError where columns are to be put side by side in one field and the format has arrays of their own."""
    stacked = [name for name, one in fields.items() if isinstance(one, (list, tuple))] if isinstance(fields, Mapping) else []
    if stacked and not getattr(chosen, "STACKS", False):
        raise ConfigError(
            f"fields={{{stacked[0]!r}: [...]}} puts columns side by side, which are arrays of their own in {chosen.NAME} files.",
            hint="Name one array a field.",
        )


def _names_in(fields: Fields | None) -> list[object]:
    """Everything that names a field or a column."""
    if fields is None:
        return []
    if not isinstance(fields, Mapping):
        return list(fields)
    stored = [name for one in fields.values() for name in (one if isinstance(one, (list, tuple)) else (one,))]
    return [*fields, *stored]


def _decoded(source: Source, decode: Any) -> Source:
    """The source, its encoded images decoded as was asked for."""
    from streamload.images.image_fields import with_images

    return with_images(source, decode)


def _joined(paths: Mapping[str, Path | Iterable[Path] | Source], fields: object, decode: Any, options: dict[str, Any]) -> Source:
    """Fields from different files, one from each."""
    if fields is not None or set(options) - {"record_axis"} or not paths:
        raise ConfigError(
            "Files that are joined by record are given as {field: path}, and nothing else.",
            hint='Leave fields= and the options out, or give a source: sl.open({"x": sl.open("x.npz", fields=["x"]), "y": "y.npy"}).',
        )
    wishes: Mapping[str, Any] = decode if isinstance(decode, Mapping) else dict.fromkeys(paths, decode)
    unknown = next((name for name in wishes if name not in paths), None)
    if unknown is not None:
        raise ConfigError(f"decode names {unknown!r}, which is no field.", hint=f"The fields are {', '.join(map(repr, paths))}.")
    _refuse_unpaired({name: one for name, one in paths.items() if isinstance(one, str)})
    sources: dict[str, Source] = {}
    unknown_axes: list[ConfigError] = []
    for name, one in paths.items():
        wish = wishes.get(name)
        if not isinstance(one, Source):
            sources[name] = _part(one, wish, options, unknown_axes)
        else:
            sources[name] = one if wish is None else _decoded(one, wish)
    _refuse_unknown_axes(unknown_axes, sum(not isinstance(one, Source) for one in paths.values()))
    return as_numbers(joined.join(sources))


def _refuse_unknown_axes(unknown: list[ConfigError], count: int) -> None:
    """Raise ConfigError where record_axis names what is in none of so many files; `unknown` are their own errors."""
    if not unknown or len(unknown) < count:
        return
    first, *others = (error.details["unknown_axes"] for error in unknown)
    nowhere = next((name for name in first if all(name in names for names in others)), None)
    if nowhere is not None:
        raise ConfigError(f"record_axis names {nowhere!r}, which is in none of the {count:,} files.", hint=unknown[0].hint)


def _part(path: Path | Iterable[Path], decode: Any, options: dict[str, Any], unknown: list[ConfigError]) -> Source:
    """One of the files that are joined; what record_axis names that is in others is noted as `unknown`."""
    try:
        return open_source(path, decode=decode, **options)
    except ConfigError as error:
        names = error.details.get("unknown_axes", ())
        if not names:
            raise
        unknown.append(error)
        axes = {name: axis for name, axis in options["record_axis"].items() if name not in names}
        return open_source(path, decode=decode, record_axis=axes)


def _refuse_unpaired(patterns: Mapping[str, str]) -> None:
    """Raise SchemaMismatchError where patterns of files with one star each lead to files that do not pair by what it stands for."""
    stars: dict[str, dict[str, str]] = {}
    for name, pattern in patterns.items():
        folder, _, last = os.path.expanduser(pattern).rpartition(os.sep)
        before, star, after = last.partition("*")
        if star and not glob.has_magic(folder + before + after) and not os.path.lexists(pattern):
            found = (os.path.basename(one) for one in matching(no_paths.local(pattern), None, {}))
            stars[name] = {one[len(before) : len(one) - len(after)]: one for one in found}
    for (name, here), (other, there) in itertools.pairwise(stars.items()):
        alone = sorted((set(here) ^ set(there)), key=natural_key)
        if alone:
            has, lacks = (name, other) if alone[0] in here else (other, name)
            raise SchemaMismatchError(
                f"Files to be joined pair by what the star stands for: for {alone[0]!r} there is one of '{has}' and none of '{lacks}' "
                f"({len(alone):,} such names in all).",
                hint="Put the missing files there, or give lists of files that belong together.",
                path=patterns[lacks],
            )
