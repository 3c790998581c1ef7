"""A process in which loaders are put under faults: one that answers many requests, and ones that live for one scenario."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from time_limits import GUARD_SECONDS, Deadline

HERE = Path(__file__).parent
DRIVER = HERE / "driver.py"
ROOT = HERE.parent.parent


def environment(**more: str) -> dict[str, str]:
    """What a driver's process is told."""
    told = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE.parent), os.environ.get("PYTHONPATH", "")]), **more}
    told.pop("PYTHONWARNINGS", None)
    return told


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small files lie that scenarios read."""
    made = tmp_path_factory.mktemp("faults")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, sys.argv[1]); import driver, pathlib; driver.write_files(pathlib.Path('.'))",
            HERE,
        ],
        cwd=made,
        check=True,
        env=environment(),
    )
    return made


class Server:
    """A process that runs one scenario after another."""

    def __init__(self, folder: Path, private: Path, **more: str) -> None:
        self.private = private
        self.errors = private / "stderr"
        kill = private / "kill"
        kill.write_text("\n")
        ours, theirs = os.pipe()
        temporary = private / "tmp"
        temporary.mkdir()
        with open(self.errors, "wb") as errors, open(private / "stdout", "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", DRIVER, "serve", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                cwd=folder,
                pass_fds=(theirs,),
                start_new_session=True,
                env=environment(STREAMLOAD_TEST_KILL=f"@{kill}", TMPDIR=str(temporary), **more),
            )
        os.close(theirs)
        self._replies = os.fdopen(ours, "rb")
        self.ready = self._replies.readline()
        if not self.ready:
            pytest.fail(f"the driver did not start:\n{self.errors.read_text()}")

    def ask(self, scenario: str, *, limit: float = GUARD_SECONDS / 2, noisy: bool = False, **arguments: Any) -> dict[str, Any]:
        """The outcome of a scenario, which must leave nothing behind and no word on stderr."""
        at = self.errors.stat().st_size
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"scenario": scenario, "arguments": arguments, "limit": limit}).encode() + b"\n")
        self.process.stdin.flush()
        reply = self._replies.readline()
        said = self.errors.read_bytes()[at:].decode(errors="replace")
        if not reply:
            pytest.fail(f"the driver died or hung in {scenario}({arguments}):\n{said}", pytrace=False)
        outcome = json.loads(reply)
        if "failed" in outcome:
            pytest.fail(f"{scenario}({arguments}) failed:\n{outcome['failed']}", pytrace=False)
        assert outcome["left"] == {}, f"{scenario}({arguments}) left something behind"
        assert noisy or said == "", f"{scenario}({arguments}) was not silent:\n{said}"
        outcome["said"] = said
        return outcome

    def stop(self) -> None:
        """End it, and see that nothing of its session lives on."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(GUARD_SECONDS / 10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._replies.close()


@pytest.fixture(scope="session")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The process that serves every test of a module."""
    made = Server(folder, tmp_path_factory.mktemp("server"))
    yield made
    made.stop()


class Child:
    """A process that lives for one scenario, with what it said and what came of it."""

    def __init__(self, process: subprocess.Popen[bytes], private: Path) -> None:
        self.process = process
        self.private = private

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self.process.pid

    @property
    def said(self) -> str:
        """What it and its workers wrote to stderr."""
        return (self.private / "stderr").read_text(errors="replace")

    def note(self, name: str, seconds: float = 30.0) -> Any:
        """What the scenario wrote under that name, as soon as it is there."""
        path = self.private / name
        deadline = Deadline(seconds)
        while not path.exists():
            if deadline.passed or self.process.poll() is not None:
                time.sleep(0.05)
                if not path.exists():
                    pytest.fail(f"no {name!r} from the child (status {self.process.poll()}):\n{self.said}", pytrace=False)
            time.sleep(0.005)
        return json.loads(path.read_text())

    def wait(self, seconds: float = GUARD_SECONDS) -> int:
        """Its exit status."""
        return self.process.wait(seconds)

    def outcome(self, seconds: float = GUARD_SECONDS) -> dict[str, Any]:
        """What came of the scenario, once the process has ended well."""
        status = self.wait(seconds)
        assert (status, self.said) == (0, ""), f"status {status}; it said:\n{self.said}"
        outcome = json.loads((self.private / "outcome").read_text())
        if "failed" in outcome:
            pytest.fail(outcome["failed"], pytrace=False)
        return outcome


@pytest.fixture
def child(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Starts processes that each run one scenario; kills what is left of them at the end."""
    made: list[Child] = []

    def start(
        scenario: str, *, before: list[str] | None = None, more: dict[str, str] | None = None, preparing: Any = None, **arguments: Any
    ) -> Child:
        private = tmp_path / f"child{len(made)}"
        (private / "tmp").mkdir(parents=True)
        command = [*(before or []), sys.executable, "-P", str(DRIVER), "once", scenario, json.dumps(arguments), str(private / "outcome")]
        with open(private / "stderr", "wb") as errors, open(private / "stdout", "wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=folder,
                start_new_session=True,
                preexec_fn=preparing,
                env=environment(NOTES=str(private), TMPDIR=str(private / "tmp"), **(more or {})),
            )
        made.append(Child(process, private))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
            one.process.wait()


def gone(pids: list[int], seconds: float) -> float:
    """Wait until none of these processes runs; how long that took. Fails after `seconds`."""
    began, deadline = time.monotonic(), Deadline(seconds)
    while True:
        alive = [pid for pid in pids if _state(pid) not in "ZX"]
        taken = time.monotonic() - began
        if not alive:
            return taken
        if deadline.passed:
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"processes {alive} were alive after {seconds} s", pytrace=False)
        time.sleep(0.002)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
