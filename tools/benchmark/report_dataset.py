"""The part of the report about one dataset: what `streamload bench` found."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from html import escape
from typing import Any

from streamload.sizes import format_decimal
from streamload.tools.benchmark.competitors import COPY
from streamload.tools.benchmark.measure_epoch import BINS
from streamload.tools.benchmark.svg import SvgBar, areas, axis_over, bars, histogram, legend, limit_legend, lines, seconds, short


def figure(title: str, drawing: str, caption: str = "") -> str:
    """A picture with its name and what there is to say of it."""
    said = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure><h3>{escape(title)}</h3>{drawing}{said}</figure>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the page is narrow."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(one)}</td>" for one in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def in_code(text: str) -> str:
    """A text as HTML, what stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def answer_of(document: dict[str, Any]) -> str:
    """Which loader to use for this data on this machine, and how: in plain words, before any figure."""
    passes = document["passes"]
    best = next(one for one in passes if one["workers"] == document["best"])
    use = f"streamload with num_workers={best['workers']} delivers {best['rate']:,.0f} records a second of this data on this machine"
    others = [one for one in document.get("contenders", []) if "rate" in one and one["name"] != COPY]
    if not others:
        return f"{use}. No other loader was measured beside it (--contenders all does)."
    ratios = {one["name"]: one["rate"] / best["rate"] for one in others}
    fastest = max(ratios, key=lambda name: ratios[name])
    copied = next((one for one in others if one["name"] == fastest and one.get("reads", "").startswith("a decoded")), None)
    than = f", over {copied['reads']}, which has to be written first" if copied else ""
    if ratios[fastest] <= 1:
        return f"Use streamload: {use}, {1 / ratios[fastest]:.1f} times what the fastest other loader does ({fastest}{than})."
    return f"{fastest} is {ratios[fastest]:.1f} times as fast as streamload here{than}: {use}."


def bench_section(document: dict[str, Any]) -> str:
    """Verdict, pictures and figures of one run of `streamload bench`."""
    passes = document["passes"]
    best = next(one for one in passes if one["workers"] == document["best"])
    changes = "".join(f"<li>{in_code(change)}</li>" for change in document["changes"])
    pictures = [_ratios(passes), _workers(passes), _waits(best), _memory(best)]
    if document.get("model"):
        pictures.append(_model(document["model"]))
    if any("rate" in one for one in document.get("contenders", [])):
        pictures.append(_contenders(document["contenders"]))
    missing = [one["missing"] for one in document.get("contenders", []) if "missing" in one]
    return (
        f"<section><h2>{escape(document['path'])}</h2>"
        f'<p class="soft">{document["records"]:,} records of {format_decimal(document["record_nbytes"])} · {escape(document["schema"])} · '
        f"{escape(document['order'])} order · batches of {document['batch']:,} · {escape(document['time'])}</p>"
        f'<p class="verdict">{escape(answer_of(document))}</p><p>{in_code(document["verdict"])}</p>'
        + (f'<ul class="changes">{changes}</ul>' if changes else "")
        + f'<div class="grid">{"".join(pictures)}</div>{_figures(passes)}{_contender_figures(document.get("contenders", []))}'
        + "".join(f'<p class="soft">{escape(text)}</p>' for text in missing)
        + "</section>"
    )


def _ratios(passes: Sequence[dict[str, Any]]) -> str:
    rows = [
        SvgBar(
            label=f"{one['workers']} workers, of {limit['name']}",
            value=limit["ratio"],
            shown=f"{100 * limit['ratio']:.0f} %",
            colour=number,
        )
        for number, one in enumerate(passes)
        for limit in one["limits"][:1]
    ]
    drawing = bars("Share of the limit", rows, limit=1.0, high=max([1.0, *(row.value for row in rows)]))
    return figure("Share of the limit", drawing, "The limit is the dashed line: measured on this machine, in this run.")


def _workers(passes: Sequence[dict[str, Any]]) -> str:
    ordered = sorted(passes, key=lambda one: one["workers"])
    found = [(float(one["workers"]), one["byte_rate"] / 1e6) for one in ordered]
    x = axis_over("workers", [float(one["workers"]) for one in ordered], whole=True)
    lowest = {one["limits"][0]["name"]: one["limits"][0]["byte_rate"] / 1e6 for one in ordered if one["limits"]}
    y = axis_over("MB/s", [rate for _, rate in found] + list(lowest.values()))
    drawing = lines("Throughput against workers", [("MB/s", found)], x, y, limits=list(lowest.items()))
    named = limit_legend([(name, f"{rate:,.0f} MB/s") for name, rate in lowest.items()])
    return figure("Throughput against workers", drawing + named, "Dashed: what the machine allows.")


