"""Whether files are HDF5, and a source over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamload.source import Source
from streamload.storage.files import regular_file

NAME = "HDF5"
MAGIC = b"\x89HDF\r\n\x1a\n"


def matches(head: bytes, path: str) -> bool:
    """Whether a superblock stands at byte 0, or behind a user block of 512, 1024, 2048, ... bytes."""
    if head.startswith(MAGIC) or any(head[start : start + 8] == MAGIC for start in (512, 1024, 2048)):
        return True
    with open(path, "rb", opener=regular_file) as file:
        nbytes, start = file.seek(0, 2), 4096
        while start + len(MAGIC) <= nbytes:
            file.seek(start)
            if file.read(len(MAGIC)) == MAGIC:
                return True
            start *= 2
    return False


def plan(
    paths: Sequence[str],
    fields: Sequence[str] | Mapping[str, str] | None,
    *,
    record_axis: int | Mapping[str, int | None] | None = 0,
    scaled: bool = False,
) -> Source:
    """A source over HDF5 files of one schema; see `streamload.formats.open.open_source`.

    `record_axis` is the axis of datasets that counts records: 0 the first, -1 the last; None takes each dataset for one record;
    a mapping says it by field. `fields` may hold patterns, "sample_*/image": all datasets that one leads to, in natural order,
    are joined along the axis that counts records, or each is one. A pattern that leads to groups makes a field that says which
    group a record is from. Fields pair by what the stars of their patterns stand for. `scaled=True` delivers the physical values of
    fields that are packed as netCDF does it (scale_factor, add_offset), and NaN for their fill values.
    """
    from streamload.formats.hdf5.planning import plan_files
    from streamload.formats.hdf5.request import Request
    from streamload.sizes import flag_of

    return plan_files(Request.of(paths, fields, record_axis, scaled=flag_of(scaled, "scaled")))
