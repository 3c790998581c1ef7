"""Folders of files: which are data, in which order, and what the folders' names say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from contract import assert_delivers

from streamload.errors import ConfigError, CorruptDataError, UnsupportedFeatureError
from streamload.formats.open import open_source

JUNK = ("_SUCCESS", ".part-1.npy.crc", "part-1.npy.crc", "dataset_info.json", "README.md", ".hidden.npy", "_metadata")


def save(path: Path, first: int, records: int = 3) -> None:
    """Wide records that begin with a number each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = np.zeros(records, np.dtype([("x", "u1", 100), ("n", "i8")]))
    table["n"] = np.arange(first, first + records)
    np.save(path, table)


def numbers(source: object) -> list[int]:
    """The numbers of a source's records."""
    return open_source(source)[:]["n"].tolist()  # pyright: ignore[reportArgumentType]


def test_a_folder_is_its_data_files_in_natural_order(tmp_path: Path):
    """2 before 10; what stands beside data is left out by rule, what is empty is an error."""
    for number in (10, 2, 1):
        save(tmp_path / f"part-{number}.npy", 10 * number)
    for junk in (*JUNK, "cache-0123456789abcdef.arrow"):
        (tmp_path / junk).write_text("")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.npy").write_text("no data")
    save(tmp_path / "more" / "a.npy", 0)
    os.symlink(tmp_path, tmp_path / "circle")
    assert numbers(tmp_path) == [0, 1, 2, 10, 11, 12, 20, 21, 22, 100, 101, 102]
    (tmp_path / "part-3.npy").write_text("")
    with pytest.raises(CorruptDataError, match=r"part-3\.npy is empty"):
        open_source(tmp_path)


def test_a_pattern_leaves_out_what_a_folder_does(tmp_path: Path):
    """Unless nothing else matches: then it was meant."""
    save(tmp_path / "a.npy", 0)
    for junk in JUNK:
        (tmp_path / junk).write_text("")
    assert numbers(str(tmp_path / "*")) == [0, 1, 2]
    save(tmp_path / "_b.npy", 3)
    assert numbers(str(tmp_path / "_*.npy")) == [3, 4, 5]
    with pytest.raises(CorruptDataError, match="_SUCCESS is empty"):
        open_source(str(tmp_path / "_S*"))


SPLITS = [
    ("test: 1, train: 1", ("train/a.npy", "test/a.npy")),
    ("train: 2, validation: 1", ("train-0.npy", "train-1.npy", "validation-0.npy")),
    ("train: 1, val: 1", ("x/val.npy", "x/Train.npy")),
    ("train: 2, val: 1", ("imagenet-train-000000.npy", "imagenet-train-000001.npy", "imagenet-val-000000.npy")),
    ("test: 1, train: 2", ("mnist-train-00000-of-00002.npy", "mnist-train-00001-of-00002.npy", "mnist-test-00000-of-00001.npy")),
    ("test: 2, train: 1", ("glue-train-0-b42a775f407cee45.npy", "glue-test-0-0123456789abcdef.npy", "aux_test_9.npy")),
    ("test: 1, train: 1, val: 1", ("my_test_set-train-0.npy", "my_test_set-val-0.npy", "x-test.npy")),
    ("test: 2, train: 3", ("x_train_1.npy", "x_train_2.npy", "x_test.npy", "y1-train.npy", "y2-test.npy")),
    ("test: 3, train: 2", ("mnistTrain.npy", "mnistTest.npy", "a_trainset_v1.npy", "a_testset_v1.npy", "otherTest.npy")),
    ("train: 2, val: 1", ("shards_train/0.npy", "shards_train/1.npy", "shards_val/0.npy")),
    ("test: 1, train: 1", ("v1/my train/a.npy", "v1/my test/b.npy")),
    ("train: 1, val: 1", ("test_run/train.npy", "test_run/val.npy")),
    ("trn: 1, tst: 1", ("trn.npy", "tst.npy")),
]


@pytest.mark.parametrize(("words", "names"), SPLITS, ids=lambda one: one[0] if isinstance(one, tuple) else None)
def test_splits_are_never_mixed(words: str, names: tuple[str, ...], tmp_path: Path):
    """Records to learn from and to test with, in one folder, are an error that lists them; a list or a pattern is taken as it is."""
    for name in names:
        save(tmp_path / name, 0)
    with pytest.raises(ConfigError) as caught:
        open_source(tmp_path)
    one = re.findall("[a-z]+", words)
    assert str(caught.value) == (
        f"{tmp_path} holds files of several splits ({words}), whose records would be mixed. "
        f"Choose one: split={'train' if 'train' in one else 'trn'!r}, or give a pattern or a list of the files that are meant."
    )
    assert (caught.value.details["option"], caught.value.details["splits"]) == ("split", one)
    assert len(open_source([tmp_path / name for name in names])) == 3 * len(names)
    for split, count in zip(one, re.findall("[0-9]+", words), strict=True):
        with open_source(tmp_path, split=split) as source:
            assert len(source) == 3 * int(count)


ONE_SET = [
    ("bus_train_01.npy", "engine_dev_01.npy", "flight_test_01.npy"),
    ("train-0.npy", "train-1.npy", "wind_test_01.npy"),
    ("contest.npy", "contrails.npy", "protests_test.npy"),
    ("a/constraint.npy", "b/latest.npy", "c/wind_test.npy"),
]


