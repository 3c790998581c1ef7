"""TFRecord files as TensorFlow writes them: record for record what TFRecordDataset and parse_example deliver, compressed or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamload as sl

tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.filterwarnings("ignore")

RECORDS = 45


def feature(value: Any) -> Any:
    """A feature of bytes, fractions or whole numbers."""
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value[0], float) if value else False:
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value))


def image(number: int) -> np.ndarray:
    """An image that no other number has."""
    return np.random.default_rng(number).integers(0, 256, (7, 5, 3), dtype=np.uint8)


def record(number: int) -> dict[str, Any]:
    """Features of every kind."""
    return {
        "image/encoded": tf.io.encode_png(image(number)).numpy(),
        "pixels": image(number + 1000).tobytes(),
        "image/class/label": [number % 4 - 2],
        "big": [2**62 - number, -(2**63) + number],
        "box": [number / 3, -0.0, float("inf"), 1e-38],
        "caption": f"é {number}".encode(),
        "tokens": list(range(number % 5)),
    }


SPEC = {
    "image/encoded": ((), tf.string),
    "pixels": ((), tf.string),
    "image/class/label": ((1,), tf.int64),
    "big": ((2,), tf.int64),
    "box": ((4,), tf.float32),
    "caption": ((), tf.string),
}


def written(folder: Path, compression: str) -> list[str]:
    """Two files of records, as TensorFlow writes them."""
    paths = [str(folder / f"train-{part:05}-of-00002.tfrecord") for part in (0, 1)]
    for part, path in enumerate(paths):
        with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type=compression)) as writer:
            for number in range(part * 20, RECORDS if part else 20):
                features = {name: feature(value) for name, value in record(number).items()}
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return paths


def of_tensorflow(paths: list[str], compression: str) -> dict[str, Any]:
    """What parse_example makes of all records, together."""
    spec = {name: tf.io.FixedLenFeature(shape, dtype) for name, (shape, dtype) in SPEC.items()}
    spec["tokens"] = tf.io.RaggedFeature(tf.int64)
    (parsed,) = (
        tf.data.TFRecordDataset(paths, compression_type=compression).batch(RECORDS).map(lambda data: tf.io.parse_example(data, spec))
    )
    return {name: value.to_list() if name == "tokens" else value.numpy() for name, value in parsed.items()}


@pytest.mark.parametrize("compression", ["", "GZIP"], ids=["plain", "gzip"])
def test_records_are_those_of_tf_data(compression: str, tmp_path: Path) -> None:
    """Images, raw bytes, numbers to the bit, texts and lists; also through a loader, in stored order."""
    paths = written(tmp_path, compression)
    theirs = of_tensorflow(paths, compression)
    with sl.open(paths, shapes={"pixels": (7, 5, 3)}) as source:
        assert source.forward_only == (compression == "GZIP")
        ours = source[:]
        with sl.Loader(source, batch_size=16, shuffle=False, num_workers=0, memory="256 MB") as loader:
            batches = [(batch["image"].copy(), batch["pixels"].copy(), batch["label"].copy()) for batch in loader]
    decoded = np.stack([tf.io.decode_png(data).numpy() for data in theirs["image/encoded"]])
    pixels = np.stack([tf.io.decode_raw(data, tf.uint8).numpy().reshape(7, 5, 3) for data in theirs["pixels"]])
    assert np.array_equal(ours["image"], decoded)
    assert np.array_equal(ours["pixels"], pixels)
    assert np.array_equal(ours["label"], theirs["image/class/label"][:, 0])
    assert ours["big"].tobytes() == theirs["big"].tobytes()
    assert ours["box"].tobytes() == theirs["box"].tobytes()
    assert list(ours["caption"]) == [data.decode() for data in theirs["caption"]]
    assert [one.tolist() for one in ours["tokens"]] == theirs["tokens"]
    for at, expected in enumerate((decoded, pixels, ours["label"])):
        assert np.array_equal(np.concatenate([batch[at] for batch in batches]), expected)


@pytest.mark.parametrize("harm", ["length", "data", "cut"])
def test_what_tensorflow_refuses_is_refused(harm: str, tmp_path: Path) -> None:
    """A byte of a length, a byte of a record, and an end too early."""
    path, _ = written(tmp_path, "")
    data = bytearray(Path(path).read_bytes())
    data[{"length": 9, "data": 40, "cut": 0}[harm]] ^= 1 if harm != "cut" else 0
    Path(path).write_bytes(data[:-5] if harm == "cut" else data)
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset([path]))
    with pytest.raises(sl.errors.SourceError):
        sl.open(path, decode=False)
