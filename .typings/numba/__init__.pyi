# What the kernels use of numba, whose own annotations say less than nothing of compiled functions.
from typing import Any

carray: Any
njit: Any
prange: Any
types: Any
