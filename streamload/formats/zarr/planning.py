"""From stores to a source: their arrays as columns, and where the chunks of these lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamload.errors import ConfigError, CorruptDataError, SourceError, UnsupportedFeatureError, damaged
from streamload.formats.attributes import agreed, attributes_from_json, attributes_to_json
from streamload.formats.columns.chunked import ChunkedColumn
from streamload.formats.derived.packing import OF_STORED, packing_from
from streamload.formats.derived.scaled import unpacked
from streamload.formats.naming.field_names import Fields
from streamload.formats.split_choice import refuse_splits_beside
from streamload.formats.tables.fields import FileColumn, Table, WantedColumns
from streamload.formats.tables.table import assemble
from streamload.formats.zarr.columns import StoredArray, column_of
from streamload.formats.zarr.metadata import ArrayInfo
from streamload.formats.zarr.places import places_of
from streamload.formats.zarr.selection import Chosen, guessed, key_in, named
from streamload.formats.zarr.stores import Store, open_store
from streamload.formats.zarr.tree import Nodes, nodes_of
from streamload.omissions import Omission
from streamload.sizes import format_nbytes, format_times
from streamload.source import Column, Source
from streamload.storage.file_table import table_from
from streamload.storage.files import Fingerprint

DIMENSIONS = "_ARRAY_DIMENSIONS"
"""What xarray calls the names of axes."""
MANY_FILES = 1000
"""More files than these are kept as a table."""
MOST_CHUNK_NBYTES = 1 << 32
"""Of a chunk that must be decoded; more than any codec of Zarr's own writes."""


def plan_stores(name: str, paths: Sequence[str], fields: Fields | None, *, scaled: bool) -> Source:
    """The source, of a format of this name, over stores of one schema.

    Without `fields`, those arrays of one length are taken that hold the most bytes; groups in groups give names with "_" for "/".
    """
    stores: list[Store] = []
    try:
        for path in paths:
            stores.append(open_store(path))
        held = [nodes_of(store) for store in stores]
        first = next((at for at, nodes in enumerate(held) if any(one.shape[0] for one in nodes.arrays.values())), 0)
        notes: list[str] = []
        strays = [Omission.of("file", "neither array nor group", nodes.strays) for nodes in held if nodes.strays]
        chosen = guessed(stores[first], held[first], notes) if fields is None else named(stores[first], held[first], fields)
        read: list[Fingerprint] = []
        tables: list[Table] = []
        for store, nodes in zip(stores, held, strict=True):
            _tell_damage(store, nodes, WantedColumns(chosen), notes, scaled=scaled)
            tables.append(_table(store, nodes, WantedColumns(chosen), len(read), notes, strays))
            read += store.files
    except OSError as error:
        raise SourceError(
            f"{error.filename or paths[0]} cannot be read: {error.strerror}.", hint="Check its permissions and the disk.", path=paths[0]
        ) from error
    finally:
        for store in stores:
            store.close()
    if fields is None:
        _refuse_unwritten(tables[first], chosen)
        found = {str(key): tables[first].columns[str(key)] for key in chosen.values()}
        refuse_splits_beside(paths[first], {key: (one.dtype, one.shape) for key, one in found.items()}, tables[first].records)
    source = assemble(name, tables, chosen, column_of, costs=_costs, fingerprints=read if len(read) <= MANY_FILES else table_from(read))
    asked = {one: key for one, key in chosen.items() if isinstance(key, str) and one != key}
    columns = [_unpacked(column, chosen[column.field.name], tables, notes, scaled=scaled) for column in source.columns]
    return source.replaced(
        columns=columns,
        notes=[*source.notes, *dict.fromkeys(notes)],
        asked=asked,
        omissions=strays,
        attributes=_attributes(chosen, tables, scaled=scaled),
    )


def _infos(keys: str | Sequence[str], tables: Sequence[Table]) -> list[ArrayInfo]:
    """The arrays that a field comes from, store after store; none of one that is put together of several."""
    return [table.columns[keys].detail.info for table in tables] if isinstance(keys, str) else []


def _unpacked(column: Column, keys: str | Sequence[str], tables: Sequence[Table], notes: list[str], *, scaled: bool) -> Column:
    """As `unpacked`. Raises ConfigError where physical values are wanted of arrays put side by side, of which some are packed."""
    if not isinstance(keys, str):
        packed = [key for key in keys for info in _infos(key, tables) if packing_from(info.attributes, info.stored) is not None]
        if packed and scaled:
            raise ConfigError(
                f"scaled=True, and '{packed[0]}' is packed, which is put side by side with others in '{column.field.name}'.",
                hint="Name each array a field of its own.",
            )
        return column
    infos = _infos(keys, tables)
    packings = [packing_from(info.attributes, info.stored) for info in infos]
    return unpacked(column, packings, [info.shape[0] for info in infos], notes, scaled=scaled)


