"""Tar archives as people have them: points in the names of files, and what a Mac adds."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from examples.tar import png, write
from test_tar import image

import streamload as sl
from streamload.errors import SchemaMismatchError, UnsupportedFeatureError
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
@pytest.mark.parametrize("ending", ["cam{:02}.png", "{}.png", "view.{}.png", "{}.left.png", "cam{}.txt"])
def test_more_cameras_than_records_are_fields(ending: str, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Endings that several records have are fields of them."""
    monkeypatch.setattr(walk, "WORTH_NBYTES", 0 if large else 1 << 60)
    data = b"1" if ending.endswith("txt") else png(image(0))
    write(tmp_path / "x.tar", [(f"a{record}.{ending.format(camera)}", data) for record in range(5) for camera in range(12)])
    with sl.open(tmp_path / "x.tar") as source:
        assert (len(source), len(source.schema)) == (5, 12)


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([f"v{version}.5_{number:04}.png" for version in (1, 2) for number in range(20)], 20),
        ([f"2024.{month:02}.01_{number}.png" for month in (1, 2) for number in range(10)], 20),
        ([f"{word}.picture_{10 * at + number}.png" for at, word in enumerate("ab") for number in range(10)], 20),
        ([f"{word}.{at}{number}.txt" for at, word in enumerate("ab") for number in range(10)], 20),
    ],
    ids=["versions", "dates", "counted on", "texts"],
)
def test_counted_names_are_no_fields_however_many_keys_they_seem_to_have(names: list[str], count: int, tmp_path: Path):
    """Each in one record; or the point is one of a number."""
    write(tmp_path / "x.tar", [(name, b"1" if name.endswith("txt") else png(image(0))) for name in names])
    with pytest.raises(SchemaMismatchError, match=rf"differs in numbers alone \({count} times, "):
        sl.open(tmp_path / "x.tar")


@pytest.mark.parametrize("large", [False, True], ids=["small", "walked"])
def test_what_a_mac_adds_to_archives_is_no_data(large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Said to be hidden, and nothing that is lacking."""
    monkeypatch.setattr(walk, "WORTH_NBYTES", 0 if large else 1 << 60)
    members = [(f"./{hidden}{number}.png", b"" if hidden else png(image(number))) for number in range(3) for hidden in ("._", "")]
    write(tmp_path / "x.tar", [*members, ("__MACOSX/./0.png", b"")])
    with sl.open(tmp_path / "x.tar") as source:
        assert len(source) == 3
        assert [(one.why, one.count) for one in source.omissions] == [("hidden, or of the system", 4)]


@pytest.mark.parametrize("large", [False, True], ids=["small", "walked"])
def test_records_that_would_lack_what_they_are_about_are_refused(large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sound and films are not read here: labels alone are asked for by name. What is small beside images is left out by a note."""
    monkeypatch.setattr(walk, "WORTH_NBYTES", 0 if large else 1 << 60)
    path = tmp_path / "x.tar"
    write(path, [(f"{at}.{end}", data) for at in range(4) for end, data in (("flac", bytes(20_000)), ("txt", b"a"), ("cls", b"1"))])
    with pytest.raises(UnsupportedFeatureError) as caught:
        sl.open(path)
    assert caught.value.message == (
        f"{path}: members that are left out hold 78% of its bytes: .flac is not read here (4). Records would lack what they are about."
    )
    assert caught.value.hint == "If the rest is what is wanted, say so: fields=['txt', 'label']. What they hold can be read as .npy."
    with sl.open(path, fields=["txt", "label"]) as source:
        assert len(source) == 4
    write(path, [(f"{at}.{end}", data) for at in range(4) for end, data in (("xml", bytes(3_000)), ("png", png(image(at))))])
    with sl.open(path) as source:
        assert [omission.count for omission in source.omissions] == [4]


@pytest.mark.parametrize("large", [False, True], ids=["small", "walked"])
def test_what_is_read_is_not_counted_as_left_out(large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Numbers and texts of any size, nor the heads of members, nor what pax heads say of each, nor the same sound once more by a link."""
    monkeypatch.setattr(walk, "WORTH_NBYTES", 0 if large else 1 << 60)
    path = tmp_path / "x.tar"
    held = json.dumps({"boxes": "1" * 20_000}).encode()
    write(path, [(f"{at}.{end}", data) for at in range(20) for end, data in (("json", held), ("png", png(image(at))), ("xmp", bytes(50)))])
    with sl.open(path) as source:
        assert [omission.count for omission in source.omissions] == [20]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for at in range(20):
            for end, data in (("png", png(image(at))), ("xmp", bytes(50))):
                member = tarfile.TarInfo(f"{at}.{end}")
                member.size, member.pax_headers = len(data), {"comment": "c" * 9_000}
                archive.addfile(member, io.BytesIO(data))
    with sl.open(path) as source:
        assert [omission.count for omission in source.omissions] == [20]


def test_what_links_lead_to_is_counted_once(tmp_path: Path):
    """One sound that belongs to all records is not most of an archive of large images."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for at in range(8):
            for end, data in (("txt", b"a" * 9_000), ("flac", bytes(20_000) if not at else None)):
                member = tarfile.TarInfo(f"{at}.{end}")
                member.size = len(data or b"")
                if data is None:
                    member.type, member.linkname = tarfile.LNKTYPE, "0.flac"
                archive.addfile(member, io.BytesIO(data or b""))
    with sl.open(path) as source:
        assert len(source) == 8
