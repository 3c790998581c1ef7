"""Files of robots, detectors and pictures as people have them: the readings that are offered are whole, and every one of them opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import said

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError, SourceError

RNG = np.random.default_rng(0)
LENGTHS = (4, 3, 5)


def demonstrations(path: Path) -> Path:
    """Runs of a robot in groups of their own: fields at several depths, two of which have one name."""
    with h5py.File(path, "w") as file:
        for number, steps in enumerate(LENGTHS):
            group = file.create_group(f"data/demo_{number}")
            group["actions"] = RNG.normal(size=(steps, 2))
            group["obs/pos"] = RNG.normal(size=(steps, 3))
            group["next_obs/pos"] = RNG.normal(size=(steps, 3))
            group["obs/image"] = RNG.integers(0, 256, (steps, 6, 5, 3), dtype=np.uint8)
    return path


def offered(path: Path) -> list[dict[str, Any]]:
    """The readings of a file whose records cannot be told."""
    with pytest.raises(ConfigError, match="what a record is cannot be told") as caught:
        sl.open(path)
    return caught.value.details["readings"]


def test_readings_of_groups_hold_every_field_of_them(tmp_path: Path):
    """At any depth below the group; fields of one name are called by their paths."""
    path = demonstrations(tmp_path / "a.h5")
    whole = {
        "image": "data/demo_*/obs/image",
        "obs/pos": "data/demo_*/obs/pos",
        "next_obs/pos": "data/demo_*/next_obs/pos",
        "actions": "data/demo_*/actions",
    }
    joined, stacked = offered(path)[:2]
    assert joined == {"fields": whole | {"group": "data/demo_*"}, "record_axis": 0, "records": sum(LENGTHS), "about": False}
    assert stacked == {"fields": whole, "record_axis": None, "records": len(LENGTHS), "about": False}
    with sl.open(path, fields=joined["fields"]) as source, h5py.File(path) as file:
        taken = source[:]
        for name in ("actions", "obs/pos", "next_obs/pos"):
            np.testing.assert_array_equal(taken[name], np.concatenate([file[f"data/demo_{number}/{name}"][()] for number in range(3)]))
    with sl.open(path, fields=stacked["fields"], record_axis=None) as source:
        assert len(source) == len(LENGTHS)


def pictures(path: Path, widths: int, names: str = "{:06d}.jpg") -> Path:
    """Thirty pictures, each a dataset of its own, of so many widths."""
    with h5py.File(path, "w") as file:
        for number in range(30):
            file[names.format(number)] = np.full((5, 6 + number % widths, 3), number, np.uint8)
    return path


@pytest.mark.parametrize("names", ["{:06d}.jpg", "{}", "cat.{}.png", "n01_{}.JPEG"])
def test_pictures_are_no_fields_of_their_rows(names: str, tmp_path: Path):
    """Each is one record, whatever its name ends with."""
    path = pictures(tmp_path / "a.h5", 1, names)
    first = offered(path)[0]
    assert (first["record_axis"], first["records"]) == (None, 30)
    with sl.open(path, fields=first["fields"], record_axis=None) as source:
        (name,) = first["fields"]
        assert name == {"cat.{}.png": "cat", "n01_{}.JPEG": "n01"}.get(names, "x")
        assert source[:][name][:, 0, 0, 0].tolist() == list(range(30))


def test_no_reading_is_offered_that_does_not_open(tmp_path: Path):
    """Pictures of several widths are no one field, and no pattern leads to those of one width alone."""
    path = pictures(tmp_path / "a.h5", 3, "{}")
    for one in offered(path):
        with sl.open(path, fields=one["fields"], record_axis=one["record_axis"]) as source:
            assert len(source) == one["records"]


def master(folder: Path, files: int, linked: int) -> Path:
    """What a detector writes: a file that links to files of images."""
    for number in range(1, files + 1):
        with h5py.File(folder / f"s_data_{number}.h5", "w") as file:
            file["entry/data"] = np.full((4, 6, 5), number, np.uint16)
    with h5py.File(folder / "master.h5", "w") as file:
        for number in range(1, linked + 1):
            file[f"entry/data_{number}"] = h5py.ExternalLink(f"s_data_{number}.h5", "/entry/data")
    return folder / "master.h5"


def test_parts_of_a_series_are_no_fields_beside_each_other(tmp_path: Path):
    """Files of one length that a file links to follow each other."""
    first = offered(master(tmp_path, 2, 2))[0]
    assert first == {"fields": {"data": "entry/data_*"}, "record_axis": 0, "records": 8, "about": False}
    with sl.open(tmp_path / "master.h5", fields=first["fields"]) as source:
        assert source[:]["data"][:, 0, 0].tolist() == [1] * 4 + [2] * 4


def test_a_file_that_is_missing_is_named_before_readings_are_offered(tmp_path: Path):
    """Those that are there are one source."""
    path = master(tmp_path, 2, 3)
    with pytest.raises(SourceError) as caught:
        sl.open(path)
    assert caught.value.message == f"{path}: '/entry/data_3' links to /entry/data in s_data_3.h5, which does not exist."
    assert caught.value.hint == "Put the file back beside it, or open the files that are there, by a pattern of their names."
    with sl.open(tmp_path / "s_data_*.h5") as source:
        assert len(source) == 8


def test_labels_that_lie_in_one_row_are_found_along_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As MATLAB writes a column of them; the advice works, in Python and at the prompt."""
    path = tmp_path / "a.mat"
    with h5py.File(path, "w") as file:
        file["X"] = RNG.integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)
        file["y"] = np.arange(30.0)[None]
    with pytest.raises(SchemaMismatchError, match="look like a pair") as caught:
        sl.open(path)
    assert caught.value.hint == (
        "'y' has 30 along axis 1: record_axis={'y': 1} counts these. "
        "Else the file is incomplete, or they do not belong together: choose, for example fields=['X']."
    )
    with sl.open(path, record_axis={"y": 1}) as source:
        assert source[:]["y"].tolist() == list(range(30))
        assert source.schema["X"].shape == (3, 8, 8)
    _, shown = said(capsys, "info", path)
    assert "--record-axis y=1 counts these" in shown


