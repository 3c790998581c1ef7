"""Compressed tars and TFRecord files: read in order, exactly, from any state, by any number of workers, and in no other order."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples.tar import npy, png, write
from foreign_files import tfrecord
from imagecodecs import zstd_encode

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError, ResourceError, SourceChangedError
from streamload.formats import plan_cache, unpacking_budget
from streamload.formats.columns.packed_blocks import BLOCK_NBYTES, blocks_of
from streamload.formats.columns.packed_records import PackedRanges
from streamload.formats.tfrecord.framing import masked
from streamload.formats.unpacking_budget import UnpackingBudget
from streamload.kernels.crc32c_plain import crc32c

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "gzip, two members": lambda data: gzip.compress(data[:99_999], 1) + gzip.compress(data[99_999:], 1),
    "bz2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": lambda data: bytes(zstd_encode(data)),
}
COUNT = 90


def values(number: int) -> np.ndarray:
    """An array that no other number has: 48 KB that compress well."""
    return np.full((3, 64, 64), number, np.float32) + np.arange(64, dtype=np.float32)


def archive(path: Path, first: int, count: int, compress: Callable[[bytes], bytes]) -> None:
    """A compressed archive of arrays, bytes of several lengths and labels: more than one block."""
    members: list[tuple[str, bytes]] = []
    for number in range(first, first + count):
        image = np.full((4 + number % 5, 6, 3), number, np.uint8)
        members += [(f"{number:04}.x.npy", npy(values(number))), (f"{number:04}.cls", f"{number % 7}".encode())]
        members.append((f"{number:04}.png", png(image)))
    write(path, members)
    path.write_bytes(compress(path.read_bytes()))


def read_on(data: sl.Loader) -> list[dict[str, Any]]:
    """All batches of an epoch, copied."""
    return [{"records": np.array(batch.records), "x": np.array(batch["x"]), "image": batch["image"].to_list()} for batch in data]


def right(batch: dict[str, Any]) -> bool:
    """Whether a batch holds what its records are."""
    numbers = batch["records"].tolist()
    images = [bytes(image) for image in batch["image"]]
    expected = [png(np.full((4 + number % 5, 6, 3), number, np.uint8)) for number in numbers]
    return images == expected and np.array_equal(batch["x"], np.stack([values(number) for number in numbers]))


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_files_are_read_in_order_and_from_any_state(compress: Callable[[bytes], bytes], tmp_path: Path):
    """By one process or several, two files after each other, the second not compressed; blocks are several in each."""
    archive(tmp_path / "0.tar", 0, COUNT, compress)
    archive(tmp_path / "1.tar", COUNT, COUNT // 2, lambda data: data)
    source = sl.open([tmp_path / "0.tar", tmp_path / "1.tar"])
    assert all(len(column.cuts) > 5 for column in source.columns if column.cuts is not None)
    assert source.forward_only
    states: list[dict[str, Any]] = []
    for workers in (0, 3) if compress is COMPRESSIONS["gzip"] else (0, 0):
        with sl.Loader(source, batch_size=16, shuffle=False, num_workers=workers, memory="512 MB") as loader:
            batches = read_on(loader)
            assert np.concatenate([batch["records"] for batch in batches]).tolist() == list(range(COUNT + COUNT // 2))
            assert all(map(right, batches))
            epoch = iter(loader)
            for _ in range(5):
                next(epoch)
            states.append(json.loads(json.dumps(loader.state_dict())))
    assert states[0] == states[1]
    with sl.Loader(source, batch_size=16, shuffle=False, num_workers=0, memory="512 MB") as loader:
        loader.load_state_dict(states[0])
        rest = read_on(loader)
        assert np.concatenate([batch["records"] for batch in rest]).tolist() == list(range(80, COUNT + COUNT // 2))
        assert all(map(right, rest))
    source.close()


def test_ranks_share_one_epoch(tmp_path: Path):
    """Each unpacks the file, and takes its own records."""
    archive(tmp_path / "x.tar.gz", 0, COUNT, COMPRESSIONS["gzip"])
    source = sl.open(tmp_path / "x.tar.gz")
    found: list[int] = []
    for rank in range(3):
        with sl.Loader(source, batch_size=8, shuffle=False, num_workers=0, memory="256 MB", distributed=(rank, 3)) as loader:
            found += [number for batch in loader for number in batch.records[batch.valid].tolist()]
    assert sorted(found) == list(range(COUNT))
    source.close()


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({}, "shuffle=True asks for another"),
        ({"shuffle": sl.Exact()}, "shuffle=Exact() asks for another"),
        ({"shuffle": False, "weights": "label"}, "weights= and draws= draw for another"),
        ({"shuffle": False, "indices": [3, 1]}, "indices= in an order of their own ask for another"),
    ],
    ids=["by default", "exact", "weights", "a list"],
)
def test_another_order_is_refused_with_the_conversion(asked: dict[str, Any], text: str, tmp_path: Path):
    """What leads on is a command."""
    path = tmp_path / "x y.tar.gz"
    archive(path, 0, 4, COMPRESSIONS["gzip"])
    with sl.open(path) as source, pytest.raises(ConfigError) as caught:
        sl.Loader(source, batch_size=2, num_workers=0, **asked)
    assert str(caught.value) == (
        f"{path} is compressed as a whole, so that its records are read in the order in which they are stored: {text}, in which each "
        "would be unpacked with all that lies before it. Give shuffle=False; or, to shuffle them, convert once: "
        f"`streamload convert '{path}' 'x y.parquet' --store keep`."
    )


def test_several_files_are_converted_one_by_one(tmp_path: Path):
    """The command is one of them."""
    for name in "ab":
        tfrecord(tmp_path / name, [{"x": [b"\x00\xff%d" % at]} for at in range(3)])
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    with (
        sl.open([tmp_path / "a", tmp_path / "b"]) as source,
        pytest.raises(ConfigError, match=r"a\.parquet`, and so each of the 2 files; "),
    ):
        sl.Loader(source, batch_size=2, num_workers=0)


def test_a_subset_in_order_is_read(tmp_path: Path):
    """Record numbers that rise."""
    archive(tmp_path / "x.tar.gz", 0, COUNT, COMPRESSIONS["gzip"])
    with sl.open(tmp_path / "x.tar.gz") as source:
        with sl.Loader(source, batch_size=8, shuffle=False, indices=[2, 40, 89], num_workers=0, memory="256 MB") as loader:
            assert all(map(right, read_on(loader)))
        assert source[[89, 2, 40]]["label"].tolist() == [89 % 7, 2, 40 % 7]


def test_links_lead_back_to_what_was_unpacked_before(tmp_path: Path):
    """Over blocks, and within a record."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for number in range(60):
            image = png(np.full((5, 5, 3), number, np.uint8))
            for name, data in ((f"{number}.a.png", image), (f"{number}.x.npy", npy(values(number)))):
                head = tarfile.TarInfo(name)
                head.size = len(data)
                made.addfile(head, io.BytesIO(data))
            head = tarfile.TarInfo(f"{number}.b.png")
            head.type, head.linkname = tarfile.LNKTYPE, f"{number if number % 2 else number // 3}.a.png"
            made.addfile(head)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(file.getvalue(), 1))
    with sl.open(tmp_path / "x.tar.gz") as source:
        taken = source[::-1]
        assert taken["a"][:, 0, 0, 0].tolist() == list(range(60))[::-1]
        assert taken["b"][:, 0, 0, 0].tolist() == [number if number % 2 else number // 3 for number in range(60)][::-1]


def test_blocks_are_runs_of_records_of_about_one_size():
    """A record that is larger than a block is one; what a link leads back to counts where it lies."""
    sizes = np.array([10, BLOCK_NBYTES * 3, 10, 10, BLOCK_NBYTES, 5], np.int64)
    offsets = np.concatenate([[512], 512 + np.cumsum(sizes)[:-1]]).astype(np.int64)
    back = np.array([-1, -1, 512, -1, 512, -1], np.int64)
    starts = np.array([0, 4, 4, 6], np.int64)
    offsets[4:] -= offsets[4]
    found = blocks_of([(offsets, sizes), (back, np.where(back < 0, 0, 10))], starts)
    assert found.cuts.tolist() == [0, 2, 4, 5, 6]
    assert found.begins.tolist() == [512, int(offsets[2]), 0, BLOCK_NBYTES]
    assert found.ends.tolist() == [int(offsets[2]), int(offsets[3] + 10), BLOCK_NBYTES, BLOCK_NBYTES + 5]
    assert [found.file_of(block) for block in range(4)] == [0, 0, 2, 2]


class TestHarm:
    """Files that are damaged, changed, or made to fill memory."""

    def test_damage_is_found_at_open(self, tmp_path: Path):
        """Cut short, or another byte: the whole of a file is unpacked once."""
        archive(tmp_path / "x.tar", 0, 20, lambda data: data)
        whole = gzip.compress((tmp_path / "x.tar").read_bytes(), 1)
        for data in (whole[:-9], whole[: len(whole) // 2], whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]):
            (tmp_path / "x.tar.gz").write_bytes(data)
            with pytest.raises(
                CorruptDataError,
                match=r"x\.tar\.gz (cannot be unpacked beyond byte|ends without|has a member|holds no (pax )?head|: .* cut short)",
            ):
                sl.open(tmp_path / "x.tar.gz")

    def test_a_file_that_changes_is_never_anothers(self, tmp_path: Path):
        """Also where it changes while it is unpacked."""
        archive(tmp_path / "x.tar.gz", 0, COUNT, COMPRESSIONS["gzip"])
        with sl.open(tmp_path / "x.tar.gz") as source:
            source[3]
            archive(tmp_path / "y.tar.gz", 7, COUNT, COMPRESSIONS["gzip"])
            os.replace(tmp_path / "y.tar.gz", tmp_path / "x.tar.gz")
            with pytest.raises(SourceChangedError, match="was replaced by another file"):
                source[50]

    @pytest.mark.parametrize("kind", ["tar", "tar of many", "TFRecord"])
    def test_a_bomb_is_refused_before_memory_is_full(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """One piece that is larger than may be held, or many small ones."""
        monkeypatch.setattr(unpacking_budget, "SHARE", 4 * unpacking_budget.available_nbytes() >> 22)  # About 1 MB may be held.
        path = tmp_path / "x"
        if kind == "TFRecord":
            length = struct.pack("<Q", 8 << 20)
            path.write_bytes(length + struct.pack("<I", masked(crc32c(length))) + bytes(8 << 20))
        else:
            write(path, [("0.png", bytes(8 << 20))] if kind == "tar" else [(f"{at}.png", b"") for at in range(4000)])
        path.write_bytes(gzip.compress(path.read_bytes()))
        assert path.stat().st_size < 200_000
        text = "what is kept of it while it is gone through" if "many" in kind else r"0\.png|record 0"
        with pytest.raises(ResourceError, match=rf"x is compressed, and ({text}) takes .* unpacked, where .* may be held"):
            sl.open(path)

    def test_the_limit_is_said(self):
        """In three beats."""
        budget = UnpackingBudget("x.tar.gz", 100)
        budget.keep(60)
        budget.allow("a.png", 100)
        with pytest.raises(ResourceError) as caught:
            budget.keep(60)
        assert str(caught.value) == (
            "x.tar.gz is compressed, and what is kept of it while it is gone through takes 120 B unpacked, where 100 B may be held. Look "
            "at what it unpacks to, and whether it comes from where it should; unpacked on a disk, it is read by offset."
        )


@pytest.mark.usefixtures("kept")
def test_the_index_is_kept_from_one_run_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing is unpacked to open it again; what was kept is checked before it is believed."""
    archive(tmp_path / "x.tar.gz", 0, 30, COMPRESSIONS["gzip"])
    sl.open(tmp_path / "x.tar.gz", decode=False).close()
    monkeypatch.setattr("streamload.formats.tar.planning.plan_files", None)
    with sl.open(tmp_path / "x.tar.gz", decode=False) as again:
        assert again[29]["label"] == 29 % 7
        assert np.array_equal(again[29]["x"], values(29))
        column = next(column for column in again.columns if isinstance(column, PackedRanges))
        for wrong in ({"offsets": column.offsets[1:]}, {"sizes": column.sizes - 999}, {"sizes": column.sizes[1:]}):
            with pytest.raises(ValueError, match="records are counted wrong"):
                plan_cache._refuse_miscounted(replace(column, **wrong), again)
        for name in ("cuts", "begins"):
            with pytest.raises(ValueError, match="blocks lie nowhere"):
                plan_cache._refuse_miscounted(
                    replace(column, blocks=replace(column.blocks, **{name: getattr(column.blocks, name) - 9999})), again
                )
