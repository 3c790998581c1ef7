"""What the user holds stays as it is, and costs nobody anything until it is too much."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from loader_files import check_against, gzip, taken, values, window, write

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows

WORKERS = pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)

KEEPERS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda array: array,
    "slice": lambda array: array[3:5],
    "transpose": lambda array: array.T,
    "slice of a transposed view": lambda array: array.T[..., ::2],
    "memoryview": memoryview,
    "dlpack": np.from_dlpack,
}


def shown(keeper: Any) -> bytes:
    """What it shows, as bytes."""
    return np.asarray(keeper).tobytes()


def place(array: np.ndarray, loader: sl.Loader) -> int | None:
    """The slot of the ring in which an array lies, or None if it lies elsewhere."""
    ring = loader._live.slots.ring
    at = array.ctypes.data - ring.address
    return at // loader._plan.slot_nbytes if 0 <= at < ring.nbytes else None


@WORKERS
@pytest.mark.parametrize("how", KEEPERS, ids=str)
def test_anything_made_from_an_array_keeps_the_batch(tmp_path: Path, workers: int, how: str) -> None:
    """Three epochs go by while it is held, and it shows what it showed at first."""
    data = sl.open(write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=9, num_workers=workers) as loader:
        keeper = KEEPERS[how](next(iter(loader))["image"])
        expected = shown(keeper)
        for _ in range(3):
            check_against(taken(loader), *values(100))
            assert shown(keeper) == expected
        assert loader.stats.copies == 0
    assert shown(keeper) == expected


@WORKERS
@pytest.mark.parametrize("shuffle", [sl.Exact(), window(24)], ids=["exact", "block"])
def test_an_ordinary_loop_copies_nothing(tmp_path: Path, workers: int, shuffle: object) -> None:
    """`stats.copies` is 0, and every array lies in the ring."""
    data = sl.open(gzip(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=9, num_workers=workers, shuffle=shuffle) as loader:
        used: set[int | None] = set()
        for epoch in loader.epochs(4):
            for batch in epoch:
                image, label = batch.tuple("image", "label")
                used |= {place(image, loader), place(label, loader)}
                assert image.flags.writeable
                assert image.flags.c_contiguous
                assert image.ctypes.data % 64 == 0
        assert loader.stats.copies == 0
        assert None not in used
        assert loader.stats.steps == 4 * 12


@WORKERS
def test_one_batch_that_is_kept_for_a_whole_epoch_slows_nothing(tmp_path: Path, workers: int) -> None:
    data = sl.open(write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=9, num_workers=workers) as loader:
        epoch = iter(loader)
        kept = next(epoch)
        slot, expected = place(kept["image"], loader), kept["image"].tobytes()
        for batch in (batch for epochs in (epoch, loader) for batch in epochs):
            assert place(batch["image"], loader) not in (None, slot)
        assert loader.stats.copies == 0
        assert kept["image"].tobytes() == expected


@WORKERS
def test_a_list_of_all_batches_is_right_and_says_once_what_it_costs(tmp_path: Path, workers: int) -> None:
    """Batches beyond the spare ones are private memory, counted, with one warning."""
    data = sl.open(write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=9, num_workers=workers) as loader:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            first, second = list(loader), list(loader)
        assert len(caught) == 1
        assert "You hold more than 3 batches at once" in str(caught[0].message)
        assert "see loader.stats.copies" in str(caught[0].message)
        assert caught[0].filename == __file__
        check_against(taken(first), *values(100))
        check_against(taken(second), *values(100))
        assert sorted(record for batch in first for record in batch.records) == list(range(100))
        assert loader.stats.copies == 2 * 12 - 3
        assert loader.stats.copied_nbytes == sum(batch["image"].nbytes + batch["label"].nbytes for batch in (first + second)[3:])
        del first, second
        assert len(taken(loader)) == 12
        assert loader.stats.copies == 2 * 12 - 3


@WORKERS
def test_record_numbers_that_are_collected_keep_no_batch(tmp_path: Path, workers: int) -> None:
    data = sl.open(write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=9, num_workers=workers) as loader:
        collected = [(batch.records, batch["label"].copy()) for batch in loader]
        assert loader.stats.copies == 0
    for records, label in collected:
        assert (values(100)[1][records] == label).all()
    assert sorted(np.concatenate([records for records, _ in collected])) == list(range(100))


@WORKERS
def test_a_batch_says_late_what_it_would_have_said_at_once(tmp_path: Path, workers: int) -> None:
    """Its members are made when they are asked for; by then the loader stands elsewhere, has batches of another size, or is closed."""
    data = sl.open(write(tmp_path / "data.h5"))

    def said(batch: sl.Batch) -> tuple[Any, ...]:
        own = batch.records.tolist(), batch.valid.tolist(), batch.source.tolist(), batch.source_names
        return *own, batch.epoch, batch.step, batch.total_step, batch.state_dict()

    with sl.Loader(data, batch_size=9, num_workers=workers, distributed=(1, 2)) as loader, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        at_once = [said(batch) for batch in loader]
        loader.seek(0)
        late = list(loader)
        loader.set_batch_size(7)
        taken(loader)
    assert [said(batch) for batch in late] == at_once


@WORKERS
def test_what_the_user_writes_stays_the_users_own(tmp_path: Path, workers: int) -> None:
    """Arrays may be written to; no later batch and no file sees it."""
    path = write(tmp_path / "data.h5")
    before = path.read_bytes()
    data = sl.open(path)
    with sl.Loader(data, batch_size=9, num_workers=workers) as loader:
        for epoch in loader.epochs(3):
            for batch in epoch:
                check_against(taken([batch]), *values(100))
                batch["image"][:] = 0
                label = batch["label"]
                label += 1
                batch.records[:] = -1
    assert path.read_bytes() == before


@WORKERS
@pytest.mark.parametrize("end", ["close", "drop", "drop in a loop"])
def test_batches_outlive_their_loader(tmp_path: Path, workers: int, end: str) -> None:
    """After `close`, and after the loader was dropped without it, arrays can be read and written."""
    data = sl.open(write(tmp_path / "data.h5"))
    loader = sl.Loader(data, batch_size=9, num_workers=workers)
    epoch = iter(loader)
    batch = next(epoch)
    another = memoryview(next(epoch)["image"])
    if end == "close":
        loader.close()
        del loader, epoch
    elif end == "drop":
        del loader, epoch
    else:
        del loader
        next(epoch)
        del epoch
    gc.collect()
    check_against(taken([batch]), *values(100))
    batch["image"][0] = 255
    assert (batch["image"][0] == 255).all()
    assert sorted(set(another.tobytes())) == sorted(set(np.asarray(another).reshape(-1).tolist()))


def shared_memory() -> int:
    """Descriptors of anonymous memory that this process holds."""
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return sum("memfd:streamload" in os.readlink(link) for link in links if os.path.islink(link))


@WORKERS
@pytest.mark.parametrize("end", ["close", "drop", "leave in the middle"])
def test_a_loader_gives_its_memory_back_without_the_collector(tmp_path: Path, workers: int, end: str) -> None:
    """Nothing in a loader over decoded blocks refers back to what holds it: the last reference takes its memory along."""
    data = sl.open(gzip(tmp_path / "data.h5", 400))
    with sl.Loader(data, batch_size=9, num_workers=workers, memory="60 MB") as first:
        next(iter(first))  # What stays for the life of the process: the launcher's.
    del first
    gc.collect()
    before = shared_memory()
    gc.disable()
    try:
        loader = sl.Loader(data, batch_size=9, shuffle=window(64), num_workers=workers, memory="60 MB")
        for batch in loader:
            if end == "leave in the middle" and batch.step == 3:
                break
        if end == "close":
            loader.close()
        del loader, batch
        assert shared_memory() == before
    finally:
        gc.enable()


def killed(epoch: Iterator[sl.Batch], loader: sl.Loader) -> None:
    next(epoch)
    os.kill(loader.worker_pids[0], signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(sl.WorkerCrashedError):
            deque(epoch, maxlen=0)


def damaged(epoch: Iterator[sl.Batch], loader: sl.Loader) -> None:
    for _ in range(2):
        with pytest.raises(sl.CorruptDataError):
            deque(epoch, maxlen=0)


def interrupted(epoch: Iterator[sl.Batch], loader: sl.Loader) -> None:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        deque((time.sleep(0.005) for _ in epoch), maxlen=0)


ILLS = [(killed, 2), (damaged, 0), (damaged, 2), (interrupted, 0), (interrupted, 2)]


@pytest.mark.parametrize(("ill", "workers"), ILLS, ids=[f"{ill.__name__}, {workers} workers" for ill, workers in ILLS])
def test_a_loader_that_failed_and_is_dropped_gives_its_memory_back(
    tmp_path: Path, ill: Callable[[Iterator[sl.Batch], sl.Loader], None], workers: int
) -> None:
    """What it keeps of an error, to raise it again, does not keep the frames that the error went through: those hold the loader."""
    path = gzip(tmp_path / "data.h5", 1_000)
    with h5py.File(path) as file:
        place = file["image"].id.get_chunk_info(100).byte_offset
    with sl.Loader(sl.open(path), batch_size=9, num_workers=workers, memory="60 MB") as first:
        next(iter(first))  # What stays for the life of the process: the launcher's.
    del first
    if ill is damaged:
        with open(path, "r+b") as file:
            file.seek(place + 40)
            file.write(bytes(8))
    data = sl.open(path)
    gc.collect()
    before = shared_memory()
    loader = sl.Loader(data, batch_size=9, shuffle=window(64), num_workers=workers, memory="60 MB")
    ill(iter(loader), loader)
    del loader
    gc.collect()
    assert shared_memory() == before


@WORKERS
def test_a_batch_held_beyond_a_restart_is_not_written_to(tmp_path: Path, workers: int) -> None:
    """Breaking off calls work off that is under way; what the user holds meanwhile is never given to it."""
    data = sl.open(write(tmp_path / "data.h5"))
    held: list[tuple[Any, bytes]] = []
    with sl.Loader(data, batch_size=9, num_workers=workers) as loader:
        for number in range(30):
            batch = next(iter(loader))
            assert batch.epoch == number
            check_against(taken([batch]), *values(100))
            held = [*held[-1:], (batch["image"][1:], batch["image"][1:].tobytes())]
            del batch
            for array, expected in held:
                assert array.tobytes() == expected


@WORKERS
def test_holding_and_letting_go_in_any_rhythm(tmp_path: Path, workers: int) -> None:
    """Whatever is held, for however long: nothing is overwritten, and nothing blocks."""
    data = sl.open(write(tmp_path / "data.h5"))
    chance = np.random.default_rng(5)
    held: list[tuple[np.ndarray, bytes]] = []
    with warnings.catch_warnings(), sl.Loader(data, batch_size=9, num_workers=workers) as loader:
        warnings.simplefilter("ignore")
        for epoch in loader.epochs(8):
            for batch in epoch:
                check_against(taken([batch]), *values(100))
                held.append((batch["image"], batch["image"].tobytes()))
                while len(held) > chance.integers(0, 9):
                    held.pop(int(chance.integers(0, len(held))))
                assert all(array.tobytes() == expected for array, expected in held)
    assert all(array.tobytes() == expected for array, expected in held)
