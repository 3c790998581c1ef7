"""One page with pictures from the results of benchmarks: no other file, no network, light and dark, narrow and wide."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from streamload.errors import ConfigError, SourceError
from streamload.storage.owned_files import write_report
from streamload.tools.benchmark.report_comparisons import comparison_section, quality_section, scale_section
from streamload.tools.benchmark.report_dataset import bench_section
from streamload.tools.console import GOOD, Console

EXAMPLE = "streamload report results.json --html report.html"

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b1f24;--soft:#5b6470;--rule:#d9dee5;--track:#edf0f4;
--c0:#2563c9;--c1:#c9571a;--c2:#23855a;--c3:#7c49bd;--c4:#94700a;--c5:#b5305c;--strong:#b42318}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1d2127;--ink:#e7eaee;--soft:#a2abb6;--rule:#343b44;--track:#2a3038;
--c0:#74aaff;--c1:#ff9d66;--c2:#62d19a;--c3:#c7a3ff;--c4:#e5c35a;--c5:#ff8db0;--strong:#ff8a7a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem clamp(.8rem,3vw,2rem) 4rem}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0 .2rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.4rem 0 .3rem;overflow-wrap:anywhere}
h3{font-size:1rem;margin:0 0 .5rem}
p{margin:.3rem 0}.soft{color:var(--soft);font-size:.9rem}
.verdict{font-size:1.1rem;border-left:.3rem solid var(--c0);padding:.3rem .9rem;margin:1rem 0;background:var(--card)}
.changes{margin:.5rem 0;padding-left:1.2rem}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));margin:1rem 0}
.grid.small{grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr))}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:.6rem;padding:1rem;min-width:0}
figcaption{color:var(--soft);font-size:.85rem;margin-top:.5rem}
svg{display:block;width:100%;height:auto;max-width:36rem;margin:0 auto;overflow:visible}
.scroll+.scroll{margin-top:1rem}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:.6rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.45rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
tr:last-child td{border-bottom:0}th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1rem;font-size:.85rem;color:var(--soft);margin:.4rem 0 0}
.legend i{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.4em;vertical-align:-.05em}
svg text{font:13px system-ui,sans-serif;fill:var(--ink)}svg .tick,svg .label{fill:var(--soft)}svg .tick{font-size:12px}
svg .value{font-weight:600}
svg path.grid{stroke:var(--rule);stroke-width:1}svg path.axis{stroke:var(--soft);stroke-width:1}
svg path.limit{stroke:var(--strong);stroke-width:2;stroke-dasharray:4 3;fill:none}
svg path.d1{stroke-dasharray:9 3}svg path.d2{stroke-dasharray:1.5 3}svg path.d3{stroke-dasharray:9 3 1.5 3}
.legend svg{display:inline-block;width:26px;height:8px;margin-right:.4em;vertical-align:.1em}
svg text{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}svg path.mark{stroke:var(--ink);stroke-width:1.5}
svg .track{fill:var(--track)}svg .box{fill:none;stroke:var(--rule)}
svg path.line{fill:none;stroke-width:2}svg path.dots{stroke-width:2.6;stroke-linecap:round;fill:none;opacity:.9}svg .area{opacity:.85}
@media (max-width:480px){svg text{font-size:17px}svg .tick,svg .label{font-size:14px}}
"""
COLOUR_RULES = "".join(
    f"svg .f{k}{{fill:var(--c{k})}}svg path.s{k}{{stroke:var(--c{k})}}.legend .b{k}{{background:var(--c{k})}}" for k in range(6)
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload report`."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json", help="what benchmarks wrote with --json")
    parser.add_argument("--html", type=Path, default=Path("report.html"), metavar="FILE", help="the page to write (report.html)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Write the page."""
    documents = [read_results(path) for path in arguments.results]
    write_page(arguments.html, documents)
    console.say(f"written: {arguments.html}, {arguments.html.stat().st_size / 1024:,.0f} KB")
    console.answer({"html": str(arguments.html), "results": [kind_of(document) for document in documents]})
    return GOOD


def read_results(path: Path) -> dict[str, Any]:
    """What a benchmark wrote. Raises ConfigError for a file that is something else."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check the path.", path=str(path)) from error
    except ValueError as error:
        raise _unknown(path) from error
    if not isinstance(document, dict) or kind_of(document) is None:
        raise _unknown(path)
    return document


def _unknown(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} does not hold the results of a benchmark.",
        hint="Write some: `streamload bench FILE --json > results.json`, or `python -m bench.quality --json results.json`.",
    )


def kind_of(document: dict[str, Any]) -> str | None:
    """Which benchmark wrote a document; None for one that none wrote."""
    name = document.get("command") or document.get("name")
    return str(name) if name and ("figures" in document or "passes" in document) else None


def write_page(path: Path, documents: Sequence[dict[str, Any]]) -> None:
    """Write the page of some results."""
    write_report(path, page(documents).encode())


def page(documents: Sequence[dict[str, Any]]) -> str:
    """The page as HTML: a section for each document."""
    sections = {"bench": bench_section, "quality": quality_section, "scale": scale_section}
    body = "".join(sections.get(kind_of(document) or "", comparison_section)(document) for document in documents)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>streamload: benchmarks</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<style>{STYLE}{COLOUR_RULES}</style></head><body><main><h1>streamload: benchmarks</h1>{_machines(documents)}{body}"
        "</main></body></html>"
    )


def _machines(documents: Sequence[dict[str, Any]]) -> str:
    told = dict.fromkeys(
        " · ".join(str(document["machine"][name]) for name in ("processor", "memory", "disk", "system", "versions"))
        for document in documents
        if "machine" in document
    )
    return "".join(f'<p class="soft">{escape(text)}</p>' for text in told)
