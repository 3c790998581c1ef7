"""Kept plans of raw ragged records are looked at before anything is copied by them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ragged_files import write_arrow

from streamload.formats import plan_cache
from streamload.formats.columns.raw_ragged import RawRagged
from streamload.formats.open import open_source


@pytest.mark.parametrize("limit", [-1, 2**40], ids=["negative", "far away"])
def test_elements_outside_their_file_are_not_believed(limit: int, tmp_path: Path):
    """A kept plan that leads beyond the end of a file is no plan."""
    write_arrow(tmp_path / "data")
    source = open_source(tmp_path / "data", fields=["blob"])
    (column,) = source.columns
    assert isinstance(column, RawRagged)
    plan_cache._refuse_loose(column, source)
    column.limits[-1] = limit
    with pytest.raises(ValueError, match="elements lie behind the end of their file"):
        plan_cache._refuse_loose(column, source)
