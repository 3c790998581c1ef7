"""NumPy's files deliver what NumPy loads, by offset, and nothing in them is unpickled."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import assert_delivers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from streamload.errors import (
    ChecksumError,
    ConfigError,
    CorruptDataError,
    SchemaMismatchError,
    SourceChangedError,
    StreamloadError,
    UnsafeSourceError,
    UnsupportedFeatureError,
)
from streamload.formats.npy import planning
from streamload.formats.open import open_source


def images(records: int = 50, dtype: str = "u1", seed: int = 0) -> np.ndarray:
    """Random images."""
    return np.random.default_rng(seed).integers(0, 200, (records, 7, 6, 3)).astype(dtype)


def structure(records: int = 50) -> np.ndarray:
    """Records of a structured dtype, with padding, a nested structure and both byte orders."""
    inner = np.dtype([("x", ">i2"), ("y", "<f4")])
    table = np.zeros(records, np.dtype([("image", "u1", (5, 4)), ("label", "<i8"), ("place", inner)], align=True))
    table["image"] = np.random.default_rng(1).integers(0, 255, (records, 5, 4))
    table["label"] = np.arange(records)
    table["place"]["x"], table["place"]["y"] = np.arange(records) * 3, np.linspace(0, 1, records)
    return table


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", ">f8", "<f2", "<c8", "?", "S5", "<M8[us]"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_delivered(dtype: str, order: str, tmp_path: Path):
    """Both orders of axes, both byte orders, every plain dtype."""
    data = np.asarray(images().astype(dtype), order=order)
    np.save(tmp_path / "photo.npy", data)
    assert_delivers(tmp_path / "photo.npy", {"photo": data.astype(np.dtype(dtype).newbyteorder("="))})
    source = open_source(tmp_path / "photo.npy")
    assert source.addressable == (order == "C")
    kind = "contiguous" if order == "C" else "Fortran order, turned round in blocks of"
    assert f"photo: {kind}" in repr(source)


def test_records_of_one_number_are_contiguous_in_either_order(tmp_path: Path):
    """(N,) and (N, 1) have one order only, whatever the header says."""
    for name, data in (("a", np.arange(9.0)), ("b", np.asfortranarray(np.arange(9.0).reshape(9, 1)))):
        np.save(tmp_path / f"{name}.npy", data)
        assert open_source(tmp_path / f"{name}.npy").addressable
        assert_delivers(tmp_path / f"{name}.npy", {name: data})


def test_a_structured_dtype_gives_a_field_for_each_member(tmp_path: Path):
    """By offset and stride; small members are held in memory."""
    table = structure()
    np.save(tmp_path / "t.npy", table)
    expected = {
        "image": table["image"],
        "label": table["label"],
        "place.x": table["place"]["x"].astype("i2"),
        "place.y": table["place"]["y"],
    }
    assert_delivers(tmp_path / "t.npy", expected)
    source = open_source(tmp_path / "t.npy")
    assert [type(column).__name__ for column in source.columns] == ["RawRecords", "InMemory", "InMemory", "InMemory"]
    assert_delivers(tmp_path / "t.npy", {"picture": table["image"]}, fields={"picture": "image"})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_an_archive_gives_a_field_for_each_array(save: Callable[..., None], tmp_path: Path):
    """Stored members are read by offset, compressed ones decoded once."""
    data, labels = images(), np.arange(50, dtype=">i4")
    save(tmp_path / "a.npz", x=data, y=labels, f=np.asfortranarray(images(seed=2)))
    assert_delivers(tmp_path / "a.npz", {"x": data, "y": labels.astype("i4"), "f": images(seed=2)})
    kind = "RawRecords" if save is np.savez else "InMemory"
    assert type(open_source(tmp_path / "a.npz").columns[0]).__name__ == kind


def test_several_files_are_one_source_named_by_what_they_share(tmp_path: Path):
    """train-0.npy and train-1.npy hold the field `train`; orders of axes and bytes may differ."""
    parts = [images(10, seed=0), np.asfortranarray(images(1, seed=1)), images(0), images(20, seed=3).astype(">u2").astype("u1")]
    for number, part in enumerate(parts):
        np.save(tmp_path / f"train-{number}.npy", part)
    assert_delivers(str(tmp_path / "train-*.npy"), {"train": np.concatenate(parts)})
    np.save(tmp_path / "0.npy", np.arange(6, dtype=">i2").reshape(3, 2))
    np.save(tmp_path / "1.npy", np.arange(6, dtype="<i2").reshape(3, 2))
    both = [tmp_path / "0.npy", tmp_path / "1.npy"]
    assert_delivers(both, {"array": np.tile(np.arange(6, dtype="i2").reshape(3, 2), (2, 1))})


def test_files_of_different_schemas_are_refused(tmp_path: Path):
    """The error names the file, the column and both types."""
    np.save(tmp_path / "x-0.npy", images(3))
    np.save(tmp_path / "x-1.npy", images(3).astype("f4"))
    with pytest.raises(SchemaMismatchError) as caught:
        open_source(str(tmp_path / "x-*.npy"))
    assert str(caught.value) == (
        f"Column 'x' differs: uint8 (7, 6, 3) in {tmp_path / 'x-0.npy'}, float32 (7, 6, 3) in {tmp_path / 'x-1.npy'}. "
        "Files of one source have one schema: open them apart, or choose other fields with fields=[...]."
    )


@settings(max_examples=60)
@given(data=st.data())
def test_any_array_is_delivered(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    """Random shapes, dtypes and orders."""
    dtype = data.draw(st.sampled_from(["u1", ">u2", "<i4", ">f4", "f8", ">c8", "?", "S3"]))
    shape = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple))
    values = data.draw(arrays_of.arrays(np.dtype(dtype), shape, fill=st.nothing()))
    path = tmp_path_factory.mktemp("any") / "x.npy"
    np.save(path, np.asarray(values, order=data.draw(st.sampled_from("CF"))))
    assert_delivers(path, {"x": values.astype(np.dtype(dtype).newbyteorder("="))})


def header(descr: str, shape: str, *, fortran: bool = False, data: bytes = b"", length: int | None = None) -> bytes:
    """The bytes of an .npy with a header of one's own."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) if length is None else length) + text + data


