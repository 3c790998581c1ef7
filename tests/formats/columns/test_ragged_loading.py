"""Records that differ in length, through a loader: the same bytes however they come, whatever one of them weighs."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ragged_files import WRITERS, Expected, values, write_arrow, write_parquet
from time_limits import GUARD_SECONDS

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows

ORDERS = {
    "exact": sl.Exact(),
    "one window": sl.Block(),
    "small windows": sl.Block(window="64 KB"),
    "sequential": sl.Sequential(),
}
each_order = pytest.mark.parametrize("order", ORDERS)
each_writer = pytest.mark.parametrize("writer", WRITERS)


def same(batch: sl.Batch, expected: Expected) -> bool:
    """Whether a batch holds exactly the records that it names."""
    records = batch.records.tolist()
    return all(alike(batch[name], one[records]) for name, one in expected.items())


def alike(found: Any, there: Any) -> bool:
    """Two arrays, or two Raggeds, dtypes included."""
    if isinstance(there, sl.Ragged):
        return found.kind == there.kind and np.array_equal(found.offsets, there.offsets) and alike(found.values, there.values)
    return found.dtype == there.dtype and np.array_equal(found, there)


def taken(batches: Any) -> list[tuple[Any, ...]]:
    """All of some batches, copied."""
    return [(batch.epoch, batch.records.tolist(), *(bytes_of(batch[name]) for name in sorted(batch.keys()))) for batch in batches]


def bytes_of(one: Any) -> bytes:
    return one.values.tobytes() + one.offsets.tobytes() if isinstance(one, sl.Ragged) else one.tobytes()


def giant(scale: int = 1) -> Expected:
    """The usual records, one of which weighs as much as thousands."""
    expected = values()
    blobs, captions = list(expected["blob"]), list(expected["caption"])
    blobs[37], captions[71] = bytes(range(256)) * 4000 * scale, "long ü" * 50_000 * scale
    return {**expected, "blob": sl.Ragged.of(blobs), "caption": sl.Ragged.of(captions)}


@each_writer
@each_order
def test_the_bytes_are_the_same_for_any_number_of_workers(writer: str, order: str, tmp_path: Path):
    """Two epochs without and with workers, each batch right by itself."""
    expected = WRITERS[writer](tmp_path / "data")
    data = sl.open(tmp_path / "data")
    first = None
    for workers in (0, 1, 2, 3) if writer == "parquet zstd" else (0, 2):
        with sl.Loader(data, batch_size=9, shuffle=ORDERS[order], num_workers=workers, memory="256 MB") as loader:
            found = []
            for epoch in loader.epochs(2):
                for batch in epoch:
                    assert same(batch, expected)
                    found += taken([batch])
            assert loader.stats.overflows == 0
            assert loader.stats.nbytes > loader.stats.records * 8
        first = found if first is None else first
        assert found == first
    assert sorted(number for one in first or [] for number in one[1] if one[0] == 0) == list(range(100))
    data.close()


@pytest.mark.parametrize("writer", ["arrow raw", "parquet zstd"])
def test_a_state_resumes_at_every_step(writer: str, tmp_path: Path):
    """The rest of an epoch is that of the epoch that went through."""
    WRITERS[writer](tmp_path / "data")
    data = sl.open(tmp_path / "data")
    with sl.Loader(data, batch_size=30, shuffle=ORDERS["small windows"], num_workers=0) as loader:
        whole = taken(loader)
    for workers in (0, 2):
        with sl.Loader(data, batch_size=30, shuffle=ORDERS["small windows"], num_workers=workers) as loader:
            for steps in range(len(whole)):
                epoch = iter(loader)
                state = loader.state_dict()
                for _ in range(steps):
                    next(epoch)
                    state = loader.state_dict()
                state["epoch"] = 0
                loader.load_state_dict(state)
                assert taken(loader)[0][1:] == whole[steps][1:]


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_a_batch_may_be_larger_than_a_window(workers: int, tmp_path: Path):
    """It takes from as many windows as it needs, held ones and read ones alike."""
    expected = write_parquet(tmp_path / "data", use_dictionary=False)
    with sl.Loader(sl.open(tmp_path / "data"), batch_size=64, shuffle=ORDERS["small windows"], num_workers=workers) as loader:
        batches = list(loader)
        assert [len(batch.records) for batch in batches] == [64, 36]
        assert all(same(batch, expected) for batch in batches)


@each_writer
@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_a_batch_that_does_not_fit_its_slot_comes_all_the_same(writer: str, workers: int, tmp_path: Path):
    """In memory of its own, counted, byte for byte the same; the others come through the ring as ever."""
    expected = WRITERS[writer](tmp_path / "data", giant())
    data = sl.open(tmp_path / "data")
    # Row groups that hold the giants are blocks of their own: windows must have room for them.
    with sl.Loader(data, batch_size=5, shuffle=sl.Block(window="16 MB"), num_workers=workers, memory="512 MB") as loader:
        held = [batch for epoch in loader.epochs(2) for batch in epoch if {37, 71} & set(batch.records.tolist())]
        assert all(same(batch, expected) for batch in held)
        assert 0 < loader.stats.overflows <= 4
        assert loader.stats.overflown_nbytes > 1_000_000
        assert loader.stats.copies == 0, "a batch in memory of its own takes no slot"
        assert len(held) == 4 or len(held) == 3  # both giants may share a batch
    assert all(same(batch, expected) for batch in held), "and it outlives the loader"
    data.close()


@pytest.mark.filterwarnings("ignore:You hold more")
def test_blocks_that_do_not_fit_their_room_are_decoded_where_they_are_needed(tmp_path: Path):
    """A dictionary hides how long records are: one entry, long, stands for most of a row group that nobody measured."""
    rng = np.random.default_rng(0)
    long = rng.bytes(5000)
    blobs = [rng.bytes(10) if number // 100 not in (1, 3) or number % 100 < 65 else long for number in range(500)]
    expected = {"blob": sl.Ragged.of(blobs), "label": np.arange(500)}
    import pyarrow as pa, pyarrow.parquet as pq  # noqa: E401, I001

    pq.write_table(pa.table({"blob": pa.array(blobs, pa.binary()), "label": expected["label"]}), tmp_path / "data", row_group_size=100)
    data = sl.open(tmp_path / "data")
    first = None
    for workers in (0, 2):
        with sl.Loader(data, batch_size=50, shuffle=sl.Block(), num_workers=workers) as loader:
            found = list(loader)
            assert all(same(batch, expected) for batch in found)
            assert first is None or taken(found) == first
            first = taken(found)


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
@pytest.mark.parametrize("part", ["the Ragged", "its values", "its offsets", "a record", "an Arrow array"])
def test_any_part_of_a_ragged_field_keeps_the_batch(part: str, workers: int, tmp_path: Path):
    """It shows what it showed while two epochs go by; when it dies, its slot goes round again."""
    write_arrow(tmp_path / "data")
    parts = {
        "the Ragged": lambda ragged: ragged,
        "its values": lambda ragged: ragged.values,
        "its offsets": lambda ragged: ragged.offsets,
        "a record": lambda ragged: ragged[int(ragged.lengths.argmax())],
        "an Arrow array": lambda ragged: ragged.to_arrow(),
    }

    def shown(keeper: Any) -> Any:
        return keeper.to_pylist() if part == "an Arrow array" else bytes_of(keeper)

    with sl.Loader(sl.open(tmp_path / "data"), batch_size=9, shuffle=sl.Exact(), num_workers=workers) as loader:
        keeper = parts[part](next(iter(loader))["tokens"])
        before = shown(keeper)
        for epoch in loader.epochs(3):
            for batch in epoch:
                del batch
        assert shown(keeper) == before
        assert loader.stats.copies == 0
        del keeper
        gc.collect()
        slots = loader._live.slots
        assert slots.leased - len(slots._returned) == 0


def test_many_held_batches_are_copied_and_stay_right(tmp_path: Path):
    """As with other fields: beyond the spare slots, private memory."""
    expected = write_arrow(tmp_path / "data")
    with (
        sl.Loader(sl.open(tmp_path / "data"), batch_size=9, num_workers=2) as loader,
        pytest.warns(UserWarning, match="You hold more than"),
    ):
        held = list(loader)
    assert loader.stats.copies > 0
    assert all(same(batch, expected) for batch in held)


def turned(record: dict[str, Any]) -> dict[str, Any]:
    """Every kind of ragged record in, every kind out, some longer than they came."""
    return {
        "text": record["caption"].upper() * 2,
        "blob": record["blob"][::-1],
        "tokens": np.concatenate([record["tokens"], record["tokens"]]),
        "points": record["points"][:1],
        "mean": np.float64(len(record["name"])),
    }


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_a_transform_takes_and_gives_records_of_any_length(workers: int, tmp_path: Path):
    """As str, bytes and arrays; results that outgrow the slot go the other way as well."""
    write_parquet(tmp_path / "data", use_dictionary=False)
    data = sl.open(tmp_path / "data")
    with sl.Loader(data, batch_size=9, shuffle=sl.Exact(), num_workers=workers, transform=turned) as loader:
        kinds = {field.name: field.ragged for field in loader.schema}
        assert kinds == {"text": "text", "blob": "bytes", "tokens": "array", "points": "array", "mean": ""}
        seen = 0
        for batch in loader:
            for row, number in enumerate(batch.records.tolist()):
                record = turned(data[number])
                for name in ("text", "blob"):
                    assert batch[name][row] == record[name]
                for name in ("tokens", "points"):
                    assert alike(batch[name][row], record[name])
                assert batch["mean"][row] == record["mean"]
                seen += 1
        assert seen == 100
        assert loader.stats.overflows > 0, "tokens come out twice as long as anything that was known of them"


@pytest.mark.parametrize(
    ("wrong", "what"), [(b"x", "bytes"), (np.zeros(2), r"float64 \(2,\)")], ids=["bytes for text", "an array for text"]
)
def test_a_transform_that_changes_its_mind_is_refused(wrong: Any, what: str, tmp_path: Path):
    """With the record, what it gave, and what it gave first."""
    write_parquet(tmp_path / "data")

    def changing(record: dict[str, Any]) -> dict[str, Any]:
        return {"text": record["caption"] if record["label"] < 50 else wrong}

    said = rf"field 'text' is {what} for record 50, and was found to be: text text \(ragged\)"
    data = sl.open(tmp_path / "data")
    with (
        sl.Loader(data, batch_size=10, shuffle=False, num_workers=0, transform=changing) as loader,
        pytest.raises(sl.SchemaMismatchError, match=said),
    ):
        for _ in loader:
            pass


# Leavings, and deaths

PROGRAM = """
import gc, json, os, sys, warnings
import streamload as sl
from streamload.workers.launcher import Launcher
warnings.simplefilter("ignore")
path, restart, kill = sys.argv[1:]

