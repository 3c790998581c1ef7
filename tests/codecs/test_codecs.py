"""Codecs give back what libhdf5's filters were given, honour masks, and meet damage with an error and no more memory."""

from __future__ import annotations

import importlib
import io
import struct
import tracemalloc
import zlib
from itertools import product

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamload.codecs import NAMES, FilterPipeline, supported
from streamload.errors import ChecksumError, CorruptDataError
from streamload.kernels import unshuffle_kernels

COMPRESSORS = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "blosc": hdf5plugin.Blosc(),
    "blosc-zstd-bits": hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    "blosc-zlib": hdf5plugin.Blosc(cname="zlib"),
    "blosc-snappy": hdf5plugin.Blosc(cname="snappy"),
    "blosc-snappy-bits": hdf5plugin.Blosc(cname="snappy", shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    "blosc-snappy-plain": hdf5plugin.Blosc(cname="snappy", shuffle=hdf5plugin.Blosc.NOSHUFFLE),
    "blosc2": hdf5plugin.Blosc2(),
    "blosc2-zstd-delta": hdf5plugin.Blosc2(cname="zstd", filters=hdf5plugin.Blosc2.DELTA),
    "lz4": hdf5plugin.LZ4(),
    "lz4-small-blocks": hdf5plugin.LZ4(nbytes=256),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle-lz4": hdf5plugin.Bitshuffle(),
    "bitshuffle-lz4-small-blocks": hdf5plugin.Bitshuffle(nelems=64),
    "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "zstd": hdf5plugin.Zstd(),
}
"""Every compressor that libhdf5 can write with here."""
DTYPES = ["u1", "?", "<i2", ">i4", "<f4", "<f2", ">f8", "<c16", "S5", "V33"]


def stored_chunk(values, **filters):
    """One chunk of `values` as libhdf5 stores it: filters, mask, bytes."""
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("x", data=values, chunks=values.shape, **filters)
        plist = dataset.id.get_create_plist()
        steps = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        mask, data = dataset.id.read_direct_chunk((0,) * values.ndim)
    return [(step[0], tuple(step[2])) for step in steps], mask, np.frombuffer(data, np.uint8)


