"""What is wrong with HDF5 files, and what their hints say to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from following import Case, case

import streamload as sl


def written(name: str, **held: Any) -> str:
    """A file of these datasets; slashes in names are "__", and a function is called with the file."""
    with h5py.File(name, "w", libver=("earliest", "v110")) as file:
        for key, value in held.items():
            if callable(value):
                value(file)
            else:
                file[key.replace("__", "/")] = value
    return name


def sparse(kind: str, columns: int) -> Callable[[h5py.File], None]:
    """A matrix of three rows at X."""

    def make(file: h5py.File) -> None:
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = kind, (3, columns)
        group["data"], group["indices"], group["indptr"] = np.ones(3, "f4"), np.arange(3), np.arange(4)

    return make


def opened(path: object) -> Callable[..., object]:
    """A call that opens."""
    return partial(sl.open, path)


def cases(here: Path) -> Iterator[Case]:
    """All, one after another."""
    yield from of_fields()
    yield from of_groups()
    yield from of_what_is_odd(here)


def of_fields() -> Iterator[Case]:
    """Fields that are not there, differ, or are no fields."""
    x, y = np.ones((9, 4), "f4"), np.arange(9)
    path = opened(written("a.h5", x=x, y=y, short=np.arange(5), one=3.0))
    other = ("fields=[...]", {"fields": ["y"]})
    yield case(path, {"fields": ["zebra"]}, other)
    yield case(path, {"fields": ["x", "short"]}, other)
    yield case(path, {"fields": ["one"]}, "record_axis=None")
    yield case(path, {"fields": ["x", "x"]}, ("fields={name: path}", {"fields": {"p": "x", "q": "x"}}))
    yield case(path, {"fields": ["y"], "record_axis": 1}, "record_axis={'y': 0}")
    pair = [written("b.h5", x=x, y=y), written("c.h5", x=x.astype("i4"), y=y)]
    yield case(opened(pair), {"fields": ["x"]}, other)
    csr = [written("d.h5", X=sparse("csr_matrix", 5), y=np.arange(3)), written("e.h5", X=sparse("csr_matrix", 6), y=np.arange(3))]
    yield case(opened(csr), {"fields": ["X"]}, other)
    yield case(opened(written("f.h5", X=sparse("csc_matrix", 5), y=np.arange(3))), {"fields": ["X"]}, other)
    yield case(opened(written("g.h5", x=lambda file: file.create_dataset("x", (1000, 4), "f4"))), {}, "fields=['x']")
    yield case(opened(written("h.h5", one=3.0)), {}, ("fields=[...]", {"fields": ["one"]}), leads_on=True)
    yield case(opened(written("i.h5", images=np.ones((60, 3)), labels=np.arange(50))), {}, "fields=['images']")


def of_groups() -> Iterator[Case]:
    """Patterns, and what does not go together under them."""
    held: dict[str, Any] = {f"data__{at}__x": np.ones((5, 3)) for at in range(3)}
    path = opened(written("j.h5", **held, **{f"data__{at}__y": np.arange(5 - at) for at in range(3)}, more__0__z=np.ones(3, "i2")))
    yield case(path, {"fields": {"x": "data/*/x", "group": "more/*"}}, 'fields={"x": "data/*/x", "group": "data/*"}')
    yield case(path, {"fields": {"x": "data/*/x", "y": "data/*/y"}}, ("fields=", {"fields": {"x": "data/*/x"}}))
    yield case(path, {"fields": {"x": "*/*/*"}}, ("fields=", {"fields": {"x": "data/*/x"}}))
    path = opened(written("k.h5", a__x=np.ones(4), b__x=np.ones(4)))
    yield case(path, {"fields": {"group": "*"}}, 'fields={"x": "*/x", "group": "*"}')
    path = opened(written("k2.h5", y=np.ones(4)))
    yield case(path, {"fields": ["y", "/y"]}, ("fields={name: path}", {"fields": {"p": "y", "q": "/y"}}))
    text = h5py.string_dtype()
    strings = {f"s{at}__t": np.array(["a", "bc"][: at + 1], dtype=text) for at in range(2)}
    yield case(opened(written("l.h5", **strings)), {"fields": {"t": "*/t"}, "record_axis": None}, "record_axis={'t': 0}")


def of_what_is_odd(here: Path) -> Iterator[Case]:
    """Links, storage elsewhere, types and chunks that are not read."""
    y = np.arange(9)
    other = ("fields=[...]", {"fields": ["y"]})
    references = lambda file: file.create_dataset("r", (9,), h5py.ref_dtype)  # noqa: E731
    yield case(opened(written("m.h5", r=references, y=y)), {"fields": ["r"]}, other)
    compound = lambda file: file.create_dataset("t", (9,), np.dtype([("p", "i4"), ("r", h5py.ref_dtype)]))  # noqa: E731
    yield case(opened(written("q.h5", t=compound, y=y)), {"fields": ["t.r"]}, other)
    own = Path(written("r.h5", y=y, far=h5py.ExternalLink("o.h5", "x")))
    own.write_bytes(own.read_bytes().replace(b"\x01\x08\x40\x03far", b"\x01\x08\x41\x03far"))
    yield case(opened(str(own)), {"fields": ["far"]}, other)
    away = lambda file: file.create_dataset("e", (9,), "f4", external=[("values.bin", 0, h5py.h5f.UNLIMITED)])  # noqa: E731
    yield case(opened(written("n.h5", e=away, y=y)), {"fields": ["e"]}, other)

    def weights(file: h5py.File) -> None:
        file.attrs["keras_version"] = "2"
        file["w"] = np.ones((9, 4))

    yield case(opened(written("o.h5", w=weights)), {}, ("fields=[...]", {"fields": ["w"]}))
    (here / "in").mkdir()
    shutil.copy("a.h5", here / "out.h5")
    path = written("in/p.h5", y=y, x=h5py.ExternalLink("../out.h5", "x"))
    yield case(opened(path), {"fields": ["x"]}, other, ("Open that file itself", sl.open("out.h5", ["x"]).close))
