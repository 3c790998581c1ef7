"""Reading behind a writer: the checksums are those of the bytes that are in the file, wherever they are cut."""

from __future__ import annotations

import os
import time
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from command_line import arrays
from hypothesis import given, settings
from hypothesis import strategies as st
from time_limits import Deadline

from streamload.errors import ChecksumError, StreamloadError
from streamload.schema import Field, Schema
from streamload.tools.convert.writers.registry import WriteOptions, writer_of
from streamload.tools.convert.writers.verify_file import Stretch, read_back
from streamload.tools.files.checksums import joined_crc32, record_checksums
from streamload.tools.files.direct_io import DirectFile
from streamload.tools.files.verify_writes import ReadBehind

BLOCK = 1 << 20
SIZES = st.lists(st.sampled_from([0, 1, 100, 4096, 150_528, 1 << 20, 5_000_000]), max_size=6)
STYLES = [
    WriteOptions(format=name, codec=codec, level=None, chunk_records=None)
    for name, codec in (("hdf5", "none"), ("hdf5", "gzip"), ("parquet", "none"), ("parquet", "zstd"), ("npy", "none"), ("arrow", "none"))
]


@given(before=st.binary(max_size=5000), then=st.binary(max_size=5000))
def test_a_checksum_follows_from_those_of_its_parts(before: bytes, then: bytes):
    """As if the bytes behind had been seen after those before."""
    assert joined_crc32(zlib.crc32(before), zlib.crc32(then), len(then)) == zlib.crc32(before + then)


@settings(max_examples=25, deadline=None)
@given(sizes=SIZES, asked=st.lists(st.integers(0, 20_000_000), min_size=2, max_size=8), behind=st.booleans())
def test_any_stretch_has_its_checksum(sizes: list[int], asked: list[int], behind: bool, tmp_path_factory: pytest.TempPathFactory):
    """Whether it was read while the rest was written or afterwards, and whether or not it ends where a write did."""
    path = str(tmp_path_factory.mktemp("behind") / "a")
    data = np.random.default_rng(sum(sizes)).integers(0, 256, sum(sizes), np.uint8)
    file = DirectFile(path)
    with ReadBehind(path, BLOCK) as reading:
        at = 0
        for size in sizes:
            file.write(data[at : at + size].data)
            at += size
            if behind:
                reading.settled(file.settled())
        file.close()
        reading.finish()
        assert reading.blocks() == [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
        for one, other in pairwise(asked):
            start, stop = sorted((one % (len(data) + 1), other % (len(data) + 1)))
            assert reading.checksum(start, stop) == zlib.crc32(data[start:stop])
            assert reading.checksum(start, stop, 77) == zlib.crc32(data[start:stop], 77)


def test_what_is_settled_is_read_before_the_file_is_finished(tmp_path: Path):
    """The device works on both at a time: nothing is left for the end but what came last."""
    path = str(tmp_path / "a")
    file = DirectFile(path)
    file.write(bytes(8 << 20))
    if not file.settled():
        pytest.skip("this file system has no direct writes")
    with ReadBehind(path, BLOCK) as reading:
        reading.settled([(0, 8 << 20)])
        deadline = Deadline(10.0)
        while not all(one.done() for one in reading._reading) and not deadline.passed:
            time.sleep(0.01)
        assert sum(stop - start for one in reading._reading for start, stop, _ in one.result(timeout=0)) >= 4 << 20
    file.close()


def test_a_file_that_lost_its_end_has_other_checksums(tmp_path: Path):
    """No error and no waiting: whoever compares them finds it."""
    path = tmp_path / "a"
    data = np.random.default_rng(0).bytes(3 * BLOCK)
    path.write_bytes(data)
    with ReadBehind(str(path), BLOCK) as reading:
        reading.settled([(0, 2 * BLOCK)])
        os.truncate(path, BLOCK + 5)
        reading.finish()
        assert reading.checksum(0, BLOCK) == zlib.crc32(data[:BLOCK])
        assert len(reading.blocks()) == 2


def _written(path: Path, style: WriteOptions, records: int = 30) -> tuple[Schema, list[Stretch], ReadBehind]:
    """A file of two megabytes and more in several appends, closed, and what reads behind its writer."""
    held = arrays(records, (160, 160, 3))
    schema = Schema((Field("image", np.dtype(np.uint8), (160, 160, 3)), Field("label", np.dtype(np.int64), ())))
    writer = writer_of(str(path), schema, records, style)
    behind = ReadBehind(str(path), BLOCK)
    stretches: list[Stretch] = []
    for start in range(0, records, 7):
        taken = {name: values[start : start + 7] for name, values in held.items()}
        stretches.append((start, min(start + 7, records), record_checksums(taken)))
        writer.append(taken)
        behind.settled(writer.settled())
    writer.close()
    return schema, stretches, behind


@pytest.mark.parametrize("style", STYLES, ids=lambda style: f"{style.format}-{style.codec}")
class TestEveryFormat:
    """What was written is compared with what was meant, record for record, however a format stores it."""

    def test_a_sound_file_passes(self, style: WriteOptions, tmp_path: Path):
        """Its schema comes back; blocks have the checksums of the file's bytes."""
        path = tmp_path / f"a.{style.format}"
        schema, stretches, behind = _written(path, style)
        with behind:
            behind.finish()
            found = read_back(str(path), schema, stretches, behind, title="a", threads=2)
            data = path.read_bytes()
            assert behind.blocks() == [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
        assert found.names == ("image", "label")

    def test_a_byte_that_was_not_written_as_it_was_meant_is_found(self, style: WriteOptions, tmp_path: Path):
        """One flipped bit in the middle of the images, before anything is read behind the writer."""
        path = tmp_path / f"a.{style.format}"
        held = arrays(30, (160, 160, 3))["image"]
        schema, stretches, behind = _written(path, style)
        data = bytearray(path.read_bytes())
        needle = held[15, 80].tobytes()
        place = data.find(needle) if style.codec == "none" and len(needle) else len(data) // 2
        data[place if place > 0 else len(data) // 2] ^= 1
        path.write_bytes(data)
        with ReadBehind(str(path), BLOCK) as anew, behind:
            anew.finish()
            with pytest.raises(StreamloadError) as caught:
                read_back(str(path), schema, stretches, anew, title="a.h5", threads=2)
        if style.codec == "none":
            assert "a.h5 does not hold what was written to it: checksums of its records differ." in str(caught.value)

    def test_records_in_another_place_are_found(self, style: WriteOptions, tmp_path: Path):
        """The bytes are right, and what was meant is not: two stretches have changed places."""
        path = tmp_path / f"a.{style.format}"
        schema, stretches, behind = _written(path, style)
        (start, stop, first), (later, end, second) = stretches[:2]
        with behind:
            behind.finish()
            with pytest.raises(ChecksumError, match="does not hold what was written to it"):
                read_back(str(path), schema, [(start, stop, second), (later, end, first), *stretches[2:]], behind, title="a", threads=2)
