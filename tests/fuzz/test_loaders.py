"""Loaders of any arguments against a plain reference: which records come, in which steps, with what in them, and after a resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from order import reference, streams_reference

import streamload as sl
from fuzz.amount import say_seed, tried

SIZES = (1, 8, 61, 200)
STORAGES = ("hdf5", "hdf5 gzip", "parquet", "parquet zstd", "arrow", "npz", "two files")
FIELDS = ("number", "pair", "list", "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a loader is asked for."""

    storage: str
    records: int
    order: Any
    batch_size: int
    workers: int
    ranks: int
    last: str
    seed: int
    indices: Any
    weights: Any
    draws: int | None
    listed: tuple[int, ...] = ()
    """Of an order that is a list of records."""

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of a loader, but for its rank."""
        found = {"batch_size": self.batch_size, "shuffle": self.order, "seed": self.seed, "num_workers": self.workers}
        found |= {self.last: True} if self.last else {}
        found |= {} if self.indices is None else {"indices": np.array(self.indices, np.int64)}
        found |= {} if self.weights is None else {"weights": np.array(self.weights, float), "draws": self.draws}
        return found | {"memory": "64 MB"}

    @property
    def chosen(self) -> list[int]:
        """The records that there are for this run, in the order in which they were asked for."""
        if isinstance(self.order, sl.Listed):
            return list(self.listed)
        return list(range(self.records)) if self.indices is None else list(self.indices)

    def weighed(self, chosen: list[int], epoch: int) -> streams_reference.Draws:
        """The draws of an epoch of records in this order."""
        return streams_reference.Draws([float(self.weights[record]) for record in chosen], self.seed, epoch, self.draws)

    @property
    def epoch_records(self) -> int:
        """Positions of an epoch."""
        return self.draws if self.weights is not None and self.draws is not None else len(self.chosen)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Any that can be."""
    count = draw(st.sampled_from(SIZES))
    storage = draw(st.sampled_from(STORAGES))
    lanes = draw(st.sampled_from((1, 1, 2, 3)))
    orders = (True, False, sl.Exact(), sl.Block(window=8_192, lanes=lanes), sl.Block(window=20_000, lanes=lanes))
    indices = draw(st.none() | st.none() | st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True))
    weights = draw(st.none() | st.none() | st.lists(st.integers(0, 4), min_size=count, max_size=count))
    if weights is not None and not any(weights[at] for at in indices or range(count)):
        weights = [1] * count
    order, listed = draw(st.sampled_from(orders)), ()
    if weights is not None and indices is not None and order is False:
        indices = sorted(indices)  # draws are in the order of the file, and another one is refused
    if indices is None and weights is None and draw(st.integers(0, 5)) == 5:
        listed = tuple(draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=60)))
        order = sl.Listed(listed)
    return Run(
        storage=storage,
        records=count,
        order=order,
        listed=listed,
        batch_size=draw(st.integers(1, 40)),
        workers=draw(st.sampled_from((0, 0, 0, 2))),
        ranks=draw(st.sampled_from((1, 1, 2, 3))),
        last=draw(st.sampled_from(("", "drop_last", "pad_last"))),
        seed=draw(st.integers(0, 5)),
        indices=indices,
        weights=weights,
        draws=draw(st.none() | st.integers(1, 90)) if weights is not None else None,
    )


def columns(count: int, first: int = 0) -> dict[str, Any]:
    """Records that say which they are, in four ways."""
    numbers = np.arange(first, first + count)
    return {
        "number": numbers,
        "pair": np.stack([numbers, -numbers], 1).astype(np.float32),
        "list": [np.full(number % 5, number, np.int32) for number in numbers.tolist()],
        "text": [f"№{number}" * (number % 3) for number in numbers.tolist()],
    }


