"""Section F: compiled kernels that are missing, cannot be kept, or are asked for what is not there."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from time_limits import GUARD_SECONDS, Deadline

from faults.conftest import Child, Server, gone
from faults.test_lives import ORPHAN_SECONDS
from faults.test_workers import whole

Start = Callable[..., Child]

COMPILING = {"NUMBA_OPT": "1"}
"""For programs that compile kernels and throw them away: with few of LLVM's optimizations, which are most of the time."""


@pytest.fixture
def no_numba(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing numba fails."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "numba.py").write_text("raise ImportError('broken on purpose')\n")
    return {"PYTHONPATH": os.pathsep.join([str(broken), *(str(folder) for folder in Path(__file__).parents[1:3])])}


def test_record_numbers_outside_the_data_are_refused_before_a_kernel_sees_them(server: Server) -> None:
    """F1, F2: below zero, at the end, and far out: in data[...], indices=, and an order of the user's own."""
    told = server.ask("outside_indices")["told"]
    assert len(told) == 16
    for error in told:
        assert error is not None
        assert {"IndexError", "ConfigError"} & set(error["kinds"]), error
        assert "96" in error["text"]


def test_without_numba_everything_is_the_same_but_slower(child: Start, no_numba: dict[str, str]) -> None:
    """F9: an import hook; the same bytes in every order, one warning."""
    for workers in (0, 2):
        outcome = child("epoch_in", more=no_numba, name="gzip", num_workers=workers).outcome()
        assert whole(outcome)
        assert ["broken on purpose" in warning for warning in outcome["warnings"]] == [True], "whoever does the work, the user is told"
    plain = child("without_numba", more=no_numba).outcome()
    assert plain["digests"] == child("with_numba").outcome()["digests"]
    assert len(plain["digests"]) == 12
    assert len(plain["warnings"]) == 1
    assert "broken on purpose" in plain["warnings"][0]
    assert plain["left"] == {}


def test_a_cache_that_others_may_write_or_own_is_not_used(server: Server) -> None:
    """F4: what is in it is code."""
    folders = server.ask("cache_folders")["folders"]
    assert folders.pop("good") is True
    assert set(folders) >= {"group", "all"}
    assert set(folders.values()) == {None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "data"),
    [
        ("a home that is not there", "raw"),
        ("a file in its place", "gzip"),
        ("a file in its place", "raw"),
        ("a folder that is nobody's to write", "raw"),
    ],
    ids=str,
)
def test_kernels_that_cannot_be_kept_are_compiled_for_the_run(child: Start, tmp_path: Path, where: str, data: str) -> None:
    """F3, F5: compiling takes seconds and is no hang, whatever the timeout; nothing stays behind, also where the program ends earlier."""
    blocked = tmp_path / "blocked"
    if where == "a file in its place":
        blocked.write_text("a file")
    elif where == "a folder that is nobody's to write":
        blocked.mkdir()
        blocked.chmod(0o777)
        (blocked / "kernels-py311").mkdir()
    more = {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": ""} if where.startswith("a home") else {"STREAMLOAD_CACHE_DIR": str(blocked)}
    if where == "a folder that is nobody's to write":
        import sys

        folder = blocked / f"kernels-py{sys.version_info[0]}{sys.version_info[1]}"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
    one = child("epoch_in", more=more | COMPILING, name=data, timeout=3.0)
    assert one.wait(120) == 0
    assert "Traceback" not in one.said
    assert "compiling" in one.said
    import json

    outcome = json.loads((one.private / "outcome").read_text())
    assert whole(outcome)
    assert outcome["warnings"] == []
    assert [name for name in os.listdir(one.private / "tmp") if "kernels" in name] == []


@pytest.mark.slow
def test_two_programs_that_compile_at_once_do_not_disturb_each_other(child: Start, tmp_path: Path) -> None:
    """F3, F5: one cold cache, two programs; a third then finds it warm."""
    more = {"STREAMLOAD_CACHE_DIR": str(tmp_path / "cache"), **COMPILING}
    both = [child("epoch_in", more=more, name="gzip", timeout=3.0) for _ in range(2)]
    for one in both:
        assert one.wait(180) == 0
        assert "Traceback" not in one.said
    third = child("epoch_in", more=more, name="gzip", timeout=3.0)
    assert whole(third.outcome())
    shutil.rmtree(tmp_path / "cache")


@pytest.mark.slow
def test_a_launcher_that_compiles_ends_with_its_program(child: Start, tmp_path: Path) -> None:
    """Killed while the first kernels lie in a fresh cache and others are being compiled: nobody compiles on for nothing."""
    cache = tmp_path / "cache"
    one = child("epoch_in", more={"STREAMLOAD_CACHE_DIR": str(cache)}, name="gzip", timeout=300.0)
    deadline = Deadline(GUARD_SECONDS)
    while not any(cache.rglob("*.nbc")):
        assert not deadline.passed
        time.sleep(0.01)
    launchers = [child.pid for child in psutil.Process(one.pid).children() if "streamload.workers." in " ".join(child.cmdline())]
    one.process.kill()
    one.wait()
    assert launchers
    gone(launchers, ORPHAN_SECONDS)
