"""A loader that augments: the bytes that arrays give, whatever the workers, the layout and the order; straight into slots."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from augment_steps import MEAN, STD, photographs
from loader_files import WRITTEN

import streamload as sl
from streamload.transforms.augmentation import augmentation_of
from streamload.transforms.draws import batch_words
from streamload.transforms.stage import augment_arrays

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows

RECORDS = 90
CHAIN = [
    sl.Augment(
        "image",
        sl.RandomResizedCrop(24, scale=(0.5, 1)),
        sl.RandomFlip(),
        sl.ColorJitter(0.4, 0.4, 0.4),
        sl.Normalize(MEAN, STD),
        layout="CHW",
        masks="mask",
        boxes="boxes",
    ),
    sl.Augment("packed", sl.RandomCrop(20, padding=4), dtype="float16", views=2),
]
ALONE = sl.Augment("image", *CHAIN[0].operations, layout="CHW")
"""The same images, without what moves along: it is not mixed."""


def arrays() -> dict[str, np.ndarray]:
    """The fields of the file."""
    images = photographs((40, 32, 3), RECORDS)
    boxes = np.random.default_rng(1).uniform(0, 32, (RECORDS, 3, 4)).astype(np.float32)
    masks = (images[:, :, :, 0] // 64).astype(np.int16)
    return {"boxes": boxes, "image": images, "label": np.arange(RECORDS) % 10, "mask": masks, "packed": images[:, ::-1].copy()}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw images and masks, and compressed images in chunks of eight."""
    path = tmp_path_factory.mktemp("augment") / "data.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        for name, array in arrays().items():
            file.create_dataset(name, data=array, **({"chunks": (8, 40, 32, 3), "compression": "gzip"} if name == "packed" else {}))
    return path


def epoch_of(data: sl.Source, *, chain: Any = CHAIN, skip: int = 0, **keywords: Any) -> dict[int, dict[str, bytes]]:
    """Every record of epoch 1, by number."""
    found: dict[int, dict[str, bytes]] = {}
    with sl.Loader(data, **{"batch_size": 16, "seed": 3, "num_workers": 0, "augment": chain, **keywords}) as loader:
        loader.seek(1, skip)
        for batch in loader:
            for row, record in enumerate(batch.records.tolist()):
                found[record] = {name: batch[name][row].tobytes() for name in loader.schema.names}
    return found


def expected(chain: Any = CHAIN) -> dict[int, dict[str, bytes]]:
    """The same, of the arrays themselves."""
    stored = arrays()
    schema = sl.Schema(tuple(sl.Field(name, array.dtype, array.shape[1:]) for name, array in stored.items()))
    out = augment_arrays(augmentation_of(chain, schema), stored, np.arange(RECORDS), seed=3, epoch=1)
    return {record: {name: array[record].tobytes() for name, array in out.items()} for record in range(RECORDS)}


@pytest.mark.parametrize("workers", [0, 1, 2], ids="{} workers".format)
@pytest.mark.parametrize("shuffle", [sl.Exact(), sl.Block(window="100 KB"), False], ids=["exact", "block", "sequential"])
def test_every_record_is_what_its_arrays_give(path: Path, workers: int, shuffle: Any) -> None:
    """Raw fields from files, others out of the arena, boxes held in memory."""
    assert epoch_of(sl.open(path), num_workers=workers, shuffle=shuffle) == expected()


@pytest.mark.parametrize("shuffle", [sl.Exact(), sl.Block(window="100 KB", lanes=4)], ids=["exact", "4 lanes"])
def test_ranks_give_what_one_process_gives(path: Path, shuffle: Any) -> None:
    """Also where a rank reads blocks that are not its own, as in the last step, and with lanes that ranks do not divide."""
    data = sl.open(path)
    found = [epoch_of(data, shuffle=shuffle, batch_size=5, distributed=(rank, 3)) for rank in range(3)]
    assert {record: fields for one in found for record, fields in one.items()} == expected()


@pytest.mark.parametrize("io", ["mmap", "read", "direct"])
def test_however_files_are_read(path: Path, io: str) -> None:
    assert epoch_of(sl.open(path), num_workers=2, io=io) == expected()


def test_a_resume_and_a_subset_give_the_same_records(path: Path) -> None:
    whole = expected()
    rest = epoch_of(sl.open(path), skip=3, num_workers=1)
    assert len(rest) == RECORDS - 48
    assert rest == {record: whole[record] for record in rest}
    some = epoch_of(sl.open(path), indices=np.arange(5, 40), batch_size=7)
    assert some == {record: whole[record] for record in range(5, 40)}


