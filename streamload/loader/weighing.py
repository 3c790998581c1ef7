"""The weights that a loader is asked for: numbers of the user's, or the classes of a field drawn alike."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.order import Weights, balanced, stretches_of, weights_of
from streamload.order.split import Labels
from streamload.source import Source

_STRETCH = 1 << 20


def asked_weights(data: Source, weights: Any, *, draws: object, indices: NDArray[np.int64] | None) -> Weights | None:
    """What `weights=` and `draws=` ask for, of the chosen records; None where every record comes once.

    `weights` is an array or the path of a .npy file of one number for each record of the data, or the name of a field of whole
    numbers, truth values or texts, whose values are then drawn alike. Raises ConfigError for anything else.
    """
    if weights is None and draws is None:
        return None
    if draws is not None and (isinstance(draws, (bool, np.bool_)) or not isinstance(draws, (int, np.integer)) or draws < 1):
        raise ConfigError(f"draws={draws!r} is no number of draws.", hint="Give as many draws as an epoch shall have, at least 1.")
    count = None if draws is None else int(draws)
    n = len(data) if indices is None else len(indices)
    if weights is None:
        return weights_of(lambda: (np.ones(min(_STRETCH, n - k)) for k in range(0, n, _STRETCH)), n, draws=count)
    if isinstance(weights, str) and (weights in data.schema or not os.path.exists(weights)):
        return _by_class(data, weights, count, indices, n)
    return weights_of(stretches_of(weights, indices, len(data)), n, draws=count)


def _by_class(data: Source, name: str, draws: int | None, indices: NDArray[np.int64] | None, n: int) -> Weights:
    """Every value of a field alike."""
    if name not in data.schema:
        close = difflib.get_close_matches(name, data.schema.names, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "Give one number a record, the path of a .npy file of them, or a field's name."
        raise ConfigError(f"weights={name!r} is neither a field of {data.title} nor a file.", hint=hint)
    if data.schema[name].dtype.kind == "f" and not data.schema[name].ragged:
        raise ConfigError(
            f"weights={name!r} is a field of {data.schema[name].dtype}, whose values are no classes.",
            hint=f"To weigh records by its numbers, give these: weights=data[{name!r}].",
        )
    labels = Labels(f"weights={name!r}")
    for values in _chosen(data, name, indices):
        labels.count(values)
    labels.settle()
    return weights_of(balanced(lambda: map(labels.codes, _chosen(data, name, indices)), labels.counts), n, draws=draws)


def _chosen(data: Source, name: str, indices: NDArray[np.int64] | None) -> Iterator[NDArray[Any]]:
    """The values of a field, a stretch at a time, of the chosen records; `indices` rise."""
    for numbers, taken in data.scan([name]):
        if indices is None:
            yield taken[name]
        elif len(numbers):
            first, last = indices.searchsorted([numbers[0], numbers[-1] + 1])
            yield taken[name][indices[first:last] - numbers[0]]
