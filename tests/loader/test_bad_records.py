"""Records that cannot be decoded: an error, a substitute, or left out; a function of the batch alone, and written down."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError
from streamload.fetch.bad_records import MOST_LISTED, BadRecord, BadRecordLog, BadRow, remap_slices, resolve
from streamload.fetch.ragged_collate import StreamRows
from streamload.source import Fault

RECORDS, SHAPE = 90, (6, 8, 3)
BAD = (0, 3, 17, 18, 19, 41, 88)
ORDERS: dict[str, Any] = {"exact": sl.Exact(), "block": sl.Block(window="16 KB"), "sequential": False}


def picture(record: int) -> np.ndarray:
    """An image that tells its record."""
    return np.full(SHAPE, record, np.uint8)


def write(path: Path, *, bad: tuple[int, ...] = BAD, records: int = RECORDS) -> Path:
    """Images, captions of any length and labels; some images are cut short."""
    images: list[bytes] = []
    for record in range(records):
        stream = io.BytesIO()
        Image.fromarray(picture(record)).save(stream, format="PNG")
        images.append(stream.getvalue()[: 40 if record in bad else None])
    captions = ["x" * (record % 11) + str(record) for record in range(records)]
    columns = {
        "image": pa.array([{"bytes": data, "path": None} for data in images], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "caption": pa.array(captions, pa.string()),
        "label": pa.array(np.arange(records) * 10),
    }
    pq.write_table(pa.table(columns), path, row_group_size=8)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with some bad images."""
    return write(tmp_path_factory.mktemp("bad") / "train.parquet")


def opened(path: Path) -> sl.Source:
    """Images of one size."""
    return sl.open(path, decode={"image": SHAPE[:2]})


def loader(path: Path, policy: str, **options: Any) -> sl.Loader:
    """Over the file, in batches of seven."""
    return sl.Loader(opened(path), **{"batch_size": 7, "num_workers": 0, "seed": 5, "on_bad_record": policy, "memory": "600 MB", **options})


def digest(batch: sl.Batch) -> tuple[int, int, list[int], str]:
    """Everything in a batch; and its fields must speak of the records that it names."""
    np.testing.assert_array_equal(batch["image"], np.stack([picture(record) for record in batch.records.tolist()]))
    assert batch["label"].tolist() == (batch.records * 10).tolist()
    captions = batch["caption"].to_list()
    assert captions == ["x" * (record % 11) + str(record) for record in batch.records.tolist()]
    return batch.epoch, batch.step, batch.records.tolist(), hashlib.sha256(batch["image"].tobytes()).hexdigest()


def taken(made: sl.Loader, epochs: int = 2) -> Iterator[tuple[int, int, list[int], str]]:
    """All batches of some epochs."""
    for epoch in made.epochs(epochs):
        for batch in epoch:
            yield digest(batch)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("policy", ["substitute", "skip"])
def test_the_same_at_any_number_of_workers(path: Path, policy: str, order: str):
    """Batches and ledger, for 0, 1, 2 and 3 workers; every good record comes, no bad one does."""
    found = []
    for workers in range(4):
        with loader(path, policy, num_workers=workers, shuffle=ORDERS[order]) as made:
            found.append((list(taken(made)), made.bad_records, made.stats.bad_records, made.stats.records))
    assert all(one == found[0] for one in found)
    batches, ledger, count, records = found[0]
    assert count == len(ledger) == 2 * len(BAD)
    assert sorted(entry.record for entry in ledger) == sorted(2 * BAD)
    assert all("cannot be decoded" in entry.why and f"record {entry.record:,} of 'image'" in entry.why for entry in ledger)
    for epoch in range(2):
        delivered = [record for at, _, numbers, _ in batches if at == epoch for record in numbers]
        assert set(delivered) == set(range(RECORDS)) - set(BAD)
        assert len(delivered) == (RECORDS if policy == "substitute" else RECORDS - len(BAD))
    assert records == sum(len(numbers) for _, _, numbers, _ in batches)
    assert all((entry.what == "skipped") == (policy == "skip") for entry in ledger)


@pytest.mark.parametrize("order", ["exact", "block"])
@pytest.mark.parametrize("policy", ["substitute", "skip"])
def test_a_resume_at_every_step_goes_on_with_the_same_batches(path: Path, policy: str, order: str):
    """What was left out or replaced is so again, and the state counts positions as if nothing were bad."""
    with loader(path, policy, shuffle=ORDERS[order]) as made:
        states, batches = [made.state_dict()], []
        for epoch in made.epochs(1):
            for batch in epoch:
                batches.append(digest(batch))
                states.append(made.state_dict())
    with loader(path, policy, shuffle=ORDERS[order]) as again:
        for step, state in enumerate(states):
            again.load_state_dict(json.loads(json.dumps(state)))
            assert list(taken(again, 1)) == batches[step:]