def test_batches_are_mixed_by_the_position_of_their_first_record(path: Path) -> None:
    """The same at any number of workers; the share is that of the position."""
    chain = [ALONE, sl.MixUp(num_classes=10)]
    plain = expected([ALONE])
    for workers in (0, 2):
        with sl.Loader(sl.open(path), batch_size=16, seed=3, num_workers=workers, augment=chain) as loader:
            for step, batch in enumerate(loader):
                words = batch_words(3, 0, 16 * step)[:4].astype(np.uint64)
                share = np.random.Generator(np.random.Philox(key=words[0::2] | words[1::2] << np.uint64(32))).beta(1.0, 1.0)
                numbers = np.eye(10)[batch.records % 10]
                assert np.allclose(batch["label"], numbers * share + np.roll(numbers, 1, axis=0) * (1 - share), atol=1e-6)
                assert not any(batch["image"][row].tobytes() == plain[record]["image"] for row, record in enumerate(batch.records.tolist()))


@pytest.mark.parametrize("mixing", [sl.MixUp(num_classes=10), sl.CutMix(num_classes=10)], ids=["mixup", "cutmix"])
def test_mixed_batches_are_the_same_on_resume_and_at_any_workers_of_a_rank(path: Path, mixing: Any) -> None:
    """Each rank mixes by the first position of its own part of the step: another draw than the other rank's."""

    def batches(rank: int, workers: int, skip: int = 0) -> list[tuple[bytes, bytes]]:
        with sl.Loader(sl.open(path), batch_size=15, seed=3, num_workers=workers, augment=[ALONE, mixing], distributed=(rank, 2)) as loader:
            loader.seek(1, skip)
            return [(batch["image"].tobytes(), batch["label"].tobytes()) for batch in loader]

    whole = [batches(rank, 0) for rank in (0, 1)]
    assert [len(one) for one in whole] == [3, 3]
    assert not set(whole[0]) & set(whole[1])
    for rank in (0, 1):
        assert batches(rank, 2) == whole[rank]
        assert batches(rank, 1, skip=1) == whole[rank][1:]
    shares = {float(np.frombuffer(label, np.float32).max()) for rank in whole for _, label in rank}
    assert len(shares) > 1


@pytest.mark.parametrize("mixing", [[], [sl.MixUp(num_classes=10)]], ids=["alone", "mixed"])
def test_brain_floats_are_the_same_at_any_workers(path: Path, mixing: list[Any]) -> None:
    """Rounded to even from what float32 has; the schema and the arrays are of the dtype that ml_dtypes gives."""
    brain = pytest.importorskip("ml_dtypes").bfloat16
    chains = [[sl.Augment("image", sl.RandomCrop(24), sl.Normalize(MEAN, STD), dtype=dtype), *mixing] for dtype in ("bfloat16", "float32")]
    found = epoch_of(sl.open(path), chain=chains[0])
    assert epoch_of(sl.open(path), chain=chains[0], num_workers=2) == found
    with sl.Loader(sl.open(path), batch_size=16, num_workers=0, augment=chains[0]) as loader:
        assert next(iter(loader))["image"].dtype == loader.schema["image"].dtype == brain
    if not mixing:
        for record, fields in epoch_of(sl.open(path), chain=chains[1]).items():
            assert np.frombuffer(fields["image"], np.float32).astype(brain).tobytes() == found[record]["image"]


def test_a_function_of_the_users_is_given_what_was_augmented(path: Path) -> None:
    def seen(record: dict[str, Any]) -> dict[str, Any]:
        assert record["image"].shape == (3, 24, 24)
        return {"mean": record["image"].mean(dtype=np.float64), "packed": record["packed"][0]}

    whole = expected()
    for workers in (0, 2):
        found = epoch_of(sl.open(path), num_workers=workers, transform=seen)
        for record, fields in found.items():
            image = np.frombuffer(whole[record]["image"], np.float32).reshape(3, 24, 24)
            assert np.frombuffer(fields["mean"])[0] == image.mean(dtype=np.float64)
            assert fields["packed"] == whole[record]["packed"][: len(fields["packed"])]