def _attributes(chosen: Chosen, tables: Sequence[Table], *, scaled: bool) -> dict[str, dict[str, Any]]:
    """What all arrays of a field say alike; without what is delivered in other ways."""
    told: dict[str, dict[str, Any]] = {}
    for name, keys in chosen.items():
        infos = _infos(keys, tables)
        said = agreed(attributes_from_json(attributes_to_json(info.attributes)) for info in infos)
        packed = any(packing_from(info.attributes, info.stored) is not None for info in infos)
        told[name] = {key: one for key, one in said.items() if key != DIMENSIONS and not (scaled and packed and key in OF_STORED)}
    return {name: said for name, said in told.items() if said}


def _tell_damage(store: Store, nodes: Nodes, wanted: WantedColumns, notes: list[str], *, scaled: bool) -> None:
    """Note attributes that cannot be read. Raises CorruptDataError where they say how values are to be delivered."""
    for key, why in nodes.damaged.items():
        if key not in wanted:
            continue
        if scaled:
            raise damaged(
                f"{store.path}: the attributes of '{key}', which scaled=True needs, cannot be read: {why}.", path=store.path, dataset=key
            )
        notes.append(f"{store.path}: the attributes of '{key}' cannot be read and count as none: {why}")


def _table(store: Store, nodes: Nodes, wanted: WantedColumns, first: int, notes: list[str], strays: list[Omission]) -> Table:
    """What a store holds; only the chunks of arrays that are wanted are looked for."""
    chosen = {key: info for key, info in nodes.arrays.items() if key in wanted}
    lengths = {key: info.shape[0] for key, info in chosen.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key}: {count:,}" for key, count in lengths.items())
        raise ConfigError(
            f"{store.path}: the arrays differ in their number of records ({listed}).", hint="Choose those of one length.", path=store.path
        )
    columns = {
        key: FileColumn(
            dtype=info.stored.newbyteorder("="),
            shape=info.shape[1:],
            kind=f"{info.stored if info.stored.isnative else info.stored.str} {info.shape[1:]}",
            detail=_located(store, info, first, notes, strays) if key in chosen else None,
        )
        for key, info in nodes.arrays.items()
    }
    return Table(
        path=store.path,
        fingerprint=store.files[0],
        records=next(iter(lengths.values()), 0),
        columns=columns,
        aside=nodes.aside | nodes.unsafe,
        refused={},
    )


def _located(store: Store, info: ArrayInfo, first: int, notes: list[str], strays: list[Omission]) -> StoredArray:
    """Where the chunks of an array lie; what is odd about them is noted."""
    key = key_in(info)
    try:
        places = places_of(store, info)
    except UnsupportedFeatureError as error:
        if error.path is not None:
            raise
        raise UnsupportedFeatureError(f"{store.path}: '{key}' {error.message}.", hint="Choose other arrays.", path=store.path) from error
    array = StoredArray(info=info, places=places, first=first, folder=store.folder(info.key))
    if not array.raw and array.chunk_nbytes > MOST_CHUNK_NBYTES:
        raise UnsupportedFeatureError(
            f"{store.path}: '{key}' lies in chunks of {format_nbytes(array.chunk_nbytes)}, which are decoded whole; "
            f"up to {format_nbytes(MOST_CHUNK_NBYTES)} are.",
            hint="Write it again in smaller chunks.",
            path=store.path,
            dataset=key,
        )
    missing = int((places.offsets < 0).sum())
    if missing:
        what = f"{missing:,} of {len(places.offsets):,} chunks are not there"
        notes.append(f"'{key}': {what}, and their records have the fill value, in {store.path}")
    if places.strays:
        strays.append(Omission.of("file", f"no chunk of '{key}'", places.strays, places.stray_count))
    return array


def _refuse_unwritten(table: Table, chosen: Chosen) -> None:
    """Raise CorruptDataError for a store of which nothing but fill values is there, where nobody asked for these."""
    details: list[StoredArray] = [one.detail for one in table.columns.values() if one.detail is not None]
    if table.records and not any((one.places.offsets >= 0).any() for one in details):
        raise CorruptDataError(
            f"{table.path} claims {table.records:,} records, and not one chunk of them is there.",
            hint=f"Was all of it fetched? fields={list(chosen)} delivers fill values.",
            path=table.path,
        )


def _costs(column: Column) -> list[str]:
    """What a reader of `repr` should know about the price of a field."""
    if isinstance(column, ChunkedColumn) and column.amplification > 1:
        times = format_times(column.amplification)
        return [f"'{column.field.name}': exact order decodes {times} records for each one delivered; block order decodes each once"]
    return []