def test_an_enumerated_type_names_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Where it numbers them from 0 on; they are kept by a conversion, and truth values are none."""
    numbers = np.arange(6, dtype="i1") % 3
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("label", data=numbers, dtype=h5py.enum_dtype({"dog": 1, "cat": 0, "emu": 2}, "i1"))
        file.create_dataset("grade", data=numbers + 1, dtype=h5py.enum_dtype({"low": 1, "mid": 2, "high": 3}, "i1"))
        file["new"] = numbers > 0
    with sl.open(tmp_path / "a.h5") as source:
        assert source.classes == {"label": ("cat", "dog", "emu")}
        assert source[:]["grade"].tolist() == [1, 2, 3] * 2
        assert source[:]["new"].dtype == bool
    assert said(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.parquet")[0] == 0
    with sl.open(tmp_path / "b.parquet") as source:
        assert source.classes == {"label": ("cat", "dog", "emu")}


def test_a_group_is_no_dataset_and_what_it_holds_is_named(tmp_path: Path):
    """As categories of AnnData are."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["X"], file["obs/n"] = np.ones((6, 4)), np.arange(6)
        file["obs/kind/codes"], file["obs/kind/categories"] = np.zeros(6, np.int8), np.arange(2)
    with pytest.raises(ConfigError) as caught:
        sl.open(path, fields=["obs/kind"])
    assert caught.value.message == f"{path}: 'obs/kind' is a group, and no dataset; it holds 'obs/kind/categories', 'obs/kind/codes'."
    assert caught.value.hint == "Name one of these."


def test_what_later_files_hold_besides_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """By name and file; where fields are named, nobody asks for more."""
    for number in range(3):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["in/x"], file["in/y"] = np.ones((5, 3)), np.arange(5)
            if number == 1:
                file["in/z"] = np.arange(5)
    with sl.open(tmp_path / "*.h5") as source:
        assert f"'in/z' left out: in {tmp_path / '1.h5'}, not in {tmp_path / '0.h5'}" in source.notes
    with sl.open(tmp_path / "*.h5", fields=["x"]) as source:
        assert "left out" not in repr(source)
    code, shown = said(capsys, "convert", str(tmp_path / "*.h5"), tmp_path / "o.parquet")
    assert (code, "1 field: 'in/z'" in shown) == (1, True)


