"""Names of fields that HDF5 files would hold as something else: paths lead through groups, and some are kept by programs for themselves."""

from __future__ import annotations

from collections.abc import Sequence

from streamload.formats.hdf5.discovery.internals import are_weights, internal


def name_not_held(name: str, names: Sequence[str]) -> str:
    """Why a file could not give a field back under its name, beside others; "" where it can."""
    parts = name.split("/")
    if any(part in ("", ".") for part in parts):
        return "is a name that HDF5 files cannot hold, which take it for a path"
    below = next((one for one in names if one.startswith(f"{name}/")), None)
    if below is not None:
        return f"is a name that HDF5 files cannot hold beside '{below}', which makes it a group"
    if any(internal("/".join(parts[:depth])) for depth in range(1, len(parts) + 1)):
        return "is a name under which programs keep things for themselves in HDF5 files"
    return "is a name that HDF5 files have for the weights of a Keras model" if are_weights(names) else ""


def says_its_name(name: str) -> bool:
    """Whether a dataset must say that its path is the name of a field: its last part would be, or datasets like it one field."""
    return "/" in name or name[-1:].isdecimal()
