"""Names of classes: what the numbers of a field stand for, where files or folders say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamload.errors import SchemaMismatchError
from streamload.formats.folders import partitions
from streamload.opening import open_source


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
