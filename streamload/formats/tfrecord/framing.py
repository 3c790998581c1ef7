"""How TFRecord files frame their records: a length, its checksum, the record, and its checksum."""

from __future__ import annotations

import shlex
import struct
from collections.abc import Callable, Iterator

from streamload.errors import ChecksumError, CorruptDataError, SourceError
from streamload.formats.unpacking_budget import UnpackingBudget
from streamload.kernels import checksum_kernels
from streamload.storage.plain_file import StoredFile

HEAD = struct.Struct("<QI")
"""The length of a record, and the checksum of these eight bytes."""
TAIL = struct.Struct("<I")
SKIPPABLE = "on_damage"
"""The option with which damaged records are left out, as errors name it."""
PIECE_NBYTES = 16 * 1024**2
"""Files are gone through so much at a time, or a record, if it is larger."""


def damage_hint(path: str) -> str:
    """What to do about a file that is damaged."""
    return f"Fetch it again, or make records of what is whole: `streamload convert {shlex.quote(path)} train.h5 --on-bad skip`."


def masked(checksum: int) -> int:
    """A checksum as these files store it: turned and shifted, since checksums of data with checksums in it are no good."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed_records(
    path: str,
    file: StoredFile,
    file_nbytes: int,
    budget: UnpackingBudget | None,
    damaged: Callable[[SourceError], None] | None = None,
) -> Iterator[tuple[int, int, memoryview]]:
    """Every record of a file: its number, the byte at which it begins, and a view of it, good until the next; its checksums are right.

    Of compressed files a record of more than `budget` allows raises ResourceError.

    Raises CorruptDataError for a file that ends within a record, ChecksumError for a length or a record that is not what was written;
    or says so to `damaged`, and goes on behind such a record, as far as lengths can be believed.
    """
    checksum = checksum_kernels().crc32c
    piece, start, at, number = memoryview(b""), 0, 0, 0
    hint = damage_hint(path)
    while True:
        try:
            name = f"{path}: record {number:,} at byte {at:,}"
            piece, start = _reaching(file, piece, start, at, HEAD.size)
            head = piece[at - start : at - start + HEAD.size]
            if not head:
                return
            if len(head) < HEAD.size:
                raise CorruptDataError(f"{name} is cut short: {len(head)} bytes are there.", hint=hint, path=path)
            nbytes, said = HEAD.unpack(head)
            if masked(checksum(head[:8])) != said:
                raise ChecksumError(f"{name}: the checksum of its length is wrong.", hint=hint, path=path)
            begin, whole = at + HEAD.size, nbytes + TAIL.size
            data = memoryview(b"")
            if budget is not None:
                budget.allow(f"record {number:,}", nbytes)
            if budget is not None or nbytes <= file_nbytes:  # What a length claims that the file has not is not asked for.
                piece, start = _reaching(file, piece, start, begin, whole)
                data = piece[begin - start : begin - start + whole]
            if len(data) < whole:
                raise CorruptDataError(f"{name} is cut short: it has {nbytes:,} bytes, and the file ends before.", hint=hint, path=path)
        except SourceError as error:
            if damaged is None:
                error.details["option"] = SKIPPABLE
                raise
            damaged(error)
            return
        if masked(checksum(data[:nbytes])) == TAIL.unpack(data[nbytes:])[0]:
            yield number, begin, data[:nbytes]
        else:
            wrong = ChecksumError(f"{name}: its checksum is wrong.", hint=hint, path=path, records=(number, number + 1), option=SKIPPABLE)
            if damaged is None:
                raise wrong
            damaged(wrong)
        at, number = begin + whole, number + 1


def _reaching(file: StoredFile, piece: memoryview, start: int, at: int, nbytes: int) -> tuple[memoryview, int]:
    """A piece of the file that holds so many bytes from `at`, as far as there are any, and where it begins."""
    if at >= start and at + nbytes <= start + len(piece):
        return piece, start
    # What was read beyond `at` is not read again: of what is unpacked there is no going back.
    held = piece[at - start :] if start <= at else memoryview(b"")
    more = file.read(at + len(held), max(nbytes, PIECE_NBYTES) - len(held))
    if len(held) + len(more) < nbytes:
        file.read(at + len(held) + len(more), 1)  # It says what is wrong, if the file cannot be unpacked.
    return memoryview(b"".join((held, more)) if held else more), at
