"""How much of a disk a conversion takes, as far as that is known before it begins; and whether there is so much."""

from __future__ import annotations

import errno
import os
import shutil

from streamload.errors import ConfigError, ConversionError
from streamload.schema import Field
from streamload.sizes import format_nbytes
from streamload.tools.convert.readers.encode_images import is_image
from streamload.tools.convert.record_source import RecordSource
from streamload.tools.convert.writers.registry import WriteOptions

ENCODED = {"raw": 1, "png": 2, "jpeg": 8, "keep": 8}
"""About how many times smaller images are as they are stored, where nothing says more."""
MARGIN = 1.02
"""Room for heads, footers and the manifest, in parts of the records' bytes."""
MARGIN_NBYTES = 1 << 20
PLACE_NBYTES = 8
"""Of each record that is moved through files: where it goes; of one of a length of its own, where it begins."""


def free_nbytes(target: str) -> int:
    """Bytes free where the target will stand. Raises ConfigError where there is no such folder."""
    folder = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(folder):
        raise ConfigError(f"{folder} does not exist.", hint="Make the folder first.", path=folder)
    return shutil.disk_usage(folder).free


def record_nbytes(origin: RecordSource, style: WriteOptions) -> float:
    """About how many bytes of a file a record takes: what images take is known where the source has them in that form."""
    total = 0.0
    stored = origin.stored_nbytes if style.store == "keep" else {}
    for field in origin.schema:
        if field.name in stored:
            total += stored[field.name] / max(1, len(origin))
        elif field.ragged:
            own = (origin.record_nbytes - origin.schema.record_nbytes) / len(origin.schema.ragged)
            total += own + PLACE_NBYTES * (4 if style.format == "hdf5" else 1)
        else:
            total += field.nbytes / (ENCODED[style.store] if _is_encoded(field, style) else 1)
    return total


def _is_encoded(field: Field, style: WriteOptions) -> bool:
    return style.store != "raw" and is_image(field)


def needed_nbytes(origin: RecordSource, style: WriteOptions, records: int) -> int:
    """About how many bytes it takes to write so many records, those of files that are gone afterwards among them."""
    nbytes = records * record_nbytes(origin, style)
    if style.format == "npz" and len(origin.schema) > 1:
        # All fields but the largest are written beside the file first.
        widths = sorted(field.nbytes for field in origin.schema)
        nbytes += records * sum(widths[:-1])
    # What compression will save is not known; half is as much as pictures ever give.
    return int(nbytes * MARGIN / (1 if style.codec == "none" else 2)) + MARGIN_NBYTES


def moved_nbytes(origin: RecordSource, records: int) -> int:
    """What so many records take on their way, where they are shuffled through files."""
    return records * (origin.record_nbytes + PLACE_NBYTES * (1 + len(origin.schema.ragged)))


def require_free(target: str, nbytes: int) -> None:
    """Raise ConversionError where fewer bytes are free."""
    free = free_nbytes(target)
    if nbytes > free:
        folder = os.path.dirname(os.path.abspath(target))
        raise ConversionError(
            f"{target} needs about {format_nbytes(nbytes)}; {format_nbytes(free)} are free in {folder}.",
            hint="Make room, or choose another folder.",
            errno=errno.ENOSPC,
            needed_nbytes=nbytes,
            available_nbytes=free,
        )
