"""Direct reads: past the page cache, many under way at a time, for data that memory cannot hold.

What is read of a file much larger than memory is evicted before it is wanted again: keeping it costs the kernel more than
reading it, and everybody else their own pages. Linux is asked for many reads with one call (its native asynchronous
input, io_submit of libaio), and they land in memory of ours while records that came before are decoded.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
import sys
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.reuse.scratch import watch

ALIGNMENT = 4096
"""Places, lengths and addresses of direct reads are multiples of this; no device in use asks for more."""
LEAST_RECORD_NBYTES = 32 * 1024
"""Smaller records are read through the page cache: asking for each takes longer than what the kernel does to keep it."""
PIECE_NBYTES = 1024**2
"""Larger records are read in pieces of this."""
RING_NBYTES = 8 * 1024**2
"""What reads that are under way, or have landed and are not used up, take of one reader's memory."""
MOST_READS = 32
"""Under way at a time: with two workers the device has as many as give its best rate."""
TOGETHER = 8
"""Reads that one call asks for, unless one of them is waited for."""
_NUMBERS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
"""The system's numbers of io_setup, io_destroy, io_getevents and io_submit."""
_REQUEST = struct.Struct("=QIIHhIQQqQII")
"""struct iocb: our number, two words, what to do (0: read), a priority, descriptor, address, length, offset, the rest."""
_ANSWER = struct.Struct("=QQqq")
"""struct io_event: our number, the request, bytes read or a negative errno."""


@dataclass(slots=True)
class _Read:
    """A read: where in the ring it lands, and what has become of it."""

    number: int
    """Of its request, which is free again once the read has ended."""
    start: int
    end: int
    """Of its room, as if the ring had no end."""
    skipped: int
    """Bytes before those that are wanted."""
    nbytes: int
    got: int | None = None
    """Bytes that came, or a negative errno; None while it is under way."""
    used: bool = False


