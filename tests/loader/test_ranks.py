"""Ranks, lanes, weights and mixtures: every record once over all ranks, whoever goes on with a state; ranks emulated by as many loaders."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import streamload as sl
from streamload.loader.budget import default_memory_nbytes, default_workers
from streamload.order import weights_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:A window mixes only"),  # small files have few blocks
    pytest.mark.filterwarnings("ignore:You hold more than"),  # batches are held to be looked at
]

N = 83
ORDERS = {
    "exact": sl.Exact(),
    "block": sl.Block(window=400),
    "8 lanes": sl.Block(window=400, lanes=8),
    "stored": False,
}


def write(path: Path, n: int = N, *, first: int = 0, chunk: int = 4) -> sl.Source:
    """Records of 16 bytes in gzip chunks, each of which says its number."""
    numbers = np.arange(first, first + n, dtype=np.int64)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.stack([numbers, numbers * 3], 1), chunks=(chunk, 2), compression="gzip")
        file["y"] = numbers
    return sl.open(path)


def batches(loader: sl.Loader, steps: int = 10**6) -> Iterator[Any]:
    """At most so many batches of the rest of the epoch, each held against its record numbers."""
    for batch in islice(loader, steps):
        assert (batch["x"][:, 0] == batch["y"]).all()
        assert (batch["x"][:, 1] == 3 * batch["y"]).all()
        yield batch


def given(loader: sl.Loader, steps: int = 10**6) -> list[int]:
    """The records that count in them."""
    return [record for batch in batches(loader, steps) for record in batch.records[batch.valid].tolist()]


@pytest.mark.parametrize("name", ORDERS)
def test_a_run_goes_on_at_any_step_on_any_number_of_ranks(tmp_path: Path, name: str) -> None:
    """Every record once: before the state on three ranks, after it on any others, with another batch size."""
    data, order = write(tmp_path / "a.h5"), ORDERS[name]
    lanes = 3 if name == "block" else None
    states: list[dict[str, Any]] = []
    before: list[list[int]] = []
    loaders = [sl.Loader(data, batch_size=5, shuffle=order, num_workers=0, distributed=(rank, 3)) for rank in range(3)]
    epochs = [batches(loader) for loader in loaders]
    states.append(loaders[0].state_dict())
    before.append([])
    for parts in zip(*epochs, strict=True):
        before.append(before[-1] + [record for part in parts for record in part.records[part.valid].tolist()])
        told = [loader.state_dict() for loader in loaders]
        assert told[0] == told[1] == told[2] == parts[0].state_dict(), "one state for all ranks"
        states.append(told[0])
    for loader in loaders:
        loader.close()
    assert sorted(before[-1]) == list(range(N))
    assert lanes is None or states[0]["lanes"] == lanes
    for ranks in (1, 2, 3, 4, 5, 8):
        after: list[list[int]] = [list(done) for done in before]
        for rank in range(ranks):
            with sl.Loader(data, batch_size=4 + ranks % 3, shuffle=order, num_workers=0, distributed=(rank, ranks)) as loader:
                for place, state in enumerate(states):
                    with pytest.warns(UserWarning, match="no record is lost or repeated"):
                        loader.load_state_dict(state)
                    for epoch in loader.epochs(1):
                        after[place] += given(epoch)
        for place, seen in enumerate(after):
            assert sorted(seen) == list(range(N)), (ranks, place)


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("how", ["last", "drop_last", "pad_last"])
def test_every_rank_has_as_many_steps_and_records(tmp_path: Path, name: str, how: str) -> None:
    data = write(tmp_path / "a.h5")
    asked = {} if how == "last" else {how: True}
    sizes: list[list[int]] = []
    counted: list[int] = []
    for rank in range(4):
        with sl.Loader(data, batch_size=6, shuffle=ORDERS[name], num_workers=0, distributed=(rank, 4), **asked) as loader:
            found = list(batches(loader))
            assert len(found) == len(loader) == (3 if how == "drop_last" else 4)
            sizes.append([len(batch.records) for batch in found])
            counted += [record for batch in found for record in batch.records[batch.valid].tolist()]
            for batch in found:
                short = int(batch.valid.sum())
                assert batch.valid[:short].all(), "what repeats stands at the end"
                assert (batch.records[short:] == batch.records[max(short - 1, 0)]).all()
            assert (loader.rank, loader.world_size) == (rank, 4)
            assert f"rank {rank} of 4 (by the argument)" in repr(loader)
    assert all(one == sizes[0] for one in sizes)
    assert sizes[0] == {"last": [6, 6, 6, 3], "drop_last": [6, 6, 6], "pad_last": [6, 6, 6, 6]}[how]
    assert len(counted) == len(set(counted)) == (72 if how == "drop_last" else N)


def write_zstd(path: Path, n: int, *, chunk: int) -> sl.Source:
    """The same in zstd Parquet, as many records a row group."""
    numbers = np.arange(n, dtype=np.int64)
    pairs = pa.FixedSizeListArray.from_arrays(pa.array(np.stack([numbers, numbers * 3], 1).ravel()), 2)
    table = pa.table({"x": pairs, "y": numbers})
    pq.write_table(table, path, compression="zstd", row_group_size=chunk, use_dictionary=False)
    return sl.open(path)


@pytest.mark.parametrize("codec", ["gzip HDF5", "zstd Parquet"])
@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_lanes_of_their_own_decode_each_block_once(tmp_path: Path, ranks: int, codec: str) -> None:
    """Apart from the last step, all ranks together decode what one does, within 2 %: a rank may have begun the next epoch."""
    data = write(tmp_path / "a.h5", 512, chunk=4) if codec == "gzip HDF5" else write_zstd(tmp_path / "a.parquet", 512, chunk=4)
    counts: list[int] = []
    for rank, world in [(0, 1), *((rank, ranks) for rank in range(ranks))]:
        order = sl.Block(window=1024, lanes=8)
        with sl.Loader(data, batch_size=64 // world, shuffle=order, num_workers=0, distributed=(rank, world)) as loader:
            list(batches(next(loader.epochs(1))))
            counts.append(loader._live.work()["blocks"])
            assert "decoded by several" not in repr(loader)
    assert abs(counts[0] - 128) <= 0.02 * 128
    assert abs(sum(counts[1:]) - counts[0]) <= 0.02 * counts[0]
    assert max(counts[1:]) <= 128 // ranks + 2


@pytest.mark.parametrize("workers", [0, 1])
def test_windows_of_a_lane_may_hold_nothing(tmp_path: Path, workers: int) -> None:
    """Small lanes have fewer pieces than windows in some strata: nothing is told ahead of a window without records."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.stack([np.arange(23)] * 2, 1)
    shuffle = sl.Block(window=64, lanes=3)
    with sl.Loader(sl.open(tmp_path / "data.h5"), batch_size=7, num_workers=workers, shuffle=shuffle, io="read") as loader:
        for epoch in loader.epochs(4):
            assert sorted(record for batch in epoch for record in batch["x"][:, 0].tolist()) == list(range(23))


