"""Files of machine code in the cache folder, each with a digest of its name and bytes: code that is damaged is never run, nor another's."""

from __future__ import annotations

import hashlib
import os

from streamload.storage.owned_files import Folder, is_private

DIGEST_NBYTES = 16


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
