"""One odd dataset leaves out itself, with a note; what was never written is its fill values; and both are said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import WRITTEN, images, labels, refused, write

from streamload.errors import CorruptDataError, UnsupportedFeatureError
from streamload.formats.open import open_source
from streamload.ragged import Ragged
from streamload.testing import check_source


@pytest.mark.parametrize("keywords", [{}, {"chunks": (9,)}, {"chunks": (9,), "compression": "gzip"}, {"chunks": (9,), "scaleoffset": 0}])
@pytest.mark.parametrize("fill", [None, -7])
def test_d5_a_dataset_that_was_never_written_is_its_fill_values(fill: int | None, keywords: dict[str, object], tmp_path: Path):
    """Beside others, and alone where it is asked for; as the HDF5 library reads it."""
    path = write_unwritten(tmp_path / "a.h5", fill, keywords)
    expected = np.full(100, fill or 0, ">i4")
    for fields in (None, ["late"]):
        with open_source(path, fields=fields) as source:
            assert "'late' was never written: its records are fill values" in source.notes
            np.testing.assert_array_equal(source[:]["late"], expected)
            np.testing.assert_array_equal(source[[7, 99]]["late"], expected[[7, 99]])
            assert "never written, fill values" in repr(source)
    assert source[0]["late"].dtype == np.dtype("i4")


def write_unwritten(path: Path, fill: int | None, keywords: dict[str, object]) -> Path:
    """Images, and a dataset that was made but never written."""
    write(path, image=images())
    with h5py.File(path, "r+") as file:
        file.create_dataset("late", (100,), ">i4", fillvalue=fill, **keywords)
    return path


def test_d5_fill_values_of_members_and_of_variable_length(tmp_path: Path):
    """What the HDF5 library alone can read: compound members, strings."""
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        file["image"] = images()
        kind = np.dtype([("x", "f4"), ("y", "u1", (3,))])
        file.create_dataset("table", (100,), kind, fillvalue=np.array((2.5, [1, 2, 3]), kind))
        file.create_dataset("text", (100,), h5py.string_dtype())
    with open_source(tmp_path / "a.h5") as source:
        taken = source[[3, 50]]
        assert taken["table.x"].tolist() == [2.5, 2.5]
        assert taken["table.y"].tolist() == [[1, 2, 3]] * 2
        assert taken["text"].to_list() == ["", ""]


def test_d5_an_unwritten_dataset_is_no_reason_to_choose_its_length(tmp_path: Path):
    """It holds nothing, whatever its shape says; where another file of the source has values, it is an error."""
    path = tmp_path / "a.h5"
    write(path, image=images())
    with h5py.File(path, "r+") as file:
        file.create_dataset("huge", (10**9,), "f8")
    source = open_source(path)
    assert (len(source), source.schema.names) == (100, ("image",))
    write(tmp_path / "b.h5", image=images(), late=labels().astype(">i4"))
    write_unwritten(tmp_path / "c.h5", None, {})
    assert refused(CorruptDataError, [tmp_path / "b.h5", tmp_path / "c.h5"]) == (
        f"{tmp_path / 'c.h5'}: dataset 'late' claims 100 records (400 B), and no data is stored for them. "
        "Was the program that wrote it interrupted? Write it again; fields=['late'] delivers fill values."
    )
    with open_source([tmp_path / "b.h5", tmp_path / "c.h5"], fields=["late"]) as both:
        assert both[95:105]["late"].tolist() == [*labels()[95:], 0, 0, 0, 0, 0]
        assert both.notes[0] == f"'late' was never written in {tmp_path / 'c.h5'}: its records are fill values"


def test_d5_a_netcdf_dimension_without_coordinates_is_no_field(tmp_path: Path):
    """The dataset stands for a length; netCDF-4 never writes it."""
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        file["tas"] = np.random.default_rng(0).random((12, 5))
        dimension = file.create_dataset("time", (12,), ">f4")
        dimension.attrs["CLASS"] = np.bytes_("DIMENSION_SCALE")
        dimension.attrs["NAME"] = np.bytes_("This is a netCDF dimension but not a netCDF variable.        12")
    source = open_source(tmp_path / "a.h5")
    assert source.schema.names == ("tas",)
    assert "'time' left out: it is a netCDF dimension without coordinates" in source.notes


def test_d8_bitfields_are_numbers_where_all_bits_count_and_unsupported_by_name_where_not(tmp_path: Path):
    """The library has no way from nine bits of sixteen to a number of NumPy's."""
    for name, old, new in (("all", b"", b""), ("nine", b"\x02\0\0\0\0\0\x10\0", b"\x02\0\0\0\x03\0\x09\0")):
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w", **WRITTEN) as file:
            bits = h5py.h5d.create(file.id, b"bits", h5py.h5t.STD_B16LE, h5py.h5s.create_simple((100,)))
            bits.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(100, dtype="u2"), mtype=h5py.h5t.STD_B16LE)
            file["image"] = images()
        path.write_bytes(path.read_bytes().replace(old, new) if old else path.read_bytes())
    assert open_source(tmp_path / "all.h5")[:]["bits"].tolist() == list(range(100))
    what = "bitfields that do not use all bits of their 2 bytes, which cannot be delivered as arrays of one shape"
    assert refused(UnsupportedFeatureError, tmp_path / "nine.h5", fields=["bits"]) == (
        f"{tmp_path / 'nine.h5'}: dataset 'bits' holds {what}. "
        "Choose other fields with fields=[...], or convert it to a type of fixed size."
    )
    assert open_source(tmp_path / "nine.h5").notes == (f"'bits' left out: it holds {what}",)


