"""From stores to a source: which of their arrays are fields, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from streamload.errors import ConfigError, SchemaMismatchError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.columns.chunked import ChunkedColumn
from streamload.formats.names import plain_names
from streamload.formats.pairs import are_a_pair
from streamload.formats.table import assemble
from streamload.formats.table_fields import Fields, FileColumn, Table, chosen_in
from streamload.formats.zarr import NAME
from streamload.formats.zarr.columns import StoredArray, column_of
from streamload.formats.zarr.metadata import ArrayInfo, unreadable_store
from streamload.formats.zarr.places import places_of
from streamload.formats.zarr.stores import Store, open_store
from streamload.formats.zarr.tree import Nodes, nodes_of
from streamload.sizes import format_nbytes
from streamload.source import Column, Source
from streamload.storage.files import Fingerprint

MOST_CHUNK_NBYTES = 1 << 32
"""Of a chunk that must be decoded; more than any codec of Zarr's own writes."""
MOST_LISTED = 12
"""Names that a note or an error lists."""


def plan_stores(paths: Sequence[str], fields: Fields | None) -> Source:
    """The source over stores of one schema."""
    tables: list[Table] = []
    read: list[Fingerprint] = []
    notes: list[str] = []
    for path in paths:
        store = open_store(path)
        try:
            tables.append(_table(store, fields, len(read), notes))
            read += store.files
        finally:
            store.close()
    first = next((table for table in tables if table.records), tables[0])
    chosen = _named(first, fields)
    source = assemble(NAME, tables, chosen, column_of, costs=_costs, fingerprints=read)
    left_out = [f"'{name}' left out: it {why}" for name, why in first.aside.items()] if fields is None else []
    asked = {name: key for name, key in chosen.items() if isinstance(key, str) and name != key}
    return source.replaced(notes=[*left_out, *source.notes, *dict.fromkeys(notes)], asked=asked)
