"""Augmentation of a step: the same bytes compiled and plain, in any pieces and any order, with what moves along."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from augment_steps import MEAN, RECORDS, STD, augmented, photographs, schema_of
from numpy.typing import NDArray
from PIL import Image

import streamload as sl
from streamload.ragged import Ragged
from streamload.schema import ARRAY
from streamload.transforms import augment as ops
from streamload.transforms.augment import Augment
from streamload.transforms.augmentation import augmentation_of
from streamload.transforms.explanation import explain

CHAINS: dict[str, Augment] = {
    "usual": Augment(
        "image",
        ops.RandomResizedCrop(24),
        ops.RandomHorizontalFlip(),
        ops.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ops.Normalize(MEAN, STD),
        layout="CHW",
    ),
    "float16, erased": Augment("image", ops.RandomCrop(24), ops.Normalize(MEAN, STD), ops.RandomErasing(), dtype="float16"),
    "padded, turned": Augment(
        "image", ops.RandomCrop(28, padding=6, padding_mode="reflect"), ops.RandomRotate90(), ops.RandomVerticalFlip(), layout="CHW"
    ),
    "padded after resizing": Augment(
        "image", ops.Resize((20, 20)), ops.Pad(4, fill=(1, 2, 3)), ops.RandomCrop(20), ops.RandomFlip(axes="HW")
    ),
    "free maps": Augment(
        "image",
        ops.RandomAffine(30, translate=(0.1, 0.1), scale=(0.8, 1.2), shear=10, interpolation="bilinear"),
        ops.RandomRotation(20, fill=7),
        ops.CenterCrop(20),
        ops.Grayscale(),
    ),
    "curves": Augment(
        "image",
        ops.RandomGamma(),
        ops.RandomSolarize(128),
        ops.RandomPosterize(3),
        ops.RandomInvert(),
        ops.RandomEqualize(),
        ops.RandomAutocontrast(),
        ops.RandomGrayscale(0.5),
        dtype="float32",
    ),
    "neighbours": Augment("image", ops.GaussianBlur(5), ops.RandomAdjustSharpness(2), ops.RandomChannelPermutation()),
    "RandAugment": Augment("image", ops.Resize(32, interpolation="bicubic"), ops.RandomCrop(32), ops.RandAugment(), layout="CHW"),
    "TrivialAugment": Augment("image", ops.TrivialAugmentWide(interpolation="bilinear", fill=(1, 2, 3)), ops.Normalize(MEAN, STD)),
    "choices": Augment(
        "image",
        ops.RandomApply([ops.RandomCrop(32), ops.Pad(4), ops.Resize((40, 32))], p=0.5),
        ops.RandomChoice([ops.CenterCrop(24), ops.RandomResizedCrop(24, interpolation="box")], p=[1, 2]),
        ops.RandomChoice([ops.ColorJitter(0.5), ops.RandomApply([ops.RandomInvert(1.0)])]),
    ),
    "five crops, two views": Augment("image", ops.FiveCrop(16), ops.ColorJitter(0.3), ops.Normalize(MEAN, STD), views=2, layout="CHW"),
}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether all bytes are the same."""
    return one.keys() == other.keys() and all(np.array_equal(bytes_of(one[name]), bytes_of(other[name])) for name in one)


