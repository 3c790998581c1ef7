"""`collate=`: ragged fields as arrays, padded or packed, the same at any number of workers, on resume and over ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError
from streamload.transforms.operations.ragged import PackRagged, PadRagged

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only:UserWarning")
RECORDS = 75
LENGTHS = [(7 * k * k + 3 * k) % 23 for k in range(RECORDS)]


def tokens(record: int) -> np.ndarray:
    return np.arange(LENGTHS[record], dtype="i4") + 100 * record + 1


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens with weights of the same lengths, texts of others, pairs, labels."""
    columns = {
        "tokens": pa.array([tokens(k) for k in range(RECORDS)], pa.list_(pa.int32())),
        "weight": pa.array([tokens(k) / 2 for k in range(RECORDS)], pa.list_(pa.float64())),
        "text": pa.array(["é" * (k % 5) for k in range(RECORDS)]),
        "label": pa.array(np.arange(RECORDS)),
    }
    found = tmp_path_factory.mktemp("collate") / "train.parquet"
    pq.write_table(pa.table(columns), found, row_group_size=10)
    return found


def loader(path: Path, collate: Any, **options: Any) -> sl.Loader:
    return sl.Loader(sl.open(path), **{"batch_size": 8, "num_workers": 0, "seed": 3, "collate": collate, "memory": "600 MB", **options})


def plain(batch: sl.Batch) -> dict[str, Any]:
    """A batch as lists, with the shapes of its arrays."""
    found = {name: value.to_list() if isinstance(value, sl.Ragged) else (value.shape, value.tolist()) for name, value in batch.items()}
    return {**found, "records": batch.records.tolist(), "step": (batch.epoch, batch.step)}


PAD = [sl.PadRagged(["tokens", "weight"], multiple=4, value={"tokens": -1}, mask="mask", lengths="n"), sl.PadRagged("text", length=8)]
PACK = sl.PackRagged(["tokens", "weight"], 24, value={"weight": float("nan")})


