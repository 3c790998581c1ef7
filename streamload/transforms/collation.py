"""What becomes of the ragged fields of a batch in the end: `collate=`, bound to the fields that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from streamload.errors import ConfigError
from streamload.schema import Schema
from streamload.transforms.operations.ragged import PackRagged, PadRagged, RaggedOperation


@dataclass(frozen=True, kw_only=True, slots=True)
class Collation:
    """Operations on ragged fields, each on fields of its own, and what comes of them."""

    operations: tuple[RaggedOperation, ...]
    given: Schema
    """The fields of a batch before it."""
    schema: Schema
    """The fields of a batch after it."""

    def operation_of(self, name: str) -> RaggedOperation | None:
        """What makes a field: pads or packs it, or adds it."""
        for operation in self.operations:
            if name in operation.fields or any(field.name == name for field in operation.made):
                return operation
        return None

    def __str__(self) -> str:
        return " · ".join(map(repr, self.operations))


def collation_of(given: object, schema: Schema) -> Collation | None:
    """What `collate=` asks for, of batches with these fields; None where it asks for nothing. Raises ConfigError."""
    if given is None:
        return None
    operations: list[RaggedOperation] = []
    delivered = schema
    for one in cast(Sequence[object], given) if isinstance(given, (list, tuple)) else (given,):
        if not isinstance(one, (PadRagged, PackRagged)):
            raise ConfigError(
                f"collate={one!r} is no way to collate.",
                hint='Give collate=sl.PadRagged("tokens"), sl.PackRagged("tokens", 2048), or a list.',
            )
        delivered = one.delivered(delivered)
        operations.append(one)
    return Collation(operations=tuple(operations), given=schema, schema=delivered)
