"""The contract finds columns that do not say what they are: they would be read slowly, or wrongly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamload import testing
from streamload.column_defaults import ColumnDefaults
from streamload.formats.open import open_source
from streamload.schema import Field
from streamload.source import ReadStats, Source
from streamload.storage.files import OpenFiles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Wrapping(ColumnDefaults):
    """A column that wraps another, and forgets to say what that one says."""

    column: Any

    @property
    def field(self) -> Field:
        """As the column's."""
        return self.column.field

    @property
    def addressable(self) -> bool:
        """As the column is."""
        return self.column.addressable

    @property
    def cuts(self) -> Any:
        """As the column's."""
        return self.column.cuts

    @property
    def scratch_nbytes(self) -> int:
        """As the column's."""
        return self.column.scratch_nbytes

    def reader(self, files: OpenFiles, meter: ReadStats) -> Any:
        """The column's."""
        return self.column.reader(files, meter)

    def describe(self) -> str:
        """As the column does."""
        return self.column.describe()


class WrappingMapped(Wrapping):
    """One that forgets only that records are read directly."""

    mappable = True


class Misplaced(WrappingMapped):
    """One that says that records lie where they do not."""

    def byte_runs(self, start: int, stop: int) -> Any:
        """A byte too far."""
        return self.column.byte_runs(start, stop) - (0, 1, 1)


class Exaggerating(WrappingMapped):
    """One that says that there are values which there are not."""

    def value_range(self, files: OpenFiles) -> Any:
        """One too many."""
        return 0, 1


class Lacking:
    """A column, or a reader, that has nothing of what the defaults would give it."""

    field = Field("n", np.dtype("i8"), ())


def test_the_contract_finds_a_wrapper_that_does_not_say_what_it_wraps(tmp_path: Path):
    """It would be read slowly, and nobody would know why."""
    np.save(tmp_path / "x.npy", np.zeros((20, 40_000), np.uint8))
    source = open_source(tmp_path / "x.npy")
    arrays, (column,) = source[:], source.columns
    testing.check_promises(source, arrays)
    for wrapped, text in (
        (Wrapping(column=column), "'x' is read from a mapped file, and its column does not say so (mappable)"),
        (WrappingMapped(column=column), "'x' is read past the page cache, and its column does not say so (direct_nbytes)"),
        (Misplaced(column=column), "'x' does not lie in its files where byte_runs() says"),
        (Exaggerating(column=column), "values of 'x' are not within what value_range() says: (0, 1)"),
        (Lacking(), f"the column of 'n' lacks {', '.join(testing.COLUMN_MEMBERS)}: let its class inherit"),
    ):
        with pytest.raises(AssertionError, match=re.escape(text)):
            testing.check_promises(with_columns(source, wrapped), arrays)
    source.close()


def with_columns(source: Source, *columns: Any) -> Source:
    """The source with other columns."""
    return Source(format_name="x", title="x", columns=columns, fingerprints=source.fingerprints, file_starts=source.file_starts)
