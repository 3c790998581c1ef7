"""What a table says of images: a row for each, by the name of its file."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, cast

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceError, UnsafeSourceError, damaged
from streamload.formats.image_folder.masks import mask_folders
from streamload.storage.files import regular_file

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "labels.csv", "labels.jsonl", "labels.parquet")
"""Tables that are taken where they lie in the folder."""
SEPARATED = (".csv", ".tsv")
"""Endings of tables of text."""
NAME_COLUMNS = ("file_name", "filename", "file", "image", "path", "name")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTable:
    """The rows of a table."""

    names: list[str]
    """Files relative to the folder, in the order of the table."""
    values: dict[str, list[Any]]
    """By column, a value for each row; None where there is none."""
    rows: list[int] | None = None
    """The row of each name, where the table has others besides; None where it has not."""


def table_in(folder: str) -> str | None:
    """The table that lies in a folder; None where there is none."""
    return next((path for name in TABLES if os.path.exists(path := os.path.join(folder, name))), None)


def table_of_labels(folder: str, labels: str | None) -> str | None:
    """The table that labels the images of a folder: the one that was given, or that lies there; None where masks or folders do."""
    if labels is not None or mask_folders(folder) is not None:
        return labels
    return table_in(folder)


def read_table(folder: str, table: str, images: Collection[str]) -> LabelTable:
    """The rows of a CSV, JSON-lines or Parquet file. Empty cells of CSV are no values.

    `images` are those in the folder, relative to it. A name without an ending is that of the only image that is called so. Raises
    CorruptDataError for what is no table, ConfigError where no column names files, UnsafeSourceError for
    files outside of the folder, SchemaMismatchError where rows name one file twice.
    """
    rows = read_rows(table)
    if not rows:
        return LabelTable(names=[], values={})
    columns = list(dict.fromkeys(name for row in rows for name in row if cast(object, name) is not None))  # None: cells beyond the header.
    whole = _by_stem(images)
    column = _column_of_names(rows, images, whole)
    if column is None:
        raise ConfigError(
            f"{table} has no column with names of files; it has {', '.join(rows[0])}.", hint=f"Call it {NAME_COLUMNS[0]}.", path=table
        )
    root = os.path.realpath(folder)
    names = [str(row.get(column)) for row in rows]
    for name in names:
        if "\0" in name:
            raise damaged(f"{table} names {name!r}, which no file can be called: it holds a zero byte.", path=table)
        real = os.path.realpath(os.path.join(root, name))
        if os.path.isabs(name) or not real.startswith(root + os.sep):
            raise UnsafeSourceError(f"{table} names {name!r}, which lies outside {folder}.", hint="Name files in the folder.", path=table)
    names = [_image_of(os.path.normpath(name), images, whole) for name in names]
    refuse_repeats(table, names)
    empty = ("",) if table.lower().endswith(SEPARATED) else ()
    values = {name: [None if row.get(name) in empty else row.get(name) for row in rows] for name in columns if name != column}
    return LabelTable(names=names, values=values)


def _by_stem(images: Iterable[str]) -> dict[str, str | None]:
    """The image that a name without its ending means; None where there are several."""
    found: dict[str, str | None] = {}
    for name in images:
        stem = os.path.splitext(name)[0]
        found[stem] = None if stem in found else name
    return found


def _image_of(name: str, images: Collection[str], whole: Mapping[str, str | None]) -> str:
    """The name of the image that is meant; what was said where there is none."""
    return name if name in images else whole.get(name) or name


def _column_of_names(rows: Sequence[Mapping[str, Any]], images: Collection[str], whole: Mapping[str, str | None]) -> str | None:
    """The column that names images: one that is called so, of which a value does, or else the only one of which every value does.

    Where there is none, a column that is called so; None where there is none of these either, or several could be meant.
    """

    def names_one(row: Mapping[str, Any], column: str) -> bool:
        name = row.get(column)
        return isinstance(name, str) and _image_of(os.path.normpath(name), images, whole) in images

    called = [name for name in NAME_COLUMNS if name in rows[0]]
    told = next((column for column in called if any(names_one(row, column) for row in rows)), None)
    if told is None:
        found = [column for column in rows[0] if all(names_one(row, column) for row in rows)]
        told = found[0] if len(found) == 1 else next(iter(called), None)
    return told


def table_of_split(table: str, root: str, path: str, images: Collection[str]) -> LabelTable:
    """The rows of a table that are for the images of `root`, the folder of a split of `path` or that itself.

    `images` are names relative to `root`, and so are those of the table; where it has none such, they may be relative to `path`,
    and rows of other splits among them: what these say still counts where texts are numbered, so that a class has one number in
    all splits. Raises as `read_table` does, and ConfigError where no image is named at all.
    """
    read = read_table(root, table, images)
    if root != path and not any(name in images for name in read.names):
        inside = os.path.relpath(root, path) + os.sep
        whole = read_table(path, table, {inside + name: None for name in images})
        rows = [row for row, name in enumerate(whole.names) if name.startswith(inside)]
        if rows:
            read = LabelTable(names=[whole.names[row][len(inside) :] for row in rows], values=whole.values, rows=rows)
    _refuse_others(table, read.names, images)
    return read


def _refuse_others(table: str, names: Sequence[str], images: Collection[str]) -> None:
    """Raise ConfigError where no name is that of an image."""
    if names and images and not any(name in images for name in names):
        several = f"{len(names):,} files, and none of them is an image there" if len(names) > 1 else "1 file, and it is no image there"
        raise ConfigError(
            f"{table} names {several}: {names[0]!r}, where the images are such as {next(iter(images))!r}.",
            hint="Write names as the files have them, relative to the folder.",
            path=table,
        )


def refuse_repeats(table: str, names: Sequence[str]) -> None:
    """Raise SchemaMismatchError where rows name an image again: it would be several records."""
    often = [(name, count) for name, count in Counter(names).items() if count > 1]
    if often:
        (name, count), others = often[0], len(often) - 1
        more = f", and {others:,} other{'' if others == 1 else 's'} more than once" if others else ""
        raise SchemaMismatchError(
            f"{table} names {name} in {count:,} rows{more}.",
            hint="Give one row for each image; a row for each box or caption is no label of an image.",
            path=table,
        )


def read_rows(table: str) -> list[dict[str, Any]]:
    """The rows of a CSV file with a header, of JSON lines or of a Parquet file. Blanks before an unquoted cell of CSV do not count.

    Raises SourceError for one that cannot be read, CorruptDataError for one that holds something else.
    """
    try:
        if table.lower().endswith(".parquet"):
            return _parquet_rows(table)
        with open(table, newline="", encoding="utf-8-sig", opener=regular_file) as file:
            if table.lower().endswith(SEPARATED):
                # Blanks behind a separator are no part of a name or a value; those in quotes are.
                return cast("list[dict[str, Any]]", list(csv.DictReader(file, delimiter=_separator(file), skipinitialspace=True)))
            rows = [json.loads(line) for line in file if line.strip()]
    except OSError as error:
        raise SourceError(f"{table} cannot be read: {error.strerror or error}.", hint="Check its permissions.", path=table) from error
    except (ValueError, csv.Error) as error:
        raise CorruptDataError(
            f"{table} cannot be read: {error}.", hint="It is to be CSV with a header, JSON lines, or Parquet.", path=table
        ) from error
    if not all(isinstance(row, dict) for row in rows):
        raise CorruptDataError(
            f"{table} holds lines that are no JSON objects.", hint='Write lines such as {"file_name": "1.png"}.', path=table
        )
    return rows


def _separator(file: TextIO) -> str:
    """What stands between the names in the first line of a file: a comma, or what there is for it. The file is left at its start."""
    header = file.readline()
    file.seek(0)
    return next((mark for mark in (",", "\t", ";") if mark in header), ",")


def _parquet_rows(table: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pa.OSFile(os.fsencode(table)) as file:
            return pq.read_table(file).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
