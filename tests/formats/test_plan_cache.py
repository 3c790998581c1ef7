"""Sources kept from one run to the next: the same records as when they are planned anew, and never of files that changed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parquet_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import arrow, npy, parquet
from foreign_files import framed, tf_example

from streamload.errors import CorruptDataError, NullValueError, SourceChangedError, StreamloadError
from streamload.formats import plan_cache
from streamload.formats.open import open_source
from streamload.ragged import Ragged
from streamload.storage import disk_cache

WRITERS: dict[str, Callable[[Path], Any]] = {
    f"{module.__name__.split('.')[-1]}, {name}": write for module in (parquet, arrow, npy) for name, write in module.EXAMPLES.items()
}


class PlannedError(Exception):
    """Raised where a source should have been known."""


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, planning is an error."""

    def planned(*_: object, **__: object) -> None:
        raise PlannedError

    def call() -> None:
        for module in ("parquet.planning", "arrow.planning", "npy.planning"):
            monkeypatch.setattr(f"streamload.formats.{module}.plan_files", planned)

    return call


def known(path: object, **options: Any) -> bool:
    """Whether a source is known without planning; other errors pass."""
    try:
        open_source(path, **options).close()  # pyright: ignore[reportArgumentType]
    except PlannedError:
        return False
    return True


@pytest.mark.parametrize("what", WRITERS)
def test_a_source_that_was_kept_is_the_one_that_was_planned(what: str, tmp_path: Path, kept: Path, forbid: Callable[[], None]):
    """The same text, schema, cuts and records, whatever its columns are."""
    expected = WRITERS[what](tmp_path / "a")
    planned = open_source(tmp_path / "a")
    assert len(list(kept.iterdir())) == 1
    forbid()
    source = open_source(tmp_path / "a")
    assert repr(source) == repr(planned)
    assert source.fingerprints == planned.fingerprints
    assert source.file_starts.tolist() == planned.file_starts.tolist()
    for column, other in zip(source.columns, planned.columns, strict=True):
        assert (column.field, column.scratch_nbytes, column.addressable) == (other.field, other.scratch_nbytes, other.addressable)
        np.testing.assert_array_equal(column.cuts, other.cuts)  # pyright: ignore[reportArgumentType]
    again = planned[::-1]
    for name, array in source[::-1].items():
        if isinstance(array, Ragged):
            assert array.offsets.tolist() == again[name].offsets.tolist()
            np.testing.assert_array_equal(array.values, again[name].values)
            continue
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name][::-1])
    for one in (source, planned):
        one.close()
    assert not known(tmp_path / "a", fields=list(expected)[:1])


