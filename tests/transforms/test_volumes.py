"""Volumes: cropped, padded, flipped and normalised in one pass, with masks that move along and change no value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from augment_steps import RECORDS, augmented, schema_of
from numpy.typing import NDArray

import streamload as sl
from streamload.errors import ConfigError
from streamload.kernels.augment.frame import CONSTANT, EDGE, REFLECT, SYMMETRIC
from streamload.transforms import augment as ops
from streamload.transforms.augment import Augment
from streamload.transforms.augmentation import augmentation_of
from streamload.transforms.explanation import explain

SHAPE = (11, 14, 9)
MODES = {"constant": CONSTANT, "edge": EDGE, "reflect": REFLECT, "symmetric": SYMMETRIC}
STORED = {"DHW": (), "CDHW": (4,), "DHWC": (3,)}


def volumes(layout: str, dtype: str) -> NDArray[Any]:
    """Noise of every record, of another number of channels in each layout."""
    rng = np.random.default_rng(len(layout))
    shape = (*STORED[layout], *SHAPE) if layout[0] == "C" else (*SHAPE, *STORED[layout])
    values = rng.integers(0, 256, (len(RECORDS), *shape)) if dtype == "uint8" else rng.integers(0, 3000, (len(RECORDS), *shape))
    return values.astype(dtype)


def channels_first(values: NDArray[Any], layout: str) -> NDArray[Any]:
    """As (channels, depth, height, width)."""
    return values[None] if layout == "DHW" else values if layout == "CDHW" else np.moveaxis(values, -1, 0)


def expected(plan: Any, values: NDArray[Any], record: int, *, pad: int, mode: str, fill: float, size: tuple[int, int, int]) -> NDArray[Any]:
    """What was drawn for a record, done with NumPy: (channels, *size) of values as they are."""
    drawn: dict[str, Any] = {}
    flips: list[str] = []
    for one in explain((plan,), seed=0, epoch=0, record=record):
        if one.operation == "RandomCrop":
            drawn = one.values
        if one.operation == "RandomFlip" and one.applied:
            flips.append(one.values["axis"])
    options = {"constant_values": fill} if mode == "constant" else {}
    whole = np.pad(values, [(0, 0), *[(pad, pad)] * 3], mode=mode, **options)
    z, y, x = drawn["front"] + pad, drawn["top"] + pad, drawn["left"] + pad
    found = whole[:, z : z + size[0], y : y + size[1], x : x + size[2]]
    return np.flip(found, [1 + "DHW".index(axis) for axis in flips])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_what_was_drawn_is_what_numpy_makes_of_it(dtype: str, stored: str, mode: str) -> None:
    """Compiled and plain alike, to the bit, in the stored dtype and normalised; masks of another dtype move along."""
    size, pad = (8, 10, 9), 3
    arrays = {"scan": volumes(stored, dtype), "organ": np.random.default_rng(1).integers(0, 9, (len(RECORDS), *SHAPE)).astype("u2")}
    chain = (ops.RandomCrop(size, padding=(pad,) * 3, padding_mode=mode, fill=5), ops.RandomFlip(axes="DHW"))
    plain = Augment("scan", *chain, stored=stored, masks="organ", mask_fill=77)
    floats = Augment("scan", *chain, ops.Normalize(0.5, 0.25), stored=stored, layout="CDHW", scale=False)
    (plan,) = augmentation_of(plain, schema_of(arrays)).plans
    found = {compiled: augmented(plain, arrays, compiled=compiled) for compiled in (True, False)}
    normal = {compiled: augmented(floats, arrays, compiled=compiled) for compiled in (True, False)}
    for name in arrays:
        np.testing.assert_array_equal(found[True][name], found[False][name])
    np.testing.assert_array_equal(normal[True]["scan"], normal[False]["scan"])
    for row, record in enumerate(RECORDS.tolist()):
        wanted = expected(plan, channels_first(arrays["scan"][row], stored), record, pad=pad, mode=mode, fill=5, size=size)
        np.testing.assert_array_equal(channels_first(found[True]["scan"][row], stored), wanted)
        scaled = wanted.astype(np.float32) * np.float32(1 / 0.25) + np.float32(-0.5 / 0.25)
        np.testing.assert_array_equal(normal[True]["scan"][row], scaled)
        mask = expected(plan, arrays["organ"][row][None], record, pad=pad, mode=mode, fill=77, size=size)
        np.testing.assert_array_equal(found[True]["organ"][row], mask[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_dtype_and_layout_comes_out(dtype: str) -> None:
    """Of one to many channels, compiled as plain; whole numbers are divided by the largest of their dtype."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    for stored in STORED:
        arrays = {"scan": volumes(stored, "uint8")}
        for layout in ("DHW",) if stored == "DHW" else ("CDHW", "DHWC"):
            augment = Augment("scan", ops.CenterCrop((6, 20, 4)), stored=stored, layout=layout, dtype=dtype)
            ours, plain = (augmented(augment, arrays, compiled=compiled)["scan"] for compiled in (True, False))
            assert ours.dtype.name == dtype
            np.testing.assert_array_equal(ours.view(f"u{ours.dtype.itemsize}"), plain.view(f"u{ours.dtype.itemsize}"))
            centre = np.pad(channels_first(arrays["scan"][2], stored)[:, 2:8, :, 2:6], [(0, 0), (0, 0), (3, 3), (0, 0)])
            np.testing.assert_allclose(channels_first(ours[2].astype("f8"), layout), centre / 255, rtol=4e-3)


