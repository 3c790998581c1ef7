"""Names of classes and attributes, random and odd: read again from any format, or refused before the first byte."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamload as sl
from fuzz.amount import say_seed, tried
from streamload.errors import ConfigError
from streamload.schema import Field, Schema
from streamload.tools.convert.writers.registry import FORMATS, Annotations, write_options, writer_of

NUMBERS = count()
TEXTS = st.text(st.sampled_from("ab é€𝄞\n\0'\"["), max_size=6)
KEYS = st.sampled_from(
    ("units", "shape", "dtype", "classes", "attributes", "field_name", "CLASS", "a/b", "é", "ARROW:x", "scale", "_x", "")
)
VALUES = st.one_of(
    TEXTS,
    st.lists(TEXTS, min_size=1, max_size=4),
    st.sampled_from((np.float32(0.1), np.int8(-3), np.bool_(True), np.uint64(2**64 - 1), np.float64("inf"))),
    st.sampled_from((np.arange(3), np.zeros((2, 2), "f4"), np.array([True, False]), np.array([7], "u1"), np.array([1], ">i4"))),
)


@pytest.fixture(autouse=True)
def seed_is_said() -> None:
    """Whatever becomes of the test."""
    say_seed()


def told(value: Any) -> Any:
    """A value such that it can be compared: its dtype and shape with it."""
    if isinstance(value, (str, list)):
        return value
    array = np.asarray(value)
    return array.dtype.newbyteorder("=").str, array.tolist()


@tried(40, 0.5)
@given(
    target=st.sampled_from(list(FORMATS)),
    words=st.lists(TEXTS, max_size=4),
    attributes=st.dictionaries(KEYS, VALUES, max_size=3),
    kind=st.sampled_from(("i4", "u1", "f4")),
)
def test_what_is_said_of_a_field_comes_back_or_is_refused(
    target: str, words: list[str], attributes: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    """To the type of each number."""
    path = tmp_path / f"{next(NUMBERS)}{FORMATS[target]}"
    schema = Schema((Field("y", np.dtype(kind), ()), Field("z", np.dtype("f8"), (2,))))
    style = write_options(name=target, path="", codec="none", chunk_records=None)
    try:
        writer = writer_of(str(path), schema, 4, style, Annotations(classes={"y": words}, attributes={"y": attributes}))
    except ConfigError:
        assert not path.exists()
        return
    writer.append({"y": np.arange(4).astype(kind), "z": np.zeros((4, 2))})
    writer.close()
    with sl.open(path) as made:
        assert made.classes == ({"y": tuple(words)} if words and kind != "f4" else {})
        found = made.attributes.get("y", {})
        assert {name: told(one) for name, one in found.items()} == {name: told(one) for name, one in attributes.items()}
        assert made[:]["y"].tolist() == list(range(4))
