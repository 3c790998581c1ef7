"""Opening: paths in any form, files known by content, and fields chosen or found."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import h5py
import hdf5_files
import numpy as np
import pytest
from hdf5_files import images, labels, refused, write

import streamload
from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceError, UnsupportedFeatureError
from streamload.formats.naming.field_names import natural_key
from streamload.formats.open import open_source


def test_importing_streamload_loads_nothing_and_opening_loads_numpy_alone():
    """The import alone takes no time to speak of; looking at what is public does not bring in h5py, numba and the like."""
    code = "import sys, streamload as sl; dir(sl); print(*sys.modules); sl.open, sl.Source; print(*sys.modules)"
    first, then = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    processes = ["streamload.processes", "streamload.processes.interrupts"]
    known = [*processes, "streamload.errors", "streamload.transforms", "streamload.transforms.operations"]
    assert [name for name in first.split() if name.startswith(("numpy", "streamload."))] == known
    loaded = then.split()
    assert "numpy" in loaded
    assert not {"h5py", "pyarrow", "numba", "imagecodecs", "cloudpickle"} & set(loaded)


def test_every_public_name_exists_and_the_version_is_the_projects():
    """`__all__`, the errors, and the version of pyproject.toml."""
    for name in (*streamload.__all__, *streamload.errors.FAMILY):
        assert getattr(streamload, name) is not None
    assert streamload.ConfigError is ConfigError
    with pytest.raises(AttributeError, match="module 'streamload' has no attribute 'Lodr'"):
        streamload.Lodr
    configured = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert configured["project"]["dynamic"] == ["version"]
    assert configured["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "streamload.__version__"}


# Paths


def test_files_of_a_pattern_come_in_natural_order(tmp_path: Path):
    """part-2 before part-10; a list keeps the order it is given in."""
    for number in (10, 9, 2, 1):
        write(tmp_path / f"part-{number}.h5", x=np.full((2, 3), number, "u1"))
    source = open_source(str(tmp_path / "part-*.h5"))
    assert source[:]["x"][:, 0].tolist() == [1, 1, 2, 2, 9, 9, 10, 10]
    assert source.title.endswith("part-10.h5 (4 files)")
    source.close()
    source = open_source([tmp_path / "part-9.h5", str(tmp_path / "part-1*.h5")])
    assert source[:]["x"][:, 0].tolist() == [9, 9, 1, 1, 10, 10]
    assert source.file_starts.tolist() == [0, 2, 4, 6]
    source.close()


def test_natural_order_is_total():
    """Names with and without numbers sort without error."""
    names = ["b", "a10", "a9", "10", "9", "", "a09x"]
    assert sorted(names, key=natural_key) == ["", "9", "10", "a09x", "a9", "a10", "b"]


def test_a_name_with_brackets_is_a_name_where_such_a_file_exists(tmp_path: Path):
    """x[1].h5 is not a pattern if it is a file."""
    write(tmp_path / "x[1].h5", x=np.zeros((2, 3)))
    assert len(open_source(tmp_path / "x[1].h5")) == 2


def test_paths_that_cannot_be_right_are_refused_by_name(tmp_path: Path):
    """URLs, folders, empty lists, patterns without a match, files named twice, and what is no path at all."""
    here = tmp_path / "a.h5"
    write(here, x=np.zeros((2, 3)))
    assert refused(ConfigError, "s3://bucket/a.h5") == (
        "s3://bucket/a.h5 is a URL (s3): only local paths are read. Copy the file to a local disk first: `aws s3 cp s3://bucket/a.h5 .`."
    )
    assert refused(ConfigError, []) == "The list of paths is empty. Give at least one data file."
    assert refused(ConfigError, str(tmp_path / "*.hdf")) == (
        f"No file matches {tmp_path / '*.hdf'}. "
        "Check the pattern and the folder it is relative to; a name that holds *, ? or [ is given through glob.escape(path)."
    )
    os.symlink(here, tmp_path / "b.h5")
    assert refused(ConfigError, [here, tmp_path / "b.h5"]) == (
        f"{tmp_path / 'b.h5'} is named twice: its records would be read twice in every epoch. Name each file once."
    )
    assert refused(ConfigError, 7) == "7 is not a path. Give a path, a list of paths, or a pattern such as train-*.h5."
    assert refused(ConfigError, [7]) == "7 is not a path. Give a path, a list of paths, or a pattern such as train-*.h5."
    assert refused(ConfigError, [b"a.h5"]) == "b'a.h5' is bytes, where a path is text. Decode it: os.fsdecode(path)."
    assert refused(ConfigError, "a\0.h5") == "'a\\x00.h5' is not a path: it holds a zero byte. Check where the path comes from."
    for fields in ([3], {"x": 3}, {3: "x"}):
        assert refused(ConfigError, here, fields=fields) == (
            'fields names 3: a field is named by text. Give fields=["image"] or fields={"x": "image"}.'
        )
    assert refused(ConfigError, here, fields=[]) == (
        "fields is empty: a record needs at least one field. Leave `fields` out to have them found."
    )


# Content

DOWNLOAD = "A download stored an answer of the server instead of the file: open it in a text editor to see why, and fetch the file again."
UNKNOWN = "Is it complete, and is it the file you mean? Known formats begin with a signature of their own."
RECORDS = "Make records of it: `streamload convert {path} train.h5`."
ONE = "A single image is not a set of records; a folder of images is: `streamload info {folder}`."
PIXELS = 'Write the pixels as arrays first: numpy.save("x.npy", [pydicom.dcmread(path).pixel_array for path in paths]).'
UNREAD = "Images of this kind are not decoded here: write them as PNG, WebP or JPEG first, in a folder."
CONTENTS = {
    "Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        CorruptDataError,
        "(70 B) is a Git LFS pointer, not the data. Run `git lfs pull` in its repository.",
    ),
    "web page": (
        b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
        CorruptDataError,
        f"(49 B) is a web page (HTML), not the data. {DOWNLOAD}",
    ),
    "XML answer": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        CorruptDataError,
        f"(61 B) is an XML text, not the data. {DOWNLOAD}",
    ),
    "JSON answer": (
        b'{"message": "not found"}',
        CorruptDataError,
        f"(24 B) is a JSON text, not the data. {DOWNLOAD}",
    ),
    "zip": (b"PK\x03\x04" + bytes(30), CorruptDataError, "(34 B) is a zip file (or an .npz). Unpack it first: `unzip {path}`."),
    "HDF4": (
        b"\x0e\x03\x13\x01" + bytes(30),
        CorruptDataError,
        "(34 B) is an HDF4 file, the format before HDF5. Convert it with the `h4toh5` tool of the HDF Group.",
    ),
    "tar": (bytes(257).replace(b"\0", b"x") + b"ustar\0", CorruptDataError, f"(263 B) is a tar archive. {RECORDS}"),
    "WebP": (b"RIFF\x10\0\0\0WEBPVP8 ", CorruptDataError, f"(16 B) is a WebP image. {ONE}"),
    "JPEG": (b"\xff\xd8\xff\xe0", CorruptDataError, f"(4 B) is a JPEG image. {ONE}"),
    "DICOM": (b"x" * 128 + b"DICM", CorruptDataError, f"(132 B) is a DICOM image. {PIXELS}"),
    "AVIF": (b"\0\0\0 ftypavif", UnsupportedFeatureError, f"(12 B) is an AVIF image. {UNREAD}"),
    "HEIC": (b"\0\0\0 ftypheic", UnsupportedFeatureError, f"(12 B) is an HEIC image. {UNREAD}"),
    "video": (b"\0\0\0 ftypisom", CorruptDataError, "(12 B) is a video (MPEG-4), or sound. Write its frames as images first."),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n", UnsupportedFeatureError, f"(10 B) is a JPEG 2000 image. {UNREAD}"),
    "ORC": (b"ORC\x01", CorruptDataError, "(4 B) is an ORC file. Write it as Parquet with what reads it."),
    "Avro": (b"Obj\x01\x02", CorruptDataError, "(5 B) is an Avro file. Write it as Parquet with what reads it."),
    "Feather 1": (
        b"FEA1" + bytes(8),
        CorruptDataError,
        "(12 B) is a Feather file of version 1. Write it anew: pyarrow.feather.write_feather(pyarrow.feather.read_table(path), out).",
    ),
    "PyTorch": (
        b"PK\x03\x04" + bytes(26) + b"model/data.pkl" + bytes(30),
        CorruptDataError,
        "(74 B) is a PyTorch file, which is pickled and never loaded. Load it where you trust it, and save the arrays as HDF5.",
    ),
    "CSV": (
        b"name,label\na,1\nb,2\n",
        CorruptDataError,
        "(19 B) is a text table (CSV). Write it as Parquet: pyarrow.parquet.write_table(pyarrow.csv.read_csv(path), out).",
    ),
    "text": (
        b"name\nsome, words\nand more\n",
        CorruptDataError,
        f"(26 B) is of no known format: it begins with the bytes 6e 61 6d 65 0a 73 6f 6d. {UNKNOWN}",
    ),
    "pickle": (
        b"\x80\x04\x95abc",
        CorruptDataError,
        "(6 B) is a Python pickle, which is never loaded. Load it where you trust it, and save the arrays as HDF5.",
    ),
    "zeros": (
        bytes(64),
        CorruptDataError,
        "(64 B) is nothing but zero bytes at its beginning. The copy or the download was interrupted: fetch it again.",
    ),
    "anything": (
        b"hello, world",
        CorruptDataError,
        f"(12 B) is of no known format: it begins with the bytes 68 65 6c 6c 6f 2c 20 77. {UNKNOWN}",
    ),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_is_named_for_its_content_whatever_its_name(content: str, tmp_path: Path):
    """What is called .h5 and is something else gets an error that says what it is, with the cure."""
    data, kind, text = CONTENTS[content]
    (tmp_path / "train.h5").write_bytes(data)
    text = text.replace("{path}", str(tmp_path / "train.h5")).replace("{folder}", str(tmp_path))
    assert refused(kind, tmp_path / "train.h5") == f"{tmp_path / 'train.h5'} {text}"


def test_a_gzip_file_is_named_and_an_hdf5_file_of_another_name_is_read(tmp_path: Path):
    """Content decides, in both directions."""
    write(tmp_path / "train.jpeg", x=images(), y=labels())
    assert len(open_source(tmp_path / "train.jpeg")) == 100
    (tmp_path / "train.h5").write_bytes(gzip.compress((tmp_path / "train.jpeg").read_bytes()))
    unpack = f"is a gzip file. Unpack it first: `gunzip {tmp_path / 'train.h5'}`."
    assert unpack in refused(CorruptDataError, tmp_path / "train.h5")


def test_a_file_that_is_not_there_or_empty_or_closed_is_said_to_be(tmp_path: Path):
    """Missing, empty, and without permission."""
    here = tmp_path / "a.h5"
    assert refused(SourceError, here) == f"{here} cannot be opened: No such file or directory. Check the path and its permissions."
    here.touch()
    assert refused(CorruptDataError, here) == f"{here} is empty (0 bytes). Was the download or the copy interrupted? Fetch it again."
    os.mkfifo(tmp_path / "pipe.h5")
    assert refused(ConfigError, tmp_path / "pipe.h5") == (
        f"{tmp_path / 'pipe.h5'} is not a regular file, where a data file was expected. Name the data file itself."
    )


# Fields


def test_the_largest_records_come_first_and_the_rest_in_the_order_of_names(tmp_path: Path):
    """And repr says what was found, where, how it is stored, and what was left out."""
    write(tmp_path / "a.h5", area=labels(), photo=(images(), {"chunks": (8, 7, 6, 3)}), zone=labels(), mean=np.zeros((7, 6)))
    source = open_source(tmp_path / "a.h5")
    assert repr(source) == (
        f"HDF5 {tmp_path / 'a.h5'}: 100 records · photo uint8 (7, 6, 3) · area int64 () · zone int64 ()\n"
        "  photo: 'photo', chunks of 8 records (7, 6, 3), no filter\n"
        "  area: 'area', contiguous, held in memory\n"
        "  zone: 'zone', contiguous, held in memory\n"
        "  records are addressable\n"
        "  fields were found, not named; fields=['photo', 'area', 'zone'] says the same\n"
        "  'mean' left out: 7 records, not 100"
    )


def test_repr_says_how_much_is_stored_and_whether_records_are_addressable(tmp_path: Path):
    """A compressed dataset shows its filters in the order of writing and its size, stored and whole."""
    data = np.zeros((640, 28, 28), "u1")
    write(tmp_path / "a.h5", x=(data, {"chunks": (64, 28, 28), "compression": "gzip", "compression_opts": 7, "shuffle": True}))
    text = repr(open_source(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5") as file:
        stored = file["x"].id.get_storage_size()
    assert f"x: 'x', chunks of 64 records (28, 28), shuffle + gzip 7, {stored:,} B stored of 490 KB" in text
    assert "records are decoded a block at a time" in text


def test_fields_select_rename_and_reach_into_groups(tmp_path: Path):
    """A list keeps its order and the file's names; a dict renames; full paths, last components and members are understood."""
    write(tmp_path / "a.h5", **{"train/x": images(), "train/y": labels(), "test/x": images(50), "test/y": labels(50)})
    path = tmp_path / "a.h5"
    assert open_source(path, fields=["train/y", "train/x"]).schema.names == ("y", "x")
    assert open_source(path, fields={"label": "/test/y", "image": "test/x"}).schema.names == ("label", "image")
    assert open_source(path, fields=("/train/x",)).schema.names == ("x",)
    assert open_source(path, fields="train/x").schema.names == ("x",)
    assert len(open_source(path, fields=["test/x"])) == 50
    source = open_source(path)
    assert source.schema.names == ("x", "y")
    assert "fields were found, not named; fields={'x': 'train/x', 'y': 'train/y'} says the same" in source.notes
    kind = np.dtype([("image", "u1", (4,)), ("label", "i4")])
    write(tmp_path / "table.h5", table=np.zeros(5, kind))
    assert open_source(tmp_path / "table.h5", fields=["table.label"]).schema.names == ("table.label",)
    assert open_source(tmp_path / "table.h5", fields={"t": "table"}).schema.names == ("t.image", "t.label")
    assert open_source(tmp_path / "table.h5", fields={"l": "table.label"}).schema.names == ("l",)


