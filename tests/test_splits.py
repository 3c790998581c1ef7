"""Parts of a source, records that a condition takes, and weights by class: found by fields, wherever these are stored."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl
from streamload.errors import ConfigError
from streamload.loader.weighing import asked_weights

N = 1000
LABELS = np.random.default_rng(1).choice(5, N, p=[0.5, 0.3, 0.1, 0.07, 0.03]).astype(np.int64)
PATIENTS = np.random.default_rng(2).integers(0, 130, N).astype(np.int64)
NAMES = np.array(["ant", "bee", "cat", "dog", "éléphant"])[LABELS]
BAD = np.arange(N) % 11 == 3


def parquet(path: Path) -> sl.Source:
    """Records with a text of different lengths, in row groups of 64."""
    columns = {"x": np.arange(N, dtype=np.float32), "label": LABELS, "patient": PATIENTS, "name": NAMES.tolist(), "bad": BAD}
    pq.write_table(pa.table(columns), path / "records.parquet", row_group_size=64)
    return sl.open(path / "records.parquet")


def hdf5(path: Path) -> sl.Source:
    """The same with texts of one width, images in compressed chunks."""
    with h5py.File(path / "records.h5", "w", libver=("earliest", "v110")) as file:
        file.create_dataset("image", data=np.zeros((N, 4, 4), np.uint8), chunks=(64, 4, 4), compression="gzip")
        for name, values in {"label": LABELS, "patient": PATIENTS, "bad": BAD, "x": np.arange(N, dtype=np.float32)}.items():
            file[name] = values
        file["name"] = np.char.encode(NAMES, "utf-8")
    return sl.open(path / "records.h5")


@pytest.fixture(params=[parquet, hdf5], ids=["Parquet", "HDF5"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> sl.Source:
    return request.param(tmp_path)


class TestSplit:
    """Every record in one part, the same on every machine."""

    def test_parts_have_their_shares(self, data: sl.Source):
        """To a record; each ascending, as `indices=` wants them."""
        parts = sl.split(data, {"train": 0.8, "val": 0.15, "test": 0.05}, seed=3)
        assert {name: len(records) for name, records in parts.items()} == {"train": 800, "val": 150, "test": 50}
        assert np.sort(np.concatenate(list(parts.values()))).tolist() == list(range(N))
        assert all((np.diff(records) > 0).all() for records in parts.values())
        assert parts["test"].tolist() != sl.split(data, {"train": 0.8, "val": 0.15, "test": 0.05}, seed=4)["test"].tolist()
        with sl.Loader(data, batch_size=50, indices=parts["test"], num_workers=0) as loader:
            assert sorted(next(iter(loader)).records.tolist()) == parts["test"].tolist()

    def test_a_part_is_what_it_was(self, data: sl.Source):
        """Frozen: neither the format nor a later version changes it."""
        shares = {"a": 0.99, "b": 0.01}
        assert sl.split(data, shares)["b"].tolist() == [25, 48, 210, 417, 443, 581, 645, 665, 755, 888]
        assert sl.split(data, shares, stratify="label")["b"].tolist() == [42, 236, 266, 308, 557, 574, 706, 770, 840, 849]
        assert sl.split(data, shares, group="patient")["b"].tolist() == [386, 387, 410, 420, 457, 591, 773]

    @pytest.mark.parametrize("field", ["label", "name"])
    def test_labels_are_alike_in_all_parts(self, data: sl.Source, field: str):
        """To a record of each: numbers and texts."""
        parts = sl.split(data, {"train": 0.7, "test": 0.3}, stratify=field)
        for label in range(5):
            count = int((label == LABELS).sum())
            assert abs(int((LABELS[parts["test"]] == label).sum()) - 0.3 * count) <= 0.5

    @pytest.mark.parametrize(
        ("labels", "shares"),
        [
            (np.repeat(np.arange(60), 7), dict.fromkeys("abcde", 0.2)),
            (np.arange(100), {"a": 0.5, "b": 0.5}),
            (np.repeat(np.arange(40), [1, 2, 3, 9] * 10), {"a": 0.8, "b": 0.15, "c": 0.05}),
        ],
        ids=["seven of each", "one of each", "a few of each"],
    )
    def test_rare_labels_leave_parts_their_shares(self, tmp_path: Path, labels: np.ndarray, shares: dict[str, float]):
        """To two records of all, and to one of each label: what rounding gives is carried on to the next."""
        np.save(tmp_path / "label.npy", np.random.default_rng(0).permutation(labels))
        data = sl.open({"label": tmp_path / "label.npy"})
        stored, parts = data[:]["label"], sl.split(data, shares, stratify="label")
        assert np.sort(np.concatenate(list(parts.values()))).tolist() == list(range(len(labels)))
        for name, records in parts.items():
            assert abs(len(records) - shares[name] * len(labels)) < 2
            found = np.bincount(stored[records], minlength=len(np.unique(labels)))
            assert (np.abs(found - shares[name] * np.bincount(labels)) < 1).all()

    def test_groups_are_in_one_part(self, data: sl.Source):
        """Whole, and labels as alike as that allows."""
        parts = sl.split(data, {"train": 0.8, "test": 0.2}, group="patient", stratify="label")
        assert not set(PATIENTS[parts["train"]].tolist()) & set(PATIENTS[parts["test"]].tolist())
        assert abs(len(parts["test"]) - 200) < 20
        assert abs((LABELS[parts["test"]] == 1).mean() - (LABELS == 1).mean()) < 0.06

    @pytest.mark.parametrize("fields", [{}, {"stratify": "label"}, {"group": "patient"}], ids=["by chance", "labels", "groups"])
    def test_folds_are_a_cross_validation(self, data: sl.Source, fields: dict[str, str]):
        """Each record is tested once, and trained with otherwise."""
        folds = sl.split(data, folds=5, **fields)
        assert len(folds) == 5
        assert np.sort(np.concatenate([fold["test"] for fold in folds])).tolist() == list(range(N))
        for fold in folds:
            assert np.sort(np.concatenate([fold["train"], fold["test"]])).tolist() == list(range(N))
            assert abs(len(fold["test"]) - 200) < 25
            if "group" in fields:
                assert not set(PATIENTS[fold["train"]].tolist()) & set(PATIENTS[fold["test"]].tolist())

    @pytest.mark.parametrize(
        ("keywords", "text"),
        [
            ({}, r"split\(\) wants either shares or folds\. Give \{\"train\": 0\.8, \"test\": 0\.2\}, or folds=5\.$"),
            ({"parts": {"a": 1.0}, "folds": 2}, r"split\(\) wants either shares or folds"),
            ({"parts": {"a": 0.8, "b": 0.3}}, r"The shares of 'a', 'b' add up to 1\.1\. Give shares that add up to 1"),
            ({"parts": {"a": 0.0, "b": 1.0}}, r"The share of 'a' is 0\.0, and shares are above 0 and at most 1\. Give shares"),
            ({"parts": {"a": "half"}}, r"'a': 'half' is no share of a part\."),
            ({"parts": [0.8, 0.2]}, r"split\(\) was given \[0\.8, 0\.2\] in place of shares by name\. Give shares"),
            ({"parts": {}}, r"split\(\) was given \{\} in place of shares by name"),
            ({"folds": 1}, r"folds=1 is no number of folds\. Give a whole number from 2 to 1,000, such as 5\.$"),
            ({"folds": True}, r"folds=True is no number of folds"),
            ({"folds": 3, "seed": 0.5}, r"seed=0\.5 is not a whole number"),
            ({"folds": 3, "stratify": "lable"}, r"has no field 'lable'\. Did you mean 'label'\?$"),
            ({"folds": 3, "group": "zzz"}, r"has no field 'zzz'\. There is .*patient"),
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused(self, data: sl.Source, keywords: dict[str, object], text: str):
        """With what was given, and what would do."""
        with pytest.raises(ConfigError, match=text):
            sl.split(data, **keywords)

    def test_what_is_no_source_is_not_split(self, data: sl.Source):
        """A mixture, or a path."""
        for given, name in ((sl.mix({"a": (data, 1)}), "Mixture"), ("train.h5", "str")):
            with pytest.raises(ConfigError) as refused:
                sl.split(given, folds=2)
            assert str(refused.value) == (
                f"split() was given {name} in place of a source. Open files first, and split each part of a mixture by itself."
            )

    def test_a_field_of_images_or_measurements_is_no_label(self, tmp_path: Path):
        """Named, before anything else is read."""
        with pytest.raises(
            ConfigError, match=r"Field 'image' is image uint8 \(4, 4\): not one number or text a record\. Name a small field"
        ):
            sl.split(hdf5(tmp_path), folds=2, stratify="image")
        with h5py.File(tmp_path / "many.h5", "w") as file:
            file["x"], file["y"] = np.arange(70_000), np.where(np.arange(70_000) == 9, np.nan, 0.0)
        many = sl.open(tmp_path / "many.h5")
        with pytest.raises(ConfigError, match=r"stratify='x': there are more than 65,536 values\. Name a field of labels"):
            sl.split(many, folds=2, stratify="x")
        with pytest.raises(ConfigError, match=r"stratify='y': some values are NaN\. Name a field of labels, or leave those"):
            sl.split(many, folds=2, stratify="y")

    def test_labels_that_are_met_late_change_nothing(self, tmp_path: Path):
        """Of more records than are read at a time, the numbers of labels follow their values, not the order in which they come."""
        labels = np.where(np.arange(70_000) < 65_536, 7, 3)
        with h5py.File(tmp_path / "late.h5", "w") as file:
            file["label"] = labels
            file["other"] = np.where(labels == 7, 1, 0)
        late = sl.open(tmp_path / "late.h5")
        parts = [sl.split(late, {"a": 0.5, "b": 0.5}, stratify=name)["b"].tolist() for name in ("label", "other")]
        assert parts[0] == parts[1]

    def test_zeros_of_either_sign_are_one_group(self, tmp_path: Path):
        """Though only one of them is met among the records that are read first, and only the other later."""
        groups = np.where(np.arange(70_000) % 2 == 1, 1.0, np.where(np.arange(70_000) < 65_536, 0.0, -0.0))
        np.save(tmp_path / "group.npy", groups)
        np.save(tmp_path / "complex.npy", groups * 1j)
        data = sl.open({"group": tmp_path / "group.npy", "complex": tmp_path / "complex.npy"})
        for field in ("group", "complex"):
            for seed in range(8):
                parts = sl.split(data, dict.fromkeys("abcd", 0.25), group=field, seed=seed)
                assert sorted(map(len, parts.values())) == [0, 0, 35_000, 35_000], (field, seed)

    def test_labels_that_python_does_not_sort(self, tmp_path: Path):
        """Complex numbers are labels as others are; what is no time is none."""
        labels = np.repeat([1 + 2j, 1 - 2j, -3], 20)
        times = labels.real.astype("M8[D]")
        times[7] = "NaT"
        np.save(tmp_path / "labels.npy", labels)
        np.save(tmp_path / "times.npy", times)
        data = sl.open({"label": tmp_path / "labels.npy", "time": tmp_path / "times.npy"})
        for part in sl.split(data, {"a": 0.5, "b": 0.5}, stratify="label").values():
            assert [int((labels[part] == label).sum()) for label in np.unique(labels)] == [10, 10, 10]
        with pytest.raises(ConfigError, match=r"stratify='time': some values are NaT\. Name a field of labels, or leave those records"):
            sl.split(data, folds=2, stratify="time")


class TestWhere:
    """The records that a condition takes."""

    def test_records_are_not_chosen_by_what_is_masked(self, data: sl.Source):
        """Numbers and booleans; where nothing is masked, they are as any."""
        assert data[np.ma.array([3, 5])]["x"].tolist() == [3, 5]
        for index in (np.ma.masked_equal([3, 5], 5), np.ma.array([True] * N, mask=BAD)):
            with pytest.raises(ConfigError, match=r"^What records are chosen by is a masked array, [0-9]+ of whose [0-9,]+ elements are"):
                data[index]
        data.close()

    @pytest.mark.parametrize(
        ("condition", "wanted"),
        [
            ("label > 3", LABELS > 3),
            ("label in (1, 2) and not bad == True", np.isin(LABELS, [1, 2]) & ~BAD),
            ("bad == True or patient == 5", BAD | (PATIENTS == 5)),
            ("x < 10.5", np.arange(N) < 10.5),
            ("name == 'cat'", NAMES == "cat"),
            ("name in ('dog', 'éléphant') and label != 3", NAMES == "éléphant"),
            ("label > 99", np.zeros(N, bool)),
        ],
    )
    def test_conditions_choose_records(self, data: sl.Source, condition: str, wanted: np.ndarray):
        """Of numbers, truth values and texts; their numbers rise, and go to `indices=`."""
        found = data.where(condition)
        assert found.dtype == np.int64
        assert found.tolist() == np.flatnonzero(wanted).tolist()

    @pytest.mark.parametrize(
        ("condition", "text"),
        [
            ("lable == 1", r"has no field 'lable'\. Did you mean 'label'\?$"),
            ("name == n1", r"has no field 'n1'\. There is .*\. A text is quoted: 'n1'\.$"),
            ("bad == true", r"has no field 'true'\. There is .*\. Truth values are written True and False\.$"),
            ("x == nan", r"has no field 'nan'\. There is .*\. What is not a number is equal to nothing, itself included: \"x != x\"\.$"),
            ("x < inf", r"has no field 'inf'\. There is .*\. What is larger than all numbers is written 1e999\.$"),
            ("name = n1", r"where 'name = n1' cannot be read\. Did you mean .name == 'n1'.\?"),
            ("label = 1", r"where 'label = 1' cannot be read\. Did you mean .label == 1.\?"),
            ("__import__('os')", r"where .* is not understood: .* is no comparison"),
            ("name > 3", r"a text and a number cannot be compared"),
        ],
    )
    def test_other_conditions_are_refused(self, data: sl.Source, condition: str, text: str):
        """Nothing is run."""
        with pytest.raises(ConfigError, match=text):
            data.where(condition)


class TestWeights:
    """What `weights=` asks for."""

    @pytest.mark.parametrize("field", ["label", "name", "bad"])
    @pytest.mark.parametrize("chosen", [None, np.arange(100, 900, 3)], ids=["all", "subset"])
    def test_values_of_a_field_are_drawn_alike(self, data: sl.Source, field: str, chosen: np.ndarray | None):
        """Whole numbers, texts and truth values; of a subset, by what is in it."""
        weights = asked_weights(data, field, draws=5000, indices=chosen)
        numbers = np.arange(N) if chosen is None else chosen
        values = {"label": LABELS, "name": LABELS, "bad": BAD.astype(int)}[field][numbers]
        counts = np.bincount(values[weights.epoch(0, 0).ranks(np.arange(5000))])
        assert np.abs(counts - 5000 / len(counts)).max() < 25

    def test_arrays_and_files_are_taken(self, data: sl.Source, tmp_path: Path):
        """One number a record; of a subset, those of the chosen."""
        np.save(tmp_path / "w.npy", LABELS + 1)
        wanted = asked_weights(data, LABELS + 1, draws=None, indices=None)
        assert asked_weights(data, str(tmp_path / "w.npy"), draws=None, indices=None).digest == wanted.digest
        assert wanted.draws == N
        assert asked_weights(data, LABELS + 1, draws=None, indices=np.arange(7)).draws == 7

    def test_draws_alone_are_drawn_alike(self, data: sl.Source):
        """A shorter or longer epoch, each record as often as others."""
        assert asked_weights(data, None, draws=None, indices=None) is None
        weights = asked_weights(data, None, draws=250, indices=None)
        drawn = weights.epoch(0, 1).ranks(np.arange(250))
        assert (np.diff(drawn) > 0).all()
        assert (drawn // 4 == np.arange(250)).all()

    @pytest.mark.parametrize(
        ("weights", "draws", "text"),
        [
            ("lable", None, r"weights='lable' is neither a field of .* nor a file\. Did you mean 'label'\?$"),
            ("nothing.npy", None, r"weights='nothing\.npy' is neither a field of .* nor a file\. Give one number a record, the path"),
            ("x", None, r"weights='x' is a field of float32, whose values are no classes\. .*: weights=data\['x'\]\.$"),
            (LABELS, 0, r"draws=0 is no number of draws\. Give as many draws as an epoch shall have, at least 1\.$"),
            (LABELS, 2.5, r"draws=2\.5 is no number of draws"),
            (LABELS[:5], None, r"weights= has shape \(5,\); the data has 1,000 records"),
        ],
        ids=["misspelt", "no file", "floats", "no draws", "half a draw", "too few"],
    )
    def test_what_cannot_be_is_refused(self, data: sl.Source, weights: object, draws: object, text: str):
        """With what was given, and what would do."""
        with pytest.raises(ConfigError, match=text):
            asked_weights(data, weights, draws=draws, indices=None)
