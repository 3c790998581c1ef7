"""Operations on whole batches: what is mixed with what, how labels follow, and what it all depends on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from augment_steps import MEAN, STD, augmented, photographs
from numpy.typing import NDArray

import streamload as sl
from streamload.transforms import augment as ops
from streamload.transforms.augmentation import augmentation_of
from streamload.transforms.draws import batch_words

LABELS = np.array([3, 1, 4, 1, 5, 9, 2, 6])
IMAGE = sl.Augment("image", ops.CenterCrop((17, 19)), ops.Normalize(MEAN, STD), layout="CHW")


def arrays() -> dict[str, NDArray[Any]]:
    return {"image": photographs(), "label": LABELS.copy()}


def share_of(position: int, *, seed: int = 0, epoch: int = 0, alpha: float = 1.0) -> float:
    """The share that is drawn first for a batch."""
    words = batch_words(seed, epoch, position)[:4].astype(np.uint64)
    key = words[0::2] | words[1::2] << np.uint64(32)
    return float(np.random.Generator(np.random.Philox(key=key)).beta(alpha, alpha))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("compiled", [True, False])
def test_mixup_blends_each_record_with_the_one_before_it(dtype: str, compiled: bool) -> None:
    image = sl.Augment("image", *IMAGE.operations, layout="CHW", dtype=dtype)
    plain = augmented(image, {"image": photographs()})["image"].astype(np.float32)
    out = augmented([image, sl.MixUp(alpha=0.4, num_classes=10)], arrays(), position=64, compiled=compiled)
    share = share_of(64, alpha=0.4)
    expected = (plain * np.float32(share) + np.roll(plain, 1, axis=0) * np.float32(1 - share)).astype(dtype)
    assert np.array_equal(out["image"], expected)
    one = np.eye(10, dtype=np.float32)[LABELS]
    assert np.allclose(out["label"], one * share + np.roll(one, 1, axis=0) * (1 - share), atol=1e-6)
    assert out["label"].dtype == np.float32
    assert np.allclose(out["label"].sum(1), 1)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
def test_cutmix_puts_a_rectangle_of_the_record_before(layout: str) -> None:
    image = sl.Augment("image", *IMAGE.operations, layout=layout)
    plain = augmented(image, {"image": photographs()})["image"]
    shares = set()
    for position in range(6):
        out = augmented([image, sl.CutMix(num_classes=10)], arrays(), position=position)
        axis = 1 if layout == "CHW" else 3
        mine, theirs = (out["image"] == plain).all(axis), (out["image"] == np.roll(plain, 1, axis=0)).all(axis)
        assert (mine | theirs).all()
        cut = ~mine[0]
        rows, columns = np.nonzero(cut)
        area = 0 if not len(rows) else (rows.max() + 1 - rows.min()) * (columns.max() + 1 - columns.min())
        assert cut.sum() == area, "a rectangle"
        share = 1 - area / cut.size
        assert np.allclose(out["label"], np.eye(10)[LABELS] * share + np.eye(10)[np.roll(LABELS, 1)] * (1 - share), atol=1e-6)
        shares.add(area)
    assert len(shares) > 2


def test_labels_are_smoothed() -> None:
    out = augmented(sl.OneHot(10, smoothing=0.1), {"label": LABELS.reshape(-1, 1)})["label"]
    assert out.shape == (8, 10)
    assert np.allclose(out, np.eye(10)[LABELS] * 0.9 + 0.01)
    both = augmented([IMAGE, sl.OneHot(10, smoothing=0.1), sl.MixUp()], arrays())["label"]
    assert np.allclose(both.sum(1), 1)
    assert both.min() >= 0.01 - 1e-6
    np.testing.assert_allclose(
        augmented([IMAGE, sl.MixUp(num_classes=10), sl.OneHot(10, smoothing=0.1)], arrays())["label"], both, atol=1e-6
    )
    shares = np.array([[0.5, 0.5], [1, 0]] * 4, np.float32)
    np.testing.assert_allclose(augmented(sl.OneHot(2, smoothing=0.5), {"label": shares})["label"], [[0.5, 0.5], [0.75, 0.25]] * 4)


def test_a_choice_is_made_for_each_batch() -> None:
    """By seed, epoch and the position of its first record alone."""
    chain = [IMAGE, ops.RandomChoice([sl.MixUp(num_classes=10), sl.CutMix(num_classes=10)])]
    found = [augmented(chain, arrays(), position=position) for position in range(12)]
    plain = augmented(IMAGE, {"image": photographs()})["image"]
    cut = [bool(((one["image"] == plain) | (one["image"] == np.roll(plain, 1, axis=0))).all()) for one in found]
    assert 1 <= sum(cut) <= 11
    again = augmented(chain, arrays(), position=3)
    assert np.array_equal(again["image"], found[3]["image"])
    assert np.array_equal(again["label"], found[3]["label"])
    never = augmented([IMAGE, sl.MixUp(num_classes=10, p=0.0)], arrays())
    assert np.array_equal(never["image"], plain)
    assert np.array_equal(never["label"], np.eye(10, dtype=np.float32)[LABELS])


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
def test_views_and_crops_of_a_record_are_mixed_alike(layout: str) -> None:
    """Each with the same of the record before it: one share, and one rectangle for all."""
    image = sl.Augment("image", ops.FiveCrop(12), ops.Normalize(MEAN, STD), layout=layout, views=2)
    plain = augmented(image, {"image": photographs()})["image"]
    before = np.roll(plain, 1, axis=0)
    blended = augmented([image, sl.MixUp(num_classes=10)], arrays(), position=2)
    assert np.array_equal(blended["image"], plain * np.float32(share_of(2)) + before * np.float32(1 - share_of(2)))
    cut = augmented([image, sl.CutMix(num_classes=10)], arrays(), position=2)
    assert plain.shape[:3] == (len(LABELS), 2, 5)
    theirs = (cut["image"] != plain).any(3 if layout == "CHW" else 5)
    rows, columns = np.nonzero(theirs.any((0, 1, 2)))
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    inside = np.zeros((12, 12), bool)
    inside[box] = True
    assert 0 < inside.sum() < inside.size
    assert np.array_equal(cut["image"], np.where(inside if layout == "CHW" else inside[..., None], before, plain))
    one = np.eye(10, dtype=np.float32)[LABELS]
    share = 1 - inside.mean()
    assert np.allclose(cut["label"], one * share + np.roll(one, 1, axis=0) * (1 - share), atol=1e-6)


def test_floats_that_are_no_images_are_blended_too() -> None:
    """They need no axes of height and width."""
    held = {"sound": np.arange(24, dtype=np.float32).reshape(8, 3) ** 2, "label": LABELS.copy()}
    out = augmented([sl.MixUp(images="sound", num_classes=10)], held, position=5)
    mine, theirs = np.float32(share_of(5)), np.float32(1 - share_of(5))
    assert np.array_equal(out["sound"], held["sound"] * mine + np.roll(held["sound"], 1, axis=0) * theirs)


REFUSED: dict[str, tuple[Any, str]] = {
    "bytes": (
        [sl.Augment("image"), sl.MixUp(num_classes=10)],
        r"MixUp: field 'image' comes out as image uint8 .* Mixing takes floats",
    ),
    "no classes": ([IMAGE, sl.MixUp()], r"MixUp needs num_classes: 'label' holds numbers\."),
    "no labels": (
        [IMAGE, sl.CutMix(num_classes=3, labels="class")],
        r"CutMix needs labels, and there is no field 'class'\. There are: image",
    ),
    "labels of images": ([sl.OneHot(3, labels="image")], r"OneHot: field 'image' is image uint8 .*, which are no labels\."),
    "masks": (
        [sl.Augment("image", dtype="float32", masks="mask"), ops.RandomChoice([sl.MixUp(num_classes=3), sl.CutMix(num_classes=3)])],
        r"MixUp mixes 'image' of two records, and masks 'mask' would still be of one\. Leave it out, or mix all of them in a batch_trans",
    ),
    "boxes and key points": (
        [sl.Augment("image", boxes="boxes", keypoints="a"), sl.CutMix(num_classes=3)],
        r"CutMix mixes 'image' of two records, and boxes 'boxes', keypoints 'a' would still be of one\.",
    ),
    "order": ([sl.OneHot(10), IMAGE], r"stands after operations on batches\. Give augment="),
    "twice": ([IMAGE, sl.Augment("image", ops.RandomFlip())], r"field 'image' is in two Augments, and each begins with what is stored\."),
    "twice, as a mask": (
        [sl.Augment("image", masks="mask"), sl.Augment("mask")],
        r"field 'mask' is in two Augments, and each begins with what is stored\. Put all of its operations into one Augment\.",
    ),
    "shares of others": (
        [IMAGE, sl.OneHot(3), sl.MixUp(num_classes=4)],
        r"MixUp\(num_classes=4\): field 'label' holds shares of 3 classes already\. Give num_classes=3\.",
    ),
    "a word": ("flip", r"augment='flip' is no augmentation\."),
    "a choice in a chain": (
        lambda: sl.Augment("image", ops.RandomChoice([sl.MixUp()])),
        r"RandomChoice of batches stands in a chain of records\.",
    ),
    "mixed choice": (lambda: ops.RandomChoice([sl.MixUp(), ops.CenterCrop(3)]), r"RandomChoice\(transforms=.*\) are no operations\."),
    "unlike choice": (
        [IMAGE, ops.RandomChoice([sl.MixUp(num_classes=3), sl.CutMix(num_classes=4)])],
        r"RandomChoice: its operations give batches different fields\.",
    ),
}


@pytest.mark.parametrize(("given", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_mixed_is_refused(given: Any, text: str) -> None:
    along = sl.Field("mask", np.dtype("u1"), (40, 32)), sl.Field("boxes", np.dtype("f4"), (2, 4)), sl.Field("a", np.dtype("f4"), (3, 2))
    schema = sl.Schema((sl.Field("image", np.dtype("u1"), (40, 32, 3)), sl.Field("label", np.dtype("i8"), ()), *along))
    with pytest.raises(sl.ConfigError, match=text):
        augmentation_of(given() if callable(given) else given, schema)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: sl.MixUp(alpha=0), r"MixUp\(alpha=0\) is not above 0\."),
        (lambda: sl.CutMix(num_classes=0), r"CutMix\(num_classes=0\) is no number of classes\."),
        (lambda: sl.OneHot(10, smoothing=1), r"OneHot\(smoothing=1\) is no share\."),
    ],
)
def test_arguments_that_cannot_be_right(make: Any, text: str) -> None:
    with pytest.raises(sl.ConfigError, match=text):
        make()


def test_a_class_that_is_none_is_an_error_that_names_it() -> None:
    with pytest.raises(
        sl.SchemaMismatchError, match=r"field 'label' holds the class 9, and num_classes is 9\. Classes are numbered from 0 to 8"
    ):
        augmented(sl.OneHot(9), {"label": LABELS})
