"""Columns that are several values of any length a record: what cannot be delivered is said alike by all commands, and at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, in_this_thread

import streamload as sl
from streamload.errors import UnsupportedFeatureError
from streamload.tools.convert import executors

COMMANDS: dict[str, list[str]] = {
    "info": ["info", "--no-measure"],
    "head": ["head"],
    "plan": ["plan", "--no-measure", "--workers", "0", "--batch", "2"],
    "dry run": ["convert", "--dry-run"],
    "convert": ["convert"],
    "verify": ["verify"],
}
REFUSED: dict[str, tuple[Any, str]] = {
    "lists of bytes": (pa.array([[b"a", b"bc"]] * 9), "holds lists of bytes, which cannot be read yet"),
    "lists of images": (
        pa.array([[{"bytes": b"x", "path": "p"}]] * 9),
        "holds lists of encoded images, several a record, which cannot be read yet",
    ),
    "lists of lists": (
        pa.array([[[1, 2], [3]]] * 9),
        "holds lists within lists that differ in length (1 and 2): records of a field may differ along their first axis only",
    ),
    "lists of lists, the last one": (
        pa.array([[[1, 2], [3, 4]]] * 8 + [[[1, 2], [3]]]),
        "holds lists within lists that differ in length (1 and 2): records of a field may differ along their first axis only",
    ),
}
LEFT_OUT: dict[str, tuple[Any, str]] = {
    "lists of text": (pa.array([["a", "bc"]] * 9), "it holds lists of text, and several texts a record are neither an array nor a Ragged"),
    "lists of lists of text": (
        pa.array([[["a"], ["b", "c"]]] * 9),
        "it holds lists of text, and several texts a record are neither an array nor a Ragged",
    ),
    "lists of structs": (pa.array([[{"a": 1}]] * 9), "it holds lists of structs, whose members lie side by side in no array"),
}
FORMATS = ("parquet", "arrow")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions start no processes."""
    monkeypatch.setattr(executors, "ProcessExecutor", in_this_thread)


def written(path: Path, column: Any, form: str) -> str:
    """A file of a column, and of numbers."""
    table = pa.table({"x": column, "y": np.arange(9)})
    if form == "parquet":
        pq.write_table(table, path / f"a.{form}")
    else:
        with pa.ipc.new_file(str(path / f"a.{form}"), table.schema) as file:
            file.write_table(table)
    return f"a.{form}"


def asked(command: str, source: str, *more: str) -> list[str]:
    """The words of a command."""
    name, *options = COMMANDS[command]
    return [name, source, *(["o.parquet", "--overwrite"] if name == "convert" else []), *options, *more]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_data_and_cannot_be_read_is_refused_by_each_command_in_the_same_words(
    kind: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Before anything is written, with the flag that goes on, which does."""
    monkeypatch.chdir(tmp_path)
    column, why = REFUSED[kind]
    source = written(tmp_path, column, form)
    with pytest.raises(UnsupportedFeatureError) as caught:
        sl.open(source)
    assert str(caught.value) == f"{source}: column 'x' {why}. Leave it out: fields=['y']."
    for command in COMMANDS:
        code, document = answer(capsys, *asked(command, source))
        assert code == 1, command
        error = document["error"]
        assert (Path(error["message"].partition(":")[0]).name, error["message"].partition(": ")[2]) == (source, f"column 'x' {why}.")
        assert error["hint"] == "Leave it out: --fields y."
        assert not Path("o.parquet").exists()
        code, document = answer(capsys, *asked(command, source, "--fields", "y"))
        assert (code, "error" in document) == (0, False), command
        Path("o.parquet").unlink(missing_ok=True)
        Path("o.parquet.manifest.json").unlink(missing_ok=True)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_no_array_holds_is_left_out_by_each_command_for_the_same_reason(
    kind: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Counted, unless the user chose other fields."""
    monkeypatch.chdir(tmp_path)
    column, why = LEFT_OUT[kind]
    source = written(tmp_path, column, form)
    for command in ("info", "dry run", "convert", "verify"):
        code, document = answer(capsys, *asked(command, source))
        assert code == 1, command
        assert [(one["what"], one["names"], one["expected"]) for one in document["account"]["left_out"]] == [("field", ["x"], False)]
        assert why in document["account"]["left_out"][0]["why"]
        code, document = answer(capsys, *asked(command, source, "--fields", "y"))
        assert (code, all(one["expected"] for one in document["account"]["left_out"])) == (0, True), command
    with sl.open("o.parquet") as found:
        assert found[:]["y"].tolist() == list(range(9))


@pytest.mark.parametrize("form", FORMATS)
def test_lists_of_arrays_of_one_length_are_read_and_written(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A ragged field of records of any number of pairs, though no type says that they are pairs."""
    monkeypatch.chdir(tmp_path)
    pairs = [[[at, at + 1]] * (at % 3) for at in range(9)]
    source = written(tmp_path, pa.array(pairs, pa.list_(pa.list_(pa.int64()))), form)
    assert answer(capsys, *asked("convert", source))[0] == 0
    with sl.open("o.parquet") as found:
        assert [one.tolist() for one in found[:]["x"]] == pairs
