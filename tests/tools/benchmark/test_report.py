"""The report: one page that needs nothing else, whose pictures are sound, in whatever light and width."""

from __future__ import annotations

import copy
import json
import math
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from command_line import answer, said
from hypothesis import given
from hypothesis import strategies as st

from streamload.tools.benchmark.measure_epoch import BINS
from streamload.tools.benchmark.report_comparisons import by_record_size
from streamload.tools.benchmark.svg import (
    HEIGHT,
    LEFT,
    WIDTH,
    Axis,
    SvgBar,
    areas,
    axis_over,
    bars,
    histogram,
    lines,
    points,
    seconds,
    short,
)
from streamload.tools.commands.report import page

MACHINE = {"processor": "a <processor>", "memory": "2 GB", "disk": "a disk", "system": "a system", "versions": "python 3"}
RATES = {"our_byte_rates": [3e9, 1e9, 2e9], "their_byte_rates": [1e9]}
VOID = {"meta", "br", "hr", "img", "input", "link"}


def a_pass(workers: int) -> dict[str, Any]:
    """Figures of a pass."""
    return {
        "workers": workers,
        "rate": 1000.0 * (workers + 1),
        "byte_rate": 1e8,
        "limits": [{"name": "one core copying", "byte_rate": 2e8, "ratio": 0.5}],
        "first_batch_seconds": 0.5,
        "waits": {"p50": 1e-5, "p99": 2e-3, "most": 0.1, "counts": [3 if k in (10, 11, 40) else 0 for k in range(len(BINS) - 1)]},
        "steps": 9,
        "cpu_seconds_per_gb": 0.5,
        "memory": {"rss_nbytes": 3, "pss_nbytes": 2, "file_nbytes": 1, "moments": [[0.1, 100, 50], [0.2, 200, 60]]},
        "budget_nbytes": 10,
        "read_per_used": 1.0,
        "cache": "warm, mincore finds 100.0 % in memory",
        "read_ahead": workers == 1,
    }


DOCUMENTS: dict[str, dict[str, Any]] = {
    "bench": {
        "command": "bench",
        "time": "now",
        "machine": MACHINE,
        "path": "<train>.h5",
        "records": 5,
        "record_nbytes": 100,
        "schema": "image uint8 (2,)",
        "batch": 2,
        "order": "exact",
        "passes": [a_pass(0), a_pass(1)],
        "best": 1,
        "verdict": "fast & well",
        "changes": ["num_workers=1"],
        "model": {
            "name": "ResNet-50",
            "accelerator": "H100",
            "threshold": 0.9,
            "utilisation": {"1": 0.95, "4": 0.5},
            "feeds_each": {"H100": 4, "A100": 8},
        },
        "contenders": [
            {
                "name": "tf.data",
                "rate": 10.0,
                "byte_rate": 1e6,
                "limit": "one core copying",
                "limit_ratio": 0.01,
                "ratio": 10.0,
                "our_rate": 100.0,
                "order": "a buffer of 1,000",
                "written_nbytes": 5_000_000,
                "written_seconds": 1.5,
            },
            {"name": "FFCV", "missing": "FFCV is left out: ffcv is not installed"},
        ],
    },
    "quality": {
        "name": "quality",
        "machine": MACHINE,
        "figures": [
            {
                "what": "x",
                "order": "Exact",
                "records": 9,
                "pairs": [[0, 8], [4, 2]],
                "held_records": 0,
                "variance": 1.0,
                "entropy": 1.0,
                "discrepancy": 0.1,
                "same_block": 1.0,
            },
            {"what": "y", "order": "Exact", "accuracies": [0.5], "mean": 0.5, "epochs": 4, "model": "a CNN", "guessing": 0.1},
            {"what": "Grain is left out: grain is not installed", "missing": "Grain"},
        ],
    },
    "scale": {
        "name": "scale",
        "machine": MACHINE,
        "figures": [
            {
                "what": "w",
                "title": "files: open",
                "curve": {"open": [0.1, 0.2, 2.0], "record": [0.0, 1e-6, 2e-6]},
                "laws": {"open": "50 ms and 1 ms for each", "record": "rises"},
                "at": [1, 10, 1000],
                "along": "files",
                "unit": "seconds",
            }
        ],
    },
    "comparison": {
        "name": "warm",
        "machine": MACHINE,
        "figures": [
            {"what": "warm Exact", "theirs": "a ring, mapped", "ratio": 3.0, "target": 1.0, **RATES, "record_nbytes": 784},
            {"what": "warm Exact", "theirs": "a ring, read", "ratio": 0.5, **RATES, "record_nbytes": 3_072},
            {"what": "warm Exact", "theirs": "PyTorch", "ratio": 0.5, **RATES, "record_nbytes": 3_072},
            {"what": "a file"},
        ],
    },
}


