"""The first batch: how long after `Loader(...)`, and after the start of Python; and the first run ever, which compiles."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import peers
from bench.command import Report, arguments
from bench.data import Made, cache_folder, raw
from bench.streams import interval
from streamload.tools.benchmark.comparison import CHECKOUT
from streamload.tools.files.page_cache import make_cold, make_warm

NUMBA = (sys.executable, "-c", "import numpy, numba")
"""What a first batch is held against, in the same run: importing what any loader with compiled loops needs."""
NUMBA_AIM = 0.7
SMALL = {"record_nbytes": 3_072, "nbytes": 4_000_000}
"""A file that fits in one step or two."""
AIMS = {"from Loader(...), once imported": 1.0, "from the start of Python": 1.5}
FIRST_EVER_AIM = 10.0
IMPORT_AIM_S, HELP_AIM = 0.04, 1.5
"""What `import streamload` may add to importing NumPy, and how many times as long as that `streamload --help` may take."""


def interpreter() -> dict[str, str]:
    """An environment in which Python keeps compiled modules, whatever the tests of this project ask of it: users' Python does."""
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(cache_folder(None) / "bytecode")}


def start(
    made: Made, *, batch: int, workers: int, order: str, chain: str = "", environment: dict[str, str] | None = None
) -> tuple[dict[str, float], str]:
    """One process from its start to its first batch: what each part took in seconds, and what it wrote to stderr."""
    script = Path(peers.__file__).with_name("first.py")
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-P", str(script), str(made.path), str(batch), str(workers), order, chain],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**interpreter(), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **(environment or {})},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    _, said = process.communicate()
    if process.returncode or not line:
        raise RuntimeError(f"the first batch did not come: {said}")
    return {**json.loads(line), "python": seconds}, said.strip()


def against_checkout(report: Report, made: Made, tree: Path, *, batch: int, workers: int, times: int) -> None:
    """From `Loader(...)` to the first batch, and from the start of Python, beside another commit's, in turns."""
    make_warm([made.path])
    there = {"PYTHONPATH": os.pathsep.join([str(tree), *(path for path in sys.path if path)])}
    here = {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), *(path for path in sys.path if path)])}
    ratios: dict[str, list[float]] = {"first": [], "python": []}
    for turn in range(times + 1):
        ours, theirs = (start(made, batch=batch, workers=workers, order="exact", environment=one)[0] for one in (here, there))
        for name, found in ratios.items():
            if turn:  # The first compiles kernels.
                found.append(theirs[name] / ours[name])
    names = {"first": "from Loader(...)", "python": "from the start of Python"}
    told = "; ".join(
        f"{names[name]} {statistics.median(found):.2f} ({low:.3f} to {high:.3f})"
        for name, found in ratios.items()
        for low, high in [interval(found)]
    )
    report.say(f"first batch, {made.path.name}, {workers} workers: as fast as the other commit, times ({times} pairs): {told}", **ratios)


def measure(report: Report, made: Made, *, batch: int, workers: int, order: str, times: int, cold: bool, aims: dict[str, float]) -> None:
    """Medians over several processes, kernels cached."""
    start(made, batch=batch, workers=workers, order=order)
    taken: list[dict[str, float]] = []
    state = make_warm([made.path])
    for _ in range(times):
        if cold:
            state = make_cold([made.path])
        taken.append(start(made, batch=batch, workers=workers, order=order)[0])
    middle = {name: statistics.median(one[name] for one in taken) for name in taken[0]}
    figures = {"from Loader(...), once imported": middle["first"], "from the start of Python": middle["python"]}
    report.say(f"first batch, {order.title()}, {made.path.name}, {batch} records, {workers} workers, median of {times}; page cache {state}")
    for name, seconds in figures.items():
        aim = aims.get(name)
        verdict = "" if aim is None else f" (aim: {aim:.1f} s{', reached' if seconds <= aim else ', MISSED'}; ratio {seconds / aim:.2f})"
        report.say(f"    {name:<34} {seconds:.3f} s{verdict}", seconds=seconds, aim=aim)
    parts = ", ".join(f"{name} {middle[name]:.3f}" for name in ("import", "open", "loader"))
    worst = max(one["first"] for one in taken)
    report.say(f"    of which: {parts}; the slowest of {times} from Loader(...): {worst:.3f} s", **middle)


