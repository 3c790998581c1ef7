"""Manifests: what is damaged, leads outside or was made by hand is refused, though its digest is right."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import answer, arrays, finished, hdf5_file

from streamload.errors import CorruptDataError, UnsafeSourceError
from streamload.tools.convert.manifest import manifest_of, read_manifest, write_manifest


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of about 70 KB and its manifest."""
    folder = tmp_path_factory.mktemp("converted")
    hdf5_file(folder / "a.h5", arrays(340))
    assert finished("convert", folder / "a.h5", folder / "b.h5")[0] == 0
    return folder


@pytest.fixture
def made(converted: Path, tmp_path: Path) -> Path:
    """A copy of that file, with its manifest."""
    for name in ("b.h5", "b.h5.manifest.json"):
        shutil.copy(converted / name, tmp_path / name)
    return tmp_path / "b.h5"


def test_a_manifest_that_is_damaged_or_leads_outside_is_refused(made: Path, tmp_path: Path):
    """Its own digest, and names without folders."""
    path = Path(f"{made}.manifest.json")
    manifest = read_manifest(str(path))
    path.write_text(path.read_text().replace('"records": 340', '"records": 341'))
    with pytest.raises(CorruptDataError, match="is damaged, or of another version"):
        read_manifest(str(path))
    for name in ("../a.h5", "/etc/passwd", ".."):
        write_manifest(str(path), manifest_of([manifest["files"][0] | {"name": name}], manifest["schema"], {}))
        with pytest.raises(UnsafeSourceError, match="lies outside its folder"):
            read_manifest(str(path))
    (tmp_path / "link.h5").symlink_to("/etc/passwd")
    write_manifest(str(path), manifest_of([manifest["files"][0] | {"name": "link.h5"}], manifest["schema"], {}))
    with pytest.raises(UnsafeSourceError, match="lies outside its folder"):
        read_manifest(str(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["files"][0].pop("crc32"),
        lambda one: one["files"][0].update(crc32="zz"),
        lambda one: one["files"][0].update(crc32=one["files"][0]["crc32"] * 2),
        lambda one: one["files"][0].update(content=None),
        lambda one: one["files"][0].update(nbytes=1.5),
        lambda one: one["files"][0].update(first=-1),
        lambda one: one["files"].append(one["files"][0]),
        lambda one: one.update(files=[]),
        lambda one: one.update(files={"name": "b.h5"}),
        lambda one: one.update(schema=None),
        lambda one: one.update(schema=[{"name": "x"}]),
        lambda one: one["schema"][0].update(dtype="nonsense"),
        lambda one: one["schema"][0].update(shape=[-1]),
        lambda one: one.update(records=-5),
        lambda one: one.update(records=True),
        lambda one: one.update(block_nbytes=0),
        lambda one: one.update(provenance=[]),
        lambda one: one.pop("provenance"),
    ],
)
def test_a_manifest_made_by_hand_is_checked_like_any_input(change: Any, made: Path, capsys: pytest.CaptureFixture[str]):
    """Though its digest is right."""
    path = Path(f"{made}.manifest.json")
    manifest = read_manifest(str(path))
    change(manifest)
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    digest = hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=16).hexdigest()
    path.write_text(json.dumps(rest | {"digest": digest}, indent=1) + "\n")
    code, document = answer(capsys, "verify", made)
    assert (code, document["error"]["kind"]) == (1, "CorruptDataError")
    assert "is damaged, or of another version" in document["error"]["message"]


@pytest.mark.parametrize("wrong", [{"style": {"store": "png"}}, {"request": {}}, {"shares": 1}, {"seed": "x"}, {"source": 1}])
def test_nor_is_what_it_says_of_its_making_believed(wrong: Any, made: Path, capsys: pytest.CaptureFixture[str]):
    """Before anything is opened as it says."""
    path = f"{made}.manifest.json"
    manifest = read_manifest(path)
    write_manifest(path, manifest_of(manifest["files"], manifest["schema"], manifest["provenance"] | wrong))
    code, document = answer(capsys, "verify", made, "--against", made)
    assert (code, document["error"]["kind"]) == (1, "CorruptDataError")
    assert "says of how its files were made what cannot be" in document["error"]["message"]
