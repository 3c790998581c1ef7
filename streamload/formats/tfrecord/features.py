"""The features of all records as they are met: where bytes lie, and the numbers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SourceError
from streamload.formats.tables.texts import as_text
from streamload.formats.tfrecord.example import viewed
from streamload.formats.tfrecord.framing import SKIPPABLE, damage_hint, framed_records
from streamload.formats.unpacking_budget import UnpackingBudget
from streamload.images import format_of
from streamload.storage.compressed_file import open_unpacked
from streamload.storage.files import Fingerprint, recheck

MOST_TEXT_NBYTES = 256
"""Bytes of one record that may be a name of a class, and are kept to see whether such repeat."""
IMAGES = "holds lists of encoded images, several a record, which cannot be read yet"
HEAD_NBYTES = 16
"""Bytes that tell what kind of image some are."""
KEPT_NBYTES = 250
"""About what Python takes for the places of a value, and for a short array."""


@dataclass(slots=True)
class BytesFeature:
    """A feature of bytes."""

    records: list[int] = field(default_factory=list[int])
    offsets: list[int] = field(default_factory=list[int])
    sizes: list[int] = field(default_factory=list[int])
    short: list[bytes] | None = field(default_factory=list[bytes])
    """The values themselves, as long as none is long."""
    first: bytes = b""
    """The beginning of the first."""
    is_text: bool = True
    """Whether all are text."""

    def add(self, record: int, offset: int, value: memoryview) -> None:
        """The value of one more record."""
        if not self.records:
            self.first = bytes(value[:64])
        self.records.append(record)
        self.offsets.append(offset)
        self.sizes.append(len(value))
        if len(value) > MOST_TEXT_NBYTES:
            self.short = None
        if self.is_text or self.short is not None:
            whole = bytes(value)
            if self.short is not None:
                self.short.append(whole)
            self.is_text = self.is_text and as_text(whole) is not None


@dataclass(slots=True)
class NumbersFeature:
    """A feature of whole numbers, or of fractions."""

    dtype: np.dtype
    records: list[int] = field(default_factory=list[int])
    values: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]])


class Features:
    """What was met in some files, record after record."""

    def __init__(self, *, skips: bool = False) -> None:
        """`skips` leaves out records that are damaged, which are errors otherwise."""
        self.count = 0
        self.addressable = True
        """Whether no file is compressed."""
        self.starts = [0]
        self.found: dict[str, BytesFeature | NumbersFeature] = {}
        self.aside: dict[str, str] = {}
        """Features that can be no field, and why."""
        self.damage: list[SourceError] = []
        """Records that were left out, and ends of files that cannot be read."""
        self._skips = skips
        self.empty: set[str] = set()
        """Features that hold no value in some record."""

    def add_file(self, path: str, was: Fingerprint) -> None:
        """Go through a file. Raises CorruptDataError or ChecksumError at the first record that is none, unless these are left out."""
        file = open_unpacked(was.path)
        budget = None if file.addressable else UnpackingBudget(path)
        self.addressable &= file.addressable
        try:
            for number, offset, data in framed_records(path, file, was.nbytes, budget, self.damage.append if self._skips else None):
                self._add_record(path, number, offset, data, budget)
        except SourceError as error:
            if error.hint == damage_hint(path):
                recheck(was)
            raise
        finally:
            file.close()
        recheck(was)
        self.starts.append(self.count)

    def _add_record(self, path: str, number: int, offset: int, data: memoryview, budget: UnpackingBudget | None) -> None:
        try:
            features = viewed(data)
        except ValueError as error:
            wrong = CorruptDataError(
                f"{path}: record {number:,} is no tf.train.Example that can be read: {error}.",
                hint="Only those are known here.",
                path=path,
                option=SKIPPABLE,
            )
            if not self._skips:
                raise wrong from error
            self.damage.append(wrong)
            return
        if budget is not None:
            budget.keep(sum(map(_kept_nbytes, features.values())))
        base = np.frombuffer(data, np.uint8).ctypes.data if len(data) else 0
        for name, value in features.items():
            self._add(name, value, offset, base)
        self.count += 1

    def _add(self, name: str, value: list[memoryview] | NDArray[Any], offset: int, base: int) -> None:
        if name in self.aside:
            return
        if not len(value):
            self.empty.add(name)
            return
        if isinstance(value, list):
            feature = self.found.setdefault(name, BytesFeature())
            if not isinstance(feature, BytesFeature):
                self._leave_out(name, "holds numbers in some records, and bytes in others")
            elif len(value) > 1:
                self._leave_out(name, IMAGES if any(format_of(bytes(one[:HEAD_NBYTES])) for one in value) else "holds lists of bytes")
            else:
                (one,) = value
                place = np.frombuffer(one, np.uint8).ctypes.data - base if len(one) else 0
                feature.add(self.count, offset + place, one)
            return
        feature = self.found.setdefault(name, NumbersFeature(value.dtype))
        if not isinstance(feature, NumbersFeature):
            self._leave_out(name, "holds bytes in some records, and numbers in others")
        elif feature.dtype != value.dtype:
            self._leave_out(name, "holds whole numbers in some records, and fractions in others")
        else:
            feature.records.append(self.count)
            feature.values.append(value)

    def _leave_out(self, name: str, why: str) -> None:
        del self.found[name]
        self.aside[name] = why


def _kept_nbytes(value: list[memoryview] | NDArray[Any]) -> int:
    """About what is kept of a feature of one record: numbers whole, of bytes where they lie and what may be a name."""
    return KEPT_NBYTES + (value.nbytes if not isinstance(value, list) else min(MOST_TEXT_NBYTES, sum(map(len, value))))


def numbers_beside(found: Sequence[tuple[str, BytesFeature | NumbersFeature]]) -> dict[str, Any]:
    """The single numbers of the first record, by name: they may say the shape of raw pixels."""
    return {
        name: one.values[0][0]
        for name, one in found
        if isinstance(one, NumbersFeature) and one.dtype.kind == "i" and one.records[0] == 0 and len(one.values[0]) == 1
    }
