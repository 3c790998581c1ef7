"""Bare decoders: processes that read and decode every chunk or page of a file between them, and do nothing with what comes out.

No format, no order, no batches, no handing over: nothing that decodes these bytes on as many cores can be faster.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any, NamedTuple

import h5py
import imagecodecs
import numpy as np

from streamload.formats.parquet.thrift import read_struct
from streamload.tools.benchmark.peers.serving import Clock, Config, Sink

DECODERS: dict[str, dict[str, Callable[..., Any]]] = {
    "gzip": {"zlib": imagecodecs.zlib_decode, "libdeflate": imagecodecs.deflate_decode},
    "lzf": {"lzf": imagecodecs.lzf_decode},
    "zstd": {"zstd": imagecodecs.zstd_decode},
}


class Stored(NamedTuple):
    """What there is to decode."""

    places: list[tuple[int, int]]
    """Offset and stored bytes of each chunk or page."""
    most_nbytes: int
    """Of one of them, decoded."""
    records: int
    nbytes: int
    """Of all records, decoded."""


def chunks_of(path: str) -> Stored:
    """The chunks of an HDF5 file's images."""
    with h5py.File(path) as file:
        images = file["image"]
        places: list[tuple[int, int]] = []
        images.id.chunk_iter(lambda chunk: places.append((chunk.byte_offset, chunk.size)))
        return Stored(places, int(np.prod(images.chunks)), len(images), int(np.prod(images.shape)))


def pages_of(path: str) -> Stored:
    """The pages of a Parquet file's images, one after the other from what the footer says of their column."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    places: list[tuple[int, int]] = []
    most = width = 0
    with open(path, "rb") as file:
        for number in range(metadata.num_row_groups):
            column = metadata.row_group(number).column(metadata.schema.names.index("image"))
            at = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
            stop = at + column.total_compressed_size
            while at < stop:
                file.seek(at)
                header, nbytes = read_struct(file.read(1 << 16))
                places.append((at + nbytes, header[3]))
                most = max(most, header[2])
                at += nbytes + header[3]
            width = metadata.schema.column(metadata.schema.names.index("image")).length
    return Stored(places, most, metadata.num_rows, metadata.num_rows * width)


def work(path: str, places: list[tuple[int, int]], nbytes: int, decode: Callable[..., Any], connection: Any) -> None:
    """A process: decode its chunks whenever it is told to."""
    fd = os.open(path, os.O_RDONLY)
    out = np.empty(nbytes, np.uint8)
    while connection.recv():
        for offset, stored in places:
            decode(os.pread(fd, stored, offset), out=out)
        connection.send(True)
    os._exit(0)


def make(config: Config) -> Any:
    """Processes forked and waiting, each with every other chunk."""
    stored = (pages_of if config["path"].endswith(".parquet") else chunks_of)(config["path"])
    context = get_context("fork")
    decode = DECODERS[config["codec"]][config["decoder"]]
    connections = []
    for which in range(config["workers"]):
        ours, theirs = context.Pipe()
        share = stored.places[which :: config["workers"]]
        context.Process(target=work, args=(config["path"], share, stored.most_nbytes, decode, theirs), daemon=True).start()
        connections.append(ours)
    sink = Sink(1, 1)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        for connection in connections:
            connection.send(True)
        for connection in connections:
            connection.recv()
        sink.records, sink.nbytes = stored.records, stored.nbytes
        return clock.stop()

    if config.get("settle", 1):
        one_pass({})
    return one_pass
