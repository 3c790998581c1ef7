"""Chunks read by offset and decoded here hold what h5py reads, whatever is asked for, and damage is named."""

from __future__ import annotations

import math
import os
import pickle

import h5py
import hdf5plugin
import numpy as np
import pytest
from chunk_files import Opened, chunked_file, column_of
from hypothesis import given, settings
from hypothesis import strategies as st

import streamload as sl
from streamload.errors import ChecksumError, CorruptDataError, SourceChangedError, SourceError
from streamload.formats.columns import chunk_cache, chunk_reader, chunked
from streamload.schema import Field

COMPRESSORS = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "blosc": hdf5plugin.Blosc(),
    "blosc2": hdf5plugin.Blosc2(),
    "lz4": hdf5plugin.LZ4(),
    "bitshuffle": hdf5plugin.Bitshuffle(),
    "zstd": hdf5plugin.Zstd(),
}
DTYPES = ["u1", "?", "<i2", ">i4", "<f4", "<f2", ">f8", "<c8", "S5", "V6"]


def write(path, values, chunks, **filters):
    """A file with one chunked dataset, x."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=chunks, **filters)
    return path


def plain_values(shape, dtype="u1"):
    """Elements that compress a little and are nowhere alike."""
    count = math.prod(shape)
    data = (np.arange(count * np.dtype(dtype).itemsize) // 3 % 251).astype(np.uint8)
    return (data & 1 if dtype == "?" else data).view(dtype).reshape(shape)


@st.composite
def layouts(draw):
    """Shape, chunks, dtype and filters of a dataset, and the records to ask for."""
    shape = (draw(st.integers(1, 40)), *draw(st.lists(st.integers(1, 9), max_size=3)))
    chunks = tuple(draw(st.integers(1, side)) if draw(st.booleans()) else side for side in shape)
    filters = {
        **COMPRESSORS[draw(st.sampled_from(sorted(COMPRESSORS)))],
        "shuffle": draw(st.booleans()),
        "fletcher32": draw(st.booleans()),
    }
    noise = draw(st.booleans())
    written = draw(st.lists(st.integers(0, shape[0] - 1), max_size=4)) if draw(st.booleans()) else None
    calls = draw(st.lists(st.lists(st.integers(0, shape[0] - 1), max_size=60), min_size=1, max_size=4))
    return shape, chunks, draw(st.sampled_from(DTYPES)), filters, noise, written, calls


@settings(max_examples=300)
@given(layout=layouts())
def test_any_records_of_any_layout_equal_what_h5py_reads(tmp_path_factory, layout):
    """Any chunk shape, filters, dtype, unwritten chunks; any records, any order, repeats; several calls of one reader."""
    shape, chunks, dtype, filters, noise, written, calls = layout
    path = tmp_path_factory.mktemp("layout") / "x.h5"
    values = plain_values(shape, dtype)
    if noise:
        raw = np.random.default_rng(1).integers(0, 256, values.nbytes, np.uint8)
        values = (raw & 1 if dtype == "?" else raw).view(dtype).reshape(shape)
    with h5py.File(path, "w") as file:
        fill = {} if dtype == "V6" else {"fillvalue": values.reshape(-1)[-1]}
        dataset = file.create_dataset("x", shape=shape, dtype=values.dtype, chunks=chunks, **fill, **filters)
        for record in range(shape[0]) if written is None else written:
            dataset[record] = values[record]
        expected = dataset[()].astype(values.dtype.newbyteorder("="))
    rng = np.random.default_rng(0)
    with Opened(column_of([path]), [path]) as opened:
        for records in [*calls, list(range(shape[0]))]:
            rows = rng.permutation(len(records)) if rng.integers(2) else np.arange(len(records))
            taken = opened.take(records, rows)
            assert taken[rows].tobytes() == expected[records].tobytes()
    path.unlink()


@given(records=st.lists(st.integers(0, 89), max_size=80), shift=st.integers(0, 5))
def test_records_of_several_files_chunked_differently(tmp_path_factory, records, shift):
    """Files of one source may differ in chunks, filters and byte order; rows that are not asked for are left alone."""
    folder = tmp_path_factory.mktemp("files")
    values = plain_values((90, 5, 4), "<i2")
    layouts = [
        ((7, 5, 4), {"compression": "gzip"}, "<i2"),
        ((1, 5, 4), {"compression": "lzf"}, ">i2"),
        ((4, 3, 3), {"shuffle": True}, "<i2"),
    ]
    paths = [
        write(folder / f"{k}.h5", values[30 * k : 30 * k + 30].astype(dtype), chunks, **filters)
        for k, (chunks, filters, dtype) in enumerate(layouts)
    ]
    with Opened(column_of(paths), paths) as opened:
        rows = np.arange(len(records))[::-1] * 2 + shift
        taken = opened.take(records, rows)
    assert (taken[rows] == values[records]).all()
    others = np.setdiff1d(np.arange(len(taken)), rows)
    assert (taken[others].view(np.uint8) == 0xAB).all()


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize(
    "chunks", [(8, 16, 12), (1, 16, 12), (1, 4, 12), (1, 5, 7), (3, 4, 12), (50, 16, 12)], ids=lambda chunks: "x".join(map(str, chunks))
)
def test_chunks_are_decoded_without_h5py(tmp_path, monkeypatch, chunks, compressor):
    """With every read of h5py's made to raise: several records, one, a part of one; each compressor."""
    values = plain_values((50, 16, 12), "<f4")
    path = write(tmp_path / "x.h5", values, chunks, shuffle=True, fletcher32=True, **COMPRESSORS[compressor])
    column = column_of([path])

    def refuse(*_):
        raise AssertionError("h5py was asked for data")

    for name in ("__getitem__", "read_direct", "__array__"):
        monkeypatch.setattr(h5py.Dataset, name, refuse)
    monkeypatch.setattr(h5py, "File", refuse)
    with Opened(column, [path]) as opened:
        assert (opened.take(np.arange(50)) == values).all()
        order = np.random.default_rng(0).permutation(50)
        assert (opened.take(order) == values[order]).all()