def held():
    maps = sum("memfd:" in line or "(deleted)" in line for line in open("/proc/self/maps"))
    return maps, len(os.listdir("/proc/self/fd"))

data = sl.open(path)
with sl.Loader(data, batch_size=5, num_workers=1) as warm:
    next(iter(warm))
gc.disable()  # What is left over must go with the names that held it.
while not Launcher.current().ready:  # Until then, the first steps are done in this process.
    Launcher.current().report(-1)
before = held()
open(os.environ["STREAMLOAD_TEST_KILL"][1:], "w").write(kill)
loader = sl.Loader(data, batch_size=5, shuffle=sl.Exact(), num_workers=2, on_worker_crash=restart)
said, found, batch = "", [], None
try:
    for batch in loader:
        found.append([batch.records.tolist(), hash(batch["blob"].values.tobytes())])
except sl.WorkerCrashedError as error:
    said = str(error)
overflows = loader.stats.overflows
loader.close()
del loader, batch
print(json.dumps({"said": said, "found": found, "overflows": overflows, "before": before, "after": held()}))
"""


def run(path: Path, *, kill: str, restart: str) -> dict[str, Any]:
    """A program that loads an epoch in an environment of its own, one of whose workers may be killed."""
    with tempfile.NamedTemporaryFile() as told:
        more = {"STREAMLOAD_TEST_KILL": f"@{told.name}", "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", PROGRAM, str(path), restart, kill]
        done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD_SECONDS, env={**os.environ, **more})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def killed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose batches overflow now and then."""
    path = tmp_path_factory.mktemp("killed") / "data"
    write_arrow(path, giant())
    return path


