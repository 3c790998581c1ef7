"""The heads of a tar archive, walked through by a compiled loop: two reads a member, and nothing made in Python.

There is no plain twin: whoever has no compiler walks with `formats.tar.members`, which knows what this leaves to it as well.
"""

# pyright: basic, reportCallIssue=false
# The types of arguments stand in the signatures; numba's own stubs know nothing of them.

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

BLOCK = 512
DONE, MORE, LEFT = 0, 1, 2
"""How a walk ends: at the mark of an end; where there is no room for more; at something that is left to others."""
MOST_ENDINGS = 64
MOST_NAME_NBYTES = 4096
"""Longer names are left to others."""
AT, ENDED, NAME_NBYTES, NAMES_USED, ENDINGS = range(5)
"""What stands where in the state of a walk: the byte to go on at, zeros before it, bytes of a name that a head before it gives the
next member, bytes of names that are written, endings that were met."""
OFFSET, NBYTES, KEY_START, KEY_STOP, NAME_STOP, ENDING = range(6)
"""What stands where of a member: its data; its key and its name, in the names; the number of what follows the key, -1 for nothing."""

_pread = types.ExternalFunction("pread", types.intp(types.int32, types.voidptr, types.uintp, types.int64))
_BUFFER_NBYTES = 2048
_MOST_GLOBAL_NBYTES = 1 << 20
_MOST_PADDING_NBYTES = 1 << 20


