"""What is refused today, by name, and how the error begins: each line is to go once the thing works, which a test notices."""

from __future__ import annotations

from streamload.schema import Field

TRANSFORM = {
    "S5": "the transform's field 'S5' is |S3 () for record",
    "S70": "the transform's field 'S70' is |S",
    "structure.b": "the transform's field 'structure.b' is |S",
}
"""Fields of fixed-length bytes, one a record: a function that returns them as it was given them has lost their width."""

ANY_LENGTH = "holds records of different lengths"
CONVERT = {
    **{("ragged", target): ANY_LENGTH for target in ("hdf5", "parquet", "npy", "npz", "arrow")},
    ("moments", "hdf5"): "No conversion path for dtype: dtype('<M8[",
    ("durations", "hdf5"): "No conversion path for dtype: dtype('<m8[",
    ("no bytes", "hdf5"): "the fields differ",
    ("no bytes", "parquet"): "Invalid FIXED_LEN_BYTE_ARRAY length: 0",
    ("no bytes", "arrow"): "holds 1 values a record (), and shape",
}
"""What conversions cannot write, or write so that it cannot be read again: by what the values are (`group_of`) and the target."""


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
    ("hdf5", "opaque"): "it holds opaque values of 6 bytes, which cannot be delivered",
    ("hdf5", "opaque moments"): "it holds opaque values of 8 bytes, which cannot be delivered",
    ("hdf5", "no bytes"): "it has records of shape (0,), which hold nothing",
    ("hdf5", "references"): "it holds references to other objects, which cannot be delivered",
    ("hdf5", "ragged strings of one length"): "it holds variable-length arrays of |S3, which cannot be delivered",
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
