"""Reads a chain of augmentation from a Python file of the user's."""

from __future__ import annotations

import os
import runpy
from collections.abc import Mapping, Sequence
from typing import Any, cast

from streamload.errors import ConfigError
from streamload.transforms.augment import Augment


def chain_in(text: str) -> list[Any]:
    """The chain that a Python file defines, which is run: `chain.py:NAME`, or `chain.py` for the name AUGMENT."""
    path, _, name = text.partition(".py:")
    path, name = (path + ".py", name) if name else (text, "AUGMENT")
    if not os.path.isfile(path):
        raise ConfigError(f"{path} is not there.", hint="Give a Python file, and the name of the augmentation in it: chain.py:AUGMENT")
    held = runpy.run_path(path)
    if name not in held:
        raise ConfigError(f"{path} has no {name}.", hint=_other_names(path, held) or f'Say there: {name} = sl.Augment("image", ...)')
    chain = held[name]
    return list(cast("Sequence[Any]", chain)) if isinstance(chain, list | tuple) else [chain]


def _other_names(path: str, held: Mapping[str, Any]) -> str:
    """How to name the chains that a file has under other names; empty if it has none."""
    chains = {name: value if isinstance(value, list | tuple) else [value] for name, value in held.items()}
    names = [name for name, chain in chains.items() if any(isinstance(one, Augment) for one in chain)]
    return f"Give one that it has: {', '.join(f'{path}:{name}' for name in names[:6])}." if names else ""


def first_augment(chain: Sequence[Any]) -> Augment:
    """The first `Augment` of a chain. Raises ConfigError where there is none."""
    for one in chain:
        if isinstance(one, Augment):
            return one
    raise ConfigError("there is no Augment in it.", hint='Say: AUGMENT = sl.Augment("image", ...)')


def of_images_alone(augment: Augment, field: str) -> Augment:
    """The same of one field of images, without masks, boxes, key points and further views: what every library can be asked for."""
    return Augment(
        field,
        *augment.operations,
        layout=augment.layout,
        dtype=augment.dtype,
        scale=augment.scale,
        stored=augment.stored,
    )
