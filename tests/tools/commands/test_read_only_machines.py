"""A machine on which nothing can be written: what is in memory works, and what is missing is named with its cure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import arrays, environment, hdf5_file, mounts
from time_limits import GUARD_SECONDS

LOCKED = "for one in $(cut -d' ' -f2 /proc/self/mounts); do mount -o remount,ro,bind $one 2>/dev/null; done; touch /tmp/x 2>/dev/null || "
PASS = """
import sys
import streamload as sl

with sl.open(sys.argv[1]) as data, sl.Loader(data, batch_size=16, num_workers=int(sys.argv[2]), memory="300 MB") as loader:
    print("records", sum(len(batch.records) for batch in loader))
"""


def run_locked(*words: str) -> subprocess.CompletedProcess[str]:
    """A command in a namespace in which every file system is read-only."""
    script = LOCKED + 'exec "$@"'
    command = ["unshare", "-rm", "bash", "-c", script, "bash", *words]
    env = environment(HOME="/nowhere")
    return subprocess.run(command, capture_output=True, text=True, timeout=GUARD_SECONDS, env=env, check=False)


@pytest.mark.skipif(not mounts(), reason="this user may not mount")
class TestReadOnly:
    """Nothing can be written, not even temporary files."""

    @pytest.mark.noisy
    @pytest.mark.parametrize("workers", ["0", "1"])
    def test_an_epoch_is_delivered(self, workers: str, tmp_path: Path):
        """Without compiled kernels, which is said, and where they could lie."""
        path = hdf5_file(tmp_path / "a.h5", arrays(50), chunks=(8, 8, 8, 3), compression="gzip")
        done = run_locked(sys.executable, "-c", PASS, str(path), workers)
        assert (done.returncode, done.stdout) == (0, "records 50\n"), done.stderr
        assert "Traceback" not in done.stderr
        assert "STREAMLOAD_CACHE_DIR" in done.stderr

    def test_doctor_names_it(self):
        """With the line that cures it."""
        done = run_locked(sys.executable, "-m", "streamload", "doctor", "--no-measure")
        assert done.returncode == 1, done.stderr
        assert "! no folder of your own can be written to for what is kept from run to run: kernels are compiled every time" in done.stdout
        assert "> export STREAMLOAD_CACHE_DIR=/dev/shm/streamload, or another folder that you may write to" in done.stdout
