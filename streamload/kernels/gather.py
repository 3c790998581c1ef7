"""Compiled gathers: records by offset, from a descriptor or from memory, into rows."""

# pyright: basic, reportCallIssue=false
# The types of arguments stand in the signatures; numba's own stubs know nothing of them.

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# A cached kernel calls functions of this module only: numba does not notice when another module changes.
_pread = types.ExternalFunction("pread", types.intp(types.int32, types.voidptr, types.uintp, types.int64))
_memcpy = types.ExternalFunction("memcpy", types.voidptr(types.voidptr, types.voidptr, types.uintp))


@intrinsic
def _pointer(typing_context, address):
    """An integer address as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@intrinsic
def _prefetch(typing_context, address):
    """Ask for the cache line at an address, for one read."""

    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], cgutils.voidptr_t)
        name = f"llvm.prefetch.p0{'' if getattr(pointer.type, 'is_opaque', False) else 'i8'}"
        from llvmlite import ir

        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        builder.call(function, [pointer, number(0), number(1), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@njit(["int64(int32, int64[::1], int64, int64, int64[::1])"], nogil=True, cache=True)
def read_rows(fd, offsets, nbytes, out_address, rows):
    """Read `nbytes` at `offsets[k]` into row `rows[k]` of a table at `out_address`; -1, or the first k that failed.

    Neighbours in the file that are neighbours in the table are read with one call.
    """
    count = offsets.size
    k = 0
    while k < count:
        stop = k + 1
        while stop < count and offsets[stop] == offsets[stop - 1] + nbytes and rows[stop] == rows[stop - 1] + 1:
            stop += 1
        wanted = nbytes * (stop - k)
        done = 0
        while done < wanted:
            got = _pread(fd, _pointer(out_address + rows[k] * nbytes + done), np.uintp(wanted - done), offsets[k] + done)
            if got <= 0:
                return k + done // nbytes
            done += got
        k = stop
    return -1


_numbers = types.Array(types.int64, 1, "C", readonly=True)  # Arrays that may be written to are taken as well.


@njit([types.void(types.int64, _numbers, types.int64, types.int64, types.int64, _numbers)], nogil=True, cache=True)
def copy_rows(address, numbers, stride, nbytes, out_address, rows):
    """Copy `nbytes` at `address + numbers[k] * stride` into row `rows[k]` of a table at `out_address`.

    Small records come from all over memory, so the first lines of later ones, and of the pages that they reach into, are
    asked for while this one is copied: 1.4 times the speed at 3 KB, 1.8 times at 784 B.
    """
    count = numbers.size
    ahead = 8 if nbytes <= 1024 else 2 if nbytes <= 16384 else 0
    lines = min((nbytes + 63) // 64, 16)
    for k in range(count):
        if ahead and k + ahead < count:
            begin = address + numbers[k + ahead] * stride
            for line in range(lines):
                _prefetch(begin + line * 64)
            page = (begin & ~4095) + 4096
            while page < begin + nbytes:
                _prefetch(page)
                page += 4096
        _memcpy(_pointer(out_address + rows[k] * nbytes), _pointer(address + numbers[k] * stride), np.uintp(nbytes))


@njit(["void(int64[::1], int64[::1], int64[::1], int64, int64[::1], int64, int64[::1])"], nogil=True, cache=True)
def locate(records, starts, guesses, shift, origins, stride, offsets):
    """Put `origins[run] + stride * records[k]` into `offsets[k]`, where `run` is the last that starts at or before the record.

    `guesses[record >> shift]` is the run of the first record with these upper bits: where runs are much alike, the run is that
    one or the next, and there is little to search.
    """
    for k in range(records.size):
        record = records[k]
        low = guesses[record >> shift]
        high = guesses[(record >> shift) + 1]
        while low < high:
            middle = (low + high + 1) >> 1
            if starts[middle] <= record:
                low = middle
            else:
                high = middle - 1
        offsets[k] = origins[low] + stride * record


@njit(["int64(int32, int64[::1], int64[::1], int64, int64[::1])"], nogil=True, cache=True)
def read_ragged(fd, offsets, nbytes, out_address, starts):
    """Read `nbytes[k]` at `offsets[k]` to `out_address + starts[k]`; -1, or the first k that failed.

    Neighbours in the file that are neighbours where they go are read with one call.
    """
    count = offsets.size
    k = 0
    while k < count:
        wanted = nbytes[k]
        stop = k + 1
        while stop < count and offsets[stop] == offsets[k] + wanted and starts[stop] == starts[k] + wanted:
            wanted += nbytes[stop]
            stop += 1
        done = 0
        while done < wanted:
            got = _pread(fd, _pointer(out_address + starts[k] + done), np.uintp(wanted - done), offsets[k] + done)
            if got <= 0:
                while done >= nbytes[k]:
                    done -= nbytes[k]
                    k += 1
                return k
            done += got
        k = stop
    return -1


@njit(["void(int64[::1], int64[::1], int64, int64[::1])"], nogil=True, cache=True)
def copy_ragged(addresses, nbytes, out_address, starts):
    """Copy `nbytes[k]` from `addresses[k]` to `out_address + starts[k]`; an address of 0 leaves its record out.

    As in `copy_rows`, the first lines of a later record are asked for while this one is copied.
    """
    count = addresses.size
    for k in range(count):
        if k + 4 < count and nbytes[k + 4] <= 16384:
            begin = addresses[k + 4]
            for line in range(min((nbytes[k + 4] + 63) // 64, 16)):
                _prefetch(begin + line * 64)
        if addresses[k] and nbytes[k]:
            _memcpy(_pointer(out_address + starts[k]), _pointer(addresses[k]), np.uintp(nbytes[k]))
