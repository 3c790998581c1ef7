"""Which filters of HDF5 can be undone here, by codecs of our own or by the library, and what to install for the rest."""

from __future__ import annotations

import importlib
import importlib.util

from streamload.codecs import supported
from streamload.errors import UnsupportedFeatureError
from streamload.formats.hdf5.metadata import DatasetInfo, FilterInfo
from streamload.formats.hdf5.open_file import plugin_folder_check

NAMES = {
    1: "deflate",
    2: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    305: "lzo",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32019: "jpeg",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
}
"""The registered filters that image sets use."""

_BUILT_IN = range(1, 7)
_IN_HDF5PLUGIN = frozenset((307, 32001, 32004, 32008, 32013, 32015, 32017, 32018, 32024, 32026, 32028))


def title(step: FilterInfo) -> str:
    """The filter for people: "deflate 4", "shuffle", "filter 4711"."""
    name = NAMES.get(step.number) or step.name or f"filter {step.number}"
    return f"gzip {step.values[0]}" if step.number == 1 and step.values else name


def by_offset(stored: DatasetInfo) -> bool:
    """Whether chunks of the dataset can be read without the HDF5 library."""
    if not stored.raw or not stored.packed or not stored.listed:
        return False
    return not stored.filters or (not stored.member and supported(pipeline(stored), stored.dtype))


def pipeline(stored: DatasetInfo) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The dataset's filters as the codecs take them."""
    return tuple((step.number, step.values) for step in stored.filters)


def refuse_missing(stored: DatasetInfo, path: str) -> None:
    """Raise UnsupportedFeatureError for a filter that the HDF5 library cannot undo here, plugins included."""
    for step in stored.filters:
        if step.number not in _BUILT_IN and step.number != 32000:
            plugin_folder_check(path)
        if _available(step.number) or (needs_plugins((step,)) and _with_plugins(step.number)):
            continue
        name = NAMES.get(step.number) or step.name or "unknown"
        cure = "pip install hdf5plugin" if step.number in _IN_HDF5PLUGIN else "Install the plugin of its makers"
        raise UnsupportedFeatureError(
            f"{path}: dataset '{stored.key}' needs HDF5 filter {step.number} ({name}), which is not installed.",
            hint=f"{cure}, or write the file again with gzip (h5repack -f GZIP=4).",
            path=path,
            dataset=stored.key,
            filter=step.number,
        )


def needs_plugins(filters: tuple[FilterInfo, ...]) -> bool:
    """Whether a pipeline needs filters that the package hdf5plugin brings."""
    return any(step.number in _IN_HDF5PLUGIN for step in filters)


def register_plugins() -> bool:
    """Make the filters of the package hdf5plugin known to the HDF5 library in this process; False if it is not installed."""
    if importlib.util.find_spec("hdf5plugin") is None:
        return False
    importlib.import_module("hdf5plugin")
    return True


def _with_plugins(number: int) -> bool:
    return register_plugins() and _available(number)


def _available(number: int) -> bool:
    from h5py import h5z  # pyright: ignore[reportAttributeAccessIssue]

    return bool(h5z.filter_avail(number)) and bool(h5z.get_filter_info(number) & h5z.FILTER_CONFIG_DECODE_ENABLED)
