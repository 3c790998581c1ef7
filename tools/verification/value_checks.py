"""What records hold that is wrong by what is asked of them: values that are not a number, labels beyond their classes, broken images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, StreamloadError
from streamload.ragged import Ragged
from streamload.schema import ARRAY, Schema
from streamload.tools.console import clean, meant
from streamload.tools.convert.readers.images import image_in
from streamload.tools.verification.record_comparison import Findings


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedOfValues:
    """What the values of a dataset are asked for."""

    label: str = ""
    """The field of labels; empty where none was named."""
    classes: int = 0
    """Its values lie in 0 to one less."""
    nan: bool = False
    """Whether values that are not a number are wrong."""

    @classmethod
    def of(cls, labels: str | None, *, nan: bool) -> AskedOfValues:
        """As --labels FIELD=N says it. Raises ConfigError where it says something else."""
        if labels is None:
            return cls(nan=nan)
        label, _, count = labels.partition("=")
        if not label or not count.isdecimal():
            raise ConfigError(f"--labels {labels} cannot be read.", hint="Give a field and how many labels there are: label=10.")
        return cls(label=label, classes=int(count), nan=nan)

    def require(self, schema: Schema) -> None:
        """Raise ConfigError where the field of labels is not there, or holds no numbers."""
        if not self.label:
            return
        if self.label not in schema:
            raise ConfigError(f"There is no field {self.label!r}.", hint=meant(self.label, schema.names))
        field = schema[self.label]
        if field.ragged not in ("", ARRAY) or field.dtype.kind not in "biuf":
            raise ConfigError(f"--labels is for numbers, and the field is {field}.", hint="Name another field, or leave it out.")


def check_images(taken: Mapping[str, Any], names: Sequence[str], first: int, part: str, findings: Findings) -> None:
    """Images that are delivered as bytes, since their sizes differ, are decoded all the same."""
    for name in names:
        if isinstance(taken[name], Ragged):
            for number, image in enumerate(taken[name], start=first):
                where = f"{part} record {number:,}: {clean(name)}".strip()
                try:
                    image_in(bytes(image), where, mode="any")
                except StreamloadError as error:
                    findings.add("image", error.message)


def check_values(taken: Mapping[str, Any], first: int, part: str, asked: AskedOfValues, findings: Findings) -> None:
    """Find NaN, and labels that no class has; NaN that is not wrong is counted by field. `first` is the number of the first record."""
    for name, values in taken.items():
        wrong = nan_records(values)
        if len(wrong) and not asked.nan:
            findings.nans[name] += len(wrong)
        for at in wrong.tolist() if asked.nan else ():
            findings.add("NaN", f"{part} record {first + at:,}: '{clean(name)}' holds NaN".strip())
        if name == asked.label:
            numbers = values.values if isinstance(values, Ragged) else values
            beyond = ~((numbers >= 0) & (numbers < asked.classes))
            for at in _records_with(beyond, values).tolist():
                where = f"{part} record {first + at:,}: '{clean(name)}'".strip()
                findings.add("label", f"{where} is {_shown(values[at])}, not in 0 to {asked.classes - 1}")


def nan_records(values: Any) -> NDArray[np.int64]:
    """Which of some records hold a value that is not a number, in rising order: in arrays and in lists of any length."""
    numbers = values.values if isinstance(values, Ragged) else values
    if numbers.dtype.kind not in "fc":
        return np.empty(0, np.int64)
    return _records_with(np.isnan(numbers), values)


def _records_with(chosen: NDArray[np.bool_], values: Any) -> NDArray[np.int64]:
    """The records of which an element is chosen."""
    elements = np.flatnonzero(chosen.reshape(len(chosen), -1).any(axis=1)) if chosen.size else np.empty(0, np.int64)
    return np.unique(np.searchsorted(values.offsets, elements, side="right") - 1) if isinstance(values, Ragged) else elements


def _shown(value: Any) -> str:
    """A label, or the labels of a record, in a few characters."""
    return clean(value.tolist() if isinstance(value, np.ndarray) else value, most=60)