class Checker(HTMLParser):
    """Knows whether tags are closed in order, and what a page asks for from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe"):
            self.outside.append(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("names", [[name] for name in DOCUMENTS] + [list(DOCUMENTS)], ids="+".join)
def test_a_page_is_whole_and_asks_for_nothing(names: list[str]):
    """Every tag is closed, nothing comes from elsewhere, and what files said is text, not markup."""
    text = page([DOCUMENTS[name] for name in names])
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.outside == []
    assert "url(" not in text
    assert "@import" not in text
    assert "<processor>" not in text
    assert "<train>" not in text
    for drawing in text.split("<svg")[1:]:
        ET.fromstring("<svg" + drawing.split("</svg>")[0] + "</svg>")


def test_a_page_fits_light_and_dark_and_every_width():
    """By its style: both schemes, a viewport, columns that wrap, tables that scroll by themselves."""
    text = page([DOCUMENTS["bench"]])
    assert "prefers-color-scheme:dark" in text
    assert 'name="viewport" content="width=device-width' in text
    assert "auto-fit,minmax(min(100%" in text
    assert ".scroll{overflow-x:auto" in text


def test_everything_that_was_left_out_is_named():
    """Nobody is missing in silence."""
    text = page([DOCUMENTS["bench"], DOCUMENTS["quality"]])
    assert "FFCV is left out: ffcv is not installed" in text
    assert "Grain is left out: grain is not installed" in text


def test_contenders_stand_beside_a_limit_with_what_their_formats_take():
    """Their share of what one core copies, their order, the size of their files and the time to write them."""
    text = page([DOCUMENTS["bench"]])
    for words in ("The limit: one core copying.", "<td>1.0 %</td>", "<td>a buffer of 1,000</td>", "<td>1.5 s</td>", "10.0 times as fast"):
        assert words in text
    assert "<td>5 MB</td>" in text


def test_throughput_is_drawn_against_record_size():
    """Medians of ours and of what was there at more than one size; several modes of one contender are one line."""
    found = [one for one in DOCUMENTS["comparison"]["figures"] if "ratio" in one]
    assert by_record_size(found) == [("streamload", [(784.0, 2e3), (3_072.0, 2e3)]), ("a ring", [(784.0, 1e3), (3_072.0, 1e3)])]
    assert "Throughput against record size" in page([DOCUMENTS["comparison"]])


def test_comparisons_at_one_size_have_no_such_picture():
    """One point is no line; nor where the size was not written down."""
    for more in ({"record_nbytes": 784}, {}):
        found = [{"what": "x", "theirs": "a ring", "ratio": 1.0, **RATES, **more}]
        assert "against record size" not in page([{"name": "warm", "machine": MACHINE, "figures": found}])


def test_report_writes_a_page_from_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Several documents, in the order given."""
    paths = [tmp_path / f"{name}.json" for name in DOCUMENTS]
    for path in paths:
        path.write_text(json.dumps(DOCUMENTS[path.stem]))
    code, document = answer(capsys, "report", *paths, "--html", tmp_path / "r.html")
    assert code == 0
    assert document["results"] == ["bench", "quality", "scale", "warm"]
    text = (tmp_path / "r.html").read_text()
    assert text.index("Order quality") < text.index("Scale")


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"name": "x"}'], ids=["text", "a list", "no figures"])
def test_other_files_are_not_taken_for_results(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Exit code 2, and what would write some."""
    (tmp_path / "x.json").write_text(content)
    code, text = said(capsys, "report", tmp_path / "x.json")
    assert code == 2
    assert "x.json does not hold the results of a benchmark." in text
    assert "streamload bench FILE --json > results.json" in text


def test_results_that_are_not_there_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """With the system's reason."""
    code, text = said(capsys, "report", tmp_path / "nothing.json")
    assert code == 2
    assert "nothing.json cannot be read: No such file or directory. " in text.replace("\n ", "")


values = st.lists(st.floats(1e-9, 1e12), min_size=1, max_size=20)


@given(found=values, log=st.booleans())
def test_an_axis_has_room_for_every_value_and_few_round_ticks(found: list[float], log: bool):
    """Places lie within, rise with the values, and ticks are within the axis."""
    axis = axis_over("x", found, log=log)
    places = [axis.at(value) for value in sorted(found)]
    assert all(0 <= place <= 1 for place in places)
    assert places == sorted(places)
    assert 1 <= len(axis.ticks()) <= 8
    assert all(axis.low <= tick * (1 + 1e-9) and tick <= axis.high * (1 + 1e-9) for tick in axis.ticks())


def test_whole_numbers_have_whole_ticks():
    """No half workers."""
    assert axis_over("workers", [0.0, 2.0], whole=True).ticks() == [0, 1, 2]


@given(found=values)
def test_drawings_are_sound_whatever_they_show(found: list[float]):
    """Well-formed, and every point within the picture."""
    x, y = axis_over("x", [*map(float, range(len(found))), 1.0]), axis_over("y", found, log=True)
    series = [("a < b", [(float(k), value) for k, value in enumerate(found)])]
    for drawing in (
        lines("lines", series, x, y, limits=[("limit", found[0])]),
        areas("areas", series, x, axis_over("y", found)),
        bars("bars", [SvgBar(label="a & b", value=value, shown=short(value), mark=value / 2) for value in found], limit=found[0]),
        histogram("waits", [*range(len(found) + 1)], [1] * len(found), Axis(label="x", low=0, high=len(found)), marks=[("p50", 0.5)]),
        points("points", [(k, value) for k, value in enumerate(found)], x, axis_over("y", found)),
    ):
        root = ET.fromstring(drawing)
        assert root.attrib["role"] == "img"
        assert "nan" not in drawing
        for circle in root.iter("circle"):
            assert LEFT <= float(circle.attrib["cx"]) <= WIDTH
            assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1_500_000, "1.5M"), (20_000, "20k"), (0.25, "0.25"), (3e-6, "3µ"), (2.5e12, "2.5T")], ids=str
)
def test_numbers_are_short(value: float, text: str):
    """Few characters, with a unit."""
    assert short(value) == text


