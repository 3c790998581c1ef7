"""Records that a function of the user's fails on: an error, a substitute, or left out, as where an image cannot be decoded."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import streamload as sl
from streamload.errors import TransformError

RECORDS, SHAPE = 60, (4, 6, 3)
UNDECODABLE, FAILING = (0, 9, 30), (1, 10, 11, 12, 31, 59)
BAD = {*UNDECODABLE, *FAILING}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, some of which are cut short, captions, and labels that are ten times the number of the record."""
    images: list[bytes] = []
    for record in range(RECORDS):
        stream = io.BytesIO()
        Image.fromarray(np.full(SHAPE, record, np.uint8)).save(stream, format="PNG")
        images.append(stream.getvalue()[: 40 if record in UNDECODABLE else None])
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "image": pa.array([{"bytes": data, "path": None} for data in images], kind),
        "caption": pa.array(["x" * (record % 7) + str(record) for record in range(RECORDS)]),
        "label": pa.array(np.arange(RECORDS) * 10),
    }
    found = tmp_path_factory.mktemp("policy") / "train.parquet"
    pq.write_table(pa.table(columns), found, row_group_size=8)
    return found


def picky(record: dict[str, Any]) -> dict[str, Any]:
    """Doubles labels; fails on some records."""
    if int(record["label"]) // 10 in FAILING:
        raise ValueError(f"nothing in {int(record['label'])}")
    return {"twice": record["label"] * 2, "first": record["image"][0, 0, 0], "caption": record["caption"] + "!"}


def loader(path: Path, policy: str, **options: Any) -> sl.Loader:
    """Over the file, in batches of seven."""
    data = sl.open(path, decode={"image": SHAPE[:2]})
    given = {"batch_size": 7, "num_workers": 0, "seed": 5, "on_bad_record": policy, "transform": picky, "memory": "600 MB", **options}
    return sl.Loader(data, **given)


def taken(batch: sl.Batch) -> tuple[int, int, list[int]]:
    """A batch, whose fields must speak of the records that it names."""
    records = batch.records.tolist()
    assert batch["twice"].tolist() == [20 * record for record in records]
    assert batch["first"].tolist() == records
    assert batch["caption"].to_list() == ["x" * (record % 7) + f"{record}!" for record in records]
    return batch.epoch, batch.step, records


@pytest.mark.parametrize("order", ["exact", "block"])
@pytest.mark.parametrize("policy", ["substitute", "skip"])
def test_batches_and_ledger_are_the_same_at_any_number_of_workers_and_on_resume(path: Path, policy: str, order: str) -> None:
    """Every good record comes, no bad one does, and each bad one is listed once an epoch with its reason."""
    shuffle = sl.Exact() if order == "exact" else sl.Block(window="16 KB")
    found = []
    for workers in (0, 2):
        with loader(path, policy, num_workers=workers, shuffle=shuffle) as made:
            found.append(([taken(batch) for epoch in made.epochs(2) for batch in epoch], made.bad_records, made.stats.bad_records))
    assert found[0] == found[1]
    batches, ledger, count = found[0]
    assert count == len(ledger)
    assert sorted(entry.record for entry in ledger) == sorted([*BAD, *BAD])
    for entry in ledger:
        reason = "cannot be decoded" if entry.record in UNDECODABLE else f"failed on record {entry.record} with ValueError: nothing in"
        assert reason in entry.why
        assert (entry.what == "skipped") == (policy == "skip")
    for epoch in range(2):
        delivered = [record for at, _, records in batches if at == epoch for record in records]
        assert set(delivered) == set(range(RECORDS)) - BAD
        assert len(delivered) == RECORDS - len(BAD) * (policy == "skip")
    with loader(path, policy, shuffle=shuffle) as made:
        made.seek(epoch=1, step=3)
        state = json.loads(json.dumps(made.state_dict()))
    with loader(path, policy, shuffle=shuffle) as again:
        again.load_state_dict(state)
        assert [taken(batch) for epoch in again.epochs(2) for batch in epoch] == [one for one in batches if one[0] == 1 and one[1] >= 3]


