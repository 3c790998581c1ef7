"""HDF5 files that lead elsewhere: links, external storage, virtual datasets, and groups that go round in circles."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import WRITTEN, images, labels, refused, write

from streamload.errors import ConfigError, SourceChangedError, SourceError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.open import open_source

# D13 to D16: files that ask for other files


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "beside"])
def test_d13_external_storage_is_refused_before_any_read(target: str, tmp_path: Path):
    """Asked for, or most of the file; beside larger fields it is left out, and said to be."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file.create_dataset("x", (100, 9), "u1", external=[(target, 0, 900)])
        file["y"] = labels()
    text = (
        f"{path}: dataset 'x' keeps its values in other files ({target}): external storage is not read. "
        "Copy it into one file: `h5repack`, or h5py where you trust it; or choose other fields with fields=[...]."
    )
    assert refused(UnsafeSourceError, path) == text
    assert refused(UnsafeSourceError, path, fields=["x"]) == text
    assert len(open_source(path, fields=["y"])) == 100
    with h5py.File(path, "r+") as file:
        file["z"] = images()
    source = open_source(path)
    assert source.schema.names == ("z", "y")
    assert f"'x' left out: it keeps its values in other files ({target}): external storage is not read" in source.notes


def test_d14_a_link_into_another_file_is_followed_within_the_folder(tmp_path: Path):
    """At the end, in the middle, behind a soft link, in what is listed, and on from the file that it leads into."""
    write(tmp_path / "other.h5", **{"b/c": images(), "b/s": (labels(), {"chunks": (9,), "scaleoffset": 0})})
    with h5py.File(tmp_path / "other.h5", "r+") as file:
        file["b/back"] = h5py.ExternalLink("a.h5", "/y")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file["y"] = labels()
        file["a"] = h5py.ExternalLink("other.h5", "/b")
        file["soft"] = h5py.SoftLink("/a/c")
    for time_ns, fields in enumerate((["a/c", "a/s"], {"c": "soft", "s": "a/s", "y": "a/back"}, None)):
        with open_source(path, fields=fields) as source:
            taken = source[[40, 2]]
            np.testing.assert_array_equal(taken["c"], images()[[40, 2]])
            np.testing.assert_array_equal(taken["s"], labels()[[40, 2]])
            assert "y" not in taken or (taken["y"] == labels()[[40, 2]]).all()
            os.utime(tmp_path / "other.h5", ns=(time_ns, time_ns))
            with pytest.raises(SourceChangedError, match=r"other\.h5 was written to after it was opened\."):
                source[0]


def test_d14_a_link_that_leaves_the_folder_is_refused_and_leaves_out_no_more_than_itself(tmp_path: Path):
    """By name, through a symbolic link, missing, in a circle of files; what does not need it opens."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "a.h5"
    write(tmp_path / "out.h5", x=images())
    os.symlink(tmp_path / "out.h5", folder / "link.h5")
    with h5py.File(path, "w", **WRITTEN) as file:
        file["y"] = labels()
        file["up"] = h5py.ExternalLink("../out.h5", "/x")
        file["far"] = h5py.ExternalLink(str(tmp_path / "out.h5"), "/x")
        file["linked"] = h5py.ExternalLink("link.h5", "/x")
        file["gone"] = h5py.ExternalLink("gone.h5", "/x")
        file["ring"] = h5py.ExternalLink("a.h5", "/ring")
    outside = "{path}: '/{name}' links to /x in {other}, which is outside the file's folder. "
    for name, other in (("up", "../out.h5"), ("far", tmp_path / "out.h5"), ("linked", "link.h5")):
        assert refused(UnsafeSourceError, path, fields=[name]) == outside.format(path=path, name=name, other=other) + (
            "Open that file itself, or choose other fields with fields=[...]."
        )
    assert refused(SourceError, path, fields=["gone"]) == (
        f"{path}: '/gone' links to /x in gone.h5, which does not exist. "
        "Put the file back beside it, or open the files that are there, by a pattern of their names."
    )
    source = open_source(path)
    assert source.notes == (
        f"'far' left out: '/far' links to /x in {tmp_path / 'out.h5'}, which is outside the file's folder",
        "'gone' left out: '/gone' links to /x in gone.h5, which does not exist",
        "'linked' left out: '/linked' links to /x in link.h5, which is outside the file's folder",
        "'ring' is a link in a circle: left out",
        "'up' left out: '/up' links to /x in ../out.h5, which is outside the file's folder",
    )


def test_d15_soft_links_inside_are_followed_and_others_are_not(tmp_path: Path):
    """Dangling links and circles are noted; asked for, they are errors."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file["group/x"] = images()
        file["group/alias"] = h5py.SoftLink("x")
        file["group/back"] = h5py.SoftLink("/group")
        file["gone"] = h5py.SoftLink("/nowhere")
        file["ring"] = h5py.SoftLink("/gnir")
        file["gnir"] = h5py.SoftLink("/ring")
    source = open_source(path)
    assert source.notes[-3:] == (
        "'gnir' is a link in a circle: left out",
        "'gone' is a link to /nowhere, where nothing is: left out",
        "'ring' is a link in a circle: left out",
    )
    assert len(open_source(path, fields=["group/back/back/alias"])) == 100
    assert refused(SourceError, path, fields=["ring"]) == (
        f"{path}: 'ring' goes through more than 16 links; they may form a circle. Name the dataset itself."
    )
    assert refused(ConfigError, path, fields=["gone"]) == (
        f"{path} holds no dataset 'gone'; it holds 'group/x'. Choose among these with fields=[...]."
    )


