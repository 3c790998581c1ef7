"""Mixtures are frozen too: which positions of which part each rank takes in each step, whatever becomes of the counts."""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from streamload.order import Exact, PartSize, SharedSteps, laned_order, layout_of, part_seed

LINES = (Path(__file__).parent / "mixture_golden.txt").read_text().splitlines()


def lists(line: str) -> dict[str, list[list[int]]]:
    """The values of a line by name: numbers and lists of them."""
    return {name: ast.literal_eval(text) for name, text in re.findall(r"(\w+)=(\[+[^=]*\]+|\d+)(?= |$)", line)}


def steps_of(values: dict[str, list[list[int]]], counts: list[int], rank: int) -> SharedSteps:
    parts = tuple(PartSize(n=n, lanes=lanes, count=count) for n, lanes, count in zip(values["n"], values["lanes"], counts, strict=True))
    return SharedSteps(parts=parts, rank=rank, ranks=values["ranks"], drop_last=bool(values["drop_last"]), pad_last=False)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("mixture n=")])
def test_mixtures(line: str) -> None:
    """Epochs of a mixture, under counts that may change from one to the next: steps, leads, every piece, and where it stands at the end."""
    values = lists(line)
    at, found, lengths, leads = None, [], [], []
    for counts in values["counts"]:
        ranks = [steps_of(values, counts, rank) for rank in range(values["ranks"])]
        at = ranks[0].begin() if at is None else ranks[0].next_epoch(at)
        leads.append(at.lead)
        assert at.step == 0
        while (step := ranks[0].step(at)) is not None:
            mine = [one.step(at) for one in ranks]
            assert {one.end for one in mine} == {step.end}
            for one in mine:
                found += [(p.stream, p.epoch, p.lane, p.start, p.stop) for s in one.segments if s.valid for p in s.pieces]
            at = step.end
        lengths.append(at.step)
    assert (lengths, leads) == (values["steps"], values["leads"])
    assert [list(place) for place in at.positions] == values["places"]
    assert at.total_step == sum(lengths)
    assert hashlib.blake2b(np.array(found, "<i8").tobytes(), digest_size=8).hexdigest() == line.rsplit("=", 1)[1]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("part seeds")])
def test_parts_have_seeds_of_their_own(line: str) -> None:
    """By their number in the order given."""
    seed = int(re.findall(r"\d+", line)[0])
    assert str([part_seed(seed, part) for part in range(3)]) == line.split(": ")[1]


def test_records_of_parts(kernels: str) -> None:
    """The first records of an epoch of two parts in exact order."""
    (line,) = [line for line in LINES if line.startswith("mixture records")]
    wanted = ast.literal_eval(line.split("first=")[1])
    layouts = [layout_of([0, n], cuts=None, record_nbytes=1, addressable=True) for n in (100, 37)]
    streams = [laned_order(Exact(), layout, seed=part_seed(5, part)) for part, layout in enumerate(layouts)]
    assert [stream.records(0, 1, 0, 6).tolist() for stream in streams] == wanted
