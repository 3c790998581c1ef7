"""Names of classes that files say of one field: one list for all files of a source, or an error."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from streamload.errors import SchemaMismatchError


def class_names(value: Any) -> tuple[str, ...]:
    """Names of classes out of what a file says, as a list of texts or one text of JSON; () where it is neither."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ()
    return tuple(value) if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value) else ()


def agreed_classes(name: str, said: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[str, ...]:
    """The longest of the lists that files, by path, have for a field: one may go on where another ends, and say nothing.

    Raises SchemaMismatchError where one number stands for different things.
    """
    path, longest = "", ()
    for here, words in said:
        number = next((at for at, (a, b) in enumerate(zip(longest, words, strict=False)) if a != b), None)
        if number is not None:
            raise SchemaMismatchError(
                f"Column '{name}' has other classes: {number} is {longest[number]!r} in {path}, and {words[number]!r} in {here}.",
                hint="Open them apart, or write them with the same classes in the same order.",
                path=here,
                dataset=name,
            )
        if len(words) > len(longest):
            path, longest = here, words
    return longest