@pytest.mark.parametrize(("value", "text"), [(2.0, "2 s"), (0.0015, "1.5 ms"), (2e-5, "20 µs"), (3e-9, "3 ns"), (0.0, "0")], ids=str)
def test_seconds_have_their_unit(value: float, text: str):
    """From nanoseconds to seconds."""
    assert seconds(value) == text
    assert math.isfinite(value)


def test_the_page_answers_first_which_loader_to_use():
    """In plain words: the fastest other loader, by how much, and whether it reads a copy; no backticks are left in the text."""
    document = copy.deepcopy(DOCUMENTS["bench"])
    document["best"] = document["passes"][0]["workers"]
    document["passes"][0]["rate"] = 100.0
    document["changes"] = ["`streamload convert a.h5 b.h5`: faster"]
    for rate, reads, words in (
        (50.0, "your files, 9 MB", "Use streamload: streamload with num_workers="),
        (50.0, "your files, 9 MB", "2.0 times what the fastest other loader does (X)."),
        (
            300.0,
            "a decoded copy, 9 MB",
            "X is 3.0 times as fast as streamload here, over a decoded copy, 9 MB, which has to be written first: ",
        ),
    ):
        document["contenders"] = [document["contenders"][0] | {"name": "X", "rate": rate, "reads": reads}]
        text = page([document])
        assert words in text
        assert "`" not in text
        assert "<code>streamload convert a.h5 b.h5</code>: faster" in text
        assert "PSS counts it once for all" in text
    document["contenders"] = []
    assert "No other loader was measured beside it" in page([document])
