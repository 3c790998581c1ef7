"""Values of every kind, converted from every storage to every format and read again: the same bytes, and `verify` says so."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamload as sl
from kinds import storages
from kinds.pairs import LARGE, Choice, name_of, pairs
from kinds.refused import CONVERT, group_of
from kinds.storages import STORAGES, Expected, Library
from streamload.errors import ConfigError
from streamload.tools.__main__ import main
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.encode_images import stored
from streamload.tools.convert.readers.open import open_records
from streamload.tools.convert.writers.registry import FORMATS, Annotations, write_options, writer_of
from streamload.tools.verification.record_comparison import differing

TARGETS = {
    "hdf5": ("hdf5", "none"),
    "hdf5 gzip": ("hdf5", "gzip"),
    "parquet": ("parquet", "none"),
    "parquet zstd": ("parquet", "zstd"),
    "npy": ("npy", "none"),
    "npz": ("npz", "none"),
    "arrow": ("arrow", "none"),
}
NUMBERS = count()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Files that these tests share."""
    return Library(tmp_path_factory.mktemp("kinds"))


def written(source: Path, target: str, folder: Path, names: list[str]) -> Path:
    """Fields of a source in another format, as a task of a conversion writes them; of npy, which has no place for names, values only."""
    name, codec = TARGETS[target]
    style = write_options(name=name, path="", codec=codec, chunk_records=None if name in ("npy", "npz") else 11)
    style = replace(style, values_only=name == "npy")
    path = folder / f"{next(NUMBERS)}{FORMATS[name]}"
    origin = open_records(OpenRequest(path=str(source), fields={name: name for name in names}))
    try:
        kept = stored(origin, style)
        writer = writer_of(
            str(path), kept.schema, len(kept), style, Annotations() if style.values_only else Annotations(classes=origin.classes)
        )
        for start in range(0, len(kept), 7):
            writer.append(kept.take(np.arange(start, min(start + 7, len(kept)))))
        writer.close()
    finally:
        origin.close()
    return path


def read_again(path: Path, expected: Expected) -> dict[str, str]:
    """By field, in what a file differs from what it should hold."""
    with sl.open(path) as data:
        assert set(data.schema.names) == set(expected), f"the fields differ: {sorted(set(expected) - set(data.schema.names))} are gone"
        return storages.differences(data.take(np.arange(len(data))), expected, np.arange(len(data)))


def groups(data: sl.Source) -> dict[str, str]:
    """By field, what it is to conversions."""
    return {field.name: group_of(field) for field in data.schema}


def taken_by(data: sl.Source, expected: Expected, target: str) -> dict[str, Any]:
    """The fields that a target takes today."""
    name = TARGETS[target][0]
    return {field: expected[field] for field, group in groups(data).items() if (group, name) not in CONVERT}


def allowed(choice: Choice) -> bool:
    """Every second pair: what is stored comes out alike, so that a target has met every kind many times over."""
    return LARGE or (list(STORAGES).index(choice["storage"]) + list(TARGETS).index(choice["target"])) % 2 == 0


@pytest.mark.parametrize("choice", pairs({"storage": list(STORAGES), "target": list(TARGETS)}, allowed), ids=name_of)
def test_every_kind_comes_back_from_every_format(choice: Choice, library: Library, tmp_path: Path):
    """All kinds that a target takes, side by side."""
    path, expected = library.file(choice["storage"])
    held = taken_by(library.source(choice["storage"])[0], expected, choice["target"])
    assert read_again(written(path, choice["target"], tmp_path, list(held)), held) == {}


@pytest.mark.parametrize("target", TARGETS)
def test_conversions_are_verified_against_their_source(target: str, library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The commands themselves: convert, then verify against what was converted; ragged fields are compared with a copy."""
    storage = list(STORAGES)[3 * list(TARGETS).index(target) % len(STORAGES)]
    path, expected = library.file(storage)
    held = taken_by(library.source(storage)[0], expected, target)
    name, codec = TARGETS[target]
    there = tmp_path / f"there{FORMATS[name]}"
    words = ["convert", path, there, "--fields", ",".join(held), "--codec", codec, "--workers", "1"]
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    assert main(["verify", str(there), "--against", str(path)]) == 0, capsys.readouterr().out
    assert read_again(there, held) == {}
    copy = shutil.copy(path, tmp_path / f"copy{path.suffix}")
    capsys.readouterr()
    main(["verify", str(copy), "--against", str(path), "--fields", ",".join(expected)])
    said = capsys.readouterr()
    assert f"60 records compared with {path}" in said.out, said.err
    assert "differs" not in said.out


@pytest.mark.parametrize("storage", ["hdf5 contiguous", "npz", "arrow"])
def test_verify_tells_records_apart_by_a_single_bit_of_any_kind(storage: str, library: Library):
    """Records are alike to themselves, NaN and all; and in each field, the record whose last bit is turned is named, and no other."""
    data, expected = library.source(storage)
    with data:
        here, there = data.take(np.arange(len(data))), data.take(np.arange(len(data)))
    assert list(differing(here, there, 0)) == []
    for name, values in there.items():
        elements, record = (values.values, len(values) - 1) if hasattr(values, "offsets") else (values, len(values) - 1)
        if elements.nbytes and elements.dtype.char not in "gG":
            elements.reshape(-1).view(np.uint8)[-1] ^= 1
            assert list(differing(here, there, 100)) == [(100 + record, [name])]
            elements.reshape(-1).view(np.uint8)[-1] ^= 1
    assert set(there) == set(expected)


@pytest.mark.parametrize(("group", "target"), CONVERT, ids=[" to ".join(pair) for pair in CONVERT])
def test_what_cannot_be_converted_is_refused_before_anything_is_written(group: str, target: str, library: Library, tmp_path: Path):
    """By name, with the formats that can hold it; until it comes back whole: `refused.CONVERT` is then to lose a line."""
    tried = 0
    for storage in ("hdf5 contiguous", "npz", "arrow"):
        data, _ = library.source(storage)
        path, _ = library.file(storage)
        whole = next(name for name, found in groups(data).items() if not found)
        for name in [name for name, found in groups(data).items() if found == group]:
            with pytest.raises(ConfigError) as caught:
                written(path, target, tmp_path, [whole, name])
            assert f"'{name}' holds" in str(caught.value)
            assert CONVERT[group, target] in str(caught.value)
            assert str(caught.value).endswith(f"Write Parquet or Arrow, which can, or choose --fields {whole}.")
            assert list(tmp_path.iterdir()) == []
            tried += 1
    assert tried
