"""In every format, by every command: what lies oddly with the data is named, the exit code says so, and no more is called verified."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import in_this_thread, said
from examples import cifar, lmdb, zarr
from examples import idx as idx_files
from foreign_files import framed, noise, png, tar_of, tf_example, write_files

import streamload as sl
from streamload.errors import SourceError
from streamload.tools.convert import executors

COMMANDS = {"info": ["--no-measure"], "convert": ["o.h5"], "dry run": ["o.h5", "--dry-run"], "verify": []}
X, Y = np.ones((9, 4)), np.arange(9)


def hdf5(here: Path) -> str:
    """A dataset of another length, a link that leads nowhere."""
    with h5py.File(here / "a.h5", "w", libver=("earliest", "v110")) as file:
        file["x"], file["y"], file["odd"] = X, Y, np.arange(3)
    return "a.h5"


def links(here: Path) -> str:
    """A link that leads nowhere."""
    with h5py.File(here / "a.h5", "w", libver=("earliest", "v110")) as file:
        file["x"], file["odd"] = X, h5py.SoftLink("/nowhere")
    return "a.h5"


def parquet(here: Path) -> str:
    """A column that no array holds."""
    pq.write_table(pa.table({"x": Y, "odd": pa.array([[{"a": 1}]] * 9)}), here / "a.parquet")
    return "a.parquet"


def arrow(here: Path) -> str:
    """A column of nothing but nulls."""
    table = pa.table({"x": Y, "odd": pa.nulls(9)})
    with pa.OSFile(str(here / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return "a.arrow"


def npz(here: Path) -> str:
    """A member that is pickled."""
    np.savez(here / "a.npz", x=X, odd=np.array([{}] * 9))
    return "a.npz"


def npz_of_others(here: Path) -> str:
    """A member that is no array."""
    np.savez(here / "a.npz", x=X)
    with zipfile.ZipFile(here / "a.npz", "a") as archive:
        archive.writestr("odd.bin", b"xx")
    return "a.npz"


def tar_with_a_link(here: Path) -> str:
    """A member that leads elsewhere."""
    data = io.BytesIO(tar_of([(f"{at}.png", png(noise(seed=at))) for at in range(3)]))
    with tarfile.open(fileobj=data, mode="a") as archive:
        head = tarfile.TarInfo("odd.png")
        head.type, head.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(head)
    (here / "a.tar").write_bytes(data.getvalue())
    return "a.tar"


def tar_of_others(here: Path) -> str:
    """Members of a kind that is not read."""
    (here / "a.tar").write_bytes(tar_of([(f"{at}.{end}", png(noise(seed=at))) for at in range(3) for end in ("odd", "png")]))
    return "a.tar"


def database(here: Path) -> str:
    """A key that is of no record."""
    lmdb.database(here / "a.lmdb", {b"image-%09d" % at: png(noise(seed=at)) for at in range(3)} | {b"odd": b"x"})
    return "a.lmdb"


def store(here: Path) -> str:
    """An array of another length."""
    zarr.write(here / "a.zarr", {"x": X, "y": Y, "odd": np.arange(3)})
    return "a.zarr"


def store_with_a_stray(here: Path) -> str:
    """A file, and a folder, in a group."""
    zarr.write(here / "a.zarr", {"x": X, "y": Y})
    write_files(here / "a.zarr", "odd.bin", "odd/x", data=b"x")
    return "a.zarr"


def stores(here: Path) -> str:
    """A file beside stores."""
    for name in ("a.zarr", "b.zarr"):
        zarr.write(here / "in" / name, {"x": X, "y": Y})
    write_files(here / "in", "odd.bin", data=b"odd")
    return "in"


def split_folder(here: Path) -> str:
    """A file beside the data of a split."""
    (here / "in" / "train").mkdir(parents=True)
    np.save(here / "in" / "train" / "a.npy", X)
    write_files(here / "in" / "train", "odd.bin", data=b"odd")
    return "in"


def images(here: Path) -> str:
    """A file that is no image."""
    write_files(here / "in", "a/1.png", "b/2.png")
    write_files(here / "in", "b/odd.avif", data=b"x")
    return "in"


def images_that_are_none(here: Path) -> str:
    """A file that is called an image, and is none."""
    write_files(here / "in", "a/1.png", "b/2.png")
    write_files(here / "in", "b/odd.png", data=b"x")
    return "in"


def idx(here: Path) -> str:
    """A file that belongs to nothing."""
    write_files(here / "in", "train-images-idx3-ubyte", data=idx_files.idx(idx_files.images(9)))
    write_files(here / "in", "train-labels-idx1-ubyte", data=idx_files.idx(Y.astype("u1")))
    write_files(here / "in", "odd", data=b"x")
    return "in"


def batches(here: Path) -> str:
    """A batch that is none."""
    (here / "in").mkdir()
    cifar.EXAMPLES["pickled"](here / "in" / "data_batch_1")
    write_files(here / "in", "data_batch_odd", data=b"x")
    return "in"


def folder_of(name: str, make: Callable[[Path], object], path: str = "in") -> Callable[[Path], str]:
    """A folder, or a pattern, with a file of another kind beside the data."""

    def made(here: Path) -> str:
        (here / "in").mkdir()
        make(here / "in" / name)
        write_files(here / "in", "odd.bin", data=b"odd")
        return path

    return made


def records(path: Path) -> None:
    """A TFRecord."""
    path.write_bytes(b"".join(framed(tf_example({"x": [at]})) for at in range(3)))


MADE: dict[str, Callable[[Path], str]] = {
    "HDF5, another length": hdf5,
    "HDF5, a link": links,
    "Parquet": parquet,
    "Arrow": arrow,
    "npz, pickled": npz,
    "npz, no array": npz_of_others,
    "tar, a link": tar_with_a_link,
    "tar, another kind": tar_of_others,
    "LMDB": database,
    "Zarr": store,
    "Zarr, a stray": store_with_a_stray,
    "a folder of Zarr": stores,
    "a split": split_folder,
    "images": images,
    "images that are none": images_that_are_none,
    "idx": idx,
    "CIFAR": batches,
    "a folder of npy": folder_of("a.npy", lambda path: np.save(path, X)),
    "a pattern of npy": folder_of("a.npy", lambda path: np.save(path, X), "in/*"),
    "a folder of HDF5": folder_of("a.h5", lambda path: h5py.File(path, "w").create_dataset("x", data=X).file.close()),
    "a folder of Parquet": folder_of("a.parquet", lambda path: pq.write_table(pa.table({"x": Y}), path)),
    "a folder of TFRecord": folder_of("a.tfrecord", records),
    "a folder of tars": folder_of("a.tar", lambda path: path.write_bytes(tar_of([("1.png", png(noise()))]))),
}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions start no processes."""
    monkeypatch.setattr(executors, "ProcessExecutor", in_this_thread)


