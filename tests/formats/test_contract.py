"""One contract for every format, none of which is named here: the registry and the folder of examples say which there are."""

from __future__ import annotations

import importlib
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import a_file_of, assert_delivers, assert_same

from streamload import formats, testing
from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceChangedError, SourceError, StreamloadError
from streamload.formats import FORMATS
from streamload.formats.columns.raw import InMemory, RawRecords
from streamload.formats.open import open_source
from streamload.reuse.scratch import Scratch
from streamload.schema import Field
from streamload.source import Reader, ReadStats, Source
from streamload.storage.files import OpenFiles

Arrays = dict[str, np.ndarray]
FORMAT_NAMES = [name.removesuffix(".format").rpartition(".")[2] for name in FORMATS]
EXAMPLES: dict[str, Callable[[Path], Arrays]] = {
    f"{name}: {layout}": make for name in FORMAT_NAMES for layout, make in importlib.import_module(f"examples.{name}").EXAMPLES.items()
}
FIRSTS = {name: next(make for key, make in EXAMPLES.items() if key.startswith(f"{name}:")) for name in FORMAT_NAMES}

each_example = pytest.mark.parametrize("make", EXAMPLES.values(), ids=EXAMPLES)
each_format = pytest.mark.parametrize("make", FIRSTS.values(), ids=FIRSTS)


@each_example
def test_a_source_keeps_its_contract(make: Callable[[Path], Arrays], tmp_path: Path):
    """Schema, length, access, orders at several worker counts, resume, pickling."""
    expected = make(tmp_path / "data")
    source = open_source(tmp_path / "data")
    try:
        testing.check_source(source, expected)
    finally:
        source.close()


@each_example
def test_fields_are_chosen_and_renamed(make: Callable[[Path], Arrays], tmp_path: Path):
    """One of them, all of them turned round, and under another name."""
    expected = make(tmp_path / "data")
    name = next(reversed(expected))
    assert_delivers(tmp_path / "data", {name: expected[name]}, fields=[name])
    assert_delivers(tmp_path / "data", {"renamed": expected[name]}, fields={"renamed": name})
    assert open_source(tmp_path / "data", fields=list(reversed(expected))).schema.names == tuple(reversed(expected))


@each_example
def test_paths_may_hold_what_is_no_utf_8(make: Callable[[Path], Arrays], tmp_path: Path):
    """Names are bytes on most systems: a folder is called so, with a line break and letters of several alphabets."""
    expected = make(tmp_path / "data")
    folder = tmp_path / "n\udc80\nü日"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    (tmp_path / "data").rename(folder / "data")
    assert_delivers(folder / "data", expected)


@each_format
def test_a_field_that_is_not_there_is_named(make: Callable[[Path], Arrays], tmp_path: Path):
    """With what there is, and what comes close."""
    expected = make(tmp_path / "data")
    name = next(iter(expected))
    with pytest.raises(ConfigError) as caught:
        open_source(tmp_path / "data", fields=[f"{name}z"])
    assert str(tmp_path / "data") in str(caught.value)
    assert f"Did you mean '{name}'?" in str(caught.value)
    with pytest.raises(ConfigError, match="fields is empty"):
        open_source(tmp_path / "data", fields=[])
    with pytest.raises(ConfigError, match=re.escape(f"fields names '{name}' twice.")):
        open_source(tmp_path / "data", fields=[name, name])


@each_format
def test_two_files_are_one_source_and_two_that_differ_are_none(make: Callable[[Path], Arrays], tmp_path: Path):
    """Records follow each other; another format beside it is an error that names both."""
    for folder in ("0", "1"):
        (tmp_path / folder).mkdir()
        expected = make(tmp_path / folder / "data")
    both = [tmp_path / "0" / "data", tmp_path / "1" / "data"]
    assert_delivers(both, {name: np.concatenate([array, array]) for name, array in expected.items()})
    other = next(one for one in FIRSTS.values() if one is not make)
    other(tmp_path / "other")
    with pytest.raises(SchemaMismatchError, match="the files of a source are of one format"):
        open_source([*both, tmp_path / "other"])


