"""What errors, `info`, `plan` and `doctor` say to do is done, and leads on: every command and every call that they print."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, arrays, hdf5_file, image_folder, said
from examples.tar import npy
from foreign_files import framed, noise, packed, png, tar_of, tf_example, tfrecord
from store_files import _end_threads  # noqa: F401 - a fixture

import streamload as sl
from streamload.errors import StreamloadError
from streamload.tools.__main__ import main

COMMANDS = re.compile(r"`(streamload [a-z]+ [^`]+)`")
CALLS = re.compile(r"^\s*(?:open with\s+)?(sl\.(?:open|Loader)\(.*\))$", re.MULTILINE)
WRITTEN = {"libver": ("earliest", "v110")}


def idx(images: np.ndarray) -> bytes:
    """As MNIST has them."""
    return struct.pack(">IIII", 0x803, *images.shape) + images.tobytes()


def photos(here: Path) -> str:
    """A folder of two classes."""
    image_folder(here / "photos of mine", {"ant": 3, "bee": 2})
    return "photos of mine"


def only_photo(here: Path) -> str:
    """One image of a folder."""
    return os.path.join(photos(here), "ant", "000.png")


def stored(name: str, data: bytes) -> Callable[[Path], str]:
    """A file of these bytes."""

    def made(here: Path) -> str:
        (here / name).write_bytes(data)
        return name

    return made


def database(here: Path) -> str:
    """Images by number."""
    import lmdb

    with lmdb.open(str(here / "a.lmdb"), map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
        for at in range(3):
            transaction.put(b"image-%09d" % at, png(noise(seed=at)))
    return "a.lmdb"


def store(here: Path) -> str:
    """A group of two arrays."""
    import zarr

    group = zarr.open_group(str(here / "a.zarr"), mode="w")
    for name, values in arrays(9).items():
        group.create_array(name, data=values)
    return "a.zarr"


IMAGES = np.stack([noise((6, 5), seed=at) for at in range(4)])
CONTAINERS: dict[str, Callable[[Path], str]] = {
    "a folder of photographs": photos,
    "one photograph": only_photo,
    "a tar": stored("a b.tar", tar_of([(f"{at}.png", png(noise(seed=at))) for at in range(3)])),
    "a packed tar": stored("a.tar.gz", gzip.compress(tar_of([(f"{at}.png", png(noise(seed=at))) for at in range(3)]))),
    "a TFRecord": stored("a.tfrecord", b"".join(framed(tf_example({"image": png(noise(seed=at)), "label": [at]})) for at in range(3))),
    "an idx": stored("train-images-idx3-ubyte", idx(IMAGES)),
    "a packed idx": stored("train-images-idx3-ubyte.gz", gzip.compress(idx(IMAGES))),
    "a database": database,
    "a Zarr store": store,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str) -> int:
    """What a command that a hint names comes to."""
    words = shlex.split(command)
    assert words[0] == "streamload"
    return main(words[1:])


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.usefixtures("_end_threads")
def test_what_open_says_of_what_it_does_not_read_leads_to_a_source(kind: str, here: Path, capsys: pytest.CaptureFixture[str]):
    """The one command that its hint names writes a file that opens; `info` names the same."""
    path = CONTAINERS[kind](here)
    try:
        sl.open(path).close()
        return  # nothing is refused
    except StreamloadError as error:
        hint = error.hint
    (command,) = COMMANDS.findall(hint)
    assert run(command) == 0, capsys.readouterr().err
    with sl.open("train.h5" if " convert " in command else shlex.split(command)[2]) as source:
        assert len(source) >= 3
    if kind != "one photograph":
        capsys.readouterr()
        (again,) = COMMANDS.findall(said(capsys, "info", path, "--no-measure")[1])
        assert again == command


def test_a_table_of_text_is_read_after_what_the_hint_says(here: Path):
    """As Python."""
    Path("a.csv").write_text("x,y\n1,2\n3,4\n")
    with pytest.raises(StreamloadError) as caught:
        sl.open("a.csv")
    call = caught.value.hint.removeprefix("Write it as Parquet: ").removesuffix(".")
    program = f"import pyarrow.csv, pyarrow.parquet; path, out = 'a.csv', 'a.parquet'; {call}"
    subprocess.run([sys.executable, "-c", program], check=True)  # its threads stay as long as the process
    assert sl.open("a.parquet")[:]["y"].tolist() == [2, 4]


def fixed(values: np.ndarray) -> pa.Array:
    """A column of arrays of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), int(np.prod(values.shape[1:])))


