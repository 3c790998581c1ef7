# What is used of PyTorch's data loading, which need not be installed where types are checked.
from typing import Any, Generic, TypeVar

T = TypeVar("T")

class IterableDataset(Generic[T]): ...

class DataLoader(Generic[T]):
    sampler: Any
    def __init__(self, dataset: IterableDataset[T], *, batch_size: int | None, num_workers: int) -> None: ...
