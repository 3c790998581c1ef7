"""Jobs of several real processes, as launchers start them: every record once over all ranks, uneven ends, no hang, nothing left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

JOB = Path(__file__).with_name("rank_job.py")
N = 203


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Records that say their number, in gzip chunks."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.random.default_rng(0).integers(0, 9, (N, 40)), chunks=(8, 40), compression="gzip")
        file["y"] = np.arange(N)
    return path


def environment(**more: str) -> dict[str, str]:
    """That of this process, without any launcher's variables."""
    known = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return {**{name: value for name, value in os.environ.items() if name not in known}, "OMP_NUM_THREADS": "1", **more}


def finished(command: list[str], **more: str) -> None:
    """Run it to its end. Says what it wrote where it fails."""
    done = subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def answers(out: Path, ranks: int) -> list[dict[str, Any]]:
    return [json.loads(Path(f"{out}.{rank}").read_text()) for rank in range(ranks)]


def check_once(found: list[dict[str, Any]]) -> None:
    """Every record once, as many steps and records on every rank."""
    assert sorted(record for one in found for record in one["records"]) == list(range(N))
    assert all(one["sizes"] == found[0]["sizes"] and one["world"] == len(found) for one in found)


@pytest.mark.parametrize("ranks", [2, 3])
def test_torchrun(data: Path, tmp_path: Path, ranks: int) -> None:
    """DDP on gloo."""
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", str(JOB)]
    finished([*command, "torch", str(tmp_path / "out"), str(data)], TMPDIR=str(tmp_path))
    for rank, one in enumerate(answers(tmp_path / "out", ranks)):
        assert (one["rank"], one["world"], one["counted"]) == (rank, ranks, N)
        assert one["steps"] == -(-N // (16 * ranks))
        assert sorted(record for records in one["gathered"] for record in records) == list(range(N))
        assert one["evaluated"][1] == one["alone"][1] == N
        assert one["evaluated"][0] == pytest.approx(one["alone"][0], rel=1e-12)


def test_mpiexec(data: Path, tmp_path: Path) -> None:
    """Three ranks, each of which knows by its launcher's variables."""
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    if mpiexec is None:
        pytest.skip("mpiexec is not installed")
    pytest.importorskip("mpi4py")
    version = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, timeout=60).stdout
    more = ["--oversubscribe", "--allow-run-as-root"] if "Open" in version else []
    finished([mpiexec, *more, "-n", "3", sys.executable, str(JOB), "mpi", str(tmp_path / "out"), str(data)], TMPDIR=str(tmp_path))
    found = answers(tmp_path / "out", 3)
    check_once(found)
    assert all(one["gathered"] == [other["records"] for other in found] for one in found)


def test_jax_distributed(data: Path, tmp_path: Path) -> None:
    """Two CPU processes, every batch of one shape."""
    pytest.importorskip("jax")
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        address = f"localhost:{listening.getsockname()[1]}"
    command = [sys.executable, str(JOB), "jax", str(tmp_path / "out"), str(data), address]
    started = [subprocess.Popen([*command, str(rank)], env=environment(JAX_PLATFORMS="cpu", TMPDIR=str(tmp_path))) for rank in range(2)]
    assert [process.wait(240) for process in started] == [0, 0]
    found = answers(tmp_path / "out", 2)
    check_once(found)
    assert set(found[0]["sizes"]) == {16}
    assert found[0]["sums"] == found[1]["sums"]
    assert np.sum(found[0]["sums"], axis=0).tolist() == [N * (N - 1) // 2, N]


def test_ray_train(data: Path, tmp_path: Path) -> None:
    """Two workers of Ray Train, on a cluster of this machine."""
    pytest.importorskip("ray.train")
    pytest.importorskip("torch")
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as short:  # the names of sockets have room for 107 bytes
        finished([sys.executable, str(JOB.with_name("ray_job.py")), str(data), str(tmp_path / "out"), short])
    check_once(answers(tmp_path / "out", 2))


def test_a_rank_that_is_killed_leaves_nothing(data: Path) -> None:
    """Of three, the others go on; its workers end, and with them the memory, which has no name."""
    command = [sys.executable, str(JOB), "stalled", "-", str(data)]
    started = [
        subprocess.Popen(command, env=environment(RANK=str(rank), WORLD_SIZE="3"), stdout=subprocess.PIPE, text=True) for rank in range(3)
    ]
    try:
        told = [json.loads(process.stdout.readline()) for process in started]
        os.kill(told[1]["pid"], signal.SIGKILL)
        started[1].wait(30)
        deadline = time.monotonic() + 30
        while any(map(alive, told[1]["workers"])) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(alive, told[1]["workers"]))
        assert all(alive(pid) for one in (told[0], told[2]) for pid in (one["pid"], *one["workers"]))
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()
    while any(alive(pid) for one in told for pid in one["workers"]) and time.monotonic() < deadline + 30:
        time.sleep(0.05)
    assert not any(alive(pid) for one in told for pid in one["workers"])


def alive(pid: int) -> bool:
    """Whether a process is there and runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