def test_substitutes_are_the_next_good_records_of_the_batch(path: Path):
    """After the last comes the first; all fields are the substitute's, and `records` says which it is."""
    with loader(path, "substitute", shuffle=False) as made:
        first, second, third = (digest(batch)[2] for _, batch in zip(range(3), made, strict=False))
        assert first == [1, 1, 2, 4, 4, 5, 6]
        assert second == list(range(7, 14))
        assert third == [14, 15, 16, 20, 20, 20, 20]
        assert made.bad_records == [
            BadRecord(0, 0, "replaced by record 1", made.bad_records[0].why),
            BadRecord(0, 3, "replaced by record 4", made.bad_records[1].why),
            *(BadRecord(0, record, "replaced by record 20", made.bad_records[2 + at].why) for at, record in enumerate((17, 18, 19))),
        ]
        assert (
            made.bad_records[0].why
            == f"{path}: record 0 of 'image' is a PNG that cannot be decoded: " + made.bad_records[0].why.split("decoded: ")[1]
        )


def test_an_error_names_file_field_and_record(path: Path):
    """And the step that met it; batches before it come first."""
    for workers in (0, 2):
        with loader(path, "raise", shuffle=False, num_workers=workers) as made:
            with pytest.raises(CorruptDataError, match=r"train.parquet: record 0 of 'image' is a PNG that cannot be decoded") as caught:
                list(taken(made))
            assert tuple(caught.value.records or ()) == (0, 1)
            assert caught.value.dataset == "image"
            assert caught.value.details["batch_index"] == 0
            assert made.bad_records == []


def test_a_batch_without_good_records(tmp_path: Path):
    """Substitutes there are none: an error. Skipped, the whole step does not come, and numbers go on."""
    file = write(tmp_path / "train.parquet", bad=(*range(7, 14), 88, 89))
    for workers in (0, 2):
        text = "None of the 7 records of a batch can be delivered, so none can stand in"
        with loader(file, "substitute", shuffle=False, num_workers=workers) as made, pytest.raises(CorruptDataError, match=text):
            list(taken(made))
        with loader(file, "skip", shuffle=False, num_workers=workers) as made:
            lengths = {step: len(records) for _, step, records, _ in taken(made, 1)}
            assert lengths == {step: 4 if step == 12 else 7 for step in range(13) if step != 1}
            assert [entry.record for entry in made.bad_records] == [*range(7, 14), 88, 89]
        with loader(file, "skip", shuffle=False, num_workers=workers, batch_size=1) as made:
            assert [records for _, _, records, _ in taken(made, 1)] == [[record] for record in range(88) if not 7 <= record < 14]
            assert made.state_dict()["position"] == RECORDS


def test_nothing_good_at_all(tmp_path: Path):
    """An epoch of which nothing is left is an error that counts, and so is the next one; the ledger is full."""
    file = write(tmp_path / "train.parquet", bad=tuple(range(RECORDS)))
    for workers in (0, 2):
        with loader(file, "skip", num_workers=workers) as made:
            for epoch in range(2):
                text = (
                    f"All 90 records of epoch {epoch} were left out, since none can be delivered, so there is nothing to train on. The last"
                )
                with pytest.raises(CorruptDataError, match=text) as caught:
                    list(made)
                assert 'on_bad_record="raise" stops at the first' in caught.value.hint
            assert (made.stats.bad_records, made.stats.steps) == (2 * RECORDS, 0)


