"""The members of a tar archive, by their heads alone: names are labels here, and never paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streamload.errors import CorruptDataError
from streamload.tools.files.decompress import StoredFile

BLOCK = 512
MOST_NAME_NBYTES = 1 << 20
"""A head that says more of its member than this is damaged."""
MOST_SMALL_NBYTES = 1 << 24
"""Members that are larger are not held."""
REGULAR = (b"0", b"\0", b"7")
FOLDER = b"5"
OTHERS = {b"1": "a hard link to another member", b"2": "a symbolic link", b"S": "a sparse file"}
_ZEROS = bytes(BLOCK)


@dataclass(frozen=True, slots=True)
class TarMember:
    """One regular file of an archive."""

    name: str
    offset: int
    """Where its bytes begin, in the archive unpacked."""
    nbytes: int
    data: bytes | None
    """All of it, where that was wanted."""


def is_head(data: bytes) -> bool:
    """Whether 512 bytes are a member's head, by their checksum."""
    return len(data) == BLOCK and _number(data[148:156]) == sum(data) - sum(data[148:156]) + 8 * 32


def members(file: StoredFile, title: str, wanted: Callable[[str], bool], left_out: Callable[[str, str], None]) -> Iterator[TarMember]:
    """Regular files in the order in which they stand; `left_out` hears of links and devices, and what they are.

    Those whose names are `wanted` come with what they hold: a packed archive is read forwards only. Archives that were
    put behind each other are read as one. Raises CorruptDataError at the first damage: what came before it is good.
    """
    at, ended = 0, False
    said: dict[str, str] = {}
    while True:
        head = file.read(at, BLOCK)
        if head == _ZEROS:
            ended, at = True, at + BLOCK
            continue
        if not head.strip(b"\0") and ended:
            return
        if not is_head(head):
            what = "ends without the mark of an end" if not head else f"is damaged at byte {at:,}: no head of a member begins there"
            raise CorruptDataError(f"{title} {what}.", hint="It was cut short, or is no tar archive: fetch it again.", path=title)
        ended = False
        kind, nbytes = head[156:157], _number(head[124:136])
        naming = kind in (b"x", b"L", b"K", b"g")
        if nbytes < 0 or (naming and nbytes > MOST_NAME_NBYTES):
            raise CorruptDataError(f"{title} is damaged at byte {at:,}: a member of {nbytes:,} bytes.", hint="Fetch it again.", path=title)
        if naming:
            data = _whole(file, at + BLOCK, nbytes, title)
            if kind == b"x":
                said |= _records(data, title, at)
            elif kind == b"L":
                said["path"] = _text(data.rstrip(b"\0"))
        else:
            nbytes = int(said["size"]) if said.get("size", "").isdecimal() else nbytes
            if kind in REGULAR and not any(name.startswith("GNU.sparse") for name in said):
                name = said.get("path") or _name(head)
                whole = wanted(name) and nbytes <= MOST_SMALL_NBYTES
                data = _whole(file, at + BLOCK, nbytes, f"{title}: {name}") if whole else None
                if nbytes and data is None:
                    # The last byte must be there; nothing else is read of it now.
                    _whole(file, at + BLOCK + nbytes - 1, 1, f"{title}: {name}")
                yield TarMember(name, at + BLOCK, nbytes, data)
            elif kind != FOLDER:
                left_out(said.get("path") or _name(head), "a sparse file" if kind in REGULAR else OTHERS.get(kind, "no regular file"))
            said = {}
        at += BLOCK + -(-nbytes // BLOCK) * BLOCK


def _whole(file: StoredFile, offset: int, nbytes: int, title: str) -> bytes:
    data = file.read(offset, nbytes)
    if len(data) < nbytes:
        raise CorruptDataError(f"{title} is cut short at byte {offset + len(data):,}.", hint="Fetch it again.", path=title)
    return data


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _name(head: bytes) -> str:
    name = head[:100].split(b"\0", 1)[0]
    prefix = head[345:500].split(b"\0", 1)[0] if head[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _number(field: bytes) -> int:
    """A number in octal, or in base 256 where it is too large for that; -1 for nonsense."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.split(b"\0", 1)[0].strip()
    try:
        return int(text or b"0", 8)
    except ValueError:
        return -1


def _records(data: bytes, title: str, at: int) -> dict[str, str]:
    """The records of a pax head: "length name=value", each to its own length."""
    found: dict[str, str] = {}
    place = 0
    while place < len(data) and data[place]:
        space = data.find(b" ", place, place + 20)
        length = data[place:space]
        name, equals, value = data[space + 1 : place + int(length) - 1].partition(b"=") if length.isdigit() else (b"", b"", b"")
        if not equals or int(length) <= 0 or place + int(length) > len(data):
            raise CorruptDataError(f"{title} is damaged at byte {at:,}: no pax head.", hint="Fetch it again.", path=title)
        found[_text(name)] = _text(value)
        place += int(length)
    return found
