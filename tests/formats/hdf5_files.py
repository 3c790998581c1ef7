"""HDF5 files of every layout, each with the arrays that a source over it must deliver, and how opening refuses others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamload.formats.open import open_source

Arrays = dict[str, np.ndarray]

WRITTEN = {"libver": ("earliest", "v110")}


def images(records: int = 100, shape: tuple[int, ...] = (7, 6, 3), dtype: str = "u1", seed: int = 0) -> np.ndarray:
    """Random values that fill the whole range of a small type."""
    values = np.random.default_rng(seed).integers(0, 250, (records, *shape))
    return values.astype(dtype)


def labels(records: int = 100) -> np.ndarray:
    """A number that tells each record from the others."""
    return np.arange(records, dtype=np.int64) * 3 - 7


def write(path: Path, **datasets: object) -> Arrays:
    """Write datasets: an array, or (array, keywords of create_dataset). Returns what must be delivered."""
    expected: Arrays = {}
    with h5py.File(path, "w", **WRITTEN) as file:
        for name, given in datasets.items():
            data, keywords = given if isinstance(given, tuple) else (given, {})
            file.create_dataset(name, data=data, **keywords)
            expected[name] = data
    return expected


def refused(kind: type[Exception], path: object, **options: object) -> str:
    """The text of the error that opening raises; its class must be exactly `kind`."""
    with pytest.raises(kind) as caught:
        open_source(path, **options)
    assert type(caught.value) is kind
    return str(caught.value)


def _typed(dtype: str) -> Callable[[Path], Arrays]:
    def layout(path: Path) -> Arrays:
        data = images(dtype=dtype)
        write(path, images=data, labels=labels())
        return {"images": data.astype(np.dtype(dtype).newbyteorder("=")), "labels": labels()}

    return layout


def _stored(**keywords: object) -> Callable[[Path], Arrays]:
    return lambda path: write(path, images=(images(), keywords), labels=labels())


def _labels(shape: tuple[int, ...], **keywords: object) -> Callable[[Path], Arrays]:
    def layout(path: Path) -> Arrays:
        write(path, images=images(), labels=(labels().reshape(-1, *shape), keywords))
        return {"images": images(), "labels": labels()}

    return layout


def _bool(path: Path) -> Arrays:
    return write(path, mask=images() > 120, flag=labels() % 2 == 0)


def _complex_big_endian(path: Path) -> Arrays:
    data = (images() + 1j * images(seed=1)).astype(">c16")
    write(path, field=data, label=labels())
    return {"field": data.astype("c16"), "label": labels()}


def _enum(path: Path) -> Arrays:
    kind = h5py.enum_dtype({"CAT": 0, "DOG": 1, "BIRD": 200}, basetype=">i2")
    values = (labels() % 2).astype(">i2")
    write(path, images=images(), kind=(values, {"dtype": kind}))
    return {"images": images(), "kind": values.astype("i2")}


def _compound(**keywords: object) -> Callable[[Path], Arrays]:
    def layout(path: Path) -> Arrays:
        kind = np.dtype([("image", "u1", (5, 4)), ("label", ">i4"), ("box", [("x", "f4"), ("y", "<f8")])])
        table = np.zeros(100, kind)
        table["image"], table["label"] = images(shape=(5, 4)), labels()
        table["box"]["x"], table["box"]["y"] = labels() / 2, labels() / 3
        write(path, table=(table, keywords))
        return {
            "table.image": table["image"],
            "table.box.x": table["box"]["x"],
            "table.box.y": table["box"]["y"],
            "table.label": table["label"].astype("i4"),
        }

    return layout


def _array_type(path: Path) -> Arrays:
    with h5py.File(path, "w", **WRITTEN) as file:
        space, kind = h5py.h5s.create_simple((100,)), h5py.h5t.array_create(h5py.h5t.NATIVE_FLOAT, (3, 2))
        dataset = h5py.h5d.create(file.id, b"pairs", kind, space)
        data = images(shape=(3, 2), dtype="f4")
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, data, mtype=kind)
        file["labels"] = labels()
    return {"pairs": data, "labels": labels()}


def _strings(path: Path) -> Arrays:
    names = np.array([b"n%04d" % (number % 30) for number in range(100)])
    return write(path, images=images(), name=names)


def _space_padded_strings(path: Path) -> Arrays:
    write(path, images=images())
    with h5py.File(path, "r+") as file:
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(6)
        kind.set_strpad(h5py.h5t.STR_SPACEPAD)
        dataset = h5py.h5d.create(file.id, b"name", kind, h5py.h5s.create_simple((100,)))
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([b"ab    "] * 100))
        expected = file["name"][:]
    return {"images": images(), "name": expected}


def _user_block(path: Path, nbytes: int, **keywords: object) -> Arrays:
    with h5py.File(path, "w", userblock_size=nbytes, **WRITTEN) as file:
        file.create_dataset("images", data=images(), **keywords)
        file["labels"] = labels()
    with open(path, "r+b") as file:
        file.write(b"a note in the user block")
    return {"images": images(), "labels": labels()}


def _nested(path: Path) -> Arrays:
    write(path, **{"set/train/image": images(), "set/train/label": labels()}, classes=np.arange(4.0))
    return {"image": images(), "label": labels()}


def _stereo(path: Path) -> Arrays:
    left, right = images(), images(seed=1)
    return write(path, **{"left/image": left, "right/image": right}, label=labels())


def _andrew_ng(path: Path) -> Arrays:
    write(path, train_set_x=images(), train_set_y=labels(), list_classes=np.array([b"cat", b"not cat"]))
    return {"train_set_x": images(), "train_set_y": labels()}


def _compact(path: Path) -> Arrays:
    with h5py.File(path, "w", **WRITTEN) as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        dataset = h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((100, 7, 6, 3)), plist)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, images())
        file["labels"] = labels()
    return {"images": images(), "labels": labels()}


def _sparse_chunks(path: Path) -> Arrays:
    expected = np.full((100, 7, 6, 3), 9, np.uint8)
    with h5py.File(path, "w", **WRITTEN) as file:
        dataset = file.create_dataset("images", (100, 7, 6, 3), "u1", chunks=(8, 7, 6, 3), fillvalue=9)
        dataset[16:30] = expected[16:30] = images()[16:30]
        file["labels"] = labels()
    return {"images": expected, "labels": labels()}


def _grown(path: Path) -> Arrays:
    """Chunks larger than the dataset along the axis of records, as resizable datasets have them."""
    return write(path, images=(images(5), {"chunks": (64, 7, 6, 3), "maxshape": (None, 7, 6, 3)}), labels=labels(5))


def _virtual(path: Path) -> Arrays:
    parts = [images(40, seed=1), images(60, seed=2)]
    layout = h5py.VirtualLayout((100, 7, 6, 3), "u1")
    start = 0
    for number, part in enumerate(parts):
        write(path.parent / f"part-{number}.dat", x=(part, {"chunks": (16, 7, 6, 3), "compression": "gzip"}))
        layout[start : start + len(part)] = h5py.VirtualSource(f"part-{number}.dat", "x", part.shape)
        start += len(part)
    with h5py.File(path, "w", **WRITTEN) as file:
        file.create_virtual_dataset("images", layout)
        file["labels"] = labels()
    return {"images": np.concatenate(parts), "labels": labels()}


def _linked(path: Path) -> Arrays:
    with h5py.File(path, "w", **WRITTEN) as file:
        file["hidden/images"] = images()
        file["hidden/labels"] = labels()
        file["alias"] = h5py.SoftLink("/hidden/images")
        file["hidden/root"] = file["/"]
        file["dangling"] = h5py.SoftLink("/nowhere")
        file["circle"] = h5py.SoftLink("/circle")
    return {"images": images(), "labels": labels()}


LAYOUTS: dict[str, Callable[[Path], Arrays]] = {
    "contiguous": _stored(),
    "chunks of 8 without filter": _stored(chunks=(8, 7, 6, 3)),
    "chunks of 1 without filter": _stored(chunks=(1, 7, 6, 3)),
    "chunks larger than the data": _grown,
    "chunks=True": _stored(chunks=True),
    "boxes over part of a record": _stored(chunks=(9, 4, 4, 2)),
    "gzip": _stored(chunks=(8, 7, 6, 3), compression="gzip"),
    "lzf with shuffle": _stored(chunks=(8, 7, 6, 3), compression="lzf", shuffle=True),
    "gzip with checksum": _stored(chunks=(3, 7, 6, 3), compression="gzip", fletcher32=True),
    "gzip in boxes": _stored(chunks=(9, 4, 4, 2), compression="gzip"),
    "scale-offset": _stored(chunks=(8, 7, 6, 3), scaleoffset=8),
    "chunks never written": _sparse_chunks,
    "compact": _compact,
    "virtual within the folder": _virtual,
    "user block of 512": lambda path: _user_block(path, 512),
    "user block of 8192, chunked": lambda path: _user_block(path, 8192, chunks=(8, 7, 6, 3)),
    "int16 big-endian": _typed(">i2"),
    "float64 big-endian": _typed(">f8"),
    "float16": _typed("<f2"),
    "float16 big-endian": _typed(">f2"),
    "float32": _typed("<f4"),
    "complex64": _typed("<c8"),
    "complex128 big-endian": _complex_big_endian,
    "long double": _typed(np.dtype(np.longdouble).str),
    "bool": _bool,
    "enum": _enum,
    "compound": _compound(),
    "compound in chunks": _compound(chunks=(7,)),
    "compound with gzip": _compound(chunks=(7,), compression="gzip"),
    "array type": _array_type,
    "strings": _strings,
    "strings padded with spaces": _space_padded_strings,
    "labels (N, 1)": _labels((1,)),
    "labels (N, 1, 1, 1)": _labels((1, 1, 1), chunks=(30, 1, 1, 1), compression="gzip"),
    "labels chunked unlike images": _labels((), chunks=(33,), compression="gzip", shuffle=True),
    "train_set_x": _andrew_ng,
    "nested groups": _nested,
    "one name in two groups": _stereo,
    "links inside the file": _linked,
}
"""Writers by what is special about their files."""
