"""Batches, and what adapters give, in the helpers with which frameworks walk through what a loader hands out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from framework_data import BATCH, WIDTH

import streamload as sl


@pytest.fixture
def batch() -> sl.Batch:
    """Inputs, and the number of each record."""
    return sl.Batch({"x": np.ones((BATCH, WIDTH), np.float32), "number": np.arange(BATCH)}, records=np.arange(BATCH))


def test_a_batch_in_helpers_of_pytorch(batch: sl.Batch) -> None:
    """Rebuilt with tensors, or left as it is, and never an error."""
    torch = pytest.importorskip("torch")
    from torch.utils._pytree import tree_map
    from torch.utils.data import default_convert

    converted = default_convert(batch)
    assert isinstance(converted, Mapping)
    assert all(isinstance(value, torch.Tensor) for value in converted.values())
    assert converted["number"].tolist() == list(range(BATCH))
    assert tree_map(lambda leaf: leaf, batch) is batch


def test_a_batch_in_helpers_of_jax(batch: sl.Batch) -> None:
    """It is a leaf; as a dict it is a tree."""
    jax = pytest.importorskip("jax")
    assert jax.tree.leaves(batch) == [batch]
    assert np.array_equal(jax.tree.map(lambda leaf: leaf + 1, dict(batch))["number"], np.arange(BATCH) + 1)


def test_a_batch_in_helpers_of_lightning(batch: sl.Batch) -> None:
    """Its records are counted, and its arrays made tensors by whoever asks for that."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("pytorch_lightning")
    from lightning_utilities.core.apply_func import apply_to_collection
    from pytorch_lightning.utilities.data import extract_batch_size

    moved = apply_to_collection(batch, np.ndarray, torch.from_numpy)
    assert extract_batch_size(moved) == extract_batch_size(tuple(moved.values())) == BATCH
    assert moved["number"].tolist() == list(range(BATCH))


def test_a_batch_in_helpers_of_accelerate(batch: sl.Batch) -> None:
    """Moved to a device, concatenated, and measured."""
    torch = pytest.importorskip("torch")
    operations = pytest.importorskip("accelerate.utils.operations")
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    moved = operations.send_to_device(tensors, torch.device("cpu"))
    assert operations.find_batch_size(moved) == BATCH
    assert operations.concatenate([moved, moved])["number"].tolist() == [*range(BATCH), *range(BATCH)]


def test_a_batch_in_helpers_of_tensorflow(batch: sl.Batch) -> None:
    """It is a mapping."""
    tf = pytest.importorskip("tensorflow")
    assert [len(one) for one in tf.nest.flatten(dict(batch))] == [BATCH, BATCH]


def test_pytorch_gets_a_jagged_tensor_of_the_same_memory() -> None:
    """A change through the tensor is seen in the values."""
    pytest.importorskip("torch")
    ragged = sl.Ragged.of([np.array([1.0, 2.0]), np.array([3.0]), np.array([])])
    nested = ragged.to_torch()
    assert [one.tolist() for one in nested.unbind()] == [[1.0, 2.0], [3.0], []]
    nested.values()[2] = 7.0
    assert ragged[1].tolist() == [7.0]
