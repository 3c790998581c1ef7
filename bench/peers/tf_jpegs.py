"""tf.data over TFRecord files of JPEGs: read side by side, shuffled through a buffer, parsed, decoded and batched."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing

BUFFER = 1_000


def make(config: Config) -> Peer:
    """With as many calls at once as there are workers."""
    shards = sorted(str(path) for path in Path(config["path"]).glob("*.tfrecord"))
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def parsed(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = tf.io.parse_single_example(serialized, features)
        return tf.io.decode_jpeg(found["image"], channels=3), found["label"]

    def batches(epoch: int) -> Batches:
        files = tf.data.Dataset.from_tensor_slices(shards).shuffle(len(shards), seed=epoch)
        dataset = files.interleave(tf.data.TFRecordDataset, num_parallel_calls=config["workers"])
        dataset = dataset.shuffle(BUFFER, seed=epoch).map(parsed, num_parallel_calls=config["workers"])
        yield from dataset.batch(config["batch"]).prefetch(2).as_numpy_iterator()

    return passing(batches, config, record_nbytes=config["record_nbytes"], order=f"files side by side, and a buffer of {BUFFER:,}")