class Saboteur:
    """A transform that changes nothing but h5py, in whichever process it comes to: every read through it raises there."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __setstate__(self, state) -> None:
        self.__dict__.update(state)
        if os.getpid() != self.home:
            h5py.File = h5py.Dataset.__getitem__ = h5py.Dataset.read_direct = h5py.Dataset.__array__ = self.refuse
            for name in ("open", "create"):
                setattr(h5py.h5f, name, self.refuse)

    def refuse(self, *_):
        raise AssertionError("h5py was asked for data")

    def __call__(self, record):
        assert os.getpid() != self.home
        assert h5py.File == self.refuse
        return record


@pytest.mark.filterwarnings("ignore:A window mixes only:UserWarning")
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_workers_read_chunks_without_h5py(tmp_path, compressor):
    """With every read of h5py's made to raise in the workers: chunks of several records, of one, and of a part of one."""
    values = plain_values((60, 16, 12), "<f4")
    for chunks in ((8, 16, 12), (1, 16, 12), (3, 5, 7)):
        path = write(tmp_path / f"{chunks[0]}.h5", values, chunks, shuffle=True, fletcher32=True, **COMPRESSORS[compressor])
        with sl.Loader(sl.open(path), batch_size=25, num_workers=1, transform=Saboteur(), memory="100 MB") as loader:
            for batch in loader:
                assert (batch["x"] == values[batch.records]).all()