def against_numba(report: Report, made: Made, *, batch: int, times: int) -> None:
    """From `Loader(...)` to the first batch, beside importing NumPy and numba, in turns."""
    make_warm([made.path])
    subprocess.run(NUMBA, check=True, env=interpreter())
    counts = (0, 1, 2)
    for workers in counts:
        start(made, batch=batch, workers=workers, order="exact")
    ratios: dict[int, list[float]] = {workers: [] for workers in counts}
    imports: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(NUMBA, check=True, env=interpreter())
        imports.append(time.perf_counter() - began)
        for workers in counts:
            ratios[workers].append(start(made, batch=batch, workers=workers, order="exact")[0]["first"] / imports[-1])
    report.say(
        f"first batch of {batch} records of {made.record_nbytes:,} B, {made.path.name}, over `import numpy, numba` "
        f"({statistics.median(imports):.3f} s); median of {times} in turns"
    )
    for workers, found in ratios.items():
        ratio = statistics.median(found)
        verdict = "reached" if ratio <= NUMBA_AIM else "MISSED"
        report.say(f"    {workers} workers {ratio:.2f} (aim: {NUMBA_AIM}, {verdict})", workers=workers, ratios=found, aim=NUMBA_AIM)


def first_ever(report: Report, made: Made, *, batch: int, workers: int) -> None:
    """A run with an empty cache of kernels, and the one after it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"STREAMLOAD_CACHE_DIR": str(Path(folder) / "cache"), "XDG_CACHE_HOME": folder}
        first, said = start(made, batch=batch, workers=workers, order="exact", environment=environment)
        second, said_again = start(made, batch=batch, workers=workers, order="exact", environment=environment)
    lines = [line for line in said.splitlines() if line]
    reached = "reached" if first["python"] <= FIRST_EVER_AIM else "MISSED"
    report.say(
        f"first run ever, compiling: {first['python']:.1f} s from the start of Python (aim: {FIRST_EVER_AIM:g} s, {reached}); "
        f"the run after it {second['python']:.2f} s",
        first=first,
        second=second,
    )
    report.say(f"    it said: {lines[0] if lines else 'nothing (a line was promised)'}; the run after it said: {said_again or 'nothing'}")


def imports(report: Report, *, times: int) -> None:
    """Importing the library, and the help of the command, beside importing NumPy: in turns, bytecode written."""
    commands = {"numpy": ("-c", "import numpy"), "both": ("-c", "import numpy, streamload"), "help": ("-m", "streamload", "--help")}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(times + 1):
        for name, words in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-P", *words], env=environment, stdout=subprocess.DEVNULL, check=True)
            if turn:  # The first writes bytecode.
                taken[name].append(time.perf_counter() - began)
    numpy = taken["numpy"]
    added = statistics.median(both - alone for both, alone in zip(taken["both"], numpy, strict=True))
    ratio = statistics.median(one / alone for one, alone in zip(taken["help"], numpy, strict=True))
    report.say(
        f"import streamload adds {added:.3f} s to importing NumPy, {statistics.median(numpy):.3f} s (aim: {IMPORT_AIM_S} s, "
        f"{'reached' if added <= IMPORT_AIM_S else 'MISSED'}); streamload --help takes {ratio:.2f} times as long as that "
        f"(aim: {HELP_AIM}, {'reached' if ratio <= HELP_AIM else 'MISSED'}); medians of {times} pairs",
        added=added,
        help_ratio=ratio,
        seconds=taken,
    )


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("first_batch", __doc__ or "")
    parser.add_argument("--record", type=int, default=150_528, help="bytes of a record (default 150,528)")
    parser.add_argument("--only-ratios", action="store_true", help="what a first batch takes over importing NumPy and numba, and no more")
    parser.add_argument("--against", type=lambda text: Path(text).resolve(), help="a checkout of another commit, and nothing else")
    options = parser.parse_args(given)
    report = Report("first_batch", options)
    made = raw(report.folder, record_nbytes=options.record, nbytes=options.nbytes)
    if options.against is not None:
        against_checkout(report, made, options.against, batch=options.batch, workers=options.workers, times=options.pairs)
        report.end()
        return
    for one in (raw(report.folder, **SMALL), made):
        against_numba(report, one, batch=options.batch, times=options.pairs)
    if options.only_ratios:
        report.end()
        return
    settings = {"batch": options.batch, "workers": options.workers}
    for cold in (False, True):
        measure(report, made, **settings, order="exact", times=options.pairs, cold=cold, aims={} if cold else AIMS)
    first_ever(report, made, **settings)
    imports(report, times=options.pairs)
    report.end()


if __name__ == "__main__":
    main()
