"""What is wrong with what frameworks are given, and what their hints say to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from following import Case, case
from PIL import Image

import streamload as sl


def cases(here: Path) -> Iterator[Case]:
    """All, one after another; skipped where JAX or PyTorch are not installed."""
    jax = pytest.importorskip("jax")
    torch = pytest.importorskip("torch")
    np.savez("a.npz", x=np.ones((40, 3), "f4"), z=np.ones(40, "c16"), t=np.array(["a", "b"] * 20))
    data = sl.open("a.npz", fields=["x"])
    base: dict[str, Any] = {"batch_size": 6, "num_workers": 0, "memory": "256 MB"}
    loader = sl.Loader(data, **base)
    yield case(partial(sl.for_torch), {"loader": data}, ("sl.for_torch(sl.Loader(data, batch_size=256), ...)", {"loader": loader}))
    texts = partial(sl.Loader, sl.open("a.npz"), **base)
    numbers = texts(transform=lambda record: {"x": record["x"], "t": np.float32(len(record["t"]))})
    yield case(
        lambda loader, fields=None: next(iter(sl.for_jax(loader, fields))),
        {"loader": texts()},
        ("fields=", {"fields": ("x",)}),
        ("transform=", {"loader": numbers}),
    )
    os.makedirs("photos/a")
    for number in range(3):
        Image.new("RGB", (20 + number, 18)).save(f"photos/a/{number}.png")
    photos = sl.Loader(sl.open("photos"), **base)
    sized = ("sl.open(path, decode=(224, 224))", {"loader": sl.Loader(sl.open("photos", decode=(224, 224)), **base)})
    yield case(lambda loader: next(iter(sl.for_jax(loader))), {"loader": photos}, sized)
    for asked in (True, ("image",)):
        yield case(partial(sl.for_torch, channels_first=asked), {"loader": photos}, sized)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    whole = sl.Loader(data, **base, drop_last=True)
    call = partial(sl.for_jax, sharding=sharding)
    yield case(
        call,
        {"loader": loader, "fields": ("x",)},
        ('"valid" among the fields', {"fields": ("x", "valid")}),
        ("drop_last=True", {"loader": whole}),
    )

    class Told(torch.utils.data.IterableDataset):
        """Batches, or the error that a worker process met, with its hint: PyTorch itself raises another of the same text."""

        def __iter__(self) -> Iterator[Any]:
            try:
                yield from sl.for_torch(loader)
            except sl.StreamloadError as error:
                yield error

    def worked(**options: Any) -> None:
        for one in torch.utils.data.DataLoader(Told(), **options):
            if isinstance(one, sl.StreamloadError):
                raise one

    yield case(worked, {"batch_size": None, "num_workers": 1}, ("DataLoader(..., batch_size=None, num_workers=0)", {"num_workers": 0}))
