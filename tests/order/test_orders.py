"""What users may ask for, what they get, and what they are told when it cannot be."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.order import Block, Exact, Layout, Order, Sequential, choose, layout_of, restricted, subset
from streamload.order.block_shuffle import window_advice, window_beyond_memory

KB, MB, GB = 1024, 1024**2, 1024**3


def raw(n: int, record_nbytes: int = 100) -> Layout:
    return layout_of([0, n], cuts=None, record_nbytes=record_nbytes, addressable=True)


def chunked(n: int, chunk: int, record_nbytes: int = 100) -> Layout:
    return layout_of([0, n], cuts=np.array([*range(0, n, chunk), n]), record_nbytes=record_nbytes, addressable=False)


class Reversed:
    """An order of the user's own: every epoch backwards."""

    def __init__(self, n: int) -> None:
        self.n = n

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.integer]:
        return self.n - 1 - np.arange(start, stop)


class Drawn:
    """An order of the user's own: 25 positions with repeats, drawn anew each epoch."""

    def __len__(self) -> int:
        return 25

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.integer]:
        return np.random.default_rng(epoch).integers(0, 10, 25, dtype=np.int32)[start:stop]


class Answering:
    """An order that always gives the same answer, right or wrong."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def records(self, epoch: int, start: int, stop: int) -> object:
        return self.answer


@pytest.mark.parametrize(
    ("layout", "shuffle", "wanted"),
    [
        pytest.param(raw(10), False, Sequential(), id="no shuffle: as stored"),
        pytest.param(raw(10), True, Exact(), id="small, addressable: exact"),
        pytest.param(raw(10), np.True_, Exact(), id="NumPy's own True"),
        pytest.param(raw(0), True, Exact(), id="no records: exact"),
        pytest.param(raw(10**7, 16 * KB), True, Exact(), id="addressable, 16 KB a record: exact at any size"),
        pytest.param(raw(10**7, 16 * KB - 1), True, Block(), id="addressable, smaller records, beyond a window: block"),
        pytest.param(raw(512 * 1024, KB), True, Exact(), id="addressable, small records, just within a window: exact"),
        pytest.param(raw(512 * 1024 + 1, KB), True, Block(), id="addressable, small records, just beyond a window: block"),
        pytest.param(chunked(100, 10), True, Block(), id="decoded blocks, small: block"),
        pytest.param(chunked(100, 10, 10**6), True, Block(), id="decoded blocks, large records: block"),
        pytest.param(chunked(100, 10), Exact(), Exact(), id="exact where it was asked for"),
        pytest.param(raw(10), Block("1 MB"), Block("1 MB"), id="block where it was asked for"),
    ],
)
def test_shuffle_picks_by_the_layout_alone(layout: Layout, shuffle: object, wanted: object) -> None:
    """True is Exact or Block by what is stored; an order that was asked for is kept."""
    assert choose(shuffle, layout) == wanted


@pytest.mark.parametrize("spec", [Exact(), Block(), Block(window="1 GB"), Block(4096), Sequential()], ids=repr)
def test_the_repr_of_an_order_is_how_to_make_it(spec: object) -> None:
    """`repr` is constructor code."""
    assert eval(repr(spec)) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("shuffle", "text"),
    [
        pytest.param(Exact, r"shuffle=Exact is a class\. Give an instance: shuffle=Exact\(\)\.", id="a class"),
        pytest.param(Drawn, r"shuffle=Drawn is a class", id="a class of the user's"),
        pytest.param("yes", r"shuffle='yes' is not an order\. Give True, False, Exact\(\)", id="a word"),
        pytest.param(1, r"shuffle=1 is not an order", id="a number"),
        pytest.param(None, r"shuffle=None is not an order", id="nothing"),
    ],
)
def test_what_is_not_an_order_is_refused(shuffle: object, text: str) -> None:
    """Anything but a boolean or an order is an error that shows both."""
    with pytest.raises(ConfigError, match=text):
        choose(shuffle, raw(10))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(
            {"lanes": 0}, r"Block\(lanes=0\) cannot be\. Give a whole number from 1 to 65,536, a multiple of the ranks", id="no lanes"
        ),
        pytest.param({"lanes": 2.0}, r"Block\(lanes=2\.0\) cannot be", id="lanes that are no whole number"),
        pytest.param({"lanes": 70_000}, r"Block\(lanes=70000\) cannot be", id="more lanes than a table deals"),
        pytest.param({"window": 0}, r'Block\(window=0\) holds nothing\. Give a size such as window="512 MB"', id="no window"),
        pytest.param({"window": "lots"}, r"window='lots' is not a size", id="no size"),
    ],
)
def test_blocks_that_make_no_sense_are_refused(arguments: dict[str, object], text: str) -> None:
    """Numbers of lanes that cannot be, and windows of nothing, are refused where they are written."""
    with pytest.raises(ConfigError, match=text):
        Block(**arguments)


def test_a_block_larger_than_the_window_is_refused() -> None:
    """The error names the block, both sizes, both knobs, and the conversion that cures it."""
    with pytest.raises(ConfigError) as caught:
        Block("1 MB").bind(chunked(1000, 64, 150_528), 0)
    text = str(caught.value)
    for part in (
        "Block 0 of the data has 9.19 MB (9,633,792 bytes)",
        "1 MB (1,048,576 bytes)",
        'Block(window="588 MB")',
        "memory=",
        "--chunk-records",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("fitting", "cure"),
    [("256 MB", 'shuffle=Block(window="256 MB")'), (None, "write smaller blocks with `streamload convert --chunk-records`")],
    ids=["a smaller window", "no window"],
)
def test_a_window_beyond_memory_names_what_would_suffice(fitting: str | None, cure: str) -> None:
    """The error names what works: more memory, and a window that fits, or else the conversion."""
    text = str(window_beyond_memory(512 * MB, needed_nbytes=2 * GB, memory_nbytes=GB, fitting=fitting))
    assert text == f'Windows of 512 MB need 2 GB in all, and memory="1 GB" is less. Give memory="2 GB", or {cure}.'


@pytest.mark.parametrize(
    ("blocks", "labels", "parts"),
    [
        pytest.param(64, None, None, id="64 blocks, no labels: enough"),
        pytest.param(64, 21, None, id="64 blocks, 21 labels: enough"),
        pytest.param(3000, 1000, None, id="3,000 blocks, 1,000 labels: enough"),
        pytest.param(63, None, ("63 blocks", "64 are needed", "--shuffle"), id="63 blocks: too few"),
        pytest.param(64, 22, ("64 blocks", "66 are needed", "at most 22 of 22 labels"), id="64 blocks, 22 labels: too few"),
        pytest.param(
            200,
            1000,
            ("3,000 are needed", "at most 200 of 1,000 labels", "--chunk-records", "(window= of Block)"),
            id="200 blocks, 1,000 labels",
        ),
    ],
)
def test_windows_of_too_few_blocks_are_warned_of(blocks: int, labels: int | None, parts: tuple[str, ...] | None) -> None:
    """A window needs max(64, 3 x labels) blocks; below that the text says how many labels it sees, and the cures."""
    advice = window_advice(blocks, labels)
    assert (advice is None) == (parts is None)
    for part in parts or ():
        assert part in str(advice)


def test_one_window_of_everything_needs_no_advice() -> None:
    """Where one window holds all blocks, they are mixed as well as can be."""
    assert Block().bind(chunked(1000, 100), 0).advice(10) is None
    few = Block(20_000).bind(chunked(1000, 100), 0)
    assert few.windows > 1
    assert "A window mixes only 2 blocks" in str(few.advice(10))


@pytest.mark.parametrize("records", [1_000, 40_000])
def test_the_larger_window_that_is_advised_is_enough(records: int) -> None:
    """It mixes as many blocks as are needed, or all there are."""
    few = Block(20_000).bind(chunked(records, 100), 0)
    (size,) = re.findall(r'shuffle=Block\(window="([^"]+)"\)', str(few.advice(10)))
    enough = Block(size).bind(chunked(records, 100), 0)
    assert enough.advice(10) is None
    assert enough.windows == 1 or enough.strata >= 64


def test_an_empty_dataset_has_empty_epochs() -> None:
    """No records, no positions, no windows, no error: in every order, and for an empty subset."""
    for layout in (raw(0), restricted(chunked(100, 10), np.empty(0, np.int64))):
        for spec in (Exact(), Block(), Sequential()):
            order = spec.bind(layout, 0)
            assert order.n == 0
            assert order.records(0, 0, 0).tolist() == []
        table = Block().bind(layout, 0)
        assert (table.windows, table.strata, table.most_window_nbytes, table.most_window_records) == (0, 0, 0, 0)


@pytest.mark.parametrize("spec", [Exact(), Block(), Sequential()], ids=repr)
def test_positions_outside_the_epoch_are_refused(spec: Exact | Block | Sequential) -> None:
    """Nothing is clipped silently."""
    order = spec.bind(raw(10), 0)
    for start, stop in ((0, 11), (-1, 3), (5, 4)):
        with pytest.raises(ConfigError, match=rf"Positions \[{start}, {stop}\) were asked for; an epoch has \[0, 10\)"):
            order.records(0, start, stop)


def test_fingerprints_tell_orders_apart() -> None:
    """Mode, size, cuts, windows and subset each change the fingerprint; seeds do not, and it is short text."""
    layouts = [raw(1000), raw(1001), chunked(1000, 10), chunked(1000, 20), restricted(raw(1001), np.arange(1, 1001))]
    small = [spec.bind(layout, 0).fingerprint for layout in layouts for spec in (Exact(), Sequential(), Block(20_000), Block(30_000))]
    alike = len({(spec, layout.n) for layout in layouts[:4] for spec in "es"})  # cuts mean nothing to these two
    assert len(set(small)) == alike + 2 + 2 * len(layouts)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in small)
    assert Block(20_000).bind(layouts[0], 1).fingerprint == Block(20_000).bind(layouts[0], 2).fingerprint


def test_file_borders_are_always_cuts() -> None:
    """No block reaches from one file into the next, though the cuts given do not say where files begin."""
    layout = layout_of([0, 15, 15, 40], cuts=np.array([0, 10, 20, 30, 40]), record_nbytes=100, addressable=False)
    cuts, nbytes = layout.blocks(1 << 20)
    assert cuts.tolist() == [0, 15, 40]
    assert nbytes.tolist() == [1500, 2500]
    cuts, _ = restricted(layout, np.arange(14, 17)).blocks(0)
    assert cuts.tolist() == [0, 1, 3]


# subsets


@pytest.mark.parametrize(
    "indices",
    [
        pytest.param([7, 3, 9], id="list, any order"),
        pytest.param(np.array([3, 7, 9], np.uint8), id="bytes"),
        pytest.param(np.array([9, 7, 3], np.uint64), id="unsigned"),
        pytest.param(np.array([3, 7, 9], ">i4"), id="other byte order"),
        pytest.param([n in (3, 7, 9) for n in range(10)], id="list of booleans"),
        pytest.param(np.isin(np.arange(10), [3, 7, 9]), id="booleans"),
    ],
)
def test_subsets_are_sorted(indices: object, tmp_path: Path) -> None:
    """Integers and booleans of any kind, given or in a file, choose the same records."""
    assert subset(indices, 10).tolist() == [3, 7, 9]
    assert subset(indices, 10).dtype == np.int64
    np.save(tmp_path / "chosen.npy", indices)
    assert subset(tmp_path / "chosen.npy", 10).tolist() == [3, 7, 9]
    assert subset(str(tmp_path / "chosen.npy"), 10).tolist() == [3, 7, 9]


def test_a_sorted_file_of_indices_is_not_copied(tmp_path: Path) -> None:
    """Indices in order are used where they lie: mapped from their file."""
    np.save(tmp_path / "chosen.npy", np.arange(0, 1000, 3))
    chosen = subset(tmp_path / "chosen.npy", 1000)
    assert isinstance(chosen, np.memmap)
    assert np.shares_memory(chosen, subset(chosen, 1000))
    assert subset([], 10).tolist() == []


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        pytest.param([1, 10], r"indices\[1\] is 10; the data has 10 records\. Record numbers count from 0 to 9\.", id="too large"),
        pytest.param([4, 2, -1], r"indices\[2\] is -1; the data has 10 records", id="negative"),
        pytest.param(np.array([2**64 - 1], np.uint64), r"indices\[0\] is 18446744073709551615", id="beyond int64"),
        pytest.param(
            [True, False], r"indices= has 2 booleans; the data has 10 records\. Give one boolean for each record", id="short mask"
        ),
        pytest.param(
            [7, 3, 3, 9, 3],
            r"indices= holds 5 numbers of 3 records: record 3 comes 3 times\. A subset has each record once: np\.unique\(indices\)\. "
            r"Records that shall come more often are weighed, weights=\.\.\., or listed, shuffle=sl\.Listed\(numbers\)\.$",
            id="repeats",
        ),
        pytest.param(
            [0, 1, 1, 0, 1], r"record 0 comes 2 times\. .* A mask is given as booleans: indices\.astype\(bool\)\.$", id="mask of ints"
        ),
        pytest.param(
            np.array([0, 1] * 5, np.uint8),
            r"indices= holds 10 bytes, each 0 or 1, of 10 records: they may be a mask or record numbers\. "
            r"Give a mask as booleans, indices\.astype\(bool\), and record numbers as indices\.astype\(int\)\.$",
            id="mask of bytes",
        ),
        pytest.param(np.ma.masked_less(np.arange(10), 3), r"indices= is a masked array, 3 of whose 10 elements are", id="masked"),
        pytest.param(np.ma.array([True] * 10, mask=[True] * 10), r"indices= is a masked array, 10 of whose 10", id="masked booleans"),
        pytest.param([0.5], r"indices= holds float64 of shape \(1,\)\. Give record numbers as integers", id="floats"),
        pytest.param([[1, 2]], r"indices= holds int64 of shape \(1, 2\)", id="two dimensions"),
        pytest.param(3, r"indices= holds int64 of shape \(\)", id="one number"),
        pytest.param([[1], [2, 3]], r"indices= is not an array: .* Give record numbers", id="ragged"),
        pytest.param("missing.npy", r"indices='missing.npy' cannot be read: .*No such file.* Name a \.npy file", id="no file"),
        pytest.param(__file__, r"indices='.*' cannot be read: .* Name a \.npy file", id="another file"),
    ],
)
def test_subsets_that_cannot_be_are_refused(indices: object, text: str) -> None:
    """The error names the place, the value, and the number of records."""
    with pytest.raises(ConfigError, match=text):
        subset(indices, 10)


def test_subsets_of_nothing_and_archives_are_refused(tmp_path: Path) -> None:
    """No record of an empty dataset can be chosen; a .npz file is not one array."""
    with pytest.raises(ConfigError, match=r"indices\[0\] is 1; the data has 0 records\. .* here there are none"):
        subset([1], 0)
    np.savez(tmp_path / "two.npz", a=[1], b=[2])
    with pytest.raises(ConfigError, match=r"cannot be read: it is an archive of arrays\. Name a \.npy file"):
        subset(tmp_path / "two.npz", 10)


@settings(max_examples=200)
@given(n=st.integers(1, 400), chunk=st.integers(1, 60), window=st.integers(6000, 40_000), data=st.data())
def test_a_subset_is_delivered_whole_in_every_order(n: int, chunk: int, window: int, data: st.DataObject) -> None:
    """An epoch is the chosen records, each once; its blocks hold chosen records only, from one storage block each where unmerged."""
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1)))), np.int64)
    layout = restricted(chunked(n, chunk), chosen)
    for spec in (Exact(), Block(window), Sequential()):
        order = spec.bind(layout, 1)
        assert np.sort(order.records(0, 0, order.n)).tolist() == chosen.tolist()
    assert layout.cuts is not None
    for first, stop in zip(layout.cuts[:-1], layout.cuts[1:], strict=True):
        assert stop > first
        assert len(set(chosen[first:stop] // chunk)) == 1
    assert Sequential().bind(layout, 0).records(5, 0, len(chosen)).tolist() == chosen.tolist()


def test_a_subset_of_a_subset_counts_in_it() -> None:
    """Restricting twice chooses from what the first choice left."""
    layout = restricted(restricted(raw(100), np.arange(0, 100, 10)), np.array([1, 3]))
    assert Sequential().bind(layout, 0).records(0, 0, 2).tolist() == [10, 30]


# orders of the user's own


def test_an_order_of_ones_own_is_taken_as_it_is() -> None:
    """Positions to records as the user says; without `__len__`, as many positions as records."""
    assert isinstance(Reversed(3), Order)
    order = choose(Reversed(10), raw(10)).bind(raw(10), 0)
    assert (order.mode, order.n) == ("user", 10)
    assert order.records(0, 2, 5).tolist() == [7, 6, 5]
    assert pickle.loads(pickle.dumps(order)).records(0, 2, 5).tolist() == [7, 6, 5]


def test_an_order_of_ones_own_may_repeat_and_be_longer() -> None:
    """`__len__` says how many positions an epoch has; any integer type will do; epochs may differ."""
    order = choose(Drawn(), raw(10)).bind(raw(10), 0)
    assert order.n == 25
    assert order.records(0, 0, 25).dtype == np.int64
    assert order.records(0, 0, 25).tolist() != order.records(1, 0, 25).tolist()
    assert order.records(1, 3, 9).tolist() == order.records(1, 0, 25)[3:9].tolist()


def test_an_order_of_ones_own_counts_within_a_subset() -> None:
    """With `indices=`, record 0 of the user's order is the first chosen one."""
    order = choose(Reversed(3), raw(10)).bind(restricted(raw(10), np.array([2, 5, 7])), 0)
    assert order.records(0, 0, 3).tolist() == [7, 5, 2]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param([0.5, 1.0], r"Answering\.records\(0, 4, 6\) returned float64 of shape \(2,\)\. Return record numbers", id="floats"),
        pytest.param([[1, 2]], r"returned int64 of shape \(1, 2\)", id="two dimensions"),
        pytest.param(None, r"returned object of shape \(\)", id="nothing"),
        pytest.param([True, False], r"returned bool of shape \(2,\)", id="booleans"),
        pytest.param([1, 2, 3], r"returned 3 record numbers for 2 positions\. Return one for each position", id="too many"),
        pytest.param([], r"returned 0 record numbers for 2 positions", id="none"),
        pytest.param([1, 10], r"returned record 10 at position 5; there are 10 records\. Record numbers count from 0\.", id="too large"),
        pytest.param([-1, 10], r"returned record -1 at position 4", id="negative"),
        pytest.param(
            np.ma.array([1, 2], mask=[0, 1]),
            r"What Answering\.records\(0, 4, 6\) returned is a masked array, 1 of whose 2 elements",
            id="masked",
        ),
        pytest.param(np.array([2**64 - 1, 0], np.uint64), r"returned record 18446744073709551615 at position 4", id="beyond int64"),
    ],
)
def test_wrong_answers_of_an_order_are_refused(answer: object, text: str) -> None:
    """Type, shape, length and range of every answer are checked; the error names the call, the position and the value."""
    order = choose(Answering(answer), raw(10)).bind(raw(10), 0)
    with pytest.raises(ConfigError, match=text):
        order.records(0, 4, 6)


def test_a_wrong_answer_within_a_subset_says_so() -> None:
    """The range is the subset's."""
    order = choose(Answering([3]), raw(10)).bind(restricted(raw(10), np.array([2, 5, 7])), 0)
    with pytest.raises(ConfigError, match=r"record 3 at position 0; there are 3 records\. .* within the subset that `indices=` chose"):
        order.records(0, 0, 1)


def test_tables_of_epochs_are_reproduced_from_their_arrays() -> None:
    """A table that another process filled answers as one's own, and its size is known beforehand."""
    order = Block(20_000).bind(chunked(5000, 7), 3)
    words = np.empty(order.table_nbytes // 8, np.int64)
    order.write_table(2, words)
    words.setflags(write=False)
    assert (order.read_table(2, words).records(100, 4000) == order.records(2, 100, 4000)).all()
