"""Tars of records: as webdataset writes them, record for record what it reads of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamload as sl

webdataset = pytest.importorskip("webdataset")
pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")

RECORDS = 23


def image(number: int) -> np.ndarray:
    """An image that no other number has."""
    return np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def record(number: int) -> dict[str, Any]:
    """Members of every kind, one of which some records lack."""
    made: dict[str, Any] = {
        "__key__": f"{'folder.x/' if number % 2 else ''}é {number:03}",
        "left.png": image(number),
        "right.PNG": image(number + 100),
        "x.npy": np.arange(number, number + 4, dtype=np.float32).reshape(2, 2),
        "json": {"score": number / 8, "big": 2**53 + number, "kind": "ab"[number % 2]},
        "cls": number % 5,
        "txt": f"“{number}” \n of lines",
    }
    return made


def written(folder: Path, ending: str, records: list[dict[str, Any]]) -> list[str]:
    """Two archives, as webdataset writes them."""
    paths = [str(folder / f"part-{part}.{ending}") for part in (0, 1)]
    for part, path in enumerate(paths):
        with webdataset.TarWriter(path) as writer:
            for one in records[part * 10 : 10 if not part else None]:
                writer.write(one)
    return paths


def of_webdataset(paths: list[str]) -> list[dict[str, Any]]:
    """Every record, in order, decoded."""
    return list(webdataset.WebDataset(paths, shardshuffle=False, empty_check=False).decode("rgb8"))


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_records_are_those_of_webdataset(ending: str, tmp_path: Path) -> None:
    """Images, arrays, classes, texts and what JSON says; plain and packed, at once and through a loader in stored order."""
    paths = written(tmp_path, ending, [record(number) for number in range(RECORDS)])
    theirs = of_webdataset(paths)
    with sl.open(paths) as source:
        assert len(source) == len(theirs) == RECORDS
        assert sorted(source.schema.names) == ["big", "kind", "label", "left", "right", "score", "txt", "x"]
        ours = source[:]
        with sl.Loader(source, batch_size=4, shuffle=False, num_workers=0, memory="256 MB") as loader:
            batches = [(batch["left"].copy(), batch["label"].tolist()) for batch in loader]
        kinds = source.classes["kind"]
    for name, member in (("left", "left.png"), ("right", "right.png"), ("x", "x.npy")):
        expected = np.stack([one[member] for one in theirs])
        assert ours[name].dtype == expected.dtype
        assert np.array_equal(ours[name], expected)
    assert ours["label"].tolist() == [one["cls"] for one in theirs]
    assert list(ours["txt"]) == [one["txt"].strip() for one in theirs]
    for name in ("score", "big"):
        assert ours[name].tolist() == [one["json"][name] for one in theirs]
    assert [kinds[number] for number in ours["kind"]] == [one["json"]["kind"] for one in theirs]
    assert np.array_equal(np.concatenate([images for images, _ in batches]), ours["left"])
    assert [label for _, labels in batches for label in labels] == ours["label"].tolist()


def archive(path: Path, members: list[str]) -> None:
    """An archive of numbers, each under a name."""
    with tarfile.open(path, "w") as file:
        for number, name in enumerate(members):
            data = str(number).encode()
            head = tarfile.TarInfo(name)
            head.size = len(data)
            file.addfile(head, io.BytesIO(data))


MEMBERS = {
    "several points": ["a/1.left.id", "a/1.right.id", "a/2.left.id", "a/2.right.id"],
    "folders with points": ["v1.5/1.id", "v1.5/1.cls", "v1.6/1.id", "v1.6/1.cls"],
    "folders alike": ["a/1.id", "b/1.id", "1.id", "./2.id"],
    "capitals": ["X.ID", "X.Cls", "x.id", "x.cls"],
    "about itself": ["__about__", "__meta__/0.id", "0.id", "1.id", "__1__.id"],
    "what a record lacks": ["0.id", "0.cls", "1.cls", "2.id"],
    "no ending": ["README", "0.id", "1.id"],
}


@pytest.mark.parametrize("case", MEMBERS)
def test_members_make_the_records_that_webdataset_makes(case: str, tmp_path: Path) -> None:
    """The same number of records, each with the same members."""
    archive(tmp_path / "x.tar", MEMBERS[case])
    theirs = of_webdataset([str(tmp_path / "x.tar")])
    endings = sorted({name for one in theirs for name in one if not name.startswith("__")})
    called = {ending: {"cls": "label"}.get(ending, ending.removesuffix(".id")) for ending in endings}
    with sl.open(tmp_path / "x.tar", fill=dict.fromkeys(called.values(), -1)) as source:
        assert len(source) == len(theirs)
        ours = source[:]
    assert sorted(ours) == sorted(called.values())
    for ending, name in called.items():
        assert ours[name].tolist() == [int(one.get(ending, -1)) for one in theirs]


def test_a_name_that_is_there_twice_is_refused_by_both(tmp_path: Path) -> None:
    """Neither takes one for the other."""
    archive(tmp_path / "x.tar", ["0.id", "0.id"])
    with pytest.raises(ValueError, match="duplicate file name"):
        of_webdataset([str(tmp_path / "x.tar")])
    with pytest.raises(sl.errors.SchemaMismatchError, match=r"holds '0\.id' twice"):
        sl.open(tmp_path / "x.tar")
