"""What a dataset is known by: sizes, a checksum of every block, a digest of the records, the schema, where it came from."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, UnsafeSourceError
from streamload.ragged import Ragged
from streamload.schema import Schema
from streamload.storage.owned_files import Folder
from streamload.tools.files.checksums import block_checksums, quick_hash

VERSION = 2
BLOCK_NBYTES = 1024**2
"""A checksum is kept for so many bytes: a flipped one is found, and named as closely."""
FOLDER_NAME = "manifest.json"
SUFFIX = ".manifest.json"
MODULUS = 1 << 128
JOINED_NBYTES = 4096


def manifest_path(path: str) -> str:
    """Where the manifest of a file or of a folder stands."""
    return os.path.join(path, FOLDER_NAME) if os.path.isdir(path) else path + SUFFIX


class Content:
    """A digest of records that depends on their values and numbers alone: not on format, files, or how they were read.

    Records of one dataset may be added in any order and in any number of processes; the sums then add up.
    """

    def __init__(self) -> None:
        self.numbered = 0
        """The sum over all records of a hash of the record and its number."""
        self.unnumbered = 0
        """The same without the number: equal for the same records in another order."""

    def add(self, taken: Mapping[str, NDArray[Any]], first: int) -> list[bytes]:
        """Add records with consecutive numbers; `taken` holds every field, records along the first axis. Returns their hashes."""
        hashes = record_hashes(taken)
        for number, one in enumerate(hashes, start=first):
            self.unnumbered += int.from_bytes(one, "little")
            again = hashlib.sha256(one + number.to_bytes(8, "little")).digest()[:16]
            self.numbered += int.from_bytes(again, "little")
        self.unnumbered %= MODULUS
        self.numbered %= MODULUS
        return hashes

    def __str__(self) -> str:
        return f"{self.numbered:032x}"


def record_hashes(taken: Mapping[str, NDArray[Any] | Ragged]) -> list[bytes]:
    """A hash of 16 bytes for each record: over its fields, by name, as little-endian bytes; of large ones, over checksums of these."""
    if any(isinstance(values, Ragged) for values in taken.values()):
        return _uneven_hashes(taken)
    rows = [_bytes_of(taken[name]) for name in sorted(taken)]
    count = len(rows[0]) if rows else 0
    if len(rows) > 1 and sum(one.shape[1] for one in rows) <= JOINED_NBYTES:
        # One call for a small record costs less than one for each of its fields; a large one is not worth a copy.
        rows = [np.concatenate(rows, axis=1)]
    flat = [(memoryview(np.ascontiguousarray(one).reshape(-1)), one.shape[1]) for one in rows]
    hashes: list[bytes] = []
    for at in range(count):
        # SHA-256, since processors have instructions for it; for large records that is still slower than any disk.
        made = hashlib.sha256()
        for data, width in flat:
            one = data[at * width : (at + 1) * width]
            made.update(one if width <= JOINED_NBYTES else quick_hash(one))
        hashes.append(made.digest()[:16])
    return hashes


def _uneven_hashes(taken: Mapping[str, Any]) -> list[bytes]:
    """Hashes of records that differ in length: the length of each such field goes before it."""
    columns = [(taken[name], None if isinstance(taken[name], Ragged) else _bytes_of(taken[name])) for name in sorted(taken)]
    hashes: list[bytes] = []
    for at in range(len(columns[0][0])):
        made = hashlib.sha256()
        for values, rows in columns:
            if rows is not None:
                made.update(memoryview(rows[at]))
                continue
            data = values.values[int(values.offsets[at]) : int(values.offsets[at + 1])]
            made.update(len(data).to_bytes(8, "little"))
            made.update(memoryview(np.ascontiguousarray(data).reshape(-1).view(np.uint8)))
        hashes.append(made.digest()[:16])
    return hashes


def _bytes_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    width = values.dtype.itemsize * int(np.prod(values.shape[1:], dtype=np.int64))
    return little.view(np.uint8).reshape(len(values), width) if little.size else np.zeros((len(values), width), np.uint8)


def file_entry(
    path: str, *, records: int, content: Content, part: str = "", first: int = 0, blocks: Iterable[int] | None = None
) -> dict[str, Any]:
    """What a manifest says of one file; `first` is the number, within its part, of the file's first record.

    `blocks` are the checksums of its blocks, where it has been read already.
    """
    checksums = "".join(f"{one:08x}" for one in (blocks if blocks is not None else block_checksums(path, BLOCK_NBYTES)))
    return {
        "name": os.path.basename(path),
        "part": part,
        "first": first,
        "records": records,
        "nbytes": os.path.getsize(path),
        "crc32": checksums,
        "content": str(content),
        "content_any_order": f"{content.unnumbered:032x}",
    }


def schema_entry(schema: Schema) -> list[dict[str, Any]]:
    """The fields of a record, as a manifest says them."""
    return [
        {"name": field.name, "dtype": str(field.dtype), "shape": list(field.shape)} | ({"ragged": field.ragged} if field.ragged else {})
        for field in schema
    ]


def manifest_of(files: Sequence[dict[str, Any]], schema: Sequence[dict[str, Any]], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The whole manifest of files that make up one dataset; `schema` as `schema_entry` says it."""
    whole: dict[str, Any] = {
        "manifest": VERSION,
        "records": sum(file["records"] for file in files),
        "schema": list(schema),
        "block_nbytes": BLOCK_NBYTES,
        "files": list(files),
        "provenance": dict(provenance),
    }
    return whole | {"digest": _digest(whole)}


