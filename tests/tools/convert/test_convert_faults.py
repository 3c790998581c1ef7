"""Conversions that are killed, starved, interrupted or started twice: the final name holds all of it, or there is none."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import answer, arrays, environment, finished, hdf5_file, mounts, names_in, said, started
from time_limits import GUARD_SECONDS, Deadline

import streamload as sl
from streamload.errors import SourceBusyError
from streamload.tools.convert.staging import Staging

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """About 25 MB in chunks that must be decoded."""
    held = arrays(2000, (64, 64, 3))
    return hdf5_file(tmp_path / "a.h5", held, chunks=(20, 64, 64, 3), compression="gzip", compression_opts=1)


@pytest.fixture
def words(source: Path, tmp_path: Path) -> list[object]:
    """A conversion to eight files, one after the other."""
    return ["convert", source, tmp_path / "out", "--shard-size", "3 MB", "--workers", 1, "--to", "hdf5"]


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Until it holds."""
    deadline = Deadline(seconds)
    while not condition():
        assert not deadline.passed, "waited in vain"
        time.sleep(0.002)


def entries(tmp_path: Path) -> list[Path]:
    """Files of an unfinished conversion that are finished."""
    return sorted((tmp_path / ".out.converting" / "entries").glob("data-*.json"))


def parent_of(pid: int) -> int:
    """The parent of a living process; 0 for one that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def children_of(pid: int) -> list[int]:
    """Processes that were started by a process."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent_of(int(name)) == pid]