def test_filter_masks_are_honoured(tmp_path):
    """Chunks written with some filters left out are read so, as h5py reads them."""
    import zlib

    values = plain_values((6, 40), "<u2")
    path = write(tmp_path / "x.h5", np.zeros_like(values), (1, 40), compression="gzip", shuffle=True)
    shuffled = [row.view(np.uint8).reshape(-1, 2).T.tobytes() for row in values]
    with h5py.File(path, "r+") as file:
        dataset = file["x"]
        stored = [
            (0, zlib.compress(shuffled[0])),
            (1, zlib.compress(values[1].tobytes())),
            (2, shuffled[2]),
            (3, values[3].tobytes()),
            (0, zlib.compress(shuffled[4])),
            (3, values[5].tobytes()),
        ]
        for record, (mask, data) in enumerate(stored):
            dataset.id.write_direct_chunk((record, 0), data, filter_mask=mask)
        assert (dataset[()] == values).all()
    with Opened(column_of([path]), [path]) as opened:
        assert opened.column.parts[0].masks.tolist() == [0, 1, 2, 3, 0, 3]
        assert (opened.take([5, 4, 3, 2, 1, 0]) == values[::-1]).all()


def test_chunks_larger_than_the_records_are_cropped(tmp_path):
    """A dataset that may grow can have chunks wider than its records are now."""
    values = plain_values((10, 3, 5))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, chunks in {"x": (4, 8, 8), "one": (1, 8, 5), "slab": (1, 2, 5)}.items():
            file.create_dataset(name, data=values, chunks=chunks, maxshape=(None, None, None), compression="gzip")
    for name in ("x", "one", "slab"):
        with Opened(column_of([tmp_path / "x.h5"], dataset=name), [tmp_path / "x.h5"]) as opened:
            assert (opened.take([9, 0, 4, 4]) == values[[9, 0, 4, 4]]).all()


def test_whole_chunks_in_order_are_decoded_where_they_belong(tmp_path):
    """A block of chunks goes straight to its rows: nothing is decoded aside, and each chunk is read once."""
    path = write(tmp_path / "x.h5", plain_values((640, 32)), (64, 32), compression="gzip")
    with Opened(column_of([path]), [path]) as opened:
        taken = opened.take(np.arange(128, 512), np.arange(384) + 5)
        assert (taken[5:] == plain_values((640, 32))[128:512]).all()
        assert not len(opened.reader._kept)
        assert opened.meter.read_nbytes == opened.column.parts[0].nbytes[2:8].sum()
        assert opened.meter.decode_ns > 0 < opened.meter.read_ns


def test_walking_in_order_decodes_each_chunk_once(tmp_path):
    """A caller that wants a few records at a time finds the rest of their chunk where it was kept."""
    values = plain_values((500, 8))
    path = write(tmp_path / "x.h5", values, (100, 8), compression="gzip")
    with Opened(column_of([path]), [path]) as opened:
        for start in range(0, 500, 7):
            records = np.arange(start, min(start + 7, 500))
            assert (opened.take(records) == values[records]).all()
        assert opened.meter.read_nbytes == opened.column.parts[0].nbytes.sum()


def test_kept_chunks_stay_within_their_bound(tmp_path, monkeypatch):
    """However many chunks are touched, two of them or KEPT_NBYTES are held, and the newest are the ones kept."""
    monkeypatch.setattr(chunk_cache, "KEPT_NBYTES", 3000)
    values = plain_values((200, 100))
    path = write(tmp_path / "x.h5", values, (10, 100), compression="gzip")
    with Opened(column_of([path]), [path]) as opened:
        for record in range(0, 200, 10):
            assert (opened.take([record]) == values[[record]]).all()
        assert opened.reader._kept.of(0) == [17, 18, 19]
        before = opened.meter.read_nbytes
        opened.take([171, 185, 199])
        assert opened.meter.read_nbytes == before


