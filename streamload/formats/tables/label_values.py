"""Labels and other small values of all records, as they come from text and JSON, made into one array each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CLASSES = 1000
"""Texts that differ more often than this are no labels."""
MANY, MANY_TIMES = 10_000, 4
"""Of so many texts, each there so many times on average, each is looked at once."""
EXACT = 2**53
"""Whole numbers up to this are the same as floats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelValues:
    """One field of all records, or why there is none."""

    array: NDArray[Any] | None
    """Shape (records, ...); zeros where a record has no value."""
    there: NDArray[np.bool_]
    """Whether each record has a value."""
    classes: list[str] | None = None
    """What the numbers mean, where they were texts."""
    why: str = ""
    """What keeps the values from being a field of numbers."""
    texts: tuple[str | None, ...] | None = None
    """The values, where they are texts, and no names of classes."""

    def of(self, records: Sequence[int]) -> LabelValues:
        """Those of some records, with the same classes."""
        array = None if self.array is None else self.array[records]
        texts = None if self.texts is None else tuple(self.texts[record] for record in records)
        return replace(self, array=array, there=self.there[records], texts=texts)


def labels_or_texts(values: Sequence[Any], *, as_classes: bool | None = None) -> LabelValues:
    """As `values_of`, but that texts are numbered only where they are names of classes; else they stay texts.

    They are classes where `as_classes` says so, or says nothing and they repeat: no more than 1,000 of them, each twice on average.
    """
    if len(values) >= MANY and set(map(type, values)) <= {str, type(None)}:
        distinct_texts = dict.fromkeys(values)
        if len(distinct_texts) <= len(values) // MANY_TIMES:
            return _of_few_texts(values, list(distinct_texts), as_classes)
    given = [value for value in values if value is not None]
    texts = bool(given) and all(isinstance(value, str) for value in given)
    distinct = len(set(given)) if texts else 0
    if as_classes is None:
        as_classes = distinct <= min(MOST_CLASSES, len(given) // 2)
    found = values_of(values, most_classes=distinct if as_classes else 0)
    return replace(found, texts=tuple(values)) if texts and found.array is None else found


def _of_few_texts(values: Sequence[str | None], distinct: Sequence[str | None], as_classes: bool | None) -> LabelValues:
    """As `labels_or_texts`, of texts each of which is looked at once, however often it is there."""
    texts = [text for text in distinct if text is not None]
    number = {None: -1, **{text: at for at, text in enumerate(texts)}}
    places = np.fromiter(map(number.__getitem__, values), np.int64, len(values))
    there = places >= 0
    if as_classes is None:
        as_classes = len(texts) <= min(MOST_CLASSES, int(there.sum()) // 2)
    found = replace(values_of(texts, most_classes=len(texts) if as_classes else 0), there=there)
    if found.array is None:
        return replace(found, texts=tuple(values)) if texts else found
    return replace(found, array=_spread(found.array[places[there]], there))


def values_of(values: Sequence[Any], *, most_classes: int = MOST_CLASSES) -> LabelValues:
    """Numbers, truth values, lists of numbers of one length, or texts, which are numbered in their order; None where there is none.

    A text that is a number is one, unless two texts of whole numbers were one then ("01" and "1"), or it would be another number:
    whole numbers are of 64 bits, and fractions beside them may not round them. Values of several kinds, and those that are no field,
    are told apart by `why`.
    """
    there = np.array([value is not None for value in values], bool)
    given = [value for value in values if value is not None]
    if not given:
        return LabelValues(array=None, there=there, why="no record has one")
    found = _numbers(given)
    if found is not None:
        return LabelValues(array=_spread(found, there), there=there)
    if not all(isinstance(value, str) for value in given):
        return LabelValues(array=None, there=there, why=_why_none(given))
    classes = sorted(set(given))
    if len(classes) > most_classes:
        return LabelValues(array=None, there=there, why=f"{len(classes):,} different texts, where labels have {most_classes:,} at most")
    places = {text: number for number, text in enumerate(classes)}
    return LabelValues(array=_spread(np.array([places[text] for text in given], np.int64), there), there=there, classes=classes)


def _numbers(given: list[Any]) -> NDArray[Any] | None:
    kinds = {type(value) for value in given}
    if kinds == {bool}:
        return np.array(given, bool)
    if kinds == {list}:
        return _table(given)
    if not kinds <= {int, float, str}:
        return None
    texts = "".join(value for value in given if isinstance(value, str))
    if "_" in texts or not texts.isascii():
        return None  # Python reads 1_2 as twelve, and nobody else does.
    for kind, dtype in ((int, np.int64), (int, np.uint64), (float, np.float64)):
        try:
            if kind is int and float in kinds:
                continue
            numbers = [kind(value) for value in given]
            if dtype is np.uint64 and min(numbers) < 0:
                continue  # Older NumPy would wrap them around.
            found = np.array(numbers, dtype)
        except (ValueError, OverflowError):
            continue
        if kind is float and _is_rounded(given, found):
            return None
        if kind is int and str in kinds and len(np.unique(found)) < len({str(value).strip() for value in given}):
            return None  # "01" is one class, and "1" another.
        return found
    return None


def _table(given: list[list[Any]]) -> NDArray[Any] | None:
    """Lists of numbers, nested or not, as one array; None where their lengths differ."""
    try:
        made = np.array(given)
    except (ValueError, OverflowError):
        return None
    if made.dtype.kind == "f" and _is_rounded(np.array(given, object).reshape(-1).tolist(), made.reshape(-1)):
        return None
    return made if made.dtype.kind in "biuf" and made.size else None


def _is_rounded(given: Sequence[Any], found: NDArray[Any]) -> bool:
    """Whether any whole number among these, which may be texts, is another one as a float."""
    for at in np.flatnonzero(np.abs(found) >= EXACT).tolist():
        try:
            if not isinstance(given[at], float) and int(given[at]) != int(found[at]):
                return True
        except (ValueError, OverflowError):
            continue  # A fraction, or the text of one.
    return False


def _why_none(given: Sequence[Any]) -> str:
    """What keeps values that are not all texts from being numbers."""
    kinds = {type(value) for value in given}
    if kinds <= {int, float}:
        return "whole numbers of more than 64 bits, or more digits than fractions beside them leave"
    if list not in kinds:
        return "values that are neither numbers nor texts"
    alike = kinds == {list} and len({np.shape(np.array(value, object)) for value in given}) == 1
    return "lists of values that are no numbers of one type" if alike else "lists of different lengths"


def _spread(found: NDArray[Any], there: NDArray[np.bool_]) -> NDArray[Any]:
    if there.all():
        return found
    array = np.zeros((len(there), *found.shape[1:]), found.dtype)
    array[there] = found
    return array
