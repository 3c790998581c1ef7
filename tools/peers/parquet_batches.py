"""pyarrow: the record batches of a Parquet file in order, with the threads that it likes."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
from streamload.tools.peers.serving import Batches, Config, Peer, passing


def make(config: Config) -> Peer:
    """No shuffle: what a user writes who reads Parquet by hand."""
    path = config["path"]
    width = pq.read_schema(path).field("image").type.byte_width

    def batches(epoch: int) -> Batches:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=config["batch"], columns=["image", "label"]):
            images, labels = batch.column("image"), batch.column("label")
            whole = np.frombuffer(images.buffers()[1], np.uint8)[images.offset * width :][: len(images) * width]
            yield whole.reshape(len(images), width), labels.to_numpy()

    return passing(batches, config, record_nbytes=width, order="in order")
