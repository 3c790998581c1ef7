"""Hard links in archives are what they link to, other links are named, and nothing is read behind the end of an archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from command_line import answer
from foreign_files import noise, packed, png, taken, tar_of

from streamload.errors import SourceError
from streamload.formats.tar.members import MOST_PADDING_NBYTES, Members
from streamload.storage.compressed_file import open_unpacked

FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def linked(*, form: int = tarfile.PAX_FORMAT, prefix: str = "", said: int = 0) -> bytes:
    """An archive of two images with labels, and a third record whose members are hard links; heads of links say `said` bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in (("0.png", png(noise(seed=0))), ("0.cls", b"7"), ("1.png", png(noise(seed=1))), ("1.cls", b"8")):
            head = tarfile.TarInfo(prefix + name)
            head.size = len(data)
            archive.addfile(head, io.BytesIO(data))
        for name, target in (("2.png", "0.png"), ("2.cls", "1.cls"), ("3.png", "2.png"), ("3.cls", "2.cls")):
            head = tarfile.TarInfo(prefix + name)
            head.type, head.linkname, head.size = tarfile.LNKTYPE, prefix + target, said
            archive.addfile(head)
    return file.getvalue()


@pytest.mark.parametrize("packing", ["", "gz", "zst"], ids=["plain", "gz", "zst"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_hard_links_are_what_they_link_to(form: int, packing: str, tmp_path: Path):
    """Whether or not what they lead to is a link too; names may be longer than a head has room for."""
    (tmp_path / "a.tar").write_bytes(packed(linked(form=form, prefix="" if form == tarfile.USTAR_FORMAT else "d" * 120 + "/"), packing))
    origin, records = taken(tmp_path / "a.tar")
    assert (len(origin), list(origin.omissions)) == (4, [])
    np.testing.assert_array_equal(records["image"], np.stack([noise(seed=seed) for seed in (0, 1, 0, 0)]))
    assert records["label"].tolist() == [7, 8, 8, 8]


def test_the_size_that_a_head_says_of_a_link_is_no_member(tmp_path: Path):
    """Old archives say how large the file of a link is, and no bytes follow."""
    (tmp_path / "a.tar").write_bytes(linked(said=1000))
    assert taken(tmp_path / "a.tar")[1]["label"].tolist() == [7, 8, 8, 8]


def test_a_link_with_bytes_of_its_own_is_a_file(tmp_path: Path):
    """As cpio archives in pax form have them."""
    made = bytearray(tar_of([("0.png", png(noise())), ("0.cls", b"3"), ("1.png", png(noise(seed=1))), ("1.cls", b"4")]))
    at = made.index(b"1.png\0")
    made[at + 156 : at + 157] = b"1"
    made[at + 157 : at + 162] = b"0.png"
    made[at + 148 : at + 156] = b"%06o\0 " % (sum(made[at : at + 148]) + sum(made[at + 156 : at + 512]) + 8 * 32)
    (tmp_path / "a.tar").write_bytes(made)
    np.testing.assert_array_equal(taken(tmp_path / "a.tar")[1]["image"][1], noise(seed=1))


def test_links_that_lead_to_no_member_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A symbolic link too: what is behind it may lie outside."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, target in (
            ("1.png", "0", ""),
            ("2.png", "1", "9.png"),
            ("3.png", "2", "1.png"),
            ("4.png", "1", "5.png"),
            ("5.png", "0", ""),
        ):
            head = tarfile.TarInfo(name)
            head.type, head.linkname = kind.encode(), target
            head.size = len(png(noise())) if kind == "0" else 0
            archive.addfile(head, io.BytesIO(png(noise())))
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    code, found = answer(capsys, "info", tmp_path / "a.tar", "--no-measure")
    reasons = {one["why"]: one["names"] for one in found["account"]["left_out"]}
    assert (code, found["records"]) == (1, 2)
    assert reasons == {"a hard link to a member that does not stand before it": ["2.png", "4.png"], "a symbolic link": ["3.png"]}


class CountedFile:
    """A file that says how many bytes were read of it."""

    def __init__(self, path: Path) -> None:
        self._file = open_unpacked(str(path))
        self.addressable = self._file.addressable
        self.nbytes = 0

    def read(self, offset: int, nbytes: int) -> bytes:
        """Bytes [offset, offset + nbytes)."""
        self.nbytes = max(self.nbytes, offset + nbytes)
        return self._file.read(offset, nbytes)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@pytest.mark.parametrize("packing", ["", "gz"], ids=["plain", "gz"])
def test_nothing_is_read_far_behind_the_end(packing: str, tmp_path: Path):
    """However many zeros stand there."""
    whole = tar_of([("0.png", png(noise()))])
    (tmp_path / "a.tar").write_bytes(packed(whole + bytes(16 * MOST_PADDING_NBYTES), packing))
    file = CountedFile(tmp_path / "a.tar")
    names = [member.name for member in Members(file, "a.tar", lambda name: False, lambda name, why: None)]
    file.close()
    assert names == ["0.png"]
    assert file.nbytes <= len(whole) + MOST_PADDING_NBYTES + 512


def test_archives_behind_each_other_are_one(tmp_path: Path):
    """As `cat` puts them."""
    (tmp_path / "a.tar").write_bytes(tar_of([("0.png", png(noise()))]) + tar_of([("1.png", png(noise(seed=1)))]))
    assert len(taken(tmp_path / "a.tar")[0]) == 2


def test_zeros_alone_are_no_archive(tmp_path: Path):
    """Of any length."""
    (tmp_path / "a.tar").write_bytes(bytes(4 * MOST_PADDING_NBYTES))
    with pytest.raises(SourceError, match=r"holds no records"):
        taken(tmp_path / "a.tar")
