"""A small network in plain NumPy, for the demo: one hidden layer over the averages of an image's patches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PATCH = 8
"""Side of the patches whose averages and roughness the network sees, in pixels."""
HIDDEN = 96
MOMENTUM = 0.9


def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colour and roughness of patches: (images, height, width, 3) in, (images, features) out."""
    count, height, width, channels = images.shape
    rows = images.reshape(count, height // PATCH, PATCH, -1).sum(axis=2, dtype=np.uint16)
    patches = rows.reshape(count, height // PATCH, width // PATCH, PATCH, channels).sum(axis=3, dtype=np.float32)
    colour = patches.reshape(count, -1) / (PATCH * PATCH * 64) - 2
    green = images[..., ::2, 1].astype(np.int16)
    steps = np.abs(np.diff(green, axis=1))[:, ::2].reshape(count, -1, PATCH, width // 2)
    roughness = steps.sum(axis=3, dtype=np.float32).mean(axis=2) / (width * 8)
    return np.concatenate([colour, roughness], axis=1)


class Classifier:
    """One hidden layer, trained by stochastic gradient descent with momentum and a rate that falls to nothing."""

    def __init__(self, *, inputs: int, classes: int, steps: int, rate: float = 0.05, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.weights = [
            rng.normal(0, (2 / inputs) ** 0.5, (inputs, HIDDEN)).astype(np.float32),
            np.zeros(HIDDEN, np.float32),
            np.zeros((HIDDEN, classes), np.float32),
            np.zeros(classes, np.float32),
        ]
        self._speed = [np.zeros_like(weight) for weight in self.weights]
        self._steps, self._step, self._rate = steps, 0, rate

    def _forward(self, seen: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        first, first_bias, second, second_bias = self.weights
        hidden = np.maximum(seen @ first + first_bias, 0)
        scores = hidden @ second + second_bias
        likely = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, likely / likely.sum(axis=1, keepdims=True)

    def learn(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
        """One step; the mean loss of the batch before it."""
        seen = features(images)
        hidden, likely = self._forward(seen)
        each = np.arange(len(labels))
        loss = float(-np.log(np.maximum(likely[each, labels], 1e-9)).mean())
        wrong = likely
        wrong[each, labels] -= 1
        wrong /= len(labels)
        back = (wrong @ self.weights[2].T) * (hidden > 0)
        rate = self._rate * 0.5 * (1 + np.cos(np.pi * min(1.0, self._step / self._steps)))
        for weight, speed, slope in zip(
            self.weights, self._speed, (seen.T @ back, back.sum(axis=0), hidden.T @ wrong, wrong.sum(axis=0)), strict=True
        ):
            speed *= MOMENTUM
            speed -= np.float32(rate) * slope
            weight += speed
        self._step += 1
        return loss

    def accuracy(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
        """The share of images whose likeliest class is their label."""
        _, likely = self._forward(features(images))
        return float((likely.argmax(axis=1) == labels).mean())