def values_of(dtype, shape, *, noise):
    """Bytes without any pattern if `noise`, so that nothing compresses; else the same two elements, in runs."""
    rng = np.random.default_rng(0)
    width, count = np.dtype(dtype).itemsize, int(np.prod(shape))
    if noise:
        data = rng.integers(0, 256, count * width, np.uint8)
    else:
        data = rng.integers(0, 7, (2, width), np.uint8)[rng.integers(0, 2, count // 9 + 1).repeat(9)[:count]].reshape(-1)
    return (data & 1 if dtype == "?" else data).view(dtype).reshape(shape)


@pytest.mark.parametrize("shuffle", [False, True], ids=["plain", "shuffled"])
@pytest.mark.parametrize("checksum", [False, True], ids=["unchecked", "fletcher32"])
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_combination_of_filters_is_undone_to_the_byte(compressor, checksum, shuffle):
    """For each compressor, with and without shuffle and checksum: what libhdf5 stored decodes to what it was given."""
    for dtype, shape, noise in product(DTYPES, [(4, 33, 35), (1,), (1021,)], [False, True]):
        values = values_of(dtype, shape, noise=noise)
        filters, mask, data = stored_chunk(values, shuffle=shuffle, fletcher32=checksum, **COMPRESSORS[compressor])
        assert supported(filters, values.dtype)
        out = np.empty(values.nbytes, np.uint8)
        pipeline = FilterPipeline(filters, values.dtype.itemsize, values.nbytes)
        assert pipeline.decode(data, mask, out) is out
        assert out.tobytes() == values.tobytes()
        assert pipeline.decode(memoryview(data), mask).tobytes() == values.tobytes()


@pytest.mark.parametrize("noise", [False, True], ids=["patterns", "noise"])
@pytest.mark.parametrize("dtype", ["u1", "<i2", "<f8", "V33"])
@pytest.mark.parametrize("compressor", ["blosc", "blosc-snappy", "blosc-snappy-bits", "blosc-snappy-plain"])
def test_a_blosc_chunk_of_many_blocks(compressor, dtype, noise):
    """Whole blocks, which may be split into streams, and a shorter one at the end."""
    values = values_of(dtype, (200_003,), noise=noise)
    filters, mask, data = stored_chunk(values, **COMPRESSORS[compressor])
    assert FilterPipeline(filters, values.dtype.itemsize, values.nbytes).decode(data, mask).tobytes() == values.tobytes()


@pytest.mark.parametrize("side", [300, 1000])
def test_a_blosc2_chunk_cut_into_blocks_is_put_in_order(side):
    """Blosc2 stores large chunks of several dimensions block by block, padded; elements come back in C order."""
    values = np.arange(2 * side * (side + 1), dtype="<f4").reshape(2, side, side + 1) * 0.37
    filters, mask, data = stored_chunk(values, **hdf5plugin.Blosc2(cname="lz4"))
    assert FilterPipeline(filters, 4, values.nbytes).decode(data, mask).tobytes() == values.tobytes()


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_chunk_of_zeros_is_decoded(compressor):
    """Compressors have special marks for chunks of one value; zeros stay zeros."""
    values = np.zeros((3, 100, 101), "<f4")
    filters, mask, data = stored_chunk(values, **COMPRESSORS[compressor])
    assert not FilterPipeline(filters, 4, values.nbytes).decode(data, mask).any()


@given(
    width=st.sampled_from([1, 2, 3, 4, 8, 16, 17, 40]),
    count=st.integers(1, 100_000) | st.sampled_from([32767, 32768, 32769]),
    tail=st.integers(0, 39),
)
def test_unshuffling_is_the_inverse_of_shuffling(width, count, tail):
    """Byte k of element i comes from place k * count + i; bytes behind the last whole element stay."""
    count = min(count, 400_000 // width)
    tail %= width
    data = np.random.default_rng(width).integers(0, 256, count * width + tail, np.uint8)
    shuffled = np.concatenate([data[: count * width].reshape(count, width).T.reshape(-1), data[count * width :]])
    decoded = FilterPipeline([(2, (width,))], width, len(data)).decode(shuffled)
    assert decoded.tobytes() == data.tobytes()
    for name in ("unshuffle", "unshuffle_plain"):
        room = np.full(count * width, 0xAB, np.uint8)
        importlib.import_module(f"streamload.kernels.{name}").unshuffle(shuffled[: count * width], room, width)
        assert room.tobytes() == data[: count * width].tobytes()


def test_unshuffling_takes_lines_of_tables_too():
    """Rows that do not lie side by side: the plain way."""
    data = np.random.default_rng(0).integers(0, 256, (800, 3), np.uint8)[:, 1]
    assert not data.flags.c_contiguous
    room = np.empty(800, np.uint8)
    unshuffle_kernels().unshuffle(data, room, 4)
    assert room.tobytes() == data.reshape(4, 200).T.tobytes()


@given(
    steps=st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=5),
    mask=st.integers(0, 31),
    nbytes=st.integers(1, 3000),
)
def test_any_order_of_filters_with_any_mask_is_undone(steps, mask, nbytes):
    """A set bit i means that filter i was left out for this chunk; the others are undone, last one first."""
    values = np.random.default_rng(nbytes).integers(0, 5, nbytes, np.uint8).tobytes()
    data = values
    for i, step in enumerate(steps):
        if not mask >> i & 1:
            data = _apply(step, data)
    decoded = FilterPipeline([(step, (4,) if step == 2 else ()) for step in steps], 4, nbytes).decode(np.frombuffer(data, np.uint8), mask)
    assert decoded.tobytes() == values


def _apply(step, data):
    import imagecodecs

    if step == 1:
        return zlib.compress(data)
    if step == 3:
        return data + struct.pack("<I", imagecodecs.h5checksum_fletcher32(data, None))
    whole = len(data) // 4 * 4
    return np.frombuffer(data[:whole], np.uint8).reshape(-1, 4).T.tobytes() + data[whole:]


def test_a_checksum_in_the_byte_order_of_old_files_is_accepted():
    """HDF5 before 1.6.3 swapped the bytes of each half of the sum; libhdf5 takes both, and so do we."""
    filters, _, data = stored_chunk(np.arange(100, dtype="u1"), fletcher32=True)
    old = data.copy()
    old[-4:] = data[[-3, -4, -1, -2]]
    assert FilterPipeline(filters, 1, 100).decode(old).tobytes() == bytes(range(100))


def test_a_wrong_checksum_is_named_with_both_sums():
    """A flipped byte under fletcher32 is a ChecksumError that says what is stored and what the bytes give."""
    filters, _, data = stored_chunk(np.arange(100, dtype="u1"), fletcher32=True)
    damaged = data.copy()
    damaged[7] ^= 1
    with pytest.raises(ChecksumError, match=r"^its fletcher32 checksum is 0x[0-9a-f]{8}, and its bytes give 0x[0-9a-f]{8}\.$"):
        FilterPipeline(filters, 1, 100).decode(damaged)
    with pytest.raises(CorruptDataError, match=r"^fletcher32 needs 4 bytes of checksum, and there are 2 bytes\.$"):
        FilterPipeline(filters, 1, 100).decode(data[:2])


@pytest.mark.parametrize("compressor", [name for name in COMPRESSORS if name not in ("none", "bitshuffle")])
def test_each_flipped_byte_under_a_checksum_is_an_error(compressor):
    """With fletcher32 after a compressor, no single damaged byte gives other values."""
    values = values_of("<i2", (2, 9, 11), noise=False)
    filters, mask, data = stored_chunk(values, fletcher32=True, **COMPRESSORS[compressor])
    pipeline = FilterPipeline(filters, 2, values.nbytes)
    for place, flip in product(range(len(data)), [0x01, 0x80, 0xFF]):
        damaged = data.copy()
        damaged[place] ^= flip
        try:
            assert pipeline.decode(damaged, mask).tobytes() == values.tobytes()
        except ChecksumError:
            pass


@pytest.mark.parametrize("compressor", [name for name in COMPRESSORS if name != "none"])
def test_damage_is_an_error_or_other_bytes_but_never_a_crash_nor_much_memory(compressor):
    """Each byte flipped, each length cut to: a result of the right length or a streamload error, in bounded memory."""
    values = values_of("<i2", (2, 9, 11), noise=False)
    filters, mask, data = stored_chunk(values, **COMPRESSORS[compressor])
    pipeline = FilterPipeline(filters, 2, values.nbytes)
    damages = [(place, flip) for place in range(len(data)) for flip in (0x01, 0x80, 0xFF)]
    tracemalloc.start()
    try:
        for place, flip in damages:
            damaged = data.copy()
            damaged[place] ^= flip
            _survives(pipeline, damaged, mask, values)
        for length in range(len(data)):
            _survives(pipeline, data[:length].copy(), mask, values)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000 + pipeline.scratch_nbytes
    finally:
        tracemalloc.stop()


def _survives(pipeline, damaged, mask, values):
    try:
        assert len(pipeline.decode(damaged, mask)) == values.nbytes
    except CorruptDataError:
        pass


@given(compressor=st.sampled_from([name for name in COMPRESSORS if name != "none"]), data=st.binary(max_size=300))
def test_arbitrary_bytes_never_do_more_than_fail(compressor, data):
    """Bytes that no filter wrote give a result of the right length or a CorruptDataError."""
    filters, _, _ = stored_chunk(values_of("<i2", (64,), noise=False), **COMPRESSORS[compressor])
    _survives(FilterPipeline(filters, 2, 128), np.frombuffer(data, np.uint8), 0, np.zeros(128, np.uint8))


@pytest.mark.parametrize("compressor", ["gzip", "lzf", "blosc", "blosc-snappy", "blosc2", "lz4", "bitshuffle-lz4", "zstd"])
def test_a_bomb_is_refused_in_bounded_memory(compressor):
    """A chunk that would decode to 10,000 times its due is an error, and its bytes are never made."""
    filters, mask, data = stored_chunk(np.zeros(20_000_000, np.uint8), **COMPRESSORS[compressor])
    pipeline = FilterPipeline(filters, 1, 2000)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptDataError):
            pipeline.decode(data, mask)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_bomb_behind_another_filter_is_refused():
    """The bound holds between filters too: a bomb inside a stream that is no bomb itself."""
    bomb = zlib.compress(zlib.compress(bytes(50_000_000), 9), 9)
    with pytest.raises(CorruptDataError, match=r"^deflate cannot decode"):
        FilterPipeline([(1, ()), (1, ())], 1, 1000).decode(np.frombuffer(bomb, np.uint8))


@pytest.mark.parametrize(
    ("compressor", "change", "text"),
    [
        ("gzip", lambda data: data[: len(data) // 2], r"^deflate cannot decode \d+ bytes \(.*\)\.$"),
        ("none", lambda data: data[:-1], r"^a chunk without filters gave 395 bytes where the chunk has 396\.$"),
        ("blosc", lambda data: data[:10], r"^blosc needs a header of 16 bytes, and there are 10 bytes\.$"),
        ("blosc", lambda data: data[:-1], r"^blosc's header says [\d,]+ to 396 bytes, where [\d,]+ are stored for at most 396\.$"),
        (
            "blosc-snappy",
            lambda data: _with(data, 3, 0),
            r"^blosc's header says 396 bytes in blocks of 396, which \d+ cannot hold\.$",
        ),
        ("blosc-snappy", lambda data: _with(data, 18, 1), r"^blosc's stream at byte 65,\d+ is beyond the \d+ that there are\.$"),
        ("blosc-snappy", lambda data: _with(data, 22, 1), r"^blosc's stream of 65,\d+ bytes is cut short after \d+\.$"),
        ("lz4", lambda data: data[:11], r"^lz4 needs a header of 12 bytes, and there are 11 bytes\.$"),
        ("lz4", lambda data: _with(data, 6, 255), r"^lz4's header says 65,\d+ bytes, where there can be 396 at most\.$"),
        ("bitshuffle-lz4", lambda data: _with(data, 11, 1), r"^bitshuffle's header says blocks of [\d,]+ bytes for elements of 2\.$"),
        ("bitshuffle-lz4", lambda data: _with(data, 12, 9), r"^bitshuffle's block at byte 12 says [\d,]+ bytes, and \d+ are left\.$"),
        ("bitshuffle-lz4", lambda data: data[:-1], r"^bitshuffle's last 12 bytes are missing\.$"),
        ("blosc2", lambda data: data[:50], r"^blosc2's frame does not begin as one \(50 bytes\)\.$"),
        ("blosc2", lambda data: _with(data, 33, 1), r"^blosc2's frame of \d+ bytes has a damaged header, or more than one chunk\.$"),
        ("blosc2", lambda data: _with(data, 115, 0), r"^blosc2's frame has a damaged list of shapes\.$"),
        ("blosc2", lambda data: _with(data, 124, 9), r"^blosc2's frame says shape \(9, 9, 11\) in chunks of \(2, 9, 11\) and blocks of "),
    ],
)
def test_damage_is_described(compressor, change, text):
    """The text says which filter stumbled, and over what lengths."""
    values = values_of("<i2", (2, 9, 11), noise=False)
    filters, mask, data = stored_chunk(values, **COMPRESSORS[compressor])
    with pytest.raises(CorruptDataError, match=text):
        FilterPipeline(filters, 2, values.nbytes).decode(np.ascontiguousarray(change(data)), mask)


def test_a_blosc_block_that_its_elements_do_not_divide_is_an_error():
    """Its streams are whole, and would leave the last bytes of the block as they were in memory."""
    part = np.arange(85, dtype=np.uint8).tobytes()  # 3 streams of 85 bytes, not compressed, in a block of 256.
    streams = b"".join(struct.pack("<I", len(part)) + part for _ in range(3))
    head = struct.pack("<BBBBIII", 2, 1, 2 << 5, 3, 256, 256, 16 + 4 + len(streams)) + struct.pack("<I", 20)
    text = r"^blosc's header says elements of 3 bytes, which do not divide its blocks of 256\.$"
    with pytest.raises(CorruptDataError, match=text):
        FilterPipeline([(32001, ())], 1, 256).decode(np.frombuffer(head + streams, np.uint8))


def _with(data, place, value):
    changed = data.copy()
    changed[place] = value
    return changed


def test_a_chunk_that_decodes_to_less_than_it_should_is_an_error():
    """A complete stream of too few bytes is damage too."""
    with pytest.raises(CorruptDataError, match=r"^deflate gave 10 bytes where the chunk has 20\.$"):
        FilterPipeline([(1, ())], 1, 20).decode(np.frombuffer(zlib.compress(bytes(10)), np.uint8))


def test_what_is_supported():
    """Known filters on plain elements; not szip and the like, nor objects, nor compressors inside blosc that are missing."""
    plain = np.dtype(np.uint8)
    assert {*NAMES} == {1, 2, 3, 32000, 32001, 32004, 32008, 32015, 32026}
    assert supported([], plain)
    assert supported([(number, ()) for number in NAMES], plain)
    assert not any(supported([(1, ()), (number, ())], plain) for number in (4, 5, 6, 305, 32013))
    assert not supported([(1, ())], np.dtype(object))
    assert not supported([(32001, (2, 2, 1, 100, 5, 1, 7))], plain)
    assert not supported([(32008, (0, 4, 1, 0, 7))], plain)


def test_any_number_of_masks_costs_no_more_memory():
    """A damaged index can hold any masks: what is remembered of them is bounded."""
    pipeline, data = FilterPipeline([(1, ())], 1, 5), np.frombuffer(zlib.compress(b"abcde"), np.uint8)
    for mask in range(0, 4000, 2):
        assert pipeline.decode(data, mask).tobytes() == b"abcde"
    assert len(pipeline._plans) <= 64


def test_buffers_are_reused_between_chunks():
    """A second chunk costs no new memory: what a step writes on the way goes where the first chunk's went."""
    values = values_of("<i4", (50_000,), noise=False)
    filters, mask, data = stored_chunk(values, compression="gzip", shuffle=True)
    pipeline, out = FilterPipeline(filters, 4, values.nbytes), np.empty(values.nbytes, np.uint8)
    pipeline.decode(data, mask, out)
    tracemalloc.start()
    try:
        pipeline.decode(data, mask, out)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()
    assert pipeline.scratch_nbytes >= values.nbytes


@pytest.mark.parametrize("dtype", ["<i2", "<f8", "V33"])
def test_a_blosc2_chunk_never_takes_what_was_in_memory_before(dtype):
    """Its header, which no checksum covers, may list filters in any order, some of which would be undone by what is overwritten; or say
    that there are no values."""
    values = values_of(dtype, (3, 61, 7), noise=False)
    filters, mask, data = stored_chunk(values, **COMPRESSORS["blosc2-zstd-delta"])
    (start,) = struct.unpack_from(">i", data.tobytes(), 11)
    assert (data[start + 16 : start + 22].tolist(), data[start + 31]) == ([0, 0, 0, 0, 0, 3], 0)
    refused = []
    for *listed, kind in [*product((0, 1, 2, 3, 4), (0, 1, 3), (0, 3), (0,)), *((0, 0, 0, kind << 4 | 1) for kind in range(16))]:
        damaged = data.copy()
        damaged[start + 18 : start + 21], damaged[start + 31] = listed, kind
        found = []
        for before in (0xAA, 0x55):
            room = np.full(values.nbytes, before, np.uint8)
            try:
                found.append(FilterPipeline(filters, values.dtype.itemsize, values.nbytes).decode(damaged, mask, room).tobytes())
            except CorruptDataError as error:
                found.append(error.message)
        assert found[0] == found[1]
        refused += [found[0]] if isinstance(found[0], str) else []
    assert sum(text.startswith("blosc2's chunk has filters in an order that nobody can undo (0, 0, ") for text in refused) == 28
    assert refused.count("blosc2's chunk says that it was never written.") == 2
