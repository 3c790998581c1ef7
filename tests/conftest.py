"""What holds for every test: nothing is left behind, nothing is blurted out, and Hypothesis has no clock."""

from __future__ import annotations

import gc
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from kept_processes import Kept, share_processes
from time_limits import Deadline

from streamload.storage import disk_cache

settings.register_profile(
    "house",
    deadline=None,  # two busy cores make any deadline a lottery
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],  # leakcheck is once a test, and means to be
)
settings.load_profile("house")

GRACE_SECONDS = 3.0
"""How long dying processes and closing descriptors may take after a test."""
BLURTED = ("resource_tracker", "Traceback (most recent call last)", "Exception ignored")
"""What stderr must not hold after a test that passed."""
LIBFFI = "libffi"
"""What the one nameless mapping is called that is not ours: a page of trampolines."""
MARK = "STREAMLOAD_TEST_RUN"
"""An environment variable that every process started by this run inherits: orphans are found by it at the end."""

FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a temporary folder of its own, so that what is left in it is ours, and a mark for its processes."""
    os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and commands would fold their lines
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        sys.dont_write_bytecode = False  # else this process and the thousands that tests start would each compile all that they import
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # tmp_path stays where it always is
    # A run in the background may have been told to ignore these, and every program that tests start would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # A plan that took long is kept, and known the next time: a slow machine would run other code than a quick one. Tests of that set it.
    disk_cache.WORTH_SECONDS = math.inf
    config.pluginmanager.register(Last)
    private = tempfile.mkdtemp(prefix="streamload-tests-")
    os.environ["TMPDIR"] = tempfile.tempdir = private
    os.environ[MARK] = str(os.getpid())
    config.add_cleanup(lambda: shutil.rmtree(private, ignore_errors=True))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the kernels before the first test: that they are being compiled is said on stderr, where tests want nothing."""
    from streamload.kernels import compile_kernels

    compile_kernels()
    share_processes()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note failures for leakcheck, and fail a test that passed but let a traceback of some process reach stderr."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    elif report.when == "teardown" and not item.stash.get(FAILED, False) and item.get_closest_marker("noisy") is None:
        words = [word for word in BLURTED if word in report.capstderr]
        if words:
            report.outcome = "failed"
            report.longrepr = f"stderr holds {', '.join(words)}:\n{report.capstderr}"
    return report


@dataclass(frozen=True, kw_only=True, slots=True)
class Holdings:
    """What this process holds at one moment that could outlive a test."""

    children: Counter[str]
    """Descendants, zombies included, as "pid command"; the launcher of workers is left out."""
    launchers: int
    """1 where the launcher of workers is up, which all loaders of a process share."""
    descriptors: Counter[str]
    """Open descriptors by what they lead to; sockets, pipes and the like by kind."""
    mappings: Counter[str]
    """Mapped memory without a name: memfd and deleted files."""
    threads: Counter[str]
    """Python threads by name and identity."""
    files: Counter[str]
    """Entries of the temporary folder, and those of /dev/shm that are ours."""

    def beyond(self, before: Holdings) -> dict[str, Counter[str]]:
        """What is held here and was not held before, by kind."""
        kinds = ("children", "descriptors", "mappings", "threads", "files")
        new = {kind: getattr(self, kind) - getattr(before, kind) for kind in kinds}
        return {kind: found for kind, found in new.items() if found}


def command_of(pid: str) -> str:
    """The command line of a process, "(zombie)" for one that nobody has reaped, or "" once it is gone."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return "(zombie)"
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip() or "(no command line)"
    except OSError:
        return ""


def children_of(pid: str) -> list[str]:
    """The children of all threads of a process."""
    found: list[str] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += file.read().split()
    except OSError:
        pass
    return found


def descendants() -> tuple[Counter[str], int]:
    """All processes below this one, and whether the launcher of workers, which is not among them, is up."""
    found: Counter[str] = Counter()
    launchers = 0
    launcher, inspector = launcher_pid(), inspector_pid()
    converter = str(Kept.child.pid) if Kept.child is not None else None
    waiting = children_of("self")
    while waiting:
        pid = waiting.pop()
        if pid == converter:
            continue  # What it has started lives as long as it.
        waiting += children_of(pid)
        if pid == launcher:
            launchers = 1
        elif pid == inspector:
            continue
        elif command := command_of(pid):
            found[f"{pid} {command}"] += 1
    return found, launchers


def descriptors() -> Counter[str]:
    """Open descriptors by what they lead to."""
    found: Counter[str] = Counter()
    for number in {*os.listdir("/proc/self/fd")}.difference(map(str, Kept.descriptors())):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the descriptor of this very listing
        found[re.sub(r":\[\d+\]$", "", target)] += 1
    if inspector_pid() is not None:
        # How this process talks to its inspector, which like the launcher lives as long as it, and what that says on stderr.
        found["socket"] -= 1
        found["/memfd:streamload (deleted)"] -= 1
    return found


def mapped(pid: str) -> str:
    """What a process has mapped, a line each; writing it down takes the kernel a millisecond."""
    with open(f"/proc/{pid}/maps", "rb", buffering=0) as file:  # whole pages at a time
        return file.readall().decode(errors="replace")


def mappings(maps: str) -> Counter[str]:
    """Mappings of memory without a name. libffi's own page of trampolines is not ours."""
    names = re.findall(r"(?:/memfd:| )(\S+ \(deleted\))$", maps, re.MULTILINE) if " (deleted)" in maps else []
    return Counter(name for name in names if LIBFFI not in name)


