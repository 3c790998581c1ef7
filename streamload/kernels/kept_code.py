"""Machine code that numba compiles, kept in files of our own and loaded without what only compiling needs.

Rules:

1. Before it loads a kept kernel, numba takes in its implementations of everything, SciPy with them: two thirds of the time that loading
   takes. No kernel here needs any of it to run. Whoever compiles still has it: numba's compiler takes it in itself.
2. Numba's files have no checksum: it would run code that is damaged, and fails where an index is cut short. And an index is written before
   the code that it names: where a process ends in between, the code of an earlier version is taken for that of this one. A file here has
   the digest of its bytes, and is named by all that they were made of.
3. Code that cannot be kept serves the process that has compiled it.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any

from streamload.errors import UnsafeSourceError
from streamload.kernels import kept_files
from streamload.storage.owned_files import Folder


class _Thread(threading.local):
    """What holds for this thread alone: others may load kernels of the user's meanwhile."""

    loads_as_kept = False


_thread = _Thread()


@contextmanager
def loaded_as_kept() -> Generator[None]:
    """Meanwhile numba loads and keeps code as the rules say, in this thread. A numba that works otherwise does as ever."""
    _divert()
    before, _thread.loads_as_kept = _thread.loads_as_kept, True
    try:
        yield
    finally:
        _thread.loads_as_kept = before


@cache
def _divert() -> None:
    """Have numba ask here before it loads or keeps something. It stays so: threads may be loading whenever it was taken back."""
    try:
        caching: Any = import_module("numba.core.caching")
        runtime: Any = import_module("numba.core.runtime").rtsys
        to_bytes: Callable[[Any], bytes] = import_module("numba.core.serialize").dumps
        keeper = caching.Cache
        load, save, _, _, _ = keeper.load_overload, keeper.save_overload, keeper._load_overload, keeper.cache_path, caching.CacheImpl
    except (ImportError, AttributeError):
        return

    def load_overload(kept: Any, sig: Any, target_context: Any) -> Any:
        if not _thread.loads_as_kept:
            return load(kept, sig, target_context)
        runtime.initialize(target_context)  # Arrays that a kernel makes for itself come from there.
        kept._cache_file = CodeFiles(kept.cache_path, kept._impl.filename_base, to_bytes)
        return kept._load_overload(sig, target_context)

    def save_overload(kept: Any, sig: Any, data: Any) -> None:
        if not _thread.loads_as_kept:
            save(kept, sig, data)
            return
        with suppress(OSError):  # The folder is full, or gone.
            save(kept, sig, data)

    keeper.load_overload, keeper.save_overload = load_overload, save_overload


class CodeFiles:
    """The code of one function, a file for each signature: what numba asks for in place of its own index and files."""

    def __init__(self, folder: str, name: str, to_bytes: Callable[[Any], bytes]) -> None:
        """`name` is the function's, `to_bytes` pickles what numba has compiled."""
        self._folder = folder
        self._name = name
        self._to_bytes = to_bytes

    def load(self, key: Any) -> Any:
        """What was kept under a key of numba's: signature, processor, bytecode. None where there is nothing, or it is damaged."""
        data = None
        with suppress(OSError, UnsafeSourceError), Folder.named(self._folder) as folder:
            data = kept_files.read(folder, self._file(key))
        return None if data is None else pickle.loads(data)

    def save(self, key: Any, made: Any) -> None:
        """Keep what was compiled, if that can be."""
        with suppress(OSError, UnsafeSourceError), Folder.named(self._folder) as folder:
            kept_files.write(folder, self._file(key), self._to_bytes(made))

    def _file(self, key: Any) -> str:
        made_of = f"{_compilers()} {kept_files.sources_beside(__file__)} {key}"
        return f"{self._name}.{hashlib.blake2b(made_of.encode(), digest_size=8).hexdigest()}.nbc"


@cache
def _compilers() -> str:
    """What makes machine code of kernels."""
    return " ".join(f"{name} {import_module(name).__version__}" for name in ("numba", "llvmlite"))
