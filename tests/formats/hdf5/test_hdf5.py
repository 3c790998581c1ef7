"""HDF5 sources deliver what h5py reads, in every layout and type that h5py can write."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import h5py
import hdf5_files
import numpy as np
import pytest
from hdf5_files import LAYOUTS, Arrays, write
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from streamload.errors import CorruptDataError
from streamload.formats.hdf5.discovery.inspection import inspect_files
from streamload.formats.hdf5.request import Request
from streamload.formats.open import open_source
from streamload.source import Source


def assert_delivers(path: object, expected: Arrays, **options: object) -> None:
    """Every kind of index gives exactly the expected arrays, dtypes and shapes included."""
    source = open_source(path, **options)
    records = len(next(iter(expected.values())))
    try:
        assert len(source) == records
        assert set(source.schema.names) == set(expected)
        choices = [slice(None), slice(3, 40, 7), slice(None, None, -1), [5 % records, -1, 0, 5 % records], np.arange(records) % 3 == 0]
        for choice in choices:
            taken = source[choice]
            for name, array in expected.items():
                assert taken[name].dtype == array.dtype
                assert taken[name].dtype.isnative
                np.testing.assert_array_equal(taken[name], array[choice])
        one = source[records - 1]
        for name, array in expected.items():
            np.testing.assert_array_equal(one[name], array[-1])
    finally:
        source.close()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_delivered_as_h5py_reads_it(layout: str, tmp_path: Path):
    """data[i], slices, lists, masks: equal to the arrays written, in native byte order."""
    expected = LAYOUTS[layout](tmp_path / "a.h5")
    assert_delivers(tmp_path / "a.h5", expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_source_pickles_and_reads_on(layout: str, tmp_path: Path):
    """A source that has been read from travels to another process: it holds no handles then."""
    expected = LAYOUTS[layout](tmp_path / "a.h5")
    source = open_source(tmp_path / "a.h5")
    name, array = next(iter(expected.items()))
    source[0]
    copy = pickle.loads(pickle.dumps(source))
    source.close()
    np.testing.assert_array_equal(copy[7 % len(array)][name], array[7 % len(array)])
    copy.close()


@settings(max_examples=60)
@given(data=st.data())
def test_any_small_shape_chunk_and_type_is_delivered(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    """Random shapes, chunks, filters and dtypes, in one file or three, equal what was written."""
    dtype = data.draw(st.sampled_from(["u1", ">u2", "<i4", ">i8", "<f2", ">f4", "f8", ">c8", "?", "S3"]))
    shape = data.draw(st.lists(st.integers(1, 5), max_size=3).map(tuple))
    folder = tmp_path_factory.mktemp("any")
    written: list[np.ndarray] = []
    for number in range(data.draw(st.sampled_from([1, 3]))):
        records = data.draw(st.integers(1, 20))
        values = data.draw(arrays_of.arrays(np.dtype(dtype), (records, *shape), fill=st.nothing()))
        chunks = data.draw(st.none() | st.tuples(*(st.integers(1, length) for length in values.shape)))
        keywords: dict[str, object] = {} if chunks is None else {"chunks": chunks}
        if chunks is not None:
            keywords["compression"] = data.draw(st.sampled_from([None, "gzip", "lzf"]))
            keywords["shuffle"] = data.draw(st.booleans())
        hdf5_files.write(folder / f"{number}.h5", x=(values, keywords))
        written.append(values.astype(values.dtype.newbyteorder("=")))
    assert_delivers(str(folder / "*.h5"), {"x": np.concatenate(written)})


def test_several_files_with_different_layouts_are_one_source(tmp_path: Path):
    """Contiguous, chunked, compressed and empty files, in both byte orders, one after the other."""
    layouts: list[tuple[int, str, dict[str, object]]] = [
        (10, "<i2", {}),
        (7, ">i2", {"chunks": (3, 4, 5)}),
        (0, "<i2", {"chunks": (3, 4, 5), "maxshape": (None, 4, 5)}),
        (9, "<i2", {"chunks": (4, 4, 5), "compression": "gzip"}),
        (1, "<i2", {}),
    ]
    parts: list[np.ndarray] = []
    for number, (records, dtype, keywords) in enumerate(layouts):
        data = hdf5_files.images(records, (4, 5), dtype, seed=number)
        hdf5_files.write(tmp_path / f"{number}.h5", image=(data, keywords), label=np.full(records, number, ">u2"))
        parts.append(data.astype("i2"))
    numbers = np.repeat(np.arange(5, dtype="u2"), [len(part) for part in parts])
    assert_delivers([tmp_path / f"{number}.h5" for number in range(5)], {"image": np.concatenate(parts), "label": numbers})


def test_raw_files_in_two_layouts_stay_addressable(tmp_path: Path):
    """A contiguous file beside one in chunks without filters: both are read by offset."""
    hdf5_files.write(tmp_path / "0.h5", image=hdf5_files.images(10))
    hdf5_files.write(tmp_path / "1.h5", image=(hdf5_files.images(11, seed=1), {"chunks": (4, 7, 6, 3)}))
    source = open_source(str(tmp_path / "*.h5"))
    assert source.addressable
    cuts = source.columns[0].cuts
    assert cuts is not None
    assert cuts.tolist() == [0, 10, 14, 18, 21]
    assert_delivers(str(tmp_path / "*.h5"), {"image": np.concatenate([hdf5_files.images(10), hdf5_files.images(11, seed=1)])})


def test_raw_layouts_are_read_without_the_hdf5_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Once open, contiguous and unfiltered records never touch h5py."""
    layouts = ("contiguous", "chunks of 8 without filter", "compound in chunks", "int16 big-endian", "user block of 8192, chunked")
    sources: list[tuple[Source, Arrays]] = []
    for number, layout in enumerate(layouts):
        expected = LAYOUTS[layout](tmp_path / f"{number}.h5")
        sources.append((open_source(tmp_path / f"{number}.h5"), expected))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("h5py was asked")

    monkeypatch.setattr(h5py, "File", refuse)
    for source, expected in sources:
        assert source.addressable
        for name, array in source[:].items():
            np.testing.assert_array_equal(array, expected[name])
        source.close()


