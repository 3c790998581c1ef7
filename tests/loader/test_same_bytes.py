"""The same records in the same order, byte for byte what h5py reads: whatever the workers, the memory, the layout."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_files import LAYOUTS, ORDERS, Backwards, Taken, check_against, epochs, gzip, order_of, values, window, write

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows


def run(data: sl.Source, stop: int = 2, **keywords: object) -> Taken:
    """Everything that a loader delivers."""
    with sl.Loader(data, **{"batch_size": 13, "num_workers": 0, **keywords}) as loader:
        return epochs(loader, stop)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("workers", [0, 1, 2, 3, 7], ids="{} workers".format)
def test_the_same_for_any_number_of_workers(tmp_path: Path, layout: str, order: str, workers: int) -> None:
    """Two epochs, as the definition of the order says, equal to what h5py reads."""
    path = LAYOUTS[layout](tmp_path / "data.h5")
    data = sl.open(path)
    found = run(data, shuffle=order_of(order), num_workers=workers)
    with h5py.File(path) as file:
        check_against(found, file["image"][()], file["label"][()])
    with sl.Loader(data, batch_size=13, shuffle=order_of(order), num_workers=0) as loader:
        bound = loader._plan.order
    for epoch in range(2):
        expected = np.concatenate([bound.records(epoch, start, min(start + 13, 100)) for start in range(0, 100, 13)])
        assert [record for number, _, records, _, _ in found for record in records if number == epoch] == expected.tolist()
        assert sorted(expected.tolist()) == list(range(100))


@pytest.mark.parametrize("order", ["exact", "block of small windows"])
@pytest.mark.parametrize("layout", ["raw", "gzip chunks of 8"])
@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_the_same_for_any_memory_that_suffices(tmp_path: Path, layout: str, order: str, workers: int) -> None:
    """The least that works, a little more, and plenty."""
    data = sl.open(LAYOUTS[layout](tmp_path / "data.h5"))
    plenty = run(data, shuffle=order_of(order), num_workers=workers)
    with pytest.raises((sl.ResourceError, sl.ConfigError)):
        run(data, shuffle=order_of(order), num_workers=workers, memory=1000)
    low, high = 1000, 1 << 30
    while high - low > 1000:
        middle = (low + high) // 2
        try:
            sl.Loader(data, batch_size=13, shuffle=order_of(order), num_workers=0 if workers == 0 else 1, memory=middle).close()
            high = middle
        except (sl.ResourceError, sl.ConfigError):
            low = middle
    least = high if workers < 2 else 2 * high
    for memory in (least, least + 20_000, 4 * least):
        assert run(data, shuffle=order_of(order), num_workers=workers, memory=memory) == plenty


@pytest.mark.parametrize("io", ["read", "mmap", "auto", "direct"])
@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_the_same_however_files_are_read(tmp_path: Path, io: str, workers: int) -> None:
    data = sl.open(write(tmp_path / "data.h5"))
    assert run(data, io=io, num_workers=workers) == run(data)


@pytest.mark.parametrize("order", ["exact", "block of small windows", "sequential"])
@pytest.mark.parametrize("layout", ["raw", "gzip chunks of 8"])
@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
@pytest.mark.parametrize("how", ["integers", "unordered integers", "booleans", "a .npy file of integers", "a .npy file of booleans"])
def test_a_subset_is_delivered_whole_and_nothing_else(tmp_path: Path, layout: str, order: str, workers: int, how: str) -> None:
    """However the subset is given, it is the same subset; where nothing is shuffled, in the order given."""
    data = sl.open(LAYOUTS[layout](tmp_path / "data.h5"))
    chosen = np.flatnonzero(np.arange(100) % 7 < 3)
    mask = np.isin(np.arange(100), chosen)
    np.save(tmp_path / "chosen.npy", chosen)
    np.save(tmp_path / "mask.npy", mask)
    indices = {
        "integers": chosen,
        "unordered integers": chosen[::-1].tolist(),
        "booleans": mask,
        "a .npy file of integers": tmp_path / "chosen.npy",
        "a .npy file of booleans": str(tmp_path / "mask.npy"),
    }[how]
    kept = order == "sequential" and how == "unordered integers"
    said = r"indices= are in an order of their own, which shuffle=False keeps: each of the 44 records is decoded with its whole block"
    with pytest.warns(UserWarning, match=said) if kept and layout != "raw" else nullcontext():
        found = run(data, indices=indices, shuffle=order_of(order), num_workers=workers)
    wanted = {"shuffle": sl.Listed(chosen[::-1])} if kept else {"indices": chosen, "shuffle": order_of(order)}
    assert found == run(data, **wanted)
    check_against(found, *values(100))
    for epoch in range(2):
        assert sorted(record for number, _, records, _, _ in found for record in records if number == epoch) == chosen.tolist()


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_an_order_of_the_users_own_within_a_subset(tmp_path: Path, workers: int) -> None:
    """Its numbers count within the subset."""
    data = sl.open(write(tmp_path / "data.h5"))
    found = run(data, indices=np.arange(50, 70), shuffle=Backwards(20), num_workers=workers, batch_size=20)
    assert [records for _, _, records, _, _ in found] == [list(range(69, 49, -1)), [50, *range(69, 50, -1)]]


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_an_order_that_repeats_records_and_leaves_some_out(tmp_path: Path, workers: int) -> None:
    class Weighted:
        def __len__(self) -> int:
            return 37

        def records(self, epoch: int, start: int, stop: int) -> np.ndarray:
            return np.random.default_rng(epoch).integers(0, 3, 37)[start:stop]

    found = run(sl.open(gzip(tmp_path / "data.h5")), shuffle=Weighted(), num_workers=workers)
    check_against(found, *values(100))
    assert [len(records) for _, _, records, _, _ in found] == [13, 13, 11] * 2
    assert {record for _, _, records, _, _ in found for record in records} == {0, 1, 2}


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_an_order_that_answers_wrongly_is_named(tmp_path: Path, workers: int) -> None:
    class Beyond:
        def records(self, epoch: int, start: int, stop: int) -> np.ndarray:
            return np.arange(start, stop) + (50 if start >= 39 else 0)

    with sl.Loader(sl.open(write(tmp_path / "data.h5")), batch_size=13, shuffle=Beyond(), num_workers=workers) as loader:
        epoch = iter(loader)
        said = r"Beyond.records\(0, 39, 52\) returned record 100 at position 50; there are 100 records"
        with pytest.raises(sl.ConfigError, match=said):  # noqa: PT012 (the loop is what raises)
            for step, batch in enumerate(epoch):
                assert batch.step == step < 3


def test_several_files_are_one_source(tmp_path: Path) -> None:
    """Of different layouts even: records count on through the files."""
    sizes = [30, 45, 25]
    for number, size in enumerate(sizes):
        writer = (write, gzip)[number % 2]
        writer(tmp_path / f"part-{number}.h5", size, seed=number)
    data = sl.open(str(tmp_path / "part-*.h5"))
    images = np.concatenate([values(size, seed=number)[0] for number, size in enumerate(sizes)])
    labels = np.concatenate([values(size)[1] for size in sizes])
    for order in (sl.Exact(), window(60), sl.Sequential()):
        found = run(data, shuffle=order, num_workers=2)
        check_against(found, images, labels)
        assert sorted(record for number, _, records, _, _ in found if number == 1 for record in records) == list(range(100))


@pytest.mark.filterwarnings("ignore:An epoch has no step")  # a last batch that is left out may be the only one
@settings(max_examples=60)
@given(
    records=st.integers(1, 60),
    chunk=st.integers(1, 12),
    batch_size=st.integers(1, 70),
    window_records=st.integers(12, 80),
    drop_last=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
    kept=st.floats(0.2, 1.0),
)
def test_any_blocks_windows_and_batches(
    tmp_path_factory: pytest.TempPathFactory,
    records: int,
    chunk: int,
    batch_size: int,
    window_records: int,
    drop_last: bool,
    seed: int,
    kept: float,
) -> None:
    """Batches larger than windows, windows larger than the data, subsets, chunks of one: each record once, with its own bytes."""
    path = tmp_path_factory.mktemp("any") / "data.h5"
    data = sl.open(gzip(path, records, chunk=min(chunk, records)), fields=["image", "label"])
    mask = np.random.default_rng(records).random(records) < kept
    chosen = np.flatnonzero(mask)
    found = run(data, batch_size=batch_size, shuffle=window(window_records), drop_last=drop_last, seed=seed, indices=mask)
    check_against(found, *values(records))
    delivered = len(chosen) - len(chosen) % batch_size if drop_last else len(chosen)
    for epoch in range(2):
        these = [record for number, _, numbers, _, _ in found for record in numbers if number == epoch]
        assert len(these) == len(set(these)) == delivered
        assert set(these) <= set(chosen.tolist())