def check_padded(batch: sl.Batch) -> None:
    records = batch.records.tolist()
    longest = max((LENGTHS[k] for k in records), default=0)
    width = -(-longest // 4) * 4
    assert batch["tokens"].shape == batch["weight"].shape == batch["mask"].shape == (len(records), width)
    assert batch["n"].tolist() == [LENGTHS[k] for k in records]
    for row, k in enumerate(records):
        assert batch["tokens"][row].tolist() == [*tokens(k).tolist(), *[-1] * (width - LENGTHS[k])]
        assert batch["weight"][row].tolist() == [*(tokens(k) / 2).tolist(), *[0.0] * (width - LENGTHS[k])]
        assert batch["mask"][row].tolist() == [place < LENGTHS[k] for place in range(width)]
        assert batch["text"][row].tobytes() == ("é" * (k % 5)).encode().ljust(8, b"\0")
    assert batch["label"].tolist() == records


def check_packed(batch: sl.Batch) -> None:
    records = batch.records.tolist()
    rows = len(batch["tokens"])
    assert batch["tokens"].shape == batch["weight"].shape == batch["segments"].shape == batch["positions"].shape == (rows, 24)
    assert batch["label"].tolist() == records
    assert batch["text"].to_list() == ["é" * (k % 5) for k in records]
    segments, counted = batch["segments"], 0
    for row, k in enumerate(records):
        here = segments == row + 1
        assert len(set(np.nonzero(here)[0].tolist())) <= 1
        if batch.valid[row]:
            counted += LENGTHS[k]
            assert batch["tokens"][here].tolist() == tokens(k).tolist()
            assert batch["weight"][here].tolist() == (tokens(k) / 2).tolist()
            assert batch["positions"][here].tolist() == list(range(LENGTHS[k]))
        else:
            assert not here.any()
    assert (segments > 0).sum() == counted
    assert (batch["tokens"][segments == 0] == 0).all()
    assert np.isnan(batch["weight"][segments == 0]).all()
    assert (batch["positions"][segments == 0] == 0).all()
    assert rows <= max(1, -(-2 * counted // 24))


CASES = {"padded": (PAD, check_padded), "packed": (PACK, check_packed)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("order", ["exact", "block"])
def test_every_element_is_in_its_place_whoever_does_it(path: Path, case: str, order: str) -> None:
    """At 0 and 2 workers, and after a resume."""
    collate, check = CASES[case]
    shuffle = sl.Exact() if order == "exact" else sl.Block(window="2 KB")
    found = []
    for workers in (0, 2):
        with loader(path, collate, num_workers=workers, shuffle=shuffle) as made:
            batches = []
            for epoch in made.epochs(2):
                for batch in epoch:
                    check(batch)
                    batches.append(plain(batch))
                    del batch
            found.append(batches)
            made.seek(epoch=1, step=4)
            state = json.loads(json.dumps(made.state_dict()))
    assert repr(found[0]) == repr(found[1])
    assert sorted(record for one in found[0] for record in one["records"]) == sorted(2 * list(range(RECORDS)))
    with loader(path, collate, shuffle=shuffle) as again:
        again.load_state_dict(state)
        rest = [plain(batch) for epoch in again.epochs(2) for batch in epoch]
    assert repr(rest) == repr([one for one in found[0] if one["step"] >= (1, 4)])


@pytest.mark.parametrize("case", CASES)
def test_ranks_have_as_many_steps_and_every_element_once(path: Path, case: str) -> None:
    """Rows that repeat a record do not count, and are not packed."""
    collate, check = CASES[case]
    seen: list[int] = []
    for rank in range(2):
        with loader(path, collate, distributed=(rank, 2), batch_size=4) as made:
            steps = 0
            for batch in made:
                check(batch)
                seen += batch.records[batch.valid].tolist()
                steps += 1
            assert steps == len(made) == 10
    assert sorted(seen) == list(range(RECORDS))


def test_the_schema_says_what_comes_out(path: Path) -> None:
    with loader(path, PAD) as made:
        assert str(made.schema) == (
            "tokens int32 (longest,) · weight float64 (longest,) · text uint8 (8,) · label int64 () · mask bool (longest,) · n int64 ()"
        )
        assert "PadRagged(('tokens', 'weight'), multiple=4, value={'tokens': -1}, mask='mask', lengths='n')" in repr(made)
        assert "PadRagged('text', length=8)" in repr(made)
    with loader(path, PACK) as made:
        assert "tokens int32 (24,) (packed)" in str(made.schema)
        assert "segments int32 (24,) (packed) · positions int32 (24,) (packed)" in str(made.schema)


def test_it_comes_after_functions_of_the_user(path: Path) -> None:
    """Which see ragged fields, and may make them."""

    def doubled(record: dict[str, Any]) -> dict[str, Any]:
        return {"tokens": np.repeat(record["tokens"], 2), "label": record["label"]}

    def halved(batch: dict[str, Any]) -> dict[str, Any]:
        return {"tokens": sl.Ragged.of([one[::2] for one in batch["tokens"]]), "label": batch["label"]}

    for options in ({"transform": doubled}, {"transform": doubled, "batch_transform": halved}):
        times = 2 - ("batch_transform" in options)
        with loader(path, sl.PadRagged("tokens", side="left"), num_workers=2, **options) as made:
            for batch in made:
                for row, k in enumerate(batch.records.tolist()):
                    wanted = np.repeat(tokens(k), times).tolist()
                    assert batch["tokens"][row].tolist() == [0] * (batch["tokens"].shape[1] - len(wanted)) + wanted


def test_longer_records_go_by_what_was_asked_for(path: Path) -> None:
    """An error by default, which `on_bad_record` knows; cut; or split into pieces."""
    long = [k for k in range(RECORDS) if LENGTHS[k] > 16]
    for collate in (sl.PadRagged("tokens", length=16), sl.PackRagged("tokens", 16)):
        kind = type(collate).__name__
        text = rf"'tokens' of record {long[0]} has {LENGTHS[long[0]]} elements, and {kind} has room for 16\."
        with loader(path, collate, shuffle=False) as made, pytest.raises(SchemaMismatchError, match=text) as caught:
            [batch.step for batch in made]
        assert 'give longer="cut"' in caught.value.hint
        with loader(path, collate, shuffle=False, on_bad_record="skip") as made:
            delivered = [record for batch in made for record in batch.records.tolist()]
            assert sorted(entry.record for entry in made.bad_records) == long
        assert delivered == [k for k in range(RECORDS) if k not in long]
        with loader(path, collate, shuffle=False, on_bad_record="substitute") as made:
            assert all(LENGTHS[record] <= 16 for batch in made for record in batch.records.tolist())
    with loader(path, sl.PadRagged("tokens", length=16, longer="cut")) as made:
        for batch in made:
            assert batch["tokens"].tolist() == [np.resize(np.append(tokens(k), [0] * 16), 16).tolist() for k in batch.records.tolist()]
    with loader(path, sl.PackRagged("tokens", 5, longer="split")) as made:
        for batch in made:
            for row, k in enumerate(batch.records.tolist()):
                here = batch["segments"] == row + 1
                assert sorted(batch["tokens"][here].tolist()) == tokens(k).tolist()
                assert sorted(batch["positions"][here].tolist()) == sorted(place % 5 for place in range(LENGTHS[k]))
    with loader(path, sl.PackRagged("tokens", 5, longer="cut")) as made:
        batch = next(iter(made))
        assert (batch["segments"] > 0).sum() == sum(min(LENGTHS[k], 5) for k in batch.records.tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_does_not_fit_its_slot_comes_all_the_same(tmp_path: Path, workers: int) -> None:
    """One record in hundreds is a thousand times as long as the others."""
    lengths = [20_000 if k == 333 else 3 for k in range(400)]
    table = pa.table({"x": pa.array([np.full(n, k, "f4") for k, n in enumerate(lengths)], pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "a.parquet")
    for collate in (sl.PadRagged("x"), sl.PackRagged("x", 32, longer="split")):
        with loader(tmp_path / "a.parquet", collate, num_workers=workers) as made:
            total = sum(float(batch["x"].sum()) for batch in made)
        assert total == sum(k * n for k, n in enumerate(lengths))


def elements(found: Any) -> list[tuple[int, int]]:
    """The elements of records that an arrangement has, as (record, place), having checked that each lies in one row, alone."""
    taken: set[int] = set()
    listed: list[tuple[int, int]] = []
    for owner, source, count, target in zip(found.owners, found.sources, found.counts, found.targets, strict=True):
        places = range(int(target), int(target + count))
        assert len({place // found.width for place in places}) <= 1
        assert not taken & set(places)
        taken |= set(places)
        listed += [(int(owner), int(source) + k) for k in range(count)]
    assert (np.diff(found.targets) >= 0).all()
    assert max(taken, default=-1) < found.rows * found.width
    return sorted(listed)


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=20), st.integers(1, 17))
def test_an_arrangement_has_every_element_once(records: list[tuple[int, bool]], width: int) -> None:
    """Padded, those of all records; packed, of those that count; cut, the first of each."""
    lengths, counting = np.array([n for n, _ in records], np.int64), np.array([counts for _, counts in records], bool)
    whole = [(k, place) for k, (n, _) in enumerate(records) for place in range(n)]
    begins = [(k, place) for k, place in whole if place < width]
    assert elements(PadRagged("x", multiple=width).arranged(lengths, counting)) == whole
    assert elements(PadRagged("x", length=width, longer="cut", side="left").arranged(lengths, counting)) == begins
    split = PackRagged("x", width, longer="split").arranged(lengths, counting)
    assert elements(split) == [(k, place) for k, place in whole if counting[k]]
    assert elements(PackRagged("x", width, longer="cut").arranged(lengths, counting)) == [(k, at) for k, at in begins if counting[k]]
    assert split.rows <= -(-2 * int(lengths[counting].sum()) // width)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sl.PadRagged("tokens", length=0), r"PadRagged\(length=0\) is no length"),
        (lambda: sl.PadRagged("tokens", length=8, multiple=8), r"PadRagged\(multiple=8\) does not go with length=8"),
        (lambda: sl.PadRagged("tokens", multiple=0), r"PadRagged\(multiple=0\) is no multiple"),
        (lambda: sl.PadRagged("tokens", side="up"), r"PadRagged\(side='up'\) is not known"),
        (lambda: sl.PadRagged([]), r"PadRagged\(fields=\[\]\) names no fields"),
        (lambda: sl.PackRagged("tokens", 2.5), r"PackRagged\(length=2\.5\) is no length"),
        (lambda: sl.PackRagged("tokens", 8, longer="drop"), r"PackRagged\(longer='drop'\) is not known"),
    ],
)
def test_arguments_are_checked_at_once(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        make()
    assert caught.value.hint


@pytest.mark.parametrize(
    ("collate", "says"),
    [
        (sl.PadRagged("token"), "PadRagged: field 'token' is not there"),
        (sl.PackRagged("label", 8), r"PackRagged: 'label int64 \(\)' is not ragged"),
        (sl.PadRagged("tokens", value=0.5), r"PadRagged\(value=0\.5\) is no int32, which 'tokens' holds"),
        (sl.PadRagged("tokens", value={"token": 1}), r"PadRagged\(value=\{'token': 1\}\) names 'token', which it does not fill up"),
        (sl.PadRagged("tokens", mask="label"), "PadRagged: there is a field 'label' already"),
        (sl.PadRagged("tokens", mask="m", lengths="m"), "PadRagged: two fields that it adds have one name"),
        ([sl.PadRagged("tokens"), sl.PackRagged("tokens", 8)], "PackRagged: 'tokens int32.*is not ragged"),
        (sl.RandomFlip(), r"collate=RandomFlip\(.*is no way to collate"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_when_the_loader_is_made(path: Path, collate: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        loader(path, collate)
    assert caught.value.hint


def test_fields_of_one_operation_must_have_the_same_lengths(path: Path) -> None:
    text = r"fields of one PadRagged are of the same lengths: 'tokens' of record \d+ has \d+ elements, 'text' \d+\."
    with loader(path, sl.PadRagged(["tokens", "text"])) as made, pytest.raises(SchemaMismatchError, match=text):
        [batch.step for batch in made]
