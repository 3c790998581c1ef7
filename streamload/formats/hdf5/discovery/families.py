"""Datasets that are alike and lie in sibling groups: sample_0/image, sample_1/image, ..."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from h5py import h5f  # pyright: ignore[reportAttributeAccessIssue]

from streamload.formats.hdf5.discovery.field_selection import Found
from streamload.formats.naming.field_names import matches, natural_key

NUMBERED = re.compile(r"[0-9](\.[A-Za-z]\w{0,4})?$")
"""Names of datasets that are counted, with the ending of a file or without."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Datasets whose paths differ in one part alone, and that are alike but for the length of their first axis."""

    before: tuple[str, ...]
    """The parts of their paths before the one that differs ..."""
    after: tuple[str, ...]
    """... and after it; () where it is the datasets' own names that differ."""
    members: dict[str, Found]
    """By the part that differs, in natural order."""

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
        if not self.after:
            return _common(list(self.members))[0].rstrip("._- ")
        return ".".join((self.after[-1], *next(iter(self.members.values())).stored.member))

    def path(self, star: str) -> str:
        """The pattern that leads to them; `star` is its part that differs."""
        path = "/".join((*self.before, star, *self.after))
        return ".".join((path, *next(iter(self.members.values())).stored.member))


def families(found: Sequence[Found]) -> list[Family]:
    """All families among some datasets, each dataset in the largest that it belongs to; those of most bytes come first."""
    groups: defaultdict[object, dict[str, Found]] = defaultdict(dict)
    keys: list[list[object]] = []
    for one in found:
        parts = tuple(one.stored.place.split("/"))
        kind = one.stored.member, one.stored.native.str, one.stored.ragged, one.stored.axis is None, one.stored.shape[1:], len(parts)
        own: list[object] = []
        for place, part in enumerate(parts):
            if place < len(parts) - 1 or NUMBERED.search(part):
                own.append((parts[:place], parts[place + 1 :], *kind))
                groups[own[-1]][part] = one
        keys.append(own)
    largest: dict[object, None] = {}
    for own in keys:
        best = max(own, key=lambda key: len(groups[key]), default=None)
        if best is not None and len(groups[best]) > 1:
            largest[best] = None
    made = [
        Family(before=key[0], after=key[1], members={name: groups[key][name] for name in sorted(groups[key], key=natural_key)})  # pyright: ignore
        for key in largest
    ]
    return sorted(made, key=lambda family: -family.nbytes)


def star_of(names: Sequence[str], others: Sequence[str]) -> str:
    """A pattern for some names that is as narrow as it can be, and leads to none of the others if it can."""
    before, after = _common(names)
    narrow = f"{before}*{after}"
    return narrow if before or after or not any(matches(other, "*") for other in others) else "*"


def _common(names: Sequence[str]) -> tuple[str, str]:
    """What names begin and end with, all of them, without digits at the edge."""
    before = _beginning(names).rstrip("0123456789")
    after = _beginning([name[len(before) :][::-1] for name in names])[::-1].lstrip("0123456789")
    return before, after


def _beginning(names: Sequence[str]) -> str:
    """The letters that all names begin with."""
    first, last = min(names), max(names)
    same = next((place for place, letter in enumerate(first) if place >= len(last) or letter != last[place]), len(first))
    return first[:same]
