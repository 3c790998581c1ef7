"""Random records: fields of every kind under odd names, and whether what comes back is what was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from kinds import values

from streamload.ragged import Ragged
from streamload.schema import BYTES, TEXT, Field, Schema

NUMBERS = ("?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16")
KINDS = (
    *NUMBERS,
    ">i4",
    ">f8",
    ">f2",
    ">c16",
    "g",
    "S1",
    "S5",
    "S70",
    "<M8[D]",
    "<M8[s]",
    "<M8[ms]",
    "<M8[25us]",
    "<M8[ns]",
    "<m8[s]",
    "<m8[ns]",
)
"""Dtypes of elements."""
NAMES = (
    "x",
    "label",
    "image",
    "a b",
    "a.b",
    "a/b",
    "a_b",
    "é€",
    "A",
    "0",
    "x" * 70,
    "shape",
    "'q'",
    "-",
    "labels",
    "text",
    "s1/x",
    "s2/x",
    "x1",
    "x2",
    "x3",
)
SHAPES = ((), (), (), (1,), (3,), (2, 3), (1, 1), (0,), (2, 0), (5, 4, 3))
Records = Mapping[str, Any]
"""By field, all records."""


@st.composite
def datasets(draw: st.DrawFn, *, least: int = 0, most: int = 40, ragged: bool = True) -> dict[str, Any]:
    """Records of a few fields: arrays, records first, or Ragged."""
    count, seed = draw(st.integers(least, most)), draw(st.integers(0, 99))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    return {name: draw(fields(count, seed, ragged=ragged)) for name in names}


@st.composite
def fields(draw: st.DrawFn, count: int, seed: int, *, ragged: bool) -> Any:
    """One field of so many records."""
    how = draw(st.sampled_from(("fixed", "fixed", "array", "bytes", "text"))) if ragged else "fixed"
    if how == "fixed":
        return values.native(values.fixed(draw(st.sampled_from(KINDS)), draw(st.sampled_from(SHAPES)), records=count, seed=seed))
    lengths = np.array(draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)), np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    if how == "array":
        shape = draw(st.sampled_from(((), (), (3,), (1,), (2, 2))))
        elements = values.fixed(draw(st.sampled_from(KINDS)), shape, records=int(offsets[-1]), seed=seed)
        return Ragged(values.native(elements), offsets, "array")
    letters = "ab ä€𝄞" if how == "text" else "ab\0ÿ"
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list(letters), length)) for length in lengths.tolist()]
    if how == "text":
        return Ragged.of(texts) if texts else Ragged(np.zeros(0, np.uint8), offsets, TEXT)
    return Ragged.of([one.encode("latin1") for one in texts]) if texts else Ragged(np.zeros(0, np.uint8), offsets, BYTES)


def schema_of(records: Records) -> Schema:
    """The fields of such records."""
    made = [
        Field(name, one.dtype, one.values.shape[1:], one.kind) if isinstance(one, Ragged) else Field(name, one.dtype, one.shape[1:])
        for name, one in records.items()
    ]
    return Schema(tuple(made))


def count_of(records: Records) -> int:
    """How many there are."""
    return len(next(iter(records.values())))


def some(one: Any, chosen: Any) -> Any:
    """Some records of a field."""
    return one[chosen] if isinstance(one, Ragged) else np.ascontiguousarray(one[chosen])


def differences(found: Records, wanted: Records) -> dict[str, str]:
    """By field, in what it differs; {} where nothing does. A record of one element may come as one number."""
    if len(found) == len(wanted) == 1:
        found = dict(zip(wanted, found.values(), strict=True))  # An array alone has no name in some formats.
    if set(found) != set(wanted):
        return {"": f"{sorted(found)}, not {sorted(wanted)}"}
    told = {name: values.difference(_as_stored(found[name], one), one) for name, one in wanted.items()}
    return {name: text for name, text in told.items() if text}


def _as_stored(found: Any, wanted: Any) -> Any:
    if isinstance(found, Ragged) or isinstance(wanted, Ragged) or found.shape == wanted.shape:
        return found
    return found.reshape(wanted.shape) if found.shape == wanted.shape[:1] and set(wanted.shape[1:]) == {1} else found