def test_an_unknown_or_ambiguous_field_is_refused_with_the_names_that_exist(tmp_path: Path):
    """Did you mean; the full path where a last component is not unique; no field twice."""
    path = tmp_path / "a.h5"
    write(path, **{"train/image": images(), "train/label": labels(), "test/image": images()})
    assert refused(ConfigError, path, fields=["labl"]) == (
        f"{path} holds no dataset 'labl'; it holds 'test/image', 'train/image', 'train/label'. Did you mean 'label'?"
    )
    assert refused(ConfigError, path, fields=["zzz"]) == (
        f"{path} holds no dataset 'zzz'; it holds 'test/image', 'train/image', 'train/label'. Choose among these with fields=[...]."
    )
    assert refused(ConfigError, path, fields=["image"]) == (
        f"{path} holds more than one dataset called 'image': 'test/image', 'train/image'. Give the full path."
    )
    assert refused(ConfigError, path, fields=["train/image", "train/image"]) == (
        "fields names 'train/image' twice. Name each field once, or rename with fields={name: path}."
    )
    assert refused(ConfigError, path, fields=["train"]) == (
        f"{path}: 'train' is a group, and no dataset; it holds 'train/image', 'train/label'. Name one of these."
    )


def test_two_guesses_that_are_equally_good_are_an_error_that_lists_both(tmp_path: Path):
    """Which set of fields is meant is not ours to say."""
    path = tmp_path / "a.h5"
    write(path, **{"a/image": np.zeros((10, 6), "u1"), "b/image": np.zeros((20, 3), "u1")})
    assert refused(ConfigError, path) == (
        f"{path} holds two sets of fields, equally large: fields=['a/image'] (10 records); fields=['b/image'] (20 records). "
        "Choose one with the argument shown."
    )


