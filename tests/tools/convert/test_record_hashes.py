"""Hashes of records: told apart by any bit, whatever their size; small ones without work for each; manifests of before are read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import answer, hdf5_file
from hypothesis import given
from hypothesis import strategies as st
from traced_lines import lines_run

from streamload.tools.convert.record_hashes import SMALL_NBYTES, Content, record_hashes, small_hashes

WIDTHS = st.one_of(st.integers(0, 40), st.sampled_from([1000, SMALL_NBYTES - 1, SMALL_NBYTES, SMALL_NBYTES + 1]))


def words_hashed(row: bytes) -> bytes:
    """The hash of one small record, in Python's own numbers."""
    full, multipliers = (1 << 64) - 1, (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)

    def mixed(value: int) -> int:
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            value = (value ^ value >> 33) * factor & full
        return value ^ value >> 33

    first, second = len(row) ^ multipliers[1], len(row) ^ multipliers[0]
    for at in range(0, len(row), 8):
        word = int.from_bytes(row[at : at + 8], "little")
        first = (first ^ word) * multipliers[0] & full
        second = (second ^ word) * multipliers[1] & full
        first, second = first ^ first >> 32, second ^ second >> 29
    first = mixed(first + second & full)
    second = mixed(second)
    return mixed(first).to_bytes(8, "little") + mixed(first + second & full).to_bytes(8, "little")


@given(rows=st.integers(0, 5), width=st.integers(0, 40), seed=st.integers(0, 99))
def test_a_small_hash_is_what_is_written_down(rows: int, width: int, seed: int):
    """Manifests hold sums of them for years."""
    data = np.random.default_rng(seed).integers(0, 256, (rows, width), dtype=np.uint8)
    assert [one.tobytes() for one in small_hashes(data)] == [words_hashed(row.tobytes()) for row in data]


@given(width=WIDTHS, rows=st.integers(1, 4), data=st.data())
def test_any_bit_makes_another_hash(width: int, rows: int, data: st.DataObject):
    """Of its record alone."""
    values = np.random.default_rng(width).integers(0, 256, (rows, width), dtype=np.uint8)
    before = record_hashes({"x": values})
    assert [len(one) for one in before] == [16] * rows
    if not width:
        return
    row, at, bit = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, 7))
    values[row, at] ^= 1 << bit
    assert [number for number, (one, other) in enumerate(zip(before, record_hashes({"x": values}), strict=True)) if one != other] == [row]


def test_few_values_have_no_two_hashes_alike():
    """All numbers of two bytes, and all records of one bit."""
    small = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    bits = np.eye(8 * SMALL_NBYTES, dtype=bool)
    assert len(set(record_hashes({"x": small}))) == len(small)
    assert len(set(record_hashes({"x": np.packbits(bits, axis=1)}))) == len(bits)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("width", [0, 1, 4, 2000])
def test_sums_add_up(version: int, width: int):
    """In any pieces; without numbers in any order, with them in one only."""
    data = np.random.default_rng(0).integers(0, 256, (20, width), dtype=np.uint8)
    labels = np.arange(20)
    whole, parts, turned = Content(version), Content(version), Content(version)
    whole.add({"x": data, "y": labels}, 100)
    parts.add({"x": data[7:], "y": labels[7:]}, 107)
    parts.add({"y": labels[:7], "x": data[:7]}, 100)
    turned.add({"x": data[::-1], "y": labels[::-1]}, 100)
    assert (str(whole), whole.unnumbered) == (str(parts), parts.unnumbered)
    assert whole.unnumbered == turned.unnumbered
    assert str(whole) != str(turned)


def test_small_records_cost_no_work_each():
    """So many lines of Python for a million of them as for a hundred."""

    def lines(count: int) -> int:
        content, taken = Content(3), {"x": np.arange(count, dtype=np.int32), "y": np.zeros((count, 3), np.uint8)}
        return lines_run(lambda: content.add(taken, 0))

    lines(100)  # What a first call alone does is done.
    assert lines(100) == lines(100_000)


def test_a_manifest_of_before_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """By the digests that it holds."""
    values = np.arange(20, dtype=np.int32)
    path = hdf5_file(tmp_path / "a.h5", {"x": values})
    assert answer(capsys, "verify", path, "--write-manifest")[0] == 0
    manifest = json.loads((tmp_path / "a.h5.manifest.json").read_text())
    content = Content(2)
    content.add({"x": values}, 0)
    manifest["files"][0] |= {"content": str(content), "content_any_order": f"{content.unnumbered:032x}"}
    for version, found in ((2, []), (3, [" the records are not those of the manifest: the digest differs".strip()])):
        manifest["manifest"] = version
        rest = {name: value for name, value in manifest.items() if name != "digest"}
        digest = hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=16).hexdigest()
        (tmp_path / "a.h5.manifest.json").write_text(json.dumps(rest | {"digest": digest}, indent=1) + "\n")
        code, document = answer(capsys, "verify", path, "--deep")
        assert (code, document["found"]) == (int(bool(found)), found)