def write(path: Path, storage: str, held: dict[str, Any]) -> None:
    """A file of them; formats that hold nothing ragged have the first two fields."""
    if storage.startswith("hdf5"):
        with h5py.File(path, "w") as file:
            for name in ("number", "pair"):
                more = (
                    {"chunks": (min(7, len(held[name])), *held[name].shape[1:]), "compression": "gzip"}
                    if "gzip" in storage and len(held[name])
                    else {}
                )
                file.create_dataset(name, data=held[name], **more)
            for name, kind in (("list", h5py.vlen_dtype(np.int32)), ("text", h5py.string_dtype())):
                dataset = file.create_dataset(name, (len(held[name]),), kind)
                for at, one in enumerate(held[name]):
                    dataset[at] = one
    elif storage == "npz":
        with open(path, "wb") as file:
            np.savez(file, number=held["number"], pair=held["pair"])
    else:
        pairs = pa.FixedSizeListArray.from_arrays(pa.array(held["pair"].reshape(-1)), 2)
        lists = pa.array([one.tolist() for one in held["list"]], pa.list_(pa.int32()))
        table = pa.table({"number": held["number"], "pair": pairs, "list": lists, "text": held["text"]})
        if storage == "arrow":
            with pa.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table, max_chunksize=9)
        else:
            pq.write_table(table, path, row_group_size=11, compression="zstd" if "zstd" in storage else "none")


class Files:
    """A source of each storage and size, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sources: dict[tuple[str, int], sl.Source] = {}

    def source(self, run: Run) -> sl.Source:
        """The records of a run."""
        key = run.storage, run.records
        if key not in self._sources:
            paths: list[Path] = []
            cuts = [0, run.records // 3, run.records] if run.storage == "two files" else [0, run.records]
            for at, (start, stop) in enumerate(pairwise(cuts)):
                ending = ".npz" if run.storage == "npz" else ""
                paths.append(self._folder / f"{run.storage} {run.records} {at}{ending}")
                write(paths[-1], run.storage.replace("two files", "hdf5 gzip"), columns(stop - start, start))
            shapes = {} if "hdf5" in run.storage or run.storage in ("npz", "two files") else {"shapes": {"list": (None,)}}
            self._sources[key] = sl.open(paths, **shapes)
        return self._sources[key]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files that all runs share."""
    say_seed()
    return Files(tmp_path_factory.mktemp("fuzz"))


def check_values(batch: Any) -> None:
    """What a batch holds is what its records hold."""
    wanted = columns(max(batch.records.tolist(), default=0) + 1)
    for name in batch.keys():  # noqa: SIM118 - a batch is no iterable
        found = list(batch[name])
        assert len(found) == len(batch.records)
        for record, one in zip(batch.records.tolist(), found, strict=True):
            assert (one == wanted[name][record]) if name == "text" else np.array_equal(one, wanted[name][record]), (name, record)


Step = tuple[tuple[tuple[int, ...], int], ...]
"""Of each rank, its records and how many of them count."""


def taken(loaders: list[sl.Loader], stop: int) -> Iterator[tuple[int, Step, dict[str, Any]]]:
    """All steps of all ranks up to an epoch: the epoch, what each rank has, and the state behind the step."""
    for epochs in zip(*(loader.epochs(stop) for loader in loaders), strict=True):
        for batches in zip(*epochs, strict=True):
            for batch in batches:
                check_values(batch)
                assert batch.valid[: int(batch.valid.sum())].all()
            states = [loader.state_dict() for loader in loaders]
            assert all(state == states[0] for state in states)
            parts = tuple((tuple(batch.records.tolist()), int(batch.valid.sum())) for batch in batches)
            yield batches[0].epoch, parts, states[0]


def counted(step: Step) -> list[int]:
    """The records of a step that count."""
    return [record for records, valid in step for record in records[:valid]]


