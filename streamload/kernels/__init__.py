"""Compiled loops: which set is in use, and where their machine code is kept."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

_compiled = False
_in_use: dict[str, ModuleType] = {}


def cache_folder() -> Path:
    """The folder that keeps compiled kernels: `$STREAMLOAD_CACHE_DIR/kernels`, else in the user's cache folder.

    The files in it are code, so a folder that others own or may write is not used: a private temporary one is.
    """
    root = os.environ.get("STREAMLOAD_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "streamload"
    )
    folder = Path(root) / f"kernels-py{sys.version_info[0]}{sys.version_info[1]}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        owned = not hasattr(os, "getuid") or status.st_uid == os.getuid()
        if owned and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="streamload-kernels-"))


def compile_kernels() -> bool:
    """Load the compiled kernels, compiling those that the cache lacks; True when they are in use.

    Without numba, the plain ones stay in use, with one warning.
    """
    global _compiled
    if _compiled:
        return True
    disabled = os.environ.pop("NUMBA_DISABLE_JIT", None)
    try:
        config: Any = import_module("numba.core.config")
    except Exception as error:
        warnings.warn(
            f"numba cannot be imported ({error}): streamload works without compiled kernels, many times slower. Reinstall numba.",
            stacklevel=2,
        )
        return False
    finally:
        if disabled is not None:
            os.environ["NUMBA_DISABLE_JIT"] = disabled
    before = config.CACHE_DIR, config.DISABLE_JIT
    config.CACHE_DIR, config.DISABLE_JIT = str(cache_folder()), 0
    try:
        for name in ("gather", "permute"):
            import_module(f"{__name__}.{name}")
    finally:
        config.CACHE_DIR, config.DISABLE_JIT = before
    _compiled = True
    _in_use.clear()
    return True


def gather_kernels() -> ModuleType:
    """The gathers in use: `read_rows` and `copy_rows`."""
    return _in_use.get("gather") or _choose("gather")


def permute_kernels() -> ModuleType:
    """The permutation kernels in use."""
    return _in_use.get("permute") or _choose("permute")


def _choose(name: str) -> ModuleType:
    _in_use[name] = import_module(f"{__name__}.{name}" if _compiled else f"{__name__}.{name}_plain")
    return _in_use[name]
