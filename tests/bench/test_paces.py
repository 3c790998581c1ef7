"""What a comparison says of how fast its passes were."""

from __future__ import annotations

import pytest

from streamload.tools.benchmark.comparison import Comparison, Run


@pytest.mark.parametrize(
    ("records", "nbytes", "said"),
    [(4_000, 3_000_000, "2,000 records/s 2 MB/s"), (1, 3_000_000_000, "1.5 GB/s"), (1, 4_000_000, "2 MB/s"), (4_000, 0, "2,000 records/s")],
    ids=["records", "a pass over bytes", "over few", "nothing but records"],
)
def test_a_pace_is_said_in_what_is_counted(records: int, nbytes: int, said: str):
    """Bytes alone where a pass is one record; records alone where they have no bytes."""
    run = Run(seconds=2.0, records=records, nbytes=nbytes, cpu_seconds=0.0)
    text = str(Comparison(what="case", ours="a", theirs="b", pairs=[(run, run)], cache="warm"))
    assert [line.split(maxsplit=1)[1].split() for line in text.splitlines()[1:3]] == [said.split()] * 2
