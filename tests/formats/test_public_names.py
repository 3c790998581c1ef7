"""Names that the package does not have: what is near, and what takes their place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import streamload as sl


def test_a_name_that_is_near_is_told():
    """Python adds it to the error, from what the error says of the package and what `dir` lists."""
    with pytest.raises(AttributeError, match=r"^module 'streamload' has no attribute 'RandomHorizontalFlipp'$") as caught:
        sl.RandomHorizontalFlipp
    assert (caught.value.name, caught.value.obj) == ("RandomHorizontalFlipp", sl)
    assert "RandomHorizontalFlip" in dir(sl)


def test_what_takes_the_place_of_names_of_other_libraries(tmp_path: Path):
    """As it says there: operations stand in an Augment, which makes floats from 0 to 1 with the channels first."""
    np.save(tmp_path / "image.npy", np.array([0, 51, 102, 255] * 12, np.uint8).reshape(1, 4, 4, 3))
    for name, instead in (("ToTensor", 'sl.Augment("image", ..., dtype="float32", layout="CHW")'), ("Compose", 'sl.Augment("image", ...)')):
        with pytest.raises(AttributeError, match=re.escape(f"module 'streamload' has no attribute '{name}': {instead} ")):
            getattr(sl, name)
    augment = sl.Augment("image", sl.RandomHorizontalFlip(0), dtype="float32", layout="CHW")
    with sl.open(tmp_path / "image.npy") as data, sl.Loader(data, batch_size=1, num_workers=0, augment=augment) as loader:
        image = next(iter(loader))["image"]
        np.testing.assert_allclose(image, np.moveaxis(data[:]["image"] / 255, -1, 1), rtol=1e-6)
