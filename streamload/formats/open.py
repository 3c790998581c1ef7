"""From paths to a source: local files only, one format, whatever their names say."""

from __future__ import annotations

import glob
import inspect
import itertools
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from streamload.errors import ConfigError, SchemaMismatchError, SourceChangedError, SourceError, StreamloadError
from streamload.formats import Format, folder_format_of, format_of, odd_files, partitions, side_by_side, unrecognized
from streamload.formats.derived import joined
from streamload.formats.derived.by_file import one_each_file
from streamload.formats.derived.rows_of_pictures import refuse_rows
from streamload.formats.derived.single_numbers import as_numbers
from streamload.formats.naming.field_names import Fields, natural_key
from streamload.formats.naming.split_words import alike, split_words
from streamload.formats.split_choice import by_split
from streamload.omissions import Omission
from streamload.source import Source
from streamload.storage.file_table import is_forgotten
from streamload.storage.files import fingerprint

_COPIES = {
    "s3": "Copy the file to a local disk first: `aws s3 cp {url} .`.",
    "gs": "Copy the file to a local disk first: `gcloud storage cp {url} .`.",
    "http": "Copy the file to a local disk first: `curl -LO {url}`.",
    "https": "Copy the file to a local disk first: `curl -LO {url}`.",
    "file": "Give its path alone: {path}.",
}
"""What brings a file here, by the scheme of its URL."""
_PATHS = "Give a path, a list of paths, or a pattern such as train-*.h5."

Path = str | os.PathLike[str]


def open_source(
    path: Path | Iterable[Path] | Mapping[str, Path | Iterable[Path] | Source],
    fields: Fields | str | None = None,
    *,
    decode: Any = None,
    **options: Any,
) -> Source:
    """The records of one data file, of a list of files, of a folder, or of all files that match a pattern ("train-*.h5").

    Several files of one schema are one source, in the order given; the files of a pattern are taken in natural order
    (2 before 10). `fields` chooses: names as they stand in the file, or {name to deliver: name in the file}; without
    it the fields are found, and `repr` of the source says how. Columns of a table can be put side by side in one field,
    {"x": ["f0", "f1"]}, or, by a pattern and in natural order, {"x": "f*"}. Nothing is read but what describes the data, and fields
    small enough to be held in memory. Fields that lie in files of their own are joined by record:
    {"image": "x.npy", "label": "y.npy"}, or {"image": sl.open("x.parquet", fields=["image"]), "label": "y.npy"}.

    What a record is can be said: `record_axis=None` takes each file for one record, and in HDF5 each dataset; there `record_axis`
    may be the number of an axis, of all fields or by field, names in `fields` may be patterns of groups ("sample_*/image"), and
    `scaled=True` unpacks netCDF's values, and Zarr's. A record of one element is delivered as one number, but of the field with the
    largest records.

    `decode` says what becomes of fields of encoded images (JPEG, PNG, WebP, TIFF, BMP, GIF): a size such as (224, 224) or a
    `Decode`, or these by field, {"image": (224, 224)}; False leaves bytes. Without it, images are decoded where those that are
    looked at (up to 64) have one size, and stay bytes, with a note in `repr`, where they differ.

    `split="train"` chooses the files of a folder that are of one split, where their names, or those of its folders, say several.

    Raises ConfigError for an argument that cannot be right, and a SourceError that names the file otherwise.
    """
    _refuse_opened(path)
    if isinstance(path, Mapping):
        return _joined(cast("Mapping[str, Path | Iterable[Path] | Source]", path), fields, decode, options)
    known: dict[str, Format] = {}
    paths = _expanded(path, options.get("split"), known)
    wanted = [fields] if isinstance(fields, str) else fields
    _refuse_nameless(wanted)
    one_path = os.path.expanduser(path) if isinstance(path, (str, os.PathLike)) else None
    of_folder = one_path is not None and paths != [one_path] and os.path.isdir(one_path)
    paths, odd = _without_odd_files(paths, known, one_path) if of_folder and one_path else (paths, [])
    chosen = _format_of_all(paths, known, asked=os.fspath(path) if isinstance(path, (str, os.PathLike)) else None)
    by_file = "record_axis" in options and options["record_axis"] is None and "record_axis" not in _options_of(chosen)
    if by_file:
        options = {name: value for name, value in options.items() if name != "record_axis"}
    if of_folder and not _choose_inside(paths):
        options = {name: value for name, value in options.items() if name != "split"}  # It has chosen the files.
    _refuse_unknown(options, chosen)
    stacked = [name for name, one in wanted.items() if isinstance(one, (list, tuple))] if isinstance(wanted, Mapping) else []
    if stacked and not getattr(chosen, "STACKS", False):
        raise ConfigError(
            f"fields={{{stacked[0]!r}: [...]}} puts columns side by side, which are arrays of their own in {chosen.NAME} files.",
            hint="Name one array a field.",
        )
    partition_values = partitions.partitions(path, paths)
    stored_fields, partition_fields = partitions.split(wanted, partition_values)
    settled = fields is not None or "record_axis" in options or by_file
    try:
        source = _planned(chosen, paths, stored_fields, options, by_file, decode)
    except SchemaMismatchError as error:
        hint = "" if settled else side_by_side.joining(paths, open_source)
        if not hint:
            raise
        raise SchemaMismatchError(error.message, hint=hint, **error.details) from error
    if not settled:
        refuse_rows(source)
    source = partitions.with_partitions(source, partition_values, partition_fields) if partition_fields else source
    source = source.replaced(omissions=[*source.omissions, *odd]) if odd else source
    return as_numbers(source, options.get("shapes") or ())


