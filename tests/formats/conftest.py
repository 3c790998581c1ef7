"""What is kept from one run to the next, in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamload.storage import disk_cache


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of entries, in which files and folders count as settled at once."""
    monkeypatch.setenv("STREAMLOAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(disk_cache, "SETTLED_NS", -(10**10))
    monkeypatch.setattr(disk_cache, "WORTH_SECONDS", 0.1)
    return tmp_path / "cache" / "index"


@pytest.fixture
def kept(settled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where everything is worth keeping."""
    monkeypatch.setattr(disk_cache, "WORTH_SECONDS", -1)
    return settled
