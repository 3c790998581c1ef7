"""Where a conversion works until it is finished: a folder beside the target, locked, kept for the next try, renamed at the end.

1. Nothing stands under the final name before all of it is written, read again, and on the disk.
2. The folder is in the target's own, so that the last step is a rename; only its owner can look into it.
3. One conversion at a time: the lock is the kernel's, and goes with the process that holds it, however that ends. Only the
   tasks of one job array share it.
4. Files that are finished have an entry; a later try of the same request takes them as they are. Of another request, they are deleted.
5. A folder that no conversion made, or in which something lies that none writes, is refused, and nothing in it is touched.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, BinaryIO

from streamload.errors import ConversionError, SourceBusyError, SourceChangedError
from streamload.processes.fault_points import fault_point
from streamload.storage.owned_files import Folder
from streamload.tools.convert.manifest import FOLDER_NAME, SUFFIX, manifest_bytes
from streamload.tools.convert.working_folder import (
    BESIDE,
    BUCKETS,
    ENTRIES,
    FILES,
    MARK,
    OLD,
    OUT,
    clear,
    delete,
    names_in,
    opened,
    read_json,
    require_ours,
)

REQUEST = "request.json"
"""The file that says what was asked for."""
WAIT_SECONDS = 60.0
"""How long tasks wait for each other while one of them begins."""


class Staging:
    """The folder in which one target comes about; a context manager that holds its lock.

    With `shared`, `begin` lets others of the same request in.
    """

    def __init__(self, target: str, *, shared: bool = False) -> None:
        whole = os.path.abspath(target)
        self.name = os.path.basename(whole)
        self.parent = os.path.realpath(os.path.dirname(whole))
        self.target = os.path.join(self.parent, self.name)
        self._within = f".{self.name}.converting"
        self.folder = os.path.join(self.parent, self._within)
        self.out = os.path.join(self.folder, OUT)
        self.done = False
        """Whether all that was asked for has its final name."""
        self._shared = shared
        self._alone = True
        self._refused = False

    def __enter__(self) -> Staging:
        self._parent = Folder.named(self.parent)
        try:
            self._held = self._locked_folder()
        except BaseException:
            self._parent.close()
            raise
        return self

    @property
    def inode(self) -> int:
        """The number of the folder, by which workers know it."""
        return self._held.inode

    def _locked_folder(self) -> Folder:
        """The folder, made where there is none, and locked. Raises SourceBusyError, and UnsafeSourceError for one that is not ours."""
        deadline = time.monotonic() + (WAIT_SECONDS if self._shared else 0.0)
        while True:
            made = self._made()
            held = opened(self._parent, self._within, made=made)
            try:
                if self._locked(held.fd):
                    status = self._parent.status(self._within)
                    if status is not None and status.st_ino == held.inode:
                        self._parent.claim(self._within)
                        require_ours(held, self.name)
                        return held
                elif time.monotonic() >= deadline:
                    raise self._busy()
            except BaseException:
                held.close()
                raise
            held.close()
            time.sleep(0.02)

    def _made(self) -> bool:
        """Make the folder where there is none; whether there was none."""
        try:
            return self._parent.make_folder(self._within)
        except OSError as error:
            raise ConversionError(
                f"{self.parent} cannot be written to: {error.strerror}.", hint="Choose another folder for DST.", errno=error.errno
            ) from error

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
        with self._parent, self._held:
            if not self._alone:
                return
            if isinstance(error, SourceChangedError) or self._refused:
                self._delete_all()  # of another source than there is now, or of what will never be written
            else:
                self._sweep()
                if not self.finished():
                    self._delete_all()
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise ConversionError(
                    f"{self.target} is not finished: what is noted of it could not be written: {error.strerror}.",
                    hint="Make room or choose another folder; the same command then does what is missing.",
                    errno=error.errno,
                ) from error

    def _sweep(self) -> None:
        """Delete what was not finished; only who is alone knows that nobody writes it."""
        with suppress(FileNotFoundError), self._held.folder(OUT) as out:
            pattern = names_in(out, self.name)
            for name in out.names():
                # The manifest is written anew; until then it tells that what was to be moved is still here.
                if name != FOLDER_NAME and self.kept(name) is None:
                    delete(out, name, pattern)

    def _delete_all(self) -> None:
        """Delete the working folder; what others have put there stays, and the folder with it.

        What was asked for goes first: whatever ends this in the middle, nobody goes on from what is left, and the next to come deletes it.
        """
        delete(self._held, REQUEST, FILES)
        fault_point("convert.deleting")
        for name in (OUT, OLD, BUCKETS, ENTRIES):
            clear(self._held, name, self.name)
        for name in sorted(self._held.names(), key=lambda one: one == MARK):
            delete(self._held, name, FILES)
        self._parent.delete_folder(self._within)

    def begin(self, request: dict[str, Any]) -> bool:
        """Take up the work of an earlier try of the same request, or begin anew; whether there was one."""
        same = read_json(self._held, REQUEST) == request and not self._was_lost()
        if not self._alone and not same:
            raise self._busy()
        if same:
            if self._alone:
                self._sweep()
            self._let_in()
            return True
        for name in (ENTRIES, BUCKETS, OUT, OLD):
            clear(self._held, name, self.name)
        for name in self._held.names():
            if name != MARK:
                delete(self._held, name, FILES)
        self._held.make_folder(OUT)
        self._held.make_folder(ENTRIES)
        self._put(self._held, REQUEST, request)
        self._let_in()
        if read_json(self._held, REQUEST) != request:
            raise self._busy()  # another began anew in the moment in which the lock changed
        return False

    def _let_in(self) -> None:
        if self._shared and self._alone:
            fcntl.flock(self._held.fd, fcntl.LOCK_SH)
            self._alone = False

    def path(self, name: str) -> str:
        """Where something is that is thrown away at the end."""
        return os.path.join(self.folder, name)

    def create(self, name: str) -> BinaryIO:
        """A new file for something that is thrown away at the end, in place of one of an earlier try."""
        delete(self._held, name, FILES)
        return os.fdopen(self._held.create(name), "w+b")

    def renew_folder(self, name: str) -> None:
        """Have an empty folder of this name for something that is thrown away at the end."""
        clear(self._held, name, self.name)
        self._held.make_folder(name)

    def refuse(self) -> None:
        """Keep nothing for a later try: the same request would be refused again."""
        self._refused = True

    def keep(self, name: str, value: Any) -> None:
        """Note something for a later try."""
        with self._held.folder(ENTRIES) as entries:
            self._put(entries, name + ".json", value)

    def kept(self, name: str) -> Any:
        """What was noted, by this try or an earlier one; None where nothing was."""
        with suppress(OSError), self._held.folder(ENTRIES) as entries:
            return read_json(entries, name + ".json")
        return None

    def finished(self) -> bool:
        """Whether there is anything that a later try can use."""
        with suppress(OSError), self._held.folder(ENTRIES) as entries:
            return self._held.status(REQUEST) is not None and bool(entries.names())
        return False

    def _put(self, folder: Folder, name: str, value: Any) -> None:
        folder.claim(name)
        folder.write(name, json.dumps(value).encode())
        fault_point("convert.noted")

    def was_moved(self) -> bool:
        """Whether an earlier try was ended after its result got the final name, and before all was done."""
        note = self.kept("moving")
        return note is not None and _mark(self._parent, self.name) == note["mark"]

    def _was_lost(self) -> bool:
        """Whether what an earlier try made is neither where it was made nor under its final name."""
        note = self.kept("moving")
        if note is None or self.was_moved():
            return False
        if note["made"] == OUT:
            return _mark(self._held, OUT) != note["mark"]
        with suppress(OSError), self._held.folder(OUT) as out:
            return _mark(out, note["made"]) != note["mark"]
        return True

    def move_file(self, name: str, manifest: dict[str, Any], *, overwrite: bool) -> None:
        """Give the one file its final name, and write its manifest beside it.

        Raises ConversionError where something has come to stand there that is not to be replaced.
        """
        beside = self.name + SUFFIX
        if not self.was_moved():
            with self._held.folder(OUT) as out:
                out.set_mode(name, 0o666 & ~_umask())
                self.keep("moving", {"made": name, "mark": _mark(out, name)})
                if overwrite:
                    self._parent.claim(self.name)
                elif self._parent.status(self.name) is not None:
                    raise self._came_meanwhile()
                # The old one says nothing about the new file.
                self._parent.claim(beside)
                self._parent.delete(beside)
                try:
                    out.move(name, self.name, self._parent)
                except FileExistsError:
                    raise self._came_meanwhile() from None
            self._parent.sync()
            fault_point("convert.named")
        self._put_beside(beside, manifest_bytes(manifest))
        self._parent.sync()
        self.done = True
        self._delete_all()

    def _came_meanwhile(self) -> ConversionError:
        return ConversionError(
            f"{self.target} has come to exist while it was converted, and is not replaced.",
            hint="Move it away or give --overwrite: the same command then only gives the name.",
        )

    def move_folder(self, manifest: dict[str, Any], *, overwrite: bool) -> str | None:
        """Give the folder of files its final name, the manifest in it; where what was put into the old one meanwhile is now."""
        if not self.was_moved():
            mask = _umask()
            with self._held.folder(OUT) as out:
                out.claim(FOLDER_NAME)
                out.write(FOLDER_NAME, manifest_bytes(manifest))
                for name in out.names():
                    out.set_mode(name, 0o666 & ~mask)
                out.sync()
            self.keep("moving", {"made": OUT, "mark": _mark(self._held, OUT)})
            self._held.set_mode(OUT, 0o777 & ~mask)
            self._held.claim(OUT)
            if overwrite and self._parent.status(self.name) is not None:
                self._parent.claim(self.name)
                self._held.exchange(OUT, self.name, self._parent)
            else:
                try:
                    self._held.move(OUT, self.name, self._parent)
                except FileExistsError:
                    raise self._came_meanwhile() from None
            self._parent.sync()
            fault_point("convert.named")
        aside, status = None, self._held.status(OUT)
        if status is not None and not (stat.S_ISDIR(status.st_mode) and clear(self._held, OUT, self.name)):
            aside = f"{self.name}.replaced-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
            self._held.move(OUT, aside, self._parent)
        self.done = True
        self._delete_all()
        return aside

    def write_beside(self, suffix: str, text: str) -> None:
        """Write a file called like the target, with an ending; one that stands there is replaced."""
        self._put_beside(self.name + suffix, text.encode())

    def _put_beside(self, name: str, data: bytes) -> None:
        """Write a file beside the target whole: until it has its name it lies in the working folder, where a later try finds it."""
        self._held.claim(BESIDE)
        self._held.write(BESIDE, data)
        fault_point("convert.beside")
        self._parent.claim(name)
        self._held.move(BESIDE, name, self._parent)


def _mark(folder: Folder, name: str) -> list[int] | None:
    """What tells a file, or a folder with its manifest, from others of its name; a number alone would be given again."""
    status = folder.status(name)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return None if status is None else [status.st_ino, status.st_mtime_ns]
    with suppress(OSError), folder.folder(name) as inner:
        manifest = inner.status(FOLDER_NAME)
        return None if manifest is None else [status.st_ino, manifest.st_mtime_ns]
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
