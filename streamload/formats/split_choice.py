"""Folders whose files belong to several splits: what is learnt from, and what is tested with."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from streamload.errors import ConfigError
from streamload.formats.naming.split_words import ALIKE, spaced

WORDS = {"t10k": "test"} | {word: split for split, words in zip(("train", "val", "test"), ALIKE, strict=True) for word in words}
"""What the names of files call splits, and what `split=` calls them."""
_ANYWHERE = re.compile(rf"(?=({'|'.join(sorted(WORDS, key=len, reverse=True))}))")

_SHORT_WORDS = {"tr": "train", "te": "test"}
_SHORT = re.compile(r"(?<![a-z])(tr|te)(?![a-z])|(tr|te)$")


def by_split(paths: Iterable[str]) -> dict[str, list[str]]:
    """Files by the split that a word of their names says, as `split=` calls it; "" where none does."""
    found: dict[str, list[str]] = {}
    for path in paths:
        words = re.findall(r"t10k|[a-z]+", spaced(os.path.basename(path)))
        found.setdefault(next((WORDS[word] for word in words if word in WORDS), ""), []).append(path)
    return found


def may_be_of_split(name: str) -> bool:
    """Whether a name, beside another, could be taken for that of a split: it has such a word in it."""
    return _ANYWHERE.search(spaced(name)) is not None


def splits_among(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by split, where two of them differ in that alone, as X_train and X_test do, or Xtrain and Xtest; {} elsewhere."""
    names = list(names)
    if short := _short_splits_among(names):
        return short
    found = by_split(names)
    found.pop("", None)
    if alike_but_for_split(found):
        return found
    of = {name: set(_splits_within(name)) for name in names}
    told: dict[str, set[str]] = {}
    for split, bare in (one for some in of.values() for one in some):
        told.setdefault(bare, set()).add(split)
    within: dict[str, list[str]] = {}
    for name, some in of.items():
        # Another word that a name ends or begins with stands for a split where there are splits.
        sure = [split for split, bare in some if len(told[bare]) > 1]
        near = [split for split, bare in some if spaced(name).startswith(bare) or spaced(name).endswith(bare)]
        for split in (sure or near)[:1]:
            within.setdefault(split, []).append(name)
    return within if any(len(splits) > 1 for splits in told.values()) else {}


def _short_splits_among(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by split, where two of them differ in nothing but tr and te, by themselves or at the end: x_tr and x_te, Xtr and Xte."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        whole = spaced(name)
        for one in _SHORT.finditer(whole):
            found.setdefault(f"{whole[: one.start()]}|{whole[one.end() :]}", {})[_SHORT_WORDS[one[0]]] = name
    both = [some for some in found.values() if len(some) == len(_SHORT_WORDS)]
    return {split: list(dict.fromkeys(some[split] for some in both)) for split in _SHORT_WORDS.values()} if both else {}


def alike_but_for_split(found: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Names of several splits that differ in nothing but the word for it, those that belong together in a list."""
    alike: dict[str, dict[str, list[str]]] = {}
    for split, some in found.items():
        for name in some:
            for bare in dict.fromkeys(bare for word, bare in _splits_within(name) if word == split):
                alike.setdefault(bare, {}).setdefault(split, []).append(name)
    return [[name for some in splits.values() for name in some] for splits in alike.values() if len(splits) > 1]


def _splits_within(name: str) -> Iterator[tuple[str, str]]:
    """The split of each word of one within a name, and the name without it."""
    whole = spaced(name)
    for one in _ANYWHERE.finditer(whole):
        yield WORDS[one[1]], whole[: one.start(1)] + whole[one.end(1) :]


def splits_beside(names: Sequence[str], is_column: Callable[[str], bool]) -> dict[str, list[str]]:
    """Fields by split, where they say that they are of several, and would be fields of one record; {} elsewhere.

    So it is where they are columns of a table: beside fields of no split, and each a number of a record, which `is_column` tells.
    """
    parts = splits_among(names)
    alike = alike_but_for_split(parts) or list(parts.values())
    if sum(map(len, parts.values())) < len(names) and all(is_column(key) for keys in alike for key in keys):
        return {}
    return parts


def is_column(name: str, dtype: np.dtype, shape: Sequence[int]) -> bool:
    """Whether a field has a number or truth value for each record, or several that its name calls a mask; `shape` is a record's."""
    return dtype.kind in "biuf" and (not shape or (dtype.kind == "b" and "mask" in name.lower()))


def refuse_splits_beside(path: str, kinds: Mapping[str, tuple[np.dtype, tuple[int, ...]]], records: int) -> None:
    """Raise ConfigError, with the readings, where arrays of one length, which nobody asked for, are of several splits.

    `kinds` are the dtype and the shape of a record of each.
    """
    names = list(kinds)
    parts = splits_beside(names, lambda name: is_column(name, *kinds[name]))
    if not parts:
        return
    first, other = (some[0] for some in list(parts.values())[:2])
    readings = [{"fields": list(some), "records": records, "about": False} for some in (*parts.values(), names)]
    listed = "; or ".join(f"fields={one['fields']} ({records:,} records)" for one in readings)
    raise ConfigError(
        f"{path}: what a record is cannot be told: '{first}' and '{other}' are of two splits, and would be fields of one record.",
        hint=f"Say it: {listed}.",
        path=path,
        readings=readings,
    )


def chosen_split(folder: str, found: Mapping[str, Sequence[str]], split: str | None) -> list[str]:
    """The files of the split that is asked for, or of the only one that there is.

    Raises ConfigError, with `option` and `splits`, where several could be meant, or there is none of that name.
    """
    listed = ", ".join(f"{name or 'of no split'}: {len(files):,}" for name, files in found.items())
    named = [name for name in found if name]
    if split is None and len(found) > 1:
        raise ConfigError(
            f"{folder} holds files of several splits ({listed}), whose records would be mixed.",
            hint=f"Choose one: split={named[0]!r}, or name the files that are meant.",
            path=folder,
            option="split",
            splits=named,
        )
    if split is not None and split not in found:
        raise ConfigError(
            f"{folder} has no split {split!r}; its files: {listed}.",
            hint=f"Choose one of {named}." if named else "Leave split= out.",
            path=folder,
            option="split",
        )
    return list(found[split] if split is not None else next(iter(found.values())))


def refuse_split(path: str, split: str | None) -> None:
    """Raise ConfigError where a split is asked for of what is no folder."""
    if split is not None:
        raise ConfigError(
            f"split={split!r} chooses among the files of a folder, and {path} is none.", hint="Leave split= out.", path=path, option="split"
        )
