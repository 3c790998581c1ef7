"""Tar archives as people have them: points in the names of files, and what a Mac adds."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.tar import png, write
from test_tar import image

import streamload as sl
from streamload.errors import SchemaMismatchError
from streamload.formats.tar import walk


def test_pictures_with_a_point_in_their_names_are_no_fields_of_one_record(tmp_path: Path):
    """Twenty files of one version are refused, cameras of one record are not."""
    write(tmp_path / "x.tar", [(f"v1.5_{number:04d}.png", png(image(number))) for number in range(20)])
    with pytest.raises(SchemaMismatchError) as caught:
        sl.open(tmp_path / "x.tar")
    assert caught.value.message == (
        f"{tmp_path / 'x.tar'}: what stands behind the first points of its names differs in numbers alone (20 times, .5_0000.png, "
        ".5_0001.png and so on), and makes 1 record of as many fields."
    )
    assert caught.value.hint.startswith("As in WebDataset, the first point of a name ends its record's key: rename files")
    write(tmp_path / "y.tar", [(f"0.camera{number}.png", png(image(number))) for number in range(6)])
    with sl.open(tmp_path / "y.tar") as source:
        assert len(source.schema) == 6


@pytest.mark.parametrize("large", [False, True], ids=["small", "walked"])
def test_what_a_mac_adds_to_archives_is_no_data(large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Said to be hidden, and nothing that is lacking."""
    monkeypatch.setattr(walk, "WORTH_NBYTES", 0 if large else 1 << 60)
    members = [(f"./{hidden}{number}.png", b"" if hidden else png(image(number))) for number in range(3) for hidden in ("._", "")]
    write(tmp_path / "x.tar", [*members, ("__MACOSX/./0.png", b"")])
    with sl.open(tmp_path / "x.tar") as source:
        assert len(source) == 3
        assert [(one.why, one.count) for one in source.omissions] == [("hidden, or of the system", 4)]