def alive(pid: int) -> bool:
    """Whether a process runs, and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def holders(folder: Path) -> list[str]:
    """Processes of a killed conversion that are still on their way out, and have files open."""
    found: list[str] = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            held = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()] if int(pid) != os.getpid() else []
        except OSError:
            continue
        found += [pid] if any(name.startswith(str(folder)) for name in held) else []
    return found


def contents(path: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


def test_what_was_killed_goes_on_where_it_was_and_comes_to_the_same_bytes(words: list[object], tmp_path: Path):
    """kill -9 with some files finished: no final name, no process left; the next try takes them as they are."""
    with started(*words) as process:
        wait_for(lambda: len(entries(tmp_path)) >= 2)
        below = children_of(process.pid)
        process.kill()
        process.communicate()
    assert below
    wait_for(lambda: not any(alive(pid) for pid in below), 5.0)
    assert names_in(tmp_path) == {"a.h5", ".out.converting"}
    kept = {path.stem: (tmp_path / ".out.converting" / "out" / path.stem).stat().st_ino for path in entries(tmp_path)}
    code, text = finished(*words)
    assert code == 0, text
    assert names_in(tmp_path) == {"a.h5", "out"}
    assert {name: (tmp_path / "out" / name).stat().st_ino for name in kept} == kept
    resumed = contents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert finished(*words)[0] == 0
    assert contents(tmp_path / "out") == resumed


@pytest.mark.slow
@pytest.mark.parametrize("one_file", [False, True], ids=["folder", "file"])
def test_killed_at_any_moment_it_is_whole_or_not_there(one_file: bool, source: Path, words: list[object], tmp_path: Path):
    """Eight moments from the start to the end; whatever stands under the final name passes `verify`."""
    target = tmp_path / ("out.h5" if one_file else "out")
    command = ["convert", source, target, *([] if one_file else words[3:])]
    began = time.monotonic()
    assert finished(*command)[0] == 0
    took = time.monotonic() - began
    for moment in np.linspace(0.3, 1.1, 8):
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        with started(*command) as process:
            time.sleep(took * moment)
            process.kill()
            process.communicate()
        if target.exists():
            manifest = target.with_name("out.h5.manifest.json") if one_file else target / "manifest.json"
            assert one_file or manifest.exists()
            again, text = finished("verify", target, "--deep", "--against", source)
            assert again == 0, text
    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    code, text = finished(*command)
    assert code == 0, text
    assert [name for name in names_in(tmp_path) if name.startswith(".")] == []


@needs_strace
def test_killed_between_the_name_and_the_manifest_it_finishes_the_next_time(source: Path, tmp_path: Path):
    """One file: the data has its final name, and the next try writes the manifest instead of complaining."""
    words = ["convert", str(source), str(tmp_path / "b.h5")]
    # The folder is made to last right after the rename: the kill comes as that begins.
    trace = ["strace", "-qq", "-o", "/dev/null", "-P", str(tmp_path), "-e", "trace=fsync", "-e", "inject=fsync:signal=SIGKILL"]
    subprocess.run([*trace, sys.executable, "-m", "streamload", *words], env=environment(), capture_output=True, check=False)
    assert names_in(tmp_path) == {"a.h5", "b.h5", ".b.h5.converting"}
    wait_for(lambda: not holders(tmp_path))
    code, text = finished(*words)
    assert code == 0, text
    assert names_in(tmp_path) == {"a.h5", "b.h5", "b.h5.manifest.json"}
    assert finished("verify", tmp_path / "b.h5", "--deep", "--against", source)[0] == 0


@pytest.mark.parametrize("target", ["b.h5", "b.parquet", "b.npy"])
def test_a_limit_on_file_sizes_is_told_and_leaves_nothing(target: str, source: Path, tmp_path: Path):
    """EFBIG in the middle of writing: exit code 3, with what is needed."""
    limit = 5 * 1024**2
    code, text = finished(
        "convert", source, tmp_path / target, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert code == 3, text
    assert f"{target} needs about 24,592,000 bytes in " in text
    assert "a file may not be so large" in text
    assert "Traceback" not in text
    assert names_in(tmp_path) == {"a.h5"}


@pytest.mark.skipif(not mounts(), reason="needs to mount a small file system")
@pytest.mark.parametrize("words", ["full/b.h5", "full/b.parquet", "full/b.h5 --codec gzip --chunk-records 20"])
def test_a_full_disk_is_told_and_leaves_nothing(words: str, source: Path, tmp_path: Path):
    """Known beforehand where sizes are known, met in the middle where compression makes them unknown."""
    (tmp_path / "full").mkdir()
    script = f"mount -t tmpfs -o size=16m tmpfs full && {sys.executable} -m streamload convert a.h5 {words}; echo code $?; ls -A full"
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment()
    )
    assert done.stdout == "code 3\n", done.stdout + done.stderr
    assert "free" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_that_exists_is_replaced_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """And those who have the old one open go on reading it."""
    hdf5_file(tmp_path / "a.h5", arrays(5))
    hdf5_file(tmp_path / "b.h5", arrays(3))
    before = (tmp_path / "b.h5").read_bytes()
    code, text = said(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5")
    assert code == 2
    assert "b.h5 exists. " not in text
    assert "Give another name, or --overwrite." in text
    assert (tmp_path / "b.h5").read_bytes() == before
    with open(tmp_path / "b.h5", "rb") as held:
        assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5", "--overwrite")[0] == 0
        assert held.read() == before
    assert len(sl.open(tmp_path / "b.h5")) == 5
    assert answer(capsys, "verify", tmp_path / "b.h5")[0] == 0


def test_a_folder_is_exchanged_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Nothing of the old one is left in the new."""
    hdf5_file(tmp_path / "a.h5", arrays(30))
    assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "out", "--shard-size", "2 KB")[0] == 0
    assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "out", "--overwrite", "--to", "npy")[0] == 0
    assert names_in(tmp_path / "out") == {"manifest.json", "data-00000-of-00001.npy"}
    assert names_in(tmp_path) == {"a.h5", "out"}


