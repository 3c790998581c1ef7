"""What the pytest benchmarks share: `python -m pytest bench` runs them, and sets each beside the limit that it names."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.data import Made, compressed, raw
from streamload.kernels import compile_kernels
from streamload.sizes import parse_nbytes
from streamload.tools.benchmark.environment import machine

LIMIT_TIMES = 5
LINES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much data the benchmarks make."""
    parser.addoption("--bench-nbytes", default="64MB", help="bytes of each file that benchmarks read (default 64MB)")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Results carry the machine, the disk and the versions."""
    machine_info.update(machine(Path.cwd()))


def pytest_configure(config: pytest.Config) -> None:
    """Room for what the summary says, and the compiled kernels."""
    config.stash[LINES] = []
    compile_kernels()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Records/s, MB/s and the ratio to the limit, one line a benchmark."""
    if config.stash[LINES]:
        terminalreporter.section("beside their limits (page cache warm)")
        for line in config.stash[LINES]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def launcher_ends() -> Iterator[None]:
    """The launcher of workers ends with the run."""
    yield
    from streamload.workers.launcher import Launcher

    Launcher.shutdown()


Measure = Callable[..., Any]


@pytest.fixture
def measured(benchmark: Any, request: pytest.FixtureRequest) -> Measure:
    """Benchmarks a function that handles `records` of `nbytes` in all, beside another that does no more than a limit allows."""

    def measure(function: Callable[[], Any], *, records: int, nbytes: int, limit: str, limited: Callable[[], Any]) -> Any:
        answer = benchmark(function)
        limited()
        taken: list[float] = []
        for _ in range(LIMIT_TIMES):
            began = time.perf_counter()
            limited()
            taken.append(time.perf_counter() - began)
        if benchmark.stats is None:  # --benchmark-disable: run once, as a test
            return answer
        seconds, least = benchmark.stats.stats.median, statistics.median(taken)
        figures = {
            "records/s": records / seconds,
            "MB/s": nbytes / seconds / 1e6,
            "limit": limit,
            "ratio": least / seconds,
            "page cache": "warm",
        }
        benchmark.extra_info.update(figures)
        rates = f"{figures['records/s']:14,.0f} records/s {figures['MB/s']:10,.1f} MB/s"
        request.config.stash[LINES].append(f"{request.node.name:<52} {rates} {figures['ratio']:6.2f} x {limit}")
        return answer

    return measure


@pytest.fixture(scope="session")
def nbytes(request: pytest.FixtureRequest) -> int:
    """Bytes of each file."""
    return parse_nbytes(request.config.getoption("--bench-nbytes"), name="--bench-nbytes")


@pytest.fixture(scope="session")
def raw_file(tmp_path_factory: pytest.TempPathFactory, nbytes: int) -> Callable[[int], Made]:
    """Contiguous files by bytes of a record."""
    folder = tmp_path_factory.mktemp("raw")
    return lambda record_nbytes: raw(folder, record_nbytes=record_nbytes, nbytes=nbytes)


@pytest.fixture(scope="session")
def compressed_file(tmp_path_factory: pytest.TempPathFactory, nbytes: int) -> Callable[[str, int], Made]:
    """Compressed files by codec and records of a chunk."""
    folder = tmp_path_factory.mktemp("compressed")
    return lambda codec, chunk_records: compressed(folder, codec=codec, chunk_records=chunk_records, nbytes=nbytes)