def test_a7_texts_of_one_name_in_two_groups_are_no_pair(tmp_path: Path):
    """AnnData's obs/_index and var/_index count cells and genes."""
    text = h5py.string_dtype()
    write(
        tmp_path / "a.h5",
        **{
            "obs/_index": (np.array([f"cell {number}" for number in range(30)], object), {"dtype": text}),
            "var/_index": (np.array([f"g{number}" for number in range(20)], object), {"dtype": text}),
        },
    )
    source = open_source(tmp_path / "a.h5")
    assert source[29]["_index"] == "cell 29"
    assert "'var/_index' left out: 20 records, not 30" in source.notes


def ragged_images(path: Path) -> Path:
    """Records of bytes of any length that begin as PNG images of one size do, beside labels."""
    chance = np.random.default_rng(0)
    with h5py.File(path, "w", **WRITTEN) as file:
        dataset = file.create_dataset("image", (80,), h5py.vlen_dtype("u1"))
        for record in range(80):
            head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x09\x08\x02\0\0\0"
            dataset[record] = np.frombuffer(head + chance.bytes(60 + record), "u1")
        file["label"] = np.arange(80)
    return path


def test_e4_the_library_reads_nothing_in_the_users_process_to_open(tmp_path: Path):
    """Not even the first records of a field that may hold images: what damage does to it can be ended there."""
    path = ragged_images(tmp_path / "a.h5")
    code = """
import sys, warnings, streamload as sl
warnings.simplefilter("error")
data = sl.open(sys.argv[1])
print(data.schema["image"].shape, "h5py" in sys.modules, end="")
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(9, 8, 3) False", "")


def test_e4_damaged_records_of_variable_length_end_in_an_error_or_open(tmp_path: Path):
    """Bytes of the heap and of what leads to it changed: nothing else comes of it, and no process is lost."""
    good = ragged_images(tmp_path / "a.h5").read_bytes()
    heap = good.index(b"GCOL")
    path = tmp_path / "bad.h5"
    outcomes: set[str] = set()
    for place in (*range(heap, heap + 48, 4), *range(heap + 200, len(good), len(good) // 12)):
        for value in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
            path.write_bytes(good[:place] + value + good[place + 4 :])
            try:
                outcomes.add(str(len(open_source(path, fields=["image"]))))
            except CorruptDataError as error:
                outcomes.add(type(error).__name__)
    assert outcomes <= {"80", "CorruptDataError"}


def test_d13_what_programs_keep_for_themselves_is_no_data(tmp_path: Path):
    """MATLAB's references, and the indexes of PyTables, larger than the data."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=512, **WRITTEN) as file:
        file["x"] = labels()
        for number in range(30):
            file[f"#refs#/a{number}"] = np.zeros((9, 500), "u2")
        file["#subsystem#/MCOS"] = np.zeros((1, 6))
        file["_i_table/label/sorted"] = np.zeros((900, 8))
    source = open_source(path)
    assert (source.schema.names, len(source)) == (("x",), 100)
    assert source.notes == (
        "'#refs#' left out: MATLAB keeps there what cell arrays and structures refer to",
        "'#subsystem#' left out: MATLAB keeps there what describes its objects",
        "'_i_table' left out: PyTables keeps there the indexes of a table",
    )
    assert len(open_source(path, fields=["#refs#/a7"])) == 9


