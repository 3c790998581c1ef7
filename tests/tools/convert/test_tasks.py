"""Work as a list of tasks: done by any executor, by a Dask cluster, or by a job array; killed anywhere, it comes to the same bytes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Any

import pytest
from command_line import answer, arrays, environment, finished, hdf5_file, names_in, said
from time_limits import GUARD_SECONDS, Deadline

import streamload as sl
from streamload.errors import ConfigError, ConversionError, SourceBusyError
from streamload.tools.convert.executors import FuturesExecutor
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.staging import Staging
from streamload.tools.convert.tasks import perform

WORDS = ("--to", "hdf5", "--shard-size", "4 KB", "--split", "0.7,0.3", "--stratify", "label", "--shuffle")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Records in blocks: a shuffle must move them through files."""
    return hdf5_file(tmp_path / "a.h5", arrays(120), chunks=(16, 8, 8, 3), compression="gzip")


@pytest.fixture
def whole(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, bytes]:
    """What a conversion without interruption makes."""
    assert answer(capsys, "convert", source, tmp_path / "whole", *WORDS)[0] == 0
    return contents(tmp_path / "whole")


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_job_array_comes_to_the_same_bytes(source: Path, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What must come first, three shares in any order, and the merge; each says what it did."""
    target = tmp_path / "out"
    code, text = said(capsys, "convert", source, target, *WORDS, "--task", "2/3")
    assert code == 1
    assert "must be found out before its files can be" in text
    assert "Run --task 0/3 once, before all others." in text
    assert answer(capsys, "convert", source, target, *WORDS, "--task", "0/3")[0] == 0
    for task in ("3/3", "1/3"):
        assert answer(capsys, "convert", source, target, *WORDS, "--task", task)[0] == 0
    code, text = said(capsys, "convert", source, target, *WORDS, "--merge")
    assert code == 1
    assert f"of the {len(whole) - 1} files of" in text
    assert "are not written yet: 2" in text
    assert not target.exists()
    code, document = answer(capsys, "convert", source, target, *WORDS, "--task", "2/3")
    assert (code, document["written"]) == (0, len(document["files"]))
    assert answer(capsys, "convert", source, target, *WORDS, "--task", "2/3")[1]["written"] == 0
    assert answer(capsys, "convert", source, target, *WORDS, "--merge")[0] == 0
    assert contents(target) == whole
    assert names_in(tmp_path) == {"a.h5", "whole", "out"}


def test_tasks_of_one_array_run_at_once(tmp_path: Path):
    """Where nothing must come first, all may begin together."""
    source = hdf5_file(tmp_path / "a.h5", arrays(120))
    words = ["convert", source, tmp_path / "out", "--to", "npy", "--shard-size", "4 KB", "--shuffle"]
    command = [sys.executable, "-m", "streamload", *map(str, words), "--task"]
    running = [
        subprocess.Popen([*command, f"{task}/3"], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for task in (1, 2, 3)
    ]
    for process in running:
        _, complaints = process.communicate(timeout=GUARD_SECONDS)
        assert process.returncode == 0, complaints.decode()
    assert finished(*words, "--merge")[0] == 0
    assert finished("verify", tmp_path / "out", "--against", source, "--any-order")[0] == 0


def test_the_lock_is_shared_by_tasks_of_one_request_only(tmp_path: Path):
    """Another request, and whoever wants to be alone, is told at once or after a while."""
    target = str(tmp_path / "out")
    with Staging(target, shared=True) as first:
        first.begin({"a": 1})
        first.keep("x", 1)
        with Staging(target, shared=True) as second:
            assert second.begin({"a": 1})
            assert second.kept("x") == 1
            with pytest.raises(SourceBusyError, match="is being written by another conversion"):
                second.begin({"a": 2})
        with pytest.raises(SourceBusyError), Staging(target):
            pass


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--task", "4/3"], "--task 4/3 cannot be read"),
        (["--task", "1"], "--task 1 cannot be read"),
        (["--task", "1/2", "--merge"], "--task does a share of the work by itself"),
        (["--engine", "spark://x"], "--engine spark://x is not known"),
        (["--engine", "dask://"], "--engine dask:// is not known"),
        (["--where", "label ="], "--where 'label =' cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused(words: list[str], text: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Exit code 2, and nothing was touched."""
    code, told = said(capsys, "convert", source, tmp_path / "out", *words)
    assert (code, text in told) == (2, True), told
    assert names_in(tmp_path) == {"a.h5"}


def tasks_of(source: Path, folder: Path, count: int = 3) -> list[dict[str, Any]]:
    """Tasks that write a file each."""
    folder.mkdir()
    order = {"ends": [120], "shuffle": "whole", "seed": 1, "file": None}
    style = {"format": "npy", "codec": "none", "level": None, "chunk_records": None}
    base = {"streamload": sl.__version__, "request": OpenRequest(path=str(source)).plain(), "kind": "write", "order": order, "style": style}
    base |= {"total": 120, "threads": 1, "scattered": None, "buckets": 1, "part": "", "part_start": 0, "nbytes": 1}
    starts = range(0, 120, 120 // count)
    return [base | {"name": f"{at}.npy", "path": str(folder / f"{at}.npy"), "start": at, "stop": at + 120 // count} for at in starts]


def processes() -> Executor:
    """Two processes that inherit nothing."""
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


@pytest.mark.parametrize("make", [lambda: ThreadPoolExecutor(2), processes], ids=["threads", "processes"])
def test_any_executor_does_tasks(make: Any, source: Path, tmp_path: Path, request: pytest.FixtureRequest):
    """Its calls take and give plain values; the answers say what the files hold."""
    request.addfinalizer(lambda: resource_tracker._resource_tracker._stop())  # what a pool of processes leaves behind
    tasks, found, seen = tasks_of(source, tmp_path / "out"), {}, []
    with make() as executor:
        FuturesExecutor(executor, 2).run(tasks, lambda task, reply: found.__setitem__(task["name"], reply["entry"]["records"]), seen.append)
    assert found == {"0.npy": 40, "40.npy": 40, "80.npy": 40}
    assert sum(seen) == 120
    assert names_in(tmp_path / "out") == set(found)


def test_an_executor_that_fails_is_told_apart_from_a_task_that_does(source: Path, tmp_path: Path):
    """Our errors as they are; all others with the names of the file and of the source; a disk of its own is found out."""
    tasks = tasks_of(source, tmp_path / "out")
    with ThreadPoolExecutor(1) as executor, pytest.raises(ConversionError, match=r"This worker has streamload .*, and the conversion"):
        FuturesExecutor(executor, 1).run([tasks[0] | {"streamload": "0"}], lambda *_: None, lambda _: None)

    class Losing(ThreadPoolExecutor):
        def submit(self, call: Any, /, *given: Any, **named: Any) -> Any:
            return super().submit(lambda: [][0])

    with Losing(1) as executor, pytest.raises(ConversionError, match=r"The worker that reads .*a.h5 for 0.npy was lost: IndexError"):
        FuturesExecutor(executor, 1).run(tasks, lambda *_: None, lambda _: None)

    class Elsewhere(ThreadPoolExecutor):
        def submit(self, call: Any, /, task: Any, **named: Any) -> Any:
            return super().submit(lambda: (call(task), Path(task["path"]).unlink())[0])

    with Elsewhere(1) as executor, pytest.raises(ConversionError, match=r"is not to be seen from here. Convert to a folder that all"):
        FuturesExecutor(executor, 1).run(tasks, lambda *_: None, lambda _: None)


def test_two_workers_at_one_task_do_not_meet(source: Path, tmp_path: Path):
    """As where a cluster thinks one of them lost: the file is whole at every moment, and the same."""
    (task,) = tasks_of(source, tmp_path / "out", count=1)
    with ThreadPoolExecutor(4) as executor:
        replies = list(executor.map(perform, [task] * 8))
    assert all(reply == replies[0] for reply in replies)
    assert "answer" in replies[0]
    assert names_in(tmp_path / "out") == {"0.npy"}


CLUSTER = """
import sys, time
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1") as cluster:
        print(cluster.scheduler_address, len({worker.pid for worker in cluster.workers.values()}), flush=True)
        sys.stdin.read()
"""


def test_a_dask_cluster_of_two_processes_does_them(source: Path, whole: dict[str, bytes], tmp_path: Path):
    """A real one; the same bytes as here, and an address where there is none is named."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=environment(DASK_TEMPORARY_DIRECTORY=str(tmp_path / "scratch")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        address, workers = cluster.stdout.readline().split()
        assert workers == "2"
        code, text = finished("convert", source, tmp_path / "out", *WORDS, "--engine", address.replace("tcp://", "dask://"))
        assert code == 0, text
        cluster.communicate("", timeout=GUARD_SECONDS)
    assert contents(tmp_path / "out") == whole
    code, text = finished("convert", source, tmp_path / "b.h5", "--engine", "dask://127.0.0.1:1")
    assert code == 2
    assert "There is no scheduler at dask://127.0.0.1:1" in text
    assert "Traceback" not in text


POINTS = [
    *(f"convert.batch:SIGKILL:{count}" for count in (1, 2)),
    "convert.closed:SIGKILL",
    "convert.written:SIGKILL:2",
    *(f"convert.noted:SIGKILL:{count}" for count in (1, 2, 3, 5)),
    "convert.named:SIGKILL",
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_it_goes_on_and_comes_to_the_same_bytes(point: str, source: Path, whole: dict[str, bytes], tmp_path: Path):
    """kill -9 of whoever reaches the point: nothing under the final name, or all; what is finished is not done again."""
    words = ["convert", source, tmp_path / "out", *WORDS, "--workers", 1]
    code, text = finished(*words, env=environment(STREAMLOAD_TEST_KILL=point))
    assert code != 0
    assert "Traceback" not in text
    named = (tmp_path / "out").exists()
    assert named == (point == "convert.named:SIGKILL")
    if named:
        assert contents(tmp_path / "out") == whole
    deadline = Deadline(20.0)
    while (code := finished(*words)[0]) != 0:
        assert not deadline.passed  # those who were killed may still hold the lock
    assert contents(tmp_path / "out") == whole
    assert names_in(tmp_path) == {"a.h5", "whole", "out"}


def test_killed_before_a_manifest_has_its_name_nothing_is_left_beside_the_file(source: Path, tmp_path: Path):
    """It lies in the working folder till then, which the next try uses up."""
    words = ["convert", source, tmp_path / "b.h5", "--workers", 1]
    before = names_in(tmp_path)
    assert finished(*words, env=environment(STREAMLOAD_TEST_KILL="convert.beside:SIGKILL"))[0] != 0
    assert names_in(tmp_path) == before | {"b.h5", ".b.h5.converting"}
    deadline = Deadline(20.0)
    while finished(*words)[0] != 0:
        assert not deadline.passed  # those who were killed may still hold the lock
    assert names_in(tmp_path) == before | {"b.h5", "b.h5.manifest.json"}
    assert finished("verify", tmp_path / "b.h5", "--against", source)[0] == 0


@pytest.mark.parametrize(
    ("point", "said", "code"),
    [
        ("convert.named", "b.h5 is written; the same command brings it to an end.", 0),
        ("convert.deleting", "b.h5 is whole; nothing is left to do.", 2),
    ],
)
def test_interrupted_where_the_file_has_its_name_it_says_so(point: str, said: str, code: int, source: Path, tmp_path: Path):
    """And not that nothing was written; the next try leaves nothing beside the file, nor does one after kill -9 at that place."""
    words = ["convert", source, tmp_path / "b.h5", "--workers", 1]
    for signal in ("SIGINT", "SIGKILL"):
        before = names_in(tmp_path)
        ended, text = finished(*words, env=environment(STREAMLOAD_TEST_KILL=f"{point}:{signal}"))
        assert ended == (130 if signal == "SIGINT" else -9)
        assert (f"interrupted. {tmp_path / said}" in text) == (signal == "SIGINT")
        deadline = Deadline(20.0)
        while (again := finished(*words))[0] != code:
            assert not deadline.passed  # those who were killed may still hold the lock
        assert code == 0 or "b.h5 exists" in again[1]
        assert names_in(tmp_path) == before | {"b.h5", "b.h5.manifest.json"}
        assert finished("verify", tmp_path / "b.h5", "--against", source)[0] == 0
        for name in ("b.h5", "b.h5.manifest.json"):
            (tmp_path / name).unlink()


@pytest.mark.parametrize("there", [False, True], ids=["gone", "replaced"])
def test_what_was_moved_and_taken_away_is_made_anew(there: bool, source: Path, whole: dict[str, bytes], tmp_path: Path):
    """Killed right after the exchange with an older one: its files, which now lie in the working folder, are not taken for new ones."""
    words = ["convert", source, tmp_path / "out", *WORDS, "--overwrite"]
    assert finished(*words, "--seed", 1)[0] == 0
    assert finished(*words, env=environment(STREAMLOAD_TEST_KILL="convert.named:SIGKILL"))[0] != 0
    shutil.rmtree(tmp_path / "out")
    if there:
        (tmp_path / "out").mkdir()
    code, text = finished(*words)
    assert code == 0, text
    assert contents(tmp_path / "out") == whole


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: Path):
    """With the extra that has it."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, text = said(capsys, "convert", source, source.parent / "b.h5", "--engine", "dask://127.0.0.1:1")
    assert code == 2
    assert "pip install 'streamload[dask]'" in text
    assert issubclass(ConfigError, ValueError)
