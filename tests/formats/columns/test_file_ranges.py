"""Records that are stretches of files, or whole files: the contract of a source, and files that change, go, or cannot be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamload import kernels, testing
from streamload.errors import NullValueError, SourceChangedError
from streamload.formats.columns.chunk_reader import LOOKS_LEFT_OUT, ChunkedFile, ChunkReader
from streamload.formats.columns.file_ranges import FileRanges
from streamload.formats.columns.files_together import FilesTogether
from streamload.formats.columns.whole_files import WholeFiles
from streamload.nulls import Nulls
from streamload.ragged import Ragged
from streamload.schema import BYTES, Field
from streamload.source import Fault, Lengths, ReadStats, Source
from streamload.storage.file_table import FileTable, joined_tables, table_from, table_of
from streamload.storage.files import Fingerprint, OpenFiles, fingerprint
from streamload.tools.files.page_cache import EVICT_ONLY, make_cold


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def _both(request: pytest.FixtureRequest) -> Iterator[None]:
    """Either set of kernels."""
    kernels.compile_kernels()
    kernels.use(compiled=request.param)
    assert (kernels.whole_file_kernels() is not None) == request.param
    yield
    kernels.use(compiled=True)


LOADED = "from streamload import kernels; kernels.use(compiled=True); print(kernels.whole_file_kernels().__name__)"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has them")
def test_what_reads_whole_files_is_compiled_by_one_process_which_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "STREAMLOAD_CACHE_DIR": str(tmp_path)}
    begun = [
        subprocess.Popen([sys.executable, "-c", LOADED], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outcomes = sorted(process.communicate() for process in begun)
    said = "streamload: compiling what reads whole files, which takes some 3 seconds, once.\n"
    assert outcomes == [("streamload.kernels.whole_files\n", ""), ("streamload.kernels.whole_files\n", said)]


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
            (path / str(part) / name).write_bytes(records(count)[int(name[:-4])])
    table = looked_at(path, names)
    order = np.argsort([int(name[:-4]) for part in names for name in part]).astype(np.int32)
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


@pytest.mark.usefixtures("_both")
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


@pytest.mark.usefixtures("_both")
def test_a_file_that_changed_or_is_gone_is_named_or_noted(tmp_path: Path):
    """Never another's bytes: zeros in the place of what cannot be read, and a fault for it."""
    source = folder(tmp_path)
    os.remove(tmp_path / "0" / "04.bin")
    (tmp_path / "1" / "05.bin").write_bytes(records()[4])
    with pytest.raises(SourceChangedError, match=re.escape(f"{tmp_path / '0' / '04.bin'} is gone: No such file or directory.")):
        source[4]
    with pytest.raises(SourceChangedError, match=re.escape(f"{tmp_path / '1' / '05.bin'} ")):
        source[5]
    wanted = np.array([3, 4, 5, 3], np.int64)
    assert gathered(source, wanted) == ([(1, 4), (2, 5)], [records()[3], b"", b"", records()[3]])
    source.close()


def gathered(source: Source, wanted: np.ndarray, *, as_table: bool = True) -> tuple[list[tuple[int, int]], list[bytes]]:
    """Rows and records of faults, and the bytes of each record; b"" where these are zeros."""
    (column,) = source.columns
    files, faults = OpenFiles(source.fingerprints if as_table else list(source.fingerprints)), list[Fault]()
    reader = column.reader(files, ReadStats())
    reader.collect_faults(faults)
    reader.advise(wanted)
    lengths = reader.lengths(wanted)
    starts = np.cumsum(lengths) - lengths
    values = np.full(int(lengths.sum()), 7, np.uint8)
    reader.gather_ragged(wanted, values, starts)
    reader.close()
    files.close()
    found = [values[start : start + length].tobytes() for start, length in zip(starts, lengths, strict=True)]
    return [(fault.row, fault.record) for fault in faults], [data if any(data) else b"" for data in found]


