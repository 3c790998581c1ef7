"""Images that few records have, converted beside fields that all have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import answer, names_in
from foreign_files import noise, png, tar_of


@pytest.mark.parametrize("at", [range(10), range(0, 80, 8), range(70, 80)], ids=["first", "spread", "last"])
def test_an_image_that_hardly_a_record_has_takes_no_other_field_with_it(at: range, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Wherever the records lie that have it: it is refused beside others, and alone its own records are written."""
    files = [(f"{key:03d}.json", b'{"x": 1}') for key in range(80)] + [(f"{key:03d}.late.png", png(noise(seed=key))) for key in at]
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(sorted(files)))
    for more in ([], ["--on-bad", "skip"]):
        code, document = answer(capsys, "convert", path, tmp_path / "b.npz", *more)
        assert (code, document["error"]["message"]) == (1, f"{path}: 'late' is missing in 70 of the 80 records.")
        assert document["error"]["hint"] == "Choose --fields without it: x."
    assert names_in(tmp_path) == {"a.tar"}
    code, document = answer(capsys, "convert", path, tmp_path / "b.npz", "--fields", "late", "--on-bad", "skip")
    assert (document["records"], len(document["left_out"])) == (10, 70)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npz")["late"], [noise(seed=key) for key in at])
