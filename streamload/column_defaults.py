"""Bases for columns and readers, with the answers that most of them give to the protocols of `column`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.source import Column, Fault, Measured, RaggedColumn, Reader
from streamload.storage.files import OpenFiles


class ColumnDefaults:
    """The usual answers of a column: a base for columns."""

    __slots__ = ()

    @property
    def direct_nbytes(self) -> int:
        """Files are read through the page cache."""
        return 0

    @property
    def mappable(self) -> bool:
        """Mapped files are not made use of."""
        return False

    @property
    def encoded(self) -> RaggedColumn | None:
        """None: records are stored as they are delivered."""
        return None

    @property
    def decode_options(self) -> Any:
        """None: no images are decoded."""
        return None

    @property
    def held(self) -> Any:
        """None: records are not held in memory."""
        return None

    @property
    def amplification(self: Column) -> float:
        """Blocks between `cuts` are decoded whole, unless records are addressable."""
        cuts = None if self.addressable else self.cuts
        if cuts is None or not cuts[-1]:
            return 1.0
        return float((np.diff(cuts).astype(np.float64) ** 2).sum() / cuts[-1])

    @property
    def file_nbytes(self) -> int | None:
        """None: not known."""
        return None

    @property
    def looked_at(self) -> Any:
        """None: its first records have not been examined."""
        return None

    @property
    def page_starts(self) -> NDArray[np.int64] | None:
        """None: blocks are read as a whole."""
        return None

    @property
    def single_threaded(self) -> bool:
        """False: several threads may decode at a time."""
        return False

    @property
    def forward_starts(self) -> NDArray[np.int64] | None:
        """None: records can be read in any order."""
        return None

    def value_range(self, files: OpenFiles) -> tuple[Any, Any] | None:
        """None: files have no statistics."""
        return None

    def byte_runs(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """None: records do not lie in files as they are delivered."""
        return None

    @property
    def measured(self) -> Measured | None:
        """None: blocks have the sizes that `block_elements` says."""
        return None

    def file_of(self, record: int) -> int | None:
        """None: the source's `file_starts` tell."""
        return None


class AddressableDefaults(ColumnDefaults):
    """The usual answers of a column of which any record can be read by itself: a base for columns."""

    __slots__ = ()

    @property
    def addressable(self) -> bool:
        """Always."""
        return True

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """None: a block may begin at any record."""
        return None

    @property
    def block_elements(self) -> NDArray[np.int64] | None:
        """None: there are no blocks."""
        return None

    @property
    def scratch_nbytes(self) -> int:
        """0: records are read straight into the batch."""
        return 0


class ReaderDefaults:
    """The usual methods of a reader: a base for readers, ragged ones too."""

    __slots__ = ()

    def advise(self, records: NDArray[np.int64]) -> None:
        """Does nothing."""

    def expect(self, records: NDArray[np.int64]) -> None:
        """As `advise`."""
        self.advise(records)

    def addresses(self, records: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """None: records are not in memory as they are delivered."""
        return None

    def collect_faults(self, faults: list[Fault] | None) -> None:
        """Does nothing: records that cannot be read raise."""

    def close(self) -> None:
        """Does nothing: there is nothing to close."""


class WrappedDefaults(ColumnDefaults, ABC):
    """The answers of a column that delivers the records of another column in another form: a base for dataclasses."""

    __slots__ = ()

    @property
    @abstractmethod
    def wrapped(self) -> Column:
        """The other column."""

    @property
    def addressable(self) -> bool:
        """As the wrapped column is."""
        return self.wrapped.addressable

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """As the wrapped column's."""
        return self.wrapped.cuts

    @property
    def scratch_nbytes(self) -> int:
        """As the wrapped column's."""
        return self.wrapped.scratch_nbytes

    @property
    def direct_nbytes(self) -> int:
        """As the wrapped column's."""
        return self.wrapped.direct_nbytes

    @property
    def mappable(self) -> bool:
        """As the wrapped column is."""
        return self.wrapped.mappable

    @property
    def amplification(self) -> float:
        """As the wrapped column's."""
        return self.wrapped.amplification

    @property
    def file_nbytes(self) -> int | None:
        """As the wrapped column's."""
        return self.wrapped.file_nbytes

    @property
    def single_threaded(self) -> bool:
        """As the wrapped column is."""
        return self.wrapped.single_threaded

    @property
    def forward_starts(self) -> NDArray[np.int64] | None:
        """As the wrapped column's."""
        return self.wrapped.forward_starts

    def file_of(self, record: int) -> int | None:
        """As the wrapped column says."""
        return self.wrapped.file_of(record)

    def describe(self) -> str:
        """As the wrapped column does."""
        return self.wrapped.describe()


class WrappedReaderDefaults(ReaderDefaults):
    """The methods that the reader of such a column passes on: a base for readers."""

    _reader: Reader
    """The reader of the wrapped column."""

    def advise(self, records: NDArray[np.int64]) -> None:
        """Pass it on."""
        self._reader.advise(records)

    def expect(self, records: NDArray[np.int64]) -> None:
        """Pass it on."""
        self._reader.expect(records)

    def close(self) -> None:
        """Close the wrapped column's reader."""
        self._reader.close()
