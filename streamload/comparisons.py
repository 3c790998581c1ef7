"""Comparisons of values that are decided by what they are, and never by how NumPy rounds them to compare them.

Whole numbers of 64 bits are no floats, a number that a type cannot hold is equal to none of that type, and a text that ends in zero
characters is another one than the text without them. Only a fraction counts as the type of a field rounds it: 0.1 is equal to the
float32 next to it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

Compare = Callable[[Any, Any], Any]
"""One of operator.eq, ne, lt, le, gt and ge."""
EXACT_IN_FLOATS = 1 << 53
"""Whole numbers up to this one are float64, and so is none but every second above it."""


def compared(compare: Compare, left: Any, right: Any) -> Any:
    """What a comparison gives, of arrays of shape (records,) of numbers or of texts, or of such an array and a number or text, or of two
    of these: truth values of shape (records,), or one."""
    if not isinstance(left, np.ndarray) and not isinstance(right, np.ndarray):
        return compare(left, right)
    if is_text(left):
        return _compared_texts(compare, left, right)
    if not isinstance(left, np.ndarray):
        return _with_number(lambda values, number: compare(number, values), _whole_or_float(right), left)
    if not isinstance(right, np.ndarray):
        return _with_number(compare, _whole_or_float(left), right)
    return _compared_fields(compare, _whole_or_float(left), _whole_or_float(right))


def is_text(values: Any) -> bool:
    """Whether an array or a value is of texts, or of bytes that stand for texts."""
    return values.dtype.kind in "SUO" if isinstance(values, np.ndarray) else isinstance(values, (str, bytes))


def _whole_or_float(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers, truth values among them."""
    return values.view(np.uint8) if values.dtype.kind == "b" else values


def _with_number(compare: Compare, values: NDArray[Any], number: float) -> NDArray[np.bool_]:
    """A field's numbers compared with one number; `compare` takes the field first."""
    if values.dtype.kind == "f":
        return _floats_with_number(compare, values, number)
    if isinstance(number, float) and not number.is_integer():  # Rounding to float64 takes no whole number past a fraction.
        return compare(values.astype(np.float64), number)
    whole, limits = int(number), np.iinfo(values.dtype)
    if not limits.min <= whole <= limits.max:
        return np.full(values.shape, bool(compare(0, whole)))
    return compare(values, values.dtype.type(whole))


def _floats_with_number(compare: Compare, values: NDArray[Any], number: float) -> NDArray[np.bool_]:
    kind = values.dtype.type
    with np.errstate(over="ignore", under="ignore"):
        try:
            near = kind(float(number))
        except OverflowError:
            near = kind(np.inf)
    if isinstance(number, float):
        held = not np.isfinite(number) or not number or (np.isfinite(near) and abs(near) >= np.finfo(kind).tiny)
        return compare(values, near) if held else compare(values.astype(np.float64), number)
    held = bool(np.isfinite(near)) and int(near) == number
    return compare(values, near) if held else _one_by_one(compare, values, number)


def _compared_fields(compare: Compare, left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    """Numbers of two fields."""
    found: NDArray[np.bool_] = compare(left, right)
    kinds = {left.dtype.kind, right.dtype.kind}
    wide = [one for one in (left, right) if one.dtype.kind in "iu" and one.dtype.itemsize == 8]
    if len(kinds) == 1 or not wide:
        return found
    doubtful = np.zeros(left.shape, bool)
    for one in wide:
        doubtful |= one > EXACT_IN_FLOATS
        doubtful |= one < (-EXACT_IN_FLOATS if one.dtype.kind == "i" else 0)
    if doubtful.any():
        found[doubtful] = _one_by_one(compare, left[doubtful], right[doubtful])
    return found


def _one_by_one(compare: Compare, left: Any, right: Any) -> NDArray[np.bool_]:
    """As Python compares, which rounds no number and shortens no text. At least one side is an array."""
    count = next(len(one) for one in (left, right) if isinstance(one, np.ndarray))
    both = (one.tolist() if isinstance(one, np.ndarray) else repeat(one) for one in (left, right))
    return np.fromiter(map(compare, *both), np.bool_, count)


def _compared_texts(compare: Compare, left: Any, right: Any) -> NDArray[np.bool_]:
    """Texts; as UTF-8 where one side is of bytes, which have the same order as texts."""
    kinds = {_kind(left), _kind(right)}
    if len(kinds) == 1 and not any(not isinstance(one, np.ndarray) and one[-1:] in ("\0", b"\0") for one in (left, right)):
        return np.asarray(compare(left, right), np.bool_)
    if "S" in kinds:
        left, right = map(_encoded, (left, right))
    return _one_by_one(compare, left, right)


def _kind(values: Any) -> str:
    """ "S" of bytes, "U" of texts, "O" of texts that NumPy's own kind does not hold."""
    return values.dtype.kind if isinstance(values, np.ndarray) else "S" if isinstance(values, bytes) else "U"


def _encoded(texts: Any) -> Any:
    """Texts as UTF-8, those of an array as an array of objects; bytes as they are."""
    if _kind(texts) == "S":
        return texts
    if not isinstance(texts, np.ndarray):
        return as_utf8(texts)
    return np.fromiter(map(as_utf8, texts.tolist()), object, len(texts))


def as_utf8(text: str) -> bytes:
    """A text's bytes, whatever a condition has in it: halves of surrogate pairs, too."""
    return text.encode("utf-8", "surrogatepass")
