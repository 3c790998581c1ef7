"""Parquet for the contract."""

from __future__ import annotations

from parquet_files import DECODED, RAW
from ragged_files import WRITERS

EXAMPLES = {name: (RAW | DECODED)[name] for name in ("required", "many small pages", "with checksums", "zstd", "lists")}
EXAMPLES |= {layout: WRITERS[layout] for layout in WRITERS if layout.startswith("parquet")}