@pytest.mark.usefixtures("_both")
def test_another_file_under_a_name_is_never_read(tmp_path: Path):
    """As long, and of the same time, or the same one with another time; one that is longer, a folder, a pipe, one that is a link."""
    source, known = folder(tmp_path), records()
    path = {number: tmp_path / str(number % 2) / f"{number:02}.bin" for number in range(10)}
    was = {number: path[number].stat() for number in path}
    for number, other in path.items():
        if number in (0, 2, 3, 7, 8):
            os.rename(other, tmp_path / f"kept {number}")
    path[0].write_bytes(bytes(len(known[0])))
    os.utime(path[0], ns=(was[0].st_atime_ns, was[0].st_mtime_ns))
    os.utime(path[1], ns=(was[1].st_atime_ns, was[1].st_mtime_ns + 1))
    path[2].mkdir()
    os.mkfifo(path[3])
    with path[5].open("ab") as file:
        file.write(b"more")
    os.utime(path[5], ns=(was[5].st_atime_ns, was[5].st_mtime_ns))
    with path[6].open("r+b") as file:
        file.truncate(len(known[6]) - 1)
    os.utime(path[6], ns=(was[6].st_atime_ns, was[6].st_mtime_ns))
    os.symlink(tmp_path / "kept 7", path[7])
    os.symlink("nowhere", path[8])
    bad = [0, 1, 2, 3, 5, 6, 8]
    expected = [b"" if number in bad else known[number] for number in range(10)]
    assert gathered(source, np.arange(10)) == ([(number, number) for number in bad], expected)
    source.close()


@pytest.mark.usefixtures("_both")
@pytest.mark.parametrize("as_table", [True, False])
def test_a_step_none_of_whose_records_has_a_file_is_opened_ahead_as_any_other(as_table: bool, tmp_path: Path):
    """Right after a look found that the disk must be waited for, too: a small step, and masks that are missing."""
    source = folder(tmp_path)
    (column,) = source.columns
    assert isinstance(column, WholeFiles)
    column = replace(column, numbers=np.array([0, -1], np.int32), fill=b"none")
    files = OpenFiles(source.fingerprints if as_table else list(source.fingerprints))
    reader = column.reader(files, ReadStats())
    reader._cold_calls = 1
    for wanted in (np.array([1]), np.array([], np.int64), np.array([0, 1])):
        reader.advise(wanted)
        lengths = reader.lengths(wanted)
        values = np.zeros(int(lengths.sum()), np.uint8)
        reader.gather_ragged(wanted, values, np.cumsum(lengths) - lengths)
        assert values.tobytes() == b"".join([records()[0], b"none"][number] for number in wanted.tolist())
    reader.close()
    files.close()
    source.close()


