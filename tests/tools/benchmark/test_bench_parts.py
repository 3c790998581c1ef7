"""The parts of `streamload bench`: models, limits that hold, and advice that rests on figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamload.tools.benchmark.advice import changes, pass_verdict, verdict
from streamload.tools.benchmark.machine_limits import beside, copy_limits, device_limits, read_ahead
from streamload.tools.benchmark.measure_epoch import Steady
from streamload.tools.benchmark.workloads import WORKLOADS, utilisation, workload


def test_models_need_what_their_definition_says():
    """Batch, compute time and threshold of MLPerf Storage; an accelerator fed at its threshold is one accelerator fed."""
    assert (WORKLOADS["resnet50"].threshold, WORKLOADS["unet3d"].threshold, WORKLOADS["cosmoflow"].threshold) == (0.9, 0.9, 0.7)
    assert WORKLOADS["resnet50"].needs("H100") == pytest.approx(0.9 * 400 / 0.224)
    own = workload("0.1", 50)
    assert own.needs("accelerator") == pytest.approx(450)
    assert (own.feeds(449, "accelerator"), own.feeds(1_400, "accelerator")) == (0, 3)


@given(steps=st.integers(1, 1000), compute=st.floats(1e-4, 1), waited=st.floats(0, 100))
def test_utilisation_is_the_share_of_time_computed(steps: int, compute: float, waited: float):
    """Compute over compute and waiting, never above one."""
    share = utilisation({"steps": steps, "seconds": steps * compute + waited}, compute)
    assert share == pytest.approx(steps * compute / (steps * compute + waited))
    assert 0 <= share <= 1


CONVERT = "streamload convert photos new.h5"


def a_pass(**more: Any) -> dict[str, Any]:
    """Figures of a pass, as far as limits and verdicts look at them."""
    figures: dict[str, Any] = {
        "workers": 2,
        "order": "exact",
        "rate": 100.0,
        "byte_rate": 1e8,
        "seconds": 1.0,
        "read_nbytes": 10**8,
        "nbytes": 10**8,
        "used_nbytes": 10**8,
        "device_per_used": 1.0,
        "bottleneck": "transport",
        "stats": {"decode_seconds": 0.0},
        "memory": {"own_nbytes": 0},
        "budget_nbytes": 0,
        "limits": [],
    }
    return figures | more


LIMITS = [
    {"name": "copying in order", "kind": "copy", "how": "in order", "byte_rate": 1e9},
    {"name": "copying at random", "kind": "copy", "how": "at random", "byte_rate": 5e8},
    {"name": "random reads", "kind": "device", "how": "random", "byte_rate": 2e8},
    {"name": "sequential reads", "kind": "device", "how": "sequential", "byte_rate": 4e8},
]


@pytest.mark.parametrize(
    ("one", "stored", "names"),
    [
        (a_pass(), False, ["copying in order"]),
        (a_pass(workers=1), False, ["copying at random"]),
        (a_pass(), True, ["random reads", "copying in order"]),
        (a_pass(order="block"), True, ["sequential reads", "copying in order"]),
        (
            a_pass(stats={"decode_seconds": 1.8}),
            False,
            ["2 workers doing nothing but decoding, at the pace of this pass", "copying in order"],
        ),
    ],
    ids=["several workers, warm", "one worker, warm", "exact, cold", "block, cold", "decoding"],
)
def test_limits_that_hold_for_a_pass_stand_beside_it(one: dict[str, Any], stored: bool, names: list[str]):
    """The lowest first, each with its ratio."""
    found = beside(one, LIMITS, stored=stored)
    assert [limit["name"] for limit in found] == names
    assert all(limit["ratio"] == pytest.approx(one["byte_rate"] / limit["byte_rate"]) for limit in found)


def test_reading_more_than_is_used_lowers_the_limit():
    """Four bytes brought in a byte used: a quarter of the device's rate is what can be delivered."""
    found = beside(a_pass(device_per_used=4.0), LIMITS, stored=True)
    assert found[0]["byte_rate"] == pytest.approx(5e7)


def test_data_that_came_before_the_first_step_is_not_set_beside_the_device():
    """A small file is read ahead as a whole: what follows has the rate of memory, and says so."""
    one = a_pass(device_per_used=0.0)
    assert [limit["name"] for limit in beside(one, LIMITS, stored=True)] == ["copying in order"]
    assert read_ahead(one)
    assert not read_ahead(a_pass())


@pytest.mark.parametrize(
    ("passes", "advice"),
    [
        ([a_pass(workers=0, rate=50.0), a_pass()], "num_workers=2: 2.00 times the records a second of 0"),
        ([a_pass(read_nbytes=10**9)], "10.0 bytes are read for each byte used"),
        ([a_pass(bottleneck="disk")], "the device gives more than random order takes"),
        (
            [a_pass(bottleneck="disk", limits=[{"name": "x", "kind": "device", "byte_rate": 1.0, "ratio": 0.95}])],
            "the device gives no more",
        ),
        ([a_pass(bottleneck="decode", stats={"decode_seconds": 1.9})], "more workers: decoding takes 1.9 s of 2"),
        (
            [a_pass(bottleneck="decode", workers=8, stats={"decode_seconds": 1.9})],
            "`streamload convert photos new.h5` makes arrays that need no decoding: all cores decode already",
        ),
        (
            [a_pass(bottleneck="disk", device_per_used=0.0)],
            "one file in place of many, `streamload convert photos new.h5`: opening and reading them set the pace",
        ),
        ([a_pass(memory={"own_nbytes": 4 << 30})], "less memory=: processes hold 4 GB"),
    ],
    ids=["workers", "amplification", "random reads", "a slow disk", "decoding", "all cores decoding", "files in memory", "memory"],
)
def test_advice_rests_on_figures(passes: list[dict[str, Any]], advice: str):
    """What to change, with the number that says why."""
    assert any(advice in one for one in changes(passes, cores=8, asked_workers=None, convert=CONVERT, many_files=True))