@pytest.mark.parametrize("point", ["overflow", "mid_slot_write", "after_write_before_publish"])
def test_a_worker_killed_over_a_batch_that_overflows_leaves_nothing(point: str, killed_file: Path):
    """The death is named; no mapping and no descriptor is left of the memory that it had just made."""
    outcome = run(killed_file, kill=f"{point}:SIGKILL:{1 if point == 'overflow' else 3}", restart="raise")
    assert "was killed by SIGKILL" in outcome["said"]
    assert outcome["after"] == outcome["before"]


def test_a_worker_that_replaces_a_killed_one_delivers_the_same_overflow(killed_file: Path):
    """Byte for byte, as if nobody had died."""
    quiet = run(killed_file, kill="", restart="raise")
    outcome = run(killed_file, kill="overflow:SIGKILL:1", restart="restart")
    assert outcome["said"] == quiet["said"] == ""
    assert outcome["found"] == quiet["found"]
    assert outcome["overflows"] == quiet["overflows"] > 0
    assert outcome["after"] == outcome["before"]


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_leaving_an_epoch_leaves_no_overflow_behind(workers: int, tmp_path: Path):
    """Whatever was under way, or filled and not handed out, goes with the loader."""
    write_arrow(tmp_path / "data", giant())

    def mapped() -> int:
        return sum("memfd:" in line for line in Path("/proc/self/maps").read_text().splitlines())

    before = mapped()
    for steps in (0, 3, 8):
        with sl.Loader(sl.open(tmp_path / "data"), batch_size=5, shuffle=sl.Exact(), num_workers=workers) as loader:
            epoch: Iterator[sl.Batch] = iter(loader)
            for _ in range(steps):
                next(epoch)
            iter(loader)
    del loader, epoch
    gc.collect()
    assert mapped() == before