def _rewritten(path: Path) -> None:
    """Other bytes of the same length, and the time of the change set back."""
    was = path.stat()
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def _replaced(path: Path) -> None:
    """A copy under the same name."""
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def _led_elsewhere(path: Path) -> None:
    """A link in place of the file, to a copy."""
    path.rename(path.with_suffix(".old"))
    path.symlink_to(path.with_suffix(".old"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten, and its time set back": _rewritten,
    "replaced by a copy": _replaced,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "touched": lambda path: os.utime(path),
    "a link elsewhere": _led_elsewhere,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("which", [0, 7])
def test_a_changed_file_is_planned_anew(change: str, which: int, tmp_path: Path, kept: Path, forbid: Callable[[], None]):
    """One of eight, whatever happened to it; and it is never told by what was kept."""
    paths = [tmp_path / f"{number}.parquet" for number in range(8)]
    for number, path in enumerate(paths):
        parquet_files.write(path, records=10, seed=number)
    open_source(paths).close()
    forbid()
    assert known(paths)
    time.sleep(0.02)  # a tick of the file system's clock
    CHANGES[change](paths[which])
    assert not known(paths)


def test_files_that_come_or_go_make_another_source(tmp_path: Path, kept: Path, forbid: Callable[[], None]):
    """A folder is listed each time; a file more, one less, or another order is another source."""
    (tmp_path / "data").mkdir()
    for number in range(3):
        parquet_files.write(tmp_path / "data" / f"{number}.parquet", records=10)
    open_source(tmp_path / "data").close()
    forbid()
    assert known(tmp_path / "data")
    assert known([tmp_path / "data" / f"{number}.parquet" for number in range(3)])
    assert not known([tmp_path / "data" / f"{number}.parquet" for number in (0, 2, 1)])
    parquet_files.write(tmp_path / "data" / "3.parquet", records=10)
    assert not known(tmp_path / "data")
    (tmp_path / "data" / "3.parquet").unlink()
    assert known(tmp_path / "data")
    (tmp_path / "data" / "2.parquet").unlink()
    assert not known(tmp_path / "data")


def test_options_are_part_of_the_request(tmp_path: Path, kept: Path, forbid: Callable[[], None]):
    """Other shapes, another value for nulls (1 is not True), checksums or none: planned anew; what JSON cannot hold, always."""
    parquet_files.write(tmp_path / "a.parquet", write_page_checksum=True)
    path = tmp_path / "a.parquet"
    assert open_source(path, shapes={"image": (18, 7)}, fill=1)[:]["image"].shape == (100, 18, 7)
    open_source(path, fill=np.int64(1)).close()
    assert len(list(kept.iterdir())) == 1
    forbid()
    assert known(path, shapes={"image": (18, 7)}, fill=1)
    for options in ({"shapes": {"image": (7, 18)}, "fill": 1}, {"shapes": {"image": (18, 7)}, "fill": True}, {"verify": False}, {}):
        assert not known(path, **options)
    assert not known(path, fill=np.int64(1))


def test_every_damaged_entry_is_ignored_thrown_away_and_written_again(tmp_path: Path, kept: Path):
    """Cut at any tenth, any bit flipped: the source is planned anew, and delivers what it should."""
    expected = parquet_files.write(tmp_path / "a.parquet")
    open_source(tmp_path / "a.parquet").close()
    (entry,) = kept.iterdir()
    whole = entry.read_bytes()
    damaged = [whole[: len(whole) * tenth // 10] for tenth in range(10)]
    damaged += [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in range(0, len(whole), 101)]
    for data in damaged:
        with pytest.raises(CorruptDataError, match=r"what was kept of a plan cannot be read: .*\. It is made anew\."):
            plan_cache._read(np.frombuffer(data, np.uint8))
        entry.write_bytes(data)
        source = open_source(tmp_path / "a.parquet")
        assert entry.read_bytes() == whole
        np.testing.assert_array_equal(source[77]["image"], expected["image"][77])
        source.close()


LIES: dict[str, Callable[[Any], None]] = {
    "a kind of no column": lambda said: said["columns"].append({"Path": {}}),
    "a field too many": lambda said: said["columns"][0]["RawRecords"].update(more=1),
    "records behind the end": lambda said: said["columns"][0]["RawRecords"].update(offsets=said["columns"][0]["RawRecords"]["strides"]),
    "a file that is not there": lambda said: said["files"].append("/nowhere"),
    "another number of records": lambda said: said["columns"][0]["RawRecords"]["starts"]["array"].__setitem__(1, 2),
    "a type of objects": lambda said: said["pools"].__setitem__(0, "|O"),
    "a field with a number for a name": lambda said: said["columns"][0]["RawRecords"]["field"]["Field"].update(name=3),
    "a field of no shape": lambda said: said["columns"][0]["RawRecords"]["field"]["Field"].update(shape={"tuple": [-1]}),
    "a ragged field whose records are not": lambda said: said["columns"][0]["RawRecords"]["field"]["Field"].update(ragged="text"),
    "files that begin nowhere": lambda said: said["starts"]["array"].__setitem__(1, 0),
    "an array that is not there": lambda said: said["columns"][0]["RawRecords"]["starts"]["array"].__setitem__(1, 10**9),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_entry_that_lies_under_a_right_checksum_is_not_believed(lie: str, tmp_path: Path, kept: Path):
    """Nothing but known kinds come of an entry, and no record lies outside its file."""
    expected = parquet_files.write(tmp_path / "a.parquet")
    open_source(tmp_path / "a.parquet").close()
    (entry,) = kept.iterdir()
    whole = np.fromfile(entry, np.uint8)
    said, arrays = disk_cache.unpack(plan_cache.MAGIC, whole)
    LIES[lie](said)
    pools = [array.view("<i8") if number == 0 else array for number, array in enumerate(arrays)]
    if lie == "records behind the end":
        pools[0] = pools[0] * 10**9
    entry.write_bytes(b"".join(disk_cache.pack(plan_cache.MAGIC, said, pools)))
    source = open_source(tmp_path / "a.parquet")
    np.testing.assert_array_equal(source[:]["image"], expected["image"])
    source.close()


def test_a_young_file_and_a_quick_plan_are_not_kept(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch):
    """A file may change again within the tick of a clock; and what is quick is done again."""
    parquet_files.write(tmp_path / "a.parquet")
    monkeypatch.setattr(disk_cache, "WORTH_SECONDS", 60)
    open_source(tmp_path / "a.parquet").close()
    monkeypatch.setattr(disk_cache, "WORTH_SECONDS", -1)
    monkeypatch.setattr(disk_cache, "SETTLED_NS", 2 * 10**9)
    open_source(tmp_path / "a.parquet").close()
    assert not kept.exists() or not any(kept.iterdir())


def test_a_file_that_changes_while_it_is_planned_is_not_kept(tmp_path: Path, kept: Path):
    """What was found out is of the file before."""
    parquet_files.write(tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", fields=["image"])
    before = len(list(kept.iterdir()))
    parquet_files.write(tmp_path / "a.parquet", seed=1)
    plan_cache.store_plan(disk_cache.request([str(tmp_path / "a.parquet")], "x"), source, 1.0)
    assert len(list(kept.iterdir())) == before
    with pytest.raises(SourceChangedError):
        source[0]
    source.close()


def test_what_a_plan_refuses_is_refused_again(tmp_path: Path, kept: Path):
    """Errors are not kept, neither those of planning nor those of reading."""
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1, None]}), tmp_path / "b.parquet")
    for _ in range(2):
        with pytest.raises(StreamloadError, match="holds two columns called 'x'"):
            open_source(tmp_path / "a.parquet")
        with pytest.raises(StreamloadError, match="null at row 1 of column 'x'"):
            open_source(tmp_path / "b.parquet")[:]
    assert len(list(kept.iterdir())) == 1


def test_three_hundred_files_are_read_once(tmp_path: Path):
    """The second process to open them opens none for its footer; a changed one is seen by the third."""
    for number in range(300):
        parquet_files.write(tmp_path / f"{number}.parquet", records=3, seed=number, raw=bool(number % 2))
    code = """
import json, os, sys
from streamload.storage import disk_cache as shelf
shelf.SETTLED_NS, shelf.WORTH_SECONDS = -(10**10), -1
import streamload as sl
source = sl.open(sys.argv[1] + "/*.parquet")
print(json.dumps(["streamload.formats.parquet.metadata" in sys.modules, len(source), source[890]["image"].tolist()]))
"""
    environment = {**os.environ, "STREAMLOAD_CACHE_DIR": str(tmp_path / "cache")}

    def said() -> list[Any]:
        done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, env=environment)
        assert done.stderr == ""
        return json.loads(done.stdout)

    wanted = parquet_files.images(3, seed=296)[2].tolist()
    assert said() == [True, 900, wanted]
    assert said() == [False, 900, wanted]
    parquet_files.write(tmp_path / "0.parquet", records=4, seed=0)
    assert said() == [True, 901, parquet_files.images(3, seed=296)[1].tolist()]


def test_every_kind_lies_where_it_is_said_to_lie():
    """A class that has moved is kept no longer, and nobody notices."""
    for name, module in plan_cache.KINDS.items():
        assert getattr(importlib.import_module(module), name).__module__ == module


@pytest.mark.parametrize("lie", ["values", "offsets", "too many offsets"])
def test_values_that_are_kept_are_those_of_all_records(lie: str, tmp_path: Path, kept: Path):
    """Texts of a TFRecord are held in memory, and copied by compiled code."""
    texts = [f"t{at}" * (at % 4) for at in range(80)]
    (tmp_path / "a.tfrecord").write_bytes(b"".join(framed(tf_example({"s": one.encode()})) for one in texts))
    open_source(tmp_path / "a.tfrecord").close()
    (entry,) = kept.iterdir()
    said, arrays = disk_cache.unpack(plan_cache.MAGIC, np.fromfile(entry, np.uint8))
    column = said["columns"][0]["InMemoryRagged"]
    arrays = [array.copy() for array in arrays]
    offsets = arrays[said["pools"].index("<i8")].view("<i8")
    if lie == "values":
        column["values"]["array"][1] -= 1
    elif lie == "offsets":
        offsets[40] = 1 << 40
    else:
        column["offsets"]["array"][1] = 2
    entry.write_bytes(b"".join(disk_cache.pack(plan_cache.MAGIC, said, arrays)))
    with open_source(tmp_path / "a.tfrecord") as source:
        assert list(source[:]["s"]) == texts


@pytest.mark.parametrize("lie", [{"shape": {"tuple": [2, 2]}}, {"shape": {"tuple": []}}, {"dtype": {"dtype": "<f8"}}], ids=str)
def test_places_of_raw_texts_are_two_numbers(lie: dict[str, Any], tmp_path: Path, kept: Path):
    """They are copied by compiled code into a table of such: others would lie beyond it."""
    texts = ["ab" * (at % 4) for at in range(60)]
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("t", pa.utf8())])) as writer:
        writer.write_table(pa.table({"t": texts}))
    open_source(tmp_path / "a.arrow").close()
    (entry,) = kept.iterdir()
    said, arrays = disk_cache.unpack(plan_cache.MAGIC, np.fromfile(entry, np.uint8))
    said["columns"][0]["RawRagged"]["pairs"]["RawRecords"]["field"]["Field"].update(lie)
    with pytest.raises(CorruptDataError, match="what was kept of a plan cannot be read: places of elements are none"):
        plan_cache._read(np.frombuffer(b"".join(map(bytes, disk_cache.pack(plan_cache.MAGIC, said, arrays))), np.uint8))
    entry.write_bytes(b"".join(disk_cache.pack(plan_cache.MAGIC, said, arrays)))
    with open_source(tmp_path / "a.arrow") as source:
        assert list(source[:]["t"]) == texts


