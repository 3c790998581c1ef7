"""Why an image cannot be delivered, without the name of the file or record, which whoever asked for it knows."""

from __future__ import annotations

from typing import Any

from streamload.errors import CorruptDataError, SourceError

REPLACE = "Replace it, or leave it out."
UNLIKE = 'Say how to make all alike: Decode(size=(height, width), fit="crop") or fit="resize".'


class ImageError(Exception):
    """An image that cannot be delivered; internal. `why` completes "the image ..."."""

    def __init__(self, why: str, *, hint: str = REPLACE, kind: type[SourceError] = CorruptDataError) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint
        self.kind = kind

    def error(self, subject: str, *, hint: str | None = None, **details: Any) -> SourceError:
        """The error for the user: `subject` names the file or the record."""
        return self.kind(f"{subject} {self.why}.", hint=self.hint if hint is None else hint, **details)
