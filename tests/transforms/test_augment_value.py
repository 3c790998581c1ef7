"""What `Augment` refuses, by name, when it is made or when it meets its data; and how it is written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import streamload as sl
from streamload.schema import Field, Schema
from streamload.transforms import augment as ops
from streamload.transforms.augmentation import augmentation_of
from streamload.transforms.operations import OPERATIONS

U1, I4, F4 = np.dtype("u1"), np.dtype("i4"), np.dtype("f4")
SCHEMA = Schema(
    (
        Field("image", U1, (32, 40, 3)),
        Field("grey", U1, (32, 40)),
        Field("mask", I4, (32, 40)),
        Field("small", I4, (30, 40)),
        Field("boxes", F4, (5, 4)),
        Field("text", U1, (), "text"),
        Field("odd", U1, (3, 3, 3)),
        Field("depth", np.dtype("f8"), (32, 40)),
    )
)

MADE: dict[str, tuple[Callable[[], Any], str]] = {
    "no operation": (lambda: sl.Augment("image", "flip"), r"Augment: 'flip' is no operation\. Give values of sl\.augment: CenterCrop"),
    "wrong order": (
        lambda: sl.Augment("image", sl.ColorJitter(0.4), sl.RandomCrop(20)),
        r"Augment: RandomCrop is geometry, and stands after ColorJitter, which is colour\. Put geometry first",
    ),
    "erasing too early": (
        lambda: sl.Augment("image", sl.RandomErasing(), sl.Normalize(0.5, 0.2)),
        r"Augment: Normalize is normalisation, and stands after RandomErasing, which is erasing\.",
    ),
    "no field": (lambda: sl.Augment([]), r"Augment\(\) names no field\. Name the images first"),
    "field of no name": (lambda: sl.Augment(3), r"Augment\(fields=3\) names no fields\."),
    "twice": (lambda: sl.Augment("image", masks="image"), r"Augment names 'image' twice\. A field is an image, a mask, boxes or points\."),
    "layout": (lambda: sl.Augment("image", layout="NHWC"), r"Augment\(layout='NHWC'\) is not known\. Give one of 'CHW', 'HWC', 'HW'"),
    "dtype": (lambda: sl.Augment("image", dtype="int64"), r"Augment\(dtype='int64'\) is not known\. Give one of 'uint8'"),
    "views": (lambda: sl.Augment("image", views=0), r"Augment\(views=0\) is out of range\. Give a whole number from 1 to 15\."),
    "size": (lambda: sl.RandomCrop(0), r"RandomCrop\(size=0\) is no size\. Give a height and a width in pixels"),
    "three sides": (lambda: sl.Resize((1, 2, 3)), r"Resize\(size=\(1, 2, 3\)\) is no size\."),
    "no side": (lambda: sl.Resize(None), r"Resize\(size=None\) says nothing\. Give a size, or max_size"),
    "two sides and a most": (lambda: sl.Resize((8, 8), max_size=9), r"Resize\(max_size=9\) goes with one side alone\."),
    "interpolation": (
        lambda: sl.RandomResizedCrop(8, interpolation="lanczos"),
        r"RandomResizedCrop\(interpolation='lanczos'\) is not known\. Give one of 'nearest', 'nearest-exact', 'bilinear', 'bicubic', 'box'",
    ),
    "range": (lambda: sl.RandomResizedCrop(8, scale=(0.5, 2)), r"RandomResizedCrop\(scale=\(0\.5, 2\)\) is no range\. Give two numbers"),
    "chance": (lambda: sl.RandomHorizontalFlip(1.5), r"RandomHorizontalFlip\(p=1\.5\) is no probability\. Give a number from 0 to 1\."),
    "axes": (lambda: sl.RandomFlip(axes="WX"), r"RandomFlip\(axes='WX'\) are no axes\."),
    "padding": (lambda: sl.Pad((1, 2, 3, 4, 5)), r"Pad\(padding=\(1, 2, 3, 4, 5\)\) is no padding\. Give pixels: one number"),
    "padding mode": (lambda: sl.Pad(1, padding_mode="wrap"), r"Pad\(padding_mode='wrap'\) is not known\. Give one of 'constant', 'edge'"),
    "fill": (lambda: sl.Pad(1, fill="red"), r"Pad\(fill='red'\) is no level\."),
    "jitter": (lambda: sl.ColorJitter(-1), r"ColorJitter\(brightness=-1\) is below 0\. Give how far to go"),
    "hue": (lambda: sl.ColorJitter(hue=0.7), r"ColorJitter\(hue=\(-0\.7, 0\.7\)\) is no range\. Give two numbers.*from -0\.5 to 0\.5"),
    "grey": (lambda: ops.Grayscale(2), r"Grayscale\(num_output_channels=2\) is not known\. Give 1 or 3\."),
    "kernel": (lambda: ops.GaussianBlur(4), r"GaussianBlur\(kernel_size=4\) is even\. Give odd numbers"),
    "expand": (lambda: ops.RandomRotation(10, expand=True), r"RandomRotation\(expand=True\) would give every record a size of its own\."),
    "angles": (lambda: ops.RandomAffine(-1), r"RandomAffine\(degrees=-1\) is below 0\."),
    "shift": (lambda: ops.RandomAffine(1, translate=(2, 0)), r"RandomAffine\(translate=\(2, 0\)\) are no shares\."),
    "center": (lambda: ops.RandomRotation(1, center=3), r"RandomRotation\(center=3\) is no point\."),
    "map": (lambda: ops.RandomRotation(1, "bicubic"), r"RandomRotation\(interpolation='bicubic'\) is not known here\."),
    "threshold": (lambda: ops.RandomSolarize(300), r"RandomSolarize\(threshold=300\) is no level\."),
    "bits": (lambda: ops.RandomPosterize(9), r"RandomPosterize\(bits=9\) is no number of bits\."),
    "gain": (lambda: ops.RandomGamma(gain=-1), r"RandomGamma\(gain=-1\) is no factor\."),
    "sharpness": (lambda: ops.RandomAdjustSharpness(-1), r"RandomAdjustSharpness\(sharpness_factor=-1\) is no factor\."),
    "deviation": (lambda: sl.Normalize(0.5, 0), r"Normalize\(std=\(0\.0,\)\) would divide by zero\."),
    "negative deviation": (lambda: sl.Normalize(0.5, (0.2, -1)), r"Normalize\(std=\(0\.2, -1\.0\)\) is below 0, as no deviation is\."),
    "deviation of no size": (lambda: sl.Normalize(0.5, 1e-39), r"Normalize\(std=\(1e-39,\)\) makes numbers that float32 does not reach\."),
    "mean without bounds": (lambda: sl.Normalize(1e300, 1), r"Normalize\(std=\(1\.0,\)\) makes numbers that float32 does not reach\."),
    "deviation that is no number": (lambda: sl.Normalize(0.5, float("nan")), r"Normalize\(std=nan\) are no numbers\."),
    "infinite deviation": (lambda: sl.Normalize(0.5, [1, float("inf")]), r"Normalize\(std=\[1, inf\]\) are no numbers\."),
    "number beyond floats": (lambda: sl.Normalize(10**400, 1), r"Normalize\(mean=1000.*\) are no numbers\."),
    "array of no axes": (lambda: sl.Normalize(np.array(0.5), 1), r"Normalize\(mean=array\(0\.5\)\) are no numbers\."),
    "bytes for numbers": (lambda: sl.Normalize(b"abc", 1), r"Normalize\(mean=b'abc'\) are no numbers\."),
    "bytes for levels": (lambda: sl.Pad(1, fill=b"abc"), r"Pad\(fill=b'abc'\) is no level\."),
    "bytes for pixels": (lambda: sl.Pad(b"\1\2"), r"Pad\(padding=b'\\x01\\x02'\) is no padding\."),
    "scale": (lambda: sl.Augment("image", scale="no"), r"Augment: scale='no' is neither True nor False\. Give one of them\."),
    "no scale": (lambda: sl.Augment("image", scale=None), r"Augment: scale=None is neither True nor False\."),
    "antialias": (lambda: sl.Resize(8, antialias="no"), r"Resize: antialias='no' is neither True nor False\."),
    "padding if needed": (
        lambda: sl.RandomCrop(8, pad_if_needed="no"),
        r"RandomCrop: pad_if_needed='no' is neither True nor False\.",
    ),
    "expanding or not": (lambda: ops.RandomRotation(10, expand=[]), r"RandomRotation: expand=\[\] is neither True nor False\."),
    "list of layouts": (lambda: sl.Augment("image", layout=["CHW"]), r"Augment\(layout=\['CHW'\]\) is not known\."),
    "list of padding modes": (lambda: sl.Pad(1, padding_mode=["edge"]), r"Pad\(padding_mode=\['edge'\]\) is not known\."),
    "list of axes": (lambda: sl.RandomFlip(axes=["W"]), r"RandomFlip\(axes=\['W'\]\) are no axes\."),
    "one channel, perhaps": (lambda: ops.Grayscale(True), r"Grayscale\(num_output_channels=True\) is not known\."),
    "class of an operation": (lambda: sl.Augment("image", sl.RandomFlip), r"Augment: <class .*RandomFlip'> is no operation\."),
    "class to choose": (lambda: ops.RandomChoice([sl.RandomFlip]), r"RandomChoice\(transforms=.*\) are no operations\."),
    "weights without bounds": (lambda: ops.RandomChoice([sl.RandomFlip()] * 2, p=[1e308] * 2), r"RandomChoice\(p=.*\) are no weights of 2"),
    "level of masks": (lambda: sl.Augment("image", masks="mask", mask_fill="red"), r"Augment\(mask_fill='red'\) is no number\."),
    "level of no masks": (lambda: sl.Augment("image", mask_fill=255), r"Augment\(mask_fill=255\) is of masks, and none are named\."),
    "form of no boxes": (
        lambda: sl.Augment("image", box_format="XYWH"),
        r"Augment\(box_format='XYWH'\) is of boxes, and none are named\. Name them with boxes=\.",
    ),
    "labels of no name": (lambda: sl.MixUp(labels=3), r"MixUp\(labels=3\) names no field\. Give its name"),
    "images of no name": (lambda: sl.CutMix(images=""), r"CutMix\(images=''\) names no field\."),
    "cut to no length": (lambda: sl.PadRagged("x", longer="cut"), r"PadRagged\(longer='cut'\) says nothing without length=\."),
    "mask of no name": (lambda: sl.PadRagged("x", mask=True), r"PadRagged\(mask=True\) names no field\."),
    "segments of no name": (lambda: sl.PackRagged("x", 8, segments=1), r"PackRagged\(segments=1\) names no field\."),
    "mask or not": (lambda: sl.Decode(mask="no"), r"Decode: mask='no' is neither True nor False\."),
    "mean": (lambda: sl.Normalize("grey", 1), r"Normalize\(mean='grey'\) are no numbers\."),
    "erased": (lambda: sl.RandomErasing(value="random"), r"RandomErasing\(value='random'\) is not known\."),
    "nothing to apply": (lambda: ops.RandomApply([]), r"RandomApply\(transforms=\[\]\) are no operations\."),
    "choice of Normalize": (
        lambda: ops.RandomChoice([sl.Normalize(0, 1)]),
        r"RandomChoice\(transforms=.* hold Normalize or RandomErasing\.",
    ),
    "Normalize of some records": (
        lambda: ops.RandomApply([ops.RandomInvert(1.0), sl.Normalize(0, 1)], p=0.5),
        r"RandomApply\(transforms=.* hold Normalize or RandomErasing\. Put them at the end of the chain\.",
    ),
    "choice of five crops": (
        lambda: ops.RandomChoice([ops.FiveCrop(3)]),
        r"RandomChoice\(transforms=.* hold FiveCrop, which every record needs\.",
    ),
    "weights": (lambda: ops.RandomChoice([ops.CenterCrop(3)], p=[1, 2]), r"RandomChoice\(p=\[1, 2\]\) are no weights of 1 operations\."),
    "magnitude": (
        lambda: ops.RandAugment(magnitude=31),
        r"RandAugment\(magnitude=31\) is out of range\. Give a whole number from 0 to 30\.",
    ),
    "steps": (lambda: ops.TrivialAugmentWide(1), r"TrivialAugmentWide\(num_magnitude_bins=1\) is no number of steps\."),
    "number of operations": (lambda: ops.RandAugment(-1), r"RandAugment\(num_ops=-1\) is no number of operations\."),
}

BOUND: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown field": (lambda: sl.Augment("picture"), r"names field 'picture', which is not there\. There are: image, grey, mask"),
    "crop larger than the image": (
        lambda: sl.Augment("image", sl.RandomCrop(224)),
        r"RandomCrop\(size=\(224, 224\)\) is larger than the image, which is 32 x 40 there\. Ask for a smaller size, pad",
    ),
    "crop larger, rarely": (
        lambda: sl.Augment("image", sl.Resize((20, 20)), ops.RandomApply([sl.RandomCrop(21)], p=0.001)),
        r"RandomCrop\(size=\(21, 21\)\) is larger than the image, which is 20 x 20 there\.",
    ),
    "several sizes": (
        lambda: sl.Augment("image", ops.RandomApply([sl.RandomCrop(20)], p=0.001)),
        r"gives records of different sizes\. End its geometry with a crop or a resize",
    ),
    "quarter-turn": (
        lambda: sl.Augment("image", ops.RandomRotate90()),
        r"RandomRotate90 would change heights and widths over: images are 32 x 40",
    ),
    "axis of volumes": (lambda: sl.Augment("image", sl.RandomFlip(axes="D")), r"RandomFlip\(axes='D'\): an image has no axis D\."),
    "channels of Normalize": (
        lambda: sl.Augment("grey", sl.Normalize((1, 2, 3), 1)),
        r"Normalize\(mean=\(1\.0, 2\.0, 3\.0\)\) is not for an image of 1 channels\. Give one number for each channel\.",
    ),
    "channels of a fill": (lambda: sl.Augment("image", sl.Pad(1, fill=(1, 2))), r"fill=\(1\.0, 2\.0\) is not for an image of 3 channels\."),
    "Normalize twice": (lambda: sl.Augment("image", sl.Normalize(0, 1), sl.Normalize(0, 1)), r"Normalize stands twice in a chain\."),
    "normalised bytes": (
        lambda: sl.Augment("image", sl.Normalize(0, 1), dtype="uint8"),
        r'dtype="uint8" cannot hold what Normalize makes\.',
    ),
    "one plane of three channels": (lambda: sl.Augment("image", layout="HW"), r'layout="HW" has no room for 3 channels\.'),
    "masks of another size": (
        lambda: sl.Augment("image", masks="small"),
        r"field 'small' is \(30, 40\) and 'image' is \(32, 40\): they cannot move together\.",
    ),
    "no mask": (lambda: sl.Augment("image", masks="depth"), r"field 'depth' is no mask: it is float64\."),
    "no boxes": (
        lambda: sl.Augment("image", boxes="mask"),
        r"field 'mask' holds no boxes: mask int32 \(32, 40\)\. They are numbers of shape \(n, 4\)\.",
    ),
    "no points": (lambda: sl.Augment("image", keypoints="boxes"), r"field 'boxes' holds no key points: .* of shape \(n, 2\)\."),
    "ragged": (lambda: sl.Augment("text"), r"field 'text' is ragged: text text \(ragged\)\."),
    "which axis": (lambda: sl.Augment("odd"), r"field 'odd' has shape \(3, 3, 3\): which of its axes .* is not plain\. Say it:"),
    "stored": (lambda: sl.Augment("grey", stored="HWC"), r"field 'grey' has shape \(32, 40\), which is not HWC\."),
    "dtype": (lambda: sl.Augment("depth"), r"field 'depth' is of dtype float64, which is not augmented\. Store one of uint8"),
    "images unlike": (lambda: sl.Augment(("image", "grey")), r"field 'grey' is uint8 HW of 1 channels, and 'image' uint8 HWC of 3\."),
    "grey at random": (
        lambda: sl.Augment("image", ops.RandomApply([ops.Grayscale()])),
        r"Grayscale\(1\) would give some records other channels than others\. Use Grayscale\(3\) or RandomGrayscale",
    ),
    "blur beyond": (
        lambda: sl.Augment("image", sl.Resize((4, 4)), ops.GaussianBlur(9)),
        r"GaussianBlur\(kernel_size=\(9, 9\)\) reaches further",
    ),
}


@pytest.mark.parametrize(("make", "text"), MADE.values(), ids=MADE)
def test_what_cannot_be_right_is_refused_when_it_is_made(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(sl.ConfigError, match=text):
        make()


@pytest.mark.parametrize(("make", "text"), BOUND.values(), ids=BOUND)
def test_what_does_not_suit_the_data_is_refused_when_they_meet(make: Callable[[], Any], text: str) -> None:
    """Whatever the chance that it happens at all."""
    with pytest.raises(sl.ConfigError, match=text):
        augmentation_of(make(), SCHEMA)


def test_flags_of_either_kind_are_taken() -> None:
    """Python's, NumPy's, and numbers that mean them."""
    for yes, no in ((True, False), (np.True_, np.False_), (1, 0), (np.int8(1), np.int8(0))):
        assert (sl.Augment("image", scale=yes).scale, sl.Augment("image", scale=no).scale) == (True, False)


def test_it_is_written_down_as_it_is_made() -> None:
    chain = sl.Augment(
        "image",
        sl.RandomResizedCrop(16, scale=(0.35, 1)),
        sl.RandomFlip(),
        sl.Normalize(0.5, 0.2),
        layout="CHW",
        dtype=np.float16,
        masks="mask",
    )
    assert repr(chain) == (
        "Augment('image', RandomResizedCrop(size=(16, 16), scale=(0.35, 1.0), ratio=(0.75, 1.3333333333333333), interpolation='bilinear', "
        "antialias=True, p=1.0), RandomFlip(p=0.5, axes='W'), Normalize(mean=(0.5,), std=(0.2,)), layout='CHW', dtype='float16', "
        "masks='mask')"
    )
    assert eval(repr(chain), {"Augment": sl.Augment, **{name: getattr(ops, name) for name in OPERATIONS}}) == chain
    assert hash(chain) == hash(eval(repr(chain), {"Augment": sl.Augment, **{name: getattr(ops, name) for name in OPERATIONS}}))


def test_the_schema_says_what_comes_out() -> None:
    def came(chain: sl.Augment, name: str = "image") -> str:
        return str(augmentation_of(chain, SCHEMA).schema[name])

    assert came(sl.Augment("image", sl.CenterCrop(16))) == "image uint8 (16, 16, 3)"
    assert came(sl.Augment("image", sl.CenterCrop(16), sl.Normalize(0, 1))) == "image float32 (16, 16, 3)"
    assert came(sl.Augment("image", sl.CenterCrop(16), layout="CHW", dtype="float16", views=2)) == "image float16 (2, 3, 16, 16)"
    assert came(sl.Augment("image", ops.Grayscale(), layout="HW")) == "image uint8 (32, 40)"
    assert came(sl.Augment("grey", ops.Grayscale(3)), "grey") == "grey uint8 (3, 32, 40)"
    assert came(sl.Augment("image", sl.Resize((8, 9)), masks="mask"), "mask") == "mask int32 (8, 9)"
    assert came(sl.Augment("image", boxes="boxes", views=3), "boxes") == "boxes float32 (3, 5, 4)"


def test_every_operation_is_a_name_of_the_package() -> None:
    assert all(getattr(sl, name) is getattr(sl.augment, name) for name in OPERATIONS)
    assert set(OPERATIONS) <= set(dir(sl.augment))
    with pytest.raises(AttributeError, match="no attribute 'RandomThing'"):
        sl.RandomThing
