"""What a record is can be said: patterns of groups, joined or each one record, any axis; and it is guessed only where that is safe."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5_files import WRITTEN, images, labels, refused, write

from streamload.errors import ConfigError, SchemaMismatchError, SourceChangedError, StreamloadError
from streamload.formats.open import open_source
from streamload.ragged import Ragged
from streamload.source import Source
from streamload.testing import check_access, check_columns, check_schema, check_source, check_travel

LENGTHS = (4, 3, 9, 3, 3, 3, 3, 3, 3, 3, 5)
"""Of eleven demonstrations: the tenth comes after the ninth."""
STORED: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunks": {"chunks": (3, 4)},
    "gzip": {"chunks": (3, 4), "compression": "gzip"},
    "boxes": {"chunks": (2, 3), "compression": "gzip", "shuffle": True},
    "through the library": {"chunks": (3, 4), "scaleoffset": 0},
}


def samples(path: Path, count: int = 12, **keywords: Any) -> dict[str, np.ndarray]:
    """A group for each of some images, with a label; what must be delivered of them."""
    with h5py.File(path, "w", **WRITTEN) as file:
        for number, image in enumerate(images(count)):
            file.create_dataset(f"sample_{number}/image", data=image, **keywords)
            file[f"sample_{number}/label"] = 3 * number
    return {"image": images(count), "label": 3 * np.arange(count)}


def demos(path: Path, **keywords: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Groups of actions and frames, of different lengths."""
    chance = np.random.default_rng(0)
    actions = [chance.integers(0, 99, (length, 4)).astype("i4") for length in LENGTHS]
    frames = [chance.integers(0, 99, (length, 7, 3)).astype("u1") for length in LENGTHS]
    with h5py.File(path, "w", **WRITTEN) as file:
        for number, (action, frame) in enumerate(zip(actions, frames, strict=True)):
            file.create_dataset(f"data/demo_{number}/actions", data=action, **keywords)
            file[f"data/demo_{number}/obs/frames"] = frame
    return actions, frames


def ragged(arrays: list[np.ndarray]) -> Ragged:
    """Arrays of different lengths, each a record."""
    return Ragged(np.concatenate(arrays), np.cumsum([0, *map(len, arrays)]), "array")


def check(source: Source, expected: dict[str, Any]) -> None:
    """All of the contract but for loaders: tests of each kind of column run those."""
    for one in (check_schema, check_access, check_columns, check_travel):
        one(source, expected)


FIELDS = {"actions": "data/*/actions", "frames": "data/*/obs/frames", "demo": "data/*"}


@pytest.mark.parametrize("keywords", STORED.values(), ids=STORED)
def test_groups_are_joined_in_natural_order(keywords: dict[str, Any], tmp_path: Path):
    """Along the first axis, with a field that says which group a record is from."""
    actions, frames = demos(tmp_path / "a.h5", **keywords)
    source = open_source(tmp_path / "a.h5", fields=FIELDS)
    which = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    check(source, {"actions": np.concatenate(actions), "frames": np.concatenate(frames), "demo": which})
    assert source.classes == {"demo": tuple(f"demo_{number}" for number in range(11))}


@pytest.mark.parametrize("keywords", STORED.values(), ids=STORED)
def test_groups_of_different_lengths_are_a_record_each(keywords: dict[str, Any], tmp_path: Path):
    """record_axis=None: arrays of any length, and a field that names the group."""
    actions, frames = demos(tmp_path / "a.h5", **keywords)
    source = open_source(tmp_path / "a.h5", fields=FIELDS, record_axis=None)
    check(source, {"actions": ragged(actions), "frames": ragged(frames), "demo": np.arange(11)})


@pytest.mark.parametrize(
    "keywords",
    [{}, {"compression": "gzip"}, {"chunks": (4, 6, 3), "compression": "lzf"}, {"scaleoffset": 8}],
    ids=["contiguous", "gzip", "boxes", "through the library"],
)
def test_groups_of_one_shape_are_a_record_each(keywords: dict[str, Any], tmp_path: Path):
    """Stacked, single values too; found without fields= where nothing else is there."""
    expected = samples(tmp_path / "a.h5", **keywords)
    for fields in ({"image": "sample_*/image", "label": "sample_*/label"}, None):
        check(open_source(tmp_path / "a.h5", fields=fields, record_axis=None), expected)
    joined = open_source(tmp_path / "a.h5", fields={"line": "sample_?/image"})
    np.testing.assert_array_equal(joined[:]["line"], expected["image"][:10].reshape(-1, 6, 3))
    joined.close()


