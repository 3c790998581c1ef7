"""Commands on tables with nulls: what they say to give can be given, and is enough; what can be shown is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, said

import streamload as sl
from streamload.errors import ConfigError
from streamload.formats.tables import table
from streamload.tools.commands.advice_as_flags import as_flags
from streamload.tools.commands.nulls import fill_in


@pytest.fixture
def holes(tmp_path: Path) -> Path:
    """Nine records, every third with nulls."""
    path = tmp_path / "holes.parquet"
    columns: dict[str, Any] = {
        "number": np.arange(9),
        "label": pa.array([None if at % 3 == 1 else at for at in range(9)], pa.int16()),
        "flag": pa.array([None if at % 3 == 1 else True for at in range(9)]),
        "fraction": pa.array([None if at % 3 == 1 else at / 4 for at in range(9)]),
    }
    pq.write_table(pa.table(columns), path, row_group_size=4)
    return path


def flags_in(text: str) -> list[str]:
    """The arguments that a text says to give."""
    found = re.search(r"(--fill .*?)(; or|\.\n|\.$)", text, re.MULTILINE)
    assert found is not None
    return shlex.split(found[1])


@pytest.mark.parametrize("target", ["h5", "npz", "parquet", "arrow"])
def test_convert_says_beforehand_what_to_give_and_takes_it(target: str, holes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of all fields at once, before anything is written."""
    there = tmp_path / f"there.{target}"
    code, text = said(capsys, "convert", holes, there)
    assert code != 0
    assert f"{holes} holds nulls in 'label' (3), 'flag' (3)." in text
    assert "Say what stands for them, --fill label=0 --fill flag=false; or leave such records out, --on-bad skip." in text
    assert not [path for path in tmp_path.iterdir() if path != holes]
    assert said(capsys, "convert", holes, there, *flags_in(text), "--workers", "1")[0] == 0
    with sl.open(there) as data:
        assert data[:]["label"].tolist() == [0 if at % 3 == 1 else at for at in range(9)]
        assert data[:]["flag"].tolist() == [at % 3 != 1 for at in range(9)]
        assert np.isnan(data[:]["fraction"]).tolist() == [at % 3 == 1 for at in range(9)]
    code, told = answer(capsys, "verify", there, "--against", holes)
    assert (code, told["found"]) == (0, [])


def test_convert_leaves_out_records_with_nulls_where_that_is_asked_for(holes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """They are counted, and named."""
    code, told = answer(capsys, "convert", holes, tmp_path / "there.h5", "--on-bad", "skip", "--workers", "1")
    assert (code, told["records"], [number for number, _ in told["left_out"]]) == (1, 6, [1, 4, 7])
    assert "null at row 4 of column 'label'" in told["left_out"][1][1]


def test_info_and_head_show_what_they_can(holes: Path, capsys: pytest.CaptureFixture[str]):
    """A null is shown as one, and what to give is said."""
    code, told = answer(capsys, "head", holes, "-n", "2")
    assert code == 0
    assert told["records"][1] == {"record": 1, "number": 1, "label": None, "flag": None, "fraction": "nan"}
    assert re.search(r"label +null", said(capsys, "head", holes, "-n", "2")[1])
    code, told = answer(capsys, "info", holes, "--no-measure")
    assert (code, told["nulls"]) == (0, {"label": 3, "flag": 3})
    assert {one["name"]: one["range"]["greatest"] for one in told["fields"]} == {"number": 8, "label": 8, "flag": True, "fraction": 2.0}
    code, told = answer(capsys, "info", holes)
    assert (code, told["speed"]["exact_warm"] > 0) == (0, True)
    text = said(capsys, "info", holes, "--no-measure")[1]
    assert "fill=" not in text
    assert "on_bad_record" not in text
    assert flags_in(text) == ["--fill", "label=0", "--fill", "flag=false"]
    text = said(capsys, "info", holes, "--no-measure", *flags_in(text))[1]
    assert "nulls" not in text.replace("'fraction' holds 3 nulls, delivered as NaN", "")
    assert "fill={'label': 0, 'flag': False}" in text


def test_what_is_given_is_read_as_python_has_it_or_as_text():
    """Numbers, truth, bytes and lists; what is none of these is text."""
    given = ["a=0", "b=-1.5", "c=true", "d=False", "e=", "f=none given", 'g=b""', "h=[0]", "i='7'", "j=x=y"]
    read = {"a": 0, "b": -1.5, "c": True, "d": False, "e": "", "f": "none given", "g": b"", "h": [0], "i": "7", "j": "x=y"}
    assert fill_in(given) == read
    for wrong in ("label", "=0"):
        with pytest.raises(ConfigError, match=r"--fill .* cannot be read\. Give a field and what stands for its nulls: --fill label=0\."):
            fill_in([wrong])


def test_advice_for_python_becomes_arguments_that_mean_the_same():
    """Whatever may stand for nulls."""
    stands = {"a": 0, "b b": False, "c": "", "d": b"", "e": [0], "f": []}
    flags = as_flags(f"Say what stands for them, fill={stands}.").removeprefix("Say what stands for them, ").removesuffix(".")
    assert fill_in(shlex.split(flags)[1::2]) == stands
    assert as_flags("fill={nonsense}") == "fill={nonsense}"


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_ranges_are_of_all_records_or_say_of_how_many(compression: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of small fields, and of whole numbers whose statistics the footer has; elsewhere of some, and how many."""
    path, rng = tmp_path / "a.parquet", np.random.default_rng(0)
    wide = pa.FixedSizeListArray.from_arrays(pa.array(rng.integers(0, 99, 1000 * 100).astype("i2")), 100)
    label = np.zeros(1000, np.int64)
    label[777] = 9
    pq.write_table(pa.table({"wide": wide, "label": label}), path, row_group_size=100, compression=compression)
    told = answer(capsys, "info", path, "--no-measure")[1]
    ranges = {one["name"]: one["range"] for one in told["fields"]}
    assert (ranges["label"]["least"], ranges["label"]["greatest"], ranges["label"]["all"]) == (0, 9, True)
    assert (ranges["wide"]["records"], ranges["wide"]["all"]) == (4, False)
    text = said(capsys, "info", path, "--no-measure")[1]
    assert ", of 4 seen" in text
    assert re.search(r"label +int64 +\(\) +0 to 9  ", text)
    pq.write_table(pa.table({"label": label}), path, row_group_size=100, compression=compression)
    told = answer(capsys, "info", path, "--no-measure")[1]["fields"][0]["range"]
    assert (told["greatest"], told["all"]) == (9, True)


def test_nulls_that_nobody_counted_are_no_nulls_to_speak_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """And a record of any length has the length that records have on average."""
    monkeypatch.setattr(table, "COUNTED_NBYTES", 0)
    path, blobs = tmp_path / "a.parquet", [bytes(1 << 20), bytes(3 << 20)]
    pq.write_table(pa.table({"x": pa.array(blobs, pa.binary())}), path, compression="zstd", use_dictionary=False, write_statistics=False)
    assert answer(capsys, "info", path, "--no-measure")[1]["nulls"] == {"x": None}
    text = said(capsys, "info", path, "--no-measure")[1]
    assert "nulls:" not in text
    assert re.search(r"a record +2 MB on average\n", text)
