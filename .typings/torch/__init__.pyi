# What is used of PyTorch, which need not be installed where types are checked.
from typing import Any, Self

class device:
    type: str

class dtype: ...

class Tensor:
    is_nested: bool
    def pin_memory(self) -> Self: ...
    def view(self, dtype: dtype) -> Tensor: ...
    def to(self, device: device | None, *, non_blocking: bool = ...) -> Tensor: ...

cuda: Any
nested: Any

def from_numpy(array: Any) -> Tensor: ...