def test_a_link_to_the_source_is_the_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Whatever it is called, even with --overwrite."""
    hdf5_file(tmp_path / "a.h5", arrays(3))
    (tmp_path / "soft.h5").symlink_to("a.h5")
    os.link(tmp_path / "a.h5", tmp_path / "hard.h5")
    before = (tmp_path / "a.h5").read_bytes()
    for name in ("soft.h5", "hard.h5"):
        code, text = said(capsys, "convert", tmp_path / "a.h5", tmp_path / name, "--overwrite")
        assert (code, "is the source itself" in text) == (2, True)
    assert (tmp_path / "a.h5").read_bytes() == before


def test_two_conversions_to_one_target_do_not_meet(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The second is told; the lock goes with the first, and leaves nothing."""
    hdf5_file(tmp_path / "a.h5", arrays(3))
    with Staging(str(tmp_path / "b.h5")):
        code, text = said(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5")
        assert code == 1
        assert "b.h5 is being written by another conversion." in text
        with pytest.raises(SourceBusyError, match="is being written by another"), Staging(str(tmp_path / "b.h5")):
            pass
    assert names_in(tmp_path) == {"a.h5"}
    assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5")[0] == 0


def test_ctrl_c_ends_it_quietly(words: list[object], tmp_path: Path):
    """Exit code 130, one line, no process, no final name; what is finished is kept."""
    with started(*words) as process:
        wait_for(lambda: len(entries(tmp_path)) >= 1)
        below = children_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 130
    assert "streamload: interrupted." in err
    assert "Traceback" not in err
    assert below
    assert not any(alive(pid) for pid in below)
    assert names_in(tmp_path) == {"a.h5", ".out.converting"}


def test_a_process_that_dies_is_named_with_its_source(words: list[object], tmp_path: Path):
    """As a codec that crashes would end it."""
    with started(*words) as process:
        wait_for(lambda: len(entries(tmp_path)) >= 1)
        for pid in children_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 1
    assert "was ended by SIGKILL" in err
    assert "a.h5 for data-0" in err
    assert "Traceback" not in err
    assert finished(*words)[0] == 0


def test_another_request_begins_anew(words: list[object], tmp_path: Path):
    """Finished files of a conversion with other options, or of a source that changed, are not taken."""
    with started(*words) as process:
        wait_for(lambda: len(entries(tmp_path)) >= 1)
        process.kill()
        process.communicate()
    wait_for(lambda: not holders(tmp_path))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["label"][0] = 77
    assert finished(*words)[0] == 0
    assert finished("verify", tmp_path / "out", "--against", tmp_path / "a.h5")[0] == 0
    assert sl.open(tmp_path / "out" / "data-*.h5")[0]["label"] == 77


def test_a_source_that_changes_meanwhile_stops_it(source: Path, words: list[object], tmp_path: Path):
    """Nothing mixed of two versions gets a name."""
    with started(*words) as process:
        wait_for(lambda: len(entries(tmp_path)) >= 1)
        os.utime(source)
        _, err = process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 1
    # Whoever looks first says so: what writes the last file, or what compares the source when all are there.
    assert "was changed while it was converted" in err or "after it was opened" in err
    assert not (tmp_path / "out").exists()


@needs_strace
def test_data_reaches_the_disk_before_its_name(tmp_path: Path):
    """The order of system calls: fsync of the file, rename, fsync of the folder."""
    hdf5_file(tmp_path / "a.h5", arrays(3))
    log = tmp_path / "log"
    trace = ["strace", "-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", str(log)]
    command = [*trace, sys.executable, "-m", "streamload", "convert", str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]
    assert subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0
    calls = log.read_text().splitlines()
    places = list(order_of(calls, tmp_path))
    assert places == sorted(places)


def order_of(calls: list[str], folder: Path) -> Iterator[int]:
    """Where, among the calls, the data was made to last, got its name, and the name was made to last."""
    yield next(at for at, call in enumerate(calls) if "fsync(" in call and "out/.b.h5.tmp-" in call)
    moved = re.compile(rf'rename.*/out>?[,/] ?"?b\.h5", .*{re.escape(str(folder))}>?[,/] ?"?b\.h5".* = 0$')
    named = next(at for at, call in enumerate(calls) if moved.search(call.rstrip()))
    yield named
    yield next(at for at, call in enumerate(calls) if at > named and "fsync(" in call and f"<{folder}>" in call)


def test_the_working_folder_is_private(tmp_path: Path):
    """Nobody else looks at half a dataset."""
    with Staging(str(tmp_path / "b.h5")) as staging:
        assert os.stat(staging.folder).st_mode & 0o777 == 0o700
    assert names_in(tmp_path) == set()
