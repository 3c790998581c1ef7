"""Encoded images of any size are decoded as small as their crop allows, and augmented: the same whoever does it and however."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

import streamload as sl
from streamload.transforms import augment as ops

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows

RECORDS = 24
CHAIN = sl.Augment("image", sl.RandomResizedCrop(32, scale=(0.3, 1)), sl.RandomFlip(), layout="CHW", masks="mask", boxes="boxes")


def photograph(k: int) -> NDArray[np.uint8]:
    """A smooth image of a size of its own."""
    rng = np.random.default_rng(k)
    height, width = (int(side) for side in (rng.integers(36, 90, 2) if k % 3 == 0 else rng.integers(90, 300, 2)))
    coarse = rng.integers(0, 256, (height // 24 + 2, width // 24 + 2, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels: NDArray[np.uint8], **keywords: Any) -> bytes:
    """A JPEG, or what else Pillow is asked for."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **({"format": "JPEG", "quality": 95} | keywords))
    return file.getvalue()


def palette(indices: NDArray[np.uint8]) -> bytes:
    """A PNG of indices into a palette whose colours say nothing."""
    image = Image.fromarray(indices)
    image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200, 99, 99, 99] * 64)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write(path: Path, *, damaged: tuple[int, ...] = (), **keywords: Any) -> sl.Source:
    """Images of many sizes, masks of the same, boxes, and a number, in row groups of eight."""
    pixels = [photograph(k) for k in range(RECORDS)]
    images = [encoded(one, **({"format": "PNG"} if k % 5 == 4 else {})) for k, one in enumerate(pixels)]
    for k in damaged:
        images[k] = images[k][:200]
    table = pa.table(
        {
            "image": images,
            "mask": [palette(one[:, :, 0] // 64) for one in pixels],
            "boxes": pa.array([[[5.0, 6, 40, 50]] * (k % 3) for k in range(RECORDS)], pa.list_(pa.list_(pa.float32(), 4))),
            "label": np.arange(RECORDS),
        }
    )
    pq.write_table(table, path, row_group_size=8)
    return sl.open(path, **keywords)


def epoch_of(data: sl.Source, chain: Any = CHAIN, **keywords: Any) -> dict[int, dict[str, Any]]:
    """Every record, by number."""
    found: dict[int, dict[str, Any]] = {}
    with sl.Loader(data, **{"batch_size": 5, "num_workers": 0, "augment": chain, **keywords}) as loader:
        for batch in loader:
            for row, record in enumerate(batch.records.tolist()):
                found[record] = {name: np.array(batch[name][row]) for name in loader.schema.names}
    return found


def same(one: dict[int, dict[str, Any]], other: dict[int, dict[str, Any]]) -> bool:
    """Whether all records that both have are the same."""
    both = one.keys() & other.keys()
    return len(both) > 0 and all(np.array_equal(one[k][name], other[k][name]) for k in both for name in one[k])


def test_the_same_at_any_number_of_workers_and_in_any_order(tmp_path: Path) -> None:
    """Out of the arena and record by record; the mask holds indices, and boxes are as many as there were."""
    data = write(tmp_path / "data.parquet")
    found = epoch_of(data)
    assert len(found) == RECORDS
    assert found[0]["image"].shape == (3, 32, 32)
    assert found[0]["mask"].shape == (32, 32)
    assert all(len(found[k]["boxes"]) == k % 3 for k in found)
    assert set(np.unique(np.stack([one["mask"] for one in found.values()]))) == {0, 1, 2, 3}
    for keywords in ({"num_workers": 2}, {"shuffle": sl.Exact()}, {"shuffle": False, "num_workers": 1}, {"batch_size": 24}):
        assert same(epoch_of(data, **keywords), found)


def test_crops_are_those_of_whole_images_to_a_few_levels(tmp_path: Path) -> None:
    """Decoding at a half, a quarter or an eighth changes little; where nothing is made smaller it changes nothing."""
    data = write(tmp_path / "data.parquet")
    found = epoch_of(data)
    with sl.Loader(data, batch_size=5, num_workers=0, augment=CHAIN) as loader:
        smaller = 0
        for k, fields in found.items():
            crop, flip = loader.explain(0, k)
            top, left, height, width = (crop.values[name] for name in ("top", "left", "height", "width"))
            whole = Image.open(io.BytesIO(data[k]["image"])).convert("RGB")
            expected = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR, (left, top, left + width, top + height)))
            expected = (expected[:, ::-1] if flip.applied else expected).transpose(2, 0, 1)
            apart = np.abs(fields["image"].astype(int) - expected)
            smaller += min(height, width) >= 64
            assert apart.mean() <= (3.0 if min(height, width) >= 64 else 0.6)
            assert apart.max() <= (40 if min(height, width) >= 64 else 2)
            assert np.abs((fields["image"][0] // 64).astype(int) - fields["mask"]).mean() < 0.25
    assert 4 <= smaller <= RECORDS - 4


def test_images_of_one_size_need_no_crop_and_may_be_turned(tmp_path: Path) -> None:
    pixels = [photograph(1)[:64, :64]] * 10
    pq.write_table(pa.table({"image": [encoded(one, format="PNG") for one in pixels]}), tmp_path / "alike.parquet")
    found = epoch_of(sl.open(tmp_path / "alike.parquet"), sl.Augment("image", ops.RandomRotate90()))
    turned = [np.rot90(pixels[0], k) for k in range(4)]
    assert {int(np.argmax([np.array_equal(one["image"], other) for other in turned])) for one in found.values()} == {0, 1, 2, 3}


@pytest.mark.parametrize("policy", ["skip", "substitute"])
def test_a_damaged_image_goes_by_policy_with_all_that_moves_along(tmp_path: Path, policy: str) -> None:
    whole = epoch_of(write(tmp_path / "whole.parquet"))
    damaged = write(tmp_path / "damaged.parquet", damaged=(3, 17))
    for workers in (0, 2):
        with sl.Loader(damaged, batch_size=5, num_workers=workers, augment=CHAIN, on_bad_record=policy) as loader:
            seen = []
            for batch in loader:
                for row, record in enumerate(batch.records.tolist()):
                    seen.append(record)
                    assert all(np.array_equal(batch[name][row], whole[record][name]) for name in ("image", "mask", "boxes", "label"))
            assert not set(seen) & {3, 17}
            assert len(seen) == (RECORDS if policy == "substitute" else RECORDS - 2)
            assert sorted(one.record for one in loader.bad_records) == [3, 17]
    with pytest.raises(sl.CorruptDataError, match=r"damaged\.parquet: record (3|17) of 'image' is a (JPEG|PNG) that cannot be decoded"):
        epoch_of(damaged, num_workers=1)


def test_an_image_that_is_too_small_is_a_bad_record(tmp_path: Path) -> None:
    data = write(tmp_path / "data.parquet")
    chain = sl.Augment("image", sl.RandomCrop(100))
    small = {k for k in range(RECORDS) if min(photograph(k).shape[:2]) < 100}
    assert 0 < len(small) < RECORDS
    found = epoch_of(data, chain, on_bad_record="skip")
    assert found.keys() == set(range(RECORDS)) - small
    text = (
        r"record \d+ of 'image' cannot be augmented: RandomCrop\(size=\(100, 100\)\) is larger than the image, which is \d+ x \d+ there\."
    )
    with pytest.raises(sl.SchemaMismatchError, match=text):
        epoch_of(data, chain)


def test_a_function_of_the_users_sees_augmented_images(tmp_path: Path) -> None:
    data = write(tmp_path / "data.parquet")
    whole = epoch_of(data)
    for workers in (0, 1):
        found = epoch_of(data, num_workers=workers, transform=lambda record: {"mean": record["image"].mean(), "label": record["label"]})
        assert all(found[k]["mean"] == whole[k]["image"].mean() for k in whole)


def test_images_of_every_kind_come_out_upright_and_in_colour(tmp_path: Path) -> None:
    """Grey, inks, palettes, alpha, turned by EXIF in each of eight ways: what Pillow makes of them, within the lossy files' levels."""
    images, wanted = list[bytes](), list[NDArray[np.uint8]]()
    for k, (mode, format) in enumerate([("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("L", "PNG"), ("P", "GIF"), *[("RGB", "JPEG")] * 8]):
        image, file, turned = Image.fromarray(photograph(k)).convert(mode), io.BytesIO(), Image.Exif()
        turned[0x112] = max(1, k - 4)
        image.save(file, format, **({"quality": 95, "exif": turned.tobytes()} if format == "JPEG" else {}))
        images.append(file.getvalue())
        with Image.open(file) as stored:
            upright = ImageOps.exif_transpose(stored).convert("RGB")
            wanted.append(np.asarray(upright.resize((40, 24), Image.Resampling.BILINEAR)))
    pq.write_table(pa.table({"image": images}), tmp_path / "data.parquet")
    found = epoch_of(sl.open(tmp_path / "data.parquet", decode=False), sl.Augment("image", sl.Resize((24, 40))))
    apart = [np.abs(found[k]["image"].astype(int) - one) for k, one in enumerate(wanted)]
    assert [int(one.max()) for one in apart[2:5]] <= [1] * 3
    assert max(float(one.mean()) for one in apart) < 1
    assert max(int(one.max()) for one in apart) < 10


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_single_pixels_are_those_of_the_whole_image(interpolation: str, tmp_path: Path) -> None:
    """Without antialiasing nothing is decoded smaller, which would take means."""
    image = encoded(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))
    chain = sl.Augment("image", sl.Resize((12, 16), interpolation, antialias=False))
    pq.write_table(pa.table({"image": [image]}), tmp_path / "data.parquet")
    np.save(tmp_path / "data.npy", np.asarray(Image.open(io.BytesIO(image)))[None])
    found = epoch_of(sl.open(tmp_path / "data.parquet", decode=False), chain)[0]["image"]
    plain = sl.Augment("data", *chain.operations)
    assert np.array_equal(found, epoch_of(sl.open(tmp_path / "data.npy"), plain)[0]["data"])


def test_images_of_sixteen_bits_keep_them_and_others_are_bad_records(tmp_path: Path) -> None:
    """Whatever their sizes; the hint names nothing that cannot be asked for here."""
    images = [np.random.default_rng(k).integers(0, 65_536, (20 + k, 30 - k), np.uint16) for k in range(4)]
    cells = [encoded(one, format="PNG") for one in images]
    pq.write_table(pa.table({"image": cells}), tmp_path / "data.parquet")
    found = epoch_of(sl.open(tmp_path / "data.parquet", decode=False), sl.Augment("image", sl.CenterCrop((20, 26))))
    assert found[2]["image"].dtype == np.uint16
    assert np.array_equal(found[2]["image"][:, :, 0], images[2][1:21, 1:27])
    mixed = [*cells * 60, encoded(photograph(1)[:, :, 0], format="PNG")]  # The first ones are looked at, and say what all are.
    pq.write_table(pa.table({"image": mixed}), tmp_path / "mixed.parquet", row_group_size=20)
    with pytest.raises(sl.StreamloadError, match=r"has 8 bits, and the first images of its field have 16\. Write it anew with as many"):
        epoch_of(sl.open(tmp_path / "mixed.parquet", decode=False), sl.Augment("image", sl.CenterCrop((20, 26))))


def test_what_is_decoded_to_a_size_is_not_augmented_besides(tmp_path: Path) -> None:
    data = write(tmp_path / "data.parquet", decode={"image": (64, 64)})
    with pytest.raises(
        sl.ConfigError, match=r"field 'image' is scaled to \(64, 64\) by decode=, and augmented besides\. Leave it out of decode="
    ):
        sl.Loader(data, batch_size=5, augment=CHAIN)
    with pytest.raises(sl.ConfigError, match=r"gives records of different sizes\. End its geometry with a crop or a resize"):
        sl.Loader(write(tmp_path / "more.parquet"), batch_size=5, augment=sl.Augment("image", sl.RandomFlip()))


def test_text_is_no_image(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"no image at all"] * 8}), tmp_path / "text.parquet")
    with pytest.raises(sl.ConfigError, match=r"'image' cannot be augmented: its first record is no image"):
        sl.Loader(sl.open(tmp_path / "text.parquet"), batch_size=5, augment=sl.Augment("image", sl.CenterCrop(4)))


def test_an_order_of_axes_is_not_said_of_encoded_images_but_as_they_are_decoded(tmp_path: Path):
    """It was left aside; decoding knows it, and `Decode(channels="first")` says the other."""
    data = write(tmp_path / "a.parquet")
    crop = ops.RandomResizedCrop(16)
    with pytest.raises(sl.ConfigError) as caught:
        sl.Loader(data, batch_size=4, num_workers=0, augment=sl.Augment("image", crop, stored="CHW"))
    assert caught.value.message == ('stored="CHW" is said of field \'image\', which is stored as encoded images, decoded to "HWC".')
    assert caught.value.hint == "Leave stored= out: decoding knows the order of axes."
    assert same(epoch_of(data, sl.Augment("image", crop, stored="HWC")), epoch_of(data, sl.Augment("image", crop)))
