"""Compiled augmentation: one kernel an operation on the record at hand, called by address, each loaded by whoever needs it.

Rules of this room:

1. A kernel is a function of (address of the frame, address of its parameters) in a module's `KERNELS`; the module of the same
   name in `plain` has the same names, and the same results: to the bit for integers, to 1 ulp for floats.
2. Kernels check nothing: whoever makes their parameters has checked them. One that takes memory says so in its frame while it
   works: where there is none it ends by an exception that goes no further, and its frame still says so.
3. A new operation is a kernel, its plain twin, and a line of `MODULES`.
4. Machine code is kept in a folder named by the sources of this room: numba looks at the file of a kernel alone, and kernels
   here share functions across files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

from streamload.kernels.augment import objects
from streamload.storage.owned_files import Folder

MODULES = {
    "run": "run",
    "draw": "run",
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
"""The module of each kernel; `run` calls the others, and `draw` draws their parameters."""
ALWAYS = ("draw", "run")
"""Kernels that every chain takes."""
RUNTIME = frozenset(
    {"filtered", "gaussian_blur", "sharpness", "mix_rows", "volume", "volume_elements"}
    | {f"float_{name}" for name in ("box", "affine", "chw", "hwc")}
)
"""Kernels that use arrays of numba's own: their code is loaded by numba, with its runtime."""
MARK = "compiled-{}"
"""The file that says that numba keeps a kernel in the folder: whether it is so, only numba could tell, which takes long to import."""


def is_kept(name: str, folder: Folder) -> bool:
    """Whether the folder has the machine code of a kernel, for this room to load or, as a mark says, for numba."""
    if name not in RUNTIME and objects.processor() is not None and objects.read(folder, name) is not None:
        return True
    return folder.status(MARK.format(name)) is not None


def mark_kept(names: Sequence[str], folder: Folder) -> None:
    """Note which of these names numba has compiled into the folder in its own way."""
    with suppress(OSError):  # else it is said again next time
        for name in names:
            if name in _callbacks and folder.status(MARK.format(name)) is None:
                os.close(folder.create(MARK.format(name)))


def load_objects(names: Sequence[str], folder: Folder | None) -> bool:
    """Load kernels whose machine code is kept in the folder; whether all of these names are loaded by then."""
    lacking = [name for name in names if name not in _addresses and name not in RUNTIME]
    if lacking and folder is not None and objects.processor() is not None:
        for name in lacking:
            data = objects.read(folder, name)
            address = _loader().load(name, data) if data is not None else None
            if address is not None:
                _addresses[name] = address
    return all(name in _addresses for name in names)


def compile_kernels(names: Sequence[str], folder: Folder | None) -> None:
    """Compile the kernels of these names that are not loaded, or load what numba has kept of them; its folder must be set."""
    numba: Any = import_module("numba")
    for name in names:
        if name in _addresses:
            continue
        function = import_module(f"{__name__}.{MODULES[name]}").KERNELS[name]
        if name not in RUNTIME and objects.processor() is not None:
            data = objects.compiled_object(name, function)
            address = _loader().load(name, data) if data is not None else None
            if data is not None and address is not None:
                _addresses[name] = address
                if folder is not None:
                    with suppress(OSError):  # else it is compiled again next time
                        objects.write(folder, name, data)
                continue
        _callbacks[name] = numba.cfunc("void(int64, int64)", nopython=True, cache=True, error_model="numpy")(function)
        _addresses[name] = _callbacks[name].address


@cache
def _loader() -> objects.ObjectLoader:
    return objects.ObjectLoader()


def addresses(names: Sequence[str]) -> list[int]:
    """Where the code of kernels lies that have been loaded."""
    return [_addresses[name] for name in names]


def plain_kernel(name: str) -> Callable[..., None]:
    """The plain kernel of a name."""
    return import_module(f"{__name__}.plain.{MODULES[name]}").KERNELS[name]


_addresses: dict[str, int] = {}
_callbacks: dict[str, Any] = {}
"""Of kernels that numba itself has loaded, which hold their code."""
