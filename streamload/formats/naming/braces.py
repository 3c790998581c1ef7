"""Paths with braces, which stand for several, as shells and WebDataset read them: train-{000000..000005}.tar, {train,val}.tar."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice

from streamload.errors import ConfigError

MOST = 1_000_000
"""Braces that stand for more paths are refused."""
_NUMBERS = re.compile(r"(-?[0-9]+)\.\.(-?[0-9]+)(?:\.\.-?([0-9]+))?")
_LETTERS = re.compile(r"([a-z])\.\.([a-z])(?:\.\.-?([0-9]+))?|([A-Z])\.\.([A-Z])(?:\.\.-?([0-9]+))?")


def alternatives(path: str) -> list[str]:
    """The paths that a path with braces stands for, the last braces changing fastest; the path alone where it has none.

    What exists under its own name stands for itself, and so do folders that exist: only what follows them is looked at.
    """
    if "{" not in path or os.path.lexists(path):
        return [path]
    parts, stop = path.split(os.sep), 1
    while stop < len(parts) and os.path.isdir(os.sep.join(parts[:stop]) or os.sep):
        stop += 1
    folder, rest = parts[: stop - 1], os.sep.join(parts[stop - 1 :])
    found = [os.sep.join([*folder, one]) for one in islice(_expanded(rest), MOST + 1)]
    if len(found) > MOST:
        raise ConfigError(f"{path} stands for more than {MOST:,} paths.", hint="Check the numbers between its braces.")
    return found


def has_braces(path: str) -> bool:
    """Whether a path stands for several by its braces."""
    return "{" in path and not os.path.lexists(path) and next(_expanded(path)) != path


def refuse_missing(path: str, found: Sequence[str]) -> None:
    """Raise ConfigError where some of the paths that braces stand for do not exist; patterns among them are not looked at."""
    missing = [one for one in found if not os.path.lexists(one) and not re.search(r"[*?\[]", one)]
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5:,} more" if len(missing) > 5 else "")
        raise ConfigError(
            f"{path} stands for {len(found):,} paths, of which {len(missing):,} do not exist: {named}.",
            hint="Check that all were fetched, and the numbers between the braces; a pattern such as train-*.tar takes what is there.",
            path=missing[0],
            missing=missing[:100],
        )


def _expanded(text: str) -> Iterator[str]:
    begin = text.find("{")
    while begin >= 0:
        stop = _closing(text, begin)
        some = _between(text[begin + 1 : stop]) if stop >= 0 else None
        if some is not None:
            for one in some:
                for rest in _expanded(text[stop + 1 :]):
                    yield text[:begin] + one + rest
            return
        begin = text.find("{", begin + 1)
    yield text


def _closing(text: str, begin: int) -> int:
    """Where the brace ends that begins there; -1 where it does not."""
    depth = 0
    for place in range(begin, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if not depth:
            return place
    return -1


def _between(text: str) -> Iterator[str] | None:
    """What may stand in place of braces, by what is between them; None where they mean nothing."""
    if (found := _NUMBERS.fullmatch(text)) is not None:
        width = max(map(len, found.groups()[:2])) if any(re.match("-?0[0-9]", one) for one in found.groups()[:2]) else 0
        return (f"{number:0{width}d}" for number in _range(int(found[1]), int(found[2]), found[3]))
    if (found := _LETTERS.fullmatch(text)) is not None:
        first, last, step = (found[1], found[2], found[3]) if found[1] else (found[4], found[5], found[6])
        return map(chr, _range(ord(first), ord(last), step))
    parts = _parts(text)
    return (one for part in parts for one in _expanded(part)) if len(parts) > 1 else None


def _range(first: int, last: int, step: str | None) -> range:
    by = int(step or 1) or 1
    return range(first, last + 1, by) if first <= last else range(first, last - 1, -by)


def _parts(text: str) -> list[str]:
    """What commas part, but for those between inner braces."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
