"""Which records are written, in which order, and into which part: exact, repeatable, and in memory that does not grow."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import answer, arrays, environment, hdf5_file, image_folder, said
from hypothesis import given
from hypothesis import strategies as st

import streamload as sl
from streamload.errors import ConfigError
from streamload.order.split import Labels, by_group, hashed
from streamload.tools.convert.shuffle import WrittenOrder, WrittenOrderIndex
from streamload.tools.convert.split import arranged


def passes(kept: list[int], labels: int, groups: int, size: int = 7) -> Any:
    """Passes over records whose label and group follow from their numbers."""

    def batches() -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        for start in range(0, len(kept), size):
            numbers = np.array(kept[start : start + size], np.int64)
            yield numbers, {"label": numbers % labels, "id": numbers // 5 % groups}

    return batches


def made(folder: Path, kept: list[int], *, labels: int = 3, groups: int = 40, **more: Any) -> tuple[WrittenOrder, np.ndarray]:
    """An arrangement of some of the records, and the whole order."""
    path = folder / "kept"
    path.write_bytes(np.array(kept, np.int64).tobytes())
    options: dict[str, Any] = {"shares": [1.0], "shuffle": False, "seed": 0, "label": None, "group": None} | more
    order = arranged(len(kept), passes(kept, labels, groups), path=str(folder / "order"), kept=str(path), **options)
    return order, WrittenOrderIndex(order).at(0, len(order))


class TestParts:
    """Every record has one place."""

    @given(
        kept=st.lists(st.integers(0, 200), unique=True, max_size=60).map(sorted),
        shares=st.sampled_from([[1.0], [0.5, 0.5], [0.8, 0.1, 0.1]]),
        shuffle=st.booleans(),
        seed=st.integers(0, 5),
        labels=st.none() | st.integers(1, 4),
    )
    def test_every_record_is_in_one_part(
        self, tmp_path: Path, kept: list[int], shares: list[float], shuffle: bool, seed: int, labels: int | None
    ):
        """Parts have their shares, to a record for each label; unshuffled ones keep the order of the source."""
        label = None if labels is None or len(shares) == 1 else "label"
        order, numbers = made(tmp_path, kept, labels=labels or 1, shares=shares, shuffle=shuffle, seed=seed, label=label)
        assert sorted(numbers.tolist()) == kept
        for (start, stop), share in zip(pairwise([0, *order.ends]), shares, strict=True):
            part = numbers[start:stop]
            assert shuffle or (np.diff(part) > 0).all()
            for which in range((labels or 1) if label else 1):
                whole = [number for number in kept if not label or number % (labels or 1) == which]
                mine = [number for number in part.tolist() if not label or number % (labels or 1) == which]
                assert abs(len(mine) - share * len(whole)) <= 1

    @given(
        kept=st.lists(st.integers(0, 150), unique=True, max_size=80).map(sorted),
        shuffle=st.booleans(),
        dealt=st.sampled_from(["", "label", "id"]),
        split=st.booleans(),
        batch=st.integers(1, 40),
    )
    def test_positions_are_the_inverse_of_the_order(
        self, tmp_path: Path, kept: list[int], shuffle: bool, dealt: str, split: bool, batch: int
    ):
        """Asked for a stretch of records at a time; -1 for those left out."""
        shares = [0.6, 0.4] if split else [1.0]
        names = {"label": "label" if dealt == "label" and split else None, "group": "id" if dealt == "id" and split else None}
        order, numbers = made(tmp_path, kept, shares=shares, shuffle=shuffle, **names)
        found = np.concatenate(list(WrittenOrderIndex(order).positions((at, min(at + batch, 151)) for at in range(0, 151, batch))))
        assert np.flatnonzero(found >= 0).tolist() == kept
        np.testing.assert_array_equal(numbers[found[kept]], kept)

    def test_without_a_file_the_order_is_the_loaders_own(self):
        """Exact order, worked out a stretch at a time."""
        order = WrittenOrder(ends=(800, 1000), shuffle="whole", seed=3)
        numbers = WrittenOrderIndex(order)
        together = np.concatenate([numbers.at(at, min(at + 77, 1000)) for at in range(0, 1000, 77)])
        from streamload.order import layout_of

        layout = layout_of([0, 1000], cuts=None, record_nbytes=1, addressable=True)
        np.testing.assert_array_equal(together, sl.Exact().bind(layout, 3).records(0, 0, 1000))
        assert WrittenOrder.of(order.plain()) == order

    @given(seed=st.integers(0, 20))
    def test_groups_stay_together(self, tmp_path: Path, seed: int):
        """And parts have their shares to the size of a few groups."""
        kept = list(range(1000))
        order, numbers = made(tmp_path, kept, groups=200, shares=[0.8, 0.1, 0.1], seed=seed, group="id")
        parts = [set((numbers[start:stop] // 5 % 200).tolist()) for start, stop in pairwise([0, *order.ends])]
        assert sum(map(len, parts)) == 200
        assert np.abs(np.diff([0, *order.ends]) - [800, 100, 100]).max() <= 10

    def test_groups_and_labels_at_once(self, tmp_path: Path):
        """Groups whole, labels nearly alike."""
        order, numbers = made(tmp_path, list(range(6000)), labels=2, groups=1200, shares=[0.75, 0.25], group="id", label="label")
        for start, stop in pairwise([0, *order.ends]):
            assert abs((numbers[start:stop] % 2).mean() - 0.5) < 0.05
        assert abs(order.ends[0] - 4500) < 60

    def test_a_field_of_measurements_is_no_label(self):
        """Refused beyond 65,536 values, before memory is used for them."""
        with pytest.raises(ConfigError, match="there are more than 65,536 values") as refused:
            Labels("--stratify x").count(np.arange(70_000))
        assert "Name a field of labels" in str(refused.value)

    def test_equal_values_have_one_bucket_whatever_their_dtype(self):
        """So that a group does not depend on how its id is stored."""
        assert hashed(np.array([3, 4], np.int16), 0, 1000).tolist() == hashed(np.array([3, 4], np.int64), 0, 1000).tolist()
        dealt = by_group([0.5, 0.5], passes(list(range(100)), 1, 20), "id", None, 0, said="id")
        assert set(dealt(np.arange(10), {"id": np.full(10, 7)}).tolist()) in ({0}, {1})


def everything(path: Any) -> dict[str, np.ndarray]:
    """All records of a source."""
    source = sl.open(path)
    taken = source[:]
    source.close()
    return taken


@pytest.mark.parametrize("block", [False, True], ids=["addressable", "in blocks"])
def test_where_split_and_shuffle_at_once(block: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The same records in the same parts and the same order, however the source is stored."""
    held = arrays(300, labels=10) | {"id": np.arange(300) // 3}
    source = hdf5_file(tmp_path / "a.h5", held, **({"chunks": (16, 8, 8, 3), "compression": "gzip"} if block else {}))
    words = ["--where", "label in (1, 3, 5, 7)", "--split", "0.5,0.5", "--group", "id", "--shuffle", "--seed", 4, "--to", "npy"]
    assert answer(capsys, "convert", source, tmp_path / "out", *words)[0] == 0
    parts = [everything(tmp_path / "out" / f"{part}-00000-of-00001.npy") for part in ("train", "test")]
    together = {name: np.concatenate([part[name] for part in parts]) for name in held}
    assert set(together["label"].tolist()) == {1, 3, 5, 7}
    assert len(together["label"]) == 120
    assert not set(parts[0]["id"].tolist()) & set(parts[1]["id"].tolist())
    assert not (np.diff(parts[0]["id"]) >= 0).all()
    rows = together["id"] * 3
    wanted = [
        next(row for row in range(first, first + 3) if held["label"][row] == one)
        for first, one in zip(rows, together["label"], strict=True)
    ]
    np.testing.assert_array_equal(together["image"], held["image"][wanted])
    assert answer(capsys, "verify", tmp_path / "out", "--deep")[0] == 0


def test_where_knows_classes_of_folders_and_decodes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A damaged image of another class does not matter."""
    image_folder(tmp_path / "in", {"ant": 3, "bee": 4})
    (tmp_path / "in" / "ant" / "001.png").write_bytes(b"no image")
    code, document = answer(capsys, "convert", tmp_path / "in", tmp_path / "b.h5", "--where", "label == 'bee'")
    assert (code, document["records"]) == (0, 4)
    assert set(everything(tmp_path / "b.h5")["label"].tolist()) == {1}
    code, text = said(capsys, "convert", tmp_path / "in", tmp_path / "c.h5", "--where", "lable == 1")
    assert code == 2
    assert "--where lable: there is no field of single numbers of that name." in text
    assert "Did you mean 'label'?" in text


def test_where_may_ask_for_fields_that_are_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Each is read for itself; --group means nothing without parts."""
    hdf5_file(tmp_path / "a.h5", arrays(30))
    assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5", "--fields", "image", "--where", "label > 6")[1]["records"] == 9
    assert (
        "--group means something with --split only" in said(capsys, "convert", tmp_path / "a.h5", tmp_path / "d.h5", "--group", "label")[1]
    )


MEASURE = """
import resource, sys
import numpy as np
from streamload.tools.convert.shuffle import WrittenOrder, WrittenOrderIndex
from streamload.tools.convert.split import arranged
from streamload.tools.convert.readers.label_fields import stretches
count = int(sys.argv[1])
order = WrittenOrder(ends=(count,), shuffle="whole", seed=0)
numbers = WrittenOrderIndex(order)
for start in range(0, count, count // 20):
    numbers.at(start, start + 1000)
next(numbers.positions(iter([(0, 1000)])))
def batches():
    for numbers in stretches(count // 50, np.zeros(0, np.int64)):
        yield numbers, {"label": numbers % 10, "id": numbers // 7}
for label, group in ((None, None), ("label", None), ("label", "id")):
    made = arranged(count // 50, batches, path=sys.argv[2], kept=None, shares=[0.9, 0.1], shuffle=False, seed=0, label=label, group=group)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_memory_of_orders_does_not_grow_with_the_records(tmp_path: Path):
    """Ten times as many: 100 million in exact order, 2 million dealt by label and by group. 8 bytes a record would be 800 MB."""
    peaks = []
    for count in (10_000_000, 100_000_000):
        command = [sys.executable, "-c", MEASURE, str(count), str(tmp_path / "order")]
        peaks.append(int(subprocess.run(command, env=environment(), capture_output=True, check=True, text=True).stdout))
    assert peaks[1] - peaks[0] < 64 * 2**20, peaks


CONVERT = """
import sys
from streamload.tools.__main__ import main
from streamload.tools.benchmark.memory_usage import MemoryWatch
with MemoryWatch() as watch:
    code = main(sys.argv[1:])
print(code, watch.peak.own_nbytes)
"""


@pytest.mark.slow
@pytest.mark.parametrize("block", [False, True], ids=["addressable", "in blocks"])
def test_memory_of_a_shuffled_conversion_does_not_grow_with_the_source(block: bool, tmp_path: Path):
    """50 MB and half a gigabyte, sparse or compressed to nothing: the batches under way, and nothing that grows."""
    peaks = []
    for number, records in enumerate((800, 8_000)):
        source = tmp_path / f"{number}.{'h5' if block else 'npy'}"
        if block:
            with h5py.File(source, "w", libver=("earliest", "v110")) as file:
                options = {"chunks": (8, 64, 1024), "compression": "gzip", "compression_opts": 1}
                made = file.create_dataset("x", (records, 64, 1024), "u1", **options)
                chunk = zlib.compress(b"\1" * (8 * 64 * 1024), 1)
                for start in range(0, records, 8):
                    made.id.write_direct_chunk((start, 0, 0), chunk)
        else:
            np.lib.format.open_memmap(source, "w+", "u1", (records, 64, 1024)).flush()  # sparse: it takes no room
        words = ["convert", source, tmp_path / f"out{number}", "--shuffle", "--to", "npy", "--shard-size", "100 MB", "--workers", "1"]
        done = subprocess.run(
            [sys.executable, "-c", CONVERT, *map(str, words)], env=environment(), capture_output=True, check=True, text=True
        )
        code, peak = map(int, done.stdout.splitlines()[-1].split())
        assert code == 0, done.stderr
        peaks.append(peak)
        for path in (tmp_path / f"out{number}").iterdir():
            path.unlink()
    # Small inputs end before all that may be under way is; so the bound is what a batch of 16 MB is copied to, in four places.
    assert max(peaks) < 384 * 2**20, peaks