def test_what_was_drawn_for_a_record_of_a_mixture(path: Path) -> None:
    """Each part draws by a seed of its own, and counts records of its own."""
    data = sl.open(path)
    chain = sl.Augment("image", sl.RandomFlip())
    with sl.Loader(sl.mix({"a": (data, 8), "b": (data, 8)}), batch_size=16, seed=3, num_workers=0, augment=chain) as loader:
        pixels = arrays()["image"]
        batch = next(iter(loader))
        for image, record, source in zip(batch["image"], batch.records.tolist(), batch.source.tolist(), strict=True):
            (flip,) = loader.explain(0, record, part=batch.source_names[source])
            assert (image == pixels[record][:, :: -1 if flip.applied else 1]).all()
        with pytest.raises(sl.ConfigError) as caught:
            loader.explain(0, 1_000)
        assert str(caught.value) == (
            "explain() is asked for record 1,000 of no part, and this mixture has the parts a, b. Say which: "
            "loader.explain(epoch, record, part='a'); a part counts records and epochs of its own."
        )
        with pytest.raises(sl.ConfigError, match=r"record 3 of 'c', and this mixture has the parts a, b\."):
            loader.explain(0, 3, part="c")
        with pytest.raises(IndexError, match="record 90 is out of range for 90 records"):
            loader.explain(0, 90, part="b")
    alone = r"explain\(\) is asked for the part 'a', and there is one source. Leave part= out."
    with sl.Loader(data, batch_size=16, num_workers=0, augment=chain) as loader, pytest.raises(sl.ConfigError, match=alone):
        loader.explain(0, 3, part="a")


def test_the_loader_says_what_comes_out_and_what_was_drawn(path: Path) -> None:
    with sl.Loader(sl.open(path), batch_size=16, seed=3, num_workers=0, augment=CHAIN) as loader:
        assert str(loader.schema) == (
            "image float32 (3, 24, 24) · boxes float32 (3, 4) · label int64 () · mask int16 (24, 24) · packed float16 (2, 20, 20, 3)"
        )
        assert "Augment('image', RandomResizedCrop(size=(24, 24)" in repr(loader)
        assert "becomes image float32 (3, 24, 24) · boxes float32 (3, 4)" in repr(loader)
        told = loader.explain(1, 7)
        assert [one.operation for one in told] == ["RandomResizedCrop", "RandomFlip", "ColorJitter", "RandomCrop", "RandomCrop"]
        assert [one.view for one in told] == [0, 0, 0, 0, 1]
        assert len(loader.explain(1, 8)) == 5
        with pytest.raises(IndexError, match="record 90 is out of range for 90 records"):
            loader.explain(0, 90)
        batch = next(iter(loader))
        assert {name: (batch[name].dtype.name, batch[name].shape[1:]) for name in ("image", "packed")} == {
            "image": ("float32", (3, 24, 24)),
            "packed": ("float16", (2, 20, 20, 3)),
        }


def test_a_batch_is_written_once_into_its_slot(tmp_path: Path) -> None:
    """No array of a batch's size is ever made beside the ring: the most that a whole epoch allocates is a piece of a batch."""
    path = tmp_path / "large.h5"
    images = np.random.default_rng(0).integers(0, 256, (64, 200, 200, 3), np.uint8)
    with h5py.File(path, "w", **WRITTEN) as file:
        file["image"] = images
    chain = sl.Augment("image", sl.RandomCrop(192), sl.ColorJitter(0.4), sl.Normalize(MEAN, STD), layout="CHW")
    with sl.Loader(sl.open(path), batch_size=32, num_workers=0, augment=chain, io="read") as loader:
        for batch in loader:
            whole = batch["image"].nbytes
            assert np.shares_memory(batch["image"], loader._live.slots.ring.bytes)
            del batch
        tracemalloc.start()
        try:
            for batch in loader:
                assert np.shares_memory(batch["image"], loader._live.slots.ring.bytes)
                assert batch["image"].ctypes.data % 64 == 0
                del batch
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert whole > 14_000_000
    assert most < whole / 16


def test_memory_of_augmentation_is_counted(path: Path) -> None:
    with (
        sl.Loader(sl.open(path), batch_size=16, num_workers=0) as plain,
        sl.Loader(sl.open(path), batch_size=16, num_workers=0, augment=CHAIN) as loader,
    ):
        more = loader.footprint().scratch - plain.footprint().scratch
    assert 3 * 1024**2 < more < 4 * 1024**2, "a piece of each image field and of the mask, and planes"


def test_what_does_not_suit_the_data_is_refused_before_anything_starts(path: Path) -> None:
    with pytest.raises(sl.ConfigError, match=r"RandomCrop\(size=\(64, 64\)\) is larger than the image, which is 40 x 32 there"):
        sl.Loader(sl.open(path), batch_size=4, augment=sl.Augment("image", sl.RandomCrop(64)))
    with pytest.raises(sl.ConfigError, match=r"augment='flip' is no augmentation"):
        sl.Loader(sl.open(path), batch_size=4, augment="flip")


def test_a_class_that_is_none_names_the_step(path: Path) -> None:
    with (
        sl.Loader(sl.open(path), batch_size=16, num_workers=1, augment=sl.OneHot(5)) as loader,
        pytest.raises(sl.SchemaMismatchError, match=r"field 'label' holds the class \d, and num_classes is 5") as caught,
    ):
        next(iter(loader))
    assert caught.value.details["epoch"] == 0
