"""Records that are stretches of files, or whole files: the contract of a source, and files that change, go, or cannot be read."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamload import testing
from streamload.errors import NullValueError, SourceChangedError
from streamload.formats.columns.file_ranges import FileRanges
from streamload.formats.columns.whole_files import WholeFiles
from streamload.nulls import Nulls
from streamload.ragged import Ragged
from streamload.schema import BYTES, Field
from streamload.source import Fault, Lengths, ReadStats, Source
from streamload.storage.file_table import FileTable, joined_tables, table_from, table_of
from streamload.storage.files import Fingerprint, OpenFiles, fingerprint

FIELD = Field("data", np.dtype(np.uint8), (), BYTES)


def records(count: int = 40) -> list[bytes]:
    """Bytes of many lengths, none among them."""
    rng = np.random.default_rng(0)
    return [rng.bytes(int(length)) for length in rng.integers(0, 3000, count)]


def ranges(path: Path, *, missing: int | None = None) -> Source:
    """Records in two files, with gaps, the last one first."""
    data, places = records(), list[tuple[int, int]]()
    for number, part in enumerate((data[:25], data[25:])):
        written = b""
        for one in reversed(part):
            written += b"gap"
            places.insert(len(places) if number == 0 else 25, (len(written), len(one)))
            written += one
        places[:25] = places[:25][::-1] if number == 0 else places[:25]
        (path / str(number)).write_bytes(written)
    table = np.array(places, np.int64)
    if missing is not None:
        table[missing] = -1, 0
    column = FileRanges(
        field=FIELD,
        column="data",
        starts=np.array([0, 25, 40]),
        numbers=np.array([0, 1], np.int32),
        offsets=table[:, 0].copy(),
        sizes=table[:, 1].copy(),
        lengths=Lengths.of(table[:, 1]),
        label="stretches",
    )
    files = [fingerprint(path / "0"), fingerprint(path / "1")]
    nulls = {} if missing is None else {"data": Nulls("data", 1)}
    return Source(format_name="x", title="x", columns=[column], fingerprints=files, file_starts=column.starts, nulls=nulls)


def looked_at(path: Path, names: list[list[str]]) -> FileTable:
    """A table of files in the folders 0, 1, ..."""
    folders = [str(path / str(number)) for number in range(len(names))]
    found = [[fingerprint(os.path.join(folder, name)).identity for name in own] for folder, own in zip(folders, names, strict=True)]
    return table_of(folders, [[*map(os.fsencode, own)] for own in names], [np.array(one, np.int64).reshape(-1, 4) for one in found])


def folder(path: Path, count: int = 40) -> Source:
    """Records that are files in two folders."""
    names = [[f"{number:02}.bin" for number in range(count) if number % 2 == part] for part in (0, 1)]
    for part in (0, 1):
        (path / str(part)).mkdir()
        for name in names[part]:
            (path / str(part) / name).write_bytes(records(count)[int(name[:2])])
    table = looked_at(path, names)
    order = np.argsort([int(name[:2]) for part in names for name in part]).astype(np.int32)
    column = WholeFiles(
        field=FIELD,
        numbers=order,
        title=str(path),
        lengths=Lengths.of(table.nbytes),
        stored_nbytes=int(table.nbytes.sum()),
        label="a file a record",
    )
    return Source(format_name="x", title="x", columns=[column], fingerprints=table, file_starts=[0, count])


def test_stretches_of_files_keep_the_contract(tmp_path: Path):
    """Read, mapped, past the page cache; in every order."""
    source = ranges(tmp_path)
    testing.check_source(source, {"data": Ragged.of(records())}, num_workers=(0,))
    source.close()


def test_whole_files_keep_the_contract(tmp_path: Path):
    """Empty ones among them."""
    source = folder(tmp_path)
    testing.check_source(source, {"data": Ragged.of(records())}, num_workers=(0, 2))
    source.close()


def test_a_record_without_a_value_is_a_null(tmp_path: Path):
    """An error that names the file and the place in it; left out where that is asked for."""
    source = ranges(tmp_path, missing=30)
    with pytest.raises(NullValueError, match=re.escape(f"{tmp_path / '1'}: null at row 5 of column 'data'.")):
        source[:]
    complete, numbers = source.complete()
    assert numbers.tolist() == [number for number in range(40) if number != 30]
    assert list(complete[28:32]["data"]) == [*records()[28:30], b"", records()[31]]
    source.close()
    complete.close()


def test_a_file_that_changed_or_is_gone_is_named_or_noted(tmp_path: Path):
    """Never another's bytes: zeros in the place of what cannot be read, and a fault for it."""
    source = folder(tmp_path)
    os.remove(tmp_path / "0" / "04.bin")
    (tmp_path / "1" / "05.bin").write_bytes(records()[4])
    with pytest.raises(SourceChangedError, match=re.escape(f"{tmp_path / '0' / '04.bin'} is gone: No such file or directory.")):
        source[4]
    with pytest.raises(SourceChangedError, match=re.escape(f"{tmp_path / '1' / '05.bin'} ")):
        source[5]
    (column,), wanted = source.columns, np.array([3, 4, 5], np.int64)
    files, faults = OpenFiles(source.fingerprints), list[Fault]()
    reader = column.reader(files, ReadStats())
    reader.collect_faults(faults)
    lengths = reader.lengths(wanted)
    values = np.full(int(lengths.sum()), 7, np.uint8)
    reader.gather_ragged(wanted, values, np.cumsum(lengths) - lengths)
    reader.close()
    files.close()
    assert [(fault.row, fault.record) for fault in faults] == [(1, 4), (2, 5)]
    assert bytes(values[: lengths[0]]) == records()[3]
    assert not values[lengths[0] :].any()
    source.close()


def test_a_table_of_files_is_a_sequence_of_fingerprints(tmp_path: Path):
    """One by one, in stretches, put together, in any order of folders; twenty bytes a file besides its name."""
    names = [["a", "bé", "c"], [], ["a", "d"]]
    for number, own in enumerate(names):
        (tmp_path / str(number)).mkdir()
        for name in own:
            (tmp_path / str(number) / name).write_bytes(name.encode() + bytes(number))
    table = looked_at(tmp_path, names)
    expected = [fingerprint(tmp_path / str(number) / name) for number, own in enumerate(names) for name in own]
    assert list(table) == expected
    for start in range(6):
        for stop in range(start, 6):
            assert list(table[start:stop]) == expected[start:stop]
    assert table[-1] == expected[-1]
    assert list(joined_tables([table[1:], table[:2], table[3:3], table[4:]])) == [*expected[1:], *expected[:2], *expected[4:]]
    mixed = [expected[number] for number in (3, 0, 4, 1, 2)]
    assert list(table_from(mixed)) == mixed
    assert table.name_list() == ["a", "bé", "c", "a", "d"]
    assert sum(getattr(table, name).nbytes for name in ("inodes", "nbytes", "mtimes_ns")) == 20 * len(table)
    assert len(table.devices) == 1
    large = replace(table, nbytes=np.array([1, 2, 3, 4, 5 << 32]))
    assert joined_tables([table, large])[9].nbytes == 5 << 32
    assert isinstance(table[0], Fingerprint)
    with pytest.raises(IndexError):
        table[5]
