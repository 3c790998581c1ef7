"""Writers and the simplest sources: what is written to any format is read again; IDX and CIFAR are read as they are meant."""

from __future__ import annotations

import gc
import gzip
import os
import pickle
import struct
import warnings
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import answer
from foreign_files import taken
from hypothesis import given, settings
from hypothesis import strategies as st

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, UnsafeSourceError
from streamload.ragged import Ragged
from streamload.schema import BYTES, Field, Schema
from streamload.tools.convert.record_hashes import Content
from streamload.tools.convert.writers.registry import CODECS, FORMATS, write_options, writer_of

NUMBERS = count()
DTYPES = ["u1", "i2", "<f4", "<f8", "?", "<i8", "<f2", "u2"]


@st.composite
def datasets(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """One to three fields of any dtype and shape, with 0 to 40 records; the first has at least one value a record."""
    records = draw(st.integers(0, 40))
    held: dict[str, np.ndarray] = {}
    for number in range(draw(st.integers(1, 3))):
        shape = draw(st.lists(st.integers(1, 5), max_size=3).map(tuple))
        dtype = np.dtype(draw(st.sampled_from(DTYPES)))
        data = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 2, (records, *shape))
        held[f"field{number}"] = (data * draw(st.integers(1, 100))).astype(dtype)
    return held


def write(path: Path, held: dict[str, np.ndarray], style: Any, parts: int) -> None:
    """Write all records, so many at a time."""
    records = len(next(iter(held.values())))
    writer = writer_of(str(path), Schema(tuple(Field(n, v.dtype, v.shape[1:]) for n, v in held.items())), records, style)
    for start in range(0, records, parts):
        writer.append({name: values[start : start + parts] for name, values in held.items()})
    writer.close()


@pytest.mark.parametrize(("name", "codec"), [(name, codec) for name in FORMATS for codec in CODECS[name]])
@settings(max_examples=20)
@given(held=datasets(), parts=st.integers(1, 50), chunk=st.none() | st.integers(1, 20))
def test_what_is_written_is_read_again(tmp_path: Path, name: str, codec: str, held: dict[str, np.ndarray], parts: int, chunk: int | None):
    """Every format and codec, any fields, however records come in and however large blocks are."""
    path = tmp_path / f"{next(NUMBERS)}{FORMATS[name]}"
    write(path, held, write_options(name=name, path=str(path), codec=codec, chunk_records=None if name in ("npy", "npz") else chunk), parts)
    source = sl.open(path, list(held) if len(held) > 1 else None)
    records = len(next(iter(held.values())))
    assert len(source) == records
    taken = source.take(np.arange(records, dtype=np.int64))
    for got, wanted in zip(taken.values(), held.values(), strict=True):
        assert got.dtype == wanted.dtype
        # Labels of shape (N, 1) are delivered as single numbers.
        np.testing.assert_array_equal(got, wanted.reshape(got.shape) if got.ndim == 1 and wanted[:1].size <= 1 else wanted)
    source.close()


@pytest.mark.parametrize("store", ["raw", "keep"])
@pytest.mark.parametrize("name", FORMATS)
def test_an_abandoned_writer_holds_no_file(name: str, store: str, tmp_path: Path):
    """Neither descriptors nor files that warn when they are collected; with half of the records written."""
    path = tmp_path / f"a{FORMATS[name]}"
    schema = Schema((Field("x", np.dtype("u1"), (64, 64)), Field("y", np.dtype("i8"), ())))
    if (store, name) == ("keep", "parquet"):  # Another writer, for encoded images.
        schema = Schema((Field("x", np.dtype("u1"), (), BYTES), Field("y", np.dtype("i8"), ())))
    elif store == "keep":
        pytest.skip("the same writer")
    images = Ragged(np.zeros(90, np.uint8), np.arange(0, 91, 10), BYTES) if schema["x"].ragged else np.zeros((9, 64, 64), np.uint8)
    style = replace(write_options(name=name, path=str(path), codec="none", chunk_records=None), store=store)
    before = set(os.listdir("/proc/self/fd"))
    writer = writer_of(str(path), schema, 18, style)
    writer.append({"x": images, "y": np.arange(9)})
    writer.abandon()
    if name != "parquet" or store == "keep":  # The other lets go of itself, without a word.
        assert len(set(os.listdir("/proc/self/fd")) - before) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del writer
        gc.collect()
    assert len(set(os.listdir("/proc/self/fd")) - before) == 0


