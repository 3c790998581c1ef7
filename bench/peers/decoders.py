"""Bare decoders: processes that read and decode every chunk or page of a file between them, and do nothing with what comes out.

No format, no order, no batches, no handing over: nothing that decodes these bytes on as many cores can be faster.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import h5py
import imagecodecs
import numpy as np

from bench.peers.forked import forked_passes
from streamload.formats.parquet.thrift import read_struct
from streamload.tools.benchmark.peers.serving import Config

DECODERS: dict[str, dict[str, Callable[..., Any]]] = {
    "gzip": {"zlib": imagecodecs.zlib_decode, "libdeflate": imagecodecs.deflate_decode},
    "lzf": {"lzf": imagecodecs.lzf_decode},
    "zstd": {"zstd": imagecodecs.zstd_decode},
    "blosc": {"blosc": imagecodecs.blosc_decode},
}


class Stored(NamedTuple):
    """What there is to decode."""

    places: list[tuple[str, int, int]]
    """File, offset and stored bytes of each chunk or page."""
    most_nbytes: int
    """Of one of them, decoded."""
    records: int
    nbytes: int
    """Of all records, decoded."""


def chunks_of(path: str) -> Stored:
    """The chunks of an HDF5 file's images."""
    with h5py.File(path) as file:
        images = file["image"]
        places: list[tuple[str, int, int]] = []
        images.id.chunk_iter(lambda chunk: places.append((path, chunk.byte_offset, chunk.size)))
        return Stored(places, int(np.prod(images.chunks)), len(images), int(np.prod(images.shape)))


def pages_of(path: str) -> Stored:
    """The pages of a Parquet file's images, one after the other from what the footer says of their column."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    places: list[tuple[str, int, int]] = []
    most = width = 0
    with open(path, "rb") as file:
        for number in range(metadata.num_row_groups):
            column = metadata.row_group(number).column(metadata.schema.names.index("image"))
            at = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
            stop = at + column.total_compressed_size
            while at < stop:
                file.seek(at)
                header, nbytes = read_struct(file.read(1 << 16))
                places.append((path, at + nbytes, header[3]))
                most = max(most, header[2])
                at += nbytes + header[3]
            width = metadata.schema.column(metadata.schema.names.index("image")).length
    return Stored(places, most, metadata.num_rows, metadata.num_rows * width)


def files_of(path: str) -> Stored:
    """The chunks of a Zarr store's images, of version 2, each a file of its own."""
    with open(os.path.join(path, "image", ".zarray"), encoding="utf-8") as file:
        said = json.load(file)
    entries = [entry for entry in os.scandir(os.path.join(path, "image")) if not entry.name.startswith(".")]
    places = [(entry.path, 0, entry.stat().st_size) for entry in entries]
    return Stored(places, int(np.prod(said["chunks"])), said["shape"][0], int(np.prod(said["shape"])))


def work(places: list[tuple[str, int, int]], nbytes: int, decode: Callable[..., Any], connection: Any) -> None:
    """A process: decode its chunks whenever it is told to; a file stays open until the next one is."""
    out = np.empty(nbytes, np.uint8)
    last, fd = "", -1
    while connection.recv():
        for path, offset, stored in places:
            if path != last:
                if fd >= 0:
                    os.close(fd)
                last, fd = path, os.open(path, os.O_RDONLY)
            decode(os.pread(fd, stored, offset), out=out)
        connection.send(True)
    os._exit(0)


def make(config: Config) -> Any:
    """Processes forked and waiting, each with every other chunk."""
    path = config["path"]
    stored = (pages_of if path.endswith(".parquet") else files_of if path.endswith(".zarr") else chunks_of)(path)
    decode = DECODERS[config["codec"]][config["decoder"]]
    workers = config["workers"]
    shares = [(stored.places[which::workers], stored.most_nbytes, decode) for which in range(workers)]
    return forked_passes(work, shares, records=stored.records, nbytes=stored.nbytes, settle=bool(config.get("settle", 1)))