SEEN_WHEN_READ = {("images that are none", "info")}
"""What `info` does not find out: it opens no image but the first ones."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("made", MADE)
def test_what_is_odd_is_named(made: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """By an account, or by the error that refuses it; never in silence."""
    monkeypatch.chdir(tmp_path)
    path = MADE[made](tmp_path)
    words = [command.replace("dry run", "convert"), path, *COMMANDS[command]]
    code, text = said(capsys, *words, "--list-left-out", "--json")
    document = json.loads(text)
    if (made, command) in SEEN_WHEN_READ:
        assert (
            document["looked_at"]
            == "what describes the records, and up to 3 of 3 images in a field; `streamload verify in` reads all there is"
        )
        assert said(capsys, "verify", path)[0] == 1
        return
    assert code in (1, 2)
    if "error" in document:
        told = document["error"]["message"]
        assert "odd" in told or made == "npz, no array"
        assert not (tmp_path / "o.h5").exists()
    else:
        lacking = [name for one in document["account"]["left_out"] if not one["expected"] for name in one["names"]]
        assert lacking
        assert all("odd" in name for name in lacking)
        assert document["account"]["found"] >= document["account"]["taken"] >= 1
    if command != "convert" or "error" in document:
        _, plain = said(capsys, *words)
        assert "accounted for: " in plain.splitlines()[-1] or "error" in document
        assert "verified" not in plain


OPENED = [
    "a folder of npy",
    "a folder of HDF5",
    "a folder of Parquet",
    "a folder of TFRecord",
    "a folder of tars",
    "a folder of Zarr",
    "a split",
]


@pytest.mark.parametrize("made", OPENED)
def test_a_folder_of_data_opens_without_what_nobody_takes_for_data(made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is left out is said by the source, too."""
    monkeypatch.chdir(tmp_path)
    with sl.open(MADE[made](tmp_path)) as source:
        assert [(one.what, one.why, [Path(name).name for name in one.names]) for one in source.omissions] == [
            ("file", "of no known format", ["odd.bin"])
        ]
        assert len(source[:]) == len(source.schema)
        assert "odd.bin" in repr(source)


