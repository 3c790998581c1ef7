"""Which keys of a database are one record, and what fields their values are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from streamload.formats.lmdb.pages import LmdbPages, ValuePlace
from streamload.formats.lmdb.values import identified, key_text
from streamload.formats.tables.texts import as_text
from streamload.images import format_of
from streamload.omissions import Omission

NUMBERED = re.compile(rb"([A-Za-z][A-Za-z_.]*?)(-?[0-9]+)")
"""Keys of one number are one record: image-000000001 and label-000000001."""
IMAGES = {"image": "image", "img": "image"}
"""Keys that begin so make numbers records; others are fields beside them."""
COUNTS = (b"num-samples", b"num_samples", b"length", b"__len__", b"__keys__", b"classnames", b"meta")
"""Keys that stand beside records and are none."""
LOOKED_AT = 64
"""Values that say what a field is."""

Places = list["ValuePlace | None"]
"""Where a field lies in each record; None where it has no value."""


@dataclass(kw_only=True, slots=True)
class LmdbRecords:
    """What one database holds."""

    path: str
    count: int = 0
    images: dict[str, Places] = field(default_factory=dict[str, Places])
    """Fields of encoded images."""
    values: dict[str, list[str | None]] = field(default_factory=dict[str, "list[str | None]"])
    """Fields of texts, read whole: one for each record, None where it has none."""
    folders: tuple[str, ...] = ()
    """Those of `values` that are names of folders, and so of classes."""
    aside: dict[str, str] = field(default_factory=dict[str, str])
    """What is no field, and why."""
    omissions: list[Omission] = field(default_factory=list[Omission])
    unreadable: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Of fields of texts, the records whose value is there and is none: nothing stands for it."""


def records_of(pages: LmdbPages) -> LmdbRecords:
    """The records of a database: all keys of a number, where most have one and some are images, else each key by itself.

    Raises CorruptDataError for damaged pages; where values are no images, UnsafeSourceError or UnsupportedFeatureError, by what they are.
    """
    places = dict(pages.entries())
    made = LmdbRecords(path=pages.path)
    _leave_out(made, "a database of its own", [key for key, place in places.items() if place is None])
    found = {key: place for key, place in places.items() if place is not None and key not in COUNTS}
    numbered = {key: match for key in found if (match := NUMBERED.fullmatch(key))}
    prefixes = Counter(match[1].decode() for match in numbered.values())
    if any(name in prefixes for name in IMAGES) and 2 * len(numbered) > len(found):
        _leave_out(made, "a key without the number of a record", [key for key in found if key not in numbered])
        _by_number(made, pages, found, numbered)
    else:
        _by_key(made, pages, found)
    return made


def _leave_out(made: LmdbRecords, why: str, keys: list[bytes]) -> None:
    if keys:
        made.omissions.append(Omission.of("member", why, map(key_text, keys)))


def _by_number(made: LmdbRecords, pages: LmdbPages, found: Mapping[bytes, ValuePlace], numbered: Mapping[bytes, re.Match[bytes]]) -> None:
    """A record for each number, in the order of their images; a field for each beginning of keys."""
    stored: dict[str, dict[bytes, ValuePlace]] = {}
    for key, match in numbered.items():
        stored.setdefault(match[1].decode(), {})[match[2]] = found[key]
    both = {"image", "img"} <= stored.keys()
    first = next(name for name in stored if name in IMAGES)
    numbers = list(dict.fromkeys([*stored[first], *(number for one in stored.values() for number in one)]))
    made.count = len(numbers)
    for name, one in stored.items():
        places: Places = [one.get(number) for number in numbers]
        if name in IMAGES:
            _refuse_others(pages, places, first.encode() + numbers[0])
            made.images[name if both else IMAGES[name]] = places
        else:
            _settle(made, pages, name, places)


def _settle(made: LmdbRecords, pages: LmdbPages, name: str, places: Places) -> None:
    """What a field beside the images is: images too, or texts, which are held; others are no fields, and why is said.

    A few values that are no text, among more that are, are left out and said; where they are more, the field holds none.
    """
    first = [pages.read(place) for place in places[:LOOKED_AT] if place is not None]
    if any(format_of(value) for value in first):
        made.images[name] = places
        return
    texts = [None if place is None else as_text(pages.read(place)) for place in places]
    others = [row for row, (place, text) in enumerate(zip(places, texts, strict=True)) if place is not None and text is None]
    if 2 * len(others) >= sum(place is not None for place in places):
        made.aside[name] = identified(pages.read(cast(ValuePlace, places[others[0]])))[1] if others else "nothing in any record"
        return
    made.values[name] = texts
    if others:
        made.unreadable[name] = others
        made.omissions.append(Omission.of("member", "bytes that are no text", [f"{name!r} of record {row:,}" for row in others]))


def _by_key(made: LmdbRecords, pages: LmdbPages, found: Mapping[bytes, ValuePlace]) -> None:
    """A record for each key; the folders in them are labels."""
    made.count = len(found)
    made.images["image"] = list(found.values())
    _refuse_others(pages, made.images["image"], next(iter(found), b""))
    folders = [key.rpartition(b"/")[0].rpartition(b"/")[2] for key in found]
    labels = [folder.decode("utf-8", "surrogateescape") or None for folder in folders]
    if len(set(labels)) > 1:  # the folder of all of them is no label
        made.values["label"], made.folders = labels, ("label",)


def _refuse_others(pages: LmdbPages, places: Places, key: bytes) -> None:
    """Raise where the first values are not images."""
    values = [b"" if place is None else pages.read(place) for place in places[:LOOKED_AT]]
    if values and not any(format_of(value) for value in values):
        kind, what, hint = identified(values[0])
        raise kind(f"{pages.path}: the value of {key[:80]!r} is {what}.", hint=hint, path=pages.path)
