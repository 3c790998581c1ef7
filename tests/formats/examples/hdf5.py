"""HDF5 for the contract."""

from __future__ import annotations

from hdf5_files import LAYOUTS
from ragged_files import WRITERS

EXAMPLES = {name: LAYOUTS[name] for name in ("contiguous", "chunks of 8 without filter", "gzip", "scale-offset", "compound in chunks")}
EXAMPLES |= {layout: WRITERS[layout] for layout in WRITERS if layout.startswith("hdf5")}
