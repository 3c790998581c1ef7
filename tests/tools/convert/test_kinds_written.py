"""Values of every kind, written to what can hold them and read again the same; what cannot hold them refuses beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import streamload as sl
from streamload.errors import ConfigError, SourceError
from streamload.ragged import Ragged
from streamload.schema import TEXT, Field, Schema
from streamload.tools.__main__ import main
from streamload.tools.convert.writers.registry import write_options, writer_of
from streamload.tools.convert.writers.text_limits import unheld_text

VALUES = {
    "bytes": np.array([b"a", b"a\0b", b"", b"\0\xff"] * 5, "S3"),
    "a byte": np.array([[b"a", b""]] * 20, "S1"),
    "moments": np.array(["2020-01-01T00:00:01", "NaT"] * 10, "M8[s]"),
    "moments in arrays": np.arange(-20, 20).reshape(20, 2).astype("M8[25us]"),
    "dates": np.arange(-10, 10).astype("M8[D]"),
    "durations": np.arange(-10, 10).astype("m8[ns]"),
    "big-endian moments": np.arange(20).astype(">M8[ms]"),
    "long doubles": np.linspace(0, 1, 20, dtype="g"),
    "big-endian": np.arange(20, dtype=">c16"),
}


@pytest.mark.parametrize("target", ["arrow", "parquet", "h5"])
@pytest.mark.parametrize("kind", VALUES)
def test_what_numpy_has_is_written_and_read_again(kind: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The same type and the same values, and `verify` says so."""
    values: NDArray[Any] = VALUES[kind]
    np.save(tmp_path / "x.npy", values)
    path = str(tmp_path / f"x.{target}")
    assert main(["convert", str(tmp_path / "x.npy"), path]) == 0
    with sl.open(path) as source:
        found = source[:]["x"]
    assert (found.dtype, found.shape) == (values.dtype.newbyteorder("="), values.shape)
    np.testing.assert_array_equal(found, values)
    assert main(["verify", path]) == 0
    capsys.readouterr()


def words_and_lists(path: Path) -> pa.Table:
    """Records that differ in length, of every kind that tables have, beside dates and numbers."""
    length = [k % 4 for k in range(40)]
    columns = {
        "text": pa.array(["aé€"[:n] * k for k, n in enumerate(length)], pa.string()),
        "bytes": pa.array([b"\0\xffa"[:n] for n in length], pa.binary()),
        "alike": pa.array([[k, k + 1] for k in range(40)], pa.list_(pa.int16())),
        "lists": pa.array([list(range(n)) for n in length], pa.list_(pa.float32())),
        "small": pa.array([list(range(n)) for n in length], pa.list_(pa.uint8())),
        "flags": pa.array([[True, False, True][:n] for n in length], pa.list_(pa.bool_())),
        "points": pa.array([[[k, k + 1]] * n for k, n in enumerate(length)], pa.list_(pa.list_(pa.float64(), 2))),
        "moments": pa.array([[k] * n for k, n in enumerate(length)], pa.list_(pa.timestamp("ms"))),
        "days": pa.array(range(40), pa.int32()).cast(pa.date32()),
        "at": pa.array(range(40), pa.int64()),
    }
    pq.write_table(pa.table(columns), path)
    return pa.table(columns)


