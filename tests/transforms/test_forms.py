"""Every dtype and layout that goes in, in every dtype and layout that comes out: what NumPy makes of it."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from augment_steps import augmented
from numpy.typing import NDArray

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError
from streamload.transforms import augment as ops
from streamload.transforms.augment import Augment

STORED = {
    "HW": (37, 41),
    "HWC": (37, 41, 3),
    "CHW": (3, 37, 41),
    "HWC of 2": (37, 41, 2),
    "HWC of 12": (37, 41, 12),
    "CHW of 4": (4, 37, 41),
}
LEVELS = {"uint8": (0, 256), "uint16": (0, 60_000), "int16": (-3_000, 3_000), "float16": (-2, 3), "float32": (-2, 3)}
MOST = {"uint8": 255.0, "uint16": 65_535.0, "int16": 32_767.0}
NEAR = {"float32": 1e-5, "float16": 2e-3} | ({"bfloat16": 2e-2} if find_spec("ml_dtypes") else {})


def expected(images: NDArray[Any], stored: str, layout: str, *, scale: bool, numbers: tuple[Any, Any] | None) -> NDArray[Any]:
    """The middle, left and right exchanged, channels as they are asked for."""
    form = stored.split()[0]
    woven = images[..., None] if form == "HW" else images.transpose(0, 2, 3, 1) if form == "CHW" else images
    cut = woven[:, 2:35, 4:38][:, :, ::-1]
    if scale or numbers:
        cut = cut.astype(np.float64) / (MOST.get(str(images.dtype), 1.0) if scale else 1.0)
    if numbers:
        cut = (cut - np.array(numbers[0])) / np.array(numbers[1])
    return cut[..., 0] if layout == "HW" else cut.transpose(0, 3, 1, 2) if layout == "CHW" else cut


@pytest.mark.parametrize("dtype", LEVELS)
@pytest.mark.parametrize("stored", STORED)
def test_what_comes_out_is_what_numpy_makes_of_it(dtype: str, stored: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(*LEVELS[dtype], (2, *STORED[stored])).astype(dtype)
    form = stored.split()[0]
    channels = 1 if form == "HW" else STORED[stored][2] if form == "HWC" else STORED[stored][0]
    numbers = np.linspace(0.3, 0.6, channels).tolist(), np.linspace(0.2, 0.4, channels).tolist()
    for out, layout, scale, normalised in itertools.product((dtype, *NEAR), ("HW", "HWC", "CHW"), (True, False), (True, False)):
        if (layout == "HW" and channels > 1) or (out in MOST and normalised):
            continue
        last = [ops.Normalize(*numbers)] if normalised else []
        chain = Augment(
            "image", ops.CenterCrop((33, 34)), ops.RandomHorizontalFlip(p=1), *last, layout=layout, dtype=out, scale=scale, stored=form
        )
        floats = out not in MOST
        wanted = expected(images, stored, layout, scale=scale and floats, numbers=numbers if normalised else None)
        if out == "float16" and dtype in MOST and np.abs(wanted).max() > 65_519:
            with pytest.raises(SchemaMismatchError, match=r"field 'image' of record 0 comes to more than 65,504"):
                augmented(chain, {"image": images}, records=np.arange(2))
            continue
        found = augmented(chain, {"image": images}, records=np.arange(2))["image"]
        assert str(found.dtype) == out
        assert found.shape == wanted.shape
        if floats:
            with np.errstate(over="ignore"):
                wanted = wanted.astype(found.dtype).astype(np.float64)
            np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=NEAR[out], atol=NEAR[out])
        else:
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("workers", [0, 1])
def test_whole_numbers_beyond_float16_are_errors_where_there_are_any(workers: int, tmp_path: Path) -> None:
    """What 12 bits hold is delivered; a record that holds more is named, unless it is divided by more. Stored floats become infinite."""
    values = np.full((6, 20, 20), 4095, np.uint16)
    np.savez(tmp_path / "a.npz", image=values)
    values[4, 7, 7] = 65_535
    np.savez(tmp_path / "b.npz", image=values)
    np.savez(tmp_path / "c.npz", image=values.astype(np.float32))
    chain = Augment("image", ops.CenterCrop(16), scale=False, dtype="float16")

    def levels(name: str, augment: Augment) -> set[float]:
        with (
            sl.open(tmp_path / name) as source,
            sl.Loader(source, batch_size=3, num_workers=workers, memory="200 MB", augment=augment) as loader,
        ):
            return {float(level) for batch in loader for level in np.unique(batch["image"])}

    assert levels("a.npz", chain) == {4096.0}
    with pytest.raises(SchemaMismatchError) as caught:
        levels("b.npz", chain)
    assert caught.value.message == "field 'image' of record 4 comes to more than 65,504, which is all that float16 holds."
    assert caught.value.hint.startswith('Give dtype="bfloat16" or "float32", or divide by more: scale=True, or a Normalize(mean, std) for')
    assert caught.value.records == (4, 5)
    assert levels("b.npz", Augment("image", ops.Normalize(0, 2), scale=False, dtype="float16")) == {2048.0, 32768.0}
    assert max(levels("b.npz", Augment("image", dtype="float16"))) == 1.0
    assert levels("c.npz", chain) == {4096.0, np.inf}


@pytest.mark.parametrize(("dtype", "out"), [("uint8", "uint16"), ("uint16", "uint8"), ("float32", "uint8"), ("int16", "uint16")])
def test_whole_numbers_are_not_made_of_others(dtype: str, out: str) -> None:
    with pytest.raises(ConfigError, match=rf'dtype="{out}" is not made of {dtype}\. Give dtype="float32" or "float16"'):
        augmented(Augment("image", dtype=out), {"image": np.zeros((8, 9, 9, 3), dtype)})
