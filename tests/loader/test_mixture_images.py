"""Mixtures whose parts store their images differently: what is augmented is what each record holds, or is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl
from streamload.errors import ConfigError

CHAIN = sl.Augment("image", sl.Resize((8, 8)))
GREY, COLOUR, DEEP = (), (3,), "deep"


def pixels(number: int, kind: Any, size: int) -> np.ndarray:
    """An image of one level, 10 times its number."""
    level = 10 * number
    return np.full((size, size), level, np.uint16) if kind == DEEP else np.full((size, size, *kind), level, np.uint8)


def images(path: Path, first: int, kind: Any, *, count: int = 6, sizes: int = 5) -> sl.Source:
    """PNG images of so many sizes, numbered from `first`."""
    encoded = [imagecodecs.png_encode(pixels(number, kind, 12 + number % sizes)) for number in range(first, first + count)]
    pq.write_table(pa.table({"image": encoded, "number": np.arange(first, first + count)}), path)
    return sl.open(path)


def check(parts: dict[str, sl.Source], channels: int, **options: Any) -> None:
    """Two epochs of the parts mixed have the images that they say."""
    mixed = sl.mix({name: (source, 2) for name, source in parts.items()})
    with sl.Loader(mixed, **{"batch_size": mixed.batch_size, "num_workers": 0, "augment": CHAIN, **options}) as loader:
        for epoch in loader.epochs(2):
            for batch in epoch:
                assert batch["image"].shape[1:] == (8, 8, channels)
                assert (batch["image"] == 10 * batch["number"][:, None, None, None]).all()
                assert (batch["number"] // 12 == batch.source).all()


@pytest.mark.parametrize("order", [(GREY, COLOUR), (COLOUR, GREY)], ids=["grey first", "colour first"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_grey_and_colour_are_augmented_in_colour(tmp_path: Path, order: tuple[Any, Any], shuffle: bool) -> None:
    """As in one source that holds both, of any size."""
    parts = {name: images(tmp_path / name, 12 * at, kind) for at, (name, kind) in enumerate(zip("ab", order, strict=True))}
    check(parts, 3, shuffle=shuffle)
    check({"b": parts["a"]}, 3 if order[0] else 1, shuffle=shuffle)


def test_a_chain_for_colour_takes_grey_images(tmp_path: Path) -> None:
    """Which would be refused of these alone."""
    parts = {"a": images(tmp_path / "a", 0, COLOUR), "b": images(tmp_path / "b", 12, GREY)}
    chain = sl.Augment("image", sl.Resize((8, 8)), sl.Normalize([0.0] * 3, [1 / 255] * 3))
    with sl.Loader(sl.mix({name: (one, 3) for name, one in parts.items()}), batch_size=6, num_workers=0, augment=chain) as loader:
        for batch in loader:
            assert np.allclose(batch["image"].reshape(6, -1), 10 * batch["number"][:, None], atol=1e-3)


def test_images_of_eight_and_sixteen_bits_are_refused(tmp_path: Path) -> None:
    """By the field and both parts."""
    with pytest.raises(ConfigError) as refused:
        check({"a": images(tmp_path / "a", 0, GREY), "b": images(tmp_path / "b", 12, DEEP)}, 1)
    assert str(refused.value) == (
        "field 'image' is augmented, and holds images of mode L in part 'a' of the mixture, and L16 in part 'b'. "
        "Convert one of them, so that both hold numbers of one kind: how to scale them is not known here."
    )


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_encoded_images_and_arrays_are_not_augmented_together(tmp_path: Path, order: str) -> None:
    """Though both are delivered alike without augmentation."""
    held = [pixels(number, COLOUR, 12) for number in range(12, 18)]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["image"], file["number"] = np.stack(held), np.arange(12, 18)
    both = {"a": images(tmp_path / "a", 0, COLOUR, sizes=1), "b": sl.open(tmp_path / "b.h5")}
    parts = {name: both[name] for name in order}
    with pytest.raises(ConfigError) as refused:
        check(parts, 3)
    assert str(refused.value) == (
        "field 'image' is augmented, and holds encoded images in part 'a' of the mixture and arrays in part 'b'. "
        "Convert one of them, so that both are stored alike, or leave the field out of the augmentation."
    )
    with sl.Loader(sl.mix({name: (one, 3) for name, one in parts.items()}), batch_size=6, num_workers=0) as loader:
        for batch in loader:
            assert (batch["image"] == 10 * batch["number"][:, None, None, None]).all()


@pytest.mark.parametrize("argument", ["indices", "weights", "shuffle"])
def test_one_list_for_all_parts_is_refused(tmp_path: Path, argument: str) -> None:
    """As an array, as a file, or as an order: its numbers would count records of each part."""
    np.save(tmp_path / "list.npy", np.arange(6))
    a, b = images(tmp_path / "a", 0, GREY), images(tmp_path / "b", 12, GREY)
    given = [np.arange(6), str(tmp_path / "list.npy"), tmp_path / "list.npy"]
    for value in [sl.Listed(one) for one in given] if argument == "shuffle" else given:
        with pytest.raises(ConfigError) as refused:
            check({"a": a, "b": b}, 1, **{argument: value})
        assert str(refused.value) == (
            f"{argument}= is one list, and the mixture has 2 parts, whose records count by themselves. "
            f"Give it by name: {argument}={{'a': ...}}."
        )
    check({"a": a, "b": b}, 1, weights="number")
