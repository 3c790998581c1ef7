"""Control groups of both versions, and those above, as the kernel shows them: files in folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from time_limits import GUARD_SECONDS

from streamload.memory import limits

MB = 1024**2


def put(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def v2_group(folder: Path, *, limit: object, used: int, file: int = 0, shmem: int = 0) -> None:
    """A group of version 2."""
    put(folder / "memory.max", limit)
    put(folder / "memory.current", used)
    put(folder / "memory.stat", f"anon {used - file}\nfile {file}\nshmem {shmem}\nkernel 0")


def v1_group(folder: Path, *, limit: int, used: int, cache: int = 0, shmem: int = 0) -> None:
    """A group of version 1."""
    put(folder / "memory.limit_in_bytes", limit)
    put(folder / "memory.usage_in_bytes", used)
    put(folder / "memory.stat", f"cache 1\ntotal_cache {cache}\ntotal_shmem {shmem}\ntotal_rss {used - cache}")


def found(tmp_path: Path, membership: str) -> list[tuple[int, int]]:
    put(tmp_path / "membership", membership)
    return limits.group_limits(tmp_path / "cgroup", tmp_path / "membership")


def test_version_2_with_the_groups_above(tmp_path: Path) -> None:
    """Each group with a limit counts; "max" is none; page cache counts as free, shared memory does not."""
    root = tmp_path / "cgroup"
    v2_group(root / "jobs" / "mine", limit="max", used=50 * MB)
    v2_group(root / "jobs", limit=900 * MB, used=700 * MB, file=300 * MB, shmem=100 * MB)
    assert found(tmp_path, "0::/jobs/mine") == [(900 * MB, 500 * MB)]
    v2_group(root / "jobs" / "mine", limit=100 * MB, used=30 * MB)
    assert found(tmp_path, "0::/jobs/mine") == [(100 * MB, 30 * MB), (900 * MB, 500 * MB)]


def test_version_1_with_the_groups_above(tmp_path: Path) -> None:
    """The number that version 1 uses for no limit is none."""
    root = tmp_path / "cgroup" / "memory"
    v1_group(root / "docker" / "abc", limit=512 * MB, used=400 * MB, cache=350 * MB, shmem=50 * MB)
    v1_group(root / "docker", limit=9223372036854771712, used=4000 * MB)
    v1_group(root, limit=2048 * MB, used=100 * MB)
    membership = "12:cpu,cpuacct:/docker/abc\n7:memory:/docker/abc\n1:name=systemd:/docker/abc"
    assert found(tmp_path, membership) == [(512 * MB, 100 * MB), (2048 * MB, 100 * MB)]


def test_both_versions_at_once(tmp_path: Path) -> None:
    """As systemd mounts them in hybrid mode."""
    v1_group(tmp_path / "cgroup" / "memory" / "a", limit=512 * MB, used=12 * MB)
    v2_group(tmp_path / "cgroup" / "unified" / "b", limit=256 * MB, used=6 * MB)
    assert sorted(found(tmp_path, "7:memory:/a\n0::/b")) == [(256 * MB, 6 * MB), (512 * MB, 12 * MB)]


@pytest.mark.parametrize("text", [None, "MemTotal:  9 kB\n"], ids=["no table", "a table that does not say"])
def test_half_of_the_memory_is_free_where_nothing_says_how_much_is(text: str | None, tmp_path: Path) -> None:
    """What the kernel says counts, in units of 1,024 bytes."""
    table = tmp_path / "meminfo"
    if text is not None:
        table.write_text(text)
    assert limits.machine_nbytes(table) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    table.write_text("MemTotal:  9 kB\nMemAvailable:       7 kB\n")
    assert limits.machine_nbytes(table) == 7 * 1024


@pytest.mark.parametrize("path", ["/docker/0123456789abcdef", "/../../elsewhere", "/"])
def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path, path: str) -> None:
    """The path in the membership does not exist there: the root itself is the group that counts."""
    v2_group(tmp_path / "cgroup", limit=300 * MB, used=20 * MB)
    assert found(tmp_path, f"0::{path}") == [(300 * MB, 20 * MB)]


@pytest.mark.parametrize(
    "membership",
    ["", "0::/nowhere", "7:memory:/nowhere", "3:cpu:/x"],
    ids=["nothing", "no folder of v2", "no folder of v1", "no memory controller"],
)
def test_no_groups_are_no_limits(tmp_path: Path, membership: str) -> None:
    assert found(tmp_path, membership) == []
    assert limits.group_limits(tmp_path / "cgroup", tmp_path / "missing") == []


@pytest.mark.parametrize("damage", ["", "a lot", "memory", "-"], ids=["empty", "words", "one word", "dash"])
def test_files_that_cannot_be_understood_are_no_limits(tmp_path: Path, damage: str) -> None:
    v2_group(tmp_path / "cgroup" / "a", limit=300 * MB, used=20 * MB)
    put(tmp_path / "cgroup" / "a" / "memory.stat", damage)
    assert found(tmp_path, "0::/a") == [(300 * MB, 20 * MB)]
    put(tmp_path / "cgroup" / "a" / "memory.max", damage)
    assert found(tmp_path, "0::/a") == []
    assert found(tmp_path, damage) == []


def test_what_is_available_is_positive_and_not_more_than_the_machine_has() -> None:
    assert 0 < limits.available_nbytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_cores_are_those_that_this_process_may_use() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import streamload.memory.limits as l; print(l.usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


LOADER = """
import os, sys
import numpy as np
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
import streamload as sl
from streamload.memory.limits import available_nbytes, group_limits
print(min(limit for limit, _ in group_limits()), available_nbytes())
data = sl.open(sys.argv[2])
with sl.Loader(data, batch_size=10, num_workers=1) as loader:
    print(loader.footprint().budget, loader.footprint().total, sum(len(batch.records) for batch in loader))
