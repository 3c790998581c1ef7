"""What `info` says opens a file opens it, of every layout of HDF5; and a source of many fields is shown in a screenful."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from hdf5_files import LAYOUTS, write

import streamload as sl
from streamload.formats import FORMATS
from streamload.tools.__main__ import main


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_call_that_info_shows_opens_every_layout(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Executed: the same schema, and the same last record."""
    expected = LAYOUTS[layout](tmp_path / "a.h5")
    assert main(["info", str(tmp_path / "a.h5"), "--json", "--no-measure"]) in (0, 1)  # 1: something is left out, which info then says
    with eval(json.loads(capsys.readouterr().out)["call"], {"sl": sl}) as source:
        assert set(source.schema.names) == set(expected)
        for name, value in source[-1].items():
            np.testing.assert_array_equal(value, expected[name][-1])


def test_a_source_of_many_fields_is_shown_in_a_screenful(tmp_path: Path):
    """Forty fields are listed, and how many more there are."""
    write(tmp_path / "a.h5", **{f"f{number}": np.arange(5) for number in range(300)})
    shown = repr(sl.open(tmp_path / "a.h5", fields=[f"f{number}" for number in range(300)]))
    assert "  ... and 260 more fields" in shown
    assert len(shown) < 8000


def test_help_names_every_option_of_every_format() -> None:
    """They are arguments of the formats' own; `help(sl.open)` is where users look for them."""
    said = inspect.getdoc(sl.open) or ""
    plans = [importlib.import_module(name).plan for name in FORMATS]
    options = {one.name for plan in plans for one in inspect.signature(plan).parameters.values() if one.kind is one.KEYWORD_ONLY}
    assert {"record_axis", "split", "labels", "scaled", "shapes", "fill", "on_damage"} <= options
    assert not [name for name in options if f"`{name}`: " not in said]