def test_numbers_that_do_not_divide_are_named(tmp_path: Path) -> None:
    data = write(tmp_path / "a.h5")

    def said(**asked: Any) -> str:
        with sl.Loader(data, num_workers=0, **asked) as loader:
            return repr(loader)

    both = "blocks are decoded by several ranks: lanes=8 and a batch_size that is a multiple of 4 avoid it · "
    assert both in said(batch_size=6, shuffle=sl.Block(window=400, lanes=8), distributed=(0, 2))
    shared = "blocks are decoded by several ranks: lanes=3 avoids it · "
    assert shared in said(batch_size=4, shuffle=sl.Block(window=400, lanes=2), distributed=(0, 3))
    assert "every rank decodes every block: shuffle=Block(...) shares them out" in said(batch_size=4, shuffle=False, distributed=(0, 3))


@pytest.mark.parametrize(("name", "workers"), [*((name, 0) for name in ORDERS), ("8 lanes", 2)])
def test_weights_say_how_often_a_record_comes(tmp_path: Path, name: str, workers: int) -> None:
    """Over two ranks, in every order: as often as the reference draws it, and never where the weight is 0."""
    data, weights = write(tmp_path / "a.h5"), np.arange(N) % 4
    drawn: dict[int, list[int]] = {0: [], 1: []}
    for rank in range(2):
        asked = {"weights": weights, "draws": 120, "distributed": (rank, 2), "seed": 3}
        with sl.Loader(data, batch_size=9, shuffle=ORDERS[name], num_workers=workers, **asked) as loader:
            assert len(loader) == 7
            for epoch in loader.epochs(2):
                drawn[epoch.index] += given(epoch)
    for epoch, records in drawn.items():
        expected = weights_of(lambda: iter([weights.astype(float)]), N, draws=120).epoch(3, epoch).ranks(np.arange(120))
        assert sorted(records) == expected.tolist()