def run_through(run: Run, files: Files, state: dict[str, Any] | None = None, stop: int = 2) -> list[tuple[int, Step, dict[str, Any]]]:
    """All ranks of a run side by side, from the beginning or from a state."""
    data = files.source(run)
    with ExitStack() as held:
        loaders = [
            held.enter_context(sl.Loader(data, **run.options, **({"distributed": (rank, run.ranks)} if run.ranks > 1 else {})))
            for rank in range(run.ranks)
        ]
        for loader in loaders if state is not None else ():
            loader.load_state_dict(state)
        return list(taken(loaders, stop))


def plain_epoch(run: Run, epoch: int) -> list[int] | None:
    """The records of an epoch one by one, as the definition of the order has them; None where it depends on blocks."""
    exact = isinstance(run.order, sl.Exact)
    if run.order is not False and not exact and not run.listed:
        return None
    ascending = run.chosen == sorted(set(run.chosen))
    if not ascending and not run.listed and (exact or run.weights is not None):
        return None
    draws = run.weighed(run.chosen, epoch) if run.weights is not None else None
    places = range(run.epoch_records)
    if exact:
        permutation = reference.Permutation(run.epoch_records, reference.key(run.seed, epoch, reference.EXACT, 0))
        places = [permutation(place) for place in places]
    return [run.chosen[place if draws is None else draws.record(place)] for place in places]


def wanted_records(run: Run, epoch: int) -> Counter[int]:
    """How often each record comes in an epoch."""
    if run.weights is None:
        return Counter(run.chosen)
    chosen = run.chosen if run.order is False else sorted(run.chosen)
    draws = run.weighed(chosen, epoch)
    return Counter(chosen[draws.record(draw)] for draw in range(run.epoch_records))


def check_epoch(run: Run, epoch: int, steps: list[Step]) -> None:
    """Sizes of steps, and the records of an epoch: all of them, as often as was asked for, in the order of the definition."""
    whole, total = run.batch_size * run.ranks, run.epoch_records
    count = total // whole if run.last == "drop_last" else -(-total // whole)
    assert len(steps) == count
    found = [record for step in steps for record in counted(step)]
    for number, step in enumerate(steps):
        size = min(whole, total - number * whole)
        each = run.batch_size if run.last == "pad_last" else -(-size // run.ranks)
        assert [len(records) for records, _ in step] == [each] * run.ranks
        assert sum(valid for _, valid in step) == size
    if run.last != "drop_last":
        assert Counter(found) == wanted_records(run, epoch)
    else:
        assert Counter(found) <= wanted_records(run, epoch)
    plain = plain_epoch(run, epoch)
    if plain is not None:
        assert found == plain[: len(found)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@tried(12, 0.25)
@given(run=runs(), place=st.integers(0, 10**6), other_workers=st.sampled_from((0, 0, 2)), data=st.data())
def test_loaders_give_what_the_definition_says(run: Run, place: int, other_workers: int, data: st.DataObject, files: Files) -> None:
    """Two epochs over all ranks; then from any step on, with other workers, ranks and batch size."""
    note(f"{run}")
    steps = run_through(run, files)
    for epoch in range(2):
        check_epoch(run, epoch, [step for which, step, _ in steps if which == epoch])
    if not steps:
        return
    at = place % len(steps)
    epoch, _, state = steps[at]
    again = run_through(replace(run, workers=other_workers), files, state)
    assert [(which, step) for which, step, _ in again] == [(which, step) for which, step, _ in steps[at + 1 :]]
    if run.last == "drop_last":
        return
    lanes_known = not isinstance(run.order, sl.Block) and run.order is not True
    changed = replace(run, ranks=data.draw(st.sampled_from((1, 2, 4))), batch_size=data.draw(st.integers(1, 40)), workers=0)
    rest = run_through(changed, files, state, stop=epoch + 1)
    before = [record for which, step, _ in steps[: at + 1] if which == epoch for record in counted(step)]
    found = before + [record for which, step, _ in rest if which == epoch for record in counted(step)]
    assert Counter(found) == wanted_records(run, epoch)
    if lanes_known:
        assert found == [record for which, step, _ in steps if which == epoch for record in counted(step)]