def _planned(chosen: Format, paths: Sequence[str], fields: Fields | None, options: dict[str, Any], by_file: bool, decode: Any) -> Source:
    """The source, its images decoded. What was kept of files and proves untrue as the first of them are read is found out anew."""
    while True:
        source = chosen.plan(paths, fields, **options)
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


def _format_of_all(paths: Sequence[str], known: Mapping[str, Format], *, asked: str | None) -> Format:
    """The format of all files. Raises SchemaMismatchError where they are of several; `asked` is what a user gave for them all.

    Those of some paths are known: to find out takes a look at all names in a folder, or at the beginning of a file.
    """
    chosen = known.get(paths[0]) or _format_at(paths[0], asked=asked or paths[0])
    for path in paths[1:]:
        found = known.get(path) or _format_at(path, asked=asked or path)
        if found.NAME != chosen.NAME:
            raise SchemaMismatchError(
                f"{paths[0]} is {chosen.NAME}, {path} is {found.NAME}: the files of a source are of one format.",
                hint="Open them as two sources.",
                path=path,
            )
    return chosen


def _without_odd_files(paths: Sequence[str], known: dict[str, Format], folder: str) -> tuple[list[str], list[Omission]]:
    """The files of a folder that are of a format, and those left out that are of none, where nobody takes those for records.

    All paths, where more would be left out than is taken, or where what is of no format is called as data is. `known` learns the
    formats of all that have one.
    """
    odd: list[tuple[str, str]] = []
    for path in paths:
        if os.path.isdir(path) and path not in known:
            known[path] = _format_at(path, asked=path)
        if path in known:
            continue
        was = fingerprint(path)
        head, found = _recognised(was.path, path)
        if found is not None:
            known[path] = found
        else:
            odd.append((path, unrecognized.kind_of(head, was.nbytes)))
    taken, beside = [path for path in paths if path in known], [path for path, _ in odd]
    if not odd or odd_files.outweigh(beside, taken) or not all(odd_files.is_odd(path, taken) for path in beside):
        return list(paths), []
    return taken, odd_files.left_out(folder, odd)


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
    for name, one in paths.items():
        wish = wishes.get(name)
        if not isinstance(one, Source):
            sources[name] = open_source(one, decode=wish, **options)
        else:
            sources[name] = one if wish is None else _decoded(one, wish)
    return as_numbers(joined.join(sources))


