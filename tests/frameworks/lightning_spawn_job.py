"""Lightning's ddp_spawn: the model makes its loader in each process that is started; what each was trained on is written down."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from framework_data import BATCH, RECORDS, WIDTH, loader_of

import streamload as sl


class Regression(lightning.LightningModule):
    """A linear model with its data, that notes which records it was trained on."""

    def __init__(self, path: Path, out: str) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, 1)
        self.path, self.out = path, out
        self.seen: list[list[int]] = []

    def train_dataloader(self) -> Any:
        return sl.for_torch(loader_of(self.path, batch_size=BATCH // 2, distributed=True), ("x", "number", "valid"))

    def training_step(self, batch: Any, _: int) -> Any:
        x, number, valid = batch
        self.seen.append(number[valid].tolist())
        return ((self.layer(x)[:, 0] - number / RECORDS).square() * valid).sum() / max(1, valid.sum())

    def on_train_end(self) -> None:
        Path(f"{self.out}.{self.global_rank}").write_text(json.dumps(self.seen))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


if __name__ == "__main__":
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp_spawn", max_epochs=2, **quiet)
    trainer.fit(Regression(Path(sys.argv[1]), sys.argv[2]))
