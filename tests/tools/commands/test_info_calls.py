"""What `info` says opens a file opens it: the same fields and records, whatever else lies in the file; and every reading that it lists."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamload as sl
from streamload.tools.__main__ import main

WRITTEN = {"libver": ("earliest", "v110")}


def table(rows: int) -> np.ndarray:
    """A compound of two members."""
    return np.array([(number, 2.0 * number) for number in range(rows)], [("image", "i4"), ("y", "f4")])


LAYOUTS: dict[str, dict[str, Any]] = {
    "root": {"x": np.zeros((9, 4)), "y": np.arange(9)},
    "nested": {"set/train/x": np.zeros((9, 4)), "set/train/y": np.arange(9)},
    "one name elsewhere too": {"train/x": np.zeros((9, 4)), "test/x": np.ones((4, 4)), "y": np.arange(9)},
    "one name at the root, of another length": {"train/rows": np.zeros((9, 4)), "rows": np.ones((4, 4)), "n": np.arange(9)},
    "compound": {"table": table(9)},
    "compound in a group, beside its name": {"a/table": table(9), "table": np.zeros(3)},
    "dots in names": {"a.b": np.zeros((9, 4)), "a.c": np.arange(9)},
    "two of one name": {"left/x": np.zeros((9, 4)), "right/x": np.ones((9, 4)), "y": np.arange(9)},
}


def info(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """What the command answers."""
    main(["info", *map(str, arguments), "--json", "--no-measure"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_call_that_info_shows_opens_the_same(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Executed: the same schema, and the same first and last records."""
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        for name, values in LAYOUTS[layout].items():
            file[name] = values
    call = info(capsys, tmp_path / "a.h5")["call"]
    with sl.open(tmp_path / "a.h5") as found, eval(call, {"sl": sl}) as again:
        assert (len(found), found.schema) == (len(again), again.schema)
        for place in (0, -1):
            for name, value in found[place].items():
                np.testing.assert_array_equal(value, again[place][name])


def test_every_reading_that_info_lists_is_what_its_arguments_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """At the prompt as in Python: as many records as were said; exit code 1 for a file that must be told more of."""
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        for number in range(12):
            file[f"sample_{number}/image"], file[f"sample_{number}/label"] = np.full((5, 4), number), number
    assert main(["info", str(tmp_path / "a.h5")]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1:3] == [
        "  ! what a record is cannot be told: 'sample_0/image' and 'sample_1/image', of one shape, lie in sibling groups.",
        "  it could be  with",
    ]
    assert len(said) == 6
    for line in said[3:]:
        count, flags = line.split(" records", 1)
        document = info(capsys, tmp_path / "a.h5", *shlex.split(flags))
        assert document["records"] == int(count)
        with eval(document["call"], {"sl": sl}) as source:
            assert len(source) == int(count)
