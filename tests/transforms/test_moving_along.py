"""Key points, boxes and masks stay on the pixels that they were on, whatever geometry does with their image.

The pixels of the images here say where they come from, so that any place of what comes out can be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from augment_steps import augmented
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.schema import ARRAY, Field, Schema
from streamload.transforms import augment as ops
from streamload.transforms.augment import Augment
from streamload.transforms.augmentation import augmentation_of

HEIGHT, WIDTH = 48, 64
RECORDS = np.arange(40, 52)
GEOMETRY: dict[str, Callable[[], list[Any]]] = {
    "CenterCrop": lambda: [ops.CenterCrop((31, 40))],
    "RandomCrop": lambda: [ops.RandomCrop((30, 41))],
    "RandomCrop with a chance": lambda: [ops.RandomCrop((30, 41), p=0.5), ops.CenterCrop((30, 41))],
    "RandomResizedCrop": lambda: [ops.RandomResizedCrop((33, 50))],
    "RandomResizedCrop with a chance": lambda: [ops.RandomResizedCrop((33, 50), p=0.5), ops.Resize((33, 50))],
    "RandomResizedCrop, nearest": lambda: [ops.RandomResizedCrop((50, 33), interpolation="nearest")],
    "RandomResizedCrop, bicubic": lambda: [ops.RandomResizedCrop((50, 33), interpolation="bicubic")],
    "RandomResizedCrop, area": lambda: [ops.RandomResizedCrop((20, 33), interpolation="area")],
    "Pad": lambda: [ops.Pad((3, 1, 5, 7))],
    "Resize": lambda: [ops.Resize((71, 30))],
    "flips": lambda: [ops.RandomHorizontalFlip(), ops.RandomVerticalFlip()],
    "RandomFlip": lambda: [ops.RandomFlip(axes="HW")],
    "RandomRotate90": lambda: [ops.CenterCrop(40), ops.RandomRotate90()],
    "RandomRotation": lambda: [ops.RandomRotation(40, interpolation="bilinear")],
    "RandomRotation around a point": lambda: [ops.RandomRotation(40, center=(10, 12))],
    "RandomAffine": lambda: [ops.RandomAffine(20, translate=(0.1, 0.2), scale=(0.8, 1.3), shear=(-9, 9, -5, 5), interpolation="bilinear")],
    "RandomApply": lambda: [ops.RandomApply([ops.RandomCrop(20), ops.Resize((48, 64))], p=0.5), ops.RandomFlip()],
    "RandomChoice": lambda: [ops.RandomChoice([ops.RandomRotation((20, 25)), ops.RandomVerticalFlip(1), ops.RandomResizedCrop((48, 64))])],
    "all kinds of passes": lambda: [ops.RandomAffine(9), ops.RandomFlip(), ops.Pad(4), ops.Resize((60, 80)), ops.RandomCrop(50, padding=2)],
}


def place_of(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Where pixels come from, as they say: (x, y) of their centres, in their last axis."""
    return pixels.astype(np.float64) + 0.5


def between(image: NDArray[Any], x: float, y: float) -> NDArray[np.float64]:
    """The image at a place, between the four pixels around it."""
    column, row = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    across, down = x - 0.5 - column, y - 0.5 - row
    rows = [image[row + k, column] * (1 - across) + image[row + k, column + 1] * across for k in (0, 1)]
    return rows[0] * (1 - down) + rows[1] * down


@pytest.mark.parametrize("name", GEOMETRY)
def test_points_boxes_and_masks_stay_where_they_were(name: str) -> None:
    rng, count = np.random.default_rng(0), len(RECORDS)
    grid = np.stack(np.meshgrid(np.arange(1, WIDTH + 1), np.arange(1, HEIGHT + 1)), -1)  # From 1, since 0 is what stands outside.
    points = rng.uniform([8, 8], [WIDTH - 8, HEIGHT - 8], (count, 30, 2))
    arrays = {
        "image": np.broadcast_to(grid.astype(np.float32), (count, HEIGHT, WIDTH, 2)).copy(),
        "points": points,
        "boxes": np.concatenate([points - 3, points + 3], -1),
        "mask": np.broadcast_to(grid[:, :, 0] * 1_000 + grid[:, :, 1], (count, HEIGHT, WIDTH)).astype(np.int32),
    }
    chain = Augment("image", *GEOMETRY[name](), stored="HWC", keypoints="points", boxes="boxes", masks="mask")
    out = augmented(chain, arrays, records=RECORDS)
    height, width = out["image"].shape[1:3]
    seen = 0
    for k in range(count):
        for point, box, (x, y), moved in zip(points[k], arrays["boxes"][k], out["points"][k], out["boxes"][k], strict=True):
            around = out["mask"][k][max(0, int(y) - 2) : int(y) + 3, max(0, int(x) - 2) : int(x) + 3]
            if not (2 <= x < width - 2 and 2 <= y < height - 2 and around.all()):
                continue
            seen += 1
            assert np.abs(place_of(between(out["image"][k], x, y) - 1) - point).max() < 1.6
            mask = int(out["mask"][k][int(y), int(x)])
            assert np.abs(place_of(np.array([mask // 1_000, mask % 1_000]) - 1) - point).max() < 2.2
            assert (moved[:2] <= [x, y]).all()
            assert (moved[2:] >= [x, y]).all()
            del box
    assert seen >= 40


def test_views_and_five_crops_move_what_belongs_to_them() -> None:
    """An axis of views, then one of crops: of images, masks, points and boxes alike."""
    rng, count = np.random.default_rng(1), 3
    grid = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1)
    points = rng.integers([0, 0], [WIDTH, HEIGHT], (count, 9, 2)) + 0.5
    arrays = {
        "image": np.broadcast_to(grid.astype(np.float32), (count, HEIGHT, WIDTH, 2)).copy(),
        "points": points,
        "mask": np.broadcast_to(grid[:, :, 0] * 1_000 + grid[:, :, 1], (count, HEIGHT, WIDTH)).astype(np.int32),
    }
    chain = Augment("image", ops.RandomFlip(axes="HW"), ops.FiveCrop((30, 40)), stored="HWC", keypoints="points", masks="mask", views=2)
    out = augmented(chain, arrays, records=np.arange(count))
    assert [out[name].shape[:3] for name in ("image", "mask", "points")] == [(count, 2, 5)] * 3
    inside = 0
    for place in np.ndindex(count, 2, 5):
        for point, (x, y) in zip(points[place[0]], out["points"][place], strict=True):
            if 0 <= x < 40 and 0 <= y < 30:
                inside += 1
                assert (place_of(out["image"][place][int(y), int(x)]) == point).all()
                mask = int(out["mask"][place][int(y), int(x)])
                assert (place_of(np.array([mask // 1_000, mask % 1_000])) == point).all()
    assert inside > 60


def test_crops_of_ragged_points_have_no_place() -> None:
    schema = Schema((Field("image", np.dtype(np.uint8), (32, 32, 3)), Field("points", np.dtype(np.float32), (2,), ARRAY)))
    for chain, what in (
        (Augment("image", ops.FiveCrop(8), keypoints="points"), "5 crops"),
        (Augment("image", keypoints="points", views=2), "2 views"),
    ):
        with pytest.raises(ConfigError, match=rf"field 'points' is ragged, and there are {what}\. Several \w+ take fixed shapes\."):
            augmentation_of(chain, schema)
