"""Which bytes are text, where no file says so: UTF-8 without control characters, of any version of Unicode."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""What no text has: tabs, ends of lines and the like are none of them."""


def as_text(value: bytes) -> str | None:
    """Bytes as text; None for what is none."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text
