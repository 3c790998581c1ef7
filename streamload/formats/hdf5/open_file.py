"""Opening HDF5 files: read-only, without waiting for locks, and with errors that say what is wrong with the file."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from streamload.errors import CorruptDataError, SourceBusyError, SourceError, StreamloadError, UnsafeSourceError
from streamload.storage.files import system_failure

if TYPE_CHECKING:
    import h5py

SCALE_OFFSET = (2, 0, 0)
"""The version of the HDF5 library that first reads all data that the scale-offset filter writes."""
REFUSED_SETTINGS = ("HDF5_VOL_CONNECTOR", "HDF5_VDS_PREFIX", "HDF5_EXTFILE_PREFIX")
"""Environment variables that make the HDF5 library load code, or take values from elsewhere than the file says."""


@contextmanager
def opened(path: str, *, cache_nbytes: int = 0) -> Generator[h5py.File]:
    """The file, open for reading; closed on the way out, and errors of the HDF5 library turned into ours."""
    file = open_file(path, cache_nbytes=cache_nbytes)
    try:
        with guarded(path):
            yield file
    finally:
        file.close()


@contextmanager
def guarded(path: str) -> Generator[None]:
    """Errors of the HDF5 library, at work on the file at `path`, turned into ours."""
    try:
        yield
    except StreamloadError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError) as error:
        raise unreadable(path, error) from error


def open_file(path: str, *, cache_nbytes: int = 0) -> h5py.File:
    """Open a file read-only with the plain driver of the system, whatever the environment asks for."""
    for name in REFUSED_SETTINGS:
        if os.environ.get(name, "native") not in ("native", ""):
            raise UnsafeSourceError(
                f"{name}={os.environ[name]} would make the HDF5 library read {path} in another way than the file says.",
                hint=f"Unset {name}.",
                path=path,
            )
    import h5py

    cache: dict[str, Any] = {"rdcc_nbytes": cache_nbytes} if cache_nbytes else {}
    try:
        try:
            return h5py.File(path, "r", locking="best-effort", driver="sec2", **cache)
        except OSError as error:
            # The library's best effort forgives a missing system call, but not a network disk that has no locks to give.
            if "unable to lock file" not in str(error) or f"errno = {errno.EAGAIN}," in str(error):
                raise
            return h5py.File(path, "r", locking=False, driver="sec2", **cache)
    except (OSError, RuntimeError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: BaseException) -> SourceError:
    """The error for a file in which the HDF5 library stumbled."""
    text = str(error)
    truncated = re.search(r"truncated file: eof = (\d+), sblock->base_addr = (\d+), stored_eof = (\d+)", text)
    if isinstance(error, BlockingIOError) or "unable to lock file" in text:
        return SourceBusyError(
            f"{path} is open for writing in another process.",
            hint="Wait until it is closed, then open it again.",
            path=path,
        )
    if truncated:
        real, base, stored = map(int, truncated.groups())
        return CorruptDataError(
            f"{path} is cut short: {base + stored:,} bytes were written, {real:,} are there.",
            hint="The copy or the download was interrupted: fetch the file again.",
            path=path,
        )
    if "h5clear" in text:
        return CorruptDataError(
            f"{path} was not closed by the program that wrote it, or is still being written.",
            hint=f"If nothing writes it any more, its last values may be missing; `h5clear -s {path}` makes it readable.",
            path=path,
        )
    if isinstance(error, OSError) and error.errno in (1, 13):
        return SourceError(f"{path} cannot be opened: {os.strerror(error.errno)}.", hint="Check its permissions.", path=path)
    failed = re.search(r"file read failed: .*errno = (\d+), error message = '([^']*)'", text, re.DOTALL)
    if failed and failed[1] != "0":
        return SourceError(
            f"{path}: reading it failed: {failed[2]}.",
            hint="Check the disk and the system log; a copy of the file on another disk may help.",
            path=path,
            errno=int(failed[1]),
        )
    if failure := system_failure(path, error):
        return failure
    reason = text.strip() or type(error).__name__
    if "filter returned failure" in text and (version := _library_version()) < SCALE_OFFSET:
        reason += f" (version {'.'.join(map(str, version))} says so of some good scale-offset data too, which h5py 3.16 reads)"
    return CorruptDataError(
        f"{path} is damaged, or its writer did not close it: the HDF5 library says: {reason}.",
        hint="Fetch or write it again. If its writer was killed, `h5clear -s` may help; nothing is changed for you.",
        path=path,
    )


def _library_version() -> tuple[int, ...]:
    """The version of the HDF5 library."""
    import h5py

    return tuple(h5py.version.hdf5_version_tuple)


def plugin_folder_check(path: str) -> None:
    """Raise UnsafeSourceError if looking for a filter would load code from a folder that anyone may write to."""
    for folder in filter(None, os.environ.get("HDF5_PLUGIN_PATH", "").split(os.pathsep)):
        try:
            mode = os.stat(folder).st_mode
        except OSError:
            continue
        if mode & stat.S_IWOTH:
            raise UnsafeSourceError(
                f"{path} needs a filter plugin, and HDF5_PLUGIN_PATH names {folder}, which every user may write to.",
                hint="Unset HDF5_PLUGIN_PATH, or take the write permission of others away (`chmod o-w`).",
                path=path,
            )
