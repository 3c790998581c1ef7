"""Arguments of `convert` of which one leaves another nothing to do: each is refused in words that name both, or done."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import arrays, hdf5_file, image_folder, in_this_thread, names_in, said

import streamload as sl
from streamload.tools.convert import executors

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (6, 8, 10), dtype=np.uint8)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the folder, and in this process."""
    monkeypatch.setattr(executors, "ProcessExecutor", in_this_thread)
    monkeypatch.chdir(tmp_path)


def folder_of_images() -> None:
    """Called s, with a table t.csv beside it."""
    image_folder(Path("s"), {"a": 3, "b": 3})
    Path("t.csv").write_text("file,grade\n" + "".join(f"{name}/{number:03d}.png,{number}\n" for name in "ab" for number in range(3)))


def arrays_of_images() -> None:
    """Called s: colours, and numbers of classes."""
    hdf5_file(Path("s"), {**arrays(6), "mask": GREY})


def arrays_of_grey() -> None:
    """Called s: images of one channel."""
    np.savez("s", image=GREY, id=np.arange(6))
    Path("s.npz").rename("s")


def masks_alone() -> None:
    """Called s."""
    np.savez("s", mask=GREY, id=np.arange(6))
    Path("s.npz").rename("s")


def numbers() -> None:
    """Called s: no images, and small records."""
    with h5py.File("s", "w") as file:
        file["x"] = RNG.normal(size=(6, 4))
        file["name"] = [f"n{number}" for number in range(6)]


def images_in_a_table() -> None:
    """Called s."""
    pq.write_table(pa.table({"image": [imagecodecs.png_encode(one) for one in GREY], "label": np.arange(6)}), "s")


def images_in_a_tar() -> None:
    """Called s, masks beside them."""
    with tarfile.open("s", "w") as archive:
        for number, image in enumerate(GREY):
            for ending, data in (("png", image), ("mask.png", image % 5), ("cls", number)):
                packed = str(data).encode() if ending == "cls" else imagecodecs.png_encode(data)
                member = tarfile.TarInfo(f"{number}.{ending}")
                member.size = len(packed)
                archive.addfile(member, io.BytesIO(packed))


ARRAYS = "those of s are arrays, and stay as they are. Leave it out, or give --size."
MASKS = "all images here are masks ('mask'), {}, and keep their numbers."
NONE = "HDF5 files have chunks of fields of 64 bytes a record or more, of one length each, and s has none (x float64 (4,)"