@each_format
@pytest.mark.parametrize("percent", [1, 25, 50, 75, 95, 99])
def test_a_file_that_is_cut_is_refused(make: Callable[[Path], Arrays], percent: int, tmp_path: Path):
    """At open, or where its records end; the error names the file. One that lacks no more than the mark of its end is whole."""
    path = tmp_path / "data"
    expected = make(path)
    os.truncate(a_file_of(path), a_file_of(path).stat().st_size * percent // 100)
    if percent >= getattr(importlib.import_module(make.__module__), "END_MARK", 100):
        for name, array in open_source(path)[:].items():
            assert_same(array, expected[name])
        return
    with pytest.raises(SourceError) as caught:
        open_source(path)[:]
    assert str(path) in str(caught.value)


@each_example
def test_a_file_that_changes_is_found_out(make: Callable[[Path], Arrays], tmp_path: Path):
    """Replaced after it was opened: an error, never a record of either file in the place of the other."""
    path = tmp_path / "data"
    make(path)
    source = open_source(path)
    file = a_file_of(path)
    os.replace(file, tmp_path / "old")
    file.write_bytes((tmp_path / "old").read_bytes())
    with pytest.raises(SourceChangedError, match="was replaced by another file"):
        source[:]
    source.close()


@each_format
def test_options_that_a_format_does_not_have_are_refused(make: Callable[[Path], Arrays], tmp_path: Path):
    """By name, whatever the format."""
    make(tmp_path / "data")
    with pytest.raises(ConfigError, match="colour= is no option of"):
        open_source(tmp_path / "data", colour=True)


@each_format
def test_arbitrary_bytes_after_the_signature_are_refused(make: Callable[[Path], Arrays], tmp_path: Path):
    """Noise behind the first bytes of each format: a streamload error, and nothing worse."""
    path = tmp_path / "data"
    make(path)
    file = a_file_of(path)
    head, rng = file.read_bytes()[:16], np.random.default_rng(0)
    for kept in (6, 8, 12, 16):
        for nbytes in (0, 8, 100, 5000):
            file.write_bytes(head[:kept] + rng.bytes(nbytes))
            with pytest.raises(StreamloadError):
                open_source(path)[:]


# A source of one's own


CUTS = np.arange(0, 41, 10)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Counted(ColumnDefaults):
    """A column that makes its values up, and can be told to get something wrong."""

    field: Field
    records: int
    fault: str = ""

    @property
    def addressable(self) -> bool:
        """Always."""
        return True

    @property
    def cuts(self) -> Any:
        """None, or wrong ones."""
        return {"cuts": np.array([0, 5, 3]), "scratch": CUTS, "buffer": CUTS}.get(self.fault)

    @property
    def scratch_nbytes(self) -> int:
        """None."""
        return 0

    @property
    def mappable(self) -> bool:
        """Never, in truth."""
        return self.fault == "mapped"

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader."""
        return (KeepingReader if self.fault in ("scratch", "buffer") else CountedReader)(self.fault)

    def describe(self) -> str:
        """How it is stored."""
        return "made up"


class CountedReader(ReaderDefaults):
    """Fills in record numbers."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def gather(self, records: Any, out: Any, rows: Any) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        out[rows] = np.sort(records) if self.fault == "order" else records
        if self.fault == "rows":
            out[:] = out.max(initial=0)


class KeepingReader(CountedReader):
    """Makes up ten records at a time, and keeps them where it should not: in scratch memory, or in a buffer that it uses again."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.scratch, self.buffer = Scratch(), np.zeros(10, np.int64)
        self.kept: tuple[int, Any] = (-1, None)

    def gather(self, records: Any, out: Any, rows: Any) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        for record, row in zip(records.tolist(), rows.tolist(), strict=True):
            ten, room = self.kept
            if ten != record // 10:
                ten, room = record // 10, self.buffer if self.fault == "buffer" else self.scratch.room(80).view(np.int64)
                room[:] = np.arange(10) + 10 * ten
                if self.fault == "scratch" or len(records) == 1:
                    self.kept = ten, room
            out[row] = room[record % 10]


def counted(fault: str = "") -> Source:
    """A source of record numbers."""
    columns = [Counted(field=Field("n", np.dtype("i8"), ()), records=40, fault=fault)]
    return Source(format_name="made up", title="numbers", columns=columns, file_starts=[0, 40])


TOYS = """
import struct
import numpy as np
from streamload.storage.files import fingerprint
from streamload.formats.tables.fields import FileColumn, Table
from streamload.formats.tables.table import RawRuns, assemble, raw_records_of

NAME = "Toys"

def matches(head, path):
    return head.startswith(b"TOYS")

def plan(paths, fields):
    tables = []
    for path in paths:
        with open(path, "rb") as file:
            records, width = struct.unpack("<4xII", file.read(12))
        stored = FileColumn(dtype=np.dtype("u1"), shape=(width,), kind=f"uint8 ({width},)", detail=None)
        was = fingerprint(path)
        tables.append(Table(path=path, fingerprint=was, records=records, columns={"toy": stored}, aside={}, refused={}))

    def column_of(field, parts, fill):
        run = RawRuns(firsts=np.zeros(1, np.int64), offsets=np.array([12]), stride=field.nbytes, dtype=field.dtype)
        return raw_records_of(field, parts, [run] * len(parts), blocks=False, label="toys")

    return assemble(NAME, tables, fields, column_of)
"""


def test_a_format_is_one_new_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module with NAME, matches and plan, named in the registry: its files are found by content, and keep the contract."""
    (tmp_path / "toys.py").write_text(TOYS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(formats, "FORMATS", (*FORMATS, "toys"))
    toys = np.random.default_rng(0).integers(0, 256, (60, 33), dtype=np.uint8)
    for number, part in enumerate((toys[:40], toys[40:])):
        (tmp_path / f"{number}.toy").write_bytes(b"TOYS" + np.array(part.shape, "<u4").tobytes() + part.tobytes())
    source = open_source(str(tmp_path / "*.toy"))
    assert repr(source).startswith("Toys ")
    testing.check_source(source, {"toy": toys}, num_workers=(0,))
    source.close()


def test_the_contract_can_be_run_on_a_source_of_ones_own():
    """A stranger's column, in this process; with no arrays to compare with, it must agree with itself."""
    source = counted()
    testing.check_source(source, {"n": np.arange(40)}, num_workers=(0,))
    testing.check_source(source, num_workers=(0,))


FAULTS = {
    "cuts": "the cuts of 'n' must rise from 0 to 40, and are [0, 5, 3] ... [0, 5, 3]",
    "order": "source[slice(None, None, -1)]['n'] has other values than expected",
    "rows": "source[slice(None, None, None)]['n'] has other values than expected",
    "scratch": "read, a gather of 'n' between others has other values than expected",
    "buffer": "read, a gather of 'n' between others has other values than expected",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_contract_names_the_promise_that_is_broken(fault: str):
    """So that a stranger knows what to mend."""
    with pytest.raises(AssertionError) as caught:
        testing.check_source(counted(fault), {"n": np.arange(40)}, num_workers=(0,))
    assert FAULTS[fault] in str(caught.value)


def test_the_contract_finds_a_column_that_promises_too_much():
    """What it says it does must be done."""
    source = counted("mapped")
    with pytest.raises(
        AssertionError, match=re.escape("the column of 'n' says that it is read from a mapped file (mappable), and it is not")
    ):
        testing.check_promises(source, source[:])


def test_the_contract_compares_with_what_is_expected():
    """Other values, types, shapes, names and lengths."""
    wrong: dict[str, tuple[Arrays, str]] = {
        "values": ({"n": np.arange(40)[::-1]}, "has other values than expected"),
        "dtype": ({"n": np.arange(40, dtype="i4")}, "'n' has the dtype int64, and its array int32"),
        "shape": ({"n": np.zeros((40, 1), "i8")}, r"'n' has the shape (), and its array (1,)"),
        "names": ({"m": np.arange(40)}, r"the fields are ('n',), where ('m',) are expected"),
        "length": ({"n": np.arange(41)}, "the source has 40 records, and the array of 'n' 41"),
    }
    for arrays, text in wrong.values():
        with pytest.raises(AssertionError, match=re.escape(text)):
            testing.check_source(counted(), arrays, num_workers=(0,))


def test_columns_of_every_example_pickle_without_copying_their_arrays(tmp_path: Path):
    """Their arrays travel out of band, so that workers share one copy."""
    for number, make in enumerate(EXAMPLES.values()):
        make(tmp_path / str(number))
        for column in open_source(tmp_path / str(number)).columns:
            if isinstance(column, (RawRecords, InMemory)):
                buffers: list[pickle.PickleBuffer] = []
                pickle.dumps(column, protocol=5, buffer_callback=buffers.append)
                assert buffers


def test_damage_is_said_to_be_damage(tmp_path: Path):
    """A file cut in the middle is corrupt, not unsupported."""
    for name, make in FIRSTS.items():
        path = tmp_path / name
        make(path)
        os.truncate(a_file_of(path), a_file_of(path).stat().st_size // 2)
        with pytest.raises(CorruptDataError):
            open_source(path)[:]