def holdings() -> Holdings:
    """What this process holds now."""
    threads = Counter(f"{thread.name} ({thread.ident})" for thread in threading.enumerate())
    files = Counter(os.path.join(tempfile.gettempdir(), name) for name in os.listdir(tempfile.gettempdir()))
    if not sys.platform.startswith("linux"):
        return Holdings(children=Counter(), launchers=0, descriptors=Counter(), mappings=Counter(), threads=threads, files=files)
    children, launchers = descendants()
    maps = mapped("self")
    files.update(shared_files({"self": maps, **dict.fromkeys(child.partition(" ")[0] for child in children)}))
    return Holdings(
        children=children, launchers=launchers, descriptors=descriptors(), mappings=mappings(maps), threads=threads, files=files
    )


def shared_files(processes: dict[str, str | None]) -> set[str]:
    """Entries of /dev/shm that bear the library's name, or that one of these processes has open or mapped (what, if that is known).

    Whatever else lies there belongs to other programs of the machine, which come and go. What multiprocessing would leave there,
    its resource tracker says on stderr.
    """
    found = {f"/dev/shm/{name}" for name in os.listdir("/dev/shm") if "streamload" in name}
    for pid, maps in processes.items():
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
            maps = mapped(pid) if maps is None else maps
        except OSError:
            continue  # it has just ended
        targets = set(re.findall(r"/dev/shm/(.*)$", maps, re.MULTILINE)) if "/dev/shm/" in maps else set()
        for number in descriptors:
            with suppress(OSError):
                targets.add(os.readlink(f"/proc/{pid}/fd/{number}").partition("/dev/shm/")[2])
        found |= {f"/dev/shm/{name}" for name in targets if name and not name.endswith(" (deleted)")}
    return found


def launcher_pid() -> str | None:
    """The process that forks this process's workers, if there is one; nothing is imported to find out."""
    module = sys.modules.get("streamload.workers.launcher")
    current = None if module is None else module.Launcher._current
    return str(current.pid) if current is not None and current.alive else None


def inspector_pid() -> str | None:
    """The process that looks at HDF5 files for this one, if there is one."""
    module = sys.modules.get("streamload.formats.hdf5.inspector")
    current = None if module is None else module.Inspector._current
    return None if current is None else str(current.pid)


def stop_launcher() -> None:
    """End the launcher of workers, if there is one."""
    module = sys.modules.get("streamload.workers.launcher")
    if module is not None:
        module.Launcher.shutdown()


def stop_inspector() -> None:
    """End the process that looks at HDF5 files, if there is one."""
    module = sys.modules.get("streamload.formats.hdf5.inspector")
    if module is not None:
        module.Inspector.shutdown()


class Allowance:
    """What one idle launcher costs its parent in descriptors and mappings, learned once by stopping it."""

    descriptors: Counter[str] | None = None
    mappings: Counter[str] | None = None

    @classmethod
    def learned(cls, now: Holdings) -> tuple[Counter[str], Counter[str]]:
        """Descriptors and mappings that a launcher's presence explains."""
        if cls.descriptors is None or cls.mappings is None:
            stop_launcher()
            without = holdings()
            cls.descriptors, cls.mappings = now.descriptors - without.descriptors, now.mappings - without.mappings
        return cls.descriptors, cls.mappings


def leftovers(before: Holdings) -> dict[str, Counter[str]]:
    """What is held now beyond what was held before, but for a launcher that was started meanwhile."""
    now = Last.holdings = holdings()
    found = now.beyond(before)
    if found and "children" not in found and now.launchers > before.launchers:
        spared_descriptors, spared_mappings = Allowance.learned(now)
        for kind, spared in (("descriptors", spared_descriptors), ("mappings", spared_mappings)):
            found[kind] = found.get(kind, Counter()) - spared
    return {kind: what for kind, what in found.items() if what}


class Last:
    """What was held at the end of the last test: what is held at the start of the next one, if nothing was set up in between.

    It is a plugin of its own: pytest tells a conftest.py nothing of what is set up for a whole session.
    """

    holdings: Holdings | None = None

    @staticmethod
    def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
        """What lives longer than a test may hold something from here on."""
        if fixturedef.scope != "function":
            Last.holdings = None

    @staticmethod
    def pytest_fixture_post_finalizer(fixturedef: pytest.FixtureDef[object]) -> None:
        """What has lived longer than a test holds nothing any more."""
        if fixturedef.scope != "function":
            Last.holdings = None


@pytest.fixture(autouse=True)
def leakcheck(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves processes, descriptors, nameless mappings, threads or temporary files behind."""
    before = Last.holdings or holdings()
    Last.holdings = None
    yield
    if request.node.stash.get(FAILED, False) or not leftovers(before):
        return  # the traceback of a failed test keeps what it looked at
    deadline = Deadline(GRACE_SECONDS)
    gc.collect()
    while found := leftovers(before):
        if deadline.passed:
            pytest.fail("left behind:\n" + "\n".join(f"  {kind}: {name}" for kind, names in found.items() for name in names), pytrace=False)
        time.sleep(0.01)


@pytest.fixture(autouse=True, scope="session")
def no_orphans() -> Iterator[None]:
    """No process that this run started outlives it, whoever its parent is by then."""
    yield
    stop_launcher()
    stop_inspector()
    Kept.end()
    deadline = Deadline(GRACE_SECONDS)
    while found := marked():
        if deadline.passed:
            pytest.fail("processes of this run are still alive:\n  " + "\n  ".join(found), pytrace=False)
        time.sleep(0.05)


def marked() -> list[str]:
    """Living processes that carry this run's mark, but for this one and those above it."""
    if not sys.platform.startswith("linux"):
        return []
    mark = f"{MARK}={os.getpid()}".encode()
    found: list[str] = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in environment and int(pid) != os.getpid():
            found.append(f"{pid} {command_of(pid)}")
    return found