def _waits(best: dict[str, Any]) -> str:
    waits = best["waits"]
    counts = waits["counts"]
    there = [k for k, count in enumerate(counts) if count]
    if not there:
        return figure("How long a step waits", "<p>There was one step only.</p>")
    low, high = BINS[there[0]], BINS[there[-1] + 1]
    x = axis_over("seconds waited for a batch", [float(low), float(high)], log=True, shown=seconds)
    marks = [(f"{name} {seconds(waits[key])}", waits[key]) for name, key in (("median", "p50"), ("99 %", "p99"))]
    drawing = histogram("How long a step waits", BINS.tolist(), counts, x, marks=marks)
    return figure(
        "How long a step waits", drawing, f"{best['workers']} workers, {best['steps']:,} steps; longest {seconds(waits['most'])}."
    )


def _memory(best: dict[str, Any]) -> str:
    moments = best["memory"]["moments"]
    mega = 1e6
    own, files = ([(at, values[k] / mega) for at, *values in moments] for k in (0, 1))
    x = axis_over("seconds", [at for at, *_ in moments])
    y = axis_over("MB", [a + b for (_, a), (_, b) in zip(own, files, strict=True)])
    drawing = areas("Memory over time", [("own", own), ("page cache", files)], x, y)
    caption = f"PSS of all processes, {best['workers']} workers; the loader had budgeted {format_decimal(best['budget_nbytes'])}."
    return figure("Memory over time", drawing + legend(["the processes' own", "mapped files (page cache)"]), caption)


def _model(model: dict[str, Any]) -> str:
    rows = [
        SvgBar(
            label=f"{count} x {model['accelerator']}, {model['name']}",
            value=share,
            shown=f"{100 * share:.1f} %",
            mark=model["threshold"],
            colour=2 if share >= model["threshold"] else 1,
        )
        for count, share in model["utilisation"].items()
    ]
    feeds = ", ".join(f"{count:,} {name}" for name, count in model["feeds_each"].items())
    caption = (
        f"Compute time over total time, as MLPerf Storage has it; the stroke is the threshold. "
        f"By its rate this machine feeds {escape(feeds)} at {100 * model['threshold']:.0f} %."
    )
    return figure("Accelerator utilisation", bars("Accelerator utilisation", rows, high=1.0), caption)


def _contenders(contenders: Sequence[dict[str, Any]]) -> str:
    there = [one for one in contenders if "rate" in one]
    own = [one["our_rate"] for one in there if one["name"] == COPY or not one.get("reads", "").startswith("a decoded")]
    ours = statistics.median(own or [one["our_rate"] for one in there])
    rows = [SvgBar(label="streamload", value=ours, shown=short(ours))]
    rows += [
        SvgBar(label=one["name"], value=one["rate"], shown=short(one["rate"]), colour=1)
        for one in sorted(there, key=lambda one: -one["rate"])
    ]
    caption = "Records/s, medians, the same records and consumer, page cache warm, each in a process of its own, in turns."
    return figure("Beside other loaders", bars("Beside other loaders", rows), caption)


def _contender_figures(contenders: Sequence[dict[str, Any]]) -> str:
    """What the picture does not show: the limit, the order that each delivers, what its own format takes."""
    there = [one for one in contenders if "limit_ratio" in one]
    if not there:
        return ""
    heads = ["loader", "records/s", "MB/s", "of the limit", "streamload", "reads", "its format", "written in", "its order"]
    rows = [
        [
            one["name"],
            f"{one['rate']:,.0f}",
            f"{one['byte_rate'] / 1e6:,.0f}",
            f"{100 * one['limit_ratio']:.1f} %",
            f"{one['ratio']:.1f} times as fast",
            one.get("reads", ""),
            format_decimal(one["written_nbytes"]) if "written_nbytes" in one else "none",
            f"{one['written_seconds']:.1f} s" if "written_seconds" in one else "",
            one["order"],
        ]
        for one in there
    ]
    return table(heads, rows) + f'<p class="soft">The limit: {escape(there[0]["limit"])}.</p>'


def _figures(passes: Sequence[dict[str, Any]]) -> str:
    heads = [
        "workers",
        "records/s",
        "MB/s",
        "first batch",
        "wait p50",
        "wait p99",
        "CPU s/GB",
        "RSS",
        "PSS",
        "page cache",
        "read/used",
        "cache",
    ]
    rows = [
        [
            str(one["workers"]),
            f"{one['rate']:,.0f}",
            f"{one['byte_rate'] / 1e6:,.0f}",
            seconds(one["first_batch_seconds"]),
            seconds(one["waits"]["p50"]),
            seconds(one["waits"]["p99"]),
            f"{one['cpu_seconds_per_gb']:.2f}",
            format_decimal(one["memory"]["rss_nbytes"]),
            format_decimal(one["memory"]["pss_nbytes"]),
            format_decimal(one["memory"]["file_nbytes"]),
            f"{one['read_per_used']:.2f}",
            one["cache"].partition(",")[0] + (", then read ahead" if one.get("read_ahead") else ""),
        ]
        for one in passes
    ]
    words = (
        "RSS adds up what each process has in memory, and counts what they share once for each; PSS counts it once for all. "
        "Page cache: the part of PSS that is files, which the system takes back when it is needed."
    )
    return f'{table(heads, rows)}<p class="soft">{words}</p>'
