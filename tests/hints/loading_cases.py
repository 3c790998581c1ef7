"""What is wrong with loaders, orders, states, mixtures and images on the way, and what their hints say to do."""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from following import OUT, Case, case, command
from foreign_files import framed, noise, png, tf_example
from worker_cases import of_workers

import streamload as sl

BASE = {"batch_size": 4, "num_workers": 0, "memory": "256 MB"}


def loaded(data: Any, *, run: bool = False, **base: Any) -> Callable[..., object]:
    """A call that makes a loader, and, where that is asked for, goes through an epoch."""

    def call(**options: Any) -> None:
        made = {**BASE, **base, **options}
        source = made.pop("data", data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that windows are small
            loader = sl.Loader(source, **made)
        with loader:
            for _ in loader if run else ():
                pass

    return call


def cases(here: Path) -> Iterator[Case]:
    """All, one after another."""
    np.savez("a.npz", x=np.ones((40, 3), "f4"), label=np.arange(40) % 3, odd=np.arange(40) / 3)
    data = sl.open("a.npz")
    yield from of_arguments(data)
    yield from of_ranks(data)
    yield from of_indices_and_weights(data)
    yield from of_nulls()
    yield from of_states(data)
    yield from of_mixtures(data)
    yield from of_use(data)
    yield from of_ragged()
    yield from of_images()
    yield from of_bad_records(data)
    yield from of_workers(data, loaded)


def of_arguments(data: sl.Source) -> Iterator[Case]:
    """What a loader is made with."""
    call = loaded(data)
    yield case(call, {"data": "train.h5"}, ('sl.Loader(sl.open("train.h5"), batch_size=256)', {"data": data, "batch_size": 256}))
    yield case(call, {"shuffle": sl.Exact}, "shuffle=Exact()")
    each = [("True", True), ("False", False), ("Exact()", sl.Exact()), ("Block()", sl.Block()), ("Sequential()", sl.Sequential())]
    listed = ("Listed(numbers)", {"shuffle": sl.Listed(np.arange(40))})
    yield case(call, {"shuffle": 3}, *((words, {"shuffle": value}) for words, value in each), listed)
    Path("packed.tfrecord.gz").write_bytes(gzip.compress(b"".join(framed(tf_example({"image": png(noise(seed=at))})) for at in range(9))))
    packed = sl.open("packed.tfrecord.gz")
    convert = f"streamload convert {os.path.abspath('packed.tfrecord.gz')} packed.parquet --store keep"

    def converted() -> None:
        command(*convert.split()[1:])()
        loaded(sl.open("packed.parquet"), run=True)(shuffle=True)

    yield case(loaded(packed), {"shuffle": True}, "shuffle=False", (convert, converted))
    yield case(lambda window: sl.Block(window=window), {"window": 0}, 'window="512 MB"')
    yield case(loaded(data), {"memory": "1 KB"}, ('memory="', {"memory": "20 MB"}))
    with h5py.File("blocks.h5", "w", libver=("earliest", "v110")) as file:
        file.create_dataset("x", data=np.ones((400, 64, 64, 3), "u1"), chunks=(16, 64, 64, 3), compression="gzip")
    blocks = sl.open("blocks.h5")

    def rewritten(more: str = "") -> None:
        command("convert", "blocks.h5", "small.h5", "--codec", "gzip", "--chunk-records", 1, "--overwrite")()
        loaded(sl.open("small.h5"), shuffle=sl.Block(window="100 KB"))()

    wide = {"shuffle": sl.Block(window="64 MB")}
    smaller = ("write smaller blocks with `streamload convert --chunk-records`", rewritten)
    tables = (
        ("row_group_size=", lambda: pq.write_table(pa.table({"x": [bytes(9)] * 9}), "groups.parquet", row_group_size=3)),
        ("window=", wide),
    )
    yield case(loaded(blocks), {"shuffle": sl.Block(window="1 B")}, ("shuffle=Block(", wide), ("memory= to match", wide), smaller, *tables)
    with h5py.File("large.h5", "w", libver=("earliest", "v110")) as file:
        file.create_dataset("x", (2000, 64, 64, 3), "u1", chunks=(16, 64, 64, 3), compression="gzip")[0] = 1  # the rest is never written
    narrow = {"shuffle": sl.Block(window="200 MB"), "memory": "60 MB"}
    yield case(
        loaded(sl.open("large.h5")),
        narrow,
        ("shuffle=Block(window=", {"shuffle": sl.Block(window="1 MB")}),
        ("memory=", {"memory": "900 MB"}),
    )


def of_nulls() -> Iterator[Case]:
    """Fields with nulls, asked for of all records."""
    pq.write_table(pa.table({"label": [1, None, 3] * 9}), "holes.parquet")
    for call in (
        lambda **options: sl.open("holes.parquet", **options).where("label > 1"),
        lambda **options: sl.open("holes.parquet", **options)["label"],
    ):
        yield case(call, {}, "fill={'label': 0}")
    own = type("Own", (), {"records": lambda self, epoch, start, stop: np.arange(start, stop)})()
    holes, filled = sl.open("holes.parquet"), ("fill={...}", {"data": sl.open("holes.parquet", fill={"label": 0})})
    counting = ("indices=data.complete()[1]", {"indices": holes.complete()[1]})
    yield case(loaded(holes), {"shuffle": own, "on_bad_record": "skip"}, counting, filled)


def of_ranks(data: sl.Source) -> Iterator[Case]:
    """Ranks."""
    call = loaded(data)
    yield case(call, {"distributed": "all"}, "distributed=(0, 4)")
    yield case(call, {"distributed": (True, 2)}, "distributed=(0, 4)")

    def with_variables(rank: str, size: str, made: Callable[..., object]) -> Callable[..., object]:
        def limited(**options: Any) -> object:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("RANK", rank)
                patch.setenv("WORLD_SIZE", size)
                return made(**options)

        return limited

    given = ("distributed=(rank, world_size)", {"distributed": (0, 4)})
    yield case(with_variables("5", "4", call), {"distributed": True}, given)

    def started_again(distributed: object) -> None:
        with sl.Loader(data, **BASE, distributed=distributed) as loader:
            with_variables("1", "2", lambda: next(iter(loader)))()

    yield case(started_again, {"distributed": True}, given)


def of_indices_and_weights(data: sl.Source) -> Iterator[Case]:
    """Subsets, weights and splits."""
    call = loaded(data)

    class Own:
        def records(self, epoch: int, start: int, stop: int) -> np.ndarray:
            return np.arange(start, stop)

        def __len__(self) -> int:
            return 3

    down = np.array([9, 2, 5])
    risen = ("np.sort(indices)", {"indices": np.sort(down)})
    yield case(call, {"indices": down, "shuffle": Own()}, risen, ("without indices=", {"indices": OUT}))
    ways: tuple[Any, ...] = (risen, ("shuffle=True", {"shuffle": True}))
    yield case(call, {"indices": down, "shuffle": False, "weights": "label"}, *ways, ("leave weights= out", {"weights": OUT}))
    mask = np.array([0, 1] * 20, np.uint8)
    numbers = ("indices.astype(int)", {"indices": np.unique(mask.astype(int))})
    yield case(call, {"indices": mask}, ("indices.astype(bool)", {"indices": mask.astype(bool)}), numbers)
    some = np.ma.masked_equal(np.arange(9), 5)
    filled = ("array.filled(value)", {"indices": some.filled(30)})
    yield case(call, {"indices": some}, filled, ("array.compressed()", {"indices": some.compressed()}))
    twice = np.array([1, 1, 0])
    ways = (
        ("np.unique(indices)", {"indices": np.unique(twice)}),
        ("weights=...", {"indices": OUT, "weights": np.bincount(twice, minlength=40).astype(float)}),
        ("shuffle=sl.Listed(numbers)", {"indices": OUT, "shuffle": sl.Listed(twice)}),
    )
    yield case(call, {"indices": twice}, *ways, ("indices.astype(bool)", {"indices": np.resize(twice, 40).astype(bool)}))
    yield case(call, {"indices": twice + 2}, *ways[:1], ways[1], ways[2])
    given = ("np.array([0.2, 0.8])[data['label']]", {"weights": np.linspace(0.1, 1, 40)[data["label"]]})
    yield case(call, {"weights": {0: 0.2, 1: 0.8}}, given, ("the name of a field", {"weights": "label"}))
    yield case(call, {"weights": "odd"}, ("weights=data['odd']", {"weights": data["odd"]}))
    yield case(
        call,
        {"weights": "label", "shuffle": sl.Listed(down)},
        ("Leave weights= out", {"weights": OUT}),
        ("another order", {"shuffle": True}),
    )
    long, short = " or ".join(["label == 1"] * 200), "3 <= label < 50"
    some = partial(call, indices=np.flatnonzero(data["label"] == 1))
    none = {"indices": np.arange(0), "weights": np.ones(40), "draws": 3}
    yield case(call, none, ("indices=", {"indices": np.arange(2)}))
    yield case(data.where, {"condition": long}, (f'"{short}"', {"condition": short}), ("indices=", some))
    with h5py.File("two_classes.h5", "w") as file:
        for name, words in (("left", {"cat": 0, "dog": 1}), ("right", {"dog": 0, "cat": 1})):
            file.create_dataset(name, data=np.arange(40) % 2, dtype=h5py.enum_dtype(words, "u1"))
    ordered = sl.open("two_classes.h5").where
    yield case(ordered, {"condition": "left < 'dog'"}, ('"left < 1"', {"condition": "left < 1"}))
    yield case(ordered, {"condition": "left < right"}, ('"left == right"', {"condition": "left == right"}))
    converted = command("convert", "a.npz", "fewer.npz", "--to", "npz", "--overwrite", "--shuffle", "--where")
    yield case(converted, {"more": f'"{long}"'}, (f'"{short}"', {"more": '"0 <= label < 2"'}), ("indices= of a loader", some))
    yield case(partial(sl.split, data), {}, ('{"train": 0.8, "test": 0.2}', {"parts": {"train": 0.8, "test": 0.2}}), "folds=5")


def of_states(data: sl.Source) -> Iterator[Case]:
    """Saved states."""
    with sl.Loader(data, **BASE, weights="label") as loader:
        next(iter(loader))
        weighed = loader.state_dict()

    def resumed(state: object, **options: Any) -> None:
        with sl.Loader(data, **BASE, **options) as loader:
            loader.load_state_dict(state)  # type: ignore[arg-type]

    given = ("Give what state_dict() returned", {"state": weighed, "weights": "label"})
    yield case(resumed, {"state": 3}, given)
    yield case(resumed, {"state": {}}, given)
    yield case(resumed, {"state": {name: value for name, value in weighed.items() if name != "seed"}}, given)
    yield case(resumed, {"state": weighed, "weights": np.arange(1.0, 41.0)}, ("same weights=", {"weights": "label"}))


def of_mixtures(data: sl.Source) -> Iterator[Case]:
    """Parts, and what is said of them."""
    other = sl.open("a.npz", fields=["x"])
    example = ('sl.mix({"a": (data_a, 192), "b": (data_b, 64)})', {"parts": {"a": (data, 192), "b": (data, 64)}})
    for wrong in ({}, {3: (data, 2)}, {"a": data}, {"a": ("a.npz", 2)}, {"a": (data, -1)}, {"a": (data, 0)}):
        yield case(sl.mix, {"parts": wrong}, example)
    many = {f"p{at}": (data, 1) for at in range(300)}
    yield case(
        sl.mix, {"parts": many}, ("sl.open([...])", lambda: sl.open(["a.npz", "a2.npz"] if os.path.exists("a2.npz") else ["a.npz"]).close())
    )
    fields = ("fields={...}", {"parts": {"a": (sl.open("a.npz", fields={"x": "x"}), 2), "b": (other, 2)}})
    yield case(sl.mix, {"parts": {"a": (data, 2), "b": (other, 2)}}, fields)
    label = sl.open("a.npz", fields={"x": "label"})
    yield case(sl.mix, {"parts": {"a": (other, 2), "b": (label, 2)}}, fields)
    mixture = sl.mix({"a": (data, 2), "b": (data, 2)})
    yield case(loaded(mixture), {"batch_size": 9}, "batch_size=4", ("mix()", {"data": sl.mix({"a": (data, 4), "b": (data, 5)})}))
    yield case(loaded(mixture), {"weights": {"zebra": "label"}}, ("as mix() does", {"weights": {"a": "label"}}))
    none = {"indices": {"b": np.arange(0)}, "shuffle": {"a": True, "b": True}}
    some, without = (
        ("indices=", {"indices": {"b": np.arange(3)}}),
        ("leave it out of mix()", {"data": data, "indices": OUT, "shuffle": True}),
    )
    listed = ("shuffle=", {"indices": OUT, "shuffle": {"a": True, "b": sl.Listed(np.arange(3))}})
    yield case(loaded(mixture), none, some, listed, ("on_bad_record=", some[1]), without)

    def on(method: str, data: Any = mixture) -> Callable[..., object]:
        def call(**options: Any) -> None:
            with sl.Loader(data, **BASE) as loader:
                getattr(loader, method)(**options)

        return call

    counts = {"counts": {"a": 1, "b": 3}}
    again = ("loader.set_counts({...})", partial(on("set_counts"), **counts))
    yield case(on("set_batch_size"), {"batch_size": 8}, again)
    yield case(on("set_counts"), {"counts": {"zebra": 1}}, ("as mix() does", counts))
    yield case(on("explain", data), {"epoch": 0, "record": 1, "part": "a"}, ("Leave part= out", {"part": OUT}))
    yield case(on("explain"), {"epoch": 0, "record": 1}, "part='a'", ("loader.explain(epoch, record,", {"part": "b"}))


def of_use(data: sl.Source) -> Iterator[Case]:
    """Loaders that were closed, that have no steps, or cannot be sent."""

    def stepped(**options: Any) -> None:
        with sl.Loader(data, **{**BASE, **options}) as loader:
            next(iter(loader.steps(3)))

    yield case(stepped, {"indices": np.arange(3), "drop_last": True}, ("indices=", {"indices": OUT}), ("drop_last=", {"drop_last": False}))

    def closed() -> None:
        with sl.Loader(data, **BASE) as loader:
            state = loader.state_dict()
        assert loader.state_dict() == state
        next(iter(loader))

    yield case(closed, {}, ("Make a new one; state_dict()", loaded(data, run=True)))

    class Interrupted:
        """An order that is interrupted once."""

        done = False

        def records(self, epoch: int, start: int, stop: int) -> np.ndarray:
            if not self.done:
                self.done = True
                raise KeyboardInterrupt
            return np.arange(start, stop)

        def __len__(self) -> int:
            return 40

    def interrupted(again: Callable[[sl.Loader], Any] | None = None) -> None:
        with sl.Loader(data, **BASE, shuffle=Interrupted()) as loader:
            iterator = iter(loader)
            with contextlib.suppress(KeyboardInterrupt):
                next(iterator)
            next(iterator if again is None else again(loader))

    yield case(interrupted, {}, ("loader.epochs(stop)", {"again": lambda loader: iter(next(iter(loader.epochs(2))))}))
    lock = threading.Lock()

    def locked(record: dict[str, Any]) -> dict[str, Any]:
        with lock:
            return record

    def inside(record: dict[str, Any]) -> dict[str, Any]:
        with threading.Lock():
            return record

    call = loaded(data, run=True)
    yield case(call, {"num_workers": 1, "transform": locked}, "num_workers=0", ("inside the function", {"transform": inside}))


def of_ragged() -> Iterator[Case]:
    """Collation."""
    pq.write_table(pa.table({"t": [list(range(at % 5)) for at in range(40)], "u": [[1] * (at % 4) for at in range(40)]}), "ragged.parquet")
    data = sl.open("ragged.parquet")
    call = loaded(data, run=True)
    text = ('collate=sl.PadRagged("tokens")', {"collate": sl.PadRagged("t")})
    yield case(call, {"collate": "pad"}, text, ('sl.PackRagged("tokens", 2048)', {"collate": sl.PackRagged("t", 2048)}))
    yield case(call, {"collate": sl.PadRagged("t", length=2)}, ('longer="cut"', {"collate": sl.PadRagged("t", length=2, longer="cut")}))
    other = {"collate": sl.PadRagged("t", value={"u": 1})}
    yield case(call, other, ("Name fields among those of PadRagged: t", {"collate": sl.PadRagged("t", value={"t": 1})}))
    each = [sl.PadRagged("t"), sl.PadRagged("u")]
    yield case(call, {"collate": sl.PadRagged(["t", "u"])}, ("collate=[sl.PadRagged(...), sl.PadRagged(...)]", {"collate": each}))


def of_images() -> Iterator[Case]:
    """Images that are decoded."""
    small, other = png(noise((4, 4, 3))), png(noise((12, 12, 3)))
    table = {
        "image": [small] * 80,
        "other": [small] * 79 + [other],
        "sizes": [small, other] * 40,
        "bytes": [b"none"] * 80,
        "m": [png(noise((4, 4)))] * 80,
    }
    pq.write_table(pa.table(table), "images.parquet")

    def read(**options: Any) -> None:
        with sl.open("images.parquet", **options) as source:
            source[:]

    def decoded(name: str, *, fields: str = "", **options: Any) -> Mapping[str, Any]:
        return {"fields": [fields or name], "decode": {name: sl.Decode(**options)}}

    large = (224, 224)
    by_field = 'decode={"image": sl.Decode(size=(224, 224), fit="resize")}'
    named = (by_field, {**eval(f"dict({by_field})", {"sl": sl}), "fields": ["image"]})
    yield case(read, {"decode": 3.5, "fields": ["image"]}, "decode=(224, 224)", named)
    yield case(sl.Decode, {"size": 3}, "size=(224, 224)")
    yield case(read, decoded("sizes"), ("Decode(size=(224, 224))", decoded("sizes", size=large)))
    allowed = ("max_pixels", decoded("image", max_pixels=99))
    yield case(read, decoded("image", max_pixels=9), allowed, ("Decode(size=(224, 224))", decoded("image", size=large)))
    yield case(read, decoded("image", mode="L16"), ("mode='L'", decoded("image", mode="L")))
    yield case(read, decoded("bytes"), ("decode=", {"decode": OUT}))
    ways = (
        ('size=(height, width), fit="crop"', decoded("other", size=(4, 4), fit="crop")),
        ('fit="resize"', decoded("other", size=(4, 4), fit="resize")),
    )
    yield case(read, decoded("other"), *ways)
    yield case(
        read, decoded("other", size=(4, 4), max_pixels=20), ("Decode(max_pixels=...)", decoded("other", size=(4, 4), max_pixels=999))
    )
    yield from of_augmented_images()


def of_augmented_images() -> Iterator[Case]:
    """Images that are augmented where they are decoded."""

    def augmented(*operations: Any, decode: Any = None, name: str = "image", masks: Any = (), **options: Any) -> None:
        with sl.open("images.parquet", fields=[name, *masks], decode=decode) as source:
            loaded(source, run=True, augment=sl.Augment(name, *operations, masks=masks))(**options)

    crop = sl.RandomCrop(4)
    scaled = {"decode": {"image": (8, 8)}}
    yield case(partial(augmented, crop), scaled, ("decode=", {"decode": OUT}))
    yield case(partial(augmented, crop, name="other"), {}, "decode=False")
    masked = partial(augmented, crop, masks=["m"])
    yield case(masked, {}, "decode=False", ("sl.Decode(mask=True)", {"decode": {"m": sl.Decode(mask=True)}}))


def of_bad_records(data: sl.Source) -> Iterator[Case]:
    """Records that cannot be delivered, all of them."""

    tried: list[int] = []

    def bad(record: dict[str, Any]) -> dict[str, Any]:
        tried.append(1)
        if len(tried) > 1:  # the first is what fields are told by
            raise ValueError("no")
        return record

    good = ("transform=", {"transform": OUT})

    def call(**options: Any) -> None:
        tried.clear()
        loaded(data, run=True)(**options)

    yield case(
        call, {"transform": bad, "on_bad_record": "skip"}, good, ("decode=", {"transform": OUT}), 'on_bad_record="raise"', leads_on=True
    )
    yield case(call, {"transform": bad, "on_bad_record": "substitute"}, good, 'on_bad_record="skip"', leads_on=True)
