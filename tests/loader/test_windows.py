"""Blocks that must be decoded: windows, batches larger than them, ends, subsets and slow consumers, in bytes and in memory."""

from __future__ import annotations

import re
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from loader_files import SHAPE, WRITTEN, check_against, epochs, gzip, taken, values, window, write
from time_limits import Deadline

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows

WORKERS = pytest.mark.parametrize("workers", [0, 1, 3], ids="{} workers".format)
RECORD_NBYTES = int(np.prod(SHAPE)) + 8


@pytest.mark.filterwarnings("ignore:An epoch has no step")  # a last batch that is left out may be the only one
@WORKERS
@pytest.mark.parametrize("batch_size", [1, 7, 24, 25, 60, 100, 400], ids="batches of {}".format)
@pytest.mark.parametrize("drop_last", [False, True], ids=["all", "drop_last"])
def test_batches_smaller_and_larger_than_windows(tmp_path: Path, workers: int, batch_size: int, drop_last: bool) -> None:
    """Windows of 24 records, batches of 1 to all of them."""
    data = sl.open(gzip(tmp_path / "data.h5", 200))
    with sl.Loader(data, batch_size=batch_size, shuffle=window(24), num_workers=workers, drop_last=drop_last) as loader:
        found = epochs(loader, 3)
        order = loader._plan.order
        assert order.windows > 4
        end = 200 - 200 % batch_size if drop_last else 200
        for epoch in range(3):
            records = [record for number, _, records, _, _ in found for record in records if number == epoch]
            assert records == order.records(epoch, 0, end).tolist()
    check_against(found, *values(200))


@WORKERS
def test_a_batch_that_touches_a_hundred_windows(tmp_path: Path, workers: int) -> None:
    """The arena has a part for each window that a batch can touch, however many they are."""
    data = sl.open(gzip(tmp_path / "data.h5", 400, chunk=2))
    with sl.Loader(data, batch_size=300, shuffle=window(4), num_workers=workers) as loader:
        assert loader._plan.order.windows >= 100
        check_against(epochs(loader, 2), *values(400))


def counted(loader: sl.Loader, nbytes: int) -> int:
    """Bytes that workers say they have read, once they say so many: they count half a millisecond behind their work."""
    deadline = Deadline(5.0)
    while loader.stats.read_nbytes < nbytes and not deadline.passed:
        time.sleep(0.001)
    return loader.stats.read_nbytes


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_each_block_is_decoded_once_an_epoch(tmp_path: Path, workers: int) -> None:
    """Counted in stored bytes: an epoch reads each chunk once, in windows of a few chunks."""
    path = gzip(tmp_path / "data.h5", 200)
    with h5py.File(path) as file:
        stored = file["image"].id.get_storage_size()
    with sl.Loader(sl.open(path), batch_size=10, shuffle=window(40), num_workers=workers) as loader:
        for number, epoch in enumerate(loader.epochs(3), 1):
            taken(epoch)
            assert counted(loader, stored * number) >= stored * number
        assert counted(loader, stored * 3) == stored * 3


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_a_resume_decodes_its_own_window_and_no_earlier_one(tmp_path: Path, workers: int) -> None:
    path = gzip(tmp_path / "data.h5", 2000)
    keywords = {"batch_size": 10, "shuffle": window(80), "num_workers": workers}
    with sl.Loader(sl.open(path), **keywords) as loader:
        state = {**loader.state_dict(), "position": 1990, "step": 199}
        with h5py.File(path) as file:
            largest = max(file["image"].id.get_chunk_info(k).size for k in range(250))
        parts = loader._plan.job.streams[0].arena.parts
    with sl.Loader(sl.open(path), **keywords) as loader:
        before_nbytes = loader.stats.read_nbytes  # what was prepared of epoch 0 before the state was loaded
        loader.load_state_dict(state)
        (batch,) = [*loader]
        check_against(taken([batch]), *values(2000))
        assert batch.step == 199
        if workers == 0:
            assert loader.stats.read_nbytes - before_nbytes <= parts * 10 * largest


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
@pytest.mark.parametrize("pace", ["slow consumer", "fast consumer"])
def test_however_fast_the_consumer_the_footprint_is_the_same(tmp_path: Path, workers: int, pace: str) -> None:
    data = sl.open(gzip(tmp_path / "data.h5", 400))
    with sl.Loader(data, batch_size=20, shuffle=window(40), num_workers=workers) as loader:
        before = loader.footprint()
        for epoch in loader.epochs(2):
            for batch in epoch:
                check_against(taken([batch]), *values(400))
                time.sleep(0.01 if pace == "slow consumer" else 0)
        assert loader.footprint() == before
        assert before.total <= before.budget
        assert before.arena == loader._plan.job.streams[0].arena.nbytes
        assert loader.stats.copies == 0