PAIRS = {
    "x and y": {"x": 100, "y": 99},
    "images and labels, and more": {"images": 100, "labels": 60, "weight": 100},
    "train_set_x and train_set_y": {"train_set_x": 100, "train_set_y": 9, "test_set_x": 10, "test_set_y": 10},
    "in a group": {"train/data": 100, "train/target": 98},
    "the only two, whatever their names": {"photographs": 100, "classes": 99},
}


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_that_differs_in_length_is_never_cut_to_fit(pair: str, tmp_path: Path):
    """x: 100, y: 99 is a damaged file, not a source of one field."""
    lengths = PAIRS[pair]
    path, (first, second) = tmp_path / "a.h5", list(lengths)[:2]
    write(path, **{name: images(length) if name == first else labels(length) for name, length in lengths.items()})
    assert refused(SchemaMismatchError, path) == (
        f"{path}: '{first}' has 100 records and '{second}' has {lengths[second]}: they look like a pair that should agree. "
        f"The file is incomplete, or they do not belong together: choose, for example fields=['{first}']."
    )
    assert refused(SchemaMismatchError, path, fields=[first, second]) == (
        f"{path}: fields differ in their number of records ({first.split('/')[-1]}: 100, {second.split('/')[-1]}: {lengths[second]}). "
        "The file is incomplete, or the fields do not belong together: choose with fields=[...]."
    )
    assert len(open_source(path, fields=[first])) == 100


