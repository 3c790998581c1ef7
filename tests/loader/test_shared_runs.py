"""Runs that are shared out: what a rank takes, what a state carries over, and what stands in for records that are bad."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # small files have few blocks

N = 83
ORDERS = {"exact": sl.Exact(), "6 lanes": sl.Block(window=400, lanes=6), "stored": False}
BAD = {1, 8, 9, 10, 11, 21}
"""Records of which four make up what the first of two ranks has of the second step, and one is in the last."""


def write(path: Path, n: int = N, *, first: int = 0, chunk: int = 4, width: int = 2) -> sl.Source:
    """Records in gzip chunks, each of which says its number."""
    numbers = np.arange(first, first + n, dtype=np.int64)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.repeat(numbers[:, None], width, 1), chunks=(chunk, width), compression="gzip")
        file["y"] = numbers
    return sl.open(path)


def told(batch: sl.Batch) -> tuple[object, ...]:
    """Everything that a batch says."""
    return batch.epoch, batch.step, batch.total_step, *(one.tolist() for one in (batch.records, batch.valid, batch["x"], batch["y"]))


@pytest.mark.parametrize("name", ORDERS)
def test_the_same_numbers_give_the_same_batches(tmp_path: Path, name: str) -> None:
    """From any rank's state, with other workers: into the next epoch, what repeats among it."""
    data = write(tmp_path / "a.h5")
    asked: dict[str, Any] = {"batch_size": 4, "shuffle": ORDERS[name]}
    for rank in range(3):
        with sl.Loader(data, num_workers=0, distributed=(rank, 3), **asked) as loader:
            states, whole = [loader.state_dict()], []
            for epoch in loader.epochs(2):
                for batch in epoch:
                    whole.append(told(batch))
                    states.append(loader.state_dict())
        with sl.Loader(data, num_workers=2, distributed=(rank, 3), **asked) as loader:
            for step in (0, 3, 6, 7, 9):
                loader.load_state_dict(states[step])
                assert [told(batch) for epoch in loader.epochs(2) for batch in epoch] == whole[step:]


def test_a_length_is_of_a_whole_epoch_at_the_present_size(tmp_path: Path) -> None:
    """Whatever the run was begun with."""
    data = write(tmp_path / "a.h5")
    with sl.Loader(data, batch_size=4, num_workers=0, distributed=(0, 3)) as loader:
        next(iter(loader))
        state = loader.state_dict()
    with sl.Loader(data, batch_size=10, num_workers=0) as loader:
        with pytest.warns(UserWarning, match="no record is lost or repeated"):
            loader.load_state_dict(state)
        for epoch in loader.epochs(1):
            assert len(loader) == len(epoch) == 9
            assert sum(1 for _ in epoch) == 8, "of what is left"


def test_another_file_of_as_many_records_is_refused(tmp_path: Path) -> None:
    """By what is in it; one that has grown, by its numbers."""
    with sl.Loader(write(tmp_path / "a.h5"), batch_size=4, num_workers=0) as loader:
        state = loader.state_dict()
    with (
        sl.Loader(write(tmp_path / "other.h5", first=5), batch_size=4, num_workers=0) as loader,
        pytest.raises(sl.StateError, match=r"has as many records as that of the state, and others: a spread of them differs\. Resume with"),
    ):
        loader.load_state_dict(state)
    with (
        sl.Loader(write(tmp_path / "grown.h5", N + 1), batch_size=4, num_workers=0) as loader,
        pytest.raises(sl.StateError, match="had 83 records when the state was made, and has 84 now"),
    ):
        loader.load_state_dict(state)


