"""Whether images are alike, by what their heads claim: known before anything is written, and in a fraction of what decoding takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamload.errors import SchemaMismatchError
from streamload.schema import Field
from streamload.tools.console import clean, counted
from streamload.tools.convert.record_source import RecordSource
from streamload.tools.progress import bar

TOGETHER = 256
"""Records between two words of progress."""
MOST_NAMED = 3


def require_alike(origin: RecordSource) -> None:
    """Raise SchemaMismatchError where images differ from the first one in size or kind, counting them; of a damaged head its error.

    Images that can only be read with all that is packed before them are compared when their turn comes.
    """
    if not origin.encoded_fields:
        return
    wrong: list[tuple[str, tuple[int, ...], np.dtype[Any], Field]] = []
    with bar("looking at sizes", total=len(origin)) as shown:
        for number in range(len(origin)):
            for field, title, (shape, dtype) in origin.image_shapes(number):
                if (shape, dtype) != (field.shape, field.dtype):
                    wrong.append((title, shape, dtype, field))
            if number % TOGETHER == TOGETHER - 1:
                shown.show(number + 1, counted(number + 1, "record"))
        shown.show(len(origin), counted(len(origin), "record"))
    if not wrong:
        return
    title, shape, dtype, first = wrong[0]
    named = ", ".join(clean(one[0]) for one in wrong[:MOST_NAMED]) + (" and others" if len(wrong) > MOST_NAMED else "")
    raise SchemaMismatchError(
        f"{counted(len(wrong), 'image')} of {len(origin):,} {'differs' if len(wrong) == 1 else 'differ'} from the first, "
        f"which is {first.dtype} {first.shape}: {named}. {clean(title)} is {dtype} {shape}.",
        hint=f"Give --size HEIGHTxWIDTH to make them alike, as {first.shape[0]}x{first.shape[1]}; or --store keep to keep each as it is"
        f"{', or --on-bad skip to leave them out' if 2 * len(wrong) < len(origin) else ''}.",
        path=title,
    )