@pytest.mark.usefixtures("_both")
@pytest.mark.parametrize("as_table", [True, False])
@pytest.mark.parametrize("bad", [range(200), range(0, 200, 2), [0], []], ids=["all", "every other", "first", "none"])
def test_files_are_looked_up_a_few_times_each_however_many_are_bad(
    bad: Sequence[int], as_table: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What was read or refused is not gone through again with what is left."""
    source = folder(tmp_path, 200)
    for number in bad:
        os.remove(tmp_path / str(number % 2) / f"{number:02}.bin")
    looked_up, read = [0], FilesTogether.read

    def counting(self: FilesTogether, numbers: np.ndarray, *more: Any) -> int:
        looked_up[0] += len(numbers)
        return read(self, numbers, *more)

    monkeypatch.setattr(FilesTogether, "read", counting)
    expected = [b"" if number in set(bad) else one for number, one in enumerate(records(200))]
    assert gathered(source, np.arange(200), as_table=as_table) == ([(number, number) for number in bad], expected)
    assert looked_up[0] <= 4 * 200
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
    numbers = np.array([4, 0, 3, 3, 1])
    assert [*map(os.fsdecode, table.paths(numbers))] == [expected[number].path for number in numbers]
    assert table[1:].paths(np.array([0])) == [os.fsencode(expected[1].path)]
    assert table.identities(numbers).tolist() == [list(expected[number].identity) for number in numbers]
    assert isinstance(table[0], Fingerprint)
    with pytest.raises(IndexError):
        table[5]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has them")
def test_files_of_a_table_are_read_and_looked_for_by_number(tmp_path: Path) -> None:
    """Of folders that are empty, of sizes in four or eight bytes, of devices that differ, and of a part of a table; a number that no
    file has is an error."""
    kernels.compile_kernels()
    names = [[], ["a", "bé"], [], [], ["a", "d", "long"], []]
    for number, own in enumerate(names):
        (tmp_path / str(number)).mkdir()
        for name in own:
            (tmp_path / str(number) / name).write_bytes({"long": bytes(range(250))}.get(name, f"{number}{name}".encode()))
    table = looked_at(tmp_path, names)
    apart = replace(table, nbytes=table.nbytes.astype(np.int64), devices=np.repeat(table.devices, len(table)))
    for files in (table, apart, table[1:], joined_tables([table[3:], table])):
        together = FilesTogether.of(files)
        assert together is not None
        numbers = np.arange(len(files))[::-1]
        expected = [Path(files[number].path).read_bytes() for number in numbers.tolist()]
        ends = np.cumsum([len(one) for one in expected])
        out, meter = np.zeros(int(ends[-1]) + 1, np.uint8), ReadStats()
        assert together.read(numbers, out, ends - np.diff(ends, prepend=0), meter) == len(files)
        assert (out.tobytes(), meter.read_nbytes) == (b"".join(expected) + b"\0", int(ends[-1]))
        assert together.are_cached(numbers, np.zeros(len(files), np.int64))
        together.begin_reading(numbers)
        for number in (-1, len(files)):
            with pytest.raises(IndexError, match=f"there are {len(files)} files"):
                together.read(np.array([0, number]), out, np.zeros(2, np.int64), meter)
    (tmp_path / "4" / "a").write_bytes(b"another")
    together, out = FilesTogether.of(table), np.zeros(1000, np.uint8)
    assert together is not None
    assert together.read(np.arange(5), out, np.arange(5) * 200, ReadStats()) == 2
    (tmp_path / "1" / "a").unlink()
    assert together.read(np.arange(5), out, np.arange(5) * 200, ReadStats()) == 0
    assert together.are_cached(np.arange(5), np.zeros(5, np.int64)), "who reads it says that it is gone"
    assert FilesTogether.of(list(table)) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has them")
def test_a_byte_that_is_looked_for_is_read_into_memory_of_the_caller(tmp_path: Path) -> None:
    """Memory that compiled code takes is freed after its last use by name: the kernel of the system would write into that of others."""
    kernels.compile_kernels()
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "a").write_bytes(b"abc")
    together, room = FilesTogether.of(looked_at(tmp_path, [["a"]])), np.zeros(3, np.int64)
    assert together is not None
    files, compiled = together._files, kernels.whole_file_kernels()
    assert compiled._absent(files._places, files._path_nbytes, np.zeros(1, np.int64), np.full(1, 2, np.int64), room) == -1
    assert room.tolist() == [room.ctypes.data + 16, 1, ord("c")]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has them")
def test_chunks_that_are_files_are_looked_for_seldom_while_all_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look goes for several calls for advice, but for those after a look that found a file missing."""
    kernels.compile_kernels()
    monkeypatch.setenv(EVICT_ONLY, "1")
    (tmp_path / "0").mkdir()
    paths = [tmp_path / "0" / f"{number:02}" for number in range(40)]
    for path in paths:
        path.write_bytes(bytes(5_000))
    table = looked_at(tmp_path, [[path.name for path in paths]])
    part = ChunkedFile(
        number=0,
        records=40,
        chunk_shape=(1, 5_000),
        offsets=np.zeros(40, np.int64),
        nbytes=np.full(40, 5_000),
        masks=np.zeros(40, np.uint32),
        filters=(),
        stored=np.dtype("u1"),
        fill=b"",
        numbers=np.arange(40, dtype=np.int32),
    )
    found, are_cached = list[bool](), FilesTogether.are_cached

    def noting(self: FilesTogether, *looked_for: Any) -> bool:
        found.append(are_cached(self, *looked_for))
        return found[-1]

    monkeypatch.setattr(FilesTogether, "are_cached", noting)
    files = OpenFiles(table)
    reader, calls = ChunkReader([part], "x", files, ReadStats(), 0), 3 * (LOOKS_LEFT_OUT + 1)
    for _ in range(calls):
        if not reader.leaves_out():
            reader.advise(0, np.arange(40))
    assert found == [True] * 3
    found.clear()
    for _ in range(calls):
        if found[:1] == [False] and len(found) == 1:
            assert not reader.leaves_out(), "what is not there is asked for, and looked for at once again"
            break
        try:
            make_cold(paths)
        except RuntimeError:
            pytest.skip("this file system keeps what it is asked to let go")
        if not reader.leaves_out():
            reader.advise(0, np.arange(40))
    assert found == [False]
    reader.close()
    files.close()
