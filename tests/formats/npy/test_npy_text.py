"""NumPy's files beside plain arrays: text, opaque bytes, and archives whose arrays are not all of one length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from contract import assert_delivers
from test_npy import images

from streamload.errors import ConfigError, CorruptDataError
from streamload.formats.open import open_source
from streamload.loader.loader import Loader
from streamload.ragged import Ragged

TEXTS = ["a", "", "b\N{LATIN SMALL LETTER E WITH ACUTE}", "\N{HIRAGANA LETTER A} text", "z\0y", "\N{GRINNING FACE}"] * 9


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed npz", "member of a structure"])
def test_text_is_delivered_as_text(kind: str, order: str, tmp_path: Path):
    """Of any length, whatever the width that NumPy has padded it to."""
    texts = np.array(TEXTS).astype(f"{order}U20")
    if kind == "member of a structure":
        table = np.zeros(len(texts), [("number", "i4"), ("text", f"{order}U20"), ("within", [("more", f"{order}U2")])])
        table["text"], table["within"]["more"] = texts, texts
        np.save(tmp_path / "a.npy", table)
        expected = {
            "number": np.zeros(len(texts), "i4"),
            "text": Ragged.of(TEXTS),
            "within.more": Ragged.of([one[:2].rstrip("\0") for one in TEXTS]),
        }
        assert_delivers(tmp_path / "a.npy", expected)
        return
    path = tmp_path / f"text.{kind.split()[-1]}"
    if kind == "npy":
        np.save(path, texts)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(path, text=texts)
    assert_delivers(path, {"text": Ragged.of(TEXTS)})
    assert open_source(path).addressable
    with Loader(open_source(path), batch_size=7, num_workers=0) as loader:
        found = {int(number): text for batch in loader for number, text in zip(batch.records, batch["text"], strict=True)}
    assert [found[number] for number in range(len(TEXTS))] == TEXTS


def test_text_of_another_width_in_each_file_is_one_field(tmp_path: Path):
    """As shards have it whose longest texts differ."""
    for number, texts in enumerate((["a", "bb"], [], ["a much longer one"], [""])):
        np.save(tmp_path / f"text-{number}.npy", np.array(texts, f">U{1 + 20 * (number == 2)}" if number else "<U2"))
    assert_delivers(str(tmp_path / "text-*.npy"), {"text": Ragged.of(["a", "bb", "a much longer one", ""])})


@pytest.mark.parametrize("point", [0x110000, 0xD800], ids=["beyond all characters", "half of one"])
def test_numbers_that_are_no_characters_are_refused_by_record(point: int, tmp_path: Path):
    """Whether they are read at open, or later."""
    texts = np.array(["some text"] * 9)
    texts.view(np.uint32).reshape(9, -1)[4, 2] = point
    np.savez(tmp_path / "a.npz", wide=images(9), text=texts)
    with pytest.raises(CorruptDataError, match=r"a\.npz: record 4 of 'text' holds a number that is no character"):
        open_source(tmp_path / "a.npz")[:]


def test_small_arrays_of_another_length_are_left_out_with_a_note(tmp_path: Path):
    """Single values, a mean, names of classes; where others hold much, nothing is guessed."""
    data, path = images(40), tmp_path / "a.npz"
    np.savez(path, x=data, y=np.arange(40), mean=data.mean(0)[0], scale=np.float32(3), names=np.array(["cat", "dog"]))
    assert_delivers(path, {"x": data, "y": np.arange(40)})
    text = repr(open_source(path))
    assert "'mean' left out: it has 6 records, not 40" in text
    assert "'scale' left out: it holds a single value, no axis that counts records" in text
    assert "'names' left out: it has 2 records, not 40" in text
    assert_delivers(path, {"names": Ragged.of(["cat", "dog"])}, fields=["names"])
    np.savez(path, scale=np.float32(3))
    with pytest.raises(ConfigError, match=r"holds no column that could be a field: 'scale' holds a single value"):
        open_source(path)


def test_opaque_bytes_are_delivered_as_they_are(tmp_path: Path):
    """As libraries save numbers of types that NumPy has not."""
    data = np.arange(24, dtype="u1").reshape(4, 6)
    np.save(tmp_path / "a.npy", data.reshape(-1).view("V2").reshape(4, 3))
    assert_delivers(tmp_path / "a.npy", {"a": data.reshape(4, 3, 2)})
    assert "'a' holds opaque bytes (|V2), delivered as they are" in repr(open_source(tmp_path / "a.npy"))