def test_one_file_is_not_told_to_become_one():
    """Nor is a faster disk advised where files are in memory, and where the limit that was reached is that of copying."""
    warm = a_pass(bottleneck="disk", device_per_used=0.0)
    assert list(changes([warm], cores=2, asked_workers=None, convert=CONVERT)) == []
    for share in (0.0, 1.0):
        one = a_pass(bottleneck="disk", device_per_used=share, limits=[{"name": "x", "kind": "copy", "byte_rate": 1.0, "ratio": 0.95}])
        assert list(changes([one], cores=2, asked_workers=None, convert=CONVERT, many_files=True)) == []


def test_files_that_are_in_memory_wait_for_no_disk():
    """A faster one would not help, and none is asked for: neither in a pass, nor at the end, nor as a change."""
    said = "disk: 50 records/s; the loop waited 98 % of the time: for storage: a faster disk or smaller records would help"
    cold, warm = (a_pass(bottleneck="disk", verdict=said, workers=1, device_per_used=share) for share in (0.9, 0.0))
    assert pass_verdict(cold) == said
    assert pass_verdict(warm).endswith("the loop waited 98 % of the time: for files to be opened and read, which are in memory")
    assert verdict(warm) == "100 records/s with 1 worker; opening and reading files set the pace"
    assert not any("device" in one for one in changes([warm], cores=8, asked_workers=None, convert=CONVERT))


def test_a_pass_near_its_limit_needs_no_advice():
    """The verdict says that the machine is the limit."""
    one = a_pass(limits=[{"name": "copying", "kind": "copy", "byte_rate": 1e8, "ratio": 0.9}])
    assert list(changes([one], cores=8, asked_workers=None, convert=CONVERT)) == []
    assert verdict(one) == "100 records/s with 2 workers, 90 % of what copying gives; the machine is the limit"


COPYING = {"name": "copying", "kind": "copy", "byte_rate": 1e9, "ratio": 0.1}
DEVICE = {"name": "the device", "kind": "device", "byte_rate": 1e8, "ratio": 0.95}
DECODERS = {"name": "decoders", "kind": "decode", "byte_rate": 1e8, "ratio": 0.99}


@pytest.mark.parametrize(
    ("one", "pace"),
    [
        (a_pass(bottleneck="consumer", limits=[COPYING]), "copying batches out set the pace, not the loader"),
        (a_pass(bottleneck="disk", limits=[COPYING]), "waiting for storage set the pace"),
        (a_pass(bottleneck="disk", limits=[DEVICE]), "the machine is the limit"),
        (a_pass(bottleneck="decode", limits=[COPYING]), "decoding set the pace"),
        (a_pass(bottleneck="decode", limits=[DECODERS]), "decoding set the pace"),
        (a_pass(bottleneck="transport", limits=[COPYING]), "copying and handing over set the pace"),
    ],
    ids=["a slow consumer", "a slow disk", "a disk at its limit", "slow decoding", "decoders at their limit", "handing over"],
)
def test_the_verdict_follows_the_situation(one: dict[str, Any], pace: str):
    """Each situation has its own sentence; decoders that do nothing else are the codec's limit, not the machine's."""
    assert verdict(one).endswith(f"; {pace}")


def test_decoders_at_their_limit_are_told_of_more_workers():
    """Being near a limit of one's own making is no reason to stay there."""
    one = a_pass(workers=1, bottleneck="decode", stats={"decode_seconds": 0.99}, limits=[DECODERS])
    assert "more workers: decoding takes 1.0 s of 1, and 8 cores are there" in list(
        changes([one], cores=8, asked_workers=None, convert=CONVERT)
    )


def test_no_device_rate_is_made_up_where_none_can_be_measured(tmp_path: Path):
    """An empty file has none."""
    (tmp_path / "empty").touch()
    assert device_limits([tmp_path / "empty"], 100) == []


class TestSteady:
    """A pass ends when its rate stands still."""

    @staticmethod
    def seconds(rates: Iterable[float], least_records: int = 0) -> float | None:
        """When a pass ends that has these rates, one after the other, for a tenth of a second each; None where it goes on."""
        steady, records = Steady(least_records=least_records), 0.0
        for number, rate in enumerate(rates, start=1):
            records += rate / 10
            if steady.is_reached(number / 10, int(records)):
                return number / 10
        return None

    def test_a_rate_that_stands_still_ends_it_soon(self):
        """Within a second or so."""
        assert (self.seconds([1000] * 100) or 9) < 1.2

    def test_a_rate_that_falls_or_swings_does_not(self):
        """As of a loader that had read ahead, or on a busy machine."""
        assert self.seconds(10_000 / number for number in range(1, 40)) is None
        assert (self.seconds([1000, 1000, 10, 10] * 5 + [1000] * 100) or 99) > 1.5

    def test_nor_does_it_before_the_data_has_gone_through_several_times(self):
        """What is held after the first epoch must be met."""
        assert self.seconds([1000] * 50, least_records=5001) is None
        assert (self.seconds([1000] * 50, least_records=3000) or 0) >= 3


def test_copying_records_of_a_byte_ends() -> None:
    """In a bounded number of calls, however many batches the bytes that are copied elsewhere would make."""
    assert [(limit["how"], limit["byte_rate"] > 0) for limit in copy_limits(1, 1)] == [("in order", True), ("at random", True)]
