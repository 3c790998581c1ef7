"""Trains a small network on a file of images with PyTorch; run again, it goes on where it stopped."""

import argparse
from pathlib import Path

import torch
from torch import nn

import streamload as sl

# What the demo's file holds. `streamload init FILE --framework torch` writes this script for a file of your own.
PATH = "train.h5"
IMAGE, LABEL = "image", "label"
CLASSES, SHAPE = 12, (64, 64, 3)


def main() -> None:
    """Train, and save after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default=PATH)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint.pt"))
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = nn.Sequential(
        *(nn.Conv2d(SHAPE[2], 16, 5, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * 16, CLASSES)),
    ).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with sl.Loader(sl.open(given.path, (IMAGE, LABEL)), batch_size=given.batch, shuffle=True, seed=0) as loader:
        batches = sl.for_torch(loader, (IMAGE, LABEL), device=device, channels_first=(IMAGE,))
        start = 0
        if given.checkpoint.exists():
            saved = torch.load(given.checkpoint, weights_only=True)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            batches.load_state_dict(saved["data"])
            start = saved["epoch"] + 1
        for epoch in range(start, given.epochs):
            batches.set_epoch(epoch)
            right = seen = 0
            for image, label in batches:
                label, scores = label.long(), model(image.float().div(127.5).sub(1))
                loss = nn.functional.cross_entropy(scores, label)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                right += int((scores.argmax(1) == label).sum())
                seen += len(label)
            print(f"epoch {epoch}: {right / seen:.1%} right")
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "data": batches.state_dict(), "epoch": epoch}
            torch.save(state, given.checkpoint)


if __name__ == "__main__":
    main()