def test_hdf5_is_written_for_every_reader(tmp_path: Path):
    """The first superblock, and h5py reads what was compressed here."""
    held = {"image": np.random.default_rng(0).integers(0, 9, (10, 4, 4, 3)).astype("<u2")}
    write(tmp_path / "a.h5", held, write_options(name=None, path="a.h5", codec="gzip", chunk_records=3), 4)
    assert (tmp_path / "a.h5").read_bytes()[8] in (0, 2)
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file["image"].compression, file["image"].shuffle, file["image"].chunks) == ("gzip", True, (3, 4, 4, 3))
        np.testing.assert_array_equal(file["image"], held["image"])


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"name": "hdf4"}, "Did you mean 'hdf5'?"),
        ({"path": "a.npy", "codec": "gzip"}, "--codec gzip is not written to npy files"),
        ({"codec": "gzip:10"}, "--codec gzip:10 has a level that gzip does not"),
        ({"chunk_records": 0}, "--chunk-records 0 holds nothing"),
        ({"path": "a.npy", "name": "hdf5"}, "a.npy is named like npy, and --to says hdf5"),
        ({"path": "a.npy", "chunk_records": 5}, "--chunk-records means nothing in npy files"),
        ({"path": "a.csv"}, "a.csv: no format that is written has the ending .csv"),
    ],
)
def test_styles_that_cannot_be_are_refused(asked: dict[str, Any], text: str):
    """Before anything is read."""
    with pytest.raises(ConfigError, match=text):
        write_options(**({"name": None, "path": "a", "codec": "none", "chunk_records": None} | asked))


@pytest.mark.parametrize(
    ("path", "hint"),
    [("a.csv", "Name DST .h5, .parquet, .arrow, .npy or .npz."), ("a.parqet", "Did you mean '.parquet'?")],
)
def test_an_ending_that_nobody_writes_makes_no_folder(path: str, hint: str):
    """Unless it is said what goes into it; a number is part of a name."""
    with pytest.raises(ConfigError) as caught:
        write_options(name=None, path=path, codec="none", chunk_records=None)
    assert caught.value.hint == f"{hint} For a folder of that name say what goes into it: --to hdf5."
    assert write_options(name="npy", path=path, codec="none", chunk_records=None).format == "npy"
    assert write_options(name=None, path="set.v2", codec="none", chunk_records=None).format == "hdf5"


@given(held=datasets(), cut=st.integers(0, 40))
def test_a_digest_depends_on_records_alone(held: dict[str, np.ndarray], cut: int):
    """However they are divided, and whatever the order of fields; but not if they change places."""
    whole, first, second = Content(3), Content(3), Content(3)
    whole.add(held, 0)
    first.add({name: held[name][:cut] for name in reversed(held)}, 0)
    second.add({name: values[cut:] for name, values in held.items()}, min(cut, len(held["field0"])))
    assert whole.numbered == (first.numbered + second.numbered) % (1 << 128)
    turned = Content(3)
    turned.add({name: values[::-1] for name, values in held.items()}, 0)
    assert turned.unnumbered == whole.unnumbered
    assert (turned.numbered == whole.numbered) == all(np.array_equal(values, values[::-1]) for values in held.values())


