"""Trains a linear classifier on a file of images with scikit-learn: partial_fit takes batches as they are; run again, it goes on."""

import argparse
from pathlib import Path

import joblib
import numpy as np
from sklearn.linear_model import SGDClassifier

import streamload as sl

# What the demo's file holds. `streamload init FILE --framework scikit_learn` writes this script for a file of your own.
PATH = "train.h5"
IMAGE, LABEL = "image", "label"
CLASSES, SHAPE = 12, (64, 64, 3)


def features(image: np.ndarray) -> np.ndarray:
    """Averages of patches of 8 x 8 pixels, about -1 to 1: shape (images, features)."""
    height, width = (side - side % 8 for side in SHAPE[:2])
    patches = image[:, :height, :width].reshape(len(image), height // 8, 8, width // 8, 8, SHAPE[2])
    return patches.mean((2, 4), dtype=np.float32).reshape(len(image), -1) / 127.5 - 1


def main() -> None:
    """Train, and save after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default=PATH)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint.joblib"))
    given = parser.parse_args()
    model = SGDClassifier(random_state=0)
    with sl.Loader(sl.open(given.path, (IMAGE, LABEL)), batch_size=given.batch, shuffle=True, seed=0) as loader:
        if given.checkpoint.exists():
            model, done = joblib.load(given.checkpoint)
            loader.seek(epoch=done)
        for epoch in loader.epochs(given.epochs):
            right = seen = 0
            for batch in epoch:
                image, label = features(batch[IMAGE]), batch[LABEL].astype(int)
                model.partial_fit(image, label, classes=np.arange(CLASSES))
                right, seen = right + int((model.predict(image) == label).sum()), seen + len(label)
            print(f"epoch {epoch.index}: {right / seen:.1%} right")
            joblib.dump((model, epoch.index + 1), given.checkpoint)


if __name__ == "__main__":
    main()
