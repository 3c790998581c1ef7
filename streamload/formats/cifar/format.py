"""CIFAR-10 and CIFAR-100 as they are published: folders of binary batches, or of pickles, which can do nothing here but hold data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamload.formats.cifar.names import batches_in, is_batch

if TYPE_CHECKING:
    from streamload.formats.naming.field_names import Fields
    from streamload.source import Source

NAME = "CIFAR"
STACKS = True
"""Whether columns can be put side by side in one field."""


def matches(head: bytes, path: str) -> bool:
    """Whether it is called as CIFAR's batches are, and is a pickle, or as long as binary records are."""
    return is_batch(head, path)


def matches_folder(path: str) -> bool:
    """Whether batches of CIFAR lie in it."""
    try:
        return bool(batches_in(path))
    except OSError:
        return False


def plan(paths: Sequence[str], fields: Fields | None, *, split: str | None = None) -> Source:
    """A source over batches, or over folders of them; `split` chooses among the batches of a folder, "train" or "test"."""
    from streamload.formats.cifar.planning import plan_files

    return plan_files(NAME, paths, fields, split)
