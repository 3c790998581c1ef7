"""What is refused today, by name, and how the error begins: each line is to go once the thing works, which a test notices."""

from __future__ import annotations

from streamload.schema import Field

ANY_LENGTH = "holds records of different lengths"
CONVERT = {
    **{("ragged", target): ANY_LENGTH for target in ("npy", "npz")},
}
"""What conversions do not begin to write: by what the values are (`group_of`) and the target."""


def group_of(field: Field) -> str:
    """What a field is to conversions; "" for what every target takes."""
    if field.ragged:
        return "ragged"
    if not field.nbytes:
        return "no bytes"
    if field.dtype.char in "gG":
        return "long double"
    return {"S": "bytes of one length", "M": "moments", "m": "durations"}.get(field.dtype.kind, "")


OPEN: dict[tuple[str, str], str] = {
    ("numpy", "objects"): "holds Python objects",
    ("hdf5", "references"): "it holds references to other objects, which cannot be delivered",
    ("hdf5", "ragged structures"): "it holds variable-length arrays of [('a', '<i4'), ('b', '<f4')], which cannot be delivered",
    ("hdf5", "rows of ragged"): "it holds 2 values of variable length (array) a record, which cannot be delivered",
    ("arrow", "decimals"): "holds values of the type decimal128(10, 2), which has no counterpart in NumPy",
    ("arrow", "maps"): "holds values of the type map<",
    ("arrow", "lists of text"): "holds lists of text",
    ("arrow", "lists of bytes"): "holds lists of bytes, which cannot be read yet",
    ("arrow", "lists of lists"): "holds lists within lists that differ in length",
    ("arrow", "booleans with nulls"): "null at row 1 of column 'x'",
}
"""What no format of a family delivers: by family and kind; the files are made in `test_refusals`."""
