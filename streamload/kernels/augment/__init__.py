"""Compiled augmentation: one kernel an operation on the record at hand, called by address, each loaded by whoever needs it.

Rules of this room:

1. A kernel is a function of (address of the frame, address of its parameters) in a module's `KERNELS`; the module of the same
   name in `plain` has the same names, and the same results: to the bit for integers, to 1 ulp for floats.
2. Kernels raise nothing and check nothing: whoever makes their parameters has checked them.
3. A new operation is a kernel, its plain twin, and a line of `MODULES`.
4. Machine code is kept in a folder named by the sources of this room: numba looks at the file of a kernel alone, and kernels
   here share functions across files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = {
    "crop": "crop",
    "bilinear": "resample",
    "curve": "curves",
    "equalize": "curves",
    "autocontrast": "curves",
    "brightness": "color",
    "contrast": "color",
    "saturation": "color",
    "hue": "color",
    "grayscale": "color",
    "permute_channels": "color",
    "gaussian_blur": "filters",
    "sharpness": "filters",
    "nearest": "nearest",
    "elements_chw": "nearest",
    "elements_hwc": "nearest",
    "filtered": "filtered",
    "affine": "affine",
    "affine_nearest": "affine",
    "erase": "erase",
    "mix_rows": "mix",
    "volume": "volumes",
    "volume_elements": "volumes",
    "float_box": "floats",
    "float_affine": "floats",
    "float_chw": "floats",
    "float_hwc": "floats",
    **{f"{dtype}_{layout}": "output" for dtype in ("float32", "float16", "bfloat16", "uint8") for layout in ("chw", "hwc")},
}
"""The module of each kernel."""


@cache
def digest() -> str:
    """A few letters that stand for the sources of this room."""
    sources = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(path.read_bytes())
    return sources.hexdigest()


def compiled_kernels(names: Sequence[str]) -> tuple[Any, list[Any]]:
    """The compiled loop's module, and the compiled kernels of these names; numba's folder must be set."""
    numba: Any = import_module("numba")
    run = import_module(f"{__name__}.run")
    found: list[Any] = []
    for name in names:
        if name not in _compiled:
            function = import_module(f"{__name__}.{MODULES[name]}").KERNELS[name]
            _compiled[name] = numba.cfunc("void(int64, int64)", nopython=True, cache=True, error_model="numpy")(function)
        found.append(_compiled[name])
    return run, found


def plain_kernel(name: str) -> Callable[..., None]:
    """The plain kernel of a name."""
    return import_module(f"{__name__}.plain.{MODULES[name]}").KERNELS[name]


_compiled: dict[str, Any] = {}
