"""Memory is known before anything is read: what is used is at most what was allowed, and an error says what suffices."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_files import gzip, window, write

import streamload as sl
from streamload.sizes import enough_nbytes, format_nbytes, parse_nbytes

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows

MB = 1024**2


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 images of 30 KB."""
    path = tmp_path_factory.mktemp("budget") / "images.h5"
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = np.zeros((400, 100, 100, 3), "u1"), np.arange(400)
        file.create_dataset("packed", data=np.zeros((400, 100, 100, 3), "u1"), chunks=(10, 100, 100, 3), compression="gzip")
    return path


@pytest.mark.parametrize("io", ["auto", "read", "mmap", "direct"])
@pytest.mark.parametrize("workers", [0, 1, 4], ids="{} workers".format)
@pytest.mark.parametrize("memory", ["15 MB", "40 MB", "200 MB", "2 GB", None], ids=str)
@pytest.mark.parametrize("field", ["image", "packed"])
def test_the_footprint_is_within_the_budget(images: Path, io: str, workers: int, memory: str | None, field: str) -> None:
    data = sl.open(images, fields=[field, "label"])
    shuffle = sl.Exact() if field == "image" else sl.Block(window="3 MB")
    try:
        loader = sl.Loader(data, batch_size=32, num_workers=workers, memory=memory, shuffle=shuffle, io=io)
    except (sl.ResourceError, sl.ConfigError) as error:
        refused = str(error)
    else:
        refused = None
    if refused is not None:
        assert memory in ("15 MB", "40 MB")
        assert "in all" in refused or "the least that works here is" in refused
        return
    with loader:
        footprint = loader.footprint()
        assert footprint.total <= footprint.budget
        if memory is not None:
            assert footprint.budget == parse_nbytes(memory, name="memory")
        assert footprint.slots == loader._live.slots.ring.nbytes
        assert footprint.arena == (loader._plan.job.streams[0].arena.nbytes if field == "packed" else 0)
        assert (footprint.tables > 0) == (field == "packed")
        assert footprint.index > 0
        assert (footprint.page_tables > 0) == ("mapped" in repr(loader))
        assert str(footprint) in repr(loader)
        assert len(next(iter(loader))["label"]) == 32


@settings(max_examples=40)
@given(
    memory=st.integers(0, 30 * MB),
    batch_size=st.integers(1, 500),
    workers=st.integers(0, 5),
    field=st.sampled_from(["image", "packed"]),
    window_nbytes=st.integers(300_000, 20 * MB),
    io=st.sampled_from(["auto", "mmap", "read", "direct"]),
)
def test_whatever_is_too_little_says_what_suffices_and_that_does(
    images: Path, memory: int, batch_size: int, workers: int, field: str, window_nbytes: int, io: str
) -> None:
    """The number in the error's text, given as it stands, works; nothing was read to find out."""
    from streamload.loader.planning import Options, plan_of
    from streamload.memory.limits import available_nbytes

    def total(given: int | str) -> int:
        options = Options(
            batch_size=batch_size,
            shuffle=sl.Block(window=window_nbytes) if field == "packed" else True,
            seed=0,
            num_workers=workers,
            drop_last=False,
            memory=given,
            indices=None,
            augment=None,
            transform=None,
            io=io,
            timeout=10,
            on_worker_crash="raise",
            on_bad_record="raise",
        )
        return plan_of(data, options, available_nbytes).sizing.footprint.total

    data = sl.open(images, fields=[field, "label"])
    try:
        assert total(memory) <= memory
    except (sl.ResourceError, sl.ConfigError) as error:
        if "a block must fit in it" in str(error):
            return
        (enough,) = re.findall(r'Give memory="([^"]+)"', str(error))
        assert total(enough) <= parse_nbytes(enough, name="memory")


def test_an_impossible_budget_is_named_with_its_parts(images: Path) -> None:
    with pytest.raises(sl.ResourceError) as caught:
        sl.Loader(sl.open(images, fields=["image", "label"]), batch_size=32, num_workers=2, memory="1 MB")
    said = str(caught.value)
    assert 'memory="1 MB" is too little: the least that works here is' in said
    assert "slots" in said
    assert "or lower batch_size or num_workers" in said
    assert caught.value.needed_nbytes > caught.value.available_nbytes == MB


def test_a_demand_beyond_the_machine_is_refused(images: Path) -> None:
    data = sl.open(images, fields=["image", "label"])
    with pytest.raises(sl.ResourceError, match=r"The loader needs .* and this machine or its control group leaves .* free") as caught:
        sl.Loader(data, batch_size=1, num_workers=256, memory="900 TB", transform=lambda record: {"big": np.zeros(1 << 27, "u1")})
    assert "lower batch_size, num_workers or the window" in caught.value.hint


def test_less_memory_means_fewer_slots(tmp_path: Path) -> None:
    """Down to what the workers and two held batches need."""
    data = sl.open(write(tmp_path / "data.h5", 5000))
    with sl.Loader(data, batch_size=2000, num_workers=2, memory="200 MB") as loader:
        plenty = loader.footprint()
        slot = loader._plan.slot_nbytes
    with sl.Loader(data, batch_size=2000, num_workers=2, memory=4 * slot + 60_000) as loader:
        least = loader.footprint()
        assert least.slots == 4 * slot < plenty.slots
        assert sum(len(batch.records) for batch in loader) == 5000


def test_an_index_of_many_chunks_is_counted(tmp_path: Path) -> None:
    few, many = (sl.open(gzip(tmp_path / f"{chunk}.h5", 2000, chunk=chunk)) for chunk in (50, 1))
    with sl.Loader(few, batch_size=8, num_workers=0, shuffle=sl.Exact()) as one, sl.Loader(many, batch_size=8, num_workers=0) as other:
        assert other.footprint().index > one.footprint().index + 1900 * 8


@given(st.integers(0, 2**49))
def test_a_size_for_people_to_give_suffices(nbytes: int) -> None:
    """However it is rounded, and by no more than 2 % too much."""
    given_back = parse_nbytes(enough_nbytes(nbytes).replace(",", ""), name="memory")
    assert nbytes <= given_back <= nbytes * 1.02 + 1
    assert abs(parse_nbytes(format_nbytes(nbytes).replace(",", ""), name="memory") - nbytes) <= nbytes * 0.006 + 1


def test_the_least_for_windows_is_found_by_following_the_error(tmp_path: Path) -> None:
    """A machine with little memory works with a smaller window; the error at the default says which."""
    data = sl.open(gzip(tmp_path / "data.h5", 4000, chunk=8))
    with pytest.raises((sl.ConfigError, sl.ResourceError)) as caught:
        sl.Loader(data, batch_size=8, num_workers=0, memory="100 KB", shuffle=sl.Block())
    with sl.Loader(
        data, batch_size=8, num_workers=0, memory=re.findall(r'memory="([^"]+)"', caught.value.hint)[0], shuffle=window(500)
    ) as loader:
        assert loader.footprint().total <= loader.footprint().budget
