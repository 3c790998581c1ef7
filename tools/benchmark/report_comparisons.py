"""The parts of the report about orders, about scale, and about comparisons with limits and aims."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape
from typing import Any

from streamload.tools.benchmark.report_dataset import figure, table
from streamload.tools.benchmark.svg import Axis, SvgBar, axis_over, bars, legend, lines, points, seconds, short

UNITS = {"seconds": seconds}
MOST_SERIES = 6
"""As many as there are colours."""


def quality_section(document: dict[str, Any]) -> str:
    """How well orders mix data that is stored by class."""
    orders = [one for one in document["figures"] if "pairs" in one]
    trained = [one for one in document["figures"] if "accuracies" in one]
    missing = [one["what"] for one in document["figures"] if "missing" in one]
    pictures = "".join(_picture(one, number) for number, one in enumerate(orders))
    rows = [
        [
            one["order"],
            f"{one['variance']:.2f}",
            f"{100 * one['entropy']:.1f} %",
            f"{one['discrepancy']:.3f}",
            f"{one['same_block']:.2f}",
            f"{one['held_records']:,}" if "rate" not in one else "its own",
            f"{one['rate']:,.0f}" if "rate" in one else "",
        ]
        for one in orders
    ]
    heads = ["order", "variance of batch means", "label entropy", "prefix discrepancy", "same-block pairs", "records held", "records/s"]
    about = (
        "Where each position of an epoch takes its record from, on data stored by class. An even cloud is a full shuffle; stripes "
        "and bands are what a network would see of the storage."
    )
    units = (
        "Variance and same-block pairs: 1 is independent drawing. Entropy: the share of what independent drawing has. "
        "Discrepancy: the largest gap between what was delivered so far and the whole; 0 is best."
    )
    parts = [
        f'<section><h2>Order quality</h2><p class="soft">{about}</p><div class="grid small">{pictures}</div>',
        f'{table(heads, rows)}<p class="soft">{units}</p>',
    ]
    if trained:
        parts.append(f'<div class="grid">{_trained(trained)}</div>')
    parts += [f'<p class="soft">{escape(text)}</p>' for text in missing]
    return "".join(parts) + "</section>"


def _picture(one: dict[str, Any], number: int) -> str:
    x, y = (Axis(label=name, low=0, high=one["records"]) for name in ("position", "record"))
    return figure(one["order"], points(f"{one['order']}: position against record", one["pairs"], x, y, colour=number))


def _trained(trained: Sequence[dict[str, Any]]) -> str:
    rows = [
        SvgBar(label=one["order"], value=one["mean"], shown=f"{one['mean']:.3f}", mark=one.get("guessing"), colour=number)
        for number, one in enumerate(trained)
    ]
    one = trained[0]
    caption = (
        f"Mean test accuracy of {len(one['accuracies'])} seeds after {one['epochs']} epochs; {escape(one['model'])}; "
        "the stroke is guessing. Every order holds as many records in memory, but exact, which holds none."
    )
    return figure("A network trained in each order", bars("Accuracy by order", rows, high=1.0), caption)


def scale_section(document: dict[str, Any]) -> str:
    """Curves from small to large, with the law that each follows."""
    curves = [one for one in document["figures"] if "curve" in one]
    pictures = "".join(_curve(one) for one in curves)
    return (
        "<section><h2>Scale</h2>"
        '<p class="soft">Both axes are logarithmic: a level line costs the same at any size, a slope of one grows in proportion.</p>'
        f'<div class="grid">{pictures}</div></section>'
    )


def _curve(one: dict[str, Any]) -> str:
    series = [
        (name, [(float(a), float(b)) for a, b in zip(one["at"], values, strict=True) if b > 0]) for name, values in one["curve"].items()
    ]
    shown = UNITS.get(one["unit"], short)
    log_x = min(one["at"]) > 0 and max(one["at"]) > 20 * min(one["at"])
    x = axis_over(one["along"], [float(at) for at in one["at"]], log=log_x)
    y = axis_over(one["unit"], [value for _, found in series for _, value in found], log=True, shown=shown)
    caption = "; ".join(f"{name}: {law}" for name, law in one["laws"].items())
    drawing = lines(one["title"], series, x, y)
    return figure(one["title"], drawing + (legend([name for name, _ in series]) if len(series) > 1 else ""), escape(caption))


def comparison_section(document: dict[str, Any]) -> str:
    """Ratios to limits and to others, with their aims."""
    found = [one for one in document["figures"] if "ratio" in one]
    rows = [
        SvgBar(
            label=f"{one['what']}: of {one['theirs']}",
            value=min(one["ratio"], 2.0),
            shown=f"{one['ratio']:.2f} x",
            mark=one.get("target") if (one.get("target") or 0) <= 2 else None,
            colour=2 if one.get("target") is None or one["ratio"] >= one["target"] else 1,
        )
        for one in found
    ]
    said = [one["what"] for one in document["figures"] if "ratio" not in one]
    drawing = figure(
        f"bench.{document['name']}", bars(document["name"], rows, limit=1.0, high=2.0), "Ratios above 2 are drawn as 2; a stroke is an aim."
    )
    if len({one.get("record_nbytes") for one in found} - {None}) > 1:
        drawing += _sizes(found)
    listed = "".join(f'<p class="soft">{escape(text)}</p>' for text in said)
    return f"<section><h2>{escape(document['name'])}</h2>" + (f'<div class="grid">{drawing}</div>' if rows else "") + f"{listed}</section>"


def _sizes(found: Sequence[dict[str, Any]]) -> str:
    """Throughput against the size of a record: streamload, and each limit or peer that was there at more than one size."""
    series = by_record_size(found)
    x = axis_over("bytes of a record", [nbytes for _, rates in series for nbytes, _ in rates], log=True)
    y = axis_over("MB/s", [rate for _, rates in series for _, rate in rates], log=True)
    title = "Throughput against record size"
    return figure(title, lines(title, series, x, y) + legend([name for name, _ in series]), "Medians; both axes are logarithmic.")


def by_record_size(found: Sequence[dict[str, Any]]) -> list[tuple[str, list[tuple[float, float]]]]:
    """Of comparisons, MB/s by bytes of a record: ours first, then those (by their names to the first comma) that have several sizes."""
    rates: dict[str, dict[float, float]] = {"streamload": {}}
    for one in found:
        at = float(one["record_nbytes"])
        rates["streamload"].setdefault(at, statistics.median(one["our_byte_rates"]) / 1e6)
        rates.setdefault(one["theirs"].partition(",")[0], {}).setdefault(at, statistics.median(one["their_byte_rates"]) / 1e6)
    return [(name, sorted(there.items())) for name, there in rates.items() if len(there) > 1][:MOST_SERIES]
