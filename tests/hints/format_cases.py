"""What is wrong with tables, arrays, archives, folders and stores, and what their hints say to do."""

from __future__ import annotations

import datetime as dt
import glob
import os
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples.lmdb import database
from examples.zarr import write as write_store
from following import OUT, Case, case, command
from foreign_files import framed, noise, png, tar_of, tf_example
from hdf5_cases import opened, written

import streamload as sl
from streamload.formats.arrow import planning
from streamload.formats.parquet import row_groups

Y = np.arange(9)


def table(name: str, columns: Mapping[str, Any], *, rows: int = 9, **options: Any) -> str:
    """A file of Parquet, or of Arrow by its ending."""
    made = pa.table(dict(columns))
    if name.endswith(".parquet"):
        pq.write_table(made, name, **options)
        return name
    with pa.OSFile(name, "wb") as file, pa.ipc.new_file(file, made.schema, **options) as writer:
        writer.write_table(made, max_chunksize=rows)
    return name


def read(path: object) -> Callable[..., object]:
    """A call that opens, and reads all."""

    def call(**options: Any) -> None:
        with sl.open(path, **options) as source:
            source[:]

    return call


def under(target: object, name: str, value: object, call: Callable[..., object]) -> Callable[..., object]:
    """A call where a limit of the code is another."""

    def limited(**options: Any) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target, name, value)
            return call(**options)

    return limited


def cases(here: Path) -> Iterator[Case]:
    """All, one after another."""
    yield from of_tables()
    yield from of_lists_and_limits()
    yield from of_paths()
    yield from of_arrays()
    yield from of_archives()
    yield from of_folders(here)
    yield from of_stores(here)


def of_tables() -> Iterator[Case]:
    """Columns of tables."""
    other, out = ("fields=[...]", {"fields": ["y"]}), ("shapes={...}", {"shapes": OUT})
    lists = pa.array([[1.0] * 12] * 9, pa.list_(pa.float32(), 12))
    text = [f"t{at}" for at in range(9)]
    path = opened(table("a.parquet", {"x": lists, "y": Y, "t": text}))
    yield case(path, {"fields": ["zebra"]}, other)
    yield case(path, {"fields": ["y", "y"]}, ("fields={name: column}", {"fields": {"p": "y", "q": "y"}}))
    yield case(path, {"shapes": [3]}, ('shapes={"image": (32, 32, 3)}', {"shapes": {"x": (3, 4)}}))
    yield case(path, {"shapes": {"x": "far"}}, ("shapes={'x': (32, 32, 3)}", {"shapes": {"x": (3, 4)}}))
    yield case(path, {"shapes": {"x": (5,)}}, "shapes={'x': (12,)}")
    yield case(path, {"shapes": {"t": (3,)}}, out)
    yield case(path, {"shapes": {"y": (None,)}}, ("shapes={...}", {"shapes": {"y": ()}}), ("leave the column out of it", {"shapes": OUT}))
    yield case(path, {"fill": {"t": 5}}, "fill={'t': \"\"}")
    yield case(path, {"fill": b"?"}, "fill={'x': 0}", ("leave it out", {"fill": OUT}))
    odd = pa.array([[{"a": 1}]] * 9)
    path = opened(table("b.parquet", {"u": odd, "y": Y}))
    yield case(path, {"fields": ["u"]}, other)
    pair = [table("c.parquet", {"x": Y, "y": Y}), table("d.parquet", {"x": Y.astype("f4"), "y": Y})]
    yield case(opened(pair), {}, other)
    for name in ("e0.parquet", "e1.parquet"):
        table(name, {"t": text, "y": Y})
    yield case(opened("e?.parquet"), {"record_axis": None}, other, ("leave record_axis out", {"record_axis": OUT}))


