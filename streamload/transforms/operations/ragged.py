"""Ragged fields of a batch as arrays: padded to one length, or packed into rows of one length."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.errors import ConfigError
from streamload.schema import PADDED, ROWS, Field, Schema
from streamload.transforms.operations.arguments import check_name, check_word, listed, refuse, whole


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RaggedArrangement:
    """Where the records of a batch go in rows of one width. Pieces are in the order in which they lie there."""

    rows: int
    width: int
    """Elements of a row."""
    owners: NDArray[np.int64]
    """The record of the batch that each piece is of, shape (pieces,)."""
    sources: NDArray[np.int64]
    """The element of its record with which each piece begins."""
    counts: NDArray[np.int64]
    """Elements of each piece."""
    targets: NDArray[np.int64]
    """The element of all rows together with which each piece begins there; rising."""


@dataclass(frozen=True, slots=True, init=False)
class PadRagged:
    """Ragged fields as arrays of one length: (records, length, *shape), filled up behind each record, or before it.

    `sl.Loader(data, ..., collate=sl.PadRagged("tokens", multiple=8, mask="mask"))`. Without `length` it is that of the longest
    record of the batch, rounded up to `multiple`: arrays then differ from batch to batch. Several fields of one `PadRagged` are
    of the same lengths, record by record; of text and bytes come the bytes.
    """

    fields: tuple[str, ...]
    """Ragged fields."""
    length: int | None
    """Elements that every record comes with; None: as many as the longest of its batch."""
    multiple: int
    """What a length that follows the longest record is a multiple of."""
    value: Any
    """What is filled up with; or a mapping from fields to it."""
    mask: str | None
    """The name of a field that says which elements are of the record: bool, (records, length)."""
    lengths: str | None
    """The name of a field that says how many are: int64, (records,)."""
    longer: str
    """What becomes of a record longer than `length`: "raise", an error or whatever `on_bad_record` says; "cut", its begin comes."""
    side: str
    """Where is filled up: "right", behind the record, or "left", before it."""

    def __init__(
        self,
        fields: str | Sequence[str],
        *,
        length: int | None = None,
        multiple: int = 1,
        value: Any = 0,
        mask: str | None = None,
        lengths: str | None = None,
        longer: str = "raise",
        side: str = "right",
    ) -> None:
        """Raises ConfigError for what cannot be right whatever the data; the rest is checked when a loader is made."""
        given = {"fields": _names(self, fields), "length": length, "multiple": multiple, "value": value, "mask": mask}
        for name, one in (given | {"lengths": lengths, "longer": longer, "side": side}).items():
            object.__setattr__(self, name, one)
        if length is not None and (not whole(length) or length < 1):
            raise refuse(self, "length", length, "is no length", "Give a whole number from 1 up, or None for the longest of a batch.")
        if not whole(multiple) or multiple < 1:
            raise refuse(self, "multiple", multiple, "is no multiple", "Give a whole number from 1 up, such as 8.")
        if length is not None and multiple != 1:
            raise refuse(self, "multiple", multiple, f"does not go with length={length}", "Give one of them.")
        check_word(self, "longer", longer, ("raise", "cut"))
        if length is None and longer != "raise":
            raise refuse(
                self, "longer", longer, "says nothing without length=", "Give the length that records are cut to, or leave it out."
            )
        check_word(self, "side", side, ("right", "left"))
        _check_names(self, mask=mask, lengths=lengths)

    def __repr__(self) -> str:
        return _call_text(self, PadRagged)

    @property
    def made(self) -> tuple[Field, ...]:
        """The fields that it adds."""
        shape, kind = ((), PADDED) if self.length is None else ((self.length,), "")
        mask = [] if self.mask is None else [Field(self.mask, np.dtype(bool), shape, kind)]
        return (*mask, *([] if self.lengths is None else [Field(self.lengths, np.dtype(np.int64), ())]))

    def delivered(self, schema: Schema) -> Schema:
        """The fields of a batch after it. Raises ConfigError for fields that are not there or not ragged."""
        fixed, kind = ((), PADDED) if self.length is None else ((self.length,), "")
        return _replaced(self, schema, dict.fromkeys(self.fields, (fixed, kind)))

    def elements(self, mean: float, deviation: float, records: int) -> int:
        """Elements that a field of a batch has room for in its slot, where it is not of a fixed length."""
        return records * -(-int(np.ceil(mean + 4 * deviation)) // self.multiple) * self.multiple

    def too_long(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """The records that there is no room for."""
        return np.flatnonzero(lengths > self.length) if self.length is not None and self.longer == "raise" else np.empty(0, np.int64)

    def arranged(self, lengths: NDArray[np.int64], counting: NDArray[np.bool_]) -> RaggedArrangement:
        """Where records of these lengths go."""
        longest = int(lengths.max(initial=0))
        width = -(-longest // self.multiple) * self.multiple if self.length is None else self.length
        counts = np.minimum(lengths, width)
        owners = np.arange(len(lengths))
        targets = owners * width + (width - counts if self.side == "left" else 0)
        sources = np.zeros_like(counts)
        return RaggedArrangement(rows=len(lengths), width=width, owners=owners, sources=sources, counts=counts, targets=targets)

    def marked(self, found: RaggedArrangement) -> dict[str, NDArray[Any]]:
        """The fields that it adds, as arrays of all elements, or of all records."""
        made: dict[str, NDArray[Any]] = {}
        if self.mask is not None:
            made[self.mask] = mask = np.empty(found.rows * found.width, bool)
            kernels.collate_kernels().mark_elements(found.counts, found.targets, mask.view(np.uint8))
        if self.lengths is not None:
            made[self.lengths] = found.counts
        return made


@dataclass(frozen=True, slots=True, init=False)
class PackRagged:
    """Ragged fields packed into rows of one length: (rows, length, *shape), as few as come out, several records in each.

    `sl.Loader(data, ..., collate=sl.PackRagged("tokens", 2048))`. The records of a batch are sorted by length and each put into the
    first row that has room (first fit, longest first); no record goes to another batch, so the number of rows differs from batch
    to batch, and the number of batches does not. All other fields come as without it, one a record, in the order of
    `batch.records`. Rows of ranks that repeat records (`batch.valid` is False) are left out. Several fields of one `PackRagged` are
    of the same lengths, record by record.
    """

    fields: tuple[str, ...]
    """Ragged fields."""
    length: int
    """Elements of a row."""
    value: Any
    """What is filled up with; or a mapping from fields to it."""
    segments: str | None
    """The name of a field that says of which record each element is: int32, (rows, length): 1 for the first record of the batch,
    2 for the second, ...; 0 where it is filled up. Attention goes between elements of a row with the same number."""
    positions: str | None
    """The name of a field that says where in its segment each element stands: int32, (rows, length), from 0."""
    longer: str
    """What becomes of a record longer than a row: "raise", an error or whatever `on_bad_record` says; "cut", its begin comes;
    "split", it comes in pieces of at most a row, each of which counts its positions from 0."""

    def __init__(
        self,
        fields: str | Sequence[str],
        length: int,
        *,
        value: Any = 0,
        segments: str | None = "segments",
        positions: str | None = "positions",
        longer: str = "raise",
    ) -> None:
        """Raises ConfigError for what cannot be right whatever the data; the rest is checked when a loader is made."""
        given = {"fields": _names(self, fields), "length": length, "value": value, "segments": segments, "positions": positions}
        for name, one in (given | {"longer": longer}).items():
            object.__setattr__(self, name, one)
        if not whole(length) or length < 1:
            raise refuse(self, "length", length, "is no length", "Give the elements of a row, such as 2048.")
        check_word(self, "longer", longer, ("raise", "cut", "split"))
        _check_names(self, segments=segments, positions=positions)

    def __repr__(self) -> str:
        return _call_text(self, PackRagged)

    @property
    def made(self) -> tuple[Field, ...]:
        """The fields that it adds."""
        names = [name for name in (self.segments, self.positions) if name is not None]
        return tuple(Field(name, np.dtype(np.int32), (self.length,), ROWS) for name in names)

    def delivered(self, schema: Schema) -> Schema:
        """The fields of a batch after it. Raises ConfigError for fields that are not there or not ragged."""
        return _replaced(self, schema, dict.fromkeys(self.fields, ((self.length,), ROWS)))

    def elements(self, mean: float, deviation: float, records: int) -> int:
        """Rows that a field of a batch has room for in its slot."""
        total = records * mean + 4 * np.sqrt(records) * deviation
        return (
            min(records, int(np.ceil(1.2 * total / self.length)) + 1)
            if mean + 4 * deviation <= self.length
            else int(np.ceil(2 * total / self.length)) + 1
        )

    def too_long(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """The records that there is no room for."""
        return np.flatnonzero(lengths > self.length) if self.longer == "raise" else np.empty(0, np.int64)

    def arranged(self, lengths: NDArray[np.int64], counting: NDArray[np.bool_]) -> RaggedArrangement:
        """Where records of these lengths go, if they count."""
        wanted = np.where(counting, np.minimum(lengths, self.length) if self.longer != "split" else lengths, 0)
        pieces = np.maximum(-(-wanted // self.length), 1)
        owners = np.repeat(np.arange(len(lengths)), pieces)
        sources = (np.arange(len(owners)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * self.length
        counts = np.minimum(wanted[owners] - sources, self.length)
        order = np.argsort(-counts, kind="stable")
        rows, starts, room = (np.zeros(len(order), np.int64) for _ in range(3))
        used = int(kernels.collate_kernels().first_fit(counts[order], self.length, rows, starts, room))
        targets = rows * self.length + starts
        rising = np.argsort(targets, kind="stable")
        rising = rising[counts[order][rising] > 0]
        chosen = order[rising]
        return RaggedArrangement(
            rows=used, width=self.length, owners=owners[chosen], sources=sources[chosen], counts=counts[chosen], targets=targets[rising]
        )

    def marked(self, found: RaggedArrangement) -> dict[str, NDArray[Any]]:
        """The fields that it adds, as arrays of all elements."""
        segments, positions = np.empty((2, found.rows * found.width), np.int32)
        kernels.collate_kernels().mark_segments(found.counts, found.targets, (found.owners + 1).astype(np.int32), segments, positions)
        made = {self.segments: segments, self.positions: positions}
        return {name: array for name, array in made.items() if name is not None}


RaggedOperation = PadRagged | PackRagged


def fill_of(operation: RaggedOperation, field: Field) -> NDArray[Any]:
    """One element of what a field is filled up with. Raises ConfigError for a value that its dtype does not hold."""
    value = operation.value.get(field.name, 0) if isinstance(operation.value, Mapping) else operation.value
    filled = np.zeros((1, *field.shape), field.dtype)
    if isinstance(value, int) and value == 0:
        return filled  # Whatever the dtype is, this is what it has for nothing.
    try:
        filled[:] = value
        kept = bool(np.all((filled == value) | (filled != filled))) and (field.dtype.kind == "b" or np.asarray(value).dtype.kind != "b")
    except (TypeError, ValueError, OverflowError):
        kept = False
    if not kept:
        raise refuse(operation, "value", value, f"is no {field.dtype}, which '{field.name}' holds", "Give a value of the field's dtype.")
    return filled


def _call_text(operation: RaggedOperation, kind: type[Any]) -> str:
    """The call that makes an operation, without what it has by default."""
    words: list[str] = []
    for name, parameter in inspect.signature(kind).parameters.items():
        value = getattr(operation, name)
        value = value[0] if name == "fields" and len(value) == 1 else value
        if parameter.kind is not parameter.KEYWORD_ONLY:
            words.append(repr(value))
        elif value != parameter.default:
            words.append(f"{name}={value!r}")
    return f"{kind.__name__}({', '.join(words)})"


def _names(operation: object, fields: Any) -> tuple[str, ...]:
    names = (fields,) if isinstance(fields, str) else listed(fields)
    if not names or not all(isinstance(one, str) and one for one in names) or len(set(names)) < len(names):
        raise refuse(operation, "fields", fields, "names no fields", 'Give a name such as "tokens", or a list of names.')
    return names


def _check_names(operation: object, **names: str | None) -> None:
    """Raise ConfigError where a field that is added is called what none can be."""
    for name, value in names.items():
        if value is not None:
            check_name(operation, name, value)


def _replaced(operation: RaggedOperation, schema: Schema, changed: Mapping[str, tuple[tuple[int, ...], str]]) -> Schema:
    """The schema, with fields of another shape and kind, and those that are added at its end."""
    kind = type(operation).__name__
    for name in operation.value if isinstance(operation.value, Mapping) else ():
        if name not in changed:
            hint = f"Name fields among those of {kind}: {', '.join(operation.fields)}."
            raise refuse(operation, "value", operation.value, f"names '{name}', which it does not fill up", hint)
    for name in changed:
        if name not in schema:
            raise ConfigError(f"{kind}: field '{name}' is not there.", hint=f"There are: {', '.join(schema.names)}.")
        if not schema[name].as_ragged:
            ragged = ", ".join(field.name for field in schema if field.as_ragged) or "none"
            raise ConfigError(f"{kind}: '{schema[name]}' is not ragged.", hint=f"Ragged fields of this batch: {ragged}.")
        fill_of(operation, schema[name])
    taken = [field.name for field in operation.made if field.name in schema]
    twice = len({field.name for field in operation.made}) < len(operation.made)
    if taken or twice:
        what = f"there is a field '{taken[0]}' already" if taken else "two fields that it adds have one name"
        raise ConfigError(f"{kind}: {what}.", hint="Give what it adds other names, or None to leave it out.")
    fields = [
        Field(field.name, field.dtype, (*changed[field.name][0], *field.shape), changed[field.name][1]) if field.name in changed else field
        for field in schema
    ]
    return Schema((*fields, *operation.made))
