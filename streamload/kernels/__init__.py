"""Compiled loops: which set is in use, and where their machine code is kept.

Rules of this room:

1. A compiled module `x` has a plain twin `x_plain`, which needs no compiler, with the same functions and the same answers to the bit.
   Whoever needs them asks a function here, `x_kernels()`, for the set in use. What speeds a format up, and has another way in Python
   beside it, has no twin: `tar_heads`, `whole_files`. The room `augment` has rules of its own.
2. Kernels check nothing, neither bounds nor addresses: whoever calls them has checked what they are given.
3. Arrays are C-contiguous, of the dtypes in a kernel's signature and in this machine's order of bytes; where the signature says
   nothing of `readonly`, they can be written to as well, even if they are only read. Arguments called `out` are written to.
4. A kernel calls functions of its own module only, as numba does not notice that another module has changed since it kept machine
   code. So some small functions stand in several modules.
5. `MODULES` are loaded together, when a loader begins; all others by whoever asks for them first.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamload.kernels.augment.runners import Runner

from streamload.errors import UnsafeSourceError
from streamload.storage import owned_files

MODULES = ("gather", "permute", "unshuffle")
_compiled = False
_augments = False
"""Whether compiled kernels of augmentation are in use where the others are plain."""
_announced: set[str] = set()
"""What this process has said that it compiles."""
_missing: str | None = None
_in_use: dict[str, ModuleType] = {}


NO_PLACE = "no folder can be written to in which compiled kernels could lie"
NO_FOLDER = f"Set STREAMLOAD_CACHE_DIR to a folder that you may write to, such as {owned_files.IN_MEMORY}/streamload."


def cache_folder() -> Path | None:
    """The folder that keeps compiled kernels: in `$STREAMLOAD_CACHE_DIR`, else in the user's cache folder.

    The files in it are code, so a folder that others own or may write is not used. None where there is none to use.
    """
    folder = _held_folder()
    if folder is None:
        return None
    with folder:
        return Path(folder.path)


def _held_folder() -> owned_files.Folder | None:
    folder = owned_files.cache_folder(f"kernels-py{sys.version_info[0]}{sys.version_info[1]}")
    if folder is None or os.access(folder.path, os.W_OK):
        return folder
    folder.close()
    return None


def _stamp(names: Sequence[str]) -> str:
    """The name of a file that stands in the cache folder once these very modules have been compiled into it."""
    from importlib.metadata import version  # Half of what importing the library would cost.

    said = f"{version('numba')} {import_module(f'{__name__}.kept_files').sources_beside(__file__)} {sorted(names)}"
    return f"compiled-{hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}"


def announce_compiling() -> None:
    """Say on stderr, once, that the kernels are about to be compiled; say nothing where that has been done."""
    if not _compiled:
        _announce("its kernels", 5, MODULES)


def _announce(what: str, seconds: int, names: Sequence[str]) -> None:
    """Say that modules are about to be compiled, unless the cache folder has them."""
    try:
        folder = cache_folder()
        # Of what was said workers may not be done yet: it is not compiled again where the code is kept.
        if folder is not None and (what in _announced or (folder / _stamp(names)).exists()):
            return
    except (OSError, ImportError):  # PackageNotFoundError is one.
        return  # Whoever loads them will say what is wrong.
    _announced.add(what)
    _say_compiling(f"{what}, which takes some {seconds} seconds", kept=folder is not None)


def _say_compiling(what: str, *, kept: bool) -> None:
    often = "once" if kept else f"every time, since there is no cache folder of your own. {NO_FOLDER[:-1]}"
    print(f"streamload: compiling {what}, {often}.", file=sys.stderr, flush=True)


def _leave_stamp(folder: Path | None, names: Sequence[str]) -> None:
    """Note that modules have been compiled into the folder."""
    if folder is not None:
        with suppress(OSError, UnsafeSourceError), owned_files.Folder.named(folder) as held:  # else it is said again next time
            os.close(held.create(_stamp(names)))


def compile_kernels() -> bool:
    """Load the compiled kernels, compiling those that the cache lacks; True when they are in use.

    Without numba, the plain ones stay in use, with one warning.
    """
    global _compiled
    if _compiled:
        return True
    folder = cache_folder()
    if not _load(MODULES, folder):
        return False
    _leave_stamp(folder, MODULES)
    use(compiled=True)
    return True


def _load(names: Sequence[str], folder: Path | None) -> bool:
    """Import compiled modules, their machine code kept in the folder; False where there is no compiler."""
    disabled = os.environ.pop("NUMBA_DISABLE_JIT", None)
    try:
        import_module("numba.core.config")
    except Exception as error:
        do_without(str(error))
        return False
    finally:
        if disabled is not None:
            os.environ["NUMBA_DISABLE_JIT"] = disabled
    try:
        with _kept_in(folder):
            for name in names:
                import_module(f"{__name__}.{name}")
    except FileNotFoundError:
        do_without(NO_PLACE)
        return False
    return True


@contextmanager
def _kept_in(folder: Path | None) -> Generator[None]:
    """Machine code that is compiled meanwhile is kept in the folder, or for this process alone."""
    config: Any = import_module("numba.core.config")
    before = config.CACHE_DIR, config.DISABLE_JIT
    with owned_files.temporary_folder("streamload-kernels-") if folder is None else nullcontext(str(folder)) as kept:
        config.CACHE_DIR, config.DISABLE_JIT = kept, 0
        try:
            with import_module(f"{__name__}.kept_code").loaded_as_kept():
                yield
        finally:
            config.CACHE_DIR, config.DISABLE_JIT = before


def missing() -> str | None:
    """Why there are no compiled kernels here, as far as that has been found out."""
    return _missing


def do_without(why: str) -> None:
    """Warn, once a process, that compiled kernels are missing."""
    global _missing
    if _missing is None:
        _missing = why
        warnings.warn(
            f"{why if why == NO_PLACE else f'numba cannot be imported ({why})'}: "
            f"streamload works without compiled kernels, many times slower. {NO_FOLDER if why == NO_PLACE else 'Reinstall numba.'}",
            stacklevel=3,
        )


def use(*, compiled: bool) -> None:
    """Put one set of kernels in use; the compiled ones must have been loaded."""
    global _compiled, _augments
    _compiled, _augments = compiled, False
    _in_use.clear()


def _load_said(name: str, what: str, seconds: int) -> bool:
    """Load a compiled module: one process compiles it and says so, others that ask meanwhile wait. False where there is no compiler."""
    folder = _held_folder()
    with folder or nullcontext(), _alone_in(folder):
        path = Path(folder.path) if folder is not None else None
        _announce(what, seconds, [name])
        if not _load([name], path):
            return False
        _leave_stamp(path, [name])
        return True


def gather_kernels() -> ModuleType:
    """The gathers in use: `locate`, `read_rows`, `copy_rows`, and for records of different lengths `read_ragged` and `copy_ragged`."""
    return _in_use.get("gather") or _choose("gather")


def unshuffle_kernels() -> ModuleType:
    """The unshuffling in use: `unshuffle`."""
    return _in_use.get("unshuffle") or _choose("unshuffle")


def permute_kernels() -> ModuleType:
    """The permutation kernels in use."""
    return _in_use.get("permute") or _choose("permute")


def draw_kernels() -> ModuleType:
    """The draws in use: `drawn_ranks`. Only weights need them: the compiled ones are loaded by whoever asks first."""
    if "draws" not in _in_use:
        compiled = _compiled and _load(["draws"], cache_folder())
        _in_use["draws"] = import_module(f"{__name__}.{'draws' if compiled else 'draws_plain'}")
    return _in_use["draws"]


def collate_kernels() -> ModuleType:
    """Padding and packing in use: `first_fit`, `lay_out` and what marks elements. The compiled ones are loaded by whoever asks first."""
    if "collate" not in _in_use:
        compiled = _compiled and _load(["collate"], cache_folder())
        _in_use["collate"] = import_module(f"{__name__}.{'collate' if compiled else 'collate_plain'}")
    return _in_use["collate"]


def checksum_kernels() -> ModuleType:
    """The checksums in use: `crc32c`. No loader needs them: they are compiled by whoever asks first."""
    if "crc32c" not in _in_use:
        compiled = _load(["crc32c"], cache_folder())
        _in_use["crc32c"] = import_module(f"{__name__}.{'crc32c' if compiled else 'crc32c_plain'}")
    return _in_use["crc32c"]


def identity_kernels(*, many: bool) -> ModuleType:
    """What looks at files: `identities`. To load the compiled one pays where there are `many`; little-endian 64-bit Linux has it."""
    if not many or not _is_usual_linux():
        return import_module(f"{__name__}.identities_plain")
    if "identities" not in _in_use:
        compiled = _has_statx() and _load(["identities"], cache_folder())
        _in_use["identities"] = import_module(f"{__name__}.{'identities' if compiled else 'identities_plain'}")
    return _in_use["identities"]


def whole_file_kernels() -> ModuleType | None:
    """What reads whole files: `read_files`, `begin_reading`; None where compiled kernels are not in use, or the system is another.

    They are compiled by whoever asks first, which is said on stderr.
    """
    if not _compiled or not _is_usual_linux():
        return None
    if "whole_files" not in _in_use:
        if not _has_statx() or not _load_said("whole_files", "what reads whole files", 3):
            return None
        _in_use["whole_files"] = import_module(f"{__name__}.whole_files")
    return _in_use["whole_files"]


def _is_usual_linux() -> bool:
    """Whether words and addresses are what kernels take them for that call the system."""
    return sys.platform == "linux" and sys.byteorder == "little" and sys.maxsize > 1 << 32


@cache
def _has_statx() -> bool:
    """Whether the C library has what the compiled kernel calls."""
    import ctypes

    return hasattr(ctypes.CDLL(None), "statx")


def tar_kernels() -> ModuleType | None:
    """What walks through tar archives: `walk`, `group`, `read_each`; None without a compiler.

    They are compiled by whoever asks first, which is said on stderr.
    """
    if "tar_heads" not in _in_use:
        if not hasattr(os, "pread"):
            return None
        if not _load_said("tar_heads", "what walks through large tar archives", 3):
            return None
        _in_use["tar_heads"] = import_module(f"{__name__}.tar_heads")
    return _in_use["tar_heads"]


def draw_kernel() -> Callable[..., None]:
    """The hash that draws numbers, in use: see `augment.plain.run.draw`."""
    if "draw" not in _in_use:
        runners = import_module(f"{__name__}.augment.runners")
        compiled = _compiled or _augments
        _in_use["draw"] = runners.CompiledDraw(*_loaded_augment(("draw",))) if compiled else import_module(f"{__name__}.augment.plain.run")
    return _in_use["draw"].draw


def augment_runner() -> Runner:
    """What runs the steps of augmentation: a new one, with the kernels in use. Compiled ones are loaded as they are asked for."""
    augment = import_module(f"{__name__}.augment")
    runners = import_module(f"{__name__}.augment.runners")
    return runners.CompiledRunner(_loaded_augment) if _compiled or _augments else runners.PlainRunner(augment.plain_kernel)


def augments_at_once(names: Sequence[str]) -> bool:
    """Whether compiled kernels of augmentation are at hand without numba, which takes longer to import than a batch to augment.

    They are in use from then on, whatever is in use of the others.
    """
    global _augments
    augment = import_module(f"{__name__}.augment")
    try:
        with _augment_folder() as folder:
            at_hand = augment.load_objects((*augment.ALWAYS, *names), folder)
    except ImportError:  # PackageNotFoundError is one.
        return False
    if at_hand and not _augments:
        _augments = True
        _in_use.pop("draw", None)
    return at_hand


def load_augment_kernels(names: Sequence[str]) -> None:
    """Load kernels of augmentation, compiling those that the cache lacks; processes that do so at once wait for one another."""
    if _compiled or _augments:
        _loaded_augment(tuple(names))


def prepare_augment_kernels(names: Sequence[str]) -> None:
    """Compile those kernels of augmentation that the cache lacks, and say so on stderr; do nothing where there are none.

    For a process that has no other use for them: whoever runs them then only loads them, which takes no time to speak of.
    """
    augment = import_module(f"{__name__}.augment")
    names = (*augment.ALWAYS, *names)
    try:
        with _augment_folder() as folder:
            lacking = [name for name in names if folder is None or not augment.is_kept(name, folder)]
            if not lacking:
                return
            _say_compiling(f"{len(lacking)} kernels of augmentation, a second or two each", kept=folder is not None)
            if folder is not None and _load((), Path(folder.path)):
                _loaded_augment(names)
    except ImportError:
        return  # Whoever runs them will say what is wrong.


@contextmanager
def _augment_folder() -> Generator[owned_files.Folder | None]:
    """Where machine code of augmentation is kept: by its sources, the compiler and the processor. None where nothing can be kept.

    What is loaded is read through the descriptor that was looked at: a folder that others may write, or a link, is not used.
    """
    from importlib.metadata import version

    augment = import_module(f"{__name__}.augment")
    sources = import_module(f"{__name__}.kept_files").sources_beside(augment.__file__)
    name = f"augment-{sources}-{version('numba')}-{augment.objects.processor()}"
    folder: owned_files.Folder | None = None
    with suppress(OSError, UnsafeSourceError), _held_folder() or nullcontext() as whole:
        if whole is not None:
            whole.make_folder(name)
            folder = whole.folder(name)
    with folder or nullcontext():
        yield folder if folder is not None and folder.is_private() else None


def _loaded_augment(names: tuple[str, ...]) -> list[int]:
    """Addresses of compiled kernels, their machine code kept in a folder of their own."""
    augment = import_module(f"{__name__}.augment")
    with _augment_folder() as folder:
        if not augment.load_objects(names, folder):
            lacking = [name for name in names if folder is not None and not augment.is_kept(name, folder)]
            with _kept_in(Path(folder.path) if folder is not None else None), _alone_in(folder if lacking else None):
                augment.load_objects(names, folder)  # Another process may have made them meanwhile.
                augment.compile_kernels(names, folder)
                if folder is not None:
                    augment.mark_kept(lacking, folder)
    return augment.addresses(names)


@contextmanager
def _alone_in(folder: owned_files.Folder | None) -> Generator[None]:
    """No other process compiles into the folder meanwhile, where the system can say so."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    if folder is not None:
        with suppress(OSError):
            fcntl.flock(folder.fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if folder is not None:
            with suppress(OSError):
                fcntl.flock(folder.fd, fcntl.LOCK_UN)


def _choose(name: str) -> ModuleType:
    _in_use[name] = import_module(f"{__name__}.{name}" if _compiled else f"{__name__}.{name}_plain")
    return _in_use[name]
