"""Parts of a source for training, validation and test: record numbers, by one rule with `streamload convert --split`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.order.split import partition_by
from streamload.source import Source

Parts = dict[str, NDArray[np.int64]]
"""By name, the record numbers of each part, ascending."""


@overload
def split(
    data: Source, parts: Mapping[str, float], *, seed: int = 0, stratify: str | None = None, group: str | None = None, folds: None = None
) -> Parts: ...
@overload
def split(
    data: Source, parts: None = None, *, seed: int = 0, stratify: str | None = None, group: str | None = None, folds: int
) -> list[Parts]: ...
def split(
    data: Source,
    parts: Mapping[str, float] | None = None,
    *,
    seed: int = 0,
    stratify: str | None = None,
    group: str | None = None,
    folds: int | None = None,
) -> Parts | list[Parts]:
    """The record numbers of each part of a source, for `indices=` of a Loader: the same on every machine, and for every format.

    ```python
    parts = sl.split(data, {"train": 0.8, "test": 0.2}, stratify="label", group="patient")
    loader = sl.Loader(data, batch_size=64, indices=parts["train"])
    ```

    `parts`: by name, shares that add up to 1. Or `folds`: so many parts of a cross-validation, as a list of {"train", "test"}
    in which each record is in one "test".
    `stratify`: a field of labels; every part has its share of each, to a record.
    `group`: a field of identifiers; what has the same one is never in two parts. With both, labels are as alike as whole groups allow.
    A part is what `streamload convert --split` with the same shares, seed and fields writes.

    Raises ConfigError for what is no source, for shares that do not add up to 1, and for fields that are none.
    """
    if not isinstance(cast(object, data), Source):
        raise ConfigError(
            f"split() was given {type(data).__name__} in place of a source.",
            hint="Open files first, and split each part of a mixture by itself.",
        )
    if (parts is None) == (folds is None):
        raise ConfigError("split() wants either shares or folds.", hint='Give {"train": 0.8, "test": 0.2}, or folds=5.')
    shares = _shares(parts) if parts is not None else _equal_shares(folds)
    if isinstance(seed, (bool, np.bool_)) or not isinstance(cast(object, seed), (int, np.integer)):
        raise ConfigError(f"seed={seed!r} is not a whole number.", hint="Give an int.")
    fields = tuple(dict.fromkeys(name for name in (stratify, group) if name is not None))

    def batches() -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
        return data.scan(fields)

    partition = partition_by(
        list(shares.values()), len(data), batches, seed=int(seed), label=stratify, group=group, said=f"stratify={stratify!r}"
    )
    found: list[list[NDArray[np.int64]]] = [[np.empty(0, np.int64)] for _ in shares]
    for numbers, taken in batches():
        where = partition(numbers, taken)
        for part, mine in enumerate(found):
            mine.append(numbers[where == part])
    records = [np.concatenate(mine) for mine in found]
    if folds is None:
        return dict(zip(shares, records, strict=True))
    every = np.arange(len(data), dtype=np.int64)
    return [{"train": np.delete(every, test), "test": test} for test in records]


def _shares(parts: object) -> dict[str, float]:
    """Shares by name, checked."""
    hint = 'Give shares that add up to 1: {"train": 0.8, "test": 0.2}.'
    if not isinstance(parts, Mapping) or not parts:
        raise ConfigError(f"split() was given {parts!r:.60} in place of shares by name.", hint=hint)
    shares: dict[str, float] = {}
    for name, share in cast("Mapping[Any, Any]", parts).items():
        if not isinstance(name, str) or isinstance(share, bool) or not isinstance(share, (int, float, np.integer, np.floating)):
            raise ConfigError(f"{name!r}: {share!r} is no share of a part.", hint=hint)
        if not 0 < share <= 1:
            raise ConfigError(f"The share of {name!r} is {share}, and shares are above 0 and at most 1.", hint=hint)
        shares[name] = float(share)
    if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-9):
        raise ConfigError(f"The shares of {', '.join(map(repr, shares))} add up to {sum(shares.values()):g}.", hint=hint)
    return shares


def _equal_shares(folds: object) -> dict[str, float]:
    if isinstance(folds, (bool, np.bool_)) or not isinstance(folds, (int, np.integer)) or not 2 <= folds <= 1000:
        raise ConfigError(f"folds={folds!r} is no number of folds.", hint="Give a whole number from 2 to 1,000, such as 5.")
    return {str(fold): 1 / int(folds) for fold in range(int(folds))}
