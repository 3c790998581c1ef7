"""Files of other fields and of other loaders, which are named for what they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import streamload as sl
from streamload.errors import CorruptDataError, UnsupportedFeatureError

VOLUME = 'Write the volumes as arrays first, each a file, numpy.save("x.npy", volume), or as datasets of HDF5.'
OWN = "Read it with the library that wrote it, and write its records as HDF5 or Parquet."
SOUND = "Sounds are not decoded here: write their samples as arrays first, or their bytes into a column of Parquet."
TENSORS = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()

FILES = {
    "a.nii": ((348).to_bytes(4, "little") + bytes(340) + b"n+1\x00" + bytes(99), "a NIfTI volume", VOLUME),
    "b.nii": ((540).to_bytes(4, "little") + b"n+2\x00\r\n\x1a\n" + bytes(600), "a NIfTI volume", VOLUME),
    "a.nrrd": (b"NRRD0005\ntype: short\n", "an NRRD volume", VOLUME),
    "a.safetensors": (
        len(TENSORS).to_bytes(8, "little") + TENSORS + bytes(4),
        "a file of safetensors, which holds tensors by name and no records",
        OWN,
    ),
    "a.wav": (b"RIFF\x34\x00\x00\x00WAVEfmt ", "a sound (WAV)", SOUND),
    "a.flac": (b"fLaC" + bytes(9), "a sound (FLAC)", SOUND),
    "a.beton": (b"\x02\x00\x01\x00" + bytes(99), "a file of FFCV", OWN),
    "a.mds": (b"\x05\x00\x00\x00" + bytes(99), "a shard of MosaicML Streaming", OWN),
}


@pytest.mark.parametrize("name", FILES)
def test_a_foreign_file_is_named_for_what_it_is(name: str, tmp_path: Path):
    """With what to do."""
    data, what, hint = FILES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnsupportedFeatureError) as caught:
        sl.open(tmp_path / name)
    assert caught.value.message.endswith(f"({len(data)} B) is {what}.")
    assert caught.value.hint == hint


def test_what_only_begins_like_one_is_of_no_known_format(tmp_path: Path):
    """A length beyond the file's end, and an ending alone where content says more."""
    (tmp_path / "a.safetensors").write_bytes((999).to_bytes(8, "little") + b"{" + bytes(20))
    with pytest.raises(CorruptDataError, match="is of no known format"):
        sl.open(tmp_path / "a.safetensors")
    (tmp_path / "a.mds").write_bytes(b"%PDF-1.7 and more")
    with pytest.raises(CorruptDataError, match="is a PDF document"):
        sl.open(tmp_path / "a.mds")


def test_json_lines_are_no_answer_of_a_server(tmp_path: Path):
    """Nor is one text of JSON a table."""
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    with pytest.raises(CorruptDataError, match="is a text of JSON lines") as caught:
        sl.open(tmp_path / "a.jsonl")
    assert caught.value.hint == "Write it as Parquet: pyarrow.parquet.write_table(pyarrow.json.read_json(path), out)."
    (tmp_path / "a.json").write_text('{"error": {\n"code": 404}}\n')
    with pytest.raises(CorruptDataError, match="is a JSON text, not the data"):
        sl.open(tmp_path / "a.json")
