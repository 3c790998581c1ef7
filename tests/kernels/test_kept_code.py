"""Kernels that numba has kept are loaded without what only compiling needs, and whoever compiles still has that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys
import numpy as np
from streamload import kernels
from streamload.kernels import permute_plain

kernels.compile_kernels()
implementations = [name for name in ("numba.np.linalg", "scipy.linalg") if name in sys.modules]
words, ours, plain = np.arange(8, dtype=np.uint32), np.empty(300, np.int64), np.empty(300, np.int64)
kernels.permute_kernels().feistel_records(1000, 32, 32, words, 0, 300, ours)
permute_plain.feistel_records(1000, 32, 32, words, 0, 300, plain)

import users
length, hits = users.norm(np.array([3.0, 4.0])), sum(users.norm.stats.cache_hits.values())
print(json.dumps([implementations, bool((ours == plain).all()), length, hits]))
"""
USERS = """
import numba, numpy as np

@numba.njit("float64(float64[::1])", cache=True)
def norm(values):
    return np.sqrt(np.sum(np.sort(values) ** 2))
"""


def program(folder: Path, before: str = "") -> list[object]:
    ran = subprocess.run([sys.executable, "-c", before + PROGRAM], cwd=folder, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return json.loads(ran.stdout)


def test_kept_kernels_are_loaded_alone_and_the_users_are_compiled_and_loaded_as_ever(tmp_path: Path) -> None:
    (tmp_path / "users.py").write_text(USERS)
    assert program(tmp_path) == [[], True, 5.0, 0], "the user's function is compiled"
    assert program(tmp_path) == [[], True, 5.0, 1], "and is then loaded from the cache of numba"


def test_a_numba_without_these_inner_parts_loads_kernels_in_its_own_way(tmp_path: Path) -> None:
    (tmp_path / "users.py").write_text(USERS)
    implementations, *rest = program(tmp_path, "import numba.core.runtime; del numba.core.runtime.rtsys")
    assert implementations
    assert rest == [True, 5.0, 0]
