"""What is wrong with augmentations and transforms, and what their hints say to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from following import OUT, Case, case
from foreign_files import noise, png
from loading_cases import loaded, of_ragged

import streamload as sl

CROP = sl.RandomCrop(4)


def cases(here: Path) -> Iterator[Case]:
    """All, one after another."""
    held = {
        "image": np.ones((40, 8, 8, 3), "u1"),
        "wide": np.ones((40, 8, 4, 3), "u1"),
        "cube": np.ones((40, 6, 6, 6), "u1"),
        "volume": np.ones((40, 5, 8, 8), "u1"),
        "plain": np.ones((40, 6, 6), "u1"),
        "deep": np.ones((40, 8, 8), "u2"),
        "label": np.arange(40) % 3,
    }
    np.savez("a.npz", **held)
    data = sl.open("a.npz")
    yield from of_fields(data)
    yield from of_geometry(data)
    yield from of_layouts(data)
    yield from of_batches(data)
    yield from of_transforms(data)
    yield from of_ragged()


def augmented(data: sl.Source, *operations: Any, field: Any = "image", **own: Any) -> Callable[..., object]:
    """A call that augments; options are those of `Augment`, or operations in place of these."""

    def call(operations: Any = operations, field: Any = field, **options: Any) -> None:
        loaded(data, run=True)(augment=sl.Augment(field, *operations, **{**own, **options}))

    return call


def of_fields(data: sl.Source) -> Iterator[Case]:
    """What is augmented."""
    yield case(augmented(data, CROP), {"field": []}, ('Augment("image", ...)', {"field": "image"}))
    augment = sl.Augment("image", CROP)
    given = ('augment=sl.Augment("image", ...)', {"augment": augment})
    mixed = [sl.Augment("image", CROP, dtype="float32"), sl.MixUp(num_classes=3)]
    yield case(loaded(data, run=True), {"augment": 3}, given, ("Augments first, then MixUp", {"augment": mixed}))
    said = augmented(data, field="cube")
    stored = [(f'stored="{layout}"', {"stored": layout}) for layout in ("HWC", "CHW")]
    yield case(said, {}, *stored)
    four = {"x": np.ones((9, 6, 6, 6, 6), "u1")}
    np.savez("four.npz", **four)
    volumes = augmented(sl.open("four.npz"), field="x")
    yield case(volumes, {}, ('stored="DHW"', {"stored": "DHWC"}), ('"CDHW"', {"stored": "CDHW"}))
    yield case(augmented(data, field="image"), {"stored": "HW"}, 'stored="HWC"')
    pq.write_table(pa.table({"image": [png(noise((4 + at % 2, 4, 3))) for at in range(9)]}), "ragged.parquet")

    def ragged(**decode: Any) -> None:
        from streamload.transforms.images import stored_image

        with sl.open("ragged.parquet", **decode) as source:
            stored_image(source.schema["image"], None)

    yield case(ragged, {}, ("decode=", {"decode": (4, 4)}))
    encoded = augmented(sl.open("ragged.parquet", decode=False), sl.Resize((4, 4)))
    yield case(encoded, {"stored": "CHW"}, ("Leave stored= out", {"stored": OUT}))


def of_geometry(data: sl.Source) -> Iterator[Case]:
    """Crops, flips and turns that do not fit."""
    large = sl.RandomCrop(20)
    ways = (
        ("padding=", {"operations": (sl.RandomCrop(20, padding=6),)}),
        ("pad_if_needed=True", {"operations": (sl.RandomCrop(20, pad_if_needed=True),)}),
        ("resize first", {"operations": (sl.Resize((24, 24)), large)}),
    )
    yield case(augmented(data, large), {}, *ways)
    volume = augmented(data, sl.RandomCrop((9, 4, 4)), field="volume", stored="DHW")
    ways = (
        ("padding=", {"operations": (sl.RandomCrop((9, 4, 4), padding=(0, 0, 2, 0, 0, 2)),)}),
        ("pad_if_needed=True", {"operations": (sl.RandomCrop((9, 4, 4), pad_if_needed=True),)}),
    )
    yield case(volume, {}, *ways)
    sizes = augmented(data, sl.RandomCrop((4, 4)), field="volume", stored="DHW")
    some = augmented(data, sl.RandomCrop((5, 4, 4), p=0.5), field="volume", stored="DHW")
    yield case(some, {}, ("Leave p= out", {"operations": (sl.RandomCrop((5, 4, 4)),)}))
    yield case(sizes, {}, ("size=(64, 64, 64)", {"operations": (sl.RandomCrop((5, 4, 4)),)}))
    yield case(augmented(data, sl.RandomCrop((4, 4, 4))), {}, ("size=(224, 224)", {"operations": (sl.RandomCrop((4, 4)),)}))
    yield case(sl.Resize, {"size": (8, 8), "max_size": 9}, "size=256", ("leave max_size out", {"max_size": OUT}))
    yield case(sl.Resize, {"size": "far"}, "size=(224, 224)")
    flip = sl.RandomFlip(axes="D")
    yield case(augmented(data, flip, field="plain"), {}, ('stored="DHW" in Augment', {"field": "volume", "stored": "DHW"}))
    six = sl.Pad((2, 2, 2, 2, 2, 2))
    pads = (sl.RandomCrop((5, 8, 8)), six, sl.RandomCrop((5, 8, 8)))
    first = ("Put Pad first", {"operations": (six, sl.RandomCrop((5, 8, 8)))})
    padded = ("padding=", {"operations": (sl.RandomCrop((5, 8, 8), padding=(1, 1, 1, 1, 1, 1)),)})
    yield case(augmented(data, *pads, field="volume", stored="DHW"), {}, first, padded)
    grey = sl.RandomChoice([sl.Grayscale(1), sl.ColorJitter(0.1)])
    yield case(augmented(data, grey), {}, ("Grayscale(3)", {"operations": (sl.RandomChoice([sl.Grayscale(3), sl.ColorJitter(0.1)]),)}))


def of_layouts(data: sl.Source) -> Iterator[Case]:
    """How images come out."""
    yield case(augmented(data), {"layout": "HW"}, *((f'"{layout}"', {"layout": layout}) for layout in ("HWC",)), 'layout="CHW"')
    yield case(augmented(data, field="volume", stored="DHW"), {"layout": "HWC"}, 'layout="DHW"')
    yield case(augmented(data, field="image"), {"layout": "DHW"}, ('layout="DHW"', {"layout": "HWC"}))
    yield case(
        augmented(data, sl.Normalize((0.5,) * 3, (0.5,) * 3)), {"dtype": "uint8"}, 'dtype="float32"', ('"float16"', {"dtype": "float16"})
    )

    np.savez("high.npz", x=np.full((9, 8, 8), 65_535, "u2"))
    high = augmented(sl.open("high.npz"), sl.Resize((4, 4)), field="x", dtype="float16", scale=False)
    yield case(high, {}, ('dtype="bfloat16" or "float32"', {"dtype": "float32"}), "scale=True")


def of_batches(data: sl.Source) -> Iterator[Case]:
    """What mixes records of a batch."""
    images = sl.Augment("image", CROP, dtype="float32")

    def mixed(operation: Any, images: sl.Augment = images) -> None:
        loaded(data, run=True)(augment=[images, operation])

    def of(kind: Any, **options: Any) -> dict[str, Any]:
        return {"operation": kind(**{"num_classes": 3, **options})}

    yield case(mixed, of(sl.MixUp, labels="zebra"), ("labels=", of(sl.MixUp, labels="label")))
    yield case(mixed, of(sl.MixUp, num_classes=None), ("num_classes=1000", of(sl.MixUp, num_classes=1000)))
    shared = partial(loaded(data, run=True), augment=[images, sl.OneHot(3), sl.MixUp(num_classes=3)])
    yield case(partial(loaded(data, run=True), augment=[images, sl.OneHot(3), sl.MixUp(num_classes=4)]), {}, ("num_classes=3", shared))
    twice = {"augment": [images, sl.Augment("image", CROP)]}
    yield case(loaded(data, run=True), twice, ("Put all of its operations into one Augment", {"augment": images}))
    yield case(mixed, of(sl.MixUp, images="zebra"), ("images=", of(sl.MixUp, images="image")))
    yield case(mixed, of(sl.CutMix, images="zebra"), ("images=", of(sl.CutMix, images="image")))
    bytes_ = {**of(sl.MixUp), "images": sl.Augment("image", CROP)}
    yield case(mixed, bytes_, ('Augment(..., dtype="float32")', {"images": images}))
    masked = sl.Augment("image", CROP, dtype="float32", masks="deep")
    own = partial(loaded(data, run=True), augment=masked, batch_transform=dict)
    mix = "mix all of them in a batch_transform= of your own"
    yield case(mixed, {**of(sl.CutMix), "images": masked}, ("Leave it out", {"images": images}), (mix, own))
    choice = sl.RandomChoice([sl.MixUp(num_classes=3), sl.CutMix(num_classes=3)])
    after = ("augment=[Augment(...), RandomChoice([...])]", lambda: mixed(choice))
    yield case(augmented(data, choice), {}, after)


def of_transforms(data: sl.Source) -> Iterator[Case]:
    """What a function of a record returns."""

    def returning(*values: Any) -> Callable[..., Any]:
        def transform(record: dict[str, Any]) -> dict[str, Any]:
            made = values[min(len(done), len(values) - 1)]
            done.append(1)
            return {"x": made}

        done: list[int] = []
        return transform

    call = loaded(data, run=True)
    first, second = np.array(["a"]), np.array(["bcd"])
    width = ("np.asarray(value, 'S16')", {"transform": returning(np.asarray([b"a"], "S16"), np.asarray([b"bcd"], "S16"))})
    yield case(call, {"transform": returning(first.astype("S"), second.astype("S"))}, width)
    ragged = ("sl.Ragged.of([array])", {"transform": returning(sl.Ragged.of([np.ones(3)]), sl.Ragged.of([np.ones(4)]))})
    yield case(call, {"transform": returning(np.ones(3), np.ones(4))}, ragged)
    wide = [np.array([b"a"]), np.array([b"bcd", b"e"])]
    yield case(call, {"transform": returning(*wide)}, width, ragged)
    several = sl.Ragged.of([np.ones(3), np.ones(4)])
    yield case(call, {"transform": returning(several)}, ragged, ("the array itself", {"transform": returning(np.ones(3))}))
