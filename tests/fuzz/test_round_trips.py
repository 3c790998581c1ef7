"""Records of any kinds, from any format to any other and on to a third: the same records, or a refusal before the first byte."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import streamload as sl
from fuzz import foreign
from fuzz.amount import say_seed, tried
from fuzz.datasets import Records, count_of, datasets, differences, schema_of, some
from streamload.errors import ConfigError
from streamload.schema import Schema
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.encode_images import stored
from streamload.tools.convert.readers.open import open_records
from streamload.tools.convert.writers.registry import CODECS, FORMATS, WriteOptions, write_options, writer_of

NUMBERS = count()


@pytest.fixture(autouse=True)
def seed_is_said() -> None:
    """Whatever becomes of the test."""
    say_seed()


@st.composite
def styles(draw: st.DrawFn) -> WriteOptions:
    """A target, and how it is written."""
    name = draw(st.sampled_from(list(FORMATS)))
    chunk = draw(st.sampled_from((None, None, 1, 7))) if name not in ("npy", "npz") else None
    return write_options(name=name, path="", codec=draw(st.sampled_from(CODECS[name])), chunk_records=chunk)


def refused(schema: Schema, style: WriteOptions, path: Path) -> bool:
    """Whether a target refuses fields, as it may: by name, with what can hold them, and with no file begun."""
    if not schema.ragged or style.format not in ("npy", "npz"):
        return False
    with pytest.raises(ConfigError, match="holds records of different lengths") as caught:
        writer_of(str(path), schema, 1, style)
    assert caught.value.hint.startswith("Write Parquet or Arrow, which can")
    assert not path.exists()
    return True


def write(path: Path, records: Records, style: WriteOptions, batch: int) -> None:
    """Records, some at a time."""
    total = count_of(records)
    writer = writer_of(str(path), schema_of(records), total, style)
    for start in range(0, total, batch):
        writer.append({name: some(one, slice(start, start + batch)) for name, one in records.items()})
    writer.close()


def convert(source: Path, target: Path, style: WriteOptions, order: Any, batch: int, names: list[str] | None = None) -> None:
    """As a task of a conversion does it."""
    origin = open_records(OpenRequest(path=str(source), fields=None if names is None else {name: name for name in names}))
    try:
        kept = stored(origin, style)
        writer = writer_of(str(target), kept.schema, len(order), style)
        for start in range(0, len(order), batch):
            writer.append(kept.take(order[start : start + batch]))
        writer.close()
    finally:
        origin.close()


def read(path: Path, order: Any, names: list[str] | None = None) -> Records:
    """Some records of a file, in an order of one's own; and the last of them alone."""
    with sl.open(path, None if names is None else {name: name for name in names}, decode=False) as data:
        found = data.take(order)
        if len(order):
            alone = data[int(order[-1])]
            last = some(next(iter(found.values())), np.array([len(order) - 1]))
            assert repr(next(iter(alone.values()))) == repr(last[0])
        return found


@tried(40, 1.0)
@given(records=datasets(), first=styles(), then=styles(), batch=st.integers(1, 50), seed=st.integers(0, 9))
def test_records_come_back_from_any_two_formats(
    records: Records, first: WriteOptions, then: WriteOptions, batch: int, seed: int, tmp_path: Path
) -> None:
    """Written, read in any order, converted in any order, and read again."""
    number, schema, rng = next(NUMBERS), schema_of(records), np.random.default_rng(seed)
    note(f"{count_of(records)} records of {schema}: {first.format} {first.codec}, {then.format} {then.codec}")
    here, there = (tmp_path / f"{number}{which}{FORMATS[style.format]}" for which, style in (("a", first), ("b", then)))
    if refused(schema, first, here):
        return
    write(here, records, first, batch)
    order = rng.permutation(count_of(records)) if seed else np.arange(count_of(records))
    assert differences(read(here, order), {name: some(one, order) for name, one in records.items()}) == {}
    if refused(schema, then, there):
        return
    convert(here, there, then, order, batch)
    held = {name: some(one, order) for name, one in records.items()}
    again = rng.integers(0, max(1, len(order)), len(order))
    assert differences(read(there, again), {name: some(one, again) for name, one in held.items()}) == {}


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
@tried(40, 1.0)
@given(records=datasets(), way=st.sampled_from(foreign.WAYS), then=styles(), batch=st.integers(1, 50), seed=st.integers(0, 10**6))
def test_records_come_out_of_what_other_libraries_write(
    records: Records, way: str, then: WriteOptions, batch: int, seed: int, tmp_path: Path
) -> None:
    """Read in any order, and converted."""
    number, rng, held = next(NUMBERS), np.random.default_rng(seed), foreign.held(records, way)
    if not held or (way.startswith("h5py") and not count_of(held)):
        return
    schema = schema_of(held)
    note(f"{count_of(held)} records of {schema}: {way}, {then.format} {then.codec}")
    here, there = tmp_path / f"{number}a{foreign.ENDINGS.get(way, '')}", tmp_path / f"{number}b{FORMATS[then.format]}"
    foreign.write(here, held, way, rng)
    order = rng.permutation(count_of(held))
    wanted = {name: some(one, order) for name, one in held.items()}
    assert differences(read(here, order, list(held)), wanted) == {}
    if refused(schema, then, there):
        return
    convert(here, there, then, order, batch, list(held))
    assert differences(read(there, np.arange(len(order))), wanted) == {}
