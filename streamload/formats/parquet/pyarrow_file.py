"""The way into pyarrow's Parquet reader: files opened with limits, and its errors said in our words."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from streamload.errors import ChecksumError, ResourceError, SourceError, StreamloadError, UnsupportedFeatureError, damaged
from streamload.formats.naming.field_names import is_utf8
from streamload.storage.files import system_failure

STREAM_NBYTES = 1024**2
"""Stored bytes that the library reads ahead within a column, instead of whole column chunks."""
MOST_STRING_NBYTES = 64 * 1024**2
"""Of a string in a footer."""
MOST_CONTAINER = 4_000_000
"""Elements of a list in a footer."""

NULL_LISTS = 26
"""The first version of pyarrow that reads lists of one length some of which are null."""

FAILURES = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError)
"""What pyarrow raises for files that it cannot read."""


def open_file(path: str, footer: Any = None, *, int96_unit: str | None = None) -> Any:
    """A Parquet file as pyarrow reads it, checksums verified, nothing mapped and nothing read ahead of time.

    `footer` is the metadata of the same file, where somebody has parsed it already; `int96_unit` is that of moments in 96 bits, "ns" unless
    it is given.
    """
    return pq.ParquetFile(
        path if is_utf8(path) else pa.OSFile(os.fsencode(path)),
        metadata=footer,
        memory_map=False,
        buffer_size=STREAM_NBYTES,
        pre_buffer=False,
        page_checksum_verification=True,
        coerce_int96_timestamp_unit=int96_unit,
        thrift_string_size_limit=MOST_STRING_NBYTES,
        thrift_container_size_limit=MOST_CONTAINER,
    )


def unreadable(
    path: str, error: Exception, column: str | None = None, records: tuple[int, int] | None = None
) -> SourceError | StreamloadError:
    """The error for a file that pyarrow gave up on."""
    where = path if column is None else f"{path}: column '{column}'"
    text = " ".join(str(error).split())[:300].rstrip(".")
    details: dict[str, Any] = {"path": path, "dataset": column, "records": records}
    lower = text.lower()
    if isinstance(error, MemoryError):
        return ResourceError(
            f"{where} needs more memory to decode than there is: {text}.",
            hint="The file may lie about its sizes; or free memory, or write it in smaller row groups.",
            **details,
        )
    if failure := system_failure(path, error):
        return failure
    if "crypt" in lower:
        return UnsupportedFeatureError(f"{where} is encrypted: {text}.", hint="Decrypt it first; keys are never asked for.", **details)
    if "checksum" in lower or "crc" in lower:
        return damaged(f"{where} holds a page whose checksum is wrong: {text}.", **details, kind=ChecksumError)
    if lower.startswith("expected all lists to be of size=") and lower.endswith("had size=0") and pyarrow_version() < NULL_LISTS:
        return UnsupportedFeatureError(
            f"{where} holds lists of one length, some of which are null, and pyarrow {pa.__version__} cannot read those: {text}.",
            hint=f"Run: pip install 'pyarrow>={NULL_LISTS}'",
            **details,
        )
    if type(error).__name__.startswith("ArrowNotImpl") or any(words in lower for words in ("not built", "unsupported", "not supported")):
        return UnsupportedFeatureError(f"{where} cannot be decoded by pyarrow {pa.__version__}: {text}.", hint="Write it anew.", **details)
    return damaged(f"{where} cannot be read as Parquet: {text or type(error).__name__}.", **details)


def pyarrow_version() -> int:
    """The major version of pyarrow."""
    return int(pa.__version__.partition(".")[0])


def decoded_nbytes(array: Any) -> int:
    """Bytes that the values of an array take; of views, where this pyarrow cannot tell them apart, those of all its buffers."""
    try:
        return array.nbytes
    except pa.ArrowTypeError:
        return array.get_total_buffer_size()


def release_unused() -> None:
    """Give memory back to the system that pyarrow holds for what it may decode next: after large pages that is as much as they took."""
    pa.default_memory_pool().release_unused()