def test_the_arena_holds_stored_bytes_of_the_decoded_fields_alone(tmp_path: Path) -> None:
    """Two windows in flight for batches that touch two: three parts of one window each; labels are not among them."""
    data = sl.open(gzip(tmp_path / "data.h5", 400))
    with sl.Loader(data, batch_size=20, shuffle=window(40), num_workers=0) as loader:
        arena = loader._plan.job.streams[0].arena
        assert [field.name for field in arena.fields] == ["image"]
        assert arena.parts == 3
        assert arena.records <= 40
        assert arena.part_nbytes - 4096 < 40 * (RECORD_NBYTES - 8)
    with sl.Loader(data, batch_size=20, shuffle=sl.Exact(), num_workers=0) as loader:
        assert loader._plan.job.streams[0].arena is None
    with sl.Loader(sl.open(write(tmp_path / "raw.h5", 400)), batch_size=20, shuffle=window(40), num_workers=0) as loader:
        assert loader._plan.job.streams[0].arena is None


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
@pytest.mark.parametrize(
    ("image", "label"),
    [
        ({"chunks": (8, *SHAPE), "compression": "gzip"}, {"chunks": (50,), "compression": "gzip"}),
        ({}, {"chunks": (33,), "compression": "gzip"}),
        ({"chunks": (8, *SHAPE), "compression": "lzf"}, {}),
        ({"chunks": (7, *SHAPE)}, {"chunks": (3,), "compression": "gzip"}),
        ({"chunks": True, "compression": "gzip"}, {"chunks": True}),
    ],
    ids=["both compressed, differently", "raw with compressed", "compressed with raw", "raw chunks with compressed", "automatic chunks"],
)
def test_fields_that_are_chunked_differently(tmp_path: Path, workers: int, image: dict[str, object], label: dict[str, object]) -> None:
    """Two large fields, so that neither is simply held in memory."""
    images, masks = values(120)[0], values(120, seed=1)[0]
    with h5py.File(tmp_path / "data.h5", "w", **WRITTEN) as file:
        file.create_dataset("image", data=images, **image)
        chunks = label.get("chunks")
        masked = {**label, **({"chunks": (*chunks, *SHAPE)} if isinstance(chunks, tuple) else {})}
        file.create_dataset("mask", data=masks, **masked)
    data = sl.open(tmp_path / "data.h5", fields=["image", "mask"])
    for shuffle in (sl.Exact(), sl.Block(window=200 * 120), sl.Sequential()):
        with sl.Loader(data, batch_size=13, shuffle=shuffle, num_workers=workers) as loader:
            for epoch in loader.epochs(2):
                seen: list[int] = []
                for batch in epoch:
                    assert (batch["image"] == images[batch.records]).all()
                    assert (batch["mask"] == masks[batch.records]).all()
                    seen += batch.records.tolist()
                assert sorted(seen) == list(range(120))


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_files_with_different_chunks(tmp_path: Path, workers: int) -> None:
    sizes = [50, 30, 41]
    for number, (size, chunk) in enumerate(zip(sizes, (8, 30, 5), strict=True)):
        gzip(tmp_path / f"{number}.h5", size, chunk=chunk, seed=number)
    images = np.concatenate([values(size, seed=number)[0] for number, size in enumerate(sizes)])
    labels = np.concatenate([values(size)[1] for size in sizes])
    for batch_size in (10, 64):
        with sl.Loader(sl.open(str(tmp_path / "*.h5")), batch_size=batch_size, shuffle=window(36), num_workers=workers) as loader:
            found = epochs(loader, 2)
        check_against(found, images, labels)
        assert sorted(record for number, _, records, _, _ in found if number == 0 for record in records) == list(range(121))


def test_a_block_larger_than_the_window_names_both_knobs_and_the_conversion(tmp_path: Path) -> None:
    data = sl.open(gzip(tmp_path / "data.h5", chunk=50))
    with pytest.raises(sl.ConfigError) as caught:
        sl.Loader(data, batch_size=10, shuffle=window(20), num_workers=0)
    said = str(caught.value)
    assert "a window has 1.33 KB (1,360 bytes), and a block must fit in it" in said
    assert "memory=" in said
    assert "Block(window=" in said
    assert "convert --chunk-records" in said


@pytest.mark.parametrize("cure", ["memory", "window"])
def test_windows_beyond_the_memory_are_an_error_that_says_what_suffices(tmp_path: Path, cure: str) -> None:
    """Nothing is shrunk silently; either cure that the error names does help."""
    with h5py.File(tmp_path / "data.h5", "w", **WRITTEN) as file:
        images = file.create_dataset("image", (3000, 100, 1000), "u1", chunks=(10, 100, 1000), compression="gzip")  # 286 MB
        images[0] = 1  # the rest is never written
        file["label"] = np.arange(3000)
    data = sl.open(tmp_path / "data.h5")
    with pytest.raises(sl.ConfigError, match=r"Windows of .* need .* in all, and memory=") as caught:
        sl.Loader(data, batch_size=8, num_workers=0, shuffle=sl.Block(), memory="300 MB")
    if cure == "memory":
        (memory,) = re.findall(r'Give memory="([^"]+)"', str(caught.value))
        sl.Loader(data, batch_size=8, num_workers=0, shuffle=sl.Block(), memory=memory).close()
    else:
        (size,) = re.findall(r'Block\(window="([^"]+)"\)', str(caught.value))
        sl.Loader(data, batch_size=8, num_workers=0, shuffle=sl.Block(window=size), memory="300 MB").close()
