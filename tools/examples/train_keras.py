"""Trains a small network on a file of images with Keras 3, on the backend that KERAS_BACKEND names; it goes on after a crash."""

import argparse

import keras

import streamload as sl

# What the demo's file holds. `streamload init FILE --framework keras` writes this script for a file of your own.
PATH = "train.h5"
IMAGE, LABEL = "image", "label"
CLASSES, SHAPE = 12, (64, 64, 3)


def main() -> None:
    """Train; Keras backs up after every epoch, and the callback tells the data which one is due."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default=PATH)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--backup", default="backup")
    given = parser.parse_args()
    model = keras.Sequential(
        [
            keras.layers.Input(SHAPE),
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            keras.layers.Conv2D(16, 5, strides=4, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(2e-3), loss, metrics=["accuracy"])
    with sl.Loader(sl.open(given.path, (IMAGE, LABEL)), batch_size=given.batch, shuffle=True, seed=0) as loader:
        train = sl.for_keras(loader, (IMAGE, LABEL))
        tell = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: train.set_epoch(epoch))
        backup = keras.callbacks.BackupAndRestore(given.backup)
        history = model.fit(train, epochs=given.epochs, callbacks=[backup, tell], verbose=2)
    for epoch, accuracy in enumerate(history.history["accuracy"]):
        print(f"epoch {epoch}: {accuracy:.1%} right")


if __name__ == "__main__":
    main()