def test_a_stand_in_that_fails_is_replaced_itself(path: Path) -> None:
    """Record 0 cannot be decoded, 1 stands in for it, and the function fails on 1: in the end 2 stands in for both."""
    with loader(path, "substitute", shuffle=False) as made:
        first, second = (taken(batch)[2] for batch, _ in zip(made, range(2), strict=False))
        assert first == [2, 2, 2, 3, 4, 5, 6]
        assert second == [7, 8, 13, 13, 13, 13, 13]
        entries = [(entry.record, entry.what) for entry in made.bad_records]
    assert entries == [(number, f"replaced by record {2 if number < 7 else 13}") for number in (0, 1, 9, 10, 11, 12)]


def test_ranks_stay_in_step(path: Path) -> None:
    """A record that is left out leaves a row that does not count; together the ranks deliver every good record once."""
    found: list[int] = []
    for rank in range(2):
        with loader(path, "skip", distributed=(rank, 2)) as made:
            batches = [(batch.records.tolist(), batch.valid.tolist(), batch["twice"].tolist()) for batch in made]
            assert len(batches) == len(made)
        for records, valid, twice in batches:
            found += [record for record, counts in zip(records, valid, strict=True) if counts]
            assert all(value == 20 * record for record, value, counts in zip(records, twice, valid, strict=True) if counts)
    assert sorted(found) == sorted(set(range(RECORDS)) - BAD)


@pytest.mark.parametrize("workers", [0, 2])
def test_by_default_it_is_an_error_that_can_be_caught_as_itself(path: Path, workers: int) -> None:
    with loader(path, "raise", transform=None, indices=range(1, 9), shuffle=False, num_workers=workers) as made:
        assert [batch.step for batch in made] == [0, 1]
    with (
        loader(path, "raise", indices=[2, 3, 10], batch_size=1, shuffle=False, num_workers=workers) as made,
        pytest.raises(ValueError, match="nothing in 100"),
    ):
        [batch.step for batch in made]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_function_that_fails_on_everything_is_no_policy(path: Path, workers: int) -> None:
    """It is tried when the loader is made, on many records; the error is that of the first."""

    def mistaken(record: dict[str, Any]) -> dict[str, Any]:
        return {"x": record["lable"]}

    with pytest.raises(TransformError, match=r"failed on record 1 with KeyError"):
        loader(path, "skip", transform=mistaken, num_workers=workers, shuffle=False)


def test_memory_that_runs_out_is_no_bad_record(path: Path) -> None:
    """Whatever the policy."""

    def hungry(record: dict[str, Any]) -> dict[str, Any]:
        if int(record["label"]) == 500:
            raise MemoryError
        return {"label": record["label"]}

    with loader(path, "skip", transform=hungry) as made, pytest.raises(TransformError, match="failed on record 50 with MemoryError"):
        [batch.step for batch in made]


def choosy(batch: dict[str, Any]) -> dict[str, Any]:
    """Fails on whole batches in which a record is."""
    if 250 in batch["label"]:
        raise RuntimeError("no 25 please")
    return {"half": batch["label"] / 2, "caption": batch["caption"]}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_the_function_of_batches_fails_on_is_left_out_whole(path: Path, workers: int) -> None:
    """Its records are listed, and numbers go on; nothing can stand in for a whole batch."""
    options: Any = {"transform": None, "batch_transform": choosy, "shuffle": False, "indices": range(2, 30), "num_workers": workers}
    with loader(path, "skip", **options) as made:
        steps = {batch.step: (batch.records.tolist(), (batch["half"] * 2).tolist(), len(batch["caption"])) for batch in made}
        ledger = [(entry.record, entry.what) for entry in made.bad_records if "no 25 please" in entry.why]
    assert list(steps) == [0, 1, 2]
    assert all(doubled == [10.0 * record for record in records] and texts == len(records) for records, doubled, texts in steps.values())
    assert ledger == [(record, "skipped") for record in range(23, 30)]
    text = r"None of the 7 records of a batch can be delivered, so none can stand in\. The first: the batch transform failed"
    with loader(path, "substitute", **options) as made, pytest.raises(TransformError, match=text):
        [batch.step for batch in made]
    with loader(path, "skip", **options, pad_last=True) as made:
        valid = {batch.step: batch.valid.sum() for batch in made}
    assert valid == {0: 7, 1: 6, 2: 7, 3: 0}