DIFFERENCES = {
    "type": (
        {"x": images(5, (4,)), "y": labels(5)},
        "Field 'x' differs: uint8 (4,) in {0}, uint16 (4,) in {1}.",
        {"x": images(5, (4,), "u2"), "y": labels(5)},
    ),
    "shape": (
        {"x": images(5, (4,)), "y": labels(5)},
        "Field 'x' differs: uint8 (4,) in {0}, uint8 (5,) in {1}.",
        {"x": images(5, (5,)), "y": labels(5)},
    ),
    "missing": ({"x": images(5, (4,)), "y": labels(5)}, "Field 'y' differs: int64 () in {0}, missing in {1}.", {"x": images(5, (4,))}),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_files_that_differ_in_schema_are_refused_with_both_sides(difference: str, tmp_path: Path):
    """File, field, and what each side has."""
    one, text, other = DIFFERENCES[difference]
    paths = [tmp_path / "0.h5", tmp_path / "1.h5"]
    write(paths[0], **one)
    write(paths[1], **other)
    assert refused(SchemaMismatchError, paths) == text.format(*paths) + (
        " Files of one source have one schema: open them apart, or choose other fields with fields=[...]."
    )


def test_labels_in_columns_of_one_are_delivered_as_numbers_and_it_is_said(tmp_path: Path):
    """(N, 1) becomes (), of whole numbers and of floats; the only field stays what it is."""
    path = tmp_path / "a.h5"
    write(path, x=images(), y=labels().reshape(-1, 1), z=np.zeros((100, 1), "f4"))
    source = open_source(path)
    assert [field.shape for field in source.schema] == [(7, 6, 3), (), ()]
    assert "'y' is stored as (100, 1) and delivered as one number a record" in source.notes
    assert "'z' has records of shape (1,), and is delivered as one number a record" in source.notes
    assert open_source(path, fields=["y"]).schema["y"].shape == (1,)


def test_ten_thousand_objects_are_listed_and_then_no_more(tmp_path: Path):
    """Beyond the cap nothing is guessed; a dataset beyond it is found by its path."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = images(50)
        for number in range(10_000):
            h5py.h5g.create(file.id, b"g%05d" % number)
        file["z"] = images(50)
    assert len(open_source(tmp_path / "a.h5", fields=["z"])) == 50
    assert refused(ConfigError, tmp_path / "a.h5") == (
        f"{tmp_path / 'a.h5'}: what a record is cannot be told: it holds more than was looked at. Say it: fields=['a'] (50 records)."
    )


def test_many_files_are_planned_once_each(tmp_path: Path):
    """Two hundred small files: one source, every record in its place, few descriptors."""
    for number in range(200):
        hdf5_files.write(tmp_path / f"{number}.h5", x=np.full((3, 5), number, "u2"), y=np.full(3, number))
    source = open_source(str(tmp_path / "*.h5"))
    assert source[::3]["x"][:, 0].tolist() == list(range(200))
    assert source[np.arange(599, -1, -1)]["y"].tolist() == [number // 3 for number in range(599, -1, -1)]
    source.close()


def test_a_source_closes_its_files_at_the_end_of_a_with_block(tmp_path: Path):
    """And opens them again where it is used afterwards."""
    path = tmp_path / "data.h5"
    write(path, image=images(3))

    def held() -> bool:
        links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
        return str(path) in [os.readlink(link) for link in links if os.path.islink(link)]

    with open_source(path) as data:
        first = data[0]["image"]
        assert held()
    assert not held()
    assert (data[0]["image"] == first).all()
    data.close()
