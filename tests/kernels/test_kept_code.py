"""Kernels that numba has kept are loaded without what only compiling needs, and whoever compiles still has that."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamload.kernels import kept_code, kept_files

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


KEEPING = """
import json, resource, sys
from streamload import kernels
from streamload.kernels import crc32c_plain

if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
found = kernels.checksum_kernels()
print(json.dumps([found.crc32c(b"0123456789") == crc32c_plain.crc32c(b"0123456789"), sum(found._crc32c.stats.cache_hits.values())]))
"""
"""Whether a kernel says what its plain twin says, and how often it was loaded from what was kept."""


def test_what_is_damaged_on_disk_is_compiled_anew_and_kept_again(tmp_path: Path) -> None:
    """Also where nothing can be kept: the code serves the process that has made it."""
    environment = {**os.environ, "STREAMLOAD_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_OPT": "1"}

    def ran(how: str) -> list[object]:
        done = subprocess.run([sys.executable, "-B", "-c", KEEPING, how], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    assert ran("full") == [True, 0]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert ran("kept") == [True, 0]
    for path in (tmp_path / "cache").rglob("crc32c*.nbc"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert ran("kept") == [True, 0]
    assert ran("kept") == [True, 1]


def _swapped(path: Path, files: kept_code.CodeFiles) -> None:
    files.save("another", "its code")
    (other,) = {*path.parent.iterdir()} - {path}
    other.replace(path)


def _piped(path: Path, _: object) -> None:
    path.unlink()
    os.mkfifo(path)


def _linked(path: Path, _: object) -> None:
    path.rename(path.parent / "elsewhere")
    path.symlink_to(path.parent / "elsewhere")


DAMAGES: dict[str, Callable[[Path, kept_code.CodeFiles], object]] = {
    "empty": lambda path, _: path.write_bytes(b""),
    "cut": lambda path, _: path.write_bytes(path.read_bytes()[:-1]),
    "zeros": lambda path, _: path.write_bytes(bytes(path.stat().st_size)),
    "a bit": lambda path, _: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 4])),
    "another's": _swapped,
    "a pickle": lambda path, _: path.write_bytes(pickle.dumps(["anything"])),
    "a pipe": _piped,
    "a link": _linked,
    "others may write it": lambda path, _: path.chmod(0o666),
    "a folder": lambda path, _: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_code_is_loaded_only_as_it_was_kept(damage: str, tmp_path: Path) -> None:
    """Whatever lies in its place: nothing is unpickled, and nobody waits for a pipe."""
    files = kept_code.CodeFiles(str(tmp_path), "kernel", pickle.dumps)
    assert files.load("a key") is None
    files.save("a key", ["code"])
    (path,) = tmp_path.iterdir()
    assert kept_code.CodeFiles(str(tmp_path), "kernel", pickle.dumps).load("a key") == ["code"]
    DAMAGES[damage](path, files)
    assert files.load("a key") is None
    files.save("a key", ["made again"])
    assert files.load("a key") == (["made again"] if damage != "a folder" else None)


def test_code_of_other_sources_or_another_compiler_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a process ended in the middle: no index says that what was kept before is of today."""
    files = kept_code.CodeFiles(str(tmp_path), "kernel", pickle.dumps)
    files.save("a key", "code")
    for module, name in ((kept_files, "sources_beside"), (kept_code, "_compilers")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *_: "others")
            assert files.load("a key") is None
    assert files.load("a key") == "code"
    assert kept_code.CodeFiles(str(tmp_path / "gone"), "kernel", pickle.dumps).save("a key", "code") is None
