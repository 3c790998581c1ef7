"""No byte of a dataset can change unseen: `verify` finds each, in files of every format and in the manifest itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file

from streamload.errors import CorruptDataError
from streamload.tools.convert.manifest import BLOCK_NBYTES, read_manifest
from streamload.tools.files.checksums import adler32, block_checksums, crc32, quick_hash

TARGETS = [
    "b.h5",
    "b.h5 --codec gzip --chunk-records 7",
    "b.h5 --codec zstd",
    "b.parquet",
    "b.parquet --codec zstd",
    "b.arrow",
    "b.npy",
    "b.npz",
]
FLIPS = 200


@pytest.mark.parametrize("words", TARGETS)
def test_every_flipped_byte_is_found(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Two hundred at random, the first and the last, to any other value; the file as it was is good."""
    name, *options = words.split()
    hdf5_file(tmp_path / "a.h5", arrays(40))
    assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / name, *options)[0] == 0
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    (entry,) = read_manifest(f"{path}.manifest.json")["files"]
    wanted = [int(entry["crc32"][at : at + 8], 16) for at in range(0, len(entry["crc32"]), 8)]
    rng = np.random.default_rng(len(data))
    places = [0, len(data) - 1, *rng.integers(0, len(data), FLIPS).tolist()]
    for number, at in enumerate(places):
        flip = int(rng.integers(1, 256))
        data[at] ^= flip
        path.write_bytes(data)
        # What the command compares; the command itself for a few, since it takes longer.
        assert list(block_checksums(str(path), BLOCK_NBYTES)) != wanted, at
        if number < 5:
            assert answer(capsys, "verify", path)[0] == 1
        data[at] ^= flip
    path.write_bytes(data)
    assert answer(capsys, "verify", path, "--deep")[0] == 0


def test_every_flipped_byte_of_a_manifest_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Spaces between its values, too."""
    hdf5_file(tmp_path / "a.h5", arrays(4))
    assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5")[0] == 0
    path = tmp_path / "b.h5.manifest.json"
    data = bytearray(path.read_bytes())
    for at in range(len(data)):
        for flip in (1, 0x29, 0x80):  # 0x29 makes a tab of a space
            data[at] ^= flip
            path.write_bytes(data)
            with pytest.raises(CorruptDataError, match="is damaged, or of another version"):
                read_manifest(str(path))
            data[at] ^= flip
    path.write_bytes(data)
    assert read_manifest(str(path))["records"] == 4


def test_checksums_are_zlibs_and_hashes_tell_halves_apart(tmp_path: Path):
    """Whoever computes them; a file of several blocks, whose last is not full, in order."""
    import zlib

    data = np.random.default_rng(0).bytes(40 * 1000 + 17)
    (tmp_path / "x").write_bytes(data)
    seen: list[int] = []
    found = list(block_checksums(str(tmp_path / "x"), 1000, seen.append))
    assert found == [zlib.crc32(data[at : at + 1000]) for at in range(0, len(data), 1000)]
    assert sum(seen) == len(data)
    assert crc32()(data, 5) == zlib.crc32(data, 5)
    assert adler32()(data, 1) == zlib.adler32(data)
    hashes = {quick_hash(memoryview(data[at : at + 5000])) for at in range(2000)}
    assert len(hashes) == 2000
    assert quick_hash(memoryview(b"ab" * 4000)) != quick_hash(memoryview(b"ba" * 4000))


def test_records_of_two_formats_are_compared_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Missing, extra and changed ones, in order or in any; large records, whose hashes are checksums."""
    held = arrays(12, (64, 64, 3))
    hdf5_file(tmp_path / "a.h5", held)
    assert answer(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.parquet", "--shuffle")[0] == 0
    assert answer(capsys, "verify", tmp_path / "b.parquet", "--against", tmp_path / "a.h5", "--any-order")[0] == 0
    (tmp_path / "b.parquet").rename(tmp_path / "e.parquet")  # Away from its manifest, which knows of the shuffle.
    code, document = answer(capsys, "verify", tmp_path / "e.parquet", "--against", tmp_path / "a.h5")
    assert (code, ["--any-order compares them in any" in one for one in document["checked"]].count(True)) == (1, 1)
    (tmp_path / "e.parquet").rename(tmp_path / "b.parquet")
    held["image"][5, 63, 63, 2] ^= 1
    hdf5_file(tmp_path / "c.h5", {name: values[:11] for name, values in held.items()})
    code, document = answer(capsys, "verify", tmp_path / "b.parquet", "--against", tmp_path / "c.h5", "--any-order")
    assert code == 1
    assert document["counts"] == {"extra record": 2, "missing record": 1, "records": 1}
    held["image"][3] = held["image"][2]
    held["label"][3] = held["label"][2]
    hdf5_file(tmp_path / "d.h5", held)
    code, document = answer(capsys, "verify", tmp_path / "d.h5", "--duplicates")
    assert document["found"] == ["record 3 is the same as record 2"]
