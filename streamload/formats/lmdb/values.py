"""What the values of a database are: images, texts, or objects that other libraries packed."""

from __future__ import annotations

from streamload.errors import SourceError, UnsafeSourceError, UnsupportedFeatureError


def key_text(key: bytes) -> str:
    """A key for people."""
    return key.decode("utf-8", "backslashreplace")[:200]


def identified(value: bytes) -> tuple[type[SourceError], str, str]:
    """What a value is that is no image: the error to raise, what to call it, and what to do."""
    if len(value) > 2 and value[0] == 0x80 and value[1] in (2, 3, 4, 5) and value.endswith(b"."):
        return UnsafeSourceError, "a pickle, which could run anything", "Save the arrays as HDF5 where you trust it."
    if value.startswith(b"\x93NUMPY"):
        return UnsupportedFeatureError, "an array of NumPy", "Save its images as they are encoded, or the arrays as HDF5."
    if value[:1] == b"\x08" and b"\x18" in value[:12]:
        return UnsupportedFeatureError, "a Datum of Caffe", "Save its images as they are encoded, or the arrays as HDF5."
    if value[:1] and (value[0] & 0xF0 in (0x80, 0x90) or value[0] in (0xDC, 0xDE)):
        return UnsupportedFeatureError, "an object of MessagePack", "Save its images as they are encoded."
    if value.startswith(b"ARROW1") or value[:4] == b"\xff\xff\xff\xff":
        return UnsupportedFeatureError, "an object of Arrow", "Save its images as they are encoded."
    start = value[:8].hex(" ") or "nothing"
    return (
        UnsupportedFeatureError,
        f"bytes of a kind that is not known: it begins with {start}",
        "Images as they are encoded are read.",
    )
