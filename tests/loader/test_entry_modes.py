"""Workers work wherever Python does: a script without a guard, standard input, an interactive prompt, a notebook cell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loader_files import write
from time_limits import GUARD_SECONDS, Deadline

PROGRAM = """
import numpy as np
import streamload as sl

offset = 1000
class Kept:
    factor = 2

def doubled(record):
    return {{"label": record["label"] * Kept.factor + offset, "mean": np.float64(record["image"].mean())}}

data = sl.open({path!r})
loader = sl.Loader(data, batch_size=10, num_workers=2, transform=doubled)
closure = sl.Loader(data, batch_size=10, num_workers=2, transform=lambda record, by=3: {{"label": record["label"] * by + offset}})
total = sum(int(batch["label"].sum()) for epoch in loader.epochs(2) for batch in epoch)
other = sum(int(batch["label"].sum()) for batch in closure)
print("totals", total, other, len(loader.worker_pids), flush=True)
"""

LABELS = sum(number * 3 - 7 for number in range(100))
EXPECTED = f"totals {2 * (2 * LABELS + 100_000)} {3 * LABELS + 100_000} 2"


def run(arguments: list[str], *, text: str | None = None, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python as a user does, and see that nothing of it is left."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MODE_TEST": mark}
    done = subprocess.run(
        [sys.executable, *arguments], input=text, capture_output=True, text=True, timeout=GUARD_SECONDS, env=environment, cwd=folder
    )
    deadline = Deadline(5.0)
    while left := marked(mark):
        assert not deadline.passed, f"still running: {left}"
        time.sleep(0.02)
    return done


def marked(mark: str) -> list[str]:
    """Processes that carry a mark in their environment."""
    found: list[str] = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"MODE_TEST={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program with functions of its own."""
    return PROGRAM.format(path=str(write(tmp_path / "data.h5")))


def quiet(done: subprocess.CompletedProcess[str]) -> None:
    """It printed what it should, once, and said nothing on stderr."""
    assert done.stderr == ""
    assert done.stdout.count("totals") == 1
    assert EXPECTED in done.stdout
    assert done.returncode == 0


def test_a_plain_script_without_a_guard(tmp_path: Path, program: str) -> None:
    """It runs once: workers do not run it again."""
    (tmp_path / "train.py").write_text("print('begins')\n" + program)
    done = run(["train.py"], folder=tmp_path)
    quiet(done)
    assert done.stdout.count("begins") == 1


def test_a_script_that_imports_its_own_modules(tmp_path: Path, program: str) -> None:
    """Modules beside the script are found in workers too."""
    (tmp_path / "ours.py").write_text("def changed(record):\n    return {'label': record['label'] + 5}\n")
    (tmp_path / "train.py").write_text(
        program
        + "import ours\nprint(sum(int(b['label'].sum()) for b in sl.Loader(data, batch_size=9, num_workers=1, transform=ours.changed)))"
    )
    done = run(["train.py"], folder=tmp_path)
    quiet(done)
    assert done.stdout.splitlines()[-1] == str(LABELS + 500)


def test_a_module_that_is_run(tmp_path: Path, program: str) -> None:
    (tmp_path / "train.py").write_text(program)
    quiet(run(["-m", "train"], folder=tmp_path))


def test_a_script_on_standard_input(tmp_path: Path, program: str) -> None:
    quiet(run(["-"], text=program, folder=tmp_path))


def test_a_program_on_the_command_line(tmp_path: Path, program: str) -> None:
    quiet(run(["-c", program], folder=tmp_path))


def test_an_interactive_prompt(tmp_path: Path, program: str) -> None:
    """The prompt itself goes to stderr, and nothing else; workers do not read the user's lines."""
    lines = re.sub(r"(\n    [^\n]*\n)(?=\S)", r"\1\n", re.sub(r"\n\n+", "\n", program).replace("\ndef", "\n\ndef"))
    done = run(["-i", "-q"], text=lines + "\nprint('still here')\n", folder=tmp_path)
    assert re.sub(r"(>>> |\.\.\. )", "", done.stderr).strip() == ""
    assert EXPECTED in done.stdout
    assert done.stdout.rstrip().endswith("still here")
    assert done.returncode == 0


def test_a_script_followed_by_a_prompt(tmp_path: Path, program: str) -> None:
    """`python -i train.py` looks at what the script left, with its loader still at work."""
    (tmp_path / "train.py").write_text(program)
    done = run(["-i", "-q", "train.py"], text="print(len(next(iter(loader))['label']))\n", folder=tmp_path)
    assert re.sub(r"(>>> |\.\.\. )", "", done.stderr).strip() == ""
    assert done.stdout.splitlines()[-1] == "10"
    assert done.returncode == 0


def test_cells_that_are_run_one_by_one(tmp_path: Path, program: str) -> None:
    """What a notebook does: cells compiled by themselves, run in one main module that has no file."""
    cells = program.strip().split("\n\n")
    runner = f"""
import sys
import types
main = types.ModuleType("__main__")
sys.modules["__main__"] = main
for number, cell in enumerate({cells!r}):
    exec(compile(cell, f"<ipython-input-{{number}}>", "exec"), main.__dict__)
"""
    (tmp_path / "kernel.py").write_text(runner)
    quiet(run(["kernel.py"], folder=tmp_path))


def test_ipython(tmp_path: Path, program: str) -> None:
    os.makedirs(tmp_path / "ipython")
    runner = f"""
import os
os.environ["IPYTHONDIR"] = {str(tmp_path / "ipython")!r}
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(history_length=0)
shell.history_manager.enabled = False
for cell in {program.strip().split(chr(10) * 2)!r}:
    shell.run_cell(cell, store_history=False).raise_error()
"""
    (tmp_path / "kernel.py").write_text(runner)
    quiet(run(["kernel.py"], folder=tmp_path))


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("import os; os._exit(4)", 4),
        ("loader.close(); closure.close()", 0),
        ("del loader, closure", 0),
        ("kept = [next(iter(loader)), next(iter(closure))]", 0),
        ("epoch = iter(loader); first = next(epoch)", 0),
        ("import threading; t = threading.Thread(target=lambda: list(loader)); t.start()", 0),
    ],
    ids=["falls off the end", "sys.exit", "os._exit", "closes", "drops", "holds batches", "in the middle of an epoch", "in a thread"],
)
def test_however_a_program_ends_nothing_is_left(tmp_path: Path, program: str, end: str, code: int) -> None:
    """No process, no line on stderr, and the program's own exit status."""
    (tmp_path / "train.py").write_text(f"import warnings; warnings.simplefilter('ignore')\n{program}\n{end}\n")
    done = run(["train.py"], folder=tmp_path)
    assert EXPECTED in done.stdout
    assert (done.stderr, done.returncode) == ("", code)


def test_an_exception_of_the_program_is_the_only_thing_on_stderr(tmp_path: Path, program: str) -> None:
    (tmp_path / "train.py").write_text(program + "\nfor batch in loader:\n    raise RuntimeError('mine')\n")
    done = run(["train.py"], folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("RuntimeError: mine\n")
    assert done.stderr.count("Traceback") == 1
