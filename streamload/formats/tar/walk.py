"""Large archives, walked through by a compiled loop: the same as `Archive` finds, ten times as fast, or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import overload

import numpy as np
from numpy.typing import NDArray

from streamload.formats.tar.archive import MOST_NAMED, Archive, kind_of_member, small_values, why_no_record, why_not
from streamload.formats.tar.members import MOST_SMALL_NBYTES
from streamload.kernels import tar_kernels
from streamload.storage.files import regular_file

WORTH_NBYTES = 256 * 1024**2
"""Archives that are smaller together are gone through before a compiled loop is loaded."""
TOGETHER = 65_536
"""Members that are walked through with one call."""
READ_NBYTES = 64 * 1024**2
"""Labels that are read with one call."""
_ENDING_NBYTES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class _Walk:
    """What a walk has found: see `kernels.tar_heads`."""

    members: NDArray[np.int64]
    """Shape (members, 6)."""
    names: NDArray[np.uint8]
    endings: list[str]
    """What follows keys, in the order in which they were met."""

    def name(self, member: int, columns: ModuleType) -> str:
        """The whole name of a member."""
        start, stop = self.members[member, columns.KEY_START], self.members[member, columns.NAME_STOP]
        return _text(self.names[start:stop])


class _Keys(Sequence[str]):
    """Keys of records, made one at a time when they are asked for."""

    def __init__(self, places: NDArray[np.int64], names: NDArray[np.uint8]) -> None:
        self._places = places
        self._names = names

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return _Keys(self._places[index], self._names)
        start, stop = self._places[index].tolist()
        return _text(self._names[start:stop])


def _text(name: NDArray[np.uint8]) -> str:
    return name.tobytes().decode("utf-8", "surrogateescape")


def walked(path: str, real: str) -> Archive | None:
    """The records of an archive; None where it holds anything unusual or damaged, which `Archive` reads or names, or without a compiler."""
    kernels = tar_kernels()
    if kernels is None:
        return None
    fd = regular_file(real)
    try:
        found = _walk(fd, kernels)
        return None if found is None else _records(path, fd, found, kernels)
    finally:
        os.close(fd)


def _walk(fd: int, kernels: ModuleType) -> _Walk | None:
    state, counted = np.zeros(5, np.int64), np.zeros(1, np.int64)
    next_name = np.zeros(kernels.MOST_NAME_NBYTES, np.uint8)
    endings = np.zeros((kernels.MOST_ENDINGS, _ENDING_NBYTES), np.uint8)
    members = np.empty((TOGETHER, 6), np.int64)
    names = np.empty(max(TOGETHER * 64, 2 * kernels.MOST_NAME_NBYTES), np.uint8)
    parts: list[NDArray[np.int64]] = []
    texts: list[NDArray[np.uint8]] = []
    ended, before, nbytes = kernels.MORE, 0, os.fstat(fd).st_size
    while ended == kernels.MORE:
        state[kernels.NAMES_USED] = 0
        ended = kernels.walk(fd, nbytes, state, next_name, endings, names, members, counted)
        part = members[: counted[0]].copy()
        part[:, kernels.KEY_START : kernels.NAME_STOP + 1] += before
        parts.append(part)
        texts.append(names[: state[kernels.NAMES_USED]].copy())
        before += len(texts[-1])
    if ended == kernels.LEFT:
        return None
    met = [endings[number, 1 : 1 + endings[number, 0]].tobytes().decode() for number in range(state[kernels.ENDINGS])]
    return _Walk(members=np.concatenate(parts), names=np.concatenate(texts), endings=met)


def _records(path: str, fd: int, found: _Walk, kernels: ModuleType) -> Archive | None:
    made, endings = Archive(path), found.members[:, kernels.ENDING]
    kinds = [kind_of_member(ending) for ending in found.endings]
    # One place more, for members without an ending: its number is -1.
    taken = np.array([*(kind != "other" for kind in kinds), False])[endings]
    rows, hashes = np.full(len(endings), -1, np.int64), np.empty(len(endings), np.uint64)
    count = int(kernels.group(found.names, found.members, taken, rows, hashes))
    twice = np.unique(rows[taken] * len(kinds) + endings[taken])
    if len(np.unique(hashes[:count])) < count or len(twice) < int(taken.sum()):
        return None  # A record in several places, or a name that is there twice.
    firsts: dict[tuple[str, str], int] = {}
    first = np.flatnonzero(taken)[np.searchsorted(rows[taken], np.arange(count))]
    made.keys = _Keys(found.members[first][:, [kernels.KEY_START, kernels.KEY_STOP]], found.names)
    for number, (ending, kind) in enumerate(zip(found.endings, kinds, strict=True)):
        own = np.flatnonzero(endings == number)
        if kind in ("text", "json"):
            if not _take_values(made, fd, found, ending, own, rows, firsts, kernels):
                return None
        elif kind != "other":
            places = made.places[ending] = np.full((count, 2), -1, np.int64)
            places[rows[own]] = found.members[own][:, [kernels.OFFSET, kernels.NBYTES]]
    made.values = {source: made.values[source] for source in sorted(firsts, key=firsts.__getitem__)}
    _leave_out(made, found, np.flatnonzero(~taken), kernels)
    return made


def _take_values(
    made: Archive,
    fd: int,
    found: _Walk,
    ending: str,
    own: NDArray[np.int64],
    rows: NDArray[np.int64],
    firsts: dict[tuple[str, str], int],
    kernels: ModuleType,
) -> bool:
    """Read the texts or JSON of some members; False where one cannot be read, or is too large to be held."""
    is_text = kind_of_member(ending) == "text"
    for numbers, pieces in _small(fd, found, own, kernels):
        if pieces is None:
            return False
        of = rows[numbers].tolist()
        try:
            if is_text:
                source = ending, ending
                firsts.setdefault(source, int(numbers[0]))
                made.values.setdefault(source, {}).update(zip(of, (piece.decode().strip() for piece in pieces), strict=True))
                continue
            for member, row, piece in zip(numbers.tolist(), of, pieces, strict=True):
                for field, value in small_values(ending, piece).items():
                    firsts.setdefault((ending, field), member)
                    made.values.setdefault((ending, field), {})[row] = value
        except ValueError:
            return False
    return True


def _small(fd: int, found: _Walk, own: NDArray[np.int64], kernels: ModuleType) -> Iterator[tuple[NDArray[np.int64], list[bytes] | None]]:
    """Some members after the others, and all of each; None for what there is no reading."""
    sizes, offsets = (np.ascontiguousarray(found.members[own, column]) for column in (kernels.NBYTES, kernels.OFFSET))
    if int(sizes.max(initial=0)) > MOST_SMALL_NBYTES:
        yield own, None
        return
    stops = np.cumsum(sizes)
    start = 0
    while start < len(own):
        before = int(stops[start] - sizes[start])
        stop = max(start + 1, int(np.searchsorted(stops, before + READ_NBYTES, side="right")))
        room = np.empty(int(stops[stop - 1]) - before, np.uint8)
        if kernels.read_each(fd, offsets[start:stop], sizes[start:stop], room) >= 0:
            yield own, None
            return
        data, ends = room.tobytes(), (stops[start:stop] - before).tolist()
        yield own[start:stop], [data[first:end] for first, end in zip([0, *ends], ends, strict=False)]
        start = stop


def _leave_out(made: Archive, found: _Walk, members: NDArray[np.int64], kernels: ModuleType) -> None:
    """Note members that are not taken, by reason, in the order in which reasons are met."""
    endings = found.members[members, kernels.ENDING]
    met: dict[str, list[int]] = {}
    for number in dict.fromkeys(endings.tolist()):
        own = members[endings == number].tolist()
        if number >= 0:
            met.setdefault(why_not(found.endings[number]), []).extend(own)
            continue
        for member in own:
            met.setdefault(why_no_record(found.name(member, kernels)), []).append(member)
    for why, own in sorted(met.items(), key=lambda one: min(one[1])):
        made.counts[why] = len(own)
        made.unread_nbytes[why] = int(found.members[own, kernels.NBYTES].sum())
        made.left_out[why] = [found.name(member, kernels) for member in sorted(own)[:MOST_NAMED]]