def test_a_weighted_run_goes_on_with_its_weights_alone(tmp_path: Path) -> None:
    data, weights = write(tmp_path / "a.h5"), np.arange(N) % 4
    with sl.Loader(data, batch_size=9, num_workers=0, weights=weights, seed=1) as loader:
        first = given(loader, 3)
        state = loader.state_dict()
        rest = given(next(loader.epochs(1)))
        assert len(first + rest) == N
        loader.load_state_dict(state)
        assert given(next(loader.epochs(1))) == rest
    with (
        sl.Loader(data, batch_size=9, num_workers=0, weights=weights + 1, seed=1) as loader,
        pytest.raises(sl.StateError, match=r"drawn by other weights. Resume with the same weights="),
    ):
        loader.load_state_dict(state)


def test_weights_may_change_between_epochs(tmp_path: Path) -> None:
    data = write(tmp_path / "a.h5")
    with sl.Loader(data, batch_size=9, num_workers=0) as loader:
        for epoch in loader.epochs(2):
            records = given(epoch)
            if epoch.index == 0:
                assert sorted(records) == list(range(N))
                loader.set_weights(np.arange(N) < 10)
        assert set(records) == set(range(10))
        next(iter(loader))
        with pytest.raises(sl.ConfigError, match=r"set_weights\(\) was called after step 1 of an epoch of 10. Call it between two epochs."):
            loader.set_weights(None)


@pytest.mark.parametrize("shuffle", [True, {"a": sl.Exact(), "b": sl.Block(window=400)}, False], ids=["shuffled", "by name", "stored"])
def test_a_mixture_has_fixed_counts_and_goes_on_anywhere(tmp_path: Path, shuffle: Any) -> None:
    """On two ranks, then from every state on three: the part that leads comes once an epoch."""
    mixed = sl.mix({"a": (write(tmp_path / "a.h5"), 5), "b": (write(tmp_path / "b.h5", 21, first=1000), 2)})
    loaders = [sl.Loader(mixed, batch_size=7, shuffle=shuffle, num_workers=0, distributed=(rank, 2)) for rank in range(2)]
    assert [len(loader) for loader in loaders] == [9, 9]
    states, seen = [loaders[0].state_dict()], [[]]
    for parts in zip(*map(batches, loaders), strict=True):
        for batch in parts:
            assert batch.source_names == ("a", "b")
            assert (np.flatnonzero(batch.source) == np.arange(len(batch.records))[-2:]).all()
            assert ((batch["y"] >= 1000) == batch.source).all()
            assert (batch.records == batch["y"] - 1000 * batch.source.astype(int)).all()
        states.append(parts[1].state_dict())
        seen.append(seen[-1] + [r for batch in parts for r in batch.records[batch.valid & (batch.source == 0)].tolist()])
    for loader in loaders:
        loader.close()
    assert sorted(seen[-1]) == list(range(N))
    for rank in range(3):
        with sl.Loader(mixed, batch_size=7, shuffle=shuffle, num_workers=0, distributed=(rank, 3)) as loader:
            for place, state in enumerate(states):
                with pytest.warns(UserWarning, match="no record is lost or repeated"):
                    loader.load_state_dict(state)
                for batch in batches(next(loader.epochs(1))):
                    seen[place] += batch.records[batch.valid & (batch.source == 0)].tolist()
    assert all(sorted(records) == list(range(N)) for records in seen)


