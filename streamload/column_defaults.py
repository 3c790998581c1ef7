"""What columns say of themselves, and readers do, where they are nothing special: bases for those of every format, and for your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.source import Column, Fault, Measured, RaggedColumn, Reader
from streamload.storage.files import OpenFiles


class ColumnDefaults:
    """What a column says of itself where it is nothing special: a base for columns."""

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
        """Records are kept as they are delivered."""
        return None

    @property
    def decode_options(self) -> Any:
        """No images are decoded."""
        return None

    @property
    def held(self) -> Any:
        """They are not held in memory."""
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
        """Nobody has counted."""
        return None

    @property
    def looked_at(self) -> Any:
        """Nobody has looked at its first records, where these may be encoded images."""
        return None

    @property
    def page_starts(self) -> NDArray[np.int64] | None:
        """No parts of blocks are read for themselves."""
        return None

    @property
    def single_threaded(self) -> bool:
        """Threads do not wait for each other."""
        return False

    @property
    def forward_starts(self) -> NDArray[np.int64] | None:
        """Records need not be read in stored order."""
        return None

    def value_range(self, files: OpenFiles) -> tuple[Any, Any] | None:
        """No file says it."""
        return None

    def byte_runs(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """None: records are made of what is stored."""
        return None

    @property
    def measured(self) -> Measured | None:
        """Blocks hold what `block_elements` say."""
        return None

    def file_of(self, record: int) -> int | None:
        """Where the source's `file_starts` say."""
        return None


class AddressableDefaults(ColumnDefaults):
    """What a column says of itself whose records are each read by themselves: a base for columns."""

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
        """None worth counting: records go straight to where they are wanted."""
        return 0


class ReaderDefaults:
    """What a reader does where it does nothing special: a base for readers, ragged ones too."""

    __slots__ = ()

    def advise(self, records: NDArray[np.int64]) -> None:
        """Nothing."""

    def expect(self, records: NDArray[np.int64]) -> None:
        """As `advise`."""
        self.advise(records)

    def addresses(self, records: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """None: records lie nowhere in memory as they are delivered."""
        return None

    def collect_faults(self, faults: list[Fault] | None) -> None:
        """Nothing: whatever cannot be read raises."""

    def close(self) -> None:
        """Nothing is held."""


class WrappedDefaults(ColumnDefaults, ABC):
    """What a column says of itself that delivers the records of another one in another form: a base for dataclasses of these."""

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

    def describe(self) -> str:
        """As the wrapped column does."""
        return self.wrapped.describe()


class WrappedReaderDefaults(ReaderDefaults):
    """What the reader of such a column passes on: a base for readers that have the wrapped column's."""

    _reader: Reader

    def advise(self, records: NDArray[np.int64]) -> None:
        """Pass it on."""
        self._reader.advise(records)

    def expect(self, records: NDArray[np.int64]) -> None:
        """Pass it on."""
        self._reader.expect(records)

    def close(self) -> None:
        """Let go of the reader."""
        self._reader.close()