def test_a_rank_takes_the_memory_of_its_own_lanes(tmp_path: Path) -> None:
    """And one rank with all of them takes that of one window."""
    data = write(tmp_path / "a.h5", 3000, width=128)

    def arena(lanes: int, rank: int, ranks: int) -> int:
        order = sl.Block(window="256 KB", lanes=lanes)
        with sl.Loader(data, batch_size=32 // ranks, shuffle=order, num_workers=0, distributed=(rank, ranks)) as loader:
            return loader.footprint().arena

    whole = arena(1, 0, 1)
    assert arena(8, 0, 1) < 1.1 * whole
    assert all(arena(8, rank, 4) < 1.1 * whole / 4 for rank in range(4))
    assert arena(8, 7, 8) < 1.1 * whole / 8


def test_lanes_of_a_state_fit_the_memory_or_it_is_said_what_would_suffice(tmp_path: Path) -> None:
    """They come with the state, and may take more than those that the loader was planned with; the error moves nothing."""
    data = write(tmp_path / "a.h5", 4096, chunk=16, width=512)
    asked: dict[str, Any] = {"batch_size": 32, "num_workers": 0, "shuffle": sl.Block(window="2 MB")}
    with sl.Loader(data, distributed=(0, 8), **asked) as loader:
        next(iter(loader))
        state = loader.state_dict()
    assert state["lanes"] == 8
    with sl.Loader(data, memory="25 MB", **asked) as loader:
        before = loader.state_dict()
        with pytest.raises(sl.ResourceError, match=r'memory="25 MB" is too little: the least that works here is') as caught:
            loader.load_state_dict(state)
        assert loader.state_dict() == before
        assert next(iter(loader)).step == 0
    (enough,) = re.findall(r'Give memory="([^"]+)"', str(caught.value))
    with sl.Loader(data, memory=enough, **asked) as loader:
        with pytest.warns(UserWarning, match="no record is lost or repeated"):
            loader.load_state_dict(state)
        rest = [record for epoch in loader.epochs(1) for batch in epoch for record in batch.records.tolist()]
    assert len(rest) == len(set(rest)) == 4096 - 8 * 32


def test_a_batch_size_beyond_the_memory_says_what_would_suffice(tmp_path: Path) -> None:
    """And leaves the loader as it was; in the middle of an epoch it is refused."""
    data = write(tmp_path / "a.h5", 512, width=512)
    with sl.Loader(data, batch_size=8, num_workers=0, memory="24 MB") as loader:
        with pytest.raises(sl.ResourceError, match=r'memory="24 MB" is too little.* Give memory="') as caught:
            loader.set_batch_size(4096)
        assert loader.batch_size == 8
        assert len(next(iter(loader)).records) == 8
        with pytest.raises(
            sl.ConfigError, match=r"set_batch_size\(\) was called after step 1 of an epoch of 64\. Call it between two epochs"
        ):
            loader.set_batch_size(16)
    (enough,) = re.findall(r'Give memory="([^"]+)"', str(caught.value))
    with sl.Loader(data, batch_size=8, num_workers=0, memory=enough) as loader:
        loader.set_batch_size(4096)
        assert len(next(iter(loader)).records) == 512


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_part_of_a_mixture_is_weighed(tmp_path: Path, ranks: int) -> None:
    """By its name, with its own weights: the other comes as it would alone."""
    mixed = sl.mix({"a": (write(tmp_path / "a.h5"), 5), "b": (write(tmp_path / "b.h5", 40, first=1000), 3)})
    seen: list[int] = []
    for rank in range(ranks):
        weights = {"b": np.arange(40) % 3 == 0}
        with sl.Loader(mixed, batch_size=8, num_workers=0, weights=weights, distributed=(rank, ranks)) as loader:
            for batch in loader:
                seen += batch["y"][batch.valid].tolist()
    assert sorted(one for one in seen if one < 1000) == list(range(N))
    drawn = [one - 1000 for one in seen if one >= 1000]
    assert set(drawn) <= set(range(0, 40, 3))
    assert len(set(drawn)) == 14


def good_alone(record: dict[str, Any]) -> dict[str, Any]:
    """Fails on bad records."""
    if int(record["y"]) in BAD:
        raise ValueError("bad")
    return {"x": record["x"], "y": record["y"]}


@pytest.mark.parametrize(("ranks", "size"), [(1, 8), (2, 4)])
def test_records_stand_in_within_a_ranks_part(tmp_path: Path, ranks: int, size: int) -> None:
    """The next good one of the part, after the last the first; an error where none is; what repeats is what stands there."""
    data = write(tmp_path / "a.h5", 23)
    asked = {"transform": good_alone, "on_bad_record": "substitute", "pad_last": True, "shuffle": False, "num_workers": 0}
    for rank in range(ranks):
        with sl.Loader(data, batch_size=size, distributed=(rank, ranks), **asked) as loader:
            iterator, found = iter(loader), {}
            for step in range(3):
                first = ranks * size * step + rank * size
                part = list(range(first, min(first + size, 23)))
                good = [number for number in part if number not in BAD]
                if not good:
                    with pytest.raises(sl.TransformError, match="None of the 4 records of a batch can be delivered"):
                        next(iterator)
                    break
                after = [next(one for one in (*part[k:], *part) if one not in BAD) for k in range(len(part))]
                batch = next(iterator)
                found[step] = batch["y"].tolist()
                assert found[step] == after + after[-1:] * (size - len(part))
                assert batch.valid.tolist() == [True] * len(part) + [False] * (size - len(part))


def test_one_rank_that_pads_makes_up_for_records_that_are_left_out(tmp_path: Path) -> None:
    """Every batch has one shape, whatever is bad; what repeats does not count."""
    data = write(tmp_path / "a.h5", 23)
    asked = {"transform": good_alone, "on_bad_record": "skip", "pad_last": True, "shuffle": False, "num_workers": 0}
    with sl.Loader(data, batch_size=4, **asked) as loader:
        found = [(batch["y"].tolist(), batch.valid.tolist()) for batch in loader]
    assert len(found) == 6
    for step, (numbers, valid) in enumerate(found):
        good = [number for number in range(4 * step, min(4 * step + 4, 23)) if number not in BAD]
        assert valid == [True] * len(good) + [False] * (4 - len(good))
        assert not good or numbers == good + good[-1:] * (4 - len(good))
