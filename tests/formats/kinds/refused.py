"""What is refused today, by name, and how the error begins: each line is to go once the thing works, which a test notices."""

from __future__ import annotations

TRANSFORM = {
    "S5": "the transform's field 'S5' is |S3 () for record",
    "S70": "the transform's field 'S70' is |S",
    "structure.b": "the transform's field 'structure.b' is |S",
}
"""Fields of fixed-length bytes, one a record: a function that returns them as it was given them has lost their width."""