@pytest.mark.parametrize("words", [[], ["--shuffle", "--where", "at != 7"]], ids=["plain", "some, shuffled"])
@pytest.mark.parametrize("target", ["h5", "parquet", "arrow"])
def test_records_that_differ_in_length_are_written_and_read_again(
    target: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The same kinds and the same values, in whatever order; `verify` against the source says so."""
    held = words_and_lists(tmp_path / "a.parquet")
    path = tmp_path / f"b.{target}"
    assert main(["convert", str(tmp_path / "a.parquet"), str(path), "--workers", "1", *words]) == 0, capsys.readouterr().err
    assert main(["verify", str(path), "--against", str(tmp_path / "a.parquet")]) == 0, capsys.readouterr().out
    with sl.open(tmp_path / "a.parquet") as source, sl.open(path) as made:
        assert {str(field) for field in made.schema} == {str(field) for field in source.schema}
        found = made[:]
        assert sorted(found["at"].tolist()) == [k for k in range(40) if k != 7 or not words]
        assert bool(words) == (found["at"].tolist() != sorted(found["at"].tolist()))
        for name in held.column_names:
            wanted = [held[name][at].as_py() for at in found["at"].tolist()]
            assert [one.tolist() if isinstance(one, np.ndarray) else one for one in found[name]] == wanted, name


def test_a_length_that_all_lists_have_is_still_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """One file of a set whose lists happen to be alike stays a part of the set."""
    for at, lists in enumerate(([[1, 2], [3, 4]], [[1], [2, 3, 4]])):
        pq.write_table(pa.table({"x": pa.array(lists, pa.list_(pa.int32()))}), tmp_path / f"{at}.parquet")
    for target in ("parquet", "arrow", "h5"):
        code = main(
            [
                "convert",
                str(tmp_path / "?.parquet"),
                str(tmp_path / target),
                "--to",
                {"h5": "hdf5"}.get(target, target),
                "--shard-size",
                "16",
            ]
        )
        assert code == 0, capsys.readouterr().err
        parts = sorted((tmp_path / target).glob(f"*.{target}"))
        assert len(parts) > 1
        for part in parts:
            with sl.open(part) as made:
                assert str(made.schema) == "x int32 (*,)"


@pytest.mark.parametrize("target", ["npy", "npz"])
def test_what_a_format_cannot_hold_is_not_begun(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The field is named, with the formats that can hold it and the fields that can be held; nothing is left behind."""
    words_and_lists(tmp_path / "a.parquet")
    for dry in (["--dry-run"], []):
        assert main(["convert", str(tmp_path / "a.parquet"), str(tmp_path / f"x.{target}"), *dry]) == 2
        said = capsys.readouterr().err
        assert f"'text' holds records of different lengths (text text (ragged)), and .{target} files cannot hold that." in said
        assert "Write Parquet or Arrow, which can, or choose --fields alike,days,at." in said
        assert [one.name for one in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("name", ["", ".", "a//b", "/a"])
def test_a_name_that_hdf5_takes_for_a_path_is_not_begun(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Names of members of an archive may be anything."""
    np.savez(tmp_path / "a.npz", **{name: np.zeros((5, 4)), "y": np.arange(5)})
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "x.h5")]) == 2
    said = capsys.readouterr().err
    assert f"a.npz: '{name}' is a name that HDF5 files cannot hold, which take it for a path." in said
    assert "Write Parquet or Arrow, which can, or choose --fields y." in said
    assert [one.name for one in tmp_path.iterdir()] == ["a.npz"]
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "x.parquet")]) == 0
    with sl.open(tmp_path / "x.parquet") as made:
        assert set(made.schema.names) == {name, "y"}


PATHS = "'a' is a name that HDF5 files cannot hold beside 'a/y', which makes it a group. Write Parquet or Arrow, which can, or choose"
UNNAMED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "a zero byte in HDF5": (
        "h5",
        ("a\0b", "y"),
        r"'a\x00b' has a name with a zero byte in it, where names in .h5 files end. Write Parquet or",
    ),
    "a zero byte in npz": (
        "npz",
        ("a\0b", "y"),
        r"'a\x00b' has a name with a zero byte in it, where names in .npz files end. Write Parquet or",
    ),
    "no UTF-8": (
        "parquet",
        ("\udcff", "y"),
        r"has a name that is not UTF-8, and files of no format hold that. Rename it in the source, or choose",
    ),
    "a path through a field": ("h5", ("a", "a/y"), PATHS),
    "internals of PyTables": (
        "h5",
        ("_i_t/x", "y"),
        "'_i_t/x' is a name under which programs keep things for themselves in HDF5 files. Write",
    ),
    "internals of MATLAB": (
        "h5",
        ("#refs#", "y"),
        "'#refs#' is a name under which programs keep things for themselves in HDF5 files. Write",
    ),
    "weights": ("h5", ("a/vars/0", "b/vars/0"), "'a/vars/0' is a name that HDF5 files have for the weights of a Keras model. Write"),
    "groups of weights": ("h5", ("model_weights/a", "y"), "is a name that HDF5 files have for the weights of a Keras model. Write"),
    "no name in a structure": (
        "npy",
        ("", "y"),
        "'' has no name, as every field of a structured .npy has. Write Parquet or Arrow, which can, or",
    ),
}


@pytest.mark.parametrize("what", UNNAMED)
def test_a_name_that_a_format_does_not_give_back_is_not_begun(what: str, tmp_path: Path):
    """By whoever writes: it was found when the file was read again."""
    target, names, why = UNNAMED[what]
    schema = Schema(tuple(Field(name, np.dtype("i4"), ()) for name in names))
    style = write_options(name=None, path=f"x.{target}", codec="none", chunk_records=None)
    with pytest.raises(ConfigError) as caught:
        writer_of(str(tmp_path / f"x.{target}"), schema, 1, style)
    assert why in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "names", [["s1/x", "s2/x"], ["s1/x", "s2/x", "y"], [f"x{at}" for at in range(9)]], ids=["siblings", "and one", "flat"]
)
def test_fields_that_are_alike_are_fields_again(names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Though datasets in sibling groups, or many that are numbered, may be records of one field in files of others."""
    records = {name: np.arange(20).reshape(5, 4) + at for at, name in enumerate(names)}
    np.savez(tmp_path / "a.npz", **records)
    for target in ("h5", "parquet", "arrow", "npz", "npy"):
        assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / f"b.{target}"), "--workers", "1"]) == 0, capsys.readouterr().err
        with sl.open(tmp_path / f"b.{target}") as made:
            assert {name: values.tolist() for name, values in made[:].items()} == {name: one.tolist() for name, one in records.items()}


