"""`p=`: the chance that an operation is done, of each record by itself."""

from __future__ import annotations

import numpy as np
import pytest
from augment_steps import augmented, photographs, schema_of

from streamload.errors import ConfigError
from streamload.transforms import augment as ops
from streamload.transforms.augment import Augment
from streamload.transforms.augmentation import augmentation_of
from streamload.transforms.explanation import explain

MADE = {
    "RandomCrop": lambda p: ops.RandomCrop(24, padding=(3, 0, 3, 0), p=p),
    "RandomResizedCrop": lambda p: ops.RandomResizedCrop(24, scale=(0.3, 0.5), p=p),
    "RandAugment": lambda p: ops.RandAugment(p=p),
    "TrivialAugmentWide": lambda p: ops.TrivialAugmentWide(p=p),
    "ColorJitter": lambda p: ops.ColorJitter((0.2, 0.4), p=p),
    "RandomRotation": lambda p: ops.RandomRotation((40, 50), p=p),
    "RandomAffine": lambda p: ops.RandomAffine((40, 50), p=p),
    "RandomChannelPermutation": lambda p: ops.RandomChannelPermutation(p=p),
    "GaussianBlur": lambda p: ops.GaussianBlur(5, 2.0, p=p),
    "RandomAdjustSharpness": lambda p: ops.RandomAdjustSharpness(3, p=p),
    "RandomSolarize": lambda p: ops.RandomSolarize(20, p=p),
}
RECORDS = np.arange(60)


@pytest.mark.parametrize("name", MADE)
def test_the_others_stay_as_they_are(name: str) -> None:
    """What `explain` says was done was done as with a chance of 1, and nothing to those that it leaves out: half of them at 0.5."""
    arrays = {"image": photographs((24, 24, 3), len(RECORDS))}
    always, never, some = (Augment("image", MADE[name](p)) for p in (1.0, 0.0, 0.5))
    done = augmented(always, arrays, records=RECORDS)["image"]
    np.testing.assert_array_equal(augmented(never, arrays, records=RECORDS)["image"], arrays["image"])
    found = augmented(some, arrays, records=RECORDS)["image"]
    np.testing.assert_array_equal(augmented(some, arrays, records=RECORDS, compiled=False)["image"], found)
    (plan,) = augmentation_of(some, schema_of(arrays)).plans
    applied = np.array([next(iter(explain((plan,), seed=0, epoch=0, record=record))).applied for record in RECORDS.tolist()])
    assert 15 < applied.sum() < 45
    np.testing.assert_array_equal(found[~applied], arrays["image"][~applied])
    assert (found[applied] != arrays["image"][applied]).any(axis=(1, 2, 3)).mean() > 0.7
    if name in ("RandomSolarize", "RandomAdjustSharpness"):
        np.testing.assert_array_equal(found[applied], done[applied])


@pytest.mark.parametrize("name", MADE)
def test_chances_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}\(p=1.5\) is no probability"):
        MADE[name](1.5)
