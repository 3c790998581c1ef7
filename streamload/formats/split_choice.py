"""Folders whose files belong to several splits: what is learnt from, and what is tested with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from streamload.errors import ConfigError

WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "t10k": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
"""What the names of files call splits, and what `split=` calls them."""


def by_split(paths: Iterable[str]) -> dict[str, list[str]]:
    """Files by the split that a word of their names says, as `split=` calls it; "" where none does."""
    found: dict[str, list[str]] = {}
    for path in paths:
        words = re.findall(r"t10k|[a-z]+", os.path.basename(path).lower())
        found.setdefault(next((WORDS[word] for word in words if word in WORDS), ""), []).append(path)
    return found


def splits_among(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by split, where two of them differ in that alone, as X_train and X_test do; {} elsewhere."""
    found = by_split(names)
    found.pop("", None)
    return found if alike_but_for_split(found) else {}


def alike_but_for_split(found: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Names of several splits that differ in nothing but the word for it, those that belong together in a list."""
    alike: dict[str, dict[str, list[str]]] = {}
    for split, some in found.items():
        for name in some:
            bare = re.sub(r"t10k|[a-z]+", lambda word: "" if word[0] in WORDS else word[0], name.lower())
            alike.setdefault(bare, {}).setdefault(split, []).append(name)
    return [[name for some in splits.values() for name in some] for splits in alike.values() if len(splits) > 1]


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