DAMAGE: dict[str, tuple[bytes, type[StreamloadError], str]] = {
    "pickled objects": (
        header("'|O'", "(3,)", data=pickle.dumps([1, 2, 3])),
        UnsafeSourceError,
        "{path} holds Python objects (dtype object), stored as pickles, which can run any program: they are never loaded. Load it",
    ),
    "a shape far beyond the file": (
        header("'|u1'", "(1152921504606846976, 2)"),
        CorruptDataError,
        "{path} claims (1152921504606846976, 2) uint8, 2,097,152 TB, and holds 0 B of data. The file is damaged or was cut short:",
    ),
    "data cut short": (
        header("'<i4'", "(10,)", data=b"1234"),
        CorruptDataError,
        "{path} claims (10,) int32, 40 B, and holds 4 B of data. The file is damaged or was cut short: fetch or write it again.",
    ),
    "a header that is no literal": (
        header("__import__('os').getcwd()", "(1,)"),
        CorruptDataError,
        "{path} has no header that NumPy could have written: malformed node or string on line 1: ",
    ),
    "a header cut short": (
        header("'|u1'", "(1,)", length=9_999),
        CorruptDataError,
        "{path} has no header that NumPy could have written: the header is cut short. The file is damaged or was cut short: fetch",
    ),
    "a header of 60 KB": (
        header("'|u1'", "(1,)", length=60_000),
        CorruptDataError,
        "{path} has no header that NumPy could have written: version (1, 0), a header of 60,000 bytes.",
    ),
    "a single value": (
        header("'|u1'", "()", data=b"1"),
        ConfigError,
        "{path} holds a single value, no axis that counts records. Save arrays of records.",
    ),
    "several texts a record": (
        header("'<U3'", "(1, 2)", data=b"1" * 24),
        UnsupportedFeatureError,
        "{path}: 'x' holds several texts a record, of dtype <U3, which cannot be read as a field. Save numbers, booleans, text",
    ),
    "several structures a record": (
        header("[('a', '<i4')]", "(2, 2)", data=b"1" * 16),
        UnsupportedFeatureError,
        "{path}: 'a' holds several structures a record, which cannot be read as a field.",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_cannot_be_used_is_refused_by_name(damage: str, tmp_path: Path):
    """Class and text of each error."""
    content, kind, text = DAMAGE[damage]
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        open_source(path)
    assert str(caught.value).startswith(text.format(path=path))
    assert type(caught.value) is kind


def test_archives_that_cannot_be_used_are_refused_by_name(tmp_path: Path):
    """Lengths that differ, a damaged member, one that is cut."""
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros(3), y=np.zeros(4))
    with pytest.raises(ConfigError, match=r"records \(x: 3, y: 4\). Choose those of one length: fields=\['x'\] or fields=\['y'\]\."):
        open_source(path)
    np.savez_compressed(path, x=images())
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offset = archive.infolist()[0].header_offset + 30 + len("x.npy") + 20 + 100
    content[offset] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(CorruptDataError, match=r"a\.npz is no whole \.npz: "):
        open_source(path)
    np.savez(path, x=images())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptDataError, match=r"a\.npz is no whole \.npz: File is not a zip file"):
        open_source(path)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(CorruptDataError, match="is a zip file"):
        open_source(tmp_path / "b.npz")