def idx(values: np.ndarray) -> bytes:
    """An array as an IDX file of bytes."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


class TestIdx:
    """MNIST's files."""

    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
    @pytest.mark.parametrize("records", [0, 1, 5])
    def test_images_and_the_labels_beside_them(self, packed: bool, records: int, tmp_path: Path):
        """Found by their names, packed or not."""
        images = np.random.default_rng(0).integers(0, 256, (records, 4, 3), dtype=np.uint8)
        labels = np.arange(records, dtype=np.uint8)
        end = ".gz" if packed else ""
        for name, values in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
            data = idx(values)
            (tmp_path / (name + end)).write_bytes(gzip.compress(data) if packed else data)
        _, records_ = taken(tmp_path / ("train-images-idx3-ubyte" + end))
        np.testing.assert_array_equal(records_["image"], images)
        np.testing.assert_array_equal(records_["label"], labels)

    def test_a_file_that_is_cut_short_is_damaged(self, tmp_path: Path):
        """The head says how much there should be."""
        (tmp_path / "t-images").write_bytes(idx(np.zeros((5, 4, 4), np.uint8))[:-3])
        with pytest.raises(CorruptDataError, match="holds 77 bytes of values, and its head says 80"):
            taken(tmp_path / "t-images")
        (tmp_path / "g-images.gz").write_bytes(gzip.compress(idx(np.zeros((5, 4, 4), np.uint8)))[:-12])
        with pytest.raises(CorruptDataError, match="cannot be read as IDX"):
            taken(tmp_path / "g-images.gz")

    def test_a_folder_stands_for_its_images_for_training(self, tmp_path: Path):
        """As MNIST is downloaded: packed, unpacked or both; where several sets could be meant, they are named."""
        images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
        (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(images[:1]))
        assert len(taken(tmp_path)[0]) == 1
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(3, dtype=np.uint8))))
        origin, found = taken(tmp_path)
        names = [f"train-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1")]
        assert origin.paths == [str(tmp_path / name) for name in names]
        np.testing.assert_array_equal(found["image"], images)
        (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
        assert len(taken(tmp_path)[0]) == 3
        (tmp_path / "train2-images-idx3-ubyte").write_bytes(idx(images))
        with pytest.raises(ConfigError, match="several sets of images: train-images-idx3-ubyte, train2-images-idx3-ubyte"):
            taken(tmp_path)

    def test_labels_must_be_as_many(self, tmp_path: Path):
        """Else they belong to something else."""
        (tmp_path / "t-images").write_bytes(idx(np.zeros((5, 4, 4), np.uint8)))
        (tmp_path / "t-labels").write_bytes(idx(np.zeros(4, np.uint8)))
        with pytest.raises(SchemaMismatchError, match=r"holds 5 records, and .*t-labels 4 labels"):
            taken(tmp_path / "t-images")


class Harm:
    """An object whose pickle runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch harmed",)


class TestCifar:
    """CIFAR's files."""

    DATA = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)

    @pytest.mark.parametrize(("names", "labels"), [(["data_batch_1.bin", "data_batch_2.bin"], 1), (["train.bin"], 2)], ids=["10", "100"])
    def test_binary_batches(self, names: list[str], labels: int, tmp_path: Path):
        """Planes become pixels; batches follow each other."""
        rows = np.concatenate([np.tile(np.arange(4, dtype=np.uint8)[:, None], labels), self.DATA], axis=1)
        for name in names:
            (tmp_path / name).write_bytes(rows.tobytes())
        _, records = taken(tmp_path)
        wanted = self.DATA.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(records["image"], np.concatenate([wanted] * len(names)))
        assert list(records) == (["image", "label"] if labels == 1 else ["image", "coarse_label", "fine_label"])
        assert records["label" if labels == 1 else "fine_label"].tolist() == [0, 1, 2, 3] * len(names)

    @pytest.mark.parametrize("protocol", [2, 4])
    def test_pickles_of_arrays_and_lists(self, protocol: int, tmp_path: Path):
        """As Python 2 and 3 wrote them, keys as bytes or as text."""
        for number, key in ((1, str), (2, lambda text: text.encode())):
            held = {key("data"): self.DATA, key("labels"): [3, 1, 2, 0], key("filenames"): [b"a"]}
            (tmp_path / f"data_batch_{number}").write_bytes(pickle.dumps(held, protocol=protocol))
        _, records = taken(tmp_path)
        assert records["label"].tolist() == [3, 1, 2, 0] * 2
        np.testing.assert_array_equal(records["image"][:4], self.DATA.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))

    def test_words_beside_the_batches_are_the_classes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """In a pickle or in text; where a label has no word, none has."""
        rows = np.concatenate([np.arange(4, dtype=np.uint8)[:, None], self.DATA], axis=1)
        words = ["plane", "car", "bird", "cat"]
        for name, said, wanted in (("text", "\n".join(words) + "\n\n", words), ("pickle", words, words), ("few", "plane\ncar\n", None)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "data_batch_1.bin").write_bytes(rows.tobytes())
            if isinstance(said, str):
                (tmp_path / name / "batches.meta.txt").write_text(said)
            else:
                held = {b"label_names": [word.encode() for word in said], b"num_vis": 3072}
                (tmp_path / name / "batches.meta").write_bytes(pickle.dumps(held, protocol=2))
            code, document = answer(capsys, "info", tmp_path / name)
            assert code == 0
            assert document["classes"] == ({"label": wanted} if wanted else {})
        (tmp_path / "few" / "batches.meta").write_bytes(pickle.dumps(Harm(), protocol=2))
        with pytest.raises(UnsafeSourceError, match=r"batches\.meta: its pickle asks for"):
            taken(tmp_path / "few")

    @pytest.mark.parametrize(
        "held", [Harm(), {"data": Harm()}, [Harm], np.array([Harm()], object)], ids=["call", "inside", "class", "objects"]
    )
    def test_a_pickle_runs_nothing(self, held: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """What asks for a function is refused by its name."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data_batch_1").write_bytes(pickle.dumps(held, protocol=2))
        with pytest.raises((UnsafeSourceError, CorruptDataError)) as caught:
            taken(tmp_path)
        assert isinstance(caught.value, UnsafeSourceError) or not isinstance(held, Harm)
        assert not (tmp_path / "harmed").exists()

    @pytest.mark.parametrize(
        "steps",
        [
            b"cos\nsystem\n(S'touch harmed'\ntR.",
            b"(S'touch harmed'\nios\nsystem\n.",
            b"(cos\nsystem\nS'touch harmed'\no.",
            b"\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch harmed\x85R.",
            b"cbuiltins\neval\n(S'1'\ntR.",
            b"cnumpy\nload\n(S'x'\ntR.",
            b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\n(I0\ntS'b'\ntR.",
            b"Pos.system\n.",
            b"\x82\x01.",
            b"\x8f.",
            b"\x97.",
            b"r\xff\xff\xff\x7f" + b"N" + b"r\xff\xff\xff\x7f.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.",
            b"\x8b\xff\xff\xff\x7f.",
            b"(" * 100_000 + b"t" * 100_000 + b".",
            b"}" + b"]" * 50_000 + b"a" * 49_999 + b"Ns.",
        ],
        ids=[
            "call", "call, old", "call, older", "call, new", "eval", "load", "function for a class", "outside", "extension", "set",
            "buffer",            "memo of billions", "bytes of billions", "number of billions", "nested", "list for a key",
        ],
    )  # fmt: skip
    def test_hostile_pickles_do_nothing(self, steps: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """No step of the machine that reads them leads anywhere, and none takes more than the file has."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data_batch_1").write_bytes(b"\x80\x02" + steps)
        with pytest.raises((UnsafeSourceError, CorruptDataError), match="data_batch_1"):
            taken(tmp_path)
        assert not (tmp_path / "harmed").exists()

    def test_attributes_cannot_be_set_on_what_a_pickle_may_call(self, tmp_path: Path):
        """State goes to arrays, and to nothing else; objects and structures are no numbers."""
        for state in (b"}S'__call__'\nNsb.", b"(N}S'x'\nNstb."):
            (tmp_path / "data_batch_1").write_bytes(b"\x80\x02cnumpy\ndtype\n" + state)
            with pytest.raises((UnsafeSourceError, CorruptDataError)):
                taken(tmp_path)
        for kind in ("O8", "V8", "i4,f8"):
            (tmp_path / "data_batch_1").write_bytes(b"\x80\x02cnumpy\ndtype\n(S'" + kind.encode() + b"'\nI0\nI1\ntR.")
            with pytest.raises(UnsafeSourceError, match="an array of other things than numbers"):
                taken(tmp_path)

    @given(data=st.binary(max_size=200))
    def test_nonsense_is_an_error_of_ours(self, tmp_path: Path, data: bytes):
        """Whatever the bytes are."""
        (tmp_path / "data_batch_1").write_bytes(b"\x80\x02" + data)
        with pytest.raises((CorruptDataError, UnsafeSourceError)):
            taken(tmp_path)