@pytest.mark.parametrize("version", ["2", "2, a whole model", "3"])
def test_d13_weights_are_named_for_what_they_are(version: str, tmp_path: Path):
    """Of a Keras model, by its attributes, its groups, or the names of its variables; asked for, an array is an array."""
    path = tmp_path / "a.h5"
    names = {"2": "dense/dense/kernel:0", "2, a whole model": "model_weights/dense/kernel:0", "3": "layers/dense/vars/0"}
    with h5py.File(path, "w", **WRITTEN) as file:
        file[names[version]] = np.zeros((30, 4))
        if version == "2":
            file.attrs["keras_version"] = "2.9"
    assert refused(UnsupportedFeatureError, path) == (
        f"{path} holds the weights of a Keras model, not records. "
        "Load it with Keras; an array of it can still be read by name, fields=[...]."
    )
    assert len(open_source(path, fields=[names[version]])) == 30


def test_d17_members_of_variable_length_are_delivered_and_others_leave_out_themselves(tmp_path: Path):
    """Texts and arrays in a compound, raw and in gzip; a reference beside them is left out with the true reason."""
    kind = np.dtype([("x", "f4"), ("name", h5py.string_dtype()), ("hits", h5py.vlen_dtype("i2")), ("to", h5py.ref_dtype)])
    for keywords in ({}, {"chunks": (9,), "compression": "gzip"}):
        path = tmp_path / f"{len(keywords)}.h5"
        with h5py.File(path, "w", **WRITTEN) as file:
            table = file.create_dataset("table", (100,), kind, **keywords)
            table[:] = np.array([(k, "ab" * (k % 3), np.arange(k % 5, dtype="i2"), table.ref) for k in range(100)], kind)
        source = open_source(path)
        check_source(
            source,
            {
                "table.x": np.arange(100, dtype="f4"),
                "table.name": texts(["ab" * (k % 3) for k in range(100)]),
                "table.hits": ragged([np.arange(k % 5, dtype="i2") for k in range(100)]),
            },
            num_workers=(0,),
        )
        assert "'table.to' left out: it holds references to other objects" in source.notes
        assert refused(UnsupportedFeatureError, path, fields=["table.to"]) == (
            f"{path}: 'table.to' holds references to other objects, which cannot be delivered as arrays of one shape. "
            "Choose other fields with fields=[...]."
        )


def texts(words: list[str]) -> Ragged:
    """Texts as they are delivered."""
    encoded = [word.encode() for word in words]
    return Ragged(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)]), "text")


def ragged(arrays: list[np.ndarray]) -> Ragged:
    """Arrays of different lengths as they are delivered."""
    return Ragged(np.concatenate(arrays), np.cumsum([0, *map(len, arrays)]), "array")


@pytest.mark.parametrize("keywords", [{}, {"chunks": (30, 1)}, {"chunks": (30, 1), "compression": "gzip"}])
def test_d17_one_text_a_record_in_a_column_of_one_is_a_text(keywords: dict[str, object], tmp_path: Path):
    """(N, 1) texts and arrays, as pandas and MATLAB have them."""
    words = ["ab" * (k % 3) for k in range(100)]
    arrays = [np.arange(k % 4, dtype="f8") for k in range(100)]
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        file["image"] = images()
        file.create_dataset("name", data=np.array(words, object).reshape(100, 1), dtype=h5py.string_dtype(), **keywords)
        hits = file.create_dataset("hits", (100, 1), h5py.vlen_dtype("f8"), **keywords)
        for k, array in enumerate(arrays):
            hits[k, 0] = array
    expected = {"image": images(), "name": texts(words), "hits": ragged(arrays)}
    check_source(open_source(tmp_path / "a.h5"), expected, num_workers=(0,))