def test_members_that_are_not_asked_for_are_left_alone(tmp_path: Path):
    """Train and test in one archive, a mean, names, objects: chosen with fields=, and the error says which go together."""
    data = images(6)
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=data, y_train=np.arange(6), x_test=data[:2], y_test=np.arange(2), mean=np.float32(3))
    with pytest.raises(ConfigError, match=r"fields=\['x_train', 'y_train'\] or fields=\['x_test', 'y_test'\]\."):
        open_source(path)
    with pytest.raises(ConfigError) as caught:
        open_source(path, fields=["x_train", "mean"])
    assert str(caught.value) == (
        f"{path}: member 'mean' holds a single value, no axis that counts records. Save arrays of records. "
        "Or leave it out: fields=['x_train', 'y_train', 'x_test', 'y_test']."
    )
    with pytest.raises(ConfigError) as caught:
        open_source(path, fields=["x_train", "y_train", "x_test"])
    assert str(caught.value) == (
        f"{path}: its arrays differ in their number of records (x_train: 6, y_train: 6, x_test: 2). "
        "Choose those of one length: fields=['x_train', 'y_train'] or fields=['x_test']."
    )
    assert_delivers(path, {"image": data, "label": np.arange(6)}, fields={"image": "x_train", "label": "y_train"})
    assert_delivers(path, {"x_test": data[:2], "y_test": np.arange(2)}, fields=["x_test", "y_test"])
    with pytest.raises(ConfigError, match=r"holds no column 'x_tain'.* Did you mean 'x_train'\?"):
        open_source(path, fields=["x_tain"])
    np.savez(path, x=data, names=np.array(["a"] * 6), objects=np.array([None] * 6, object), s=structure(6))
    assert_delivers(path, {"x": data}, fields=["x"])
    assert_delivers(path, {"s.label": structure(6)["label"]}, fields=["s.label"])
    assert open_source(path).schema.names == ("x", "names", "s.image", "s.label", "s.place.x", "s.place.y")
    assert "'objects' left out: it holds Python objects, stored as pickles, which are never loaded" in repr(open_source(path))
    with pytest.raises(UnsafeSourceError, match="member 'objects' holds Python objects"):
        open_source(path, fields=["objects"])


def test_stored_members_are_verified_when_they_are_first_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A flipped byte of the data is found at open; members beyond the limit are named as not verified."""
    data, path = images(), tmp_path / "a.npz"
    np.savez(path, x=data, y=np.arange(50))
    content = bytearray(path.read_bytes())
    place = content.index(data[20].tobytes())
    content[place] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(ChecksumError, match=r"a\.npz: member 'x' has the checksum [0-9a-f]{8}, and the archive says [0-9a-f]{8}\."):
        open_source(path)
    assert_delivers(path, {"y": np.arange(50)}, fields=["y"])
    monkeypatch.setattr(planning, "MOST_VERIFIED_NBYTES", 1000)
    source = open_source(path)
    note = "\n  'x' has 6.28 KB, which are not verified against the checksum of the archive (up to 0.977 KB are)"
    assert note in repr(source)
    assert "'y' has" not in repr(source)


def test_a_compressed_member_with_a_wrong_checksum_is_refused(tmp_path: Path):
    """What zip says of the bytes must be true."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=images())
    content = bytearray(path.read_bytes())
    where = content.rindex(b"PK\x01\x02") + 16
    content[where] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ChecksumError, match=r"Bad CRC-32 for file 'x\.npy'"):
        open_source(path)


def test_a_file_that_changes_is_found_out(tmp_path: Path):
    """Truncated after it was opened: an error, not other bytes."""
    np.save(tmp_path / "x.npy", images())
    source = open_source(tmp_path / "x.npy")
    os.truncate(tmp_path / "x.npy", 1000)
    with pytest.raises(SourceChangedError, match="shrank from"):
        source[40]
    source.close()


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed npz"])
def test_mutations_give_the_same_records_or_an_error(kind: str, tmp_path: Path):
    """Cut at each percent, and each byte of the metadata flipped: never other bytes of the same schema."""
    path = tmp_path / "a"
    data = images(20)
    with open(path, "wb") as file:
        {"npy": np.save, "npz": lambda f, x: np.savez(f, x=x), "compressed npz": lambda f, x: np.savez_compressed(f, x=x)}[kind](file, data)
    whole = path.read_bytes()
    begins = whole.find(data.tobytes())
    body = range(begins, begins + data.nbytes) if begins >= 0 else range(0)
    places = [place for place in range(len(whole)) if place not in body][:: 3 if kind == "compressed npz" else 1]
    places += body[::100] if kind == "npz" else []  # An .npy alone has no checksum.
    mutants = [whole[: len(whole) * percent // 100] for percent in range(1, 100)]
    bits = [1 << bit for bit in range(8)] if kind == "npy" else [0x01, 0x80]
    for place in places:
        mutants += [whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :] for bit in bits]
    assert len(mutants) > 400
    met = 0
    for mutant in mutants:
        path.write_bytes(mutant)
        met += _met(path, data)
    assert met > 100


def _met(path: Path, data: np.ndarray) -> bool:
    """Whether a mutant was refused; fails if it gives other records of the same schema."""
    try:
        source: Any = open_source(path)
        with np.errstate(all="ignore"):
            taken = source[:]
        source.close()
    except StreamloadError:
        return True
    (values,) = taken.values()
    if (values.dtype, values.shape) == (data.dtype, data.shape):
        np.testing.assert_array_equal(values, data)
    return False