@intrinsic
def _pointer(typing_context, address):
    """An integer address as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@njit(nogil=True, cache=True)
def _read(fd, offset, nbytes, out):
    """Read into the beginning of `out`; the bytes that came, fewer only at the end of the file."""
    done = 0
    while done < nbytes:
        got = _pread(fd, _pointer(out.ctypes.data + done), np.uintp(nbytes - done), offset + done)
        if got <= 0:
            break
        done += got
    return done


@njit(nogil=True, cache=True)
def _copy(source, first, count, target, place):
    """Copy so many bytes: a loop compiles in a tenth of the time that an assignment of slices takes."""
    for k in range(count):
        target[place + k] = source[first + k]


@njit(nogil=True, cache=True)
def _number(head, start, stop):
    """A number in octal, or in base 256; -1 for what is left to others."""
    if head[start] == 0x80:
        value = np.int64(0)
        for place in range(start + 1, stop):
            if value >= 1 << 50:
                return np.int64(-1)
            value = value * 256 + np.int64(head[place])
        return value
    value, seen, ended = np.int64(0), False, False
    for place in range(start, stop):
        byte = head[place]
        if byte == 0:
            break
        if byte == 32:
            ended = seen
        elif 48 <= byte <= 55 and not ended:
            value, seen = value * 8 + np.int64(byte - 48), True
        else:
            return np.int64(-1)
    return value


@njit(nogil=True, cache=True)
def _is_head(head):
    total = np.uint32(0)
    for place in range(BLOCK):
        total += np.uint32(head[place])
    for place in range(148, 156):
        total += np.uint32(32) - np.uint32(head[place])
    return _number(head, 148, 156) == np.int64(total)


@njit(nogil=True, cache=True)
def _is_empty(head):
    for place in range(len(head)):  # noqa: SIM110 (generators do not compile)
        if head[place]:
            return False
    return True


@njit(nogil=True, cache=True)
def _is(data, start, stop, word):
    if stop - start != len(word):
        return False
    for place in range(len(word)):  # noqa: SIM110
        if data[start + place] != word[place]:
            return False
    return True


_PATH, _SIZE, _LINK, _SPARSE = (np.frombuffer(word, np.uint8) for word in (b"path", b"size", b"linkpath", b"GNU.sparse"))


@njit(nogil=True, cache=True)
def _name_in_pax(data, nbytes, name):
    """Take the name out of a pax head: its bytes; -1 where it says nothing of that, -2 for what is left to others."""
    found, place = -1, 0
    while place < nbytes and data[place]:
        length, at = 0, place
        while at < nbytes and at < place + 9 and 48 <= data[at] <= 57:
            length, at = length * 10 + np.int64(data[at] - 48), at + 1
        stop = place + length
        if at == place or at >= nbytes or data[at] != 32 or length <= 0 or stop > nbytes:
            return -2
        equals = at + 1
        while equals < stop - 1 and data[equals] != 61:
            equals += 1
        if equals >= stop - 1:
            return -2
        if _is(data, at + 1, equals, _SIZE) or _is(data, at + 1, equals, _LINK):
            return -2
        if equals - at - 1 >= len(_SPARSE) and _is(data, at + 1, at + 1 + len(_SPARSE), _SPARSE):
            return -2
        if _is(data, at + 1, equals, _PATH):
            found = stop - 1 - (equals + 1)
            if found > MOST_NAME_NBYTES:
                return -2
            _copy(data, equals + 1, found, name, 0)
        place = stop
    return found


@njit(nogil=True, cache=True)
def _put_name(head, next_nbytes, next_name, names, used):
    """Write the name of a member behind the others; its bytes."""
    if next_nbytes > 0:
        _copy(next_name, 0, next_nbytes, names, used)
        return next_nbytes
    count = 0
    if head[257] == 117 and head[258] == 115 and head[259] == 116 and head[260] == 97 and head[261] == 114 and head[262] == 0:
        while count < 155 and head[345 + count]:
            names[used + count] = head[345 + count]
            count += 1
        if count:
            names[used + count] = 47
            count += 1
    place = 0
    while place < 100 and head[place]:
        names[used + count] = head[place]
        place, count = place + 1, count + 1
    return count


@njit(nogil=True, cache=True)
def _ending_of(names, start, stop, endings, met):
    """The number of an ending among those met, which a new one joins, in small letters; -1 where that is left to others."""
    if stop - start > endings.shape[1] - 1:
        return -1
    for number in range(met):
        if endings[number, 0] == stop - start:
            same = True
            for place in range(start, stop):
                byte = names[place]
                if endings[number, 1 + place - start] != (byte + 32 if 65 <= byte <= 90 else byte):
                    same = False
                    break
            if same:
                return number
    if met >= endings.shape[0]:
        return -1
    for place in range(start, stop):
        byte = names[place]
        if byte >= 128:
            return -1
        endings[met, 1 + place - start] = byte + 32 if 65 <= byte <= 90 else byte
    endings[met, 0] = stop - start
    return met


@njit(nogil=True, cache=True)
def _split(names, start, stop):
    """Where the key of a name stops, before the first point behind its last slash; -1 where it has none, -2 for what is left to others."""
    first = start
    for place in range(start, stop):
        if names[place] == 47:
            first = place + 1
    for place in range(start, first - 1):  # folders that macOS leaves: __MACOSX
        if names[place] == 95 and names[place + 1] == 95:
            return -2
    for place in range(first, stop):
        if names[place] == 46:
            return place if place > first else -1
    return -1


@njit(nogil=True, cache=True)
def _take_extension(fd, offset, nbytes, kind, state, next_name, data):
    """Read the name that a head of kind x, L or g gives the next member to `next_name` and `state`; False where that is left to others."""
    if kind == 103:
        return nbytes <= _MOST_GLOBAL_NBYTES
    if nbytes > _BUFFER_NBYTES or _read(fd, offset, nbytes, data) < nbytes:
        return False
    found = _name_in_pax(data, nbytes, next_name) if kind == 120 else nbytes
    if found == -2:
        return False
    if kind == 76:
        while found and data[found - 1] == 0:
            found -= 1
        _copy(data, 0, found, next_name, 0)
    if found >= 0:
        state[NAME_NBYTES] = found
    return True


@njit(nogil=True, cache=True)
def _take_member(head, offset, nbytes, state, next_name, endings, names, member):
    """Put a regular file into `member`, of shape (6,), and its name behind those before it; False where that is left to others."""
    first = state[NAMES_USED]
    stop = first + _put_name(head, state[NAME_NBYTES], next_name, names, first)
    key, ending = _split(names, first, stop), np.int64(-1)
    if key == -2:
        return False
    if key >= 0 and key + 1 < stop:
        ending = _ending_of(names, key + 1, stop, endings, state[ENDINGS])
        if ending < 0:
            return False
        state[ENDINGS] = max(state[ENDINGS], ending + 1)
    member[OFFSET], member[NBYTES] = offset, nbytes
    member[KEY_START], member[KEY_STOP] = first, key if ending >= 0 else stop
    member[NAME_STOP], member[ENDING] = stop, ending
    state[NAMES_USED] = stop
    state[NAME_NBYTES] = 0
    return True


@njit(
    ["int64(int32, int64, int64[::1], uint8[::1], uint8[:,::1], uint8[::1], int64[:,::1], int64[::1])"],
    nogil=True,
    cache=True,
)
def walk(fd, file_nbytes, state, next_name, endings, names, members, counted):
    """Go through the heads of an archive from `state[AT]` on, and put regular files into `members`; `counted[0]` is how many these are.

    Members have shape (members, 6), endings (MOST_ENDINGS, 256) with their lengths first; `names` and `next_name` have room for
    MOST_NAME_NBYTES at least. Returns how it ended.
    """
    buffer, data = np.zeros(_BUFFER_NBYTES, np.uint8), np.zeros(_BUFFER_NBYTES, np.uint8)
    start, held = np.int64(0), np.int64(0)
    counted[0] = 0
    while True:
        at = state[AT]
        if counted[0] >= members.shape[0] or state[NAMES_USED] + MOST_NAME_NBYTES > names.size:
            return MORE
        if at < start or at + BLOCK > start + held:
            start, held = at, np.int64(_read(fd, at, _BUFFER_NBYTES, buffer))
        head = buffer[at - start : min(at - start + BLOCK, held)]
        if _is_empty(head):
            if state[ENDED] and (len(head) < BLOCK or state[ENDED] >= _MOST_PADDING_NBYTES):
                return DONE
            if len(head) < BLOCK:
                return LEFT
            state[ENDED] += BLOCK
            state[AT] += BLOCK
            continue
        if len(head) < BLOCK or not _is_head(head):
            return LEFT
        nbytes, kind, offset = _number(head, 124, 136), head[156], at + BLOCK
        after = offset + (nbytes + BLOCK - 1) // BLOCK * BLOCK
        if nbytes < 0 or nbytes > file_nbytes - offset:
            return LEFT
        if kind == 120 or kind == 76 or kind == 103:  # x, L, g
            if not _take_extension(fd, offset, nbytes, kind, state, next_name, data):
                return LEFT
        elif kind == 48 or kind == 0 or kind == 55:
            if not _take_member(head, offset, nbytes, state, next_name, endings, names, members[counted[0]]):
                return LEFT
            counted[0] += 1
        elif kind == 53:
            state[NAME_NBYTES] = 0
        else:
            return LEFT
        state[ENDED] = 0
        state[AT] = after


@njit(["int64(uint8[::1], int64[:,::1], boolean[::1], int64[::1], uint64[::1])"], nogil=True, cache=True)
def group(names, members, taken, rows, hashes):
    """Number records: members that are taken and follow each other under one key. Returns how many; `hashes` are those of their keys."""
    count, last = 0, -1
    for number in range(members.shape[0]):
        if not taken[number]:
            continue
        start, stop = members[number, KEY_START], members[number, KEY_STOP]
        if last < 0 or not _is(names, start, stop, names[members[last, KEY_START] : members[last, KEY_STOP]]):
            hashed = np.uint64(0xCBF29CE484222325)
            for place in range(start, stop):
                hashed = (hashed ^ np.uint64(names[place])) * np.uint64(0x100000001B3)
            hashes[count] = hashed
            count += 1
        rows[number], last = count - 1, number
    return count


@njit(["int64(int32, int64[::1], int64[::1], uint8[::1])"], nogil=True, cache=True)
def read_each(fd, offsets, nbytes, out):
    """Read members behind each other into `out`; -1, or the first that failed."""
    place = 0
    for number in range(offsets.size):
        if _read(fd, offsets[number], nbytes[number], out[place:]) < nbytes[number]:
            return number
        place += nbytes[number]
    return -1