NOT_UTF8 = [b"abc", b"\xc3", b"\xa9", "é".encode()]
"""The second and third texts make a letter, side by side."""


def test_text_that_is_none_is_named_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """HDF5 holds any bytes and calls them text; tables do not."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("text", data=NOT_UTF8, dtype=h5py.string_dtype())
        file["n"] = np.arange(4)
    for more in ([], ["--shuffle"], ["--where", "n > 0"], ["--dry-run"]):
        assert main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "b.parquet"), *more]) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert "a.h5: record 1 of field 'text' holds text that is not UTF-8, and tables hold no other." in said
        assert "Write HDF5, which can hold it, leave the field out, --fields, or leave such records out, --on-bad skip." in said
        assert "writing" not in said
    assert main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "c.h5")]) == 0
    assert main(["verify", str(tmp_path / "c.h5"), "--against", str(tmp_path / "a.h5")]) == 0, capsys.readouterr().out


def test_text_that_hdf5_would_cut_short_is_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The first such record is named, and nothing is left behind; tables hold it."""
    pq.write_table(pa.table({"text": ["a", "", "b\0c", "\0"]}), tmp_path / "a.parquet")
    assert main(["convert", str(tmp_path / "a.parquet"), str(tmp_path / "b.h5"), "--dry-run"]) == 1
    dry = " ".join(capsys.readouterr().err.split())
    assert main(["convert", str(tmp_path / "a.parquet"), str(tmp_path / "b.h5")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert dry.rpartition("streamload:")[2] == said.rpartition("streamload:")[2]
    assert "a.parquet: record 2 of field 'text' holds text with a zero byte in it, where text in HDF5 ends." in said
    assert "Write Parquet or Arrow, which can hold it, leave the field out, --fields, or leave such records out, --on-bad skip." in said
    assert [one.name for one in tmp_path.iterdir()] == ["a.parquet"]
    assert main(["convert", str(tmp_path / "a.parquet"), str(tmp_path / "c.arrow")]) == 0
    with sl.open(tmp_path / "c.arrow") as made:
        assert made[:]["text"].to_list() == ["a", "", "b\0c", "\0"]


def test_records_whose_texts_have_no_place_are_left_out_where_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Or where a condition leaves them out anyway; they are counted."""
    pq.write_table(pa.table({"text": ["a", "é", "b\0c", "\0"], "n": range(4)}), tmp_path / "a.parquet")
    for more, code in ((["--on-bad", "skip"], 1), (["--where", "n < 2"], 0)):
        assert main(["convert", str(tmp_path / "a.parquet"), str(tmp_path / "b.h5"), "--overwrite", *more]) == code
        said = " ".join(capsys.readouterr().out.split())
        assert ("record 2: Field 'text' holds text with a zero byte in it" in said) == bool(code)
        with sl.open(tmp_path / "b.h5") as made:
            assert made[:]["text"].to_list() == ["a", "é"]


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize(
    ("format_name", "texts", "at"),
    [
        ("hdf5", [b"a", b"", b"b\0"], 2),
        ("hdf5", NOT_UTF8, None),
        ("parquet", NOT_UTF8, 1),
        ("arrow", [b"\xc3\xa9", b"", b"\xa9"], 2),
        ("arrow", [b"\0", "𝄞".encode(), b""], None),
        ("npy", [b"\0\xff"], None),
    ],
)
def test_the_first_text_that_has_no_place_is_found(format_name: str, texts: list[bytes], at: int | None, first: int):
    """Among texts that follow others, too."""
    held = Ragged.of([b"\0\xff"] * first + texts)
    assert unheld_text(Ragged(held.values, held.offsets[first:], TEXT), format_name) == at


def test_bytes_that_are_said_to_be_big_endian_are_refused_by_name(tmp_path: Path):
    """They were delivered as if they were little-endian."""
    said = {"shape": "[]", "dtype": ">i4"}
    column = pa.array([b"\0\0\0\1", b"\0\0\0\2"], pa.binary(4))
    table = pa.table([column], pa.schema([pa.field("x", column.type, nullable=False, metadata=said)]))
    path = tmp_path / "x.arrow"
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(SourceError, match="big-endian values in tables are not read"):
        sl.open(path)