def bytes_of(array: Any) -> NDArray[np.uint8]:
    """The bytes of an array, or of a Ragged's values."""
    return np.ascontiguousarray(array.values if isinstance(array, Ragged) else array).view(np.uint8)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_compiled_and_plain_are_the_same_to_the_bit(chain: Augment) -> None:
    arrays = {"image": photographs()}
    ours = augmented(chain, arrays, epoch=3)
    assert same(ours, augmented(chain, arrays, epoch=3, compiled=False))
    assert len({one.tobytes() for one in ours["image"]}) == len(RECORDS)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_a_record_is_the_same_in_any_company(chain: Augment) -> None:
    """In pieces of three, in another order, alone: that is any number of workers and ranks, any order, and any resume."""
    arrays = {"image": photographs()}
    whole = augmented(chain, arrays)["image"]
    assert np.array_equal(augmented(chain, arrays, piece=3)["image"], whole)
    order = np.array([5, 2, 7, 0])
    some = augmented(chain, {"image": arrays["image"][order]}, records=RECORDS[order])["image"]
    assert np.array_equal(some, whole[order])
    again = augmented(chain, arrays, epoch=1)["image"]
    other = augmented(chain, arrays, seed=1)["image"]
    different = sum(not np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    assert different >= 4, "another epoch draws anew"
    assert sum(not np.array_equal(a, b) for a, b in zip(again, other, strict=True)) >= 4, "and so does another seed"


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_what_is_stored_channels_first_comes_out_alike(layout: str) -> None:
    images = photographs()
    chain = Augment("image", ops.RandomResizedCrop(24), ops.ColorJitter(0.4), ops.Normalize(MEAN, STD), layout=layout)
    woven = augmented(chain, {"image": images})["image"]
    planar = augmented(chain, {"image": images.transpose(0, 3, 1, 2)})["image"]
    assert np.array_equal(woven, planar)


def test_masks_boxes_and_points_move_with_their_image() -> None:
    """Each object's box and middle are found where its colour and its mask are, after a crop, a resize, a flip and a quarter-turn."""
    rng = np.random.default_rng(2)
    images, masks = np.zeros((8, 60, 60, 3), np.uint8), np.zeros((8, 60, 60), np.int32)
    boxes, points = np.zeros((8, 1, 4), np.float32), np.zeros((8, 1, 2), np.float64)
    for k in range(8):
        y, x, h, w = (int(value) for value in (*rng.integers(15, 30, 2), *rng.integers(8, 16, 2)))
        images[k, y : y + h, x : x + w], masks[k, y : y + h, x : x + w] = 250, 70_000
        boxes[k, 0], points[k, 0] = (x, y, x + w, y + h), (x + w / 2, y + h / 2)
    chain = Augment(
        "image",
        ops.RandomResizedCrop(48, scale=(0.6, 1.0)),
        ops.RandomRotate90(),
        ops.RandomFlip(axes="HW"),
        layout="CHW",
        masks="mask",
        boxes="boxes",
        keypoints="points",
    )
    arrays = {"image": images, "mask": masks, "boxes": boxes, "points": points}
    out = augmented(chain, arrays)
    for k in range(8):
        assert set(np.unique(out["mask"][k])) <= {0, 70_000}, "a mask is never blended"
        there = out["image"][k, 0] > 125
        assert (there ^ (out["mask"][k] > 0)).mean() < 0.03
        rows, columns = np.nonzero(there)
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert np.abs(out["boxes"][k, 0] - found).max() <= 1
        middle = (found[:2] + found[2:]) / 2
        assert np.abs(out["points"][k, 0].clip(0, 48) - middle).max() <= 8
    assert same(out, augmented(chain, arrays, compiled=False))


def test_ragged_boxes_of_any_format_keep_their_number() -> None:
    lengths = np.array([0, 2, 1, 0, 3, 1, 1, 0])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    corners = np.tile([4.0, 6.0, 20.0, 26.0], (8, 1)).astype(np.float32)
    chain = Augment("image", ops.CenterCrop(24), ops.RandomHorizontalFlip(1.0), boxes="boxes")
    images = photographs()
    found = augmented(chain, {"image": images, "boxes": Ragged(corners.copy(), offsets, ARRAY)})["boxes"]
    assert found.values.tolist() == [[8.0, 0.0, 24.0, 18.0]] * 8
    sizes = np.tile([4.0, 6.0, 16.0, 20.0], (8, 1)).astype(np.float32)
    chain = Augment("image", ops.CenterCrop(24), ops.RandomHorizontalFlip(1.0), boxes="boxes", box_format="XYWH")
    found = augmented(chain, {"image": images, "boxes": Ragged(sizes, offsets, ARRAY)})["boxes"]
    assert found.values.tolist() == [[8.0, 0.0, 16.0, 18.0]] * 8
    chain = Augment("image", ops.CenterCrop(24), boxes="boxes", box_format="CXCYWH")
    middles = np.tile([-40.0, 16.0, 4.0, 4.0], (8, 1, 1)).astype(np.float32)
    found = augmented(chain, {"image": images, "boxes": middles})["boxes"]
    assert found[0, 0, 2] == 0, "what is outside has no area, and is still counted"


def test_several_image_fields_are_treated_alike() -> None:
    images = photographs()
    chain = Augment(("left", "right"), ops.RandomResizedCrop(20), ops.ColorJitter(0.5), dtype="float32")
    out = augmented(chain, {"left": images, "right": images.copy()})
    assert np.array_equal(out["left"], out["right"])
    one, other = Augment("left", ops.RandomResizedCrop(20)), Augment("right", ops.RandomResizedCrop(20))
    apart = augmented([one, other], {"left": images, "right": images.copy()})
    assert not np.array_equal(apart["left"], apart["right"]), "each Augment draws for itself"


def test_views_differ_and_five_crops_are_the_corners_and_the_middle() -> None:
    images = photographs()
    views = augmented(Augment("image", ops.RandomResizedCrop(20), views=2), {"image": images})["image"]
    assert views.shape == (8, 2, 20, 20, 3)
    assert not np.array_equal(views[:, 0], views[:, 1])
    assert np.array_equal(views[:, 0], augmented(Augment("image", ops.RandomResizedCrop(20)), {"image": images})["image"])
    five = augmented(Augment("image", ops.FiveCrop((20, 18))), {"image": images})["image"]
    corners = [(0, 0), (0, 14), (20, 0), (20, 14), (10, 7)]
    assert all(np.array_equal(five[:, k], images[:, y : y + 20, x : x + 18]) for k, (y, x) in enumerate(corners))


@pytest.mark.parametrize("channels", [1, 4, 12])
def test_an_image_may_have_any_number_of_channels(channels: int) -> None:
    images = photographs((40, 32, channels))
    chain = Augment(
        "image", ops.RandomCrop(24), ops.RandomHorizontalFlip(), ops.Normalize([0.5] * channels, [0.2] * channels), layout="CHW"
    )
    arrays = {"image": images}
    out = augmented(chain, arrays)
    assert out["image"].shape == (8, channels, 24, 24)
    assert same(out, augmented(chain, arrays, compiled=False))
    mean = images.mean() / 255
    assert abs(out["image"].mean() - (mean - 0.5) / 0.2) < 0.2


def test_an_explanation_says_what_was_done() -> None:
    """The crop it names is the one that was cut, and what was not applied says so."""
    arrays = {"image": photographs()}
    chain = Augment("image", ops.RandomCrop((10, 12)), ops.RandomApply([ops.RandomHorizontalFlip(1.0)], p=0.5))
    out = augmented(chain, arrays, seed=2, epoch=5)["image"]
    plans = augmentation_of(chain, schema_of(arrays)).plans
    told = set()
    for k, record in enumerate(RECORDS.tolist()):
        explanation = explain(plans, seed=2, epoch=5, record=record)
        crop, apply, flip = explanation
        top, left = crop.values["top"], crop.values["left"]
        expected = arrays["image"][k, top : top + 10, left : left + 12]
        assert np.array_equal(out[k], expected[:, ::-1] if flip.applied else expected)
        assert apply.applied == flip.applied
        told.add(flip.applied)
        assert f"RandomCrop: top {top}, left {left}, height 10, width 12" in str(explanation)
        assert ("RandomHorizontalFlip: not applied" in str(explanation)) == (not flip.applied)
        assert str(explanation).startswith(f"record {record:,} in epoch 5\n  'image'\n")
    assert told == {True, False}


def test_operations_happen_as_often_as_they_should() -> None:
    """4,000 records: half are mirrored, a tenth grey, each of three choices a third, and crops reach everywhere alike."""
    plans = augmentation_of(
        Augment(
            "image",
            ops.RandomCrop(31),
            ops.RandomHorizontalFlip(),
            ops.RandomChoice([ops.RandomGrayscale(1.0), ops.RandomInvert(1.0), ops.RandomEqualize(1.0)]),
            ops.RandomGrayscale(),
        ),
        schema_of({"image": photographs()}),
    ).plans
    chain = plans[0].chain(np.arange(8, dtype=np.uint32), np.arange(4_000))
    drawn = {one.operation + str(one.depth): one for one in chain.drawn}
    assert abs(np.bincount(drawn["RandomCrop0"].values["top"], minlength=10) - 400).max() < 100
    for name, share in (("RandomHorizontalFlip0", 0.5), ("RandomGrayscale0", 0.1), ("RandomInvert1", 1 / 3), ("RandomEqualize1", 1 / 3)):
        assert abs(drawn[name].where.mean() - share) < 4.5 * np.sqrt(share * (1 - share) / 4_000), name


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float16", "float32"])
def test_images_of_other_dtypes_are_augmented_alike(dtype: str) -> None:
    """A crop and a flip change no element; resampled and normalised they are what Pillow makes of floats, to a few parts in a million."""
    images = photographs((40, 32, 5)).astype(dtype) * np.asarray(100 if dtype != "float16" else 1, dtype)
    arrays = {"image": images}
    cut = augmented(Augment("image", ops.CenterCrop((20, 18)), ops.RandomHorizontalFlip(1.0)), arrays)["image"]
    assert cut.dtype == images.dtype
    assert np.array_equal(cut, images[:, 10:30, 7:25][:, :, ::-1])
    mean, std = [0.5] * 5, [0.25] * 5
    resize, normalize = ops.Resize((16, 16)), ops.Normalize(mean, std)
    chain = Augment("image", resize, ops.RandomRotation(10, "bilinear"), normalize, layout="CHW", dtype="float32")
    out = augmented(chain, arrays)
    assert same(out, augmented(chain, arrays, compiled=False))
    most = {"uint16": 65_535, "int16": 32_767}.get(dtype, 1)
    plain = augmented(Augment("image", ops.Resize((16, 16)), ops.Normalize(mean, std), layout="CHW", dtype="float32"), arrays)["image"]
    theirs = np.asarray(Image.fromarray(images[0, :, :, 2].astype(np.float32)).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.allclose(plain[0, 2], (theirs / most - 0.5) / 0.25, rtol=1e-5, atol=1e-5)


TWO = np.arange(2)


@pytest.mark.parametrize(
    ("operation", "dtype", "text"),
    [
        (ops.Pad(1, fill=300), "uint8", r"^fill=300\.0 cannot be held in uint8\. Give numbers from 0 to 255"),
        (ops.RandomRotation(9, fill=(0, -1, 0)), "uint8", r"^fill=\(0\.0, -1\.0, 0\.0\) cannot be held in uint8"),
        (ops.RandAugment(fill=256), "uint8", r"^fill=256\.0 cannot be held in uint8"),
        (ops.RandomCrop(9, padding=2, fill=40_000), "int16", r"^fill=40000\.0 cannot be held in int16\. Give numbers from -32768 to 32767"),
        (ops.Pad(1, fill=1e6), "float16", r"^fill=1000000\.0 cannot be held in float16"),
        (ops.RandomErasing(1.0, value=-1), "uint8", r"^RandomErasing: value=-1\.0 cannot be held in uint8"),
        (ops.Pad(1, fill=0.5), "uint8", r"^fill=0\.5 cannot be held in uint8\. Give numbers from 0 to 255, without fractions\."),
        (ops.RandomErasing(1.0, value=0.9), "int16", r"^RandomErasing: value=0\.9 cannot be held in int16"),
    ],
)
def test_levels_that_a_dtype_does_not_hold_are_refused(operation: Any, dtype: str, text: str) -> None:
    """Another level would come out in silence: 300 is 44 in a byte."""
    with pytest.raises(sl.ConfigError, match=text):
        augmented(Augment("image", operation), {"image": np.zeros((2, 12, 12, 3), dtype)}, records=TWO)


def test_a_mask_is_filled_with_what_its_dtype_holds() -> None:
    arrays = {"image": np.zeros((2, 12, 12, 3), np.uint8), "mask": np.ones((2, 12, 12), np.uint8)}
    with pytest.raises(sl.ConfigError, match=r"^mask_fill=-1 cannot be held in uint8\. Give numbers from 0 to 255"):
        augmented(Augment("image", ops.Pad(1), masks="mask", mask_fill=-1), arrays, records=TWO)
    with pytest.raises(sl.ConfigError, match=r"^mask_fill=1\.7 cannot be held in uint8\. Give numbers from 0 to 255, without fractions"):
        augmented(Augment("image", ops.Pad(1), masks="mask", mask_fill=1.7), arrays, records=TWO)  # pyright: ignore[reportArgumentType]
    arrays["mask"] = arrays["mask"].astype(np.int8)
    out = augmented(Augment("image", ops.Pad(1), masks="mask", mask_fill=-1), arrays, records=TWO)["mask"]
    assert set(np.unique(out).tolist()) == {-1, 1}


def test_points_without_a_sign_lie_at_zero_where_they_came_to_lie_before_it() -> None:
    points = np.array([[[2, 9], [7, 3]]] * 2)
    arrays = {"image": np.zeros((2, 12, 12, 3), np.uint8), "points": points}
    chain = Augment("image", ops.CenterCrop(4), keypoints="points")
    assert augmented(chain, arrays, records=TWO)["points"].tolist() == [[[-2, 5], [3, -1]]] * 2
    assert augmented(chain, arrays | {"points": points.astype(np.uint8)}, records=TWO)["points"].tolist() == [[[0, 5], [3, 0]]] * 2


def test_colour_is_for_levels_of_one_byte() -> None:
    arrays = {"image": photographs().astype(np.uint16)}
    with pytest.raises(sl.ConfigError, match=r"ColorJitter works on levels of one byte, and field 'image' is uint16\. Leave colour out"):
        augmented(Augment("image", ops.ColorJitter(0.4)), arrays)
    inner = ops.RandomApply([ops.RandomHorizontalFlip(1.0), ops.RandomChoice([ops.RandomVerticalFlip(1.0), ops.RandomInvert(1.0)])])
    with pytest.raises(sl.ConfigError, match=r"^RandomInvert works on levels of one byte"):
        augmented(Augment("image", inner), arrays)
    # What begins with geometry and ends with erasing has no colour in between.
    out = augmented(Augment("image", ops.RandomApply([ops.RandomHorizontalFlip(1.0), ops.RandomErasing(1.0)], p=1.0)), arrays)["image"]
    assert out.dtype == np.uint16
    with pytest.raises(sl.ConfigError, match=r'dtype="uint16" is not made of uint8\. Give dtype="float32"'):
        augmented(Augment("image", dtype="uint16"), {"image": photographs()})


def test_planes_have_room_for_channels_that_are_there_between_two_steps_alone() -> None:
    """Grey images that become three channels on the way, and one again: memory behind the planes would be written to."""
    images = photographs((40, 32, 1))
    chain = Augment("image", ops.Grayscale(3), ops.ColorJitter(0.4, 0.4), ops.Grayscale(1), stored="HWC")
    (plan,) = augmentation_of(chain, schema_of({"image": images})).plans
    assert plan.planes_nbytes >= 2 * 3 * 40 * 32
    ours = augmented(chain, {"image": images})
    assert same(ours, augmented(chain, {"image": images}, compiled=False))
    assert ours["image"].shape == images.shape
