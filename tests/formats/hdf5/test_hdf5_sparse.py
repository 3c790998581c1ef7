"""Sparse matrices are named for what they are: rows are delivered dense, or as values and the columns that they stand in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5_files import WRITTEN, refused

from streamload.errors import CorruptDataError, SchemaMismatchError, UnsupportedFeatureError
from streamload.formats.open import open_source
from streamload.ragged import Ragged
from streamload.testing import check_source

STORED: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunks": {"chunks": (50,)},
    "gzip": {"chunks": (50,), "compression": "gzip"},
    "through the library": {"chunks": (50,), "scaleoffset": 0},
}


def matrix(rows: int = 60, columns: int = 33, seed: int = 0) -> np.ndarray:
    """Mostly zeros; some rows have nothing else."""
    chance = np.random.default_rng(seed)
    dense = chance.integers(1, 99, (rows, columns)) * (chance.random((rows, columns)) < 0.2)
    dense[3:6] = 0
    return dense.astype("i4")


def put(group: h5py.Group, dense: np.ndarray, **keywords: Any) -> None:
    """Write the rows of a matrix one after the other."""
    rows, columns = np.nonzero(dense)
    group.create_dataset("data", data=dense[rows, columns], **keywords)
    group.create_dataset("indices", data=columns.astype("i4"), **keywords)
    group["indptr"] = np.searchsorted(rows, np.arange(len(dense) + 1)).astype("i4")


def anndata(path: Path, dense: np.ndarray, **keywords: Any) -> None:
    """As AnnData writes it: rows are cells."""
    with h5py.File(path, "w", **WRITTEN) as file:
        put(file.create_group("X"), dense, **keywords)
        file["X"].attrs["encoding-type"], file["X"].attrs["shape"] = "csr_matrix", dense.shape
        file["obs/_index"] = [f"cell {number}" for number in range(len(dense))]
        file["obs/n_genes"] = (dense > 0).sum(axis=1)
        file["var/_index"] = [f"gene {number}" for number in range(dense.shape[1])]
        put(file.create_group("obsp/near"), np.eye(len(dense)))
        file["obsp/near"].attrs["shape"] = (len(dense), len(dense))


@pytest.mark.parametrize("keywords", STORED.values(), ids=STORED)
def test_rows_of_a_sparse_matrix_are_delivered_dense(keywords: dict[str, Any], tmp_path: Path):
    """Found beside what belongs to each row, and asked for by the name of its group."""
    dense = matrix()
    anndata(tmp_path / "a.h5ad", dense, **keywords)
    source = open_source(tmp_path / "a.h5ad")
    assert source.schema.names == ("X", "_index", "n_genes")
    assert "'obsp/near' left out: it is a sparse matrix that sets records against each other" in source.notes
    asked = open_source(tmp_path / "a.h5ad", fields={"x": "X", "n": "obs/n_genes"})
    check_source(asked, {"x": dense, "n": (dense > 0).sum(axis=1)}, num_workers=(0, 1) if keywords in ({}, STORED["gzip"]) else (0,))
    source.close()


@pytest.mark.parametrize("keywords", STORED.values(), ids=STORED)
def test_values_of_a_sparse_matrix_and_their_columns_are_records_by_row(keywords: dict[str, Any], tmp_path: Path):
    """Ragged: as many as each row has."""
    dense = matrix()
    anndata(tmp_path / "a.h5ad", dense, **keywords)
    rows, columns = np.nonzero(dense)
    offsets = np.searchsorted(rows, np.arange(61))
    source = open_source(tmp_path / "a.h5ad", fields={"values": "X/data", "genes": "X/indices"})
    expected = {"values": Ragged(dense[rows, columns], offsets, "array"), "genes": Ragged(columns.astype("i4"), offsets, "array")}
    check_source(source, expected, num_workers=(0,))


def test_a_matrix_as_10x_writes_it_has_a_record_for_each_barcode(tmp_path: Path):
    """Its shape is (features, barcodes), and barcodes lie one after the other."""
    dense = matrix()
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        put(file.create_group("matrix"), dense, chunks=(50,), compression="gzip")
        file["matrix/shape"] = np.array(dense.shape[::-1], "i4")
        file["matrix/barcodes"] = np.array([b"AC%02d-1" % number for number in range(60)])
        file["matrix/features/name"] = np.array([b"g%02d" % number for number in range(33)])
    source = open_source(tmp_path / "a.h5")
    np.testing.assert_array_equal(source[[59, 3, 0]]["matrix"], dense[[59, 3, 0]])
    assert source[59]["barcodes"] == b"AC59-1"
    assert "'matrix' is a sparse matrix of 60 x 33 with" in "\n".join(source.notes)
    source.close()


def test_matrices_of_several_files_follow_each_other_if_they_are_as_wide(tmp_path: Path):
    """Cells of two experiments; another number of genes is another schema."""
    parts = [matrix(), matrix(20, seed=1), matrix(20, 34)]
    for number, dense in enumerate(parts):
        anndata(tmp_path / f"{number}.h5", dense)
    source = open_source([tmp_path / "0.h5", tmp_path / "1.h5"], fields={"x": "X", "values": "X/data"})
    np.testing.assert_array_equal(source[:]["x"], np.concatenate(parts[:2]))
    assert [len(one) for one in source[:]["values"]] == (np.concatenate(parts[:2]) > 0).sum(axis=1).tolist()
    assert refused(SchemaMismatchError, [tmp_path / "0.h5", tmp_path / "2.h5"], fields=["X"]).startswith(
        f"Field 'X' differs: rows of 33 in {tmp_path / '0.h5'}, rows of 34 in {tmp_path / '2.h5'}. "
    )
    source.close()


def test_matrices_by_columns_and_values_beyond_the_last_column_are_refused(tmp_path: Path):
    """CSC by name, since no row lies together; a column that is not there when it is read."""
    path = tmp_path / "a.h5"
    anndata(path, matrix())
    with h5py.File(path, "r+") as file:
        file["X/indices"][40] = 33
    with open_source(path, fields=["X"]) as source, pytest.raises(CorruptDataError, match=r"has a value in column 33 of 33\."):
        source[:]
    with h5py.File(path, "r+") as file:
        file["X"].attrs["encoding-type"] = "csc_matrix"
    why = "is a sparse matrix of which columns lie together (CSC): its rows are all over the file"
    assert refused(UnsupportedFeatureError, path, fields=["X"]) == (
        f"{path}: 'X' {why}. Write it by rows (CSR), for example X.tocsr() in Python; or choose other fields with fields=[...]."
    )
    assert refused(UnsupportedFeatureError, path).startswith(f"{path}: 'X' {why}. ")