def test_what_a_column_says_of_itself(tmp_path):
    """Cuts lie at chunks of each file; one-record chunks are addressable; the cost of exact order; it pickles."""
    values = plain_values((25, 6))
    several = [write(tmp_path / f"{k}.h5", values, (chunk, 6), compression="gzip") for k, chunk in enumerate([10, 4])]
    single = write(tmp_path / "single.h5", values, (1, 3), compression="gzip")
    column = column_of(several)
    assert column.cuts is not None
    assert column.cuts.tolist() == [0, 10, 20, 25, 29, 33, 37, 41, 45, 49, 50]
    assert (column.addressable, column.amplification, column.describe()) == (False, 7.0, "chunks")
    assert column.scratch_nbytes > chunk_cache.KEPT_NBYTES
    alone = column_of([single])
    assert (alone.addressable, alone.cuts, alone.amplification) == (True, None, 1.0)
    assert alone.scratch_nbytes < 2 * chunk_reader.READ_NBYTES
    copy = pickle.loads(pickle.dumps(alone))
    with Opened(copy, [single]) as opened:
        assert (opened.take([3, 1]) == values[[3, 1]]).all()


def test_advice_is_given_and_never_fails(tmp_path):
    """Advice covers chunks that are there, of any file, and changes nothing that is read."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", shape=(1000, 100), dtype="u1", chunks=(10, 50), compression="gzip")
        dataset[:500] = plain_values((500, 100))
    with Opened(column_of([path]), [path]) as opened:
        if hasattr(os, "posix_fadvise"):
            fd = opened.files.descriptor(0)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        opened.reader.advise(np.array([999, 3, 3, 499, 0]))
        opened.reader.advise(np.arange(0))
        assert (opened.take([499]) == plain_values((500, 100))[499]).all()


def test_fields_without_bytes_are_left_alone(tmp_path):
    """Records of shape (0,) and calls without records read nothing."""
    path = write(tmp_path / "x.h5", plain_values((5, 2)), (2, 2), compression="gzip")
    column = column_of([path])
    empty = chunked.ChunkedColumn(field=Field("x", np.dtype("u1"), (0,)), parts=column.parts, label="")
    with Opened(empty, [path]) as opened:
        assert opened.take([1, 2]).shape == (2, 0)
        opened.reader.advise(np.array([1]))
    with Opened(column, [path]) as opened:
        assert opened.take([]).shape == (0, 2)
        assert opened.meter.read_nbytes == 0


def test_every_damaged_byte_of_a_chunk_is_named_or_harmless(tmp_path):
    """Each byte of a stored gzip chunk flipped: the same records, or an error that names file, field and records."""
    values = plain_values((9, 30))
    path = write(tmp_path / "x.h5", values, (4, 30), compression="gzip", fletcher32=True)
    column = column_of([path])
    offset, nbytes = int(column.parts[0].offsets[1]), int(column.parts[0].nbytes[1])
    whole = path.read_bytes()
    for place in range(offset, offset + nbytes):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with Opened(column, [path]) as opened:
            assert (opened.take([0, 8]) == values[[0, 8]]).all()
            with pytest.raises(
                ChecksumError, match=r"x\.h5: the chunk of records 4:8 of 'x', at byte [\d,]+, does not decode: its"
            ) as caught:
                opened.take([5])
        assert (caught.value.path, caught.value.dataset, caught.value.records) == (str(path), "x", (4, 8))
        assert caught.value.hint == "The file is damaged or was cut short: fetch or write it again."


@pytest.mark.parametrize("chunk", [1, 4])
def test_after_damage_the_reader_still_reads_the_rest(tmp_path, chunk):
    """An error leaves nothing half done behind: the next call gives right records."""
    values = plain_values((64, 30))
    path = write(tmp_path / "x.h5", values, (chunk, 30), compression="gzip")
    column = column_of([path])
    with open(path, "r+b") as file:
        file.seek(int(column.parts[0].offsets[8 // chunk]) + 10)
        file.write(b"\xff\xff\xff")
    others = np.setdiff1d(np.arange(64), np.arange(8 // chunk * chunk, 8 // chunk * chunk + chunk))
    with Opened(column, [path]) as opened:
        for _ in range(3):
            with pytest.raises(CorruptDataError, match=f"the chunk of records {8 // chunk * chunk}:{8 // chunk * chunk + chunk} of 'x'"):
                opened.take(np.random.default_rng(0).permutation(64))
            assert (opened.take(others) == values[others]).all()


def test_a_chunk_that_ends_behind_the_file_is_named(tmp_path):
    """A file cut short in the middle of a chunk is damage, found before anything is read."""
    path = write(tmp_path / "x.h5", plain_values((20, 100)), (5, 100), compression="gzip")
    column = column_of([path])
    os.truncate(path, int(column.parts[0].offsets[3]) + 10)
    with Opened(column, [path]) as opened, pytest.raises(CorruptDataError, match=r"x\.h5 ends before \d+ B at offset [\d,]+ \(it has"):
        opened.take([0])


def test_a_file_that_shrinks_while_it_is_read_is_a_changed_file(tmp_path):
    """Bytes that were there when the file was opened and are gone now: SourceChangedError, not damage."""
    path = write(tmp_path / "x.h5", plain_values((20, 100)), (1, 100), compression="gzip")
    with Opened(column_of([path]), [path]) as opened:
        opened.take([0])
        os.truncate(path, int(opened.column.parts[0].offsets[10]) + 3)
        for records in ([15], [3, 15, 9, 0, 12, 19]):
            with pytest.raises(SourceChangedError, match=r"shrank from"):
                opened.take(records)


def test_bytes_changed_while_they_are_read_are_a_changed_file(tmp_path):
    """A chunk that no longer decodes because the file was written to is called changed, not damaged."""
    path = write(tmp_path / "x.h5", plain_values((20, 100)), (1, 100), compression="gzip")
    with Opened(column_of([path]), [path]) as opened:
        opened.take([0])
        with open(path, "r+b") as file:
            file.seek(int(opened.column.parts[0].offsets[7]))
            file.write(bytes(8))
        with pytest.raises(SourceChangedError, match="was written to after it was opened"):
            opened.take([7])


def test_an_error_of_the_system_is_explained(tmp_path):
    """What the system says of a read that fails is passed on with the place."""
    path = write(tmp_path / "x.h5", plain_values((20, 100)), (1, 100), compression="gzip")
    with Opened(column_of([path]), [path]) as opened:
        opened.take([0])
        other = os.open(path, os.O_WRONLY)
        try:
            kept_fd = os.dup(opened.files.descriptor(0))
            os.dup2(other, opened.files.descriptor(0))
            for records in ([15], [3, 15, 9, 0, 12, 19]):
                with pytest.raises(SourceError, match=r"x\.h5: reading \d+ bytes of 'x' at offset [\d,]+ failed: Bad file descriptor\."):
                    opened.take(records)
            os.dup2(kept_fd, opened.files.descriptor(0))
            os.close(kept_fd)
            assert (opened.take([15]) == plain_values((20, 100))[15]).all()
        finally:
            os.close(other)


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_a_lying_index_never_does_more_than_fail(tmp_path_factory, seed):
    """Offsets, sizes and masks that are not the file's: some records or a streamload error, in bounded memory."""
    rng = np.random.default_rng(seed)
    path = write(tmp_path_factory.mktemp("lies") / "x.h5", plain_values((20, 50), "<i2"), (3, 20), compression="gzip", shuffle=True)
    true = chunked_file(path)
    count, nbytes = len(true.offsets), path.stat().st_size
    lies = chunk_reader.ChunkedFile(
        number=0,
        records=20,
        chunk_shape=true.chunk_shape,
        offsets=rng.integers(-1, nbytes, count),
        nbytes=rng.integers(0, 200, count),
        masks=rng.integers(0, 4, count).astype(np.uint32),
        filters=true.filters,
        stored=true.stored,
        fill=true.fill,
    )
    with Opened(chunked.ChunkedColumn(field=Field("x", np.dtype("<i2"), (50,)), parts=(lies,), label=""), [path]) as opened:
        try:
            assert opened.take(np.arange(20)).shape == (20, 50)
        except CorruptDataError:
            pass
    path.unlink()
