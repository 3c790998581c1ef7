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
    """Found or asked for."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file.create_dataset("x", (100,), "u1", external=[(target, 0, 100)])
        file["y"] = labels()
    text = (
        f"{path}: dataset 'x' keeps its values in other files ({target}): external storage is not read. "
        "Copy it into one file: `h5repack`, or h5py where you trust it; or choose other fields with fields=[...]."
    )
    assert refused(UnsafeSourceError, path) == text
    assert refused(UnsafeSourceError, path, fields=["x"]) == text
    assert len(open_source(path, fields=["y"])) == 100


def test_d14_a_link_into_another_file_is_refused_wherever_it_stands_in_the_path(tmp_path: Path):
    """At the end, in the middle, behind a soft link, and in what is listed."""
    write(tmp_path / "other.h5", **{"b/c": labels()})
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file["y"] = labels()
        file["a"] = h5py.ExternalLink("other.h5", "/b")
        file["soft"] = h5py.SoftLink("/a/c")
    for options in ({}, {"fields": ["a/c"]}, {"fields": ["a"]}, {"fields": ["soft"]}, {"fields": {"q": "/a/c"}}):
        assert refused(UnsafeSourceError, path, **options) == (
            f"{path}: '/a' is a link into another file, other.h5:/b: links that leave a file are not followed. "
            "Open that file itself, or choose other fields with fields=[...]."
        )
    assert len(open_source(path, fields=["y"])) == 100


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
        "'gnir' is a soft link in a circle: left out",
        "'gone' is a soft link to /nowhere, where nothing is: left out",
        "'ring' is a soft link in a circle: left out",
    )
    assert len(open_source(path, fields=["group/back/back/alias"])) == 100
    assert refused(SourceError, path, fields=["ring"]) == (
        f"{path}: 'ring' goes through more than 16 soft links; they may form a circle. Name the dataset itself."
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
