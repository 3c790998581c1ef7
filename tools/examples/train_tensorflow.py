"""Trains a small network on a file of images with TensorFlow: tf.data feeds a loop of one's own; run again, it goes on."""

import argparse

import tensorflow as tf

import streamload as sl

# What the demo's file holds. `streamload init FILE --framework tensorflow` writes this script for a file of your own.
PATH = "train.h5"
IMAGE, LABEL = "image", "label"
CLASSES, SHAPE = 12, (64, 64, 3)


def main() -> None:
    """Train, and save after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default=PATH)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--checkpoints", default="saved")
    given = parser.parse_args()
    inputs = (SHAPE[0] // 8) * (SHAPE[1] // 8) * SHAPE[2]
    first = tf.Variable(tf.random.stateless_normal((inputs, 64), (0, 1)) * inputs**-0.5)
    second = tf.Variable(tf.random.stateless_normal((64, CLASSES), (0, 2)) / 8)
    done = tf.Variable(0, dtype=tf.int64)
    saved = tf.train.CheckpointManager(tf.train.Checkpoint(first=first, second=second, done=done), given.checkpoints, max_to_keep=1)
    saved.restore_or_initialize()

    @tf.function(reduce_retracing=True)
    def step(image: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        pixels = tf.nn.avg_pool2d(tf.cast(image, tf.float32) / 127.5 - 1, 8, 8, "VALID")
        with tf.GradientTape() as tape:
            scores = tf.nn.relu(tf.reshape(pixels, (-1, inputs)) @ first) @ second
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(label, tf.int64), scores))
        for weight, slope in zip((first, second), tape.gradient(loss, (first, second)), strict=True):
            weight.assign_sub(0.2 * slope)
        return tf.reduce_sum(tf.cast(tf.argmax(scores, 1) == tf.cast(label, tf.int64), tf.int32))

    with sl.Loader(sl.open(given.path, (IMAGE, LABEL)), batch_size=given.batch, shuffle=True, seed=0) as loader:
        loader.seek(epoch=int(done))
        dataset = sl.for_tf(loader, (IMAGE, LABEL)).prefetch(2)
        for epoch in range(int(done), given.epochs):
            right = seen = 0
            for image, label in dataset:
                right, seen = right + int(step(image, label)), seen + len(label)
            print(f"epoch {epoch}: {right / seen:.1%} right")
            done.assign(epoch + 1)
            saved.save()


if __name__ == "__main__":
    main()
