"""Geometry that is put together gives what its operations give one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from augment_cases import both
from augment_steps import augmented
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from streamload.transforms import augment as ops
from streamload.transforms.augment import Augment
from streamload.transforms.images import StoredImage
from streamload.transforms.placement import Padding, Placement
from streamload.transforms.rendering import image_pass

MODES = {0: "constant", 1: "reflect", 2: "edge", 3: "symmetric"}


class OneByOne:
    """The same operations on an array, one after the other."""

    def __init__(self, image: NDArray[Any]) -> None:
        self.image = image

    def crop(self, top: int, left: int, height: int, width: int) -> None:
        self.image = self.image[top : top + height, left : left + width]

    def pad(self, mode: int, fill: int, left: int, top: int, right: int, bottom: int) -> None:
        filled = {"constant_values": fill} if mode == 0 else {}
        self.image = np.pad(self.image, ((top, bottom), (left, right), (0, 0)), MODES[mode], **filled)

    def flip(self, axis: str) -> None:
        self.image = self.image[:, ::-1] if axis == "horizontal" else self.image[::-1]

    def transpose(self) -> None:
        self.image = self.image.transpose(1, 0, 2)


@st.composite
def operations(draw: st.DrawFn) -> tuple[int, int, list[tuple[Any, ...]]]:
    """A size, and operations that fit it."""
    first = height, width = draw(st.integers(4, 12)), draw(st.integers(4, 12))
    found: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["crop", "pad", "horizontal", "vertical", "transpose"]))
        if kind == "crop":
            h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
            found.append((kind, draw(st.integers(0, height - h)), draw(st.integers(0, width - w)), h, w))
            height, width = h, w
        elif kind == "pad":
            mode = draw(st.integers(0, 3))
            most = min(height, width) - 1 if mode == 1 else min(height, width)
            borders = [draw(st.integers(0, max(most, 0))) for _ in range(4)]
            found.append((kind, mode, draw(st.integers(0, 255)), *borders))
            height, width = height + borders[1] + borders[3], width + borders[0] + borders[2]
        else:
            found.append((kind,))
            height, width = (width, height) if kind == "transpose" else (height, width)
    return *first, found


@given(operations())
@settings(max_examples=120)
def test_crops_pads_and_turns_compose_exactly(given_operations: tuple[int, int, list[tuple[Any, ...]]]) -> None:
    """Whatever their order; and coordinates of pixels go where the pixels go."""
    height, width, wanted = given_operations
    image = np.arange(height * width * 2, dtype=np.uint8).reshape(height, width, 2)
    placement, plain = Placement(height, width, records=1, known=(height, width)), OneByOne(image)
    for kind, *rest in wanted:
        if kind == "crop":
            placement.crop(*(np.array([value]) for value in rest))
            plain.crop(*rest)
        elif kind == "pad":
            mode, fill, left, top, right, bottom = rest
            h, w = (int(np.max(side)) for side in placement.size)
            rectangle = (-top, -left, h + top + bottom, w + left + right)
            placement.pad(Padding(mode, (float(fill),)), *(np.array([value]) for value in rectangle))
            plain.pad(mode, fill, left, top, right, bottom)
        elif kind == "transpose":
            placement.transpose()
            plain.transpose()
        else:
            placement.flip(kind)
            plain.flip(kind)
    placement.finish()
    assert tuple(int(np.max(side)) for side in placement.size) == plain.image.shape[:2]
    assert np.array_equal(run(placement, image), plain.image)
    if all(kind != "pad" for kind, *_ in wanted):  # what is cut away may be padded over
        check_coordinates(placement, image, plain.image)


def run(placement: Placement, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the passes make of an image."""
    stored = StoredImage(name="image", dtype=image.dtype, layout="HWC", channels=2, size=image.shape[:2])
    steps = [image_pass(one, stored) for one in placement.passes]
    h, w = (int(np.max(side)) for side in placement.size)
    wanted = [(one.kernel, [np.max(part) for part in one.parameters]) for one in steps]
    return both(np.ascontiguousarray(image), [*wanted, ("uint8_hwc", [0] * 4)], out=(h, w, 2))[0]


def check_coordinates(placement: Placement, image: NDArray[np.uint8], came: NDArray[np.uint8]) -> None:
    """The middle of each pixel that is still there is where the map says."""
    forward = placement.forward()[0]
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            to = forward[:, :2] @ [x + 0.5, y + 0.5] + forward[:, 2] - 0.5
            column, row = np.rint(to).astype(int)
            if 0 <= row < came.shape[0] and 0 <= column < came.shape[1]:
                assert np.array_equal(came[row, column], image[y, x])


@pytest.mark.parametrize("kind", ["bilinear", "bicubic", "box"])
def test_a_crop_of_what_was_resized_is_that_of_pillow(kind: str) -> None:
    """Resize, then cut, then flip: one pass here, and within a level of three of Pillow's."""
    image = np.random.default_rng(1).integers(0, 256, (1, 50, 61, 3), np.uint8)
    chain = Augment("image", ops.Resize((40, 44), interpolation=kind), ops.CenterCrop((30, 28)), ops.RandomHorizontalFlip(1.0))
    ours = augmented(chain, {"image": image}, records=np.array([4]))["image"][0]
    resized = Image.fromarray(image[0]).resize((44, 40), getattr(Image.Resampling, kind.upper()))
    theirs = np.asarray(resized)[5:35, 8:36][:, ::-1]
    assert np.abs(ours.astype(int) - theirs).max() <= (24 if kind == "bicubic" else 1)
    assert (np.abs(ours.astype(int) - theirs) > 1).mean() < (0.01 if kind == "bicubic" else 0.0001)


@pytest.mark.parametrize(
    ("size", "max_size", "found"), [(20, None, (20, 30)), (20, 25, (16, 25)), (None, 30, (20, 30)), ((7, 9), None, (7, 9))]
)
def test_a_resize_to_one_side_keeps_the_shape(size: Any, max_size: int | None, found: tuple[int, int]) -> None:
    image = np.zeros((1, 40, 60, 3), np.uint8)
    out = augmented(Augment("image", ops.Resize(size, max_size=max_size)), {"image": image}, records=np.array([0]))["image"]
    assert out.shape[1:3] == found
