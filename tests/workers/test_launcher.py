"""The launcher as the user's process sees it: one for all loaders, and never in the way of a collection of rubbish."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
from time_limits import GUARD_SECONDS


def test_a_loader_may_be_collected_while_another_talks_to_the_launcher(tmp_path: Path) -> None:
    """A dropped loader in a cycle is ended by the garbage collector, which can run anywhere: also where the launcher is locked."""
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["image"] = np.zeros((100, 4), np.uint8)
    program = textwrap.dedent(
        f"""
        import faulthandler, gc
        faulthandler.dump_traceback_later(60, exit=True)
        import streamload as sl
        from streamload.workers.launcher import Launcher
        loader = sl.Loader(sl.open({str(tmp_path / "train.h5")!r}), batch_size=10, num_workers=1)
        next(iter(loader))
        cycle = [loader]
        cycle.append(cycle)
        del loader, cycle
        with Launcher.current()._lock:
            gc.collect()
        Launcher.shutdown()
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD_SECONDS, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_launcher_that_was_killed_is_replaced_and_its_socket_closed(tmp_path: Path) -> None:
    """Whoever still knows the old one hears how it ended; nothing is left to the collection of rubbish."""
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["image"] = np.zeros((100, 4), np.uint8)
    program = textwrap.dedent(
        f"""
        import gc, os, signal, warnings
        warnings.simplefilter("error")
        import streamload as sl
        from streamload.workers.launcher import Launcher
        def epoch():
            with sl.Loader(sl.open({str(tmp_path / "train.h5")!r}), batch_size=10, num_workers=1) as loader:
                assert sum(len(batch.records) for batch in loader) == 100
        epoch()
        killed = Launcher.current()
        cycle = [killed]
        cycle.append(cycle)
        os.kill(killed.pid, signal.SIGKILL)
        while killed.alive:
            pass
        epoch()
        assert killed.control.fileno() == -1 and Launcher.current() is not killed
        assert "with status -9" in str(killed.start_error())
        del cycle, killed
        gc.collect()
        epoch()
        Launcher.shutdown()
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD_SECONDS, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_loader_that_fails_does_not_end_the_launcher_that_another_is_about_to_use(tmp_path: Path) -> None:
    """One thread has just got it and forks no worker yet; another gives up, and asks for it to be ended if it is unused."""
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["image"] = np.zeros((100, 4), np.uint8)
    program = textwrap.dedent(
        f"""
        import threading
        import streamload as sl
        from streamload.workers import pool
        from streamload.workers.launcher import Launcher
        write_job = pool.write_job
        def write_after_another_failed(job):
            thread = threading.Thread(target=Launcher.end_unused)
            thread.start()
            thread.join()
            return write_job(job)
        pool.write_job = write_after_another_failed
        with sl.Loader(sl.open({str(tmp_path / "train.h5")!r}), batch_size=10, num_workers=1) as loader:
            assert sum(len(batch.records) for batch in loader) == 100
        Launcher.shutdown()
        unused = Launcher.current()
        Launcher.end_unused()
        assert not unused.alive
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD_SECONDS, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
