"""Where a conversion works until it is finished: a folder beside the target, locked, kept for the next try, renamed at the end.

1. Nothing stands under the final name before all of it is written, read again, and on the disk.
2. The folder is in the target's own, so that the last step is a rename; only its owner can look into it.
3. One conversion at a time: the lock is the kernel's, and goes with the process that holds it, however that ends. Only the
   tasks of one job array share it.
4. Files that are finished have an entry; a later try of the same request takes them as they are. Of another request, they are deleted.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import time
from types import TracebackType
from typing import Any

from streamload.tools.convert.manifest import FOLDER_NAME, SUFFIX, sync_folder, write_manifest

from streamload.errors import SourceBusyError
from streamload.fault_points import reach

_EXCHANGE, _HERE = 2, -100
WAIT_SECONDS = 60.0
"""How long tasks wait for each other while one of them begins."""


class Staging:
    """The folder in which one target comes about; a context manager that holds its lock.

    With `shared`, `begin` lets others of the same request in.
    """

    def __init__(self, target: str, *, shared: bool = False) -> None:
        self.target = os.path.abspath(target)
        self.parent = os.path.dirname(self.target)
        self.folder = os.path.join(self.parent, f".{os.path.basename(self.target)}.converting")
        self.out = os.path.join(self.folder, "out")
        self._entries = os.path.join(self.folder, "entries")
        self._request = os.path.join(self.folder, "request.json")
        self._lock = -1
        self._shared = shared
        self._alone = True

    def __enter__(self) -> Staging:
        deadline = time.monotonic() + (WAIT_SECONDS if self._shared else 0.0)
        while True:
            try:
                os.mkdir(self.folder, mode=0o700)
            except FileExistsError:
                pass
            fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            if not self._locked(fd):
                os.close(fd)
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                raise self._busy()
            try:
                same = os.stat(self.folder).st_ino == os.fstat(fd).st_ino
            except FileNotFoundError:
                same = False
            if same:
                self._lock = fd
                return self
            os.close(fd)

    def _locked(self, fd: int) -> bool:
        """Take the lock: alone where that can be had, else with others where they may share it."""
        for alone in (True, False) if self._shared else (True,):
            try:
                fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            self._alone = alone
            return True
        return False

    def _busy(self) -> SourceBusyError:
        return SourceBusyError(f"{self.target} is being written by another conversion.", hint="Wait for it, or end it.", path=self.target)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._alone and os.path.isdir(self.folder):
            self._sweep()
            if not self.finished():
                shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _sweep(self) -> None:
        """Delete what was not finished; only who is alone knows that nobody writes it."""
        for name in os.listdir(self.out) if os.path.isdir(self.out) else ():
            path = os.path.join(self.out, name)
            if self.kept(name) is None:
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)

    def begin(self, request: dict[str, Any]) -> bool:
        """Take up the work of an earlier try of the same request, or begin anew; whether there was one."""
        same = self._held(self._request) == request and not self._was_lost()
        if not self._alone and not same:
            raise self._busy()
        if same:
            if self._alone:
                self._sweep()
            self._let_in()
            return True
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        os.makedirs(self.out)
        os.makedirs(self._entries)
        self._put(self._request, request)
        self._let_in()
        if self._held(self._request) != request:
            raise self._busy()  # another began anew in the moment in which the lock changed
        return False

    def _let_in(self) -> None:
        if self._shared and self._alone:
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            self._alone = False

    def path(self, name: str) -> str:
        """A place for something that is thrown away at the end."""
        return os.path.join(self.folder, name)

    def keep(self, name: str, value: Any) -> None:
        """Note something for a later try."""
        self._put(os.path.join(self._entries, name + ".json"), value)

    def kept(self, name: str) -> Any:
        """What was noted, by this try or an earlier one; None where nothing was."""
        return self._held(os.path.join(self._entries, name + ".json"))

    def finished(self) -> bool:
        """Whether there is anything that a later try can use."""
        return os.path.isdir(self._entries) and bool(os.listdir(self._entries))

    def _put(self, path: str, value: Any) -> None:
        new = f"{path}.tmp-{os.getpid()}"
        with open(new, "w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        reach("convert.noted")

    def _held(self, path: str) -> Any:
        try:
            with open(path) as file:
                return json.load(file)
        except (OSError, ValueError):
            return None

    def was_moved(self) -> bool:
        """Whether an earlier try was ended after its result got the final name, and before all was done."""
        note = self.kept("moving")
        return note is not None and _mark(self.target) == note["mark"]

    def _was_lost(self) -> bool:
        """Whether what an earlier try made is neither where it was made nor under its final name."""
        note = self.kept("moving")
        return note is not None and not self.was_moved() and _mark(os.path.join(self.folder, note["made"])) != note["mark"]

    def _note_move(self, made: str) -> None:
        """Note what is going to be moved."""
        self.keep("moving", {"made": os.path.relpath(made, self.folder), "mark": _mark(made)})

    def move_file(self, name: str, manifest: dict[str, Any]) -> None:
        """Give the one file its final name, and write its manifest beside it."""
        made = os.path.join(self.out, name)
        if not self.was_moved():
            os.chmod(made, 0o666 & ~_umask())
            self._note_move(made)
            if os.path.exists(self.target + SUFFIX):
                os.unlink(self.target + SUFFIX)
            os.replace(made, self.target)
            sync_folder(self.parent)
            reach("convert.named")
        write_manifest(self.target + SUFFIX, manifest)
        shutil.rmtree(self.folder)

    def move_folder(self, manifest: dict[str, Any]) -> None:
        """Give the folder of files its final name, the manifest in it."""
        if not self.was_moved():
            write_manifest(os.path.join(self.out, FOLDER_NAME), manifest)
            self._note_move(self.out)
            mask = _umask()
            for name in os.listdir(self.out):
                os.chmod(os.path.join(self.out, name), 0o666 & ~mask)
            os.chmod(self.out, 0o777 & ~mask)
            if os.path.lexists(self.target):
                _exchange(self.out, self.target)
            else:
                os.rename(self.out, self.target)
            sync_folder(self.parent)
            reach("convert.named")
        shutil.rmtree(self.folder)


def _mark(path: str) -> list[int] | None:
    """What tells a file, or a folder with its manifest, from others of its name; a number alone would be given again."""
    try:
        return [os.stat(path).st_ino, os.stat(os.path.join(path, FOLDER_NAME) if os.path.isdir(path) else path).st_mtime_ns]
    except OSError:
        return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _exchange(here: str, there: str) -> None:
    """Swap two names at once, so that the target is never missing; one after the other where the kernel cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
        if call(_HERE, os.fsencode(here), _HERE, os.fsencode(there), _EXCHANGE) == 0:
            return
    except AttributeError:
        pass
    aside = here + ".old"
    os.rename(there, aside)
    os.rename(here, there)
