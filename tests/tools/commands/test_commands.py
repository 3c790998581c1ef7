"""Commands that look at files: what they say, in text and as JSON, and with which exit code."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from command_line import answer, arrays, environment, finished, hdf5_file, said

from streamload.errors import ConfigError, ConversionError, CorruptDataError, ResourceError, SourceBusyError
from streamload.tools.__main__ import COMMANDS, main
from streamload.tools.commands.captions import STRIP
from streamload.tools.commands.show import fitted, half_blocks, seen, sheet, stretched
from streamload.tools.console import clean, code_of, meant, plain


@pytest.fixture
def chunked(tmp_path: Path) -> Path:
    """A file whose records are decoded 64 at a time."""
    return hdf5_file(tmp_path / "chunked.h5", arrays(200), chunks=(64, 8, 8, 3), compression="gzip")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_and_opens_with_an_example(name: str, capsys: pytest.CaptureFixture[str]):
    """At most 26 lines of 80 characters, the first of which can be typed; no argument is missing."""
    code, text = said(capsys, name, "--help")
    lines = text.splitlines()
    assert code == 0
    assert lines[0].startswith(f"streamload {name} ")
    assert len(lines) <= 26
    assert max(map(len, lines)) <= 80
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(f"streamload.tools.commands.{name}").add_arguments(parser)
    for action in parser._actions:
        assert all(option in text for option in action.option_strings) if action.option_strings else str(action.metavar) in text, action


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]):
    """And the exit codes."""
    code, text = said(capsys, "--help")
    assert code == 0
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "3 something ran out" in text
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80


def test_no_command_at_all_is_asked_wrongly(capsys: pytest.CaptureFixture[str]):
    """The overview is shown, and the exit code is 2."""
    assert said(capsys)[0] == 2


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["inof", "x.h5"], "Did you mean 'info'?"),
        (["info", "x.h5", "--no-mesure"], "Did you mean '--no-measure'?"),
        (["plan"], "See streamload plan --help."),
        (["plan", "a.h5", "b.h5"], 'a pattern in quotes names many files: "train-*.h5".'),
        (["verify", "a.h5", "b.h5"], "To compare with another file: --against b.h5."),
    ],
    ids=["a command", "an option", "a missing argument", "a pattern without quotes", "a second file"],
)
def test_what_is_misspelt_is_guessed(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]):
    """Exit code 2, and a line that says what was probably meant."""
    code, text = said(capsys, *words)
    assert code == 2
    assert hint in text
    code, document = answer(capsys, *words)
    assert code == 2
    assert hint in document["error"]["hint"]


def test_a_package_that_is_missing_is_named_without_a_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Also where the command itself cannot be imported."""
    monkeypatch.delitem(sys.modules, "streamload.tools.commands.head", raising=False)
    monkeypatch.setitem(sys.modules, "streamload.images", None)
    code, text = said(capsys, "head", "a.h5")
    assert code == 1
    assert text.startswith("streamload: import of streamload.images halted")
    with pytest.raises(ImportError):
        main(["head", "a.h5", "--debug"])


def test_python_m_streamload_is_the_command():
    """Both names lead to the same."""
    code, text = finished("--version")
    assert (code, text.split()[0]) == (0, "streamload")


def test_a_missing_file_is_asked_wrongly_and_shows_no_traceback(tmp_path: Path):
    """One line and a hint on stderr; with --debug the traceback."""
    code, text = finished("info", tmp_path / "nothing.h5")
    assert code == 2
    assert text.splitlines()[0] == f"streamload: {tmp_path}/nothing.h5 cannot be opened: No such file or directory."
    assert "Traceback" not in text
    assert "Traceback" in finished("info", tmp_path / "nothing.h5", "--debug")[1]


def test_errors_are_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """--json holds for what goes wrong as well."""
    (tmp_path / "bad.h5").write_bytes(b"<html>no</html>")
    code, document = answer(capsys, "info", tmp_path / "bad.h5")
    assert code == 1
    assert document["error"]["kind"] == "CorruptDataError"
    assert "web page" in document["error"]["message"]


def test_a_reader_that_stops_listening_is_no_error(chunked: Path):
    """`streamload head | head -1` ends quietly."""
    command = f"{sys.executable} -m streamload head {chunked} -n 200 | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment())
    assert done.stderr == ""
    assert "200 records" in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (CorruptDataError("x"), 1),
        (SourceBusyError("x"), 1),
        (ResourceError("x"), 3),
        (ConversionError("x", errno=28), 3),
        (ConversionError("x"), 1),
        (MemoryError(), 3),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_exit_codes_mean_one_thing(error: BaseException, code: int):
    """0 good, 1 found something, 2 asked wrongly, 3 something ran out, 130 interrupted."""
    assert code_of(error) == code


