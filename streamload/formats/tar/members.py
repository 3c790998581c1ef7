"""The members of a tar archive, by their heads alone: names are labels here, and never paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streamload.errors import damaged
from streamload.storage.plain_file import StoredFile

BLOCK = 512
MOST_NAME_NBYTES = 1 << 20
"""A head that says more of its member than this is damaged."""
MOST_SMALL_NBYTES = 1 << 24
"""Members that are larger are not held."""
MOST_PADDING_NBYTES = 1 << 20
"""Zeros behind the end of an archive, behind which another one may stand: `tar` fills up its last record."""
MOST_HELD_NBYTES = 1 << 16
"""Members of packed archives that links may lead to are held up to this size; to read others is to unpack it all again."""
REGULAR = (b"0", b"\0", b"7")
FOLDER = b"5"
HARD_LINK = b"1"
OTHERS = {HARD_LINK: "a hard link to a member that does not stand before it", b"2": "a symbolic link", b"S": "a sparse file"}
NAMING = (b"x", b"L", b"K", b"g")
"""Kinds of members that say something of the next, or of all that follow."""
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


class Members:
    """Regular files in the order in which they stand; `left_out` hears of links and devices, and what they are.

    Those whose names are `wanted` come with what they hold: a packed archive is read forwards only. A hard link is the
    member that it leads to, under a name of its own. Archives that were put behind each other are read as one. Raises
    CorruptDataError at the first damage: what came before it is good.
    """

    def __init__(self, file: StoredFile, title: str, wanted: Callable[[str], bool], left_out: Callable[[str, str], None]) -> None:
        self._file = file
        self._title = title
        self._wanted = wanted
        self._left_out = left_out
        self._said: dict[str, str] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._held: dict[int, bytes] = {}
        """What packed archives hold of wanted members, by offset: there is no going back in them."""

    def __iter__(self) -> Iterator[TarMember]:
        at, ended = 0, 0
        while True:
            head = self._file.read(at, BLOCK)
            if head == _ZEROS and ended < MOST_PADDING_NBYTES:
                ended, at = ended + BLOCK, at + BLOCK
                continue
            if not head.strip(b"\0") and ended:
                return
            if not is_head(head):
                what = (
                    "ends without the mark of an end" if not head else f"holds no head of a member at byte {at:,}, where one should begin"
                )
                raise damaged(f"{self._title} {what}.", path=self._title)
            ended = 0
            nbytes = self._nbytes(head, at)
            if head[156:157] in NAMING:
                self._hear(head[156:157], at, nbytes)
            else:
                yield from self._member(head, at + BLOCK, nbytes)
                self._said = {}
            at += BLOCK + -(-nbytes // BLOCK) * BLOCK

    def _nbytes(self, head: bytes, at: int) -> int:
        """How many bytes follow a head, before they are filled up to a whole block."""
        kind, nbytes = head[156:157], _number(head[124:136])
        if nbytes < 0 or (kind in NAMING and nbytes > MOST_NAME_NBYTES):
            raise damaged(f"{self._title} has a member of {nbytes:,} bytes at byte {at:,}.", path=self._title)
        if kind not in NAMING and self._said.get("size", "").isdecimal():
            nbytes = int(self._said["size"])
        # Some say of a link how large its file is, and no bytes follow; others write them once more.
        return 0 if kind == HARD_LINK and nbytes and self._head_follows(at + BLOCK) else nbytes

    def _head_follows(self, at: int) -> bool:
        data = self._file.read(at, BLOCK)
        return data == _ZEROS or is_head(data)

    def _hear(self, kind: bytes, at: int, nbytes: int) -> None:
        """Note what is said of the member that follows."""
        data = _whole(self._file, at + BLOCK, nbytes, self._title)
        if kind == b"x":
            self._said |= _records(data, self._title, at)
        elif kind in (b"L", b"K"):
            self._said["path" if kind == b"L" else "linkpath"] = _text(data.rstrip(b"\0"))

    def _member(self, head: bytes, offset: int, nbytes: int) -> Iterator[TarMember]:
        """The member that a head describes, if it is a file; `left_out` hears of others."""
        kind, name = head[156:157], self._said.get("path") or _name(head)
        if (kind in REGULAR or (kind == HARD_LINK and nbytes)) and not any(said.startswith("GNU.sparse") for said in self._said):
            self._seen[name] = offset, nbytes
            yield TarMember(name, offset, nbytes, self._data(name, offset, nbytes))
            return
        target = self._seen.get(self._said.get("linkpath") or _text(head[157:257].split(b"\0", 1)[0])) if kind == HARD_LINK else None
        if target is not None:
            self._seen[name] = target
            # What is not held was found to be whole, where it stands.
            data = self._data(name, *target) if self._wanted(name) else None
            yield TarMember(name, *target, data)
        elif kind != FOLDER:
            self._left_out(name, "a sparse file" if kind in REGULAR else OTHERS.get(kind, "no regular file"))

    def _data(self, name: str, offset: int, nbytes: int) -> bytes | None:
        """All of a member, where that is wanted; of others only whether they are whole."""
        if offset in self._held and self._wanted(name):
            return self._held[offset]
        if self._wanted(name) and nbytes <= MOST_SMALL_NBYTES:
            data = _whole(self._file, offset, nbytes, f"{self._title}: {name}")
            if not self._file.addressable and nbytes <= MOST_HELD_NBYTES:
                self._held[offset] = data
            return data
        if nbytes:
            _whole(self._file, offset + nbytes - 1, 1, f"{self._title}: {name}")
        return None


def _whole(file: StoredFile, offset: int, nbytes: int, title: str) -> bytes:
    data = file.read(offset, nbytes)
    if len(data) < nbytes:
        file.read(offset + len(data), 1)  # It says what is wrong, if the file cannot be unpacked.
        raise damaged(f"{title} is cut short at byte {offset + len(data):,}.", path=title)
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
            raise damaged(f"{title} holds no pax head that can be read at byte {at:,}.", path=title)
        found[_text(name)] = _text(value)
        place += int(length)
    return found
