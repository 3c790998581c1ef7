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

from streamload.errors import CorruptDataError, UnsafeSourceError
from streamload.schema import Schema
from streamload.storage.owned_files import Folder
from streamload.tools.convert.record_hashes import Content
from streamload.tools.files.checksums import block_checksums

VERSION = 3
VERSIONS = (2, VERSION)
"""Manifests that are read; before the third, small records had digests of their own each."""
BLOCK_NBYTES = 1024**2
"""A checksum is kept for so many bytes: a flipped one is found, and named as closely."""
FOLDER_NAME = "manifest.json"
SUFFIX = ".manifest.json"


def manifest_path(path: str) -> str:
    """Where the manifest of a file or of a folder stands."""
    return os.path.join(path, FOLDER_NAME) if os.path.isdir(path) else path + SUFFIX


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
        sound = isinstance(manifest, dict) and manifest["manifest"] in VERSIONS and manifest["digest"] == _digest(manifest)
        # Byte for byte: what changed between two values is damage, too.
        sound = sound and manifest_bytes(manifest) == data and _is_complete(manifest)
        names = [str(file["name"]) for file in manifest["files"]] if sound else []
    except (ValueError, KeyError, TypeError, RecursionError):
        sound, names, manifest = False, [], {}
    if not sound:
        anew = "convert anew" if os.path.basename(path) == FOLDER_NAME else "write it anew: streamload verify --write-manifest"
        raise CorruptDataError(f"{path} is damaged, or of another version.", hint=f"Delete it, and {anew}.", path=path)
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
