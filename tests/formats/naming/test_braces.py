"""Paths with braces: what they stand for, what is missing of it, and every command that takes a path."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import said
from examples.tar import png, write

import streamload as sl
from streamload.errors import ConfigError
from streamload.formats.naming.braces import MOST, alternatives, has_braces


def image(number: int) -> np.ndarray:
    """An image that no other number has."""
    return np.full((16, 17, 3), number, np.uint8)


def shards(folder: Path, count: int = 6) -> str:
    """Archives of three records each, called as WebDataset's are, and the pattern of all."""
    for shard in range(count):
        members: list[tuple[str, bytes]] = []
        for number in range(3):
            members += [(f"{shard}{number}.png", png(image(10 * shard + number))), (f"{shard}{number}.cls", b"%d" % number)]
        write(folder / f"train-{shard:06}.tar", members)
    return str(folder / f"train-{{000000..{count - 1:06}}}.tar")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("a{000..003}.tar", ["a000.tar", "a001.tar", "a002.tar", "a003.tar"]),
        ("{a,b}{1..2}", ["a1", "a2", "b1", "b2"]),
        ("x{3..1}", ["x3", "x2", "x1"]),
        ("{01..10..4}", ["01", "05", "09"]),
        ("{a..e..2}", ["a", "c", "e"]),
        ("{C..A}", ["C", "B", "A"]),
        ("a{,x}", ["a", "ax"]),
        ("{a,{b,c}1}", ["a", "b1", "c1"]),
        ("{x{1..2},y}", ["x1", "x2", "y"]),
        ("{007..010}", ["007", "008", "009", "010"]),
        ("{-1..1}", ["-1", "0", "1"]),
        ("{-01..2}", ["-01", "000", "001", "002"]),
        ("{0..5..0}", ["0", "1", "2", "3", "4", "5"]),
        ("{1..1}", ["1"]),
        ("{1..3}{x}{a,b}", ["1{x}a", "1{x}b", "2{x}a", "2{x}b", "3{x}a", "3{x}b"]),
        ("a{b{1,2}c}d", ["a{b1c}d", "a{b2c}d"]),
        ("a{b}c", ["a{b}c"]),
        ("{1.5}", ["{1.5}"]),
        ("a{1,2", ["a{1,2"]),
        ("a}1{", ["a}1{"]),
        ("{}", ["{}"]),
        ("plain", ["plain"]),
    ],
)
def test_braces_stand_for_what_braceexpand_makes_of_them(path: str, meant: list[str]):
    """What the package braceexpand, which WebDataset reads them with, returns for each."""
    assert alternatives(path) == meant
    assert has_braces(path) == (meant != [path])


def test_records_are_those_of_the_files_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of one pattern, of a list of them, of one that runs backwards, of one with a star, and relative to a folder."""
    pattern, first = shards(tmp_path), [10 * shard + number for shard in range(6) for number in range(3)]
    (tmp_path / "more").mkdir()
    more = shards(tmp_path / "more", 2)
    assert sl.open(pattern)[:]["image"][:, 0, 0, 0].tolist() == first
    assert sl.open([pattern, Path(more)])[:]["image"][:, 0, 0, 0].tolist() == first + first[:6]
    assert sl.open(str(tmp_path / "train-{000001..000000}.tar"))[:]["image"][:, 0, 0, 0].tolist() == [10, 11, 12, 0, 1, 2]
    assert len(sl.open(str(tmp_path / "{train-00000[0-2],more/train}*.tar"))) == 15
    monkeypatch.chdir(tmp_path)
    assert len(sl.open("train-{000000..000002}.tar")) == 9


def test_what_is_missing_of_a_range_is_named(tmp_path: Path):
    """A few of them, many, all; a pattern of which nothing is there; and a file that is named twice."""
    pattern = shards(tmp_path)
    os.remove(tmp_path / "train-000003.tar")
    with pytest.raises(ConfigError, match=r"stands for 6 paths, of which 1 do not exist: .*train-000003\.tar") as caught:
        sl.open(pattern)
    assert "Check that all were fetched" in caught.value.hint
    assert caught.value.details["path"].endswith("train-000003.tar")
    with pytest.raises(ConfigError, match=r"stands for 41 paths, of which 36 do not exist: .*train-000009.tar and 31 more\."):
        sl.open([str(tmp_path / "train-{000000..000040}.tar")])
    with pytest.raises(ConfigError, match=r"No file matches .*b[*]\.tar"):
        sl.open(str(tmp_path / "{train-000000,b*}.tar"))
    with pytest.raises(ConfigError, match="is named twice"):
        sl.open(str(tmp_path / "train-{000000,000001,000000}.tar"))
    with pytest.raises(ConfigError, match=f"stands for more than {MOST:,} paths"):
        sl.open(str(tmp_path / "train-{0..99999999999}.tar"))


def test_files_and_folders_of_such_names_stand_for_themselves(tmp_path: Path):
    """A file called with braces, and one in a folder called so, whose own braces are read."""
    folder = tmp_path / "set{1,2}"
    folder.mkdir()
    pattern = shards(folder, 2)
    write(tmp_path / "a{1..2}.tar", [("0.png", png(image(7)))])
    assert len(sl.open(pattern)) == 6
    assert sl.open(str(tmp_path / "a{1..2}.tar"))[0]["image"][0, 0, 0] == 7


def test_folders_called_key_and_value_make_a_field(tmp_path: Path):
    """As below a pattern with stars: the key changes within braces."""
    for year in (2020, 2021):
        (tmp_path / f"year={year}").mkdir()
        np.save(tmp_path / f"year={year}" / "x.npy", np.full((2, 3), year))
    for pattern in ("year={2020..2021}/x.npy", "year=*/x.npy"):
        assert sl.open(str(tmp_path / pattern))[:]["year"].tolist() == [2020, 2020, 2021, 2021]


@pytest.mark.parametrize("words", [["info"], ["head"], ["verify"], ["plan"], ["init", "--framework", "torch"]])
def test_commands_take_braces(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Those that look at a path; where a file is missing, each names it."""
    pattern = shards(tmp_path, 3)
    monkeypatch.chdir(tmp_path)
    code, text = said(capsys, words[0], pattern, *words[1:])
    assert code == 0, text
    code, text = said(capsys, words[0], pattern.replace("000002", "000003"), *words[1:])
    assert code != 0
    assert "of which 1 do not exist" in re.sub(r"\s+", " ", text)


def test_convert_takes_braces(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """All records, and an account without anything left out."""
    pattern = shards(tmp_path, 3)
    code, text = said(capsys, "convert", pattern, tmp_path / "all.h5")
    assert code == 0, text
    assert sl.open(tmp_path / "all.h5")[:]["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert "nothing left out" in text
