"""Members of tars that are there and cannot be read are damage, whatever stands for values that are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from examples.tar import png, write

import streamload as sl
from streamload.errors import CorruptDataError, NullValueError


def test_nothing_stands_for_a_member_that_cannot_be_read(tmp_path: Path):
    """JSON that is cut is damage, which `fill` does not paper over; without it, its record alone is bad."""
    path = tmp_path / "a.tar"
    images = [png(image) for image in np.random.default_rng(0).integers(0, 256, (3, 9, 8, 3), dtype=np.uint8)]
    write(
        path, [(f"{at}.{end}", data) for at in range(3) for end, data in (("json", b"{" if at == 1 else b'{"a": 1}'), ("png", images[at]))]
    )
    with pytest.raises(CorruptDataError) as caught:
        sl.open(path, fill={"a": 0})
    assert caught.value.message.startswith(f"{path}: 1.json cannot be read: ")
    assert caught.value.message.endswith(" fill= stands for values that are missing, not for those that cannot be read.")
    assert caught.value.hint == 'Replace that member, or leave fill= out, and such records too: Loader(..., on_bad_record="skip").'
    source = sl.open(path)
    assert [one.why for one in source.omissions] == ["text or JSON that cannot be read"]
    assert source[0]["a"] == 1
    source.close()


def test_a_number_that_cannot_be_read_is_no_missing_one(tmp_path: Path):
    """NaN stands for a fraction that a record lacks; one that is there and damaged is a bad record."""
    angles = {0: b"1.5", 1: b"\xff", 3: b"2.5"}
    write(tmp_path / "a.tar", sorted([(f"{at}.cls", b"3") for at in range(4)] + [(f"{at}.x.txt", one) for at, one in angles.items()]))
    with sl.open(tmp_path / "a.tar") as source:
        name = source.schema.names[-1]
        assert [one.why for one in source.omissions] == ["text or JSON that cannot be read"]
        assert f"'{name}' holds 1 null, delivered as NaN" in source.notes
        np.testing.assert_array_equal(source[[0, 2, 3]][name], [1.5, np.nan, 2.5])
        with pytest.raises(NullValueError, match=f"null at row 1 of column '{name}'"):
            source[1]


def test_a_header_of_an_array_that_is_no_python_is_damage(tmp_path: Path):
    """NumPy breaks it into words, and stops in the middle of one."""
    path = tmp_path / "a.tar"
    head = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + b"{'descr': '<i4', 'fortran_order': False, 'shape': (3,".ljust(117) + b"\n"
    write(path, [(f"{at}.x.npy", head + bytes(12)) for at in range(3)])
    with pytest.raises(sl.StreamloadError, match="npy"):
        sl.open(path)
