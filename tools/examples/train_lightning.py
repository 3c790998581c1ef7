"""Trains a small network on a file of images with Lightning; `--resume last.ckpt` goes on where a checkpoint was written."""

import argparse
from typing import Any

import lightning
import torch
from torch import nn

import streamload as sl

# What the demo's file holds. `streamload init FILE --framework lightning` writes this script for a file of your own.
PATH = "train.h5"
IMAGE, LABEL = "image", "label"
CLASSES, SHAPE = 12, (64, 64, 3)


class Network(lightning.LightningModule):
    """Two convolutions and a layer of scores."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(SHAPE[2], 16, 5, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * 16, CLASSES)),
        )

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], step: int) -> torch.Tensor:
        """The loss of a batch."""
        label = batch[1].long()
        scores = self.layers(batch[0].float().div(127.5).sub(1))
        self.log("accuracy", (scores.argmax(1) == label).float().mean(), on_epoch=True, on_step=False, prog_bar=True)
        return nn.functional.cross_entropy(scores, label)

    def configure_optimizers(self) -> Any:
        """How weights are changed."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main() -> None:
    """Train, on as many devices as Lightning finds; it saves after every epoch, and the place in the data with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default=PATH)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--resume", metavar="CHECKPOINT")
    given = parser.parse_args()
    with sl.Loader(sl.open(given.path, (IMAGE, LABEL)), batch_size=given.batch, seed=0, distributed=True) as loader:
        batches = sl.for_torch(loader, (IMAGE, LABEL), channels_first=(IMAGE,))
        trainer = lightning.Trainer(max_epochs=given.epochs)
        trainer.fit(Network(), batches, ckpt_path=given.resume)
        print(f"epoch {given.epochs - 1}: {float(trainer.callback_metrics['accuracy']):.1%} right")


if __name__ == "__main__":
    main()