def test_no_demonstration_is_left_out_because_another_is_longer(tmp_path: Path):
    """However little of the bytes lies in it: groups that differ in their number belong together; those of splits do not."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number, steps in enumerate((4, 50)):
            file[f"data/demo_{number}/actions"], file[f"data/demo_{number}/image"] = np.ones((steps, 7)), np.ones((steps, 6, 5), np.uint8)
    with pytest.raises(ConfigError, match=r"has 50 records and 'data/demo_0/.*' has 4, and their paths lie in sibling groups") as caught:
        sl.open(path)
    first = caught.value.details["readings"][0]
    assert (first["records"], set(first["fields"])) == (54, {"actions", "image", "group"})
    with h5py.File(path, "w") as file:
        for split, count in (("train", 50), ("test", 40)):
            file[f"{split}/data"], file[f"{split}/target"] = np.ones((count, 7)), np.arange(count)
    with sl.open(path) as source:
        assert (len(source), "'test/data' left out: 40 records, not 50" in source.notes) == (50, True)


@pytest.mark.parametrize(
    "name",
    ["{number}_{field}", "COCO_{number:06}_{field}", "{number}{field}", "img{number}.{field}"],
    ids=["first", "padded", "plain", "point"],
)
@pytest.mark.parametrize("lengths", [(3, 5, 4), (6, 6, 6)], ids=["uneven", "even"])
def test_datasets_that_say_a_number_and_a_field_are_records(name: str, lengths: tuple[int, ...], tmp_path: Path):
    """As features of images lie by the number of the image: they pair by that number, and no number is left out."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number, length in enumerate(lengths, 8):
            for field, width in (("boxes", 4), ("features", 6)):
                file[name.format(number=number, field=field)] = np.full((length, width), number, np.float32)
    readings = offered(path)
    (whole,) = (one for one in readings if one["record_axis"] is None)
    assert (whole["records"], set(whole["fields"])) == (3, {"boxes", "features"})
    with sl.open(path, fields=whole["fields"], record_axis=None) as source:
        for record, length in enumerate(lengths):
            assert source[record]["features"].shape == (length, 6)
            assert (source[record]["boxes"] == 8 + record).all()
    (joined,) = (one for one in readings if one["record_axis"] == 0 and one["records"] == sum(lengths))
    with sl.open(path, fields=joined["fields"]) as source:
        assert source[:]["boxes"][:, 0].tolist() == np.repeat([8, 9, 10], lengths).tolist()


def test_patterns_within_names_pair_by_what_their_stars_stand_for(tmp_path: Path):
    """And what has no counterpart is named by that."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number in (3, 11, 20):
            file[f"{number}_x"] = np.full((2, 3), number)
            if number != 11:
                file[f"{number}_y"] = np.arange(2)
    with pytest.raises(SchemaMismatchError, match=r"'\*_x' leads to 3 datasets, and for 1 of them '\*_y' leads to none: 11\."):
        sl.open(path, fields={"x": "*_x", "y": "*_y"})


def test_splits_of_one_length_are_no_fields_beside_each_other(tmp_path: Path):
    """X_train and X_test are offered apart; fields that a conversion calls so stay fields."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for at, split in enumerate(("train", "test")):
            file[f"X_{split}"], file[f"y_{split}"] = np.full((9, 5), at), np.arange(9)
    with pytest.raises(ConfigError, match="'X_test' and 'X_train' are of two splits, and would be fields of one record") as caught:
        sl.open(path)
    readings = caught.value.details["readings"]
    assert [one["fields"] for one in readings[:2]] == [["X_test", "y_test"], ["X_train", "y_train"]]
    with sl.open(path, fields=readings[1]["fields"]) as source:
        assert source[:]["X_train"].sum() == 0