def table(here: Path, suffix: str, **columns: Any) -> str:
    """A table in a file of one of the formats."""
    made = pa.table(columns)
    if suffix == "parquet":
        pq.write_table(made, here / "a.parquet", row_group_size=20)
    else:
        with pa.OSFile(str(here / "a.arrow"), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
            writer.write_table(made, max_chunksize=20)
    return f"a.{suffix}"


LABELS = np.arange(60) % 5
COLUMNS: dict[str, dict[str, Any]] = {
    "numbers": {"x": np.arange(60), "y": LABELS.astype("f4")},
    "arrays": {"x": fixed(np.zeros((60, 12), "f4")), "label": LABELS},
    "lists": {"x": [list(range(at % 4)) for at in range(60)], "label": LABELS},
    "text and bytes": {"t": [f"é{at}" for at in range(60)], "b": [bytes(at) for at in range(60)], "label": LABELS},
    "images": {"image": [png(noise(seed=at)) for at in range(60)], "label": LABELS},
    "images of many sizes": {"image": [png(noise((6 + at % 3, 5, 3), seed=at)) for at in range(60)], "label": LABELS},
    "nulls": {"x": [None if at % 7 == 0 else at for at in range(60)], "t": [None if at % 9 == 0 else "t" for at in range(60)], "y": LABELS},
    "truth and dates": {"x": np.arange(60) % 2 == 0, "d": np.arange(60).astype("datetime64[D]"), "y": LABELS},
    "names that need quotes": {"it's": np.arange(60), 'a "b" c': LABELS, "d.e": LABELS, "f g": LABELS},
    "structs and names of classes": {
        "s": [{"p": at, "q": at / 2} for at in range(60)],
        "c": pa.array([f"k{at % 3}" for at in range(60)]).dictionary_encode(),
        "y": LABELS,
    },
    "fields that are left out": {"u": pa.array([{"a": [1]}] * 60), "y": LABELS},
}


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("columns", COLUMNS)
def test_calls_that_are_printed_for_tables_open_the_same(columns: str, suffix: str, here: Path, capsys: pytest.CaptureFixture[str]):
    """`info` and `plan`: the same fields and records; what is to be given for nulls, given."""
    path = table(here, suffix, **COLUMNS[columns])
    text = said(capsys, "info", path, "--no-measure")[1]
    flags = re.findall(r"--fill \S+", text)
    executed(text, path)
    text = said(capsys, "plan", path, "--no-measure", "--batch", 8, "--workers", 0, *shlex.split(" ".join(flags)))[1]
    executed(text, path)


def partitions(here: Path) -> str:
    """A folder for each value of a field."""
    for kind in ("a", "b"):
        (here / "in" / f"kind={kind}").mkdir(parents=True)
        pq.write_table(pa.table({"x": [1, 2]}), here / "in" / f"kind={kind}" / "0.parquet")
    return "in"


def brackets(here: Path) -> str:
    """A folder whose name is a pattern, too."""
    (here / "run[1]").mkdir()
    for name in ("a", "b"):
        np.save(here / "run[1]" / f"{name}.npy", np.zeros((3, 2)))
    return "run[1]"


ARRAYS: dict[str, Callable[[Path], str]] = {
    "npy": lambda here: np.save(here / "a.npy", np.zeros((9, 4))) or "a.npy",
    "npy of one file a record": lambda here: [np.save(here / f"{at}.npy", np.full(4, at)) for at in range(5)] and "*.npy",
    "npz": lambda here: np.savez(here / "a.npz", x=np.zeros((9, 4)), y=np.arange(9)) or "a.npz",
    "structured npy": lambda here: np.save(here / "a.npy", np.zeros(9, [("x", "i4"), ("y", "f8", 3)])) or "a.npy",
    "a name with a quote": lambda here: np.save(here / "it's.npy", np.zeros((9, 4))) or "it's.npy",
    "partitions": partitions,
    "brackets": brackets,
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_calls_that_are_printed_for_arrays_open_the_same(kind: str, here: Path, capsys: pytest.CaptureFixture[str]):
    """Files, patterns and folders."""
    path = ARRAYS[kind](here)
    for words in (["info", path, "--no-measure"], ["plan", path, "--no-measure", "--batch", 2, "--workers", 0]):
        executed(said(capsys, *words)[1], path)


def executed(text: str, path: str) -> None:
    """Run every call that a text shows; each opens what the path opens, or more exactly said."""
    calls = CALLS.findall(text)
    assert calls, text
    with sl.open(path) as plain:
        for call in calls:
            inner = re.fullmatch(r"sl\.Loader\((sl\.open\(.*\)), batch_size=.*\)", call)
            if inner:
                eval(call, {"sl": sl}).close()
            with eval(inner[1] if inner else call, {"sl": sl}) as source:
                assert (source.schema, len(source)) == (plain.schema, len(plain)), call


def npz_of_lengths(here: Path) -> str:
    """Arrays that cannot all be fields."""
    np.savez(here / "a.npz", x=np.zeros((9, 4)), y=np.arange(9), z=np.arange(3))
    return "a.npz"


ERRORS: dict[str, tuple[Callable[[Path], str], tuple[str, ...]]] = {
    "arrays of several lengths": (npz_of_lengths, ()),
    "nulls": (lambda here: table(here, "parquet", **COLUMNS["nulls"]), ()),
    "a shape of lists": (lambda here: table(here, "parquet", **COLUMNS["lists"]), ("--shape", "x=3")),
}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("command", ["plan", "convert"])
def test_what_errors_say_to_give_at_the_prompt_is_taken(kind: str, command: str, here: Path, capsys: pytest.CaptureFixture[str]):
    """Each of the arguments that a hint names, in place of those that were wrong; of two for two cases, the one that is meant."""
    make, wrong = ERRORS[kind]
    path = make(here)
    rest = ["--no-measure", "--workers", "0"] if command == "plan" else ["new.parquet", "--overwrite"]
    code, document = answer(capsys, command, path, *wrong, *rest)
    assert code != 0
    hint = document["error"]["hint"]
    assert not re.search(r"\b(fields|shapes|fill|record_axis)=", hint), hint
    cures = re.findall(r"--(?:fields|shape|fill|record-axis) (?:'[^']*'|\S+?)(?=[;.,]?(?:\s|$))", hint)
    together = [" ".join(cures)] if "--fill" in hint else cures
    found = [answer(capsys, command, path, *shlex.split(cure), *rest)[1] for cure in together]
    works = ["error" not in document for document in found]
    assert any(works) if "; where " in hint else all(works) and works, (hint, found)


def test_readings_of_groups_are_told_as_commands_that_work(here: Path, capsys: pytest.CaptureFixture[str]):
    """At the prompt, for `convert` too."""
    with h5py.File("a.h5", "w", **WRITTEN) as file:
        for number in range(12):
            file[f"sample_{number}/image"], file[f"sample_{number}/label"] = np.full((5, 4), number), number
    code, document = answer(capsys, "info", "a.h5")
    assert code == 1
    with pytest.raises(StreamloadError) as caught:
        sl.open("a.h5")
    opened = 0
    for reading in document["readings"]:
        with sl.open("a.h5", reading["fields"], record_axis=reading["record_axis"]) as source:
            assert len(source) == reading["records"]
        assert f"{reading['records']:,}" in caught.value.hint or "readings" in caught.value.details
        opened += 1
    assert opened >= 2


@pytest.mark.parametrize(
    ("options", "code"),
    [({"chunks": (64, 8, 8, 3), "compression": "gzip"}, 0), ({"chunks": (64, 8, 8, 3), "scaleoffset": 8}, 0)],
    ids=["compressed", "only the HDF5 library"],
)
def test_what_info_advises_of_a_layout_makes_it_better(options: dict[str, Any], code: int, here: Path, capsys: pytest.CaptureFixture[str]):
    """Each command by itself; what it was about is not said of what it writes."""
    path = os.path.basename(hdf5_file(here / "my data.h5", arrays(256), **options))
    advice = answer(capsys, "info", path, "--no-measure")[1]["advice"]
    commands = [(line, command) for line in advice for command in COMMANDS.findall(line)]
    assert commands
    for line, command in commands:
        capsys.readouterr()
        assert run(command) == code, command
        capsys.readouterr()
        left = answer(capsys, "info", "new.h5", "--no-measure")[1]["advice"]
        assert line.partition(":")[2].split("`")[0] not in " ".join(left)
        for name in ("new.h5", "new.h5.manifest.json"):
            os.unlink(name)


def test_doctor_names_what_is_wrong_with_what_cures_it(here: Path, capsys: pytest.CaptureFixture[str]):
    """A folder that is not there; and one that is, as it says to name."""
    code, document = answer(capsys, "doctor", "--disk", "nowhere", "--no-measure")
    assert (code, document["wrong"][0]["cure"]) == (1, "name another folder with --disk")
    assert answer(capsys, "doctor", "--disk", ".", "--no-measure")[1]["wrong"] == []


@pytest.mark.parametrize("kind", ["images of many sizes", "arrays", "TFRecord"])
@pytest.mark.usefixtures("_end_threads")
def test_what_a_compressed_file_says_of_shuffling_leads_to_a_shuffled_epoch(kind: str, here: Path, capsys: pytest.CaptureFixture[str]):
    """Its records, each once, in another order than that of the file."""
    if kind == "TFRecord":
        path = tfrecord(here / "a b.tfrecord.gz", [{"x": bytes([254, at]), "label": [at]} for at in range(60)], "gz")
    else:
        inner = {"images of many sizes": lambda at: png(noise((5 + at % 3, 4, 3), seed=at)), "arrays": lambda at: npy(np.full(3, at))}[kind]
        suffix = "png" if kind != "arrays" else "npy"
        members = [(f"{at}.{end}", data) for at in range(60) for end, data in ((suffix, inner(at)), ("id", b"%d" % at))]
        path = here / "a b.tar.gz"
        path.write_bytes(packed(tar_of(members), "gz"))
    with sl.open(path) as source, pytest.raises(StreamloadError) as caught:
        sl.Loader(source, batch_size=60, num_workers=0)
    (command,) = COMMANDS.findall(caught.value.hint)
    assert run(command) == 0, capsys.readouterr().err
    with sl.open(shlex.split(command)[3]) as source, sl.Loader(source, batch_size=60, num_workers=0, memory="256 MB") as loader:
        (batch,) = loader
        numbers = batch["label" if kind == "TFRecord" else "id"].tolist()
    assert numbers != sorted(numbers)
    assert sorted(numbers) == list(range(60))
