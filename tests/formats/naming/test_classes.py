"""Names of classes: what the numbers of a field stand for, where files or folders say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers

from streamload.errors import CorruptDataError, NullValueError, SchemaMismatchError, UnsupportedFeatureError
from streamload.formats.open import open_source
from streamload.formats.partitions import partitions


def features(**columns: Any) -> dict[bytes, bytes]:
    """The metadata of a schema as Hugging Face's `datasets` writes it."""
    return {b"huggingface": json.dumps({"info": {"features": columns}}).encode()}


def labels(*names: str) -> dict[str, Any]:
    """A ClassLabel."""
    return {"names": list(names), "_type": "ClassLabel"}


def save(path: Path, metadata: dict[bytes, bytes], *, arrow: bool = False) -> Path:
    """Five labels and their positions, as Parquet or as an Arrow stream."""
    table = pa.table({"label": [0, 1, 2, 1, 0], "at": [0, 1, 2, 3, 4]}).replace_schema_metadata(metadata)
    if not arrow:
        pq.write_table(table, path)
        return path
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("arrow", [False, True], ids=["Parquet", "Arrow"])
def test_class_labels_of_hugging_face_have_names(arrow: bool, tmp_path: Path):
    """In `classes` and in repr, also under another name; the numbers stay numbers."""
    path = save(tmp_path / "a", features(label=labels("cat", "dog", "sea cow"), at={"dtype": "int64", "_type": "Value"}), arrow=arrow)
    source = open_source(path)
    assert source.classes == {"label": ("cat", "dog", "sea cow")}
    assert repr(source).endswith("\n  'label': 0 = cat, 1 = dog, 2 = sea cow")
    assert [source.classes["label"][number] for number in source[:]["label"]] == ["cat", "dog", "sea cow", "dog", "cat"]
    assert open_source(path, fields={"y": "label", "at": "at"}).classes == {"y": ("cat", "dog", "sea cow")}
    assert open_source(path, fields=["at"]).classes == {}
    source.close()


NONSENSE: dict[str, dict[bytes, bytes]] = {
    "none": {},
    "no JSON": {b"huggingface": b"{"},
    "no info": {b"huggingface": b"[1]"},
    "no features": {b"huggingface": b'{"info": {"features": null}}'},
    "names that are no text": features(label={"names": [1, 2], "_type": "ClassLabel"}),
    "names that are no list": features(label={"names": "ab", "_type": "ClassLabel"}, at=7),
    "deep": {b"huggingface": b"[" * 100_000},
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_about_classes_is_ignored(nonsense: str, tmp_path: Path):
    """It is a comment, not data."""
    source = open_source(save(tmp_path / "a", NONSENSE[nonsense]))
    assert source.classes == {}
    assert source[:]["label"].tolist() == [0, 1, 2, 1, 0]
    source.close()


def test_files_whose_numbers_stand_for_different_things_are_refused(tmp_path: Path):
    """With the first number that does; a file that says nothing, or less, agrees with all."""
    first = save(tmp_path / "0", features(label=labels("cat", "dog")))
    longer = save(tmp_path / "1", features(label=labels("cat", "dog", "cow")))
    silent = save(tmp_path / "2", {})
    assert open_source([first, silent, longer]).classes == {"label": ("cat", "dog", "cow")}
    turned = save(tmp_path / "3", features(label=labels("cat", "cow", "dog")))
    with pytest.raises(SchemaMismatchError) as caught:
        open_source([first, turned])
    assert str(caught.value) == (
        f"Column 'label' has other classes: 1 is 'dog' in {first}, and 'cow' in {turned}. "
        "Open them apart, or write them with the same classes in the same order."
    )


def test_many_classes_are_listed_in_part(tmp_path: Path):
    """Twelve, and how many there are."""
    source = open_source(save(tmp_path / "a", features(label=labels(*map(str, range(1000))))))
    assert repr(source).endswith("10 = 10, 11 = 11, ... (1,000 classes)")
    assert len(source.classes["label"]) == 1000


def test_classes_survive_joining_and_come_from_folders(tmp_path: Path):
    """{name: path} keeps them under the new name; key=value folders have their own."""
    path = save(tmp_path / "a", features(label=labels("cat", "dog", "cow")))
    np.save(tmp_path / "x.npy", np.arange(5))
    pq.write_table(pq.read_table(path, columns=["label"]), tmp_path / "b")
    assert open_source({"x": tmp_path / "x.npy", "y": tmp_path / "b"}).classes == {"y": ("cat", "dog", "cow")}
    for kind in ("wild", "tame"):
        (tmp_path / "parts" / f"kind={kind}").mkdir(parents=True)
        save(tmp_path / "parts" / f"kind={kind}" / "0.parquet", features(label=labels("cat", "dog", "cow")))
    assert partitions(tmp_path / "parts", [str(tmp_path / "parts" / "kind=wild" / "0.parquet")]) == {"kind": ["wild"]}
    assert open_source(tmp_path / "parts").classes == {"label": ("cat", "dog", "cow"), "kind": ("tame", "wild")}


def words(path: Path, *columns: pa.Array, stream: bool = False, compression: str | None = None) -> Path:
    """Batches of one column of words in dictionaries."""
    options = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=True)
    batches = [pa.record_batch([column], names=["kind"]) for column in columns]
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return path


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_words_in_a_dictionary_are_codes_with_names(stream: bool, compression: str | None, tmp_path: Path):
    """As Arrow files have them: the codes are read by offset where nothing is compressed."""
    column = pa.DictionaryArray.from_arrays(pa.array([1, 0, 2, 1, 1], pa.int8()), pa.array(["cat", "dog", "sea cow"]))
    source = open_source(words(tmp_path / "a", column, column.slice(1), stream=stream, compression=compression))
    assert str(source.schema) == "kind int8 ()"
    assert source.addressable == (compression is None)
    assert source[:]["kind"].tolist() == [1, 0, 2, 1, 1, 0, 2, 1, 1]
    assert source.classes == {"kind": ("cat", "dog", "sea cow")}
    source.close()


