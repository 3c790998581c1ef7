"""A chain of augmentation on the user's own images, beside other libraries in PyTorch's DataLoader, with as many workers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamload.errors import ConfigError, UnsupportedFeatureError
from streamload.schema import Field
from streamload.source import Source
from streamload.tools.benchmark.comparison import Competitor, CompetitorFailed, NotInstalled, in_turns
from streamload.tools.benchmark.competitors import copied, own_config
from streamload.tools.chain_file import chain_in, first_augment
from streamload.tools.console import meant
from streamload.transforms.augment import Augment
from streamload.transforms.images import stored_image

LIBRARIES = {
    "torchvision": "torchvision v2 in PyTorch",
    "albumentations": "albumentations in PyTorch",
    "none": "streamload, no augmentation",
}
"""What can be asked for, and what it is called."""
MOST_RECORDS = 2_000
"""Of a pass of the other libraries, which are slow; streamload reads all that were copied."""
PAIRS = 3


def chosen_libraries(asked: str | None) -> list[str]:
    """Those that `--contenders` names, with commas between them: all by default. Raises ConfigError for others."""
    if asked is None or asked == "all":
        return list(LIBRARIES)
    words = [word.strip() for word in asked.split(",")]
    for word in words:
        if word not in LIBRARIES:
            raise ConfigError(f"--contenders {word} is not known beside --augment.", hint=meant(word, ["all", *LIBRARIES]))
    return words


def compared_images(data: Source, text: str) -> tuple[Augment, Field]:
    """The chain's first `Augment`, and the field of images that libraries are compared on.

    Raises ConfigError and UnsupportedFeatureError for images that cannot be handed to other libraries as arrays.
    """
    augment = first_augment(chain_in(text))
    name = augment.fields[0]
    if name not in data.schema:
        raise ConfigError(f"{text} augments '{name}', which is no field here.", hint=f"The fields are {', '.join(data.schema.names)}.")
    field = data.schema[name]
    if field.ragged or field.dtype != np.uint8:
        raise UnsupportedFeatureError(
            f"'{name}' is {field}, and other libraries are given arrays of uint8 here.", hint="Convert it first: streamload convert --size."
        )
    return augment, field


def augmented_beside(
    data: Source,
    text: str,
    libraries: Sequence[str],
    *,
    ours: dict[str, Any],
    stored: dict[str, str],
    folder: Path,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Every library beside streamload; `ours` is the configuration of a pass, `text` names the chain, `say` hears of each in turn."""
    augment, field = compared_images(data, text)
    name = field.name
    made = copied(data.replaced(columns=[data.columns[data.schema.names.index(name)]]), folder)
    config = {"batch": ours["batch"], "workers": ours["workers"]}
    mine = config | own_config(ours, made, stored)
    theirs = {**config, "path": str(made.path), "records": min(made.records, MOST_RECORDS), "settle": 1, "chain": text}
    theirs["layout"] = stored_image(data.schema[name], augment.stored).layout
    found: list[dict[str, Any]] = []
    with Competitor("streamload", "ours", {**mine, "chain": text}) as loader:
        for library in libraries:
            peer, asked = ("ours", mine) if library == "none" else ("chain", {**theirs, "library": library})
            found.append(_against(LIBRARIES[library], peer, asked, loader))
            say(found[-1].get("missing") or found[-1]["text"])
    return found


def _against(name: str, peer: str, config: dict[str, Any], loader: Competitor) -> dict[str, Any]:
    try:
        with Competitor(name, peer, config) as contender:
            pairs = in_turns(loader.run, contender.run, PAIRS)
    except (NotInstalled, CompetitorFailed) as reason:
        return {"name": name, "missing": str(reason)}
    rate, our_rate = statistics.median(run.rate for _, run in pairs), statistics.median(run.rate for run, _ in pairs)
    ratio = statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)
    return {
        "name": name,
        "ratio": ratio,
        "rate": rate,
        "byte_rate": statistics.median(run.byte_rate for _, run in pairs),
        "our_rate": our_rate,
        "text": f"{name}: {rate:,.0f} records/s; streamload augments {our_rate:,.0f}, {ratio:.2f} times as many",
    }