RIDDLES = {
    "damaged data": {"b.h5": bytes(99)},
    "data of another ending": {"b.hdf5": b"version https://git-lfs.github.com/spec/v1"},
    "data that may be packed": {"b.zip": b"PK\x03\x04xxxx"},
    "packed data": {"b.h5.gz": b"\x1f\x8bxx"},
    "a table": {"labels.csv": b"a,b\n1,2\n3,4\n"},
    "an image": {"b.png": png(noise())},
    "more files than data": {"b.pdf": b"%PDF-1.4", "c.pdf": b"%PDF-1.4"},
    "more bytes than data": {"b.mp4": bytes(4) + b"ftypmp42" + bytes(1 << 16)},
    "data of two formats": {"b.npy": b"\x93NUMPY"},
}


@pytest.mark.parametrize("kind", RIDDLES)
@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_folder_is_refused_where_what_is_left_out_would_be_a_guess(
    kind: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """By the name of the file that makes it one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "in" / "a.h5", "w") as file:
        file["x"] = X
    for name, data in RIDDLES[kind].items():
        (tmp_path / "in" / name).write_bytes(data)
    code, text = said(capsys, command, "in")
    assert code == 1
    assert f"in/{next(iter(RIDDLES[kind]))}" in text


def test_words_about_the_data_are_no_odd_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """They are named, and nothing is lacking."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", X)
    write_files(tmp_path / "in", "README.pdf", data=b"%PDF-1.4")
    code, text = said(capsys, "verify", "in")
    assert (code, text.splitlines()[0]) == (0, "in: good")
    assert text.splitlines()[-1] == "  accounted for: 2 files found, 1 taken; left out: 1 file: words about the data"
    code, text = said(capsys, "verify", "in", "--write-manifest")
    assert code == 2
    assert "in is a folder, and a manifest is written beside one file." in text


@pytest.mark.parametrize("made", ["HDF5, another length", "Zarr", "images", "tar, another kind", "idx"])
def test_verified_is_said_of_no_more_than_what_was_taken(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """And of all of it, where nothing else was there but what the user leaves out."""
    monkeypatch.chdir(tmp_path)
    code, text = said(capsys, "convert", MADE[made](tmp_path), "o.h5")
    assert code == 1
    assert ", verified but for " in text.splitlines()[0]
    assert text.splitlines()[-1].startswith("  accounted for: ")


def test_a_pattern_is_verified_and_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """As a file is; one that nothing matches is said."""
    monkeypatch.chdir(tmp_path)
    for at in range(2):
        np.save(tmp_path / f"{at}.npy", X)
    code, text = said(capsys, "verify", "*.npy")
    assert (code, text.splitlines()[-1]) == (0, "  accounted for: 2 files found, 2 taken, nothing left out")
    assert said(capsys, "verify", "*.h5") == (2, "streamload: *.h5 does not exist.\n  Check the path.\n")


@pytest.mark.parametrize(("first", "second"), [("part.0001", "part.0002"), ("one", "two"), ("a.bin", "b.bin")])
def test_what_is_called_as_data_is_called_is_never_left_out(first: str, second: str, tmp_path: Path):
    """Whatever endings the files of a folder have."""
    with open(tmp_path / first, "wb") as file:
        np.save(file, X)
    (tmp_path / second).write_bytes(b"cut")
    with pytest.raises(SourceError, match=second):
        sl.open(tmp_path)
