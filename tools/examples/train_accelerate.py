"""Trains a small network on a file of images with accelerate, on as many processes as it starts; run again, it goes on."""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

import streamload as sl

# What the demo's file holds. `streamload init FILE --framework accelerate` writes this script for a file of your own.
PATH = "train.h5"
IMAGE, LABEL = "image", "label"
CLASSES, SHAPE = 12, (64, 64, 3)


def main() -> None:
    """Train, and save after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default=PATH)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--checkpoint", type=Path, default=Path("saved"))
    given = parser.parse_args()
    accelerator = Accelerator()
    model = nn.Sequential(
        *(nn.Conv2d(SHAPE[2], 16, 5, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * 16, CLASSES)),
    )
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=2e-3))
    with sl.Loader(sl.open(given.path, (IMAGE, LABEL)), batch_size=given.batch, seed=0, distributed=True) as loader:
        fields = (IMAGE, LABEL)
        batches = sl.for_torch(loader, fields, device=accelerator.device, channels_first=(IMAGE,), dataloader=True)
        batches, start = accelerator.prepare(batches), 0
        accelerator.register_for_checkpointing(batches)
        if given.checkpoint.exists():
            accelerator.load_state(str(given.checkpoint))
            start = batches.state_dict()["epoch"] + 1
        for epoch in range(start, given.epochs):
            batches.set_epoch(epoch)
            right = seen = 0
            for image, label in batches:
                label, scores = label.long(), model(image.float().div(127.5).sub(1))
                accelerator.backward(nn.functional.cross_entropy(scores, label))
                optimizer.step()
                optimizer.zero_grad()
                hits = accelerator.gather_for_metrics(scores.argmax(1) == label)
                right, seen = right + int(hits.sum()), seen + len(hits)
            accelerator.print(f"epoch {epoch}: {right / seen:.1%} right")
            accelerator.save_state(str(given.checkpoint))


if __name__ == "__main__":
    main()
