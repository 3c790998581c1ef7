"""Images that are stored as arrays are scaled and made grey as encoded ones are; what cannot be is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file
from foreign_files import cifar, idx_files, noise, png, taken
from store_files import _end_threads, zarr_store  # noqa: F401 - a fixture

import streamload as sl
from streamload.errors import ConfigError
from streamload.tools.__main__ import main
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.images import image_in
from streamload.tools.convert.readers.open import open_records

IMAGES = arrays(5, (32, 32, 3), labels=3)


def hdf5(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Two datasets."""
    return hdf5_file(path.with_suffix(".h5"), {"image": images, "label": labels})


def zarr(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """A store of version 3."""
    return zarr_store(path, {"image": images, "label": labels})


@pytest.mark.parametrize("mode", ["rgb", "grey"])
@pytest.mark.parametrize("make", [hdf5, zarr, cifar], ids=lambda make: make.__name__)
def test_arrays_are_scaled_as_encoded_images_are(make: object, mode: str, tmp_path: Path):
    """Pixel for pixel what a PNG of the same image becomes; labels stay."""
    path = make(tmp_path / "in", IMAGES["image"], IMAGES["label"])  # type: ignore[operator]
    origin, found = taken(path, size=(12, 20), mode=mode)
    wanted = [image_in(png(image), "a.png", mode=mode, size=(12, 20)) for image in IMAGES["image"]]
    np.testing.assert_array_equal(found["image"], wanted)
    np.testing.assert_array_equal(found["label"], IMAGES["label"])
    assert origin.schema["image"].shape == ((12, 20) if mode == "grey" else (12, 20, 3))


def test_grey_images_stay_grey_and_colours_that_come_first_stay_first(tmp_path: Path):
    """IDX has one colour; an array of planes keeps its planes, a mask its classes."""
    images, labels = IMAGES["image"], IMAGES["label"]
    assert taken(idx_files(tmp_path / "in", images[..., 0], labels), size=(16, 8))[1]["image"].shape == (5, 16, 8)
    held = {"planes": images.transpose(0, 3, 1, 2), "mask": images[..., 0] // 128 * 7}
    found = taken(hdf5_file(tmp_path / "b.h5", held), size=(16, 16))[1]
    wanted = [image_in(png(image), "a.png", mode="rgb", size=(16, 16)).transpose(2, 0, 1) for image in images]
    np.testing.assert_array_equal(found["planes"], wanted)
    assert set(np.unique(found["mask"])) <= {0, 7}


def test_a_file_is_converted_at_another_size_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The command does it, chosen by labels and shuffled; `verify` reads the source at that size again."""
    path = hdf5(tmp_path / "in", IMAGES["image"], IMAGES["label"])
    words = ["--size", "8x8", "--mode", "grey", "--where", "label < 2", "--shuffle"]
    assert answer(capsys, "convert", path, tmp_path / "out.h5", *words)[1]["records"] == 4
    assert sl.open(tmp_path / "out.h5").schema["image"].shape == (8, 8)
    assert answer(capsys, "convert", path, tmp_path / "all.h5", "--size", "8x8", "--workers", 1)[0] == 0
    assert answer(capsys, "verify", tmp_path / "all.h5", "--against", path)[0] == 0


def test_what_holds_no_images_of_whole_numbers_is_refused(tmp_path: Path):
    """Nothing is silently left as it was."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((3, 8, 8), np.float32)
    for asked in (OpenRequest(path=str(tmp_path / "a.h5"), size=(4, 4)), OpenRequest(path=str(tmp_path / "a.h5"), mode="grey")):
        with pytest.raises(ConfigError, match="is for images of 8 or 16 bits") as caught:
            open_records(asked)
        assert caught.value.hint == "Leave it out, or choose other --fields."


def test_large_images_are_read_a_few_at_a_time(tmp_path: Path):
    """The size of what is read bounds how much is taken at once, not that of what is delivered."""
    path = hdf5_file(tmp_path / "a.h5", arrays(40, (1024, 1024)))
    origin = open_records(OpenRequest(path=str(path), size=(4, 4)), threads=2)
    assert origin.take(np.arange(40))["image"].shape == (40, 4, 4)
    assert origin._batch < 20  # type: ignore[attr-defined]
    origin.close()


def test_where_most_differ_nobody_is_told_to_leave_them_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Photographs have sizes of their own: only a few are named, and the bar of progress ends full."""
    (tmp_path / "in").mkdir()
    for at in range(20):
        (tmp_path / "in" / f"{at:02d}.png").write_bytes(png(noise((6 + at, 9, 3), at)))
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "o.h5")]) == 1
    said = capsys.readouterr().err
    assert "looking at sizes         [##############################] 100 % 20 records" in said
    text = " ".join(said.split())
    assert f"{tmp_path}/in/03.png and others. {tmp_path}/in/01.png is uint8 (7, 9, 3)." in text
    assert text.endswith("Give --size HEIGHTxWIDTH to make them alike, as 6x9; or --store keep to keep each as it is.")
