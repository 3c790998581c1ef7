"""Members that are not read here and hold most of an archive: records would lack what they are about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from streamload.errors import UnsupportedFeatureError
from streamload.formats.tar.archive import HIDDEN, OF_THE_ARCHIVE, Archive

LEAST_NBYTES = 4096
"""Of such a member, on average: what is smaller says something of a record, and is not what it is."""
MOST = 0.5
"""Of the bytes of archives, what is more than this is not left out by a note."""
NEARLY_ALL = 0.9
"""Of the records have such a member."""


def refuse_unread(path: str, archives: Sequence[Archive], nbytes: int, fields: Sequence[str]) -> None:
    """Raise UnsupportedFeatureError where nearly all records have members that are not read, which hold most of the bytes.

    `nbytes` are those of all archives, of which none is compressed, and `fields` what else there is.
    """
    counts, sizes = Counter[str](), Counter[str]()
    for archive in archives:
        counts += archive.counts
        sizes += archive.unread_nbytes
    for why in (OF_THE_ARCHIVE, HIDDEN):
        counts.pop(why, None)
        sizes.pop(why, None)
    records, unread, held = sum(len(archive.keys) for archive in archives), counts.total(), sizes.total()
    if not records or unread < NEARLY_ALL * records:
        return
    if held > max(MOST * nbytes, LEAST_NBYTES * unread):
        listed = "; ".join(f"{why} ({count:,})" for why, count in counts.most_common(3))
        raise UnsupportedFeatureError(
            f"{path}: members that are left out hold {held / nbytes:.0%} of its bytes: {listed}. Records would lack what they are about.",
            hint=f"If the rest is what is wanted, say so: fields={list(fields)}. What they hold can be read as .npy.",
            path=path,
        )
