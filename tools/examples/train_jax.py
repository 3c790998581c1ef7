"""Trains a small network on a file of images with JAX alone: one compiled step, batches of one shape; run again, it goes on."""

import argparse
import pickle
from pathlib import Path

import jax
from jax import numpy as jnp

import streamload as sl

# What the demo's file holds. `streamload init FILE --framework jax` writes this script for a file of your own.
PATH = "train.h5"
IMAGE, LABEL = "image", "label"
CLASSES, SHAPE = 12, (64, 64, 3)


def scores_of(weights: dict, image: jax.Array) -> jax.Array:
    """One hidden layer over averages of patches."""
    height, width = (side - side % 8 for side in SHAPE[:2])
    pixels = image[:, :height, :width].astype(jnp.float32) / 127.5 - 1
    patches = pixels.reshape(len(image), height // 8, 8, width // 8, 8, SHAPE[2]).mean((2, 4))
    return jax.nn.relu(patches.reshape(len(image), -1) @ weights["first"]) @ weights["second"]


@jax.jit
def step(weights: dict, batch: dict) -> tuple[dict, jax.Array]:
    """Weights after a batch, and how many of its records were right; what only fills the batch up counts for nothing."""

    def loss_of(weights: dict) -> tuple[jax.Array, jax.Array]:
        scores, label = scores_of(weights, batch[IMAGE]), batch[LABEL].astype(int)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(scores), label[:, None], 1)[:, 0]
        right = (scores.argmax(1) == label) & batch["valid"]
        return jnp.where(batch["valid"], losses, 0).sum() / batch["valid"].sum(), right.sum()

    slopes, right = jax.grad(loss_of, has_aux=True)(weights)
    return jax.tree.map(lambda weight, slope: weight - 0.2 * slope, weights, slopes), right


def main() -> None:
    """Train, and save after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default=PATH)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint.pickle"))
    given = parser.parse_args()
    inputs = (SHAPE[0] // 8) * (SHAPE[1] // 8) * SHAPE[2]
    first, second = jax.random.split(jax.random.key(0))
    weights = {"first": jax.random.normal(first, (inputs, 64)) * inputs**-0.5, "second": jax.random.normal(second, (64, CLASSES)) / 8}
    with sl.Loader(sl.open(given.path, (IMAGE, LABEL)), batch_size=given.batch, shuffle=True, seed=0) as loader:
        batches, start = sl.for_jax(loader), 0
        if given.checkpoint.exists():
            weights, state = pickle.loads(given.checkpoint.read_bytes())
            batches.load_state_dict(state)
            start = state["epoch"] + 1
        for epoch in range(start, given.epochs):
            batches.set_epoch(epoch)
            right = seen = 0
            for batch in batches:
                weights, hits = step(weights, batch)
                right, seen = right + hits, seen + batch["valid"].sum()
            print(f"epoch {epoch}: {float(right / seen):.1%} right")
            given.checkpoint.write_bytes(pickle.dumps((jax.device_get(weights), batches.state_dict())))


if __name__ == "__main__":
    main()
