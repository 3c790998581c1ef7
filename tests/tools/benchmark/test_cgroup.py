"""Ceilings on memory in control groups of both versions: which groups are fit for one, what is written, what is read back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamload.tools.benchmark import cgroup
from streamload.tools.benchmark.cgroup import MemoryCeiling, homes, offers_memory

MB = 1024**2


@pytest.fixture(autouse=True)
def leave_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a plain folder a group's files keep it from being removed: nothing is waited for."""
    monkeypatch.setattr(cgroup, "LEAVE_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("version", "ceiling", "peak"),
    [(1, "memory.limit_in_bytes", "memory.max_usage_in_bytes"), (2, "memory.max", "memory.peak")],
    ids=["version 1", "version 2"],
)
def test_a_ceiling_is_written_and_the_peak_read(tmp_path: Path, version: int, ceiling: str, peak: str):
    """This process enters the group, and goes back where it came from."""
    home = MemoryCeiling(home=tmp_path, nbytes=64 * MB, version=version)
    with home:
        group = tmp_path / f"streamload-{os.getpid()}"
        assert (group / ceiling).read_text() == str(64 * MB)
        assert (group / "cgroup.procs").read_text() == str(os.getpid())
        assert home.measure() == 0  # kernels before 5.19 keep no peak
        (group / peak).write_text(f"{48 * MB}\n")
        assert home.measure() == 48 * MB
    assert home.peak_nbytes == 48 * MB
    assert (tmp_path / "cgroup.procs").read_text() == str(os.getpid())


def test_a_group_that_takes_no_ceiling_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the system refuses is an error, and nothing stays."""
    home = MemoryCeiling(home=tmp_path, nbytes=64 * MB, version=2)
    monkeypatch.setattr(home, "_ceiling", "no/such.file")
    with pytest.raises(OSError, match=r"no/such\.file"), home:
        pass
    assert list(tmp_path.iterdir()) == []


def test_version_2_is_fit_only_where_its_children_get_memory(tmp_path: Path):
    """The controller must be handed down; without the file there is no group."""
    assert not offers_memory(tmp_path, 2)
    (tmp_path / "cgroup.subtree_control").write_text("cpu io\n")
    assert not offers_memory(tmp_path, 2)
    (tmp_path / "cgroup.subtree_control").write_text("cpu io memory pids\n")
    assert offers_memory(tmp_path, 2)


def test_version_1_is_fit_where_it_has_a_ceiling_of_its_own(tmp_path: Path):
    """The file that every group of the controller has."""
    assert not offers_memory(tmp_path, 1)
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert offers_memory(tmp_path, 1)


def test_groups_are_looked_for_within_ours_and_beside_it(tmp_path: Path):
    """Version 2 as a user's service manager delegates it: our own group holds processes, so a child stands beside it."""
    proc = tmp_path / "proc"
    proc.mkdir()
    point = tmp_path / "cgroup"
    own = point / "app.slice" / "run.scope"
    own.mkdir(parents=True)
    (own / "cgroup.subtree_control").write_text("\n")
    (own.parent / "cgroup.subtree_control").write_text("memory pids\n")
    (proc / "cgroup").write_text("0::/app.slice/run.scope\n")
    (proc / "mounts").write_text(f"proc /proc proc rw 0 0\ncgroup2 {point} cgroup2 rw,nsdelegate 0 0\n")
    assert homes(proc) == [(own.parent, 2)]


def test_groups_of_version_1_are_found_beside_an_empty_version_2(tmp_path: Path):
    """As systemd mounts them in hybrid mode: memory belongs to version 1."""
    proc = tmp_path / "proc"
    proc.mkdir()
    first, second = tmp_path / "memory" / "docker", tmp_path / "unified"
    first.mkdir(parents=True)
    second.mkdir()
    (first / "memory.limit_in_bytes").write_text("1\n")
    (second / "cgroup.subtree_control").write_text("\n")
    (proc / "cgroup").write_text("7:memory:/docker\n1:name=systemd:/docker\n0::/\n")
    (proc / "mounts").write_text(f"cgroup {tmp_path}/memory cgroup rw,memory 0 0\ncgroup2 {second} cgroup2 rw 0 0\n")
    assert homes(proc) == [(first, 1)]


def test_where_the_system_says_nothing_there_are_no_groups(tmp_path: Path):
    """As on other systems than Linux."""
    assert homes(tmp_path) == []
