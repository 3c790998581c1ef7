"""What lies where a source was opened and is not among its records: counted, and named as far as that helps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

MOST_NAMED = 1000
"""Names for each reason that are kept; all are counted."""
MOST_SHOWN = 3
"""Names for each reason that a text lists."""


class Omission(NamedTuple):
    """Things of one kind that are left out for one reason."""

    what: str
    """ "file", "member", "field" or "record"."""
    why: str
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    names: tuple[str, ...] = ()
    """At most MOST_NAMED of them."""

    @classmethod
    def of(cls, what: str, why: str, names: Iterable[str], count: int | None = None) -> Omission:
        """Things by their names; `count` where these are not all."""
        listed = list(names)
        return cls(what, why, len(listed) if count is None else count, tuple(listed[:MOST_NAMED]))

    def __str__(self) -> str:
        listed = ", ".join(self.names[:MOST_SHOWN]) + (", ..." if self.count > MOST_SHOWN else "")
        return f"left out: {self.count:,} {self.what}{'' if self.count == 1 else 's'}, {self.why}" + (f" ({listed})" if listed else "")
