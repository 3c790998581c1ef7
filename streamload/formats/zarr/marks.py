"""What tells a folder of a Zarr store."""

from __future__ import annotations

MARKS = ("zarr.json", ".zarray", ".zgroup")
"""Files that say what a folder of a store is."""