def test_groups_of_several_files_follow_each_other(tmp_path: Path):
    """Each file in natural order; groups of one name in two files are two."""
    one, two = samples(tmp_path / "a.h5", 11), samples(tmp_path / "b.h5", 3)
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    source = open_source(paths, fields={"image": "*/image", "label": "*/label", "group": "*"}, record_axis=None)
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    check(source, {**both, "group": np.arange(14)})
    assert source.file_starts.tolist() == [0, 11, 14]
    assert source.classes["group"][10:12] == ("a.h5/sample_10", "b.h5/sample_0")


def test_texts_compounds_and_links_in_groups(tmp_path: Path):
    """Single texts, members of compounds, datasets of mixed layouts, and files that links lead into."""
    kind = np.dtype([("x", "f4"), ("y", "u1", (2,))])
    with h5py.File(tmp_path / "other.h5", "w", **WRITTEN) as file:
        file["x"] = images(5)
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        for number in range(4):
            file[f"g{number}/name"] = "abc"[:number]
            file[f"g{number}/table"] = np.array([(number, [number, 1])] * (number + 1), kind)
            file.create_dataset(f"g{number}/mixed", data=images(number + 1), **({"compression": "gzip"} if number % 2 else {}))
        file["g4/mixed"] = h5py.ExternalLink("other.h5", "/x")
        file["g4/table"] = np.array([(4, [4, 1])] * 5, kind)
    single = open_source(tmp_path / "a.h5", fields={"name": "g*/name"}, record_axis=None)
    assert single[:]["name"].to_list() == ["", "a", "ab", "abc"]
    source = open_source(tmp_path / "a.h5", fields={"table": "g*/table", "mixed": "g*/mixed", "x": "g*/table.x"})
    which = np.repeat(np.arange(5), np.arange(1, 6))
    y = np.stack([which, np.ones(15)], axis=1).astype("u1")
    mixed = np.concatenate([images(number) for number in range(1, 6)])
    check(source, {"table.x": which.astype("f4"), "table.y": y, "mixed": mixed, "x": which.astype("f4")})
    (tmp_path / "other.h5").touch()
    with pytest.raises(SourceChangedError):
        source[14]
    source.close()
    single.close()


@pytest.mark.parametrize("keywords", [{}, {"chunks": (2, 4, 3, 7), "compression": "gzip"}, {"chunks": (2, 4, 3, 7), "scaleoffset": 0}])
def test_any_axis_can_count_records(keywords: dict[str, Any], tmp_path: Path):
    """MATLAB counts along the last one."""
    stack = np.moveaxis(images(30), 0, -1).astype("i2")
    write(tmp_path / "a.h5", x=(np.ascontiguousarray(stack), keywords), y=labels(30).reshape(1, 30))
    for axis in (-1, {"x": 3, "y": -1}):
        source = open_source(tmp_path / "a.h5", fields=["x", "y"], record_axis=axis)
        check(source, {"x": images(30).astype("i2"), "y": labels(30)})
    found = open_source(tmp_path / "a.h5", record_axis=-1)
    assert found.notes[0] == "fields were found, not named; fields=['x', 'y'] with record_axis=-1 says the same"
    middle = open_source(tmp_path / "a.h5", fields={"x": "x"}, record_axis={"x": 1})
    check(middle, {"x": np.moveaxis(stack, 1, 0)})


def test_each_file_can_be_a_record(tmp_path: Path):
    """record_axis=None without patterns: whatever a file holds is one record."""
    for number in range(3):
        write(tmp_path / f"{number}.h5", volume=images(number + 2), label=np.array(number), fixed=labels(2) + number)
    source = open_source(str(tmp_path / "*.h5"), record_axis=None)
    expected = {"volume": ragged([images(number + 2) for number in range(3)]), "label": np.arange(3)}
    check(source, {**expected, "fixed": labels(2) + np.arange(3)[:, None]})