def of_lists_and_limits() -> Iterator[Case]:
    """Lists that differ in length, batches and pages that are too large."""
    other = ("fields=[...]", {"fields": ["y"]})
    uneven = {"x": [[1, 2, 3]] * 8 + [[1, 2]], "y": Y}
    yield case(read(table("f.parquet", uneven)), {"shapes": {"x": (3,)}}, "shapes={'x': (None,)}", other)
    nested = {"x": [[[1, 2], [3, 4]]] * 8 + [[[1, 2, 3], [4]]], "y": Y}
    yield case(read(table("g0.arrow", nested)), {"shapes": {"x": (2, 2)}}, other)
    words = pa.ListArray.from_arrays(list(range(10)), pa.array([7, 8, 7, 8, 7, 8, 7, 8, 7]).dictionary_encode())
    yield case(opened(table("g1.arrow", {"x": words, "y": Y})), {}, "fields=['y']")
    nested = {"x": [[[1, 2], [3, 4]]] * 8 + [[[1, 2], [3]]], "y": Y}
    yield case(read(table("g.parquet", nested)), {"shapes": {"x": (None, 2)}}, "fields=['y']")
    packed = pa.ipc.IpcWriteOptions(compression="zstd")
    call = under(planning, "LARGEST_BATCH_NBYTES", 50, opened(table("h.arrow", {"y": Y}, options=packed)))
    yield case(call, {}, ("max_chunksize=", lambda: (table("h.arrow", {"y": Y}, rows=3, options=packed), call().close())))
    pq.write_table(pa.table({"x": [bytes(1 << 20)] * 3, "y": [1, 2, 3]}), "i.parquet", use_dictionary=False, compression="zstd")
    large = under(row_groups, "LARGE_PAGE_NBYTES", 1 << 20, under(row_groups, "available_nbytes", lambda: 5 << 20, read("i.parquet")))
    yield case(large, {}, other)
    late = pa.array([dt.datetime(9999, 12, 31)] * 9, pa.timestamp("us"))
    pq.write_table(pa.table({"x": late, "y": Y}), "j.parquet", use_deprecated_int96_timestamps=True)
    yield case(read("j.parquet"), {}, other)
    unclear = opened(written("k.h5", x=np.ones((9, 4), "f4"), y=Y, more=lambda file: file["x"].attrs.create("scale_factor", [1.0, 2.0])))
    yield case(unclear, {"scaled": True}, ("Leave scaled= out", {"scaled": OUT}), other)


def of_paths() -> Iterator[Case]:
    """What is given in place of a path, and patterns."""
    np.save("image.npy", np.ones((9, 4, 4)))
    np.savez("two.npz", image=np.ones((9, 4, 4)), x=Y)
    yield case(opened("two.npz"), {"fields": [3]}, 'fields=["image"]', 'fields={"x": "image"}')
    saved = lambda: (np.save("x.npy", np.ones((9, 4))), sl.open("x.npy").close())  # noqa: E731
    yield case(sl.open, {"path": np.ones((9, 4))}, ('np.save("x.npy", array)', saved))
    yield case(sl.open, {"path": b"image.npy"}, ("os.fsdecode(path)", {"path": os.fsdecode(b"image.npy")}))
    joined = {"x": "x.npy", "y": "image.npy"}
    np.savez("x.npz", x=Y)
    np.save("y.npy", Y)
    inside = 'sl.open({"x": sl.open("x.npz", fields=["x"]), "y": "y.npy"})'
    given = (inside, lambda: eval(inside, {"sl": sl}).close())
    yield case(sl.open, {"path": joined, "fields": ["x"]}, ("Leave fields= and", {"fields": OUT}), given)
    choose = "{'x': sl.open(..., fields=['image'])}"
    chosen = {"path": {"x": sl.open("two.npz", fields=["image"]), "y": "y.npy"}}
    yield case(sl.open, {"path": {"x": "two.npz", "y": "y.npy"}}, (choose, chosen))
    np.save("x[1]y.npy", Y)
    wrong = {"path": "x[[1]]y*.npy"}
    yield case(sl.open, wrong, ("glob.escape(path)", {"path": glob.escape("x[1]y") + "*.npy"}))


def of_arrays() -> Iterator[Case]:
    """npy and npz."""
    objects = np.array([np.ones(3), np.ones(3)], object)
    np.save("objects.npy", np.array([{}, {}]), allow_pickle=True)
    del objects

    def stacked() -> None:
        loaded = np.load("objects.npy", allow_pickle=True)
        path, objects = "plain.npy", [np.ones(3) for _ in loaded]
        eval("np.save(path, np.stack(list(objects)))", {"np": np, "path": path, "objects": objects})
        sl.open(path).close()

    yield case(opened("objects.npy"), {}, ("np.save(path, np.stack(list(objects)))", stacked))
    np.savez("odd.npz", x=Y, odd=np.zeros(9, [("a", [("b", "i4")])]), one=3.0)
    yield case(opened("odd.npz"), {"fields": ["one"]}, ("fields=['x', 'odd']", {"fields": ["x"]}))
    np.savez("lengths.npz", x=Y, y=np.arange(4))
    yield case(opened("lengths.npz"), {}, "fields=['x']", "fields=['y']")
    for at in range(2):
        np.save(f"photo_{at}.npy", np.zeros((9, 12, 3), np.uint8))
    yield case(opened("photo_?.npy"), {}, "record_axis=None", "fields=['photo']")
    np.save("set_x.npy", np.zeros((9, 12)))
    np.save("set_y.npy", Y)
    joined = "sl.open({'set_x': 'set_x.npy', 'set_y': 'set_y.npy'})"
    yield case(opened("set_?.npy"), {}, (joined, partial(_closed, joined)))