def _refuse_unpaired(patterns: Mapping[str, str]) -> None:
    """Raise SchemaMismatchError where patterns of files with one star each lead to files that do not pair by what it stands for."""
    stars: dict[str, dict[str, str]] = {}
    for name, pattern in patterns.items():
        folder, _, last = os.path.expanduser(pattern).rpartition(os.sep)
        before, star, after = last.partition("*")
        if star and not glob.has_magic(folder + before + after) and not os.path.lexists(pattern):
            found = (os.path.basename(one) for one in _matching(pattern, None, {}))
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


def _options_of(chosen: Format) -> list[str]:
    """What may be said of files of a format, besides fields."""
    return [name for name, one in inspect.signature(chosen.plan).parameters.items() if one.kind is one.KEYWORD_ONLY]


def _refuse_unknown(options: dict[str, Any], chosen: Format) -> None:
    """Raise ConfigError for an option that the format does not have."""
    known = _options_of(chosen)
    for name in options:
        if name not in known:
            raise ConfigError(
                f"{name}= is no option of {chosen.NAME} files.",
                hint=f"{'It has ' + ', '.join(f'{one}=' for one in known) if known else 'It has none: leave it out'}.",
                option=name,
            )


def _format_at(name: str, *, asked: str) -> Format:
    """The format of a file, or of a folder that is one set of records, found by what was `asked`. Raises as `unrecognized` says."""
    folder = folder_format_of(name) if os.path.isdir(name) else None
    if folder is not None:
        return folder
    was = fingerprint(name)
    head, found = _recognised(was.path, name)
    if found is None:
        raise unrecognized.unrecognized(head, name, was.nbytes, asked=asked)
    return found


def _recognised(path: str, name: str) -> tuple[bytes, Format | None]:
    """The beginning of a file, and the format that it is of."""
    try:
        with open(path, "rb") as file:
            head = file.read(unrecognized.HEAD_NBYTES)
        return head, format_of(head, path)
    except OSError as error:
        if isinstance(error, StreamloadError):
            raise
        raise SourceError(f"{name} cannot be opened: {error.strerror}.", hint="Check its permissions.", path=name) from error


def _refuse_opened(path: object) -> None:
    """Raise ConfigError for what is no path but data, or an open file of another library: nothing of it is read."""
    kind = f"{type(path).__module__.partition('.')[0]}.{type(path).__name__}"
    file = getattr(path, "filename", None) or getattr(getattr(path, "file", None), "filename", None)
    if kind in ("h5py.File", "h5py.Group", "h5py.Dataset"):
        name = str(getattr(path, "name", None) or "").strip("/")
        inside = {"h5py.Dataset": f", fields=[{name!r}]", "h5py.Group": f", fields={{'NAME': '{name}/NAME'}}"}.get(kind, "")
        where = f"sl.open({file!r}{inside})" if file else f"sl.open(path{inside}) with the path of its file"
        raise ConfigError(f"This is a {kind}, where a path is wanted: workers open files themselves.", hint=f"Give it: {where}.")
    if isinstance(path, Source):
        raise ConfigError("This is a source already.", hint="Give it to sl.Loader; fields are chosen where it is opened.")
    if hasattr(path, "__array__") or hasattr(path, "__dataframe__"):
        raise ConfigError(
            f"This is a {kind}, where a path is wanted: what is in memory has no file that workers could read.",
            hint='Save it, np.save("x.npy", array), and give the path.',
        )


def _expanded(path: Path | Iterable[Path], split: Any, known: dict[str, Format]) -> list[str]:
    """All paths that are meant; `known` learns the formats of those that are datasets as a whole."""
    if isinstance(path, (str, bytes, os.PathLike)):
        paths = _matching(_local(path), split, known)
    else:
        try:
            listed = list(path)
        except TypeError as error:
            raise ConfigError(f"{path!r} is not a path.", hint=_PATHS) from error
        paths = [found for one in listed for found in _matching(_local(one), None, known)]
    if not paths:
        raise ConfigError("The list of paths is empty.", hint="Give at least one data file.")
    seen: set[str] = set()
    for name in paths:
        real = os.path.realpath(name)
        if real in seen:
            raise ConfigError(f"{name} is named twice: its records would be read twice in every epoch.", hint="Name each file once.")
        seen.add(real)
    return paths