def test_a_rest_of_which_nothing_is_good_is_a_short_epoch(tmp_path: Path):
    """What was handed out before the resume counts, too."""
    file = write(tmp_path / "train.parquet", bad=tuple(range(80, RECORDS)))
    with loader(file, "skip", shuffle=False) as made:
        made.seek(epoch=0, step=12)
        assert list(made) == []
        assert len(made.bad_records) == 6
        assert [batch.step for batch in made] == list(range(12))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_batch_of_a_mixture_says_whose_records_are_left(tmp_path: Path, ranks: int, workers: int):
    """With rows gone (one rank) or filled up (several), `source` and `valid` are of the rows that there are."""
    parts = {"a": BAD, "b": (7, 8, 9, 40), "c": ()}
    sources = {name: opened(write(tmp_path / f"{name}.parquet", bad=bad)) for name, bad in parts.items()}
    mixed = sl.mix({name: (source, 3) for name, source in sources.items()})
    options = {"batch_size": 9, "shuffle": False, "num_workers": workers, "on_bad_record": "skip", "memory": "600 MB"}
    for rank in range(ranks):
        with sl.Loader(mixed, **options, **({"distributed": (rank, ranks)} if ranks > 1 else {})) as made:
            for batch in made:
                found = list(zip(batch.source[batch.valid].tolist(), batch.records[batch.valid].tolist(), strict=True))
                wanted = []
                first = (batch.step * ranks + rank) * 3
                for part, bad in enumerate(parts.values()):
                    wanted += [(part, record) for record in range(first, first + 3) if record not in bad]
                assert found == wanted
                assert len(batch.source) == len(batch.valid) == len(batch.records) == len(batch["image"])
                assert (batch["label"] == batch.records * 10).all()
                assert batch.valid.all() == (ranks == 1 or len(wanted) == 9)
            made.set_counts({"b": 0, "c": 0})
            first = next(iter(made))
            assert len(first.source) == len(first.valid) == len(first.records) == (2 if ranks == 1 else 3)


@pytest.mark.parametrize("policy", ["substitute", "skip"])
def test_a_transform_sees_good_records_alone(path: Path, policy: str):
    """Also when it is tried out, although the first record is bad."""

    def doubled(record: dict[str, Any]) -> dict[str, Any]:
        assert record["image"].shape == SHAPE
        assert len(set(record["image"].reshape(-1).tolist())) == 1
        return {"value": record["image"][0, 0, 0], "twice": record["label"] * 2, "caption": record["caption"] + "!"}

    found = []
    for workers in (0, 2):
        with loader(path, policy, shuffle=False, transform=doubled, num_workers=workers) as made:
            found.append([(batch.records.tolist(), batch["twice"].tolist(), batch["caption"].to_list()) for batch in made])
    assert found[0] == found[1]
    for records, twice, captions in found[0]:
        assert twice == [20 * record for record in records]
        assert captions == ["x" * (record % 11) + f"{record}!" for record in records]


def test_the_verdict_counts_them(path: Path):
    """A line that people see."""
    with loader(path, "skip") as made:
        list(taken(made, 1))
        assert f"; {len(BAD)} bad records, see loader.bad_records" in str(made.stats)


def test_policies_are_known():
    """What cannot be asked for says what can."""
    with pytest.raises(ConfigError, match=r'on_bad_record=\'ignore\' is not known. Give "raise", "substitute" or "skip".'):
        sl.Loader(sl.Source(format_name="", title="", columns=(), file_starts=[0, 0]), batch_size=1, on_bad_record="ignore")


def test_a_ledger_is_bounded():
    """The first thousand, and how many there were."""
    ledger = BadRecordLog()
    for _ in range(30):
        ledger.note(1, [BadRow(record, -1, "bad") for record in range(100)])
    assert (len(ledger.first), ledger.count) == (MOST_LISTED, 3_000)
    assert ledger.first[5] == (1, 5, "skipped", "bad")


def test_rows_are_dealt_anew_across_windows():
    """Whatever comes from another slice's rows still comes from there; rows that are in none stay in none."""
    slices = [StreamRows(0, 0, 3), StreamRows(1, 4, 6)]

    def remapped(*sources: int) -> list[tuple[int, list[int], int, int]]:
        found = remap_slices(slices, np.array(sources, np.int64))
        return [(one.stream, own.tolist(), start, stop) for one, own, start, stop in found]

    assert remapped(0, 4, 4, 5, 1) == [(0, [0], 0, 1), (1, [0, 0, 1], 1, 4), (0, [1], 4, 5)]
    assert remapped(2, 3, 6, 7, 5) == [(0, [2], 0, 1), (1, [1], 4, 5)]
    assert remapped() == []
    assert list(remap_slices([], np.arange(3))) == []


def test_a_row_that_two_fields_find_bad_is_one():
    """The first of its errors is kept, and the order is that of the batch."""
    faults = [Fault(2, 30, CorruptDataError("later")), Fault(0, 10, CorruptDataError("a")), Fault(0, 10, CorruptDataError("b"))]
    sources, rows = resolve(np.array([10, 20, 30]), faults, "substitute")
    assert sources.tolist() == [1, 1, 1]
    assert rows == [BadRow(10, 20, "a"), BadRow(30, 20, "later")]
    long = resolve(np.array([1]), [Fault(0, 1, CorruptDataError("x" * 500))], "skip")[1][0].why
    assert (len(long), long[-3:]) == (240, "...")
