"""The report's pictures can be read: no text lies over another, or over what is shown, and what is dashed is named beneath."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from test_report import DOCUMENTS, a_pass

from streamload.tools.benchmark.measure_epoch import BINS
from streamload.tools.commands.report import page

WIDE = {"label": 14.0, "tick": 14.0, "value": 17.0}
"""Letters of each kind of text on a narrow page, in units of the picture: as large as they become."""


def boxes(drawing: str) -> list[tuple[str, float, float, float, float]]:
    """Each text of a picture, and left, top, right and bottom of the place that it takes, by letters of a wide face."""
    found: list[tuple[str, float, float, float, float]] = []
    for one in ET.fromstring(drawing).iter("text"):
        size, said = WIDE[one.attrib["class"]], one.text or ""
        x, y, width = float(one.attrib["x"]), float(one.attrib["y"]), 0.6 * size * len(said)
        left = x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[one.attrib.get("text-anchor", "start")]
        box = (left, y - 0.75 * size, left + width, y + 0.2 * size)
        if "rotate(-90" in one.attrib.get("transform", ""):
            box = (x - 0.75 * size, y - width / 2, x + 0.2 * size, y + width / 2)
        found.append((said, *box))
    return found


def require_clear(drawing: str) -> None:
    """No two texts of a picture lie over each other, over what it shows, or beyond its edges."""
    root, texts = ET.fromstring(drawing), boxes(drawing)
    _, _, wide, high = map(float, root.attrib["viewBox"].split())
    shown = [
        ("a bar", *(float(one.attrib[name]) for name in ("x", "y", "width", "height")))
        for one in root.iter("rect")
        if one.attrib["class"][0] == "f"
    ]
    over = [(what, x, y, x + width, y + height) for what, x, y, width, height in shown]
    over += [("a point", *(float(one.attrib[name]) + sign * 3 for sign in (-1, 1) for name in ("cx", "cy"))) for one in root.iter("circle")]
    for number, (text, left, top, right, bottom) in enumerate(texts):
        assert left >= -7, text
        assert top >= -2, text
        assert right <= wide + 1, text
        assert bottom <= high + 1, text
        for other, a, b, c, d in [*texts[:number], *over]:
            assert not (left < c and a < right and top < d and b < bottom), (text, other)


def drawings(page_text: str) -> list[str]:
    """The pictures of a page."""
    return ["<svg" + one.split("</svg>")[0] + "</svg>" for one in page_text.split("<svg")[1:]]


@given(
    rates=st.lists(st.floats(1, 1e7), min_size=1, max_size=9),
    limits=st.lists(st.floats(1e6, 1e11), min_size=1, max_size=9),
    waits=st.lists(st.floats(1e-6, 90.0), min_size=2, max_size=2),
    name=st.sampled_from(["a disk", "what one core copies out, " * 5]),
)
@settings(max_examples=60)
def test_no_text_of_a_picture_lies_over_another_or_over_what_is_shown(
    rates: list[float], limits: list[float], waits: list[float], name: str
):
    """Whatever is measured: limits of one height, a median beside the 99th of a hundred, names of two lines."""
    document = copy.deepcopy(DOCUMENTS["bench"])
    document["passes"] = [
        a_pass(workers)
        | {
            "rate": rate,
            "byte_rate": 100 * rate,
            "limits": [{"name": f"{name} {at}", "byte_rate": limits[at], "ratio": 100 * rate / limits[at]}],
        }
        for workers, rate in enumerate(rates)
        for at in [workers % len(limits)]
    ]
    document["best"] = len(rates) - 1
    low, high = sorted(waits)
    counts = [5 if BINS[k] <= low < BINS[k + 1] or BINS[k] <= high < BINS[k + 1] else 0 for k in range(len(BINS) - 1)]
    document["passes"][-1]["waits"] = {"p50": low, "p99": high, "most": high, "counts": counts}
    comparison = copy.deepcopy(DOCUMENTS["comparison"])
    comparison["figures"][0]["theirs"] = name
    text = page([document, comparison, DOCUMENTS["quality"], DOCUMENTS["scale"]])
    for drawing in drawings(text):
        if "<title>" in drawing:
            require_clear(drawing)


def test_limits_are_named_beneath_the_curves():
    """Each in dashes of its own, with its value; nothing is written across the lines."""
    document = copy.deepcopy(DOCUMENTS["bench"])
    document["passes"][1]["limits"] = [{"name": "the <disk>", "byte_rate": 3e8, "ratio": 0.3}]
    text = page([document])
    assert 'class="limit d0"/></svg>one core copying, 200 MB/s</span>' in text
    assert 'class="limit d1"/></svg>the &lt;disk&gt;, 300 MB/s</span>' in text
    (drawing,) = [one for one in drawings(text) if "<title>Throughput against workers</title>" in one]
    assert {said for said, *_ in boxes(drawing)}.isdisjoint({"one core copying", "the <disk>"})
    assert drawing.count('class="limit d') == 2
