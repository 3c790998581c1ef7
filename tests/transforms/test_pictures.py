"""What every operation makes of one picture, drawn six times: looked at once, and kept as small PNGs, one for each module of operations.

`python tests/transforms/test_pictures.py` draws them anew; look at them before they are committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from augment_steps import augmented
from numpy.typing import NDArray

from streamload.transforms import augment as ops
from streamload.transforms.augment import Augment
from streamload.transforms.operations import OPERATIONS

PICTURES = Path(__file__).parent / "pictures"
SIDE = 24
RECORDS = np.arange(6)
GAP = 2

MADE: dict[str, Any] = {
    "CenterCrop": ops.CenterCrop(16),
    "RandomCrop": ops.RandomCrop(24, padding=6, padding_mode="reflect"),
    "RandomResizedCrop": ops.RandomResizedCrop(24),
    "FiveCrop": ops.FiveCrop(16),
    "Pad": ops.Pad((2, 4), fill=(255, 255, 0)),
    "Resize": ops.Resize((24, 12), interpolation="bicubic"),
    "RandomHorizontalFlip": ops.RandomHorizontalFlip(),
    "RandomVerticalFlip": ops.RandomVerticalFlip(),
    "RandomFlip": ops.RandomFlip(axes="HW"),
    "RandomRotate90": ops.RandomRotate90(),
    "RandomAffine": ops.RandomAffine(30, translate=(0.2, 0.2), scale=(0.7, 1.3), shear=20, interpolation="bilinear"),
    "RandomRotation": ops.RandomRotation(45, fill=(255, 255, 255)),
    "ColorJitter": ops.ColorJitter(0.5, 0.5, 0.5, 0.2),
    "Grayscale": ops.Grayscale(3),
    "RandomGrayscale": ops.RandomGrayscale(0.5),
    "RandomChannelPermutation": ops.RandomChannelPermutation(),
    "RandomGamma": ops.RandomGamma((0.4, 2.5)),
    "RandomSolarize": ops.RandomSolarize(128),
    "RandomPosterize": ops.RandomPosterize(2),
    "RandomInvert": ops.RandomInvert(),
    "RandomEqualize": ops.RandomEqualize(),
    "RandomAutocontrast": ops.RandomAutocontrast(),
    "GaussianBlur": ops.GaussianBlur(7, (0.3, 3.0)),
    "RandomAdjustSharpness": ops.RandomAdjustSharpness(4),
    "Normalize": ops.Normalize((0.2, 0.4, 0.6), (0.5, 0.5, 0.5)),
    "RandomErasing": ops.RandomErasing(0.8, value=(255, 0, 255)),
    "RandomApply": ops.RandomApply([ops.RandomVerticalFlip(1.0), ops.RandomInvert(1.0)], p=0.5),
    "RandomChoice": ops.RandomChoice([ops.RandomInvert(1.0), ops.RandomSolarize(100, 1.0), ops.Grayscale(3)]),
    "RandAugment": ops.RandAugment(2, 12),
    "TrivialAugmentWide": ops.TrivialAugmentWide(),
    "MixUp": ops.MixUp(1.0, num_classes=6),
    "CutMix": ops.CutMix(1.0, num_classes=6),
}
"""An operation of every name that makes images of images."""
NOT_OF_IMAGES = {"OneHot", "PadRagged", "PackRagged"}


def picture(turn: int = 0) -> NDArray[np.uint8]:
    """Ramps, a disc up on the left, a bar on the right and a fine chequer below: nothing of it is its own mirror image."""
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.stack([x * 8, y * 8, 200 - x * 4], -1).astype(np.uint8)
    image[(x - 7) ** 2 + (y - 7) ** 2 < 16] = (250, 60 + 30 * turn, 20)
    image[4:12, 18:20] = (20, 240, 240)
    image[17:21, 4:12] = np.where((x + y)[17:21, 4:12, None] % 2, 255, 0)
    return image


def drawn(name: str) -> list[NDArray[np.uint8]]:
    """The picture as it is, then what an operation makes of it for six records."""
    operation, batch = MADE[name], OPERATIONS[name] == "batch"
    arrays = {"image": np.stack([picture(turn if batch else 0) for turn in range(6)])}
    if batch:
        arrays["label"] = RECORDS
        chain: Any = [Augment("image", dtype="float32"), operation]
    else:
        chain = Augment("image", operation)
    made = augmented(chain, arrays, records=RECORDS)["image"]
    made = made[0] if name == "FiveCrop" else made
    if made.dtype != np.uint8:
        made = np.rint((made * 0.5 + 0.5 if name == "Normalize" else made).clip(0, 1) * 255).astype(np.uint8)
    return [arrays["image"][0], *made]


def sheet(module: str) -> NDArray[np.uint8]:
    """A row for each operation of a module, every picture in a cell of one size."""
    rows = [drawn(name) for name in OPERATIONS if name in MADE and OPERATIONS[name] == module]
    cell = max(max(image.shape[:2]) for row in rows for image in row) + GAP
    whole = np.full((len(rows) * cell + GAP, 7 * cell + GAP, 3), 40, np.uint8)
    for down, row in enumerate(rows):
        for across, image in enumerate(row):
            top, left = down * cell + GAP, across * cell + GAP
            whole[top : top + image.shape[0], left : left + image.shape[1]] = image
    return whole


MODULES = sorted({OPERATIONS[name] for name in MADE})


@pytest.mark.parametrize("module", MODULES)
def test_operations_draw_what_they_drew(module: str) -> None:
    """To one level, which is what powers and exponentials may differ by from machine to machine."""
    kept = imagecodecs.png_decode((PICTURES / f"{module}.png").read_bytes())
    found = sheet(module)
    assert found.shape == kept.shape
    assert np.abs(found.astype(int) - kept.astype(int)).max() <= 1


def test_every_operation_is_on_a_sheet() -> None:
    assert MADE.keys() | NOT_OF_IMAGES == OPERATIONS.keys()


if __name__ == "__main__":
    from streamload.kernels import compile_kernels

    compile_kernels()
    for module in MODULES:
        (PICTURES / f"{module}.png").write_bytes(imagecodecs.png_encode(sheet(module), level=9))
