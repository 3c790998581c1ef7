"""That kernels are compiled is said once, however many loaders wait for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKED = "from streamload.kernels import announce_compiling; announce_compiling(); announce_compiling()"


@pytest.mark.parametrize("kept", [True, False], ids=["code is kept", "code is nobody's to keep"])
def test_compiling_is_said_once_where_it_is_done_once(kept: bool, tmp_path: Path) -> None:
    """While workers still compile for the first of two loaders; where no code can be kept, each compiles anew, and says so."""
    where = tmp_path if kept else tmp_path / "a file"
    if not kept:
        where.write_text("")
    environment = os.environ | {"STREAMLOAD_CACHE_DIR": str(where)}
    done = subprocess.run([sys.executable, "-c", ASKED], env=environment, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == (1 if kept else 2)
    assert all(line.startswith("streamload: compiling its kernels, which takes some 5 seconds, ") for line in lines)
    assert all(line.endswith(" once.") == kept for line in lines)
