"""Files of machine code in the cache folder, each with a digest of its name and bytes: code that is damaged is never run, nor another's."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from streamload.storage.owned_files import Folder, is_private

DIGEST_NBYTES = 16


@cache
def sources_beside(file: str) -> str:
    """A few letters that stand for a module and those in its folder: numba looks at a kernel's own file, and some share functions."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(file).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write(folder: Folder, name: str, data: bytes) -> None:
    """Keep bytes under a name, in place of what has it. Raises OSError."""
    folder.claim(name)
    folder.write(name, _digest(name, data), data, mode=0o600, lasting=False)


def read(folder: Folder, name: str) -> bytes | None:
    """What was kept under a name; None where there is nothing, or what there is is damaged, or others may have written it."""
    try:
        with folder.open(name) as file:
            if not is_private(os.fstat(file.fileno())):
                return None
            digest, data = file.read(DIGEST_NBYTES), file.read()
    except OSError:
        return None
    return data if _digest(name, data) == digest else None


def _digest(name: str, data: bytes) -> bytes:
    digest = hashlib.blake2b(name.encode() + b"\0", digest_size=DIGEST_NBYTES)
    digest.update(data)
    return digest.digest()