def virtual(path: Path, source: str, name: str = "x") -> Path:
    """A virtual dataset of 100 records that draws on one file."""
    layout = h5py.VirtualLayout((100, 7, 6, 3), "u1")
    layout[:] = h5py.VirtualSource(source, name, (100, 7, 6, 3))
    with h5py.File(path, "w", **WRITTEN) as file:
        file.create_virtual_dataset("x", layout)
    return path


def virtual_by_pattern(path: Path) -> Path:
    """A virtual dataset that grows with the files that its pattern finds."""
    space, part = h5py.h5s.create_simple((10,), (h5py.h5s.UNLIMITED,)), h5py.h5s.create_simple((10,))
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), stride=(10,), block=(10,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.VIRTUAL)
    plist.set_virtual(space, b"part-%b.h5", b"x", part)
    with h5py.File(path, "w", **WRITTEN) as file:
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, space, plist)
    return path


def test_d16_a_virtual_dataset_reads_only_what_lies_beside_it(tmp_path: Path):
    """Outside the folder, missing, without that dataset, named by a pattern: refused; HDF5 would deliver fill values."""
    folder = tmp_path / "in"
    folder.mkdir()
    write(tmp_path / "out.h5", x=images())
    os.symlink(tmp_path / "out.h5", folder / "link.h5")
    path = folder / "a.h5"
    for name in ("../out.h5", str(tmp_path / "out.h5"), "link.h5"):
        assert refused(UnsafeSourceError, virtual(path, name)) == (
            f"{path}: virtual dataset 'x' draws on {name}, which is outside the file's folder. "
            "Copy the values into the file, or open those files themselves."
        )
    assert refused(SourceError, virtual(path, "gone.h5")) == (
        f"{path}: virtual dataset 'x' draws on gone.h5, which does not exist; HDF5 would deliver fill values in its place. "
        "Put the file back beside it."
    )
    shutil.copy(tmp_path / "out.h5", folder / "beside.h5")
    assert refused(SourceError, virtual(path, "beside.h5", "z")) == (
        f"{path}: virtual dataset 'x' draws on 'z' of {folder / 'beside.h5'}, where no dataset of that name is. "
        "Write the virtual dataset again."
    )
    assert refused(UnsupportedFeatureError, virtual_by_pattern(path), fields=["x"]) == (
        f"{path}: virtual dataset 'x' names its files by a pattern (part-%b.h5). Open those files as a list instead."
    )
    source = open_source(virtual(path, "beside.h5"))
    np.testing.assert_array_equal(source[10:20]["x"], images()[10:20])
    os.utime(folder / "beside.h5", ns=(1, 1))
    with pytest.raises(SourceChangedError, match=r"beside\.h5 was written to after it was opened\."):
        source[0]
    source.close()


def test_d16_a_virtual_dataset_is_followed_to_its_last_source(tmp_path: Path):
    """A source that is itself virtual, and leads out, is refused."""
    folder = tmp_path / "in"
    folder.mkdir()
    virtual(folder / "middle.h5", "/etc/passwd")
    assert refused(UnsafeSourceError, virtual(folder / "a.h5", "middle.h5")) == (
        f"{folder / 'middle.h5'}: virtual dataset 'x' draws on /etc/passwd, which is outside the file's folder. "
        "Copy the values into the file, or open those files themselves."
    )


# D19: trees without end


def test_d19_groups_in_circles_and_in_depth_are_walked_once_and_no_further(tmp_path: Path):
    """A hard link to the root, and forty groups in one another."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file["loop"] = file["/"]
        file["/".join(["g"] * 40) + "/deep"] = np.zeros((1000, 500))
        file["x"] = images()
    source = open_source(path)
    assert source.schema.names == ("x",)
    assert f"'{'/'.join(['g'] * 33)}' is more than 32 groups deep: not looked into" in source.notes
    assert len(open_source(path, fields=["loop/loop/x"])) == 100
