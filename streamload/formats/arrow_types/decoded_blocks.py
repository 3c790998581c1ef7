"""Columns whose blocks are decoded by Arrow, row groups and record batches: what they, and their readers, say of blocks and nulls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.formats.columns.blocks import LastBlock
from streamload.formats.tables.nulls import nulls_in_blocks, without_refusals
from streamload.nulls import null_error
from streamload.schema import Field
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles


class DecodedBlocks(ColumnDefaults, ABC):
    """One field that must be decoded block by block: a base for dataclasses that have these members."""

    __slots__ = ()
    field: Field
    column: str
    fill: Any
    parts: tuple[Any, ...]
    label: str

    @property
    @abstractmethod
    def block_sizes(self) -> Sequence[NDArray[np.int64]]:
        """Records of the blocks of each file, empty ones among them."""

    @property
    def addressable(self) -> bool:
        """Never: what lies before a record in its block is decoded with it."""
        return False

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where blocks begin; empty ones are left out."""
        sizes = np.concatenate(self.block_sizes) if len(self.block_sizes) else np.zeros(0, np.int64)
        return np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int64)

    def filled(self) -> Self:
        """The same with something in the place of nulls, for whoever will not ask for them."""
        return replace(cast("Any", self), fill=without_refusals(self.field, self.fill))

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """The records that have a null for which nothing stands: every block with nulls is decoded to find them."""
        return nulls_in_blocks(cast("Any", self).reader(files, ReadStats()), self.cuts)

    def describe(self) -> str:
        """How it is stored."""
        return self.label


class DecodedBlocksReader(ReaderDefaults, ABC):
    """Copies records out of decoded blocks, the last of which is kept, and refuses those that are null: a base for readers."""

    def __init__(self, column: DecodedBlocks, files: OpenFiles, meter: ReadStats) -> None:
        cuts = column.cuts
        assert cuts is not None
        self._column: Any = column
        self._files = files
        self._meter = meter
        self._cuts = cuts
        self._places: list[tuple[Any, int]] = [
            (part, block) for part, sizes in zip(column.parts, column.block_sizes, strict=True) for block in np.flatnonzero(sizes).tolist()
        ]
        self._last = LastBlock[tuple[NDArray[np.generic], NDArray[np.bool_] | None]]()

    def close(self) -> None:
        """Forget what was kept; files are closed with those that the reader was given."""
        self._last.clear()

    @abstractmethod
    def place(self, block: int) -> tuple[str, tuple[int, int]]:
        """The file that holds a block, and the records of it there."""

    def refuse_nulls(self, block: int, local: NDArray[np.int64], wrong: NDArray[np.bool_]) -> None:
        """Raise NullValueError where any of the records `local` of a block is `wrong`."""
        if wrong.any():
            path, records = self.place(block)
            raise null_error(path, self._column.column, records[0] + int(local[int(wrong.argmax())]), self._column.field)

    def _put(
        self,
        block: int,
        first: int,
        values: NDArray[np.generic],
        wrong: NDArray[np.bool_] | None,
        local: NDArray[np.int64],
        out: NDArray[np.generic],
        rows: NDArray[np.int64],
    ) -> None:
        """Copy records `local` of a block, of which `values` are those from `first` on, to `out[rows]`. Raises where one is `wrong`."""
        if wrong is not None:
            self.refuse_nulls(block, local, wrong[local - first])
        out[rows] = values[local - first] if first else values[local]