def of_archives() -> Iterator[Case]:
    """Tars and TFRecords."""
    bad = [(f"{at}.{end}", data) for at in range(3) for end, data in (("json", b"{" if at == 1 else b'{"a": 1}'), ("png", png(noise())))]
    Path("bad.tar").write_bytes(tar_of(bad))

    def skipped(path: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a record is left out
            loader = sl.Loader(sl.open(path), batch_size=2, num_workers=0, memory="256 MB", on_bad_record="skip")
        with loader:
            assert sum(len(batch.records) for batch in loader) == 2

    yield case(
        opened("bad.tar"), {"fill": {"a": 0}}, ("fill=", {"fill": OUT}), ('Loader(..., on_bad_record="skip")', partial(skipped, "bad.tar"))
    )
    sound = [(f"{at}.{end}", data) for at in range(3) for end, data in (("flac", bytes(20_000)), ("cls", b"1"))]
    Path("sound.tar").write_bytes(tar_of(sound))
    yield case(opened("sound.tar"), {}, "fields=['label']")
    good = [framed(tf_example({"x": [at]})) for at in range(3)]
    large = framed(tf_example({"x": list(range(500))}))
    whole = b"".join(good)
    at = len(good[0])
    for number, data in enumerate((good[0] + large[:20], whole[:-4], whole + b"\x01\x02", flipped(whole, at + 1), flipped(whole, at + 14))):
        path = f"damaged{number}.tfrecord"
        Path(path).write_bytes(data)
        words = f"streamload convert {path} train.h5 --on-bad skip"
        yield case(read(path), {}, (words, lambda words=words: command(*words.split()[1:])(more="--dry-run")))
    held = {
        f"{kind}-{at}".encode(): data for at in range(3) for kind, data in (("image", png(noise())), ("text", b"\xff" if at == 1 else b"a"))
    }
    database(Path("bad.mdb"), held)
    yield case(
        opened("bad.mdb"),
        {"fill": {"text": "?"}},
        ("fill=", {"fill": OUT}),
        ('Loader(..., on_bad_record="skip")', partial(skipped, "bad.mdb")),
    )
    Path("pixels.tfrecord").write_bytes(b"".join(framed(tf_example({"x": [bytes([200, at, 0, 0])]})) for at in range(3)))
    yield case(opened("pixels.tfrecord"), {"shapes": {"x": (5,)}}, ("shapes={...}", {"shapes": OUT}))


def flipped(data: bytes, at: int) -> bytes:
    """The same with a byte changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def idx(images: np.ndarray) -> bytes:
    """As MNIST has them."""
    return struct.pack(">IIII", 0x803, *images.shape) + images.tobytes()


def _closed(call: str) -> None:
    """Make a call that opens, and close what it gives."""
    eval(call, {"sl": sl}).close()


def _moved(root: str, *folders: str) -> None:
    """Move folders in a root, kind/split, to split/kind, and open the split train."""
    for kind, split in (folder.split("/") for folder in folders):
        os.renames(f"{root}/{kind}/{split}", f"{root}/{split}/{kind}")
    sl.open(root, split="train").close()


def of_folders(here: Path) -> Iterator[Case]:
    """Folders of files, of images, of parts of a set, and of partitions."""
    names = "parts/train-0 parts/test-0 plain/a mixed/k=1/a mixed/b null/k=__HIVE_DEFAULT_PARTITION__/a"
    for name in [f"{one}.npy" for one in names.split()]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        np.save(name, Y)
    yield case(opened("parts"), {}, "split='train'")
    yield case(opened("parts"), {"split": ["train"]}, 'split="train"')
    yield case(opened("plain"), {"split": "train"}, ("leave split= out", {"split": OUT}))
    yield case(opened("mixed"), {}, ("key=value", lambda: (os.renames("mixed/b.npy", "mixed/k=2/b.npy"), sl.open("mixed").close())))
    yield case(opened("null"), {"fields": ["k", "a"]}, ("fields=[...]", {"fields": ["a"]}))
    for name in ("mnist/train-images-idx3-ubyte", "mnist/t10k-images-idx3-ubyte", "other/images-idx3-ubyte"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(idx(noise((4, 6, 5))))
    yield case(opened("mnist"), {}, "split='test'")
    yield case(opened("other"), {"split": "train"}, ("Leave split= out", {"split": OUT}))
    yield case(opened("other/images-idx3-ubyte"), {"split": "train"}, ("Leave split= out", {"split": OUT}))
    for name in ("photos/train/a/1.png", "photos/test/a/2.png", "flat/a/1.png", "flat/b/2.png", "beside/a/1.png", "beside/2.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(png(noise()))
    yield case(opened("photos"), {}, 'split="train"')
    yield case(opened("flat"), {"split": "train"}, ("leave split= out", {"split": OUT}))
    Path("labels.csv").write_text("file,label\na/1.png,0\n2.png,1\n")
    yield case(opened("beside"), {}, ("labels=FILE.csv", {"labels": "labels.csv"}))
    colours = noise()
    for name, pixels in (("named/a", colours), ("named/masks", colours[..., 0] * 0), ("told/a", colours), ("told/b", colours[..., 0] * 0)):
        Path(name).mkdir(parents=True)
        Path(f"{name}/1.png").write_bytes(png(pixels))
    Path("table.csv").write_text("file,label\na/1.png,0\nmasks/1.png,1\n")
    yield case(opened("named"), {}, 'labels="table.csv"')
    yield case(opened("told"), {}, 'fields=["image", "label"]')
    for name in ("city/left/train/1.png", "city/left/val/2.png", "dtd/images/dots/1.png", "dtd/images/lines/2.png", "dtd/texts/1.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(png(noise()))
    for name, inner in (("city", "sl.open('city/left/train')"), ("dtd", "sl.open('dtd/images')")):
        yield case(opened(name), {}, (inner, partial(_closed, inner)))
    for name, pixels in (("ade/images/train/1", colours), ("ade/masks/train/1", colours[..., 0] * 0)):
        Path(name).parent.mkdir(parents=True)
        Path(f"{name}.png").write_bytes(png(pixels))
    yield case(opened("ade"), {}, ("split= then chooses one", lambda: _moved("ade", "images/train", "masks/train")))
    for name, pixels in (("car/train/1", colours), ("car/val/2", colours), ("car/train_masks/1", colours[..., 0] * 0)):
        Path(name).parent.mkdir(parents=True)
        Path(f"{name}.png").write_bytes(png(pixels))
    yield case(opened("car"), {"split": "train"}, (inner := "sl.open('car/train')", partial(_closed, inner)))
    for name in ("rooms/in/train/1.png", "rooms/in/val/2.png", "rooms/out/train/3.png", "rooms/out/val/4.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(png(noise()))
    inner = "sl.open('rooms/in/train')"
    moved = ('split="train" then chooses one', lambda: _moved("rooms", "in/train", "out/train", "in/val", "out/val"))
    yield case(opened("rooms"), {}, (inner, partial(_closed, inner)), moved)
    for name in ("sets/mnist/1.png", "sets/mnist/2.png", "sets/dots/3.png", "pairs/a/images/1.png", "pairs/a/masks/1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(png(noise()))
    np.savez("sets/mnist/train.npz", x=Y)
    for name, inner in (("sets", "sl.open('sets/mnist/train.npz')"), ("pairs", "sl.open('pairs/a')")):
        yield case(opened(name), {}, (inner, partial(_closed, inner)), 'fields=["image", "label"]')
    Path("some").mkdir()
    for at in range(2):
        Path(f"some/{at}.png").write_bytes(png(noise(seed=at)))
    yield case(opened("some/*.png"), {}, ("streamload info some", command("info", "some")), ("Give the folder", sl.open("some").close))
    yield case(opened(str(here / "flat" / "a" / "1.png")), {}, ("streamload info", command("info", str(here / "flat" / "a"))))


def of_stores(here: Path) -> Iterator[Case]:
    """Zarr."""

    def store(name: str, **arrays: Any) -> str:
        write_store(here / name, arrays, version=2)
        return name

    yield case(opened(store("twice.zarr", x=Y, y=Y)), {"fields": ["x", "x"]}, ("fields={name: column}", {"fields": {"p": "x", "q": "x"}}))
    yield case(opened(store("pair.zarr", images=np.ones((60, 3)), labels=np.arange(50))), {}, "fields=['images']")
    store("empty.zarr", x=np.ones((9, 4), "f4"))
    for chunk in (here / "empty.zarr" / "x").glob("[0-9]*"):
        chunk.unlink()
    yield case(opened("empty.zarr"), {}, "fields=['x']")
    for split in ("train", "test"):
        store(f"splits/{split}.zarr", x=Y)
    yield case(opened("splits"), {}, ("split='train'", {"split": "train"}))
    store("objects.zarr", y=Y)
    told = (here / "objects.zarr" / "y" / ".zarray").read_text()
    (here / "objects.zarr" / "o").mkdir()
    (here / "objects.zarr" / "o" / ".zarray").write_text(told.replace('"filters": null', '"filters": [{"id": "pickle"}]'))
    yield case(opened("objects.zarr"), {"fields": ["o"]}, ("fields=[...]", {"fields": ["y"]}))
