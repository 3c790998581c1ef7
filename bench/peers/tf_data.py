"""tf.data over TFRecord files: a shuffle buffer, batches parsed in parallel, and a batch prepared ahead."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from bench.peers.source import records_of, written
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing

BUFFER = 1_000
SHARDS = 8


def make(config: Config) -> Peer:
    """Images as bytes in `tf.train.Example`, as its guide has it, so that no image codec is timed."""
    records = records_of(config)

    def write(folder: Path) -> None:
        writers = [tf.io.TFRecordWriter(str(folder / f"{shard:02d}.tfrecord")) for shard in range(SHARDS)]
        each = -(-len(records) // SHARDS)
        for number, (image, label) in enumerate(records.singly()):
            feature = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writers[number // each].write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        for writer in writers:
            writer.close()

    folder, took = written(config, "tfrecord", write)
    shards = sorted(str(path) for path in folder.glob("*.tfrecord"))
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def parsed(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = tf.io.parse_example(serialized, features)
        return tf.io.decode_raw(found["image"], tf.uint8), found["label"]

    def batches(epoch: int) -> Batches:
        files = tf.data.Dataset.from_tensor_slices(shards).shuffle(len(shards), seed=epoch)
        dataset = files.interleave(tf.data.TFRecordDataset, cycle_length=SHARDS, num_parallel_calls=max(1, config["workers"]))
        dataset = dataset.shuffle(BUFFER, seed=epoch).batch(config["batch"]).map(parsed, num_parallel_calls=max(1, config["workers"]))
        yield from dataset.prefetch(2).as_numpy_iterator()

    return passing(
        batches, config, record_nbytes=records.record_nbytes, order=f"{SHARDS} shards side by side, and a buffer of {BUFFER:,}", **took
    )
