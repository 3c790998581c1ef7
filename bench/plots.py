"""Pictures for documents, as PNG, from what benchmarks wrote with --json: the same figures as in `streamload report`."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLOURS = ("#2563c9", "#c9571a", "#23855a", "#7c49bd", "#94700a", "#b5305c")
DPI = 160
COLOURS_KEPT = 48
"""Of a picture, so that it is small enough to stand beside the text."""


def ratios(axes: Any, document: dict[str, Any]) -> None:
    """Bars of the share of the limit: of each pass, or of each comparison."""
    if "passes" in document:
        rows = [
            (f"{one['workers']} workers, of\n{one['limits'][0]['name']}", one["limits"][0]["ratio"])
            for one in document["passes"]
            if one["limits"]
        ]
    else:
        rows = [(f"{one['what']}\nof {one['theirs']}", min(one["ratio"], 2.0)) for one in document["figures"] if "ratio" in one]
    axes.barh([name for name, _ in rows][::-1], [ratio for _, ratio in rows][::-1], color=COLOURS[0])
    axes.axvline(1.0, color="#b42318", linestyle="--")
    axes.set_xlabel("share of the limit")


def contenders(axes: Any, document: dict[str, Any]) -> None:
    """Bars of records a second of streamload and the others."""
    there = sorted((one for one in document["contenders"] if "rate" in one), key=lambda one: one["rate"])
    names = [one["name"] for one in there] + ["streamload"]
    rates = [one["rate"] for one in there] + [max(one["our_rate"] for one in there)]
    axes.barh(names, rates, color=[COLOURS[1]] * len(there) + [COLOURS[0]])
    axes.set_xlabel("records/s, the same records and consumer")


def orders(figure: Any, document: dict[str, Any]) -> None:
    """A square for each order: record against position."""
    found = [one for one in document["figures"] if "pairs" in one][:6]
    for number, one in enumerate(found):
        axes = figure.add_subplot(2, 3, number + 1)
        axes.scatter(*zip(*one["pairs"], strict=True), s=1.2, color=COLOURS[number % len(COLOURS)], linewidths=0)
        axes.set_title(one["order"], fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("position", fontsize=8)
        axes.set_ylabel("record", fontsize=8)


def accuracies(axes: Any, document: dict[str, Any]) -> None:
    """Bars of test accuracy by order, a point for each seed."""
    found = [one for one in document["figures"] if "accuracies" in one][::-1]
    axes.barh([one["order"] for one in found], [one["mean"] for one in found], color=COLOURS[0])
    for number, one in enumerate(found):
        axes.plot(one["accuracies"], [number] * len(one["accuracies"]), "k|", markersize=9)
        axes.axvline(one["guessing"], color="#b42318", linestyle="--")
    axes.set_xlabel("test accuracy (dashed: guessing; strokes: seeds)")


def curve(one: dict[str, Any]) -> Callable[[Any], None]:
    """What draws one curve of `bench.scale`."""

    def draw(axes: Any) -> None:
        for number, (name, values) in enumerate(one["curve"].items()):
            axes.plot(one["at"], values, "o-", color=COLOURS[number % len(COLOURS)], label=f"{name}: {one['laws'][name]}")
        axes.set_xscale("symlog" if min(one["at"]) <= 0 else "log")
        axes.set_yscale("log")
        axes.set_xlabel(one["along"])
        axes.set_ylabel(one["unit"])
        axes.legend(fontsize=7)

    return draw


def save(figure: Any, path: Path) -> None:
    """Write a picture, its colours counted out: a third of the bytes, and no difference to the eye."""
    from PIL import Image

    whole = io.BytesIO()
    figure.savefig(whole, dpi=DPI, format="png")
    Image.open(whole).convert("RGB").quantize(COLOURS_KEPT).save(path, optimize=True)


def draw(document: dict[str, Any], folder: Path) -> list[Path]:
    """All pictures of one document; the files that were written."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    name = document.get("command") or document["name"]
    singles: dict[str, Callable[[Any], None]] = {}
    if "passes" in document or any("ratio" in one for one in document["figures"]):
        singles[f"{name}-limits"] = lambda axes: ratios(axes, document)
    if any("rate" in one for one in document.get("contenders", [])):
        singles[f"{name}-contenders"] = lambda axes: contenders(axes, document)
    figures = document.get("figures", [])
    if any("accuracies" in one for one in figures):
        singles[f"{name}-accuracy"] = lambda axes: accuracies(axes, document)
    for number, one in enumerate(one for one in figures if "curve" in one):
        singles[f"{name}-{number}"] = curve(one)
    written: list[Path] = []
    for stem, single in singles.items():
        figure = Figure(figsize=(7, 4), layout="constrained")
        single(figure.add_subplot())
        written.append(folder / f"{stem}.png")
        save(figure, written[-1])
    if any("pairs" in one for one in figures):
        figure = Figure(figsize=(7, 5), layout="constrained")
        orders(figure, document)
        written.append(folder / f"{name}-orders.png")
        save(figure, written[-1])
    return written


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.plots", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="what benchmarks wrote with --json")
    parser.add_argument("--folder", type=Path, default=Path(), help="where to write (here)")
    options = parser.parse_args(given)
    options.folder.mkdir(parents=True, exist_ok=True)
    for path in options.results:
        for picture in draw(json.loads(path.read_text()), options.folder):
            print(picture)


if __name__ == "__main__":
    main()
