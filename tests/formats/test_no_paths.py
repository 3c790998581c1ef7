"""What is no path is refused by its type, and a folder whose name looks like a pattern is that folder."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import said
from hdf5_files import images, labels, refused, write

from streamload.errors import ConfigError
from streamload.formats.open import open_source


class TestWhatIsNoPath:
    """Refused by its type before anything is read of it, with the call that works."""

    def test_open_files_of_another_library(self, tmp_path: Path):
        """The file, a group and a dataset: the path is in the hint."""
        write(tmp_path / "a.h5", x=images(), y=labels())
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file["in/z"] = labels()
            for given, call in (
                (file, f"sl.open('{tmp_path}/a.h5')"),
                (file["x"], f"sl.open('{tmp_path}/a.h5', fields=['x'])"),
                (file["in"], f"sl.open('{tmp_path}/a.h5', fields={{'NAME': 'in/NAME'}})"),
            ):
                text = refused(ConfigError, given)
                assert "where a path is wanted: workers open files themselves." in text
                assert text.endswith(f"Give it: {call}.")
        assert len(open_source(tmp_path / "a.h5", fields=["x"])) == 100

    def test_files_of_another_library_that_are_closed(self, tmp_path: Path):
        """They do not say their path any more."""
        write(tmp_path / "a.h5", x=images(), y=labels())
        with h5py.File(tmp_path / "a.h5", "r") as file:
            held = {"File": file, "Dataset": file["x"], "Group": file["/"]}
        for kind, given in held.items():
            assert refused(ConfigError, given) == (
                f"This is a h5py.{kind}, where a path is wanted: workers open files themselves. "
                "Give it: sl.open(path) with the path of its file."
            )

    @pytest.mark.parametrize("split", [3, ["train"], b"train"])
    def test_a_split_is_named_by_text(self, split: object, tmp_path: Path):
        """In a folder, and of a file."""
        write(tmp_path / "train.h5", x=images(), y=labels())
        text = f'split={split!r} is no name of a split. Give one, as text: split="train".'
        assert refused(ConfigError, tmp_path, split=split) == refused(ConfigError, tmp_path / "train.h5", split=split) == text

    def test_arrays_and_sources(self, tmp_path: Path):
        """Of any size."""
        text = refused(ConfigError, np.zeros((10**6, 3)))
        assert text.startswith("This is a numpy.ndarray, where a path is wanted: what is in memory has no file that workers could read.")
        write(tmp_path / "a.h5", x=images())
        assert refused(ConfigError, open_source(tmp_path / "a.h5")).startswith("This is a source already. Give it to sl.Loader")

    def test_nothing_at_all(self):
        """Not the folder that one stands in."""
        said = "The path is empty, '', and names nothing. Give a path, a list of paths, or a pattern such as train-*.h5."
        assert refused(ConfigError, "") == refused(ConfigError, ["x.h5", ""]) == refused(ConfigError, {"x": "", "y": "y.npy"}) == said


@pytest.mark.parametrize("words", [("verify",), ("convert", "out.h5"), ("info",), ("verify", "--against")])
def test_commands_say_of_urls_what_the_library_does(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """That they are URLs, and what brings the file here; not that they do not exist."""
    monkeypatch.chdir(tmp_path)
    write(Path("a.h5"), x=images(), y=labels())
    command, *rest = words
    code, text = said(
        capsys, command, *(("a.h5", *rest, "s3://b/k.h5") if rest[-1:] and rest[-1].startswith("-") else ("s3://b/k.h5", *rest))
    )
    assert code == 2
    assert "s3://b/k.h5 is a URL (s3): only local paths are read." in text
    assert "`aws s3 cp s3://b/k.h5 .`" in text


@pytest.mark.parametrize("pattern", ["run[1]/part-*.npy", "*/part-*.npy", "run[1]/sub[*]/part-?.npy"])
@pytest.mark.parametrize("absolute", [False, True], ids=["relative", "absolute"])
def test_folders_that_exist_are_no_patterns(pattern: str, absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Though their names look like one, and another folder matches it."""
    for folder, records in (("run1", 3), ("run[1]", 5), ("run[1]/sub[*]", 7)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "part-0.npy", np.zeros((records, 2)))
    monkeypatch.chdir(tmp_path)
    wanted = {"run[1]/part-*.npy": 5, "*/part-*.npy": 8, "run[1]/sub[*]/part-?.npy": 7}[pattern]
    assert len(open_source(f"{tmp_path}/{pattern}" if absolute else pattern)) == wanted
    with pytest.raises(ConfigError, match=r"No file matches .*glob\.escape\(path\)"):
        open_source("run[1]/nothing-*.npy")


def test_one_file_under_two_names_is_refused(tmp_path: Path):
    """By a symbolic link, and by a hard one; a file with another name elsewhere is read once."""
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    os.link(tmp_path / "a.npy", tmp_path / "b.npy")
    os.symlink(tmp_path / "a.npy", tmp_path / "c.npy")
    with pytest.raises(ConfigError, match=r"b\.npy and .*a\.npy are one file, by a hard link: its records would be read twice") as caught:
        open_source([tmp_path / "a.npy", tmp_path / "b.npy"])
    assert caught.value.hint == "Name each file once."
    with pytest.raises(ConfigError, match=r"c\.npy is named twice"):
        open_source([tmp_path / "a.npy", tmp_path / "c.npy"])
    assert len(open_source(tmp_path / "b.npy")) == 3
