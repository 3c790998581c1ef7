"""What a file is that no format recognises: named for its content, with the cure."""

from __future__ import annotations

import os
import shlex

from streamload.errors import CorruptDataError, StreamloadError, UnsupportedFeatureError
from streamload.sizes import format_nbytes

HEAD_NBYTES = 4096
"""How much of a file's beginning detection looks at."""

_DOWNLOAD = "A download stored an answer of the server instead of the file: open it in a text editor to see why, and fetch the file again."
_CONVERT = "Convert it to HDF5 first."
_COMMAND = "Make records of it: `streamload convert {asked} train.h5`."
_ONE = "A single image is not a set of records; a folder of images is: `streamload info {folder}`."
_SEVERAL = "Give the folder that they lie in, which is a set of records: `streamload info {folder}`."
"""Of images that a pattern leads to."""
_BESIDE = "Name the data files that are meant, or move the images into a folder of their own."
"""Of an image beside data files, in a folder that was asked for."""
_PIXELS = 'Write the pixels as arrays first: numpy.save("x.npy", [pydicom.dcmread(path).pixel_array for path in paths]).'
_TABLE = "Write it as Parquet with what reads it."
_UNREAD = "Images of this kind are not decoded here: write them as PNG, WebP or JPEG first, in a folder."

_VOLUME = 'Write the volumes as arrays first, each a file, numpy.save("x.npy", volume), or as datasets of HDF5.'
_SOUND = "Sounds are not decoded here: write their samples as arrays first, or their bytes into a column of Parquet."
_OWN = "Read it with the library that wrote it, and write its records as HDF5 or Parquet."
_ENDINGS = {".beton": "a file of FFCV", ".mds": "a shard of MosaicML Streaming"}
"""Formats of other loaders, which have no signature of their own."""

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the data", "Run `git lfs pull` in its repository."),
    (b"\x1f\x8b", "a gzip file", "Unpack it first: `gunzip {path}`."),
    (b"BZh", "a bzip2 file", "Unpack it first: `bunzip2 {path}`."),
    (b"\xfd7zXZ\x00", "an xz file", "Unpack it first: `unxz {path}`."),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "Unpack it first: `unzstd {path}`."),
    (b"PK\x03\x04", "a zip file (or an .npz)", "Unpack it first: `unzip {path}`."),
    (b"PK\x05\x06", "an empty zip file", "Fetch it again."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file", "Unpack it first: `7z x {path}`."),
    (b"Rar!\x1a\x07", "a rar file", "Unpack it first: `unrar x {path}`."),
    (b"\x0e\x03\x13\x01", "an HDF4 file, the format before HDF5", "Convert it with the `h4toh5` tool of the HDF Group."),
    (b"CDF\x01", "a classic NetCDF file", "Convert it to HDF5: `nccopy -k nc4 {path} train.nc`."),
    (b"CDF\x02", "a classic NetCDF file", "Convert it to HDF5: `nccopy -k nc4 {path} train.nc`."),
    (b"CDF\x05", "a classic NetCDF file", "Convert it to HDF5: `nccopy -k nc4 {path} train.nc`."),
    (b"MATLAB 5.0 MAT-file", "a MATLAB 5 file", "Save it in MATLAB with the option -v7.3, which writes HDF5."),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", _ONE),
    (b"\xff\xd8\xff", "a JPEG image", _ONE),
    (b"GIF8", "a GIF image", _ONE),
    (b"II*\x00", "a TIFF image", _ONE),
    (b"MM\x00*", "a TIFF image", _ONE),
    (b"\x00\x00\x00\x0cjP  \r\n", "a JPEG 2000 image", _UNREAD),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image", _UNREAD),
    (b"\x00\x00\x00\x0cJXL \r\n", "a JPEG XL image", _UNREAD),
    (b"\x76\x2f\x31\x01", "an OpenEXR image", _UNREAD),
    (b"8BPS\x00", "a Photoshop image", _UNREAD),
    (b"SQLite format 3\x00", "an SQLite database", _CONVERT),
    (b"ORC", "an ORC file", _TABLE),
    (b"Obj\x01", "an Avro file", _TABLE),
    (b"FEA1", "a Feather file of version 1", "Write it anew: pyarrow.feather.write_feather(pyarrow.feather.read_table(path), out)."),
    (b"SIMPLE  =", "a FITS file", _CONVERT),
    (b"NRRD000", "an NRRD volume", _VOLUME),
    (b"fLaC", "a sound (FLAC)", _SOUND),
    (b"OggS", "a sound (Ogg)", _SOUND),
    (b"ID3", "a sound (MP3)", _SOUND),
    (b"\x7fELF", "a program", "Check the path."),
    (b"%PDF-", "a PDF document", "Check the path."),
)