def _text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=1) + "\n"


def _digest(manifest: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=16).hexdigest()


def read_manifest(path: str) -> dict[str, Any]:
    """A manifest, checked: that it is whole, and that it names nothing outside its own folder.

    Raises CorruptDataError and UnsafeSourceError.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
        manifest = json.loads(data)
        sound = isinstance(manifest, dict) and manifest["manifest"] == VERSION and manifest["digest"] == _digest(manifest)
        # Byte for byte: what changed between two values is damage, too.
        sound = sound and manifest_bytes(manifest) == data and _is_complete(manifest)
        names = [str(file["name"]) for file in manifest["files"]] if sound else []
    except (ValueError, KeyError, TypeError, RecursionError):
        sound, names, manifest = False, [], {}
    if not sound:
        raise CorruptDataError(
            f"{path} is damaged, or of another version.", hint="Write it anew: streamload verify --write-manifest.", path=path
        )
    folder = os.path.realpath(os.path.dirname(path) or ".")
    for name in names:
        plain = os.path.basename(name) == name and name not in ("", ".", "..")
        if not plain or os.path.dirname(os.path.realpath(os.path.join(folder, name))) != folder:
            raise UnsafeSourceError(
                f"{path} names {name!r}, which lies outside its folder.",
                hint="Do not use it: it was made by hand, or a link was put there.",
                path=path,
            )
    return manifest


def _is_complete(manifest: Mapping[str, Any]) -> bool:
    """Whether it says all that a manifest says, in values that can be: one that was made by hand has the right digest, too."""
    files, schema, provenance = manifest["files"], manifest["schema"], manifest["provenance"]
    if not (isinstance(files, list) and files and isinstance(schema, list) and schema and isinstance(provenance, dict)):
        return False
    block_nbytes = manifest["block_nbytes"]
    whole = _is_count(manifest["records"]) and _is_count(block_nbytes) and block_nbytes > 0
    whole = whole and all(_is_field(one) for one in schema) and all(_is_file(one, block_nbytes) for one in files)
    return whole and len({one["name"] for one in files}) == len(files) and sum(one["records"] for one in files) == manifest["records"]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_field(entry: Mapping[str, Any]) -> bool:
    """Whether an entry describes a field."""
    np.dtype(entry["dtype"])
    named = isinstance(entry["name"], str) and isinstance(entry["dtype"], str) and isinstance(entry.get("ragged", ""), str)
    return named and isinstance(entry["shape"], list) and all(map(_is_count, entry["shape"]))


def _is_file(entry: Mapping[str, Any], block_nbytes: int) -> bool:
    """Whether an entry describes a file: names, counts, and digests of the right length."""
    texts = [entry[name] for name in ("name", "part", "crc32", "content", "content_any_order")]
    if not all(isinstance(one, str) for one in texts) or not all(_is_count(entry[name]) for name in ("first", "records", "nbytes")):
        return False
    lengths = [8 * -(-entry["nbytes"] // block_nbytes), 32, 32]
    return all(re.fullmatch(f"[0-9a-f]{{{length}}}", one) for one, length in zip(texts[2:], lengths, strict=True))


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as it stands in its file."""
    return _text(manifest).encode()


def write_manifest(path: str, manifest: Mapping[str, Any]) -> None:
    """Write it so that it is there whole, or not at all. Raises UnsafeSourceError where a link stands."""
    folder, name = os.path.split(path)
    with Folder.named(folder or ".") as whole:
        status = whole.status(name)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise UnsafeSourceError(f"{path} is no file, and is not replaced.", hint="Move it away.", path=path)
        whole.claim(name)
        whole.write(name, manifest_bytes(manifest))
        whole.sync()