def test_names_from_files_cannot_control_the_terminal():
    """Escape codes are shown, not obeyed, and long names are cut."""
    assert clean("a\x1b[31mb\n") == "a\\x1b[31mb\\n"
    assert len(clean("x" * 1000)) == 300
    assert plain({"a": np.float32("nan"), "b": np.arange(2)}) == {"a": "nan", "b": [0, 1]}
    assert meant("zzz", ["a", "b"]) == "There is a, b."


class TestInfo:
    """What a file is, and whether it is fast."""

    def test_says_that_exact_order_decodes_a_chunk_for_each_record(self, chunked: Path, capsys: pytest.CaptureFixture[str]):
        """The amplification is the mean size of a chunk, and the advice names the cure."""
        code, document = answer(capsys, "info", chunked)
        assert code == 0
        image, label = document["fields"]
        assert document["records"] == 200
        assert (image["amplification"], label["amplification"]) == (64, 1)
        assert image["blocks"] == {"count": 4, "least_records": 8, "most_records": 64}
        assert image["stored_nbytes"] > 0
        assert label["range"]["greatest"] == 9
        assert any("each record costs 64 decodes" in line and "--chunk-records 1" in line for line in document["advice"])
        assert set(document["speed"]) == {"exact_warm", "stored_warm"}

    def test_says_that_a_raw_file_needs_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Any record can be read by its offset."""
        path = hdf5_file(tmp_path / "raw.h5", arrays(20))
        code, text = said(capsys, "info", path, "--cold")
        assert code == 0
        assert "nothing to do" in text
        assert "from the disk" in text
        assert f"sl.open('{path}', fields=['image', 'label'])" in text

    @pytest.mark.parametrize("records", [0, 1])
    def test_works_on_files_of_no_and_of_one_record(self, records: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Nothing is divided by zero."""
        path = hdf5_file(tmp_path / "few.h5", arrays(records))
        for command in (["info"], ["head"], ["show"], ["plan", "--workers", "0"]):
            code, document = answer(capsys, command[0], path, *command[1:])
            assert code == 0, document

    def test_goes_on_after_a_file_that_cannot_be_read(self, chunked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Both are in the answer, and the exit code says that something was found."""
        (tmp_path / "bad.h5").write_bytes(b"nonsense")
        code, documents = answer(capsys, "info", tmp_path / "bad.h5", chunked, "--no-measure")
        assert code == 1
        assert "is of no known format" in documents[0]["error"]
        assert documents[1]["records"] == 200


class TestHead:
    """Records as text."""

    def test_shows_the_records_that_were_asked_for(self, chunked: Path, capsys: pytest.CaptureFixture[str]):
        """From the end too."""
        code, document = answer(capsys, "head", chunked, "-n", 2, "--start", -2)
        assert code == 0
        assert [record["record"] for record in document["records"]] == [198, 199]
        assert document["records"][0]["image"] == arrays(200)["image"][198].tolist()

    def test_cuts_arrays(self, chunked: Path, capsys: pytest.CaptureFixture[str]):
        """A few values, and what all of them are like."""
        _, text = said(capsys, "head", chunked, "-n", 1)
        assert "…] uint8 (8, 8, 3), mean " in text


class TestShow:
    """Pictures."""

    def test_writes_a_sheet_that_holds_the_images(self, chunked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Small images are enlarged by whole times, side by side with gaps, and their labels stand below them."""
        code, document = answer(capsys, "show", chunked, "-n", 4, "-o", tmp_path / "sheet.png")
        assert code == 0
        assert document["labels"] == {"label": [0, 1, 2, 3]}
        picture = imagecodecs.png_decode((tmp_path / "sheet.png").read_bytes())
        assert picture.shape == (80 + STRIP, 4 * 82 - 2, 3)
        below = [picture[80:, left : left + 80] for left in range(0, 4 * 82, 82)]
        assert all((one > 128).any() for one in below)
        assert (below[1] != below[2]).any()
        np.testing.assert_array_equal(picture[:80:10, 82 : 82 + 80 : 10], arrays(200)["image"][1])
        assert said(capsys, "show", chunked, "-o", tmp_path / "sheet.png")[0] == 2

    def test_draws_half_blocks_of_true_colour(self):
        """Each character is an upper and a lower pixel."""
        lines = half_blocks(np.array([[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]]], np.uint8))
        assert lines == ["\033[38;2;1;2;3;48;2;4;5;6m▀\033[0m", "\033[38;2;7;8;9;48;2;0;0;0m▀\033[0m"]

    def test_draws_in_a_terminal_and_not_in_a_pipe(
        self, chunked: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        """A pipe gets a word of explanation and the labels."""
        code, text = said(capsys, "show", chunked, "-n", 2)
        assert code == 0
        assert "no terminal" in text
        monkeypatch.setenv("FORCE_COLOR", "1")
        code, text = said(capsys, "show", chunked, "-n", 2)
        assert "▀" in text
        assert "0: 0" in text

    def test_says_which_fields_there_are_where_none_is_an_image(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """And how to say a shape."""
        np.save(tmp_path / "x.npy", np.zeros((5, 7), np.float32))
        code, text = said(capsys, "show", tmp_path / "x.npy")
        assert code == 1
        assert "no field looks like an image; it has x float32 (7,)." in text

    def test_makes_any_numbers_visible(self):
        """Fractions from 0 to 1 fill the range, other numbers are stretched; channels may come first."""
        assert stretched(np.array([[0.0, 0.5, 1.0]])).tolist() == [[0, 128, 255]]
        assert stretched(np.array([[-3, 7]], np.int16)).tolist() == [[0, 255]]
        assert seen(np.zeros((3, 5, 6), np.uint8)).shape == (5, 6, 3)
        assert seen(np.zeros((5, 6), np.uint8)).shape == (5, 6, 3)
        assert fitted(np.full((10, 10, 3), 7, np.uint8), 3, 20).tolist() == np.full((3, 20, 3), 7).tolist()
        assert sheet([], 6).shape == (1, 1, 3)


class TestPlan:
    """What a loader will do."""

    def test_gives_a_call_that_runs(self, chunked: Path, capsys: pytest.CaptureFixture[str]):
        """What is to be pasted makes a loader of as many steps."""
        import streamload as sl

        code, document = answer(capsys, "plan", chunked, "--batch", 50, "--workers", 0, "--memory", "1 GB")
        assert code == 0
        assert document["order"] == "block"
        assert document["memory"]["total"] == sum(v for name, v in document["memory"].items() if name not in ("total", "budget"))
        loader = eval(document["call"], {"sl": sl})
        with loader:
            assert len(loader) == document["steps"] == 4
            assert loader.footprint().total == document["memory"]["total"]

    def test_says_what_does_not_fit(self, chunked: Path, capsys: pytest.CaptureFixture[str]):
        """Exit code 3, with the memory that would do."""
        code, text = said(capsys, "plan", chunked, "--memory", "10 KB", "--workers", 0)
        assert code == 3
        assert 'Give memory="' in text

    def test_warns_of_windows_that_mix_too_little(self, chunked: Path, capsys: pytest.CaptureFixture[str]):
        """Exit code 1, since something was found."""
        code, document = answer(capsys, "plan", chunked, "--window", "20 KB", "--workers", 0)
        assert code == 1
        assert "mixes only" in document["warning"]

    def test_knows_its_orders(self, chunked: Path, capsys: pytest.CaptureFixture[str]):
        """Exact order over chunks says what it costs."""
        assert "Did you mean 'exact'?" in said(capsys, "plan", chunked, "--order", "exakt")[1]
        code, document = answer(capsys, "plan", chunked, "--order", "exact", "--workers", 0)
        assert (code, document["amplification"]) == (0, 64)
        assert "shuffle=sl.Exact()" in document["call"]


def test_the_doctor_finds_this_machine_good_or_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Versions, codecs, memory and descriptors are there; what is wrong has a cure."""
    code, document = answer(capsys, "doctor", "--disk", tmp_path, "--no-measure")
    assert code == bool(document["wrong"])
    assert document["packages"]["numpy"] == np.__version__
    assert document["codecs"]["zstd"]
    assert document["memory"]["available_nbytes"] > 0
    assert all(one["cure"] for one in document["wrong"])


def test_the_doctor_sees_a_low_limit_of_open_files(tmp_path: Path):
    """The cure is a command."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code, text = finished("doctor", "--no-measure", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)))
    assert code == 1
    assert "a process may open 256 files" in text
    assert "ulimit -n " in text


def test_the_command_is_installed_under_its_name():
    """`main` is what the entry point calls: it returns an exit code."""
    assert main(["--version"]) == 0
