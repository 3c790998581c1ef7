"""Sparse matrices in HDF5: a group of values, the columns that they stand in, and where each row begins among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from streamload.errors import ConfigError, SourceError, UnsupportedFeatureError
from streamload.formats.hdf5.discovery import dataset_info, field_selection
from streamload.formats.hdf5.discovery.field_selection import Found
from streamload.formats.hdf5.discovery.links import LocatedNode, MissingPathError, Tree
from streamload.formats.hdf5.metadata import DatasetInfo

VALUES, COLUMNS, STARTS = "data", "indices", "indptr"
"""Names of the datasets, as SciPy, AnnData and 10x have them."""
SPARSE = "sparse"
"""The layout of a matrix that is delivered dense."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sparse:
    """A sparse matrix whose rows lie one after the other."""

    path: str
    """Of the group."""
    columns: int
    """How long a row is."""
    starts: NDArray[np.int64]
    """Where each row begins among the values, and their end: shape (rows + 1,)."""
    values: tuple[LocatedNode, DatasetInfo]
    indices: tuple[LocatedNode, DatasetInfo]
    """The column of each value."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.starts) - 1

    @property
    def dense(self) -> Found:
        """The matrix as a dataset of rows, for the choice of fields."""
        place, stored = self.values
        shape, stride_nbytes = (self.rows, self.columns), self.columns * stored.dtype.itemsize
        seen = replace(stored, path=self.path, alias="", shape=shape, stride_nbytes=stride_nbytes, layout=SPARSE, chunk=())
        return Found(place.node, seen)


def sparse_at(tree: Tree, path: str) -> Sparse | None:
    """The sparse matrix in the group at a path; None if there is none.

    Raises UnsupportedFeatureError for one whose columns lie together in place of its rows.
    """
    try:
        group = tree.locate(path)
        held = {name: tree.locate(f"{path}/{name}") for name in (VALUES, COLUMNS, STARTS)}
    except (MissingPathError, SourceError):
        return None
    if not isinstance(group.node, h5g.GroupID) or not all(isinstance(one.node, h5d.DatasetID) for one in held.values()):
        return None
    try:
        stored = {name: dataset_info.examine(one.file, one.path, one.node, [])[0] for name, one in held.items()}
    except (ConfigError, SourceError):
        return None
    plain = all(len(one.shape) == 1 and not one.ragged and not one.member for one in stored.values())
    whole = all(stored[name].dtype.kind in "iu" for name in (COLUMNS, STARTS)) and stored[VALUES].dtype.kind in "biuf"
    if not plain or not whole or stored[VALUES].records != stored[COLUMNS].records or not stored[STARTS].records:
        return None
    starts = h5py.Dataset(held[STARTS].node)[:].astype(np.int64)
    if starts[0] or starts[-1] != stored[VALUES].records or (np.diff(starts) < 0).any():
        return None
    columns = _columns(h5py.Group(group.node), len(starts) - 1, tree.path, path)
    if columns is None:
        return None
    return Sparse(
        path=path,
        columns=columns,
        starts=starts,
        values=(held[VALUES], stored[VALUES]),
        indices=(held[COLUMNS], stored[COLUMNS]),
    )


def _columns(group: h5py.Group, rows: int, file_path: str, path: str) -> int | None:
    """How long rows are; None where nothing says it."""
    said: Any = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
    beside = group.get("shape")
    if said is None and isinstance(beside, h5py.Dataset):
        said = beside[()]
    sides = [int(side) for side in np.asarray(said).reshape(-1)] if said is not None and np.asarray(said).dtype.kind in "iu" else []
    kind = group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", b""))
    if (kind.decode() if isinstance(kind, bytes) else str(kind)).startswith("csc"):
        raise UnsupportedFeatureError(
            f"{file_path}: '{path}' is a sparse matrix of which columns lie together (CSC): its rows are all over the file.",
            hint="Write it by rows (CSR), for example X.tocsr() in Python; or choose other fields with fields=[...].",
            path=file_path,
            dataset=path,
        )
    if len(sides) != 2 or rows not in sides:
        return None
    return sides[1] if sides[0] == rows else sides[0]


def without_sparse(
    tree: Tree, found: list[Found], odd: list[field_selection.LeftOut], notes: list[str]
) -> tuple[list[Found], dict[str, Sparse]]:
    """Datasets without those of sparse matrices, each of which stands for itself; and the matrices by path."""
    parents = {one.stored.place.rpartition("/")[0] for one in found if one.stored.place.rpartition("/")[2] == STARTS}
    matrices: dict[str, Sparse] = {}
    for path in sorted(filter(None, parents)):
        try:
            matrix = sparse_at(tree, path)
        except UnsupportedFeatureError as error:
            some = [one for one in found if one.stored.place.startswith(path + "/")]
            odd.append(field_selection.LeftOut(path, sum(one.stored.nbytes for one in some), error))
            notes.append(f"'{path}' left out: {error.message.removeprefix(f'{tree.path}: ')[len(path) + 3 :].rstrip('.')}")
            found = [one for one in found if one not in some]
            continue
        if matrix is None:
            continue
        inside = {f"{path}/{name}" for name in (VALUES, COLUMNS, STARTS, "shape")}
        found = [one for one in found if one.stored.place not in inside]
        if matrix.rows == matrix.columns:
            notes.append(f"'{path}' left out: it is a sparse matrix that sets records against each other")
            continue
        matrices[path] = matrix
        found.append(matrix.dense)
        notes.append(
            f"'{path}' is a sparse matrix of {matrix.rows:,} x {matrix.columns:,} with {int(matrix.starts[-1]):,} values, delivered dense; "
            f"fields={{'values': '{path}/{VALUES}', 'columns': '{path}/{COLUMNS}'}} delivers these"
        )
    return found, matrices