def test_pad_and_flips_by_name() -> None:
    arrays = {"scan": volumes("DHW", "int16")}
    augment = Augment(
        "scan",
        ops.Pad((1, 2, 3, 4, 5, 6), fill=-9),
        ops.RandomVerticalFlip(p=1),
        ops.RandomFlip(p=1, axes="D"),
        stored="DHW",
    )
    wanted = np.pad(arrays["scan"], [(0, 0), (3, 6), (2, 5), (1, 4)], constant_values=-9)[:, ::-1, ::-1]
    np.testing.assert_array_equal(augmented(augment, arrays)["scan"], wanted)


def test_a_loader_delivers_them(tmp_path: Path) -> None:
    """The same at 0 and 2 workers, two views of each, and its schema says so."""
    scans = volumes("CDHW", "float32")
    with h5py.File(tmp_path / "scans.h5", "w") as file:
        file["scan"] = scans
        file["organ"] = np.zeros((len(scans), *SHAPE), "u1")
    augment = sl.Augment("scan", sl.RandomCrop((8, 8, 8)), sl.RandomFlip(axes="DHW"), masks="organ", views=2)
    found = []
    for workers in (0, 2):
        options: Any = {"batch_size": 3, "num_workers": workers, "augment": augment}
        with sl.open(tmp_path / "scans.h5") as data, sl.Loader(data, **options) as loader:
            assert str(loader.schema) == "scan float32 (2, 4, 8, 8, 8) · organ uint8 (2, 8, 8, 8)"
            found.append([batch["scan"].tolist() for batch in loader])
            assert "front" in str(loader.explain(0, 1))
    assert found[0] == found[1]
    assert found[0][0][0][0] != found[0][0][0][1]


@pytest.mark.parametrize(
    ("augment", "says"),
    [
        (Augment("scan", ops.RandomCrop(8), stored="DHW"), r"RandomCrop\(size=\(8, 8\)\) is not for a volume"),
        (
            Augment("scan", ops.RandomCrop((99, 8, 8)), stored="DHW"),
            r"RandomCrop\(size=\(99, 8, 8\)\) is larger than the volume, which has 11",
        ),
        (Augment("scan", ops.CenterCrop((4, 4, 4)), ops.Pad((1, 1, 1)), stored="DHW"), "A volume is padded once, before it is cut"),
        (Augment("scan", ops.Pad(1), stored="DHW"), r"Pad\(padding=\(1, 1, 1, 1\)\) is not for a volume"),
        (Augment("scan", ops.Resize((4, 4)), stored="DHW"), "Resize is for images, and field 'scan' holds volumes"),
        (Augment("scan", ops.ColorJitter(0.4), stored="DHW"), "ColorJitter is for images"),
        (Augment("scan", stored="DHW", layout="CHW"), "layout='CHW' is not for a volume"),
        (Augment("photo", ops.CenterCrop((4, 4, 4))), r"CenterCrop\(size=\(4, 4, 4\)\) is not for an image"),
        (Augment("photo", layout="DHW"), "layout='DHW' is not for an image"),
        (Augment("many", layout="DHW"), 'layout="DHW" has no room for 4 channels'),
        (Augment("scan", stored="DHW", masks="flat"), r"field 'flat' is \(14, 9\) and 'scan' is \(11, 14, 9\)"),
        (Augment("scan", stored="DHW", keypoints="points"), "boxes and key points do not move with volumes"),
        (Augment("cube"), r"which of its axes are height, width and channels is not plain"),
    ],
)
def test_what_cannot_be_is_said(augment: Augment, says: str) -> None:
    """By operation or field, when the loader is made."""
    arrays = {"scan": volumes("DHW", "uint8"), "many": volumes("CDHW", "uint8"), "photo": np.zeros((8, 20, 20, 3), np.uint8)}
    arrays |= {"flat": np.zeros((8, 14, 9), np.uint8), "points": np.zeros((8, 5, 2)), "cube": np.zeros((8, 9, 9, 9), np.uint8)}
    with pytest.raises(ConfigError, match=says) as caught:
        augmentation_of(augment, schema_of(arrays))
    assert caught.value.hint
