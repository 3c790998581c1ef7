"""Parquet for the contract."""

from __future__ import annotations

from parquet_files import DECODED, RAW

EXAMPLES = {name: (RAW | DECODED)[name] for name in ("required", "many small pages", "with checksums", "zstd", "lists")}
