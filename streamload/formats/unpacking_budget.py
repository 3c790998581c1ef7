"""How much of compressed files may be held while they are gone through: a few bytes of them can stand for more than there is memory."""

from __future__ import annotations

from streamload.errors import ResourceError
from streamload.memory.limits import available_nbytes
from streamload.sizes import format_nbytes

SHARE = 4
"""One part in so many of the memory that is left."""


class UnpackingBudget:
    """Counts what is kept of a file, of its unpacked bytes, for all that is made of it."""

    def __init__(self, path: str, limit_nbytes: int | None = None) -> None:
        """`limit_nbytes` is a share of the memory that is left, unless it is given."""
        self._path = path
        self.limit_nbytes = available_nbytes() // SHARE if limit_nbytes is None else limit_nbytes
        self._kept_nbytes = 0

    def keep(self, nbytes: int) -> None:
        """So much more is kept. Raises ResourceError beyond the limit."""
        self._kept_nbytes += nbytes
        if self._kept_nbytes > self.limit_nbytes:
            self._refuse("what is kept of it while it is gone through", self._kept_nbytes)

    def allow(self, name: str, nbytes: int) -> None:
        """A piece of so much can be held at a time. Raises ResourceError where it cannot."""
        if nbytes > self.limit_nbytes:
            self._refuse(name, nbytes)

    def _refuse(self, what: str, nbytes: int) -> None:
        raise ResourceError(
            f"{self._path} is compressed, and {what} takes {format_nbytes(nbytes)} unpacked, where {format_nbytes(self.limit_nbytes)} "
            "may be held.",
            hint="Look at what it unpacks to, and whether it comes from where it should; unpacked on a disk, it is read by offset.",
            path=self._path,
            needed_nbytes=nbytes,
            available_nbytes=self.limit_nbytes,
        )
