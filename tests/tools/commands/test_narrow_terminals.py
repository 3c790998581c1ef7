"""Lines fit the width of a terminal, broken between words; what is to be pasted stays whole; a bar that is piped is not silent."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import arrays, hdf5_file, said
from hypothesis import given
from hypothesis import strategies as st

import streamload.tools.progress as progress
from streamload.tools.console import wrapped

WORDS = st.lists(st.sampled_from(["a", "some", "`streamload convert a b.h5 c.h5`", "compression", "49%"]), min_size=1, max_size=30).map(
    " ".join
)


@given(text=WORDS, width=st.integers(20, 100), hanging=st.integers(0, 30), before=st.integers(0, 6))
def test_lines_are_broken_between_words(text: str, width: int, hanging: int, before: int):
    """No word is lost or cut, and no command of several."""
    lines = wrapped(" " * before + text, width, hanging).split("\n")
    assert " ".join(line.strip() for line in lines) == text
    assert all(len(line) <= width or len(line.split("`")) == 3 for line in lines)
    assert sum(line.count("`") % 2 for line in lines) == 0


def test_calls_and_any_width():
    """A call of Python is pasted whole; where there is no terminal, lines are as they are."""
    call = "  open with  sl.open('a very long name.h5', fields=['image', 'label'])"
    assert wrapped(call, 30) == call
    assert wrapped("word " * 40, None) == "word " * 40


@pytest.mark.parametrize("columns", [40, 60])
@pytest.mark.parametrize("command", [["doctor", "--no-measure"], ["verify"]])
def test_columns_are_honoured(
    columns: int, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """By what COLUMNS says, as by the terminal's own width."""
    path = str(hdf5_file(tmp_path / "a.h5", arrays(9)))
    monkeypatch.chdir(tmp_path)
    words = command if len(command) > 1 else [*command, "a.h5"]
    long = said(capsys, *words)[1]
    monkeypatch.setenv("COLUMNS", str(columns))
    text = said(capsys, *words)[1]
    assert Path(path).exists()
    longest = max(len(word) for word in long.split())
    assert max(map(len, text.splitlines())) <= max(columns, longest + 20) < max(map(len, long.splitlines()))
    assert text.split() == long.split() or command[0] == "doctor"


def test_a_bar_that_is_piped_says_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """And one at the end."""
    with progress.PlainBar("writing", total=4) as shown:
        shown.show(1)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(progress, "PIPED_SECONDS", 0.0)
        shown.show(2, "half")
        assert capsys.readouterr().err == "writing                  [###############               ]  50 % half\n"
    assert capsys.readouterr().err.endswith("50 % half\n")
