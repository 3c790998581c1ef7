"""One process of several under Lightning's Fabric: what each rank is trained on, saved within an epoch, and resumed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from framework_data import BATCH, RECORDS, STEPS, WIDTH, loader_of
from lightning_fabric import Fabric

import streamload as sl

SAVED_AFTER = STEPS + 3
"""Steps, counted over epochs: in the middle of the second one."""


class Training:
    """A model, and a loader that knows its rank, as Fabric sets them up."""

    def __init__(self, fabric: Fabric, path: Path) -> None:
        self.fabric = fabric
        self.loader = loader_of(path, batch_size=BATCH // 2, distributed=True)
        self.batches = sl.for_torch(self.loader, ("x", "number", "valid"), dataloader=True)
        torch.manual_seed(1)
        model = torch.nn.Linear(WIDTH, 1)
        self.model, self.optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
        self.prepared = fabric.setup_dataloaders(self.batches)
        self.seen: list[list[int]] = []
        self.gathered: list[list[int]] = []

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"model": self.model, "optimizer": self.optimizer, "batches": self.batches}

    def train(self, passes: int, *, save_to: Path | None = None) -> None:
        """So many passes, the first of which begins where the loader stands; with `save_to`, save and stop in the middle of one."""
        for _ in range(passes):
            for x, number, valid in self.prepared:
                self.optimizer.zero_grad()
                self.fabric.backward(((self.model(x)[:, 0] - number / RECORDS).square() * valid).sum() / max(1, valid.sum()))
                self.optimizer.step()
                self.seen.append(number[valid].tolist())
                self.gathered.append(self.fabric.all_gather(number).flatten()[self.fabric.all_gather(valid).flatten()].tolist())
                if save_to is not None and len(self.seen) == SAVED_AFTER:
                    self.fabric.save(save_to, self.state)
                    return


def main(path: Path, folder: Path, out: str) -> None:
    """Two epochs in one go; the same with a checkpoint on the way; what came of both."""
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    whole, first, rest = (Training(fabric, path) for _ in range(3))
    whole.train(2)
    first.train(2, save_to=folder / "saved.ckpt")
    fabric.load(folder / "saved.ckpt", rest.state)
    rest.train(1)
    same = all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), rest.model.parameters(), strict=True))
    for one in (whole, first, rest):
        one.loader.close()
    answer = {"whole": whole.seen, "gathered": whole.gathered, "parts": first.seen + rest.seen, "same_weights": same}
    Path(f"{out}.{fabric.global_rank}").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