def test_counts_of_a_mixture_and_batch_sizes_change_between_epochs(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.h5"), write(tmp_path / "b.h5", 21, first=1000)
    with sl.Loader(sl.mix({"a": (a, 5), "b": (b, 2)}), batch_size=7, num_workers=0) as loader:
        for epoch in loader.epochs(2):
            for batch in batches(epoch):
                assert batch.source.sum() == (2 if epoch.index == 0 else 6)
            loader.set_counts({"b": 6})
        state = loader.state_dict()
        assert loader.batch_size == 11
    with sl.Loader(sl.mix({"a": (a, 5), "b": (b, 2)}), batch_size=7, num_workers=0) as other:
        other.load_state_dict(state)
        assert other.batch_size == 11, "what was set goes on"
    with sl.Loader(a, batch_size=10, num_workers=0) as loader:
        totals: list[int] = []
        for epoch in loader.epochs(2):
            found = list(batches(epoch))
            totals += [batch.total_step for batch in found]
            assert sorted(record for batch in found for record in batch.records.tolist()) == list(range(N))
            assert len(found) == (9 if epoch.index == 0 else 5)
            loader.set_batch_size(20)
        assert totals == list(range(14)), "steps count on"
        with pytest.raises(sl.ConfigError, match="a mixture's batch"):
            sl.Loader(sl.mix({"a": (a, 5), "b": (b, 2)}), batch_size=7, num_workers=0).set_batch_size(3)


def test_an_epoch_without_steps_is_numbered_once(tmp_path: Path) -> None:
    """However it is asked for, and by whom: the next pass is over the epoch after it, in a loader that goes on from its state, too."""
    a, b = write(tmp_path / "a.h5", 21), write(tmp_path / "b.h5", 21, first=1000)
    given = {"batch_size": 8, "num_workers": 0, "drop_last": True}
    with sl.Loader(sl.mix({"a": (a, 4), "b": (b, 4)}), **given) as loader:
        assert [batch.epoch for batch in loader] == [0] * 5
        with pytest.warns(UserWarning, match=r"An epoch has no step: 42 records, batches of 64, and drop_last=True"):
            loader.set_counts({"a": 32, "b": 32})
        passed = [iter(loader), iter(loader)]
        for number, epoch in enumerate(passed, 1):
            assert list(epoch) == []
            assert list(epoch) == [], "it has ended"
            assert epoch.index == number
        assert (loader.state_dict()["epoch"], loader.state_dict()["step"]) == (3, 0)
        assert [epoch.index for epoch in loader.epochs(5) if not list(epoch)] == [3, 4]
        loader.set_epoch(5)
        state = loader.state_dict()
        assert (state["epoch"], state["parts"]["b"]["position"]) == (5, 20), "an epoch that is next anyway changes nothing"
        assert list(loader) == []
        loader.set_counts({"a": 4, "b": 4})
        state, rest = loader.state_dict(), [(batch.epoch, batch.total_step, batch.records.tolist()) for batch in loader]
        assert [found[:2] for found in rest] == [(6, 5 + step) for step in range(5)]
    with sl.Loader(sl.mix({"a": (a, 4), "b": (b, 4)}), **given) as other:
        other.load_state_dict(state)
        assert [(batch.epoch, batch.total_step, batch.records.tolist()) for batch in other] == rest


def test_a_mixture_and_its_batch_size_agree(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.h5"), write(tmp_path / "b.h5", 21)
    with pytest.raises(sl.ConfigError, match=r"batch_size=8, and the mixture has batches of 7: 5 of 'a' \+ 2 of 'b'. Give batch_size=7"):
        sl.Loader(sl.mix({"a": (a, 5), "b": (b, 2)}), batch_size=8)
    with pytest.raises(sl.ConfigError, match=r"indices= is one list, and the mixture has 2 parts"):
        sl.Loader(sl.mix({"a": (a, 5), "b": (b, 2)}), batch_size=7, indices=np.arange(5))
    with pytest.raises(sl.ConfigError, match=r"shuffle= names a part 'c', and the mixture has 'a', 'b'. Name parts as mix"):
        sl.Loader(sl.mix({"a": (a, 5), "b": (b, 2)}), batch_size=7, shuffle={"c": True})


def test_ranks_that_share_nothing_are_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has said what several ranks share, and where they are others than when the loader was made."""
    data = write(tmp_path / "a.h5")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with sl.Loader(data, batch_size=9, num_workers=0) as loader:
        with pytest.warns(UserWarning, match=r"This is rank 1 of 3 .*every rank gets every record"):
            assert sorted(given(loader)) == list(range(N))
        given(loader)
    with sl.Loader(data, batch_size=9, num_workers=0, distributed=False) as loader:
        assert len(given(loader)) == N
    with sl.Loader(data, batch_size=9, num_workers=0, distributed=True) as loader:
        assert (loader.rank, loader.world_size, len(loader)) == (1, 3, 4)
        monkeypatch.setenv("WORLD_SIZE", "4")
        with pytest.raises(sl.ConfigError, match="This process was rank 1 of 3 when the loader was made"):
            next(iter(loader))


def test_a_batch_is_left_out_or_filled_up(tmp_path: Path) -> None:
    with pytest.raises(sl.ConfigError, match=r"drop_last=True leaves the last batch out, and pad_last=True fills it up. Give one of them."):
        sl.Loader(write(tmp_path / "a.h5"), batch_size=9, drop_last=True, pad_last=True)


def test_records_that_are_left_out_are_made_up_for(tmp_path: Path) -> None:
    """On two ranks no step is left out and none is short: what repeats does not count, and what nothing is left of is black."""
    path = tmp_path / "images.h5"
    encoded = [png(number) if number not in BAD else b"no image" for number in range(24)]
    with h5py.File(path, "w") as file:
        images = file.create_dataset("image", (24,), h5py.vlen_dtype(np.uint8))
        for number, one in enumerate(encoded):
            images[number] = np.frombuffer(one, np.uint8)
        file["y"] = np.arange(24)
    data = sl.open(path, decode=sl.Decode(size=(4, 4)))
    found: dict[int, list[Any]] = {}
    for rank in range(2):
        asked = {"on_bad_record": "skip", "distributed": (rank, 2)}
        with sl.Loader(data, batch_size=4, shuffle=False, num_workers=0, **asked) as loader:
            found[rank] = [(batch["image"].copy(), batch["y"].tolist(), batch.valid.tolist()) for batch in loader]
            assert [bad.record for bad in loader.bad_records] == [record for record in sorted(BAD) if record % 8 // 4 == rank]
    for rank, batches_of in found.items():
        for step, (images, numbers, valid) in enumerate(batches_of):
            first = 8 * step + 4 * rank
            good = [number for number in range(first, first + 4) if number not in BAD]
            assert valid == [True] * len(good) + [False] * (4 - len(good))
            if good:
                assert numbers == good + good[-1:] * (4 - len(good))
                assert (images[:, 0, 0, 0] == np.array(numbers) * 10).all()
            else:
                assert not images.any()


BAD = {1, 8, 9, 10, 11, 23}
"""Records of which four make up what the first rank has of the second step."""


def png(number: int) -> bytes:
    """A picture of one colour."""
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), number * 10, np.uint8)).save(out, "PNG")
    return out.getvalue()


def test_loaders_of_one_process_and_ranks_of_one_machine_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default; what was asked for is taken as it stands."""
    monkeypatch.setattr("streamload.loader.budget.available_nbytes", lambda: 1 << 30)
    monkeypatch.setattr("streamload.loader.budget.usable_cores", lambda: 16)
    data = write(tmp_path / "a.h5")
    with sl.Loader(data, batch_size=9, num_workers=0) as first:
        assert first.memory == 1 << 28
        assert default_workers() == 8
        with sl.Loader(data, batch_size=9, num_workers=0) as second:
            assert second.memory == ((1 << 30) - first.footprint().total) // 4
    assert default_memory_nbytes() == 1 << 28
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "4")
    assert default_workers() == 3
    with sl.Loader(data, batch_size=9, num_workers=0) as shared:
        assert shared.memory == 1 << 26
        assert "(one of 4 ranks on this machine, by OMPI_COMM_WORLD_LOCAL_SIZE)" in repr(shared)
    with sl.Loader(data, batch_size=9, num_workers=0, memory="100 MB") as asked:
        assert asked.memory == 100 * 1024**2