def test_the_librarys_part_of_planning_gives_plain_values(tmp_path: Path):
    """What `survey` finds can be sent from another process: nothing of the HDF5 library is in it."""
    LAYOUTS["gzip"](tmp_path / "a.h5")
    found = inspect_files(Request.of([str(tmp_path / "a.h5")]))
    copy = pickle.loads(pickle.dumps(found))
    assert copy.names == ("images", "labels")
    assert [[piece.stored for piece in pieces] for pieces in copy.fields] == [[piece.stored for piece in pieces] for pieces in found.fields]
    assert copy.fields[0][0].index.offsets.tolist() == found.fields[0][0].index.offsets.tolist()


def test_small_fields_are_held_and_the_largest_never_is(tmp_path: Path):
    """At most 64 bytes a record; not the only field, nor the one with the largest records."""
    path = tmp_path / "a.h5"
    small, large = np.arange(800, dtype=">u8").reshape(100, 8), np.arange(900).reshape(100, 9)
    hdf5_files.write(path, photo=hdf5_files.images(), small=small, large=large)
    source = open_source(path)
    assert [type(column).__name__ for column in source.columns] == ["RawRecords", "RawRecords", "InMemory"]
    np.testing.assert_array_equal(source[::-1]["small"], small[::-1])
    assert open_source(path, fields=["small"]).columns[0].cuts is None
    assert type(open_source(path, fields=["small"]).columns[0]).__name__ == "RawRecords"
    source.close()


def test_scale_offset_of_full_width_is_read_or_hdf5_is_too_old(tmp_path: Path):
    """HDF5 before 2.0 fails on some of it as on damage: that the file may be good, and what reads it, is said."""
    image = np.random.default_rng(0).integers(0, 256, (7, 6, 3), np.uint8)
    write(tmp_path / "a.h5", image=(image, {"chunks": (3, 4, 3), "scaleoffset": 0}))
    source = open_source(tmp_path / "a.h5")
    if h5py.version.hdf5_version_tuple >= (2, 0, 0):
        np.testing.assert_array_equal(source[:]["image"], image)
    else:
        with pytest.raises(CorruptDataError, match=r"\(version 1\.\S+ says so of some good scale-offset data too, which h5py 3\.16"):
            source[:]
    source.close()


def test_a_forked_process_opens_its_own_handles(tmp_path: Path):
    """A reader that goes through the library keeps its handles to the process that opened them."""
    expected = LAYOUTS["scale-offset"](tmp_path / "a.h5")["images"]
    source = open_source(tmp_path / "a.h5")
    np.testing.assert_array_equal(source[50]["images"], expected[50])
    child = os.fork()
    if child == 0:
        try:
            good = bool((source[:]["images"] == expected).all())
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(source[99]["images"], expected[99])
    source.close()


def test_repr_shows_what_a_field_costs(tmp_path: Path):
    """Records decoded for each one delivered, and fields that only the library can read."""
    LAYOUTS["gzip"](tmp_path / "a.h5")
    text = "'images': exact order decodes 8 records for each one delivered; block order decodes each once"
    assert text in open_source(tmp_path / "a.h5").notes
    LAYOUTS["scale-offset"](tmp_path / "b.h5")
    text = "'images': only the HDF5 library can read this layout, one thread at a time; `streamload convert` makes it fast"
    assert text in open_source(tmp_path / "b.h5").notes
