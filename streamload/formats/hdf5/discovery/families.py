"""Datasets that are alike and lie in sibling groups: sample_0/image, sample_1/image, ..."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from h5py import h5f  # pyright: ignore[reportAttributeAccessIssue]

from streamload.formats.hdf5.discovery.field_selection import Found
from streamload.formats.naming.field_names import common_beginning, matches, natural_key

NUMBERED = re.compile(r"[0-9](\.[A-Za-z]\w{0,4})?$")
"""Names of datasets that are counted, with the ending of a file or without."""
OF_FILES = re.compile(r"\.(jpe?g|png|tiff?|bmp|gif|webp|jp2|npy|txt|wav|dcm|raw|bin|dat)$", re.IGNORECASE)
"""Endings that say how something is encoded, and not which field it is."""
COUNTED_FIELD = re.compile(r"(\D*)([0-9]+)([._-]?[A-Za-z]\D*)")
"""Names that say which record it is, and then which field of it: 17_boxes, sample_17_image."""
UNIT = re.compile(
    r"([cmkun]?m|ft|[kmg]?hz|[hk]?pa|mb|mbar|[mun]?s|min|hr?|d|w|y|k|deg|px|[kmg]?ev|db)(?![A-Za-z])",
    re.IGNORECASE,
)
"""What makes a number before it a quantity, and counts nothing: u10m, 100m_wind, return_5d."""
PART = re.compile(
    r"(?<![A-Za-z])(cam|camera|view|sensor|imu|lidar|radar|mic|channel|ch|band|arm|robot|agent|layer|l)s?[._-]?$",
    re.IGNORECASE,
)
"""What every record may have several of: a number behind it says which: camera_0_rgb, l1_loss."""


_Key = tuple[tuple[str, ...], tuple[str, ...], tuple[str, str], tuple[object, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Datasets whose paths differ in one part alone, and that are alike but for the length of their first axis."""

    before: tuple[str, ...]
    """The parts of their paths before the one that differs ..."""
    after: tuple[str, ...]
    """... and after it; () where it is the datasets' own names that differ."""
    members: dict[str, Found]
    """By the part that differs, in natural order."""
    beside: tuple[str, str] = ("", "")
    """What stands in the datasets' own names before and after the part that differs: "" and "_boxes" of 17_boxes."""

    @property
    def nbytes(self) -> int:
        """Of all their values."""
        return sum(one.stored.nbytes for one in self.members.values())

    @property
    def lies_apart(self) -> bool:
        """Whether each of them lies in a file of its own, to which a link leads: as the parts of one series do."""
        return len({h5f.get_name(one.dataset) for one in self.members.values()}) == len(self.members)

    @property
    def names(self) -> frozenset[str]:
        """The part that differs."""
        return frozenset(self.members)

    @property
    def field(self) -> str:
        """What a field of them is called."""
        if any(self.beside):
            return self.beside[1].strip("._- ")
        if not self.after:
            return _common(list(self.members))[0].rstrip("._- ")
        return ".".join((self.after[-1], *next(iter(self.members.values())).stored.member))

    def place(self, part: str) -> str:
        """Where the dataset of this part would lie."""
        return "/".join((*self.before, part.join(self.beside), *self.after))

    @property
    def numbered(self) -> bool:
        """Whether the parts that differ do so in numbers alone."""
        return len({re.sub("[0-9]+", "0", name) for name in self.members}) == 1 and any(map(str.isdigit, next(iter(self.members))))

    @property
    def counts_records(self) -> bool:
        """Whether their own names give each the number of a record, and then a field of it; as two numbers with a gap alone do not."""
        if not any(self.beside) or PART.search(self.beside[0]):
            return False
        numbers = sorted(map(int, self.members))
        padded = any(name.startswith("0") and len(name) > 1 for name in self.members)
        return not self.beside[0] or padded or len(numbers) > 2 or numbers[-1] - numbers[0] < 2

    def path(self, star: str) -> str:
        """The pattern that leads to them; `star` is its part that differs."""
        path = self.place(star)
        return ".".join((path, *next(iter(self.members.values())).stored.member))


def families(found: Sequence[Found]) -> list[Family]:
    """All families among some datasets, each dataset in the largest that it belongs to; those of most bytes come first."""
    groups: defaultdict[_Key, dict[str, Found]] = defaultdict(dict)
    keys: list[list[_Key]] = []
    for one in found:
        parts = tuple(one.stored.place.split("/"))
        kind = one.stored.member, one.stored.native.str, one.stored.ragged, one.stored.axis is None, one.stored.shape[1:], len(parts)
        own: list[_Key] = []
        for place, part in enumerate(parts):
            counted = _counted(part) if place == len(parts) - 1 else None
            if place == len(parts) - 1 and not NUMBERED.search(part) and counted is None:
                continue
            beside, name = ((counted[1], counted[3]), counted[2]) if counted is not None else (("", ""), part)
            own.append((parts[:place], parts[place + 1 :], beside, kind))
            groups[own[-1]][name] = one
        keys.append(own)
    largest: dict[_Key, None] = {}
    for own in keys:
        best = max(own, key=lambda key: len(groups[key]), default=None)
        if best is not None and len(groups[best]) > 1:
            largest[best] = None
    made = [
        Family(
            before=key[0], after=key[1], beside=key[2], members={name: groups[key][name] for name in sorted(groups[key], key=natural_key)}
        )
        for key in largest
    ]
    return sorted(made, key=lambda family: -family.nbytes)


def _counted(name: str) -> re.Match[str] | None:
    """A dataset's own name, split at the number of a record, if it has one within."""
    match = COUNTED_FIELD.fullmatch(name)
    return None if match is None or OF_FILES.search(name) or UNIT.match(match[3]) else match


def star_of(names: Sequence[str], others: Sequence[str]) -> str:
    """A pattern for some names that is as narrow as it can be, and leads to none of the others if it can."""
    before, after = _common(names)
    narrow = f"{before}*{after}"
    return narrow if before or after or not any(matches(other, "*") for other in others) else "*"


def _common(names: Sequence[str]) -> tuple[str, str]:
    """What names begin and end with, all of them, without digits at the edge."""
    before = common_beginning(names).rstrip("0123456789")
    after = common_beginning([name[len(before) :][::-1] for name in names])[::-1].lstrip("0123456789")
    return before, after