for size in (2, 5, 6, 7, 8, 9, 12, 20):
    try:
        with sl.Loader(data, batch_size=10, num_workers=1, transform=lambda r: {"x": np.zeros(size << 20, "u1")}, memory="8 GB") as loader:
            print(size, sum(len(batch.records) for batch in loader), flush=True)
    except sl.ResourceError as error:
        print(size, error, flush=True)
"""


def test_a_real_control_group_is_seen_and_kept_to(tmp_path: Path) -> None:
    """In a group of 400 MB: the default is below a quarter of it, and a demand is met or refused, but nothing is killed."""
    import h5py
    import numpy as np

    base = next((path for path in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")) if os.access(path, os.W_OK)), None)
    if base is None:
        pytest.skip("control groups are not this user's to make")
    group = base / f"streamload-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if base.name == "memory" else "memory.max")).write_text(str(400 * MB))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"control groups of memory cannot be made here: {error}")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["image"], file["label"] = np.zeros((100, 50), "u1"), np.arange(100)
    (tmp_path / "script.py").write_text(LOADER)
    inside = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
    try:
        done = subprocess.run(
            ["sh", "-c", inside, "sh", sys.executable, str(tmp_path / "script.py"), str(tmp_path / "pid"), str(tmp_path / "data.h5")],
            capture_output=True,
            text=True,
            timeout=GUARD_SECONDS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert (done.returncode, done.stderr) == (0, "")
        first, second, small, *_, large = done.stdout.splitlines()
        limit, available = map(int, first.split())
        assert limit == 400 * MB
        assert 0 < available < 400 * MB
        budget, total, records = map(int, second.split())
        assert total <= budget <= 100 * MB
        assert records == 100
        assert small == "2 100"
        assert "this machine or its control group leaves" in large
        assert "lower batch_size, num_workers or the window" in large
    finally:
        group.rmdir()
