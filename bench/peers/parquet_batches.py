"""pyarrow: the record batches of a Parquet file in order, with the threads that it likes; encoded images by Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing


def pixels(images: Any) -> NDArray[np.uint8]:
    """A column of raw pixels as (records, bytes), one of encoded images as (records, height, width, 3)."""
    if pa.types.is_struct(images.type):
        from PIL import Image

        return np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in images.field("bytes").to_pylist()])
    width = images.type.byte_width
    whole = np.frombuffer(images.buffers()[1], np.uint8)[images.offset * width :][: len(images) * width]
    return whole.reshape(len(images), width)


def make(config: Config) -> Peer:
    """No shuffle: what a user writes who reads Parquet by hand."""
    path = config["path"]

    def batches(epoch: int) -> Batches:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=config["batch"], columns=["image", "label"]):
            yield pixels(batch.column("image")), batch.column("label").to_numpy()

    first = next(pq.ParquetFile(path).iter_batches(batch_size=1, columns=["image"]))
    return passing(batches, config, record_nbytes=pixels(first.column("image")).nbytes, order="in order")
