"""Moments in 96 bits, as Spark and Impala wrote them: right, or refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamload.errors import UnsupportedFeatureError
from streamload.formats.open import open_source

US = pa.timestamp("us")
HELD = ["2020-01-01T01:02:03.456789", None, "1969-12-31T23:59:59.999999", "1678-01-01", "2262-01-01"]


def write(path: Path, moments: list[str | None], *, store_schema: bool) -> None:
    """The moments as they are, in a struct, in lists of one length and of several."""
    values: list[Any] = [None if one is None else dt.datetime.fromisoformat(one) for one in moments]
    held = pa.array(values, US)
    arrays = {
        "t": held,
        "pair": pa.array([[one, values[0]] for one in values], pa.list_(US)),
        "any": pa.array([[one] * at for at, one in enumerate(values)], pa.list_(US)),
        "s": pa.StructArray.from_arrays([held], ["t"]),
        "image": pa.array([bytes(100)] * len(values)),
    }
    pq.write_table(pa.table(arrays), path, use_deprecated_int96_timestamps=True, store_schema=store_schema, row_group_size=4)


@pytest.mark.parametrize("store_schema", [True, False])
def test_moments_of_96_bits_are_right_or_refused(store_schema: bool, tmp_path: Path):
    """pyarrow wraps around what 64 bits of nanoseconds do not hold: the year 9999, which stands for "for ever", became 1816."""
    expected = np.array(["NaT" if one is None else one for one in HELD], "M8[ns]")
    write(tmp_path / "held.parquet", HELD, store_schema=store_schema)
    with open_source(tmp_path / "held.parquet", ["t", "s.t", "pair", "any", "image"]) as source:
        taken = source[:]
    np.testing.assert_array_equal(taken["t"], expected)
    np.testing.assert_array_equal(taken["s.t"], expected)
    np.testing.assert_array_equal(taken["pair"], np.stack([expected, np.repeat(expected[:1], 5)], axis=1))
    assert [list(one) for one in taken["any"]][2:] == [[expected[at]] * at for at in (2, 3, 4)]
    for moment in ("9999-12-31", "0001-01-01"):
        path = tmp_path / f"{moment}.parquet"
        write(path, [*HELD, moment], store_schema=store_schema)
        for name in ("t", "s.t", "pair", "any"):
            with pytest.raises(UnsupportedFeatureError) as caught, open_source(path, [name, "image"]) as source:
                _ = source[:]
            rows = "row 5 of" if name in ("t", "s.t") else "rows 4 to 6 of"
            assert caught.value.message.startswith(f"{path}: {rows} column '{name}' hold")
            assert caught.value.message.endswith("stored as INT96, which nanoseconds of 64 bits cannot hold.")
            assert caught.value.hint == (
                "Write it anew in microseconds (Spark: spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS), "
                "or leave the column out with fields=[...]."
            )