class DirectReads:
    """A ring of memory that reads land in: begun in the order given, taken in any, its room let go of oldest first.

    At most `most` are under way, each of whole multiples of `alignment` in bytes. Raises OSError where the system cannot do
    it. Not shared between threads or processes.
    """

    def __init__(self, nbytes: int = RING_NBYTES, *, most: int = MOST_READS, alignment: int = ALIGNMENT) -> None:
        if platform.machine() not in _NUMBERS or not sys.platform.startswith("linux"):
            raise OSError(errno.ENOSYS, "asynchronous reads are Linux's, on x86_64 and aarch64")
        self._setup, self._destroy, self._getevents, self._submit = _NUMBERS[platform.machine()]
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        self._context = ctypes.c_ulong(0)
        self._most = most
        self._alignment = alignment
        self._call(self._setup, ctypes.c_long(most), ctypes.byref(self._context))
        self._memory = mmap.mmap(-1, nbytes)
        self._ring = np.frombuffer(self._memory, np.uint8)
        self._address = self._ring.ctypes.data
        self._requests = ctypes.create_string_buffer(_REQUEST.size * most)
        self._answers = ctypes.create_string_buffer(_ANSWER.size * most)
        self._asked = (ctypes.c_uint64 * most)()
        self._reads: OrderedDict[Hashable, _Read] = OrderedDict()
        self._under_way: dict[int, _Read] = {}
        self._free = list(range(most))
        self._unsent: list[_Read] = []
        self._next = 0
        watch(self)

    def __len__(self) -> int:
        return len(self._reads)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._reads

    def begin(self, key: Hashable, fd: int, offset: int, nbytes: int) -> bool:
        """Ask for `nbytes` at `offset`, to be taken under a name; False if there is no room for them yet."""
        first = offset // self._alignment * self._alignment
        length = -(-(offset + nbytes - first) // self._alignment) * self._alignment
        size = len(self._ring)
        start = self._next
        if start % size + length > size:
            start += size - start % size
        oldest = next(iter(self._reads.values())).start if self._reads else start
        if start + length - oldest > size or not self._free:
            return False
        read = _Read(self._free.pop(), start, start + length, offset - first, nbytes)
        request = (read.number, 0, 0, 0, 0, fd, self._address + start % size, length, first, 0, 0, 0)
        _REQUEST.pack_into(self._requests, read.number * _REQUEST.size, *request)
        self._next = read.end
        self._reads[key] = self._under_way[read.number] = read
        self._unsent.append(read)
        if len(self._unsent) >= TOGETHER:
            self.send()
        return True

    def send(self) -> None:
        """Hand over what was begun, with one call."""
        first = ctypes.addressof(self._requests)
        for k, read in enumerate(self._unsent):
            self._asked[k] = first + read.number * _REQUEST.size
        done, count = 0, len(self._unsent)
        while done < count:
            try:
                done += self._call(
                    self._submit, self._context, ctypes.c_long(count - done), ctypes.c_void_p(ctypes.addressof(self._asked) + 8 * done)
                )
            except OSError as error:
                # The first one is refused, whatever is wrong with it: who takes it reads it in another way, and sees.
                self._end(self._unsent[done], -(error.errno or errno.EIO))
                done += 1
        self._unsent.clear()

    def take(self, key: Hashable) -> NDArray[np.uint8] | None:
        """The bytes asked for under a name, waited for, until `done`; None if they did not all come, or nobody asked."""
        read = self._reads.get(key)
        if read is None:
            return None
        if read.got is None and self._unsent:
            self.send()
        while read.got is None:
            self._collect()
        if read.got < read.skipped + read.nbytes:
            return None
        start = read.start % len(self._ring) + read.skipped
        return self._ring[start : start + read.nbytes]

    def done(self, key: Hashable) -> None:
        """Let go of what was taken, or is not wanted any more."""
        if key in self._reads:
            self._reads[key].used = True
            while self._reads and (oldest := next(iter(self._reads.values()))).used and oldest.got is not None:
                self._reads.popitem(last=False)

    def read(
        self, fd: int, offsets: NDArray[np.int64], sizes: NDArray[np.int64], out: NDArray[np.uint8], starts: NDArray[np.int64]
    ) -> list[int]:
        """Read `sizes[k]` bytes at `offsets[k]` of a file into `out[starts[k]:]`, bytes of shape (nbytes,), for every k.

        Returns every k that could not be read.
        """
        self.clear()
        where, lengths, targets = offsets.tolist(), sizes.tolist(), starts.tolist()
        pieces = [(k, at) for k, length in enumerate(lengths) for at in range(0, length, PIECE_NBYTES)]
        failed, begun = dict[int, None](), 0
        for k, at in pieces:
            while begun < len(pieces):
                ahead, start = pieces[begun]
                if not self.begin((ahead, start), fd, where[ahead] + start, min(PIECE_NBYTES, lengths[ahead] - start)):
                    break
                begun += 1
            came = self.take((k, at))
            if came is None:
                failed[k] = None
            else:
                out[targets[k] + at : targets[k] + at + len(came)] = came
            self.done((k, at))
        return list(failed)

    def overwrite(self, value: int) -> None:
        """Fill the ring with a byte, but for what is asked for and not let go of."""
        size = len(self._ring)
        free = np.ones(size, np.bool_)
        for read in self._reads.values():
            free[read.start % size : read.start % size + read.end - read.start] = False
        self._ring[free] = value

    def clear(self) -> None:
        """Let go of everything that was asked for; what is under way is waited for, since its room may not be used before."""
        if self._under_way:
            # Waiting for answers would never end if one was lost to an exception, so the system is asked to end them all.
            self._call(self._destroy, self._context)
            self._context = ctypes.c_ulong(0)
            self._call(self._setup, ctypes.c_long(self._most), ctypes.byref(self._context))
        self._under_way.clear()
        self._reads.clear()
        self._unsent.clear()
        self._free = list(range(self._most))
        self._next = 0

    def close(self) -> None:
        """Wait for what is under way, and let go of the memory."""
        if self._context:
            self._syscall(self._destroy, self._context)
            self._context = ctypes.c_ulong(0)
        self._reads.clear()
        self._under_way.clear()
        self._unsent.clear()
        self._ring = np.empty(0, np.uint8)

    def __del__(self) -> None:
        if hasattr(self, "_ring"):
            self.close()

    def _collect(self) -> None:
        """Wait for at least one answer, and note all that are there."""
        count = self._call(
            self._getevents, self._context, ctypes.c_long(1), ctypes.c_long(self._most), ctypes.byref(self._answers), ctypes.c_void_p()
        )
        for k in range(count):
            number, _, got, _ = _ANSWER.unpack_from(self._answers, k * _ANSWER.size)
            self._end(self._under_way[number], got)

    def _end(self, read: _Read, got: int) -> None:
        read.got = got
        del self._under_way[read.number]
        self._free.append(read.number)

    def _call(self, number: int, *arguments: object) -> int:
        """A system call, begun anew where a signal ended it. Raises OSError."""
        while True:
            returned = self._syscall(ctypes.c_long(number), *arguments)
            if returned >= 0:
                return returned
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))


def direct_reads(nbytes: int = RING_NBYTES) -> DirectReads | None:
    """A ring of direct reads, or None where the system has none to give: everything is then read through the page cache."""
    try:
        return DirectReads(nbytes)
    except OSError:
        return None