@pytest.mark.parametrize("names", [["X_train", "X_test"], ["Xtrain", "Xtest"], ["8_boxes", "9_boxes"], ["b0", "b1"], ["s1/x", "s2/x"]])
def test_fields_that_are_called_alike_are_written_and_read_again(
    names: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Whoever names them has decided; the file that is written says so itself."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for at, name in enumerate(names):
            file[name] = np.full((9, 5), at)
    chosen = ",".join(f"{name}={name}" for name in names)
    code, shown = said(capsys, "convert", tmp_path / "a.h5", tmp_path / "b.h5", "--fields", chosen)
    assert code == 0, shown
    with sl.open(tmp_path / "b.h5") as source:
        assert sorted(source.schema.names) == sorted(names)
        assert [int(source[:][name].max()) for name in names] == [0, 1]


def written(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "f4") -> Path:
    """A file of datasets of these shapes, each full of a number of its own; masks are truth values."""
    with h5py.File(path, "w") as file:
        for at, (name, shape) in enumerate(shapes.items()):
            file[name] = np.full(shape, at, bool if "mask" in name else dtype)
    return path


@pytest.mark.parametrize(
    "shapes",
    [
        {"x": (9, 5), "y": (9,), "train_mask": (9,), "val_mask": (9,), "test_mask": (9,)},
        {"x": (9, 5), "y": (9,), "train_mask": (9, 10), "val_mask": (9, 10), "test_mask": (9, 10)},
        {"x": (9, 5), "y": (9,), "masks/train": (9,), "masks/val": (9,), "masks/test": (9,)},
        {"image": (9, 4, 4), "label": (9,), "split_train": (9,), "split_val": (9,), "split_test": (9,)},
        {"loss_train": (9,), "loss_val": (9,), "step": (9,)},
        {"image": (9, 4, 4), "pred_train": (9,), "pred_test": (9,)},
        {"x": (9, 2), "valid": (9,), "test": (9,)},
        {"contest": (9, 2), "latest": (9, 2), "std_dev": (9, 2)},
    ],
)
def test_columns_that_speak_of_splits_are_fields_of_a_table(shapes: dict[str, tuple[int, ...]], tmp_path: Path):
    """Beside fields of no split: masks of a graph's nodes, curves, predictions."""
    with sl.open(written(tmp_path / "a.h5", shapes)) as source:
        taken = source[:]
        assert len(source) == 9
        assert sorted(int(values.max()) for values in taken.values()) == sorted(
            min(at, 1) if "mask" in name else at for at, name in enumerate(shapes)
        )


@pytest.mark.parametrize(
    "shapes",
    [
        {"X_train": (9, 5), "X_test": (9, 5), "y_train": (9,), "y_test": (9,), "names": (9,)},
        {"X_train_mask": (9,), "y_train": (9,), "X_test_mask": (9,), "y_test": (9,)},
        {"train": (9, 28), "test": (9, 28), "id": (9,)},
        {"trainX": (9, 5), "trainY": (9,), "testX": (9, 5), "testY": (9,)},
        {"XTrain": (9, 5), "XTest": (9, 5)},
        {"Xtrain": (9, 5), "ytrain": (9,), "Xtest": (9, 5), "ytest": (9,)},
        {"X_train": (9, 5), "X_dev": (9, 5)},
        {"y_train": (9,), "y_test": (9,)},
    ],
)
def test_splits_that_hold_records_of_their_own_stay_apart(shapes: dict[str, tuple[int, ...]], tmp_path: Path):
    """Whatever else is as long as they are."""
    path = written(tmp_path / "a.h5", shapes)
    with pytest.raises(ConfigError, match="are of two splits, and would be fields of one record"):
        sl.open(path)


def test_all_fields_together_are_among_the_readings(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Behind those of three splits, and however many other readings there are; at the prompt, too."""
    path = written(tmp_path / "a.h5", {f"{name}_{split}": (9, 5) for split in ("train", "val", "test") for name in "Xzy"})
    readings = offered(path)
    assert (len(readings), len(readings[3]["fields"])) == (4, 9)
    with sl.open(path, fields=readings[3]["fields"]) as source:
        assert (len(source), len(source.schema.names)) == (9, 9)
    assert f"--fields {','.join(readings[3]['fields'])}" in said(capsys, "info", path)[1]
    groups = {f"run_{number}/{field}": (9, 9) for number in range(3) for field in "xyz"}
    singles = {f"{group}/{number}/v": () for group in ("about", "setup") for number in range(3)}
    several = offered(written(tmp_path / "b.h5", groups | singles))
    assert [len(one["fields"]) for one in several] == [3, 4, 1, 9]


@pytest.mark.parametrize(
    "names",
    [
        ["camera_0_rgb", "camera_1_rgb"],
        ["cam0_rgb", "cam1_rgb", "cam2_rgb"],
        ["u10m", "u100m", "v10m", "v100m"],
        ["10m_u_wind", "100m_u_wind", "10m_v_wind", "100m_v_wind"],
        ["return_1d", "return_5d", "return_20d"],
        ["q25_price", "q75_price"],
        ["l1_loss", "l2_loss"],
    ],
)
def test_numbers_of_parts_and_quantities_count_no_records(names: list[str], tmp_path: Path):
    """Cameras, heights, and days lie beside each other in one record."""
    with sl.open(written(tmp_path / "a.h5", dict.fromkeys(names, (9, 5)))) as source:
        assert (len(source), sorted(source.schema.names)) == (9, sorted(names))


def test_a_small_dataset_that_is_called_alike_is_left_out_with_a_note(tmp_path: Path):
    """Where one has labels, and the other has none; where it has some, or is no small one, it is asked for."""
    with sl.open(written(tmp_path / "a.h5", {"data1": (500, 4), "label": (500,), "data2": (3, 4)})) as source:
        assert (len(source), sorted(source.schema.names)) == (500, ["data1", "label"])
        assert "'data2' left out: 3 records, not 500" in source.notes
    for number, more in enumerate(
        (
            {"data2": (400, 4)},
            {"data2": (3, 4), "label2": (3,)},
            {"data2": (3, 4), "data3": (500, 4)},
        )
    ):
        with pytest.raises(ConfigError, match="'data1' has 500 records and 'data2' has"):
            sl.open(written(tmp_path / f"{number}.h5", {"data1": (500, 4), "label": (500,)} | more))
    with pytest.raises(ConfigError, match="'data1' has 500 records and 'data2' has 3"):
        sl.open(written(tmp_path / "b.h5", {"data1": (500, 4), "data2": (3, 4)}))