def _local(path: object) -> str:
    name = os.fspath(path) if isinstance(path, (str, bytes, os.PathLike)) else None
    if isinstance(name, bytes):
        raise ConfigError(f"{path!r} is bytes, where a path is text.", hint="Decode it: os.fsdecode(path).")
    if name is None:
        raise ConfigError(f"{path!r} is not a path.", hint=_PATHS)
    return name


def _as_pattern(path: str) -> str:
    """A pattern in which folders that exist stand for themselves, whatever signs are in their names."""
    drive, rest = os.path.splitdrive(path)
    parts, there = rest.split(os.sep), drive
    for number, part in enumerate(parts[:-1]):
        name = os.path.join(there, part) if there else part or os.sep
        if glob.has_magic(part) and not os.path.isdir(name):
            return os.path.join(glob.escape(there), *parts[number:]) if there else os.path.join(*parts[number:])
        there = name
    return os.path.join(glob.escape(there), parts[-1]) if there else parts[-1]


def _matching(path: str, split: Any, known: dict[str, Format]) -> list[str]:
    """The file itself, or the files that a folder holds, of a split if one is given, or a pattern matches, in natural order."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        scheme = path.split("://", 1)[0]
        copy = _COPIES.get(scheme.lower(), "Copy the file to a local disk first.")
        copy = copy.format(url=shlex.quote(path), path=path.split("://", 1)[1])
        raise ConfigError(f"{path} is a URL ({scheme}): only local paths are read.", hint=copy)
    if "\x00" in path:
        raise ConfigError(f"{path!r} is not a path: it holds a zero byte.", hint="Check where the path comes from.")
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        if (found := folder_format_of(path)) is not None:
            known[path] = found
            return [path]
        return _datasets_in(path, split) or partitions.data_files(path, natural_key, split)
    if glob.has_magic(path) and not os.path.lexists(path):
        there = glob.glob(_as_pattern(path), recursive=True)
        found = sorted((name for name in there if not os.path.isdir(name) or folder_format_of(name) is not None), key=natural_key)
        if not found:
            raise ConfigError(
                f"No file matches {path}.",
                hint="Check the pattern and the folder it is relative to; a name that holds *, ? or [ is given through glob.escape(path).",
            )
        return [name for name in found if partitions.is_data(name)] or found
    return [path]


def _datasets_in(folder: str, split: Any) -> list[str]:
    """The folders in a folder, where it holds no data but folders that are datasets as a whole; [] where it holds anything else.

    Of a split, where one is given, that one. Raises ConfigError where names are those of several splits, or of none that is asked for.
    """
    try:
        with os.scandir(folder) as entries:
            held = sorted((entry for entry in entries if not entry.name.startswith((".", "_"))), key=lambda entry: natural_key(entry.name))
    except OSError:
        return []
    beside = [entry.path for entry in held if not entry.is_dir() and partitions.is_data(entry.path)]
    if not all(map(odd_files.is_odd, beside)):
        return []
    found = [entry.path for entry in held if entry.is_dir()]
    if not all(folder_format_of(one) is not None for one in found):
        return []
    words = split_words([os.path.basename(one) for one in found], asked=split is not None)
    splits = sorted({word for word in words if word})
    if split is not None and found and not _choose_inside(found):
        chosen = alike(split, splits)
        if len(chosen) != 1:
            raise ConfigError(
                f"{folder} has no split {split!r}.", hint=f"It has {', '.join(splits) or 'none'}.", path=folder, option="split"
            )
        return [one for one, word in zip(found, words, strict=True) if word == chosen[0]]
    if len(splits) > 1:
        raise ConfigError(
            f"{folder} holds datasets of several splits ({', '.join(splits)}), whose records would be mixed.",
            hint=f"Open one of them: {found[0]}.",
            path=folder,
        )
    return [*found, *beside] if found else []


def _choose_inside(folders: list[str]) -> bool:
    """Whether datasets, none of which is called as a split is, hold splits themselves, among which their format chooses."""
    kind = folder_format_of(folders[0]) if os.path.isdir(folders[0]) else None
    return kind is not None and "split" in _options_of(kind) and not any(by_split(folders))
