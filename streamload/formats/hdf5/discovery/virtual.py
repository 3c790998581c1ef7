"""Virtual datasets: the files that one draws on, each of which must be there, within the folder, and hold what is asked of it."""

from __future__ import annotations

import os

from h5py import h5d, h5p  # pyright: ignore[reportAttributeAccessIssue]

from streamload.errors import SourceError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.hdf5.discovery.links import MissingPathError, Tree
from streamload.formats.hdf5.open_file import guarded

MOST_VIRTUAL_LEVELS = 8
"""Virtual datasets that draw on virtual datasets."""


def virtual_sources(file_path: str, path: str, plist: h5p.PropDCID, level: int) -> tuple[str, ...]:
    """The files that a virtual dataset draws on; each must exist, lie within the file's folder, and hold what is asked of it."""
    folder = os.path.realpath(os.path.dirname(file_path) or ".")
    found: dict[str, None] = {}
    if level > MOST_VIRTUAL_LEVELS:
        raise SourceError(
            f"{file_path}: '{path}' is virtual on more than {MOST_VIRTUAL_LEVELS} levels.",
            hint="Open the files that hold the values.",
            path=file_path,
            dataset=path,
        )
    asked: dict[tuple[str, str], None] = {
        (plist.get_virtual_filename(number), plist.get_virtual_dsetname(number)): None for number in range(plist.get_virtual_count())
    }
    for name, target in asked:
        if "%" in name.replace("%%", ""):
            raise UnsupportedFeatureError(
                f"{file_path}: virtual dataset '{path}' names its files by a pattern ({name}).",
                hint="Open those files as a list instead.",
                path=file_path,
                dataset=path,
            )
        real = os.path.realpath(file_path if name == "." else os.path.join(folder, name.replace("%%", "%")))
        if os.path.commonpath([real, folder]) != folder:
            raise UnsafeSourceError(
                f"{file_path}: virtual dataset '{path}' draws on {name}, which is outside the file's folder.",
                hint="Copy the values into the file, or open those files themselves.",
                path=file_path,
                dataset=path,
            )
        if not os.path.isfile(real):
            raise SourceError(
                f"{file_path}: virtual dataset '{path}' draws on {name}, which does not exist; "
                "HDF5 would deliver fill values in its place.",
                hint="Put the file back beside it.",
                path=file_path,
                dataset=path,
            )
        found.update(dict.fromkeys(_sources_within(real, target, file_path, path, level)))
    return tuple(found)


def _sources_within(real: str, target: str, file_path: str, path: str, level: int) -> list[str]:
    with guarded(real), Tree(real) as other:
        try:
            place = other.locate(target)
        except MissingPathError:
            place = None
        if place is None or not isinstance(place.node, h5d.DatasetID):
            raise SourceError(
                f"{file_path}: virtual dataset '{path}' draws on '{target}' of {real}, where no dataset of that name is.",
                hint="Write the virtual dataset again.",
                path=file_path,
                dataset=path,
            )
        plist, beyond = place.node.get_create_plist(), [place.file] if place.file != real else []
        if plist.get_external_count():
            raise UnsafeSourceError(
                f"{file_path}: virtual dataset '{path}' draws on '{target}' of {real}, which keeps its values in yet other files.",
                hint="Copy the values into the file.",
                path=file_path,
                dataset=path,
            )
        below = virtual_sources(place.file, target, plist, level + 1) if plist.get_layout() == h5d.VIRTUAL else ()
    return [real, *beyond, *below]