_BRANDS = {b"avif": "an AVIF image", b"avis": "an AVIF image", b"heic": "an HEIC image", b"heix": "an HEIC image", b"mif1": "an HEIF image"}
"""What kind of image the containers of MPEG-4 hold, by their first brand."""


def unrecognized(head: bytes, path: str, nbytes: int, *, asked: str) -> StreamloadError:
    """The error for a file that is of no format known here: it says what the file is instead, and what to do.

    `asked` is what was to be opened: the file itself, or the folder or pattern that it was found by.
    """
    what, hint = _identify(head, nbytes)
    if hint == _ONE and asked != path:
        hint = _BESIDE if os.path.isdir(asked) else _SEVERAL
    if what is None and path.lower().endswith((".tfrecord", ".tfrecords", ".tfrec")):
        what, hint = "no TFRecord file, though it is called one: the checksum of its first length is wrong", "Fetch it again."
    ending = os.path.splitext(path)[1].lower()
    if what is None and ending in _ENDINGS:
        what, hint = _ENDINGS[ending], _OWN
    if what is None:
        start = " ".join(f"{byte:02x}" for byte in head[:8])
        return CorruptDataError(
            f"{path} ({format_nbytes(nbytes)}) is of no known format: it begins with the bytes {start}.",
            hint="Is it complete, and is it the file you mean? Known formats begin with a signature of their own.",
            path=path,
        )
    kind = UnsupportedFeatureError if hint in (_CONVERT, _UNREAD, _VOLUME, _SOUND, _OWN) else CorruptDataError
    named = {"path": path, "asked": asked, "folder": os.path.dirname(path) or "."}
    told = hint.format_map({name: shlex.quote(one) for name, one in named.items()})
    if asked != path and hint not in (_SEVERAL, _BESIDE):
        told = f"{told} Or leave it out: give a pattern or a list of the files that are meant."
    before, between = (f"{asked} holds ", ", which") if asked != path else ("", "")
    return kind(f"{before}{path} ({format_nbytes(nbytes)}){between} is {what}.", hint=told, path=path)


def kind_of(head: bytes, nbytes: int) -> str:
    """What a file is instead, in a few words."""
    return _identify(head, nbytes)[0] or ("of no known format" if head else "empty")


def _identify(head: bytes, nbytes: int) -> tuple[str | None, str]:
    if head.startswith(b"PK\x03\x04") and b"/data.pkl" in head[30:286]:
        return "a PyTorch file, which is pickled and never loaded", "Load it where you trust it, and save the arrays as HDF5."
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP image", _ONE
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "a sound (WAV)", _SOUND
    if head[4:8] == b"ftyp":
        return (
            (_BRANDS[head[8:12]], _UNREAD) if head[8:12] in _BRANDS else ("a video (MPEG-4), or sound", "Write its frames as images first.")
        )
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            return what, hint
    if head[257:262] == b"ustar":
        return "a tar archive", _COMMAND
    if head[344:348] in (b"n+1\x00", b"ni1\x00") or head[4:8] in (b"n+2\x00", b"ni2\x00"):
        return "a NIfTI volume", _VOLUME
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= nbytes - 8:
        return "a file of safetensors, which holds tensors by name and no records", _OWN
    if head[128:132] == b"DICM":
        return "a DICOM image", _PIXELS
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page (HTML), not the data", _DOWNLOAD
    if text.startswith((b"<?xml", b"<error")):
        return "an XML text, not the data", _DOWNLOAD
    if text.startswith(b'{"') and b"\n{" in text.replace(b"\r", b"") and text.split(b"\n")[0].rstrip().endswith(b"}"):
        return "a text of JSON lines", "Write it as Parquet: pyarrow.parquet.write_table(pyarrow.json.read_json(path), out)."
    if text.startswith((b'{"', b'[{"')):
        return "a JSON text, not the data", _DOWNLOAD
    if head and not head.strip(b"\x00"):
        return "nothing but zero bytes at its beginning", "The copy or the download was interrupted: fetch it again."
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle, which is never loaded", "Load it where you trust it, and save the arrays as HDF5."
    if _is_table(head, nbytes):
        return "a text table (CSV)", "Write it as Parquet: pyarrow.parquet.write_table(pyarrow.csv.read_csv(path), out)."
    return None, ""


def _is_table(head: bytes, nbytes: int) -> bool:
    """Whether it is text of at least two lines with as many commas, semicolons or tabs each."""
    lines = head.split(b"\n")[: -1 if nbytes > len(head) else None]
    lines = [line for line in lines if line.strip()][:8]
    if len(lines) < 2 or any(byte < 9 for line in lines for byte in line):
        return False
    return any(lines[0].count(mark) and len({line.count(mark) for line in lines}) == 1 for mark in (b",", b"\t", b";"))