@pytest.mark.parametrize("what", ["joined", "ragged", "ragged gzip", "last axis", "last axis gzip"])
def test_loaders_deliver_each_kind_of_column(what: str, tmp_path: Path):
    """Every order, resumed, with and without workers."""
    keywords = STORED["gzip"] if what.endswith("gzip") else {}
    if what.startswith("last"):
        write(tmp_path / "a.h5", x=(np.ascontiguousarray(np.moveaxis(images(30), 0, -1)), {"compression": "gzip"} if keywords else {}))
        check_source(open_source(tmp_path / "a.h5", record_axis=-1, fields=["x"]), {"x": images(30)}, num_workers=(0, 1))
        return
    actions, frames = demos(tmp_path / "a.h5", **keywords)
    made = np.concatenate if what == "joined" else ragged
    which = np.repeat(np.arange(11), LENGTHS) if what == "joined" else np.arange(11)
    source = open_source(tmp_path / "a.h5", fields=FIELDS, record_axis=0 if what == "joined" else None)
    check_source(source, {"actions": made(actions), "frames": made(frames), "demo": which}, num_workers=(0, 1))


# What is guessed, and what is not


def numbered(path: Path) -> None:
    """Images that lie side by side, each a dataset."""
    write(path, **{f"img_{number}": images(5)[number % 5] for number in range(20)})


UNSAFE: dict[str, tuple[Callable[[Path], object], str, list[int]]] = {
    "a group for each record": (
        samples,
        "'sample_0/image' and 'sample_1/image', of one shape, lie in sibling groups",
        [12, 84, 7],
    ),
    "groups of different lengths": (
        demos,
        "'data/demo_1/obs/frames' and 'data/demo_3/obs/frames', of one shape, lie in sibling groups",
        [42, 11, 9],
    ),
    "a dataset for each record": (numbered, "'img_0' and 19 datasets like it have 7 along their first axis", [20, 140]),
    "the last axis": (
        lambda path: write(path, X=np.ascontiguousarray(np.moveaxis(images(30), 0, -1)), target=labels(30).reshape(1, 30)),
        "2 datasets have 30 along their last axis",
        [30, 7, 1],
    ),
    "train and two others": (
        lambda path: write(path, **{f"{name}/x": images(count) for name, count in (("a", 40), ("b", 35), ("c", 30))}),
        "62% of its bytes would be left out if the longest set of fields were read alone",
        [105, 3, 40, 35],
    ),
}


@pytest.mark.parametrize("what", UNSAFE)
def test_what_is_not_safe_is_refused_with_the_arguments_that_decide(what: str, tmp_path: Path):
    """Each reading says how many records it gives, and gives them."""
    written, why, counts = UNSAFE[what]
    path = tmp_path / "a.h5"
    written(path)
    with pytest.raises(ConfigError) as caught:
        open_source(path)
    assert caught.value.message == f"{path}: what a record is cannot be told: {why}."
    readings = caught.value.details["readings"]
    assert [reading["records"] for reading in readings] == counts
    for reading, said in zip(readings, caught.value.hint.removeprefix("Say it: ").split("; or "), strict=True):
        arguments, _, records = said.rstrip(".").rpartition(" (")
        options = eval(f"dict({arguments})")  # what the hint says is what works
        assert options == {"fields": reading["fields"]} | ({} if reading["record_axis"] == 0 else {"record_axis": reading["record_axis"]})
        with open_source(path, **options) as source:
            assert len(source) == reading["records"] == int(re.sub(r"\D", "", records))
            assert len(source[:]) == len(options["fields"])