def file_with_nulls(path: Path) -> Path:
    """Nine records, every third of them null in a column of numbers and in one of texts."""
    held = [None if at % 3 == 1 else at for at in range(9)]
    words = [None if at is None else "w" * at for at in held]
    pq.write_table(pa.table({"number": range(9), "label": pa.array(held, pa.int16()), "word": words}), path)
    return path


def test_small_fields_with_nulls_are_kept_with_their_nulls(tmp_path: Path, kept: Path, forbid: Callable[[], None]):
    """Single values and texts that are held in memory: known again, and asking for one that is null is the same error."""
    path = file_with_nulls(tmp_path / "a.parquet")
    with open_source(path) as planned:
        assert (planned.nulls["label"].count, planned.nulls["word"].count) == (3, 3)
    forbid()
    with open_source(path) as source:
        assert source.nulls == planned.nulls
        assert (source[8]["label"], source[8]["word"]) == (8, "w" * 8)
        with pytest.raises(NullValueError, match="null at row 4 of column 'label'"):
            source[4]


def test_an_entry_larger_than_all_may_be_is_not_read(tmp_path: Path, kept: Path):
    """It is thrown away, and written anew."""
    expected = parquet_files.write(tmp_path / "a.parquet")
    open_source(tmp_path / "a.parquet").close()
    (entry,) = kept.iterdir()
    os.truncate(entry, 1 << 38)
    with open_source(tmp_path / "a.parquet") as source:
        np.testing.assert_array_equal(source[:]["image"], expected["image"])
    assert entry.stat().st_size < 1 << 20