# Damage


@pytest.mark.parametrize("writer", ["arrow raw", "arrow lz4", "parquet dictionary"])
def test_a_null_is_an_error_that_names_file_column_and_row(writer: str, tmp_path: Path):
    """Unless something is said to stand for it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "data"
    table = pa.table({"text": [f"text {number}" * 20 for number in range(20)] + [None] + ["x"] * 9, "label": np.arange(30)})
    if writer.startswith("parquet"):
        pq.write_table(table, path, row_group_size=8)
    else:
        compression = "lz4" if writer == "arrow lz4" else None
        with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as out:
            out.write_table(table, max_chunksize=8)
    with pytest.raises(sl.NullValueError, match=rf"^{re.escape(str(path))}: null at row 20 of column 'text'\."):
        sl.open(path)[:]
    filled = sl.open(path, fill={"text": "nothing"})
    assert filled[20]["text"] == "nothing"
    assert filled[19]["text"] == "text 19" * 20
    with pytest.raises(sl.ConfigError, match=r"fill=3 cannot stand for nulls in 'text', which is ragged \(text\)\. Give what it can"):
        sl.open(path, fill={"text": 3})


@pytest.mark.parametrize("offset", [-1, 0, 2**31 - 1], ids=["negative", "turned back", "far away"])
def test_offsets_that_lead_astray_are_refused_by_record(offset: int, tmp_path: Path):
    """Raw records are read by offsets that the file says: each is checked before it is followed."""
    import pyarrow as pa

    table = pa.table({"text": ["some text" * 10] * 5})
    path = tmp_path / "data"
    with pa.ipc.new_file(str(path), table.schema) as out:
        out.write_table(table)
    whole = bytearray(path.read_bytes())
    place = bytes(whole).index(np.arange(0, 450, 90, dtype="<i4").tobytes())
    whole[place + 8 : place + 12] = np.array([offset], "<i4").tobytes()
    path.write_bytes(whole)
    with pytest.raises(sl.CorruptDataError, match=rf"{re.escape(str(path))}: record [12] of 'text' claims elements"):
        sl.open(path)[:]


def test_which_lists_are_ragged_can_be_said(tmp_path: Path):
    """shapes= with None first; without it, lists that are found to differ are ragged, others have a shape."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    late = [[1, 2]] * 2000 + [[1, 2, 3]] + [[1]]
    table = pa.table({"even": [[1, 2]] * 2002, "late": late, "early": [[1], [1, 2]] * 1001, "pairs": [[[1, 2]], [[1, 2], [3, 4]]] * 1001})
    pq.write_table(table, tmp_path / "data", row_group_size=1001)
    schema = sl.open(tmp_path / "data", fields=["even", "early", "pairs"]).schema
    assert str(schema) == "even int64 (2,) · early int64 (*,) · pairs int64 (*, 2)"
    assert [one.tolist() for one in sl.open(tmp_path / "data", fields=["late", "pairs"])[:]["late"]] == late
    said = sl.open(tmp_path / "data", shapes={"late": (None,), "even": (None,), "pairs": (None, 2)})
    assert str(said.schema) == "even int64 (*,) · late int64 (*,) · early int64 (*,) · pairs int64 (*, 2)"
    assert [one.tolist() for one in said[1998:]["late"]] == late[1998:]
    with pytest.raises(sl.ConfigError, match=r"Column 'even' holds 2 values a record \(2,\), and shape \(3,\) has 3"):
        sl.open(tmp_path / "data", shapes={"even": (3,)})