@pytest.mark.parametrize("names", ONE_SET, ids=lambda names: names[0])
def test_words_within_names_that_differ_otherwise_too_are_no_splits(names: tuple[str, ...], tmp_path: Path):
    """Trains, engines and flights that were tested: one set. Who asks for one of these words is given its files."""
    for number, name in enumerate(names):
        save(tmp_path / name, 3 * number)
    assert numbers(tmp_path) == list(range(9))
    with open_source(tmp_path, split="test") as source:
        assert source[:]["n"].tolist() == [6, 7, 8]


def test_a_split_that_folders_make_a_field_of_mixes_nothing(tmp_path: Path):
    """Whoever asks for one is given its files."""
    for number, split in enumerate(("test", "train")):
        save(tmp_path / f"split={split}" / "a.npy", 3 * number)
    with open_source(tmp_path) as source:
        assert source.classes["split"] == ("test", "train")
        assert source[:]["split"].tolist() == [0, 0, 0, 1, 1, 1]
    with open_source(tmp_path, split="train") as source:
        assert source[:]["n"].tolist() == [3, 4, 5]


def test_the_word_that_differs_is_the_split(tmp_path: Path):
    """In my_test_set-train beside my_test_set-val, both are no test set."""
    for number, split in enumerate(("train", "val")):
        save(tmp_path / f"my_test_set-{split}-0.npy", 3 * number)
    with open_source(tmp_path, split="val") as source:
        assert source[:]["n"].tolist() == [3, 4, 5]


def test_a_folder_without_data_says_so(tmp_path: Path):
    """And by which rule."""
    (tmp_path / "_SUCCESS").write_text("")
    with pytest.raises(ConfigError) as caught:
        open_source(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} holds no data file. Hidden files and those ending in .crc, .json,")


@pytest.mark.parametrize(
    ("mark", "what"),
    [
        ("_delta_log/0.json", "a Delta Lake table, whose log says which files count. Write it anew as Parquet: "),
        ("_versions/1.manifest", "a Lance dataset. Write it anew as Parquet: "),
        (".hoodie/hoodie.properties", "a Hudi table, whose log says which files count. Write it anew as Parquet."),
        ("metadata/version-hint.text", "an Iceberg table, whose metadata says which files count. Write it anew as Parquet."),
    ],
)
def test_folders_in_which_not_every_file_counts_are_refused_by_name(mark: str, what: str, tmp_path: Path):
    """Files that were replaced or deleted lie beside those that count."""
    save(tmp_path / "a.npy", 0)
    (tmp_path / mark).parent.mkdir(exist_ok=True)
    (tmp_path / mark).write_text("{}")
    with pytest.raises(UnsupportedFeatureError) as caught:
        open_source(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} is {what}")


def test_folders_named_by_key_and_value_are_fields(tmp_path: Path):
    """Whole numbers as they are, words as classes in the order of their names; in folders as in patterns."""
    save(tmp_path / "year=2024" / "kind=dog" / "a.npy", 0)
    save(tmp_path / "year=2024" / "kind=sea%20cow" / "a.npy", 3, 2)
    save(tmp_path / "year=2025" / "kind=cat" / "a.npy", 5, 1)
    expected = {
        "x": np.zeros((6, 100), "u1"),
        "n": np.arange(6),
        "year": np.array([2024] * 5 + [2025]),
        "kind": np.array([1, 1, 1, 2, 2, 0]),
    }
    assert_delivers(tmp_path, expected)
    assert_delivers(str(tmp_path / "*" / "*" / "*.npy"), expected)
    assert "  'kind': 0 = cat, 1 = dog, 2 = sea cow" in repr(open_source(tmp_path))
    assert_delivers(tmp_path, {"n": expected["n"], "when": expected["year"]}, fields={"n": "n", "when": "year"})
    assert_delivers(tmp_path, {"n": expected["n"]}, fields=["n"])
    with pytest.raises(ConfigError) as caught:
        open_source(tmp_path, fields=["year"])
    assert str(caught.value) == "fields names ['year'] alone, which stand in the names of folders. Name a field of the files too."
    assert open_source(tmp_path / "year=2025" / "kind=cat" / "a.npy").schema.names == ("x", "n")


def test_a_partitioning_holds_throughout_or_is_refused(tmp_path: Path):
    """A file outside of it would have no value."""
    save(tmp_path / "a.npy", 0)
    save(tmp_path / "year=2025" / "a.npy", 3)
    with pytest.raises(ConfigError) as caught:
        open_source(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'year=2025' / 'a.npy'} lies in folders that name ['year'], and {tmp_path / 'a.npy'} in folders that name nothing. "
        "Name the files of one partitioning, as key=value folders throughout."
    )


def test_a_field_of_the_files_is_kept_where_folders_name_it_too(tmp_path: Path):
    """And that is said."""
    save(tmp_path / "n=7" / "a.npy", 0)
    assert_delivers(tmp_path, {"x": np.zeros((3, 100), "u1"), "n": np.arange(3)})
    assert "'n' is taken from the files; the names of their folders say it too" in repr(open_source(tmp_path))


def test_a_folder_that_stands_for_null_is_refused(tmp_path: Path):
    """As Hive names it: there is no value to deliver."""
    save(tmp_path / "k=1" / "a.npy", 0)
    save(tmp_path / "k=__HIVE_DEFAULT_PARTITION__" / "a.npy", 3)
    with pytest.raises(CorruptDataError) as caught:
        open_source(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'k=__HIVE_DEFAULT_PARTITION__' / 'a.npy'}: its folder says that 'k' is null for its records. "
        "Choose fields without it, fields=[...], or name the folder after a value."
    )
    assert numbers(tmp_path / "k=1") == [0, 1, 2]
    assert_delivers(tmp_path, {"n": np.arange(6)}, fields=["n"])
