"""Which records a command shows: how many, from where on, one after the other or from all over the file."""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.loader.contents import spread


def require_shown(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for fewer records than none."""
    if arguments.records < 0:
        raise ConfigError(f"--records {arguments.records} cannot be shown.", hint="Give 0 or more.")


def first_shown(arguments: argparse.Namespace, count: int) -> int:
    """The number of the first record of `count`: a negative --start counts from the end."""
    start: int = arguments.start
    return start if start >= 0 else max(0, count + start)


def shown_records(arguments: argparse.Namespace, count: int) -> NDArray[np.int64]:
    """The numbers of the records to be shown of `count`, rising: those from --start on, or with --spread some from all over those."""
    start = min(first_shown(arguments, count), count)
    if arguments.spread:
        return start + spread(count - start, arguments.records)
    return np.arange(start, min(count, start + arguments.records), dtype=np.int64)


def none_shown(arguments: argparse.Namespace, count: int) -> str:
    """Why there is nothing to be seen where no record is shown."""
    if not count:
        return "there are none"
    return f"there is no record {first_shown(arguments, count):,}" if arguments.records else "none was asked for"
