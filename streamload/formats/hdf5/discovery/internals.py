"""What programs keep in HDF5 files for themselves: parts that are no data, and files that hold no records at all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from h5py import h5a, h5g  # pyright: ignore[reportAttributeAccessIssue]

from streamload.errors import UnsupportedFeatureError

_AT_THE_ROOT = {
    "#refs#": "MATLAB keeps there what cell arrays and structures refer to",
    "#subsystem#": "MATLAB keeps there what describes its objects",
}
_KERAS_ATTRIBUTES = (b"keras_version", b"layer_names", b"model_config")
_KERAS_GROUPS = (b"_layer_checkpoint_dependencies", b"model_weights")


def internal(path: str) -> str:
    """What a program keeps under a path for itself; "" where it is data."""
    if path in _AT_THE_ROOT:
        return _AT_THE_ROOT[path]
    return "PyTables keeps there the indexes of a table" if path.rsplit("/", 1)[-1].startswith("_i_") else ""


def are_weights(paths: Sequence[str]) -> bool:
    """Whether the paths of all datasets of a file are those of the weights of a Keras model."""
    tops = {path.partition("/")[0].encode() for path in paths}
    return any(name in tops for name in _KERAS_GROUPS) or (bool(paths) and all(re.search(r"(^|/)vars/\d+$", path) for path in paths))


def refuse_weights(root: h5g.GroupID, paths: Sequence[str], file_path: str) -> None:
    """Raise UnsupportedFeatureError for a file that holds the weights of a model; `paths` are those of its datasets."""
    marked = any(h5a.exists(root, name) for name in _KERAS_ATTRIBUTES) or any(name in root for name in _KERAS_GROUPS)
    if marked or are_weights(paths):
        raise UnsupportedFeatureError(
            f"{file_path} holds the weights of a Keras model, not records.",
            hint="Load it with Keras; an array of it can still be read by name, fields=[...].",
            path=file_path,
        )