def test_a_dictionary_may_grow_and_may_not_change(tmp_path: Path):
    """Words that are added keep the codes of the others; a stream that begins another dictionary is refused by name."""
    first = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["a", "b"]))
    grown = pa.DictionaryArray.from_arrays(pa.array([2, 0], pa.int32()), pa.array(["a", "b", "c"]))
    other = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["b", "a"]))
    source = open_source(words(tmp_path / "a", first, grown, stream=True))
    assert source.classes == {"kind": ("a", "b", "c")}
    assert source[:]["kind"].tolist() == [0, 1, 2, 0]
    source.close()
    with pytest.raises(UnsupportedFeatureError, match="column 'kind' has a dictionary that changes within the file"):
        open_source(words(tmp_path / "b", first, other, stream=True))
    with pytest.raises(SchemaMismatchError, match=r"Column 'kind' has other classes: 0 is 'a' in .*, and 'b' in"):
        open_source([words(tmp_path / "c", first), words(tmp_path / "d", other)])


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("kind", ["f8", "u1", "f2", "?", "M8[us]"])
def test_numbers_in_a_dictionary_are_themselves(kind: str, compression: str | None, tmp_path: Path):
    """Of the type that the dictionary has; nulls among the codes are NaN, or filled."""
    numbers = np.array([1, 0, 1], kind)
    first = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), pa.array(numbers[:2]))
    grown = pa.DictionaryArray.from_arrays(pa.array([2, 2, 1], pa.int8()), pa.array(numbers))
    path = words(tmp_path / "a", first, grown, stream=True, compression=compression)
    assert_delivers(path, {"kind": numbers[[0, 1, 0, 2, 2, 1]]})
    holes = pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.int16()), pa.array([7.5, 3.5]))
    path = words(tmp_path / "b", holes, compression=compression)
    assert_delivers(path, {"kind": np.array([7.5, np.nan, 3.5])})
    assert_delivers(path, {"kind": np.array([7.5, 0, 3.5])}, fill=0)
    astray = pa.DictionaryArray.from_arrays(pa.array([0, 9], pa.int8()), pa.array([7.5, 3.5]), safe=False)
    with pytest.raises(CorruptDataError, match=r"column 'kind' cannot be decoded in records 0 to 2: .*out of bounds"):
        open_source(words(tmp_path / "c", astray, compression=compression))[:]
    path = words(tmp_path / "d", pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array([7.5, None])))
    with pytest.raises(UnsupportedFeatureError, match="column 'kind' has a dictionary with a null in it"):
        open_source(path)


def test_nulls_among_words_are_errors_or_filled(tmp_path: Path):
    """A code that is null; a word that is."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.int8()), pa.array(["a", "b"]))
    path = words(tmp_path / "a", column)
    with pytest.raises(NullValueError, match="null at row 1 of column 'kind'"):
        open_source(path)[:]
    source = open_source(path, fill=-1)
    assert source[:]["kind"].tolist() == [0, -1, 1]
    source.close()
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None]))
    with pytest.raises(UnsupportedFeatureError, match="column 'kind' has a dictionary with a null in it"):
        open_source(words(tmp_path / "b", column))