@pytest.mark.parametrize(
    ("make", "words", "told"),
    [
        (
            folder_of_images,
            "--labels t.csv --option labels=u.csv",
            "--labels t.csv and --option labels=u.csv both say where labels are from. Leave one of them out.",
        ),
        (
            folder_of_images,
            "--store keep --masks image",
            "--store keep leaves images as they are, and --masks says which are never mixed. Leave one of them out.",
        ),
        (
            folder_of_images,
            "--store keep --mode rgb",
            "--store keep leaves images as they are, and --mode rgb would change them. Leave one of them out.",
        ),
        (folder_of_images, "--masks label --size 8x8", "--masks names 'label', which holds no images (label int64 ()). Leave it out."),
        (folder_of_images, "--masks depth --size 8x8", "--masks names 'depth', which is no field. The fields are image, label."),
        (images_in_a_tar, "--masks none --store keep", "--masks says which are never mixed. Leave one of them out."),
        (arrays_of_images, "--masks mask", f"--masks says which images are never mixed, and nothing mixes any: {ARRAYS}"),
        (arrays_of_images, "--masks none --store png", f"--masks says which images are never mixed, and nothing mixes any: {ARRAYS}"),
        (numbers, "--mode grey", "--mode grey is for images of 8 or 16 bits, and s has none (x float64 (4,) · name text (ragged))."),
        (numbers, "--mode rgb", "--mode rgb is for images of 8 or 16 bits, and s has none (x float64 (4,) · name text (ragged))."),
        (numbers, "--masks none", f"nothing mixes any: {ARRAYS}"),
        (
            arrays_of_grey,
            "--mode rgb",
            "--mode rgb gives no colours to arrays, and those of s have none (image uint8 (8, 10)",
        ),
        (
            masks_alone,
            "--mode grey",
            f"--mode grey changes colours, and {MASKS.format('by their names')} Leave it out. --masks none says that they are none.",
        ),
        (
            masks_alone,
            "--store jpeg --masks mask",
            f"--store jpeg mixes pixels, and {MASKS.format('as --masks says')} Give --store png.",
        ),
        (numbers, "--codec gzip --to hdf5", f"--codec gzip has no effect: {NONE}"),
        (numbers, "--chunk-records 2 --to hdf5", f"--chunk-records has no effect: {NONE}"),
        (
            numbers,
            "--workers 2 --engine dask://127.0.0.1:1",
            "--workers 2 counts processes of this machine, and --engine has a cluster do the work. Leave one of them out: the cluster",
        ),
        (numbers, "--merge --engine dask://127.0.0.1:1", "--merge leaves --engine nothing to do: no file is written. Leave --engine out."),
        (numbers, "--dry-run --engine dask://x:1", "--dry-run leaves --engine nothing to do: no file is written. Leave --engine out."),
        (
            numbers,
            "--dry-run --merge",
            "--dry-run says what would be done of all, and --merge does a part of it. Leave --merge out, or --dry-run.",
        ),
        (
            numbers,
            "--dry-run --task 1/2",
            "--dry-run says what would be done of all, and --task does a part of it. Leave --task out, or --dry-run.",
        ),
        (
            numbers,
            "--task 0/2 --list-left-out",
            "--task does a share, and what is left out is told of the whole. Give it to --merge.",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) and one.startswith("--") and len(one) < 60 else getattr(one, "__name__", ""),
)
def test_what_leaves_nothing_to_do_is_refused(make: Callable[[], None], words: str, told: str, capsys: pytest.CaptureFixture[str]):
    """Before anything is written, with what to do."""
    make()
    before = names_in(Path())
    code, text = said(capsys, "convert", "s", "out", *(() if "--to" in words else ("--to", "parquet")), *words.split())
    text = " ".join(text.split()).replace(f"{Path.cwd()}/", "")
    assert (code, told in text) == (2, True), text
    assert names_in(Path()) == before


@pytest.mark.parametrize("make", [images_in_a_table, images_in_a_tar])
def test_colours_are_given_wherever_they_are_asked_for(make: Callable[[], None], capsys: pytest.CaptureFixture[str]):
    """Grey images of a table stay grey where nothing is said, and those in files become colours; masks stay numbers."""
    make()
    code, text = said(capsys, "convert", "s", "out.parquet", "--mode", "rgb")
    assert code == 0, text
    with sl.open("out.parquet") as data:
        taken = data[:]
    assert (taken["image"] == GREY[..., None]).all()
    assert taken["image"].shape == (*GREY.shape, 3)
    assert (taken.get("mask", GREY % 5).reshape(GREY.shape) == GREY % 5).all()


@pytest.mark.parametrize("words", [["--labels", "t.csv"], ["--option", "labels=t.csv"]], ids=" ".join)
def test_labels_are_taken_however_they_are_said(words: list[str], capsys: pytest.CaptureFixture[str]):
    """As long as it is once."""
    folder_of_images()
    assert said(capsys, "convert", "s", "out.h5", *words)[0] == 0
    with sl.open("out.h5") as data:
        assert data["grade"].tolist() == [0, 1, 2, 0, 1, 2]


def test_masks_beside_jpeg_are_packed_as_usual(capsys: pytest.CaptureFixture[str]):
    """The quality is of the images: PNG has levels of its own."""
    arrays_of_images()
    for words, name in ((["jpeg:95"], "a.parquet"), (["png"], "b.parquet")):
        assert said(capsys, "convert", "s", name, "--store", *words)[0] == 0
    packed = [pq.read_table(name)["mask"].to_pylist() for name in ("a.parquet", "b.parquet")]
    assert packed[0] == packed[1]
    assert (imagecodecs.png_decode(packed[0][2]["bytes"]) == GREY[2]).all()


@pytest.mark.parametrize("make", [folder_of_images, images_in_a_tar])
def test_nothing_stands_for_what_is_not_there(make: Callable[[], None], capsys: pytest.CaptureFixture[str]):
    """`fill` that names no field is refused wherever it is one's to give, as of tables."""
    make()
    with pytest.raises(sl.errors.ConfigError, match="fill names 'lable', which s does not hold"):
        sl.open("s", fill={"lable": 0})
    code, text = said(capsys, "convert", "s", "out.h5", "--fill", "lable=0")
    assert code == 2
    assert "names 'lable', which" in text
    sl.open("s", ["label"], fill={"image": b""}).close()