def test_many_groups_are_counted_without_being_entered(tmp_path: Path):
    """12,000 of them: refused at once, with the pattern that reads them."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        for number in range(12_000):
            file.create_group(f"g{number}")
        for number in range(12_000):
            if number % 100 == 0 or number < 1200:
                file[f"g{number}/x"] = np.zeros(3)
    assert refused(ConfigError, path).startswith(
        f"{path}: what a record is cannot be told: it holds more than was looked at. "
        "Say it: fields={'x': 'g*/x'}, record_axis=None (12,000 "
    )
    assert len(open_source(path, fields={"x": "g*/x"}, record_axis=None)) == 1308


def test_sibling_groups_beside_a_field_of_the_same_length_are_fields(tmp_path: Path):
    """Two views of every record: the label says so; and a smaller test set is left out with a note."""
    write(tmp_path / "a.h5", **{"left/image": images(), "right/image": images(seed=1), "label": labels()})
    assert open_source(tmp_path / "a.h5").schema.names == ("left/image", "label", "right/image")
    write(tmp_path / "b.h5", **{"train/x": images(), "train/y": labels(), "test/x": images(20), "test/y": labels(20)})
    assert "'test/x' left out: 20 records, not 100" in open_source(tmp_path / "b.h5").notes


# What cannot be


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fields": {"x": "demo_*/x"}}, "nothing in it matches 'demo_*/x'; it holds 'data', 'more'. "),
        ({"fields": {"x": "zz_*/x"}}, "nothing in it matches 'zz_*/x'; it holds 'data', 'more'. \"*\" stands for letters within "),
        (
            {"fields": {"x": "data/*/actions", "y": "more/*/z"}},
            "'data/*/actions' leads to 11 datasets, and for 10 of them 'more/*/z' leads to none: ",
        ),
        ({"fields": {"g": "data/*"}}, "fields names groups alone, which tell records apart but hold none. "),
        ({"fields": {"x": "data/*/actions", "g": "more/*"}}, "field 'g' names the groups at 'more/*', which do not hold the datasets "),
        (
            {"fields": {"x": "data/*/actions", "y": "data/*/obs/frames"}, "record_axis": {"x": 1}},
            "'data/demo_1/actions' is int32 (3, 4), and 'data/",
        ),
        ({"fields": ["data/demo_0/actions"], "record_axis": 2}, "has 2 axes, and record_axis=2 asks for another. Its shape is (4, 4); "),
        (
            {"fields": {"x": "*/demo_0/*"}},
            "'more/demo_0/actions' is float64 (3,), and 'data/demo_0/actions', with which it makes field 'x', is int32 (4, 4). ",
        ),
        ({"record_axis": "last"}, "record_axis='last' is not known. Give the number of an axis (-1 is the last), None for "),
    ],
)
def test_patterns_that_lead_nowhere_or_apart_are_refused_by_name(options: dict[str, Any], text: str, tmp_path: Path):
    """Each says what is missing, and where."""
    demos(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["more/demo_0/z"], file["more/demo_0/actions"] = np.zeros(4), np.zeros(3)
    with pytest.raises((ConfigError, SchemaMismatchError)) as caught:
        open_source(tmp_path / "a.h5", **options)
    assert text in str(caught.value)
    assert isinstance(caught.value, StreamloadError)
    assert caught.value.hint


@pytest.mark.parametrize("keywords", [{}, {"compression": "gzip"}], ids=["raw", "gzip"])
@pytest.mark.parametrize("one", ["as the others", "through the library", "contiguous", "never written"])
def test_datasets_of_one_field_may_be_cut_into_other_chunks_each(one: str, keywords: dict[str, Any], tmp_path: Path):
    """The library calls their properties equal, whatever the shapes of chunks; and one dataset may be stored in another way altogether."""
    arrays = [np.arange(8 * number, 8 * number + 8, dtype="i4") for number in range(12)]
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        for number, array in enumerate(arrays):
            cut = {"chunks": ((4, 1, 8, 8, 3)[number % 5],), **keywords}
            if number == 5 and one == "never written":
                file.create_dataset(f"g{number}/x", (8,), "i4", **cut)
                array[:] = 0
                continue
            odd = {"as the others": cut, "through the library": {"scaleoffset": 0}}.get(one, {}) if number == 5 else cut
            file.create_dataset(f"g{number}/x", data=array, **odd)
    for axis, expected in ((0, np.concatenate(arrays)), (None, np.stack(arrays))):
        with open_source(tmp_path / "a.h5", fields={"x": "g*/x"}, record_axis=axis) as source:
            check(source, {"x": expected})


def test_axes_of_what_is_not_there_are_refused(tmp_path: Path):
    """Whether fields are named or found; of files that are joined, only what none of them holds."""
    for name, dataset in (("a", "x"), ("b", "y")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file[dataset] = np.arange(60).reshape(3, 20)
    path = tmp_path / "a.h5"
    for fields, known, wrong in ((None, "'x'", "imgae"), (["x"], "'x'", "imgae"), ({"p": "x"}, "'p', 'x'", "q")):
        with pytest.raises(ConfigError) as caught:
            open_source(path, fields, record_axis={wrong: -1})
        assert caught.value.message == f"record_axis names {wrong!r}, which no dataset or field of {path} is called."
        assert caught.value.hint == f"It holds {known}."
    for name in ("p", "x"):
        with open_source(path, {"p": "x"}, record_axis={name: -1}) as source:
            assert len(source) == 20
    both = {"p": path, "q": tmp_path / "b.h5"}
    with open_source(both, record_axis={"x": -1, "y": -1}) as source:
        assert len(source) == 20
    with pytest.raises(ConfigError, match=r"record_axis names 'z', which is in none of the 2 files\. It holds 'x'\."):
        open_source(both, record_axis={"x": -1, "y": -1, "z": 0})
