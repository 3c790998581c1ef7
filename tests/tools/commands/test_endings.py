"""How commands end that are interrupted, or to whom nobody listens: in a line or less, with the exit code that shells expect."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import arrays, environment, finished, hdf5_file, names_in, said, started

COMMANDS = ["info a.h5 --json", "convert a.h5 b.h5", "--help"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small file."""
    hdf5_file(tmp_path / "a.h5", arrays(20))
    return tmp_path


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A script of bash, in which `streamload` is the command."""
    script = f'streamload() {{ "{sys.executable}" -m streamload "$@"; }}; {script}'
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, env=environment())


@pytest.mark.parametrize("words", COMMANDS)
def test_a_closed_stdout_is_no_matter(words: str, folder: Path):
    """As under some schedulers: exit code 0, and no word; nor is any file taken for it."""
    done = shell(f"streamload {words} >&- 2>err; echo $?; cat err; ls", folder)
    lines = done.stdout.splitlines()
    assert lines[0] == "0"
    assert "Traceback" not in done.stdout + done.stderr
    if words.startswith("convert"):
        assert finished("verify", folder / "b.h5", "--deep", "--against", folder / "a.h5")[0] == 0


@pytest.mark.parametrize("words", ["info a.h5", "--help"])
def test_with_all_streams_closed(words: str, folder: Path):
    """Stdin and stderr too."""
    assert shell(f"streamload {words} <&- >&- 2>&-; echo $?", folder).stdout == "0\n"


@pytest.mark.parametrize("words", COMMANDS)
def test_a_reader_that_has_gone_ends_it_quietly(words: str, folder: Path):
    """Exit code 141, as a program has that is ended by SIGPIPE."""
    done = shell(f"(streamload {words}; echo $? >code) 2>err | sleep 0; cat code err", folder)
    assert done.stdout.splitlines()[0] == "141"
    assert not any(word in done.stdout for word in ("Traceback", "Error", "Exception"))


def test_an_error_to_nobody(folder: Path):
    """Told to a stderr that nobody reads."""
    done = shell("(streamload info none.h5; echo $? >code) 2>&1 | sleep 0; cat code", folder)
    assert done.stdout in ("141\n", "1\n", "2\n")


@pytest.mark.parametrize("moment", np.linspace(0.15, 0.75, 3).round(2).tolist())
def test_ctrl_c_at_any_moment_is_quiet(moment: float, folder: Path):
    """Also while modules are loaded: 130 and one line, or the end had come already."""
    with started("verify", folder / "a.h5", "--deep", cwd=folder) as process:
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode in (130, 0), err
    assert "Traceback" not in out + err
    assert err.count("streamload: interrupted.") == (process.returncode == 130)


WHILE_IMPORTING = """
class Interrupting:
    def find_spec(name, *_):
        if name == "typing":
            os.kill(os.getpid(), signal.SIGINT)
sys.modules.pop("typing", None)
sys.meta_path.insert(0, Interrupting)
"""
TWICE = """
import streamload.tools.__main__
class Interrupting(io.StringIO):
    def write(self, text):
        os.kill(os.getpid(), signal.SIGINT)
sys.stdout = sys.stderr = Interrupting()
streamload.tools.__main__.main(["--version"])
"""


THRICE = f"import atexit; atexit.register(os.kill, os.getpid(), signal.SIGINT)\n{TWICE}"


@pytest.mark.parametrize(
    ("code", "told"),
    [(WHILE_IMPORTING, "streamload: interrupted.\n"), (TWICE, ""), (THRICE, "")],
    ids=["first imports", "twice", "thrice"],
)
def test_ctrl_c_as_the_command_begins_and_ends_is_quiet(code: str, told: str):
    """While the first module is imported, once more while the first one is told, and a third time while all is ended."""
    start = f"import io, os, signal, sys; sys.argv[0] = 'streamload'\n{code}\nimport streamload\nprint('not ended')"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", told)


def test_ctrl_c_in_a_benchmark_ends_its_processes(folder: Path):
    """Without a word from them."""
    with started("bench", folder / "a.h5", "--contenders", "all", cwd=folder) as process:
        time.sleep(2.5)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("number", "end", "code", "told"),
    [
        (signal.SIGINT, os.killpg, 130, "interrupted."),
        (signal.SIGTERM, os.killpg, 143, "ended by SIGTERM."),
        (signal.SIGHUP, os.kill, 129, "ended by SIGHUP."),
    ],
    ids=["Ctrl-C", "a scheduler that ends all processes", "one of which its shell has gone"],
)
def test_an_interrupted_conversion_says_how_to_go_on(number: int, end: Callable[[int, int], None], code: int, told: str, tmp_path: Path):
    """What is finished, and what the same command will do; nothing is left that it could not use."""
    hdf5_file(tmp_path / "a.h5", arrays(2000, (64, 64, 3)), chunks=(20, 64, 64, 3), compression="gzip", compression_opts=1)
    words = ["convert", tmp_path / "a.h5", tmp_path / "o", "--shard-size", "3 MB", "--workers", 1, "--to", "hdf5"]
    with started(*words) as process:
        while not list(tmp_path.glob(".o.converting/entries/data-*")):
            time.sleep(0.01)
        end(process.pid, number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"streamload: {told} " in err
    assert "of 8 files are finished; the same command goes on with the others." in err
    assert not list(tmp_path.glob(".o.converting/out/.*"))
    with started("convert", tmp_path / "a.h5", tmp_path / "b.h5") as process:
        while not list(tmp_path.glob(".b.h5.converting/out/.*")):
            time.sleep(0.01)
        end(process.pid, number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"{told} Nothing was written under {tmp_path}/b.h5; the same command begins again." in err
    assert names_in(tmp_path) == {"a.h5", ".o.converting"}


def test_a_second_signal_ends_the_undoing_and_tells_what_is_left(tmp_path: Path):
    """As the first would have, and without a traceback."""
    hdf5_file(tmp_path / "a.h5", arrays(20))
    more = environment(STREAMLOAD_TEST_KILL="convert.deleting:SIGTERM")
    with started("convert", tmp_path / "a.h5", tmp_path / "b.h5", env=more) as process:
        while not list(tmp_path.glob(".b.h5.converting/out/.*")):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert re.search(r"ended by SIGTERM\. .*b\.h5", err)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("info dangling.h5", "dangling.h5 is a link to /nowhere/a.h5, which does not exist."),
        ("head dangling.h5", "dangling.h5 is a link to /nowhere/a.h5, which does not exist."),
        ("convert dangling.h5 b.h5", "dangling.h5 is a link to /nowhere/a.h5, which does not exist. Check where it is to lead."),
        ("verify dangling.h5", "dangling.h5 is a link to /nowhere/a.h5, which does not exist."),
        ("verify a.h5 --against dangling.h5", "dangling.h5 is a link to /nowhere/a.h5, which does not exist."),
        ("convert a.h5 /proc/b.h5", "/proc cannot be written to: No such file or directory. Choose another folder for DST."),
        ("show a.h5 -o /proc/x.png", "No such file or directory."),
        ("convert in b.h5 --labels none.csv", "none.csv does not exist. Check the path."),
    ],
)
def test_what_the_system_says_is_a_sentence(
    words: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Without numbers of errors and names of temporary files."""
    (folder / "dangling.h5").symlink_to("/nowhere/a.h5")
    (folder / "in").mkdir()
    (folder / "in" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.chdir(folder)
    code, told = said(capsys, *words.split())
    assert code in (1, 2)
    assert text in " ".join(told.split())
    assert "[Errno" not in told
