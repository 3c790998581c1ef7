"""The files of a source by number: those that were asked for, then those that they draw on."""

from __future__ import annotations

import os
from collections.abc import Sequence

from streamload.storage.files import Fingerprint, fingerprint


class SourceFiles:
    """Grows as links lead into other files."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.found: list[Fingerprint] = [fingerprint(path) for path in paths]
        self._numbers = {was.path: number for number, was in enumerate(self.found)}

    def number(self, path: str) -> int:
        """The number of the file at `path`."""
        number = self._numbers.get(path)
        if number is None:
            real = os.path.realpath(path)
            number = self._numbers.get(real)
            if number is None:
                number = self._numbers[real] = len(self.found)
                self.found.append(fingerprint(real))
            self._numbers[path] = number
        return number
