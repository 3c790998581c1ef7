"""One process of several under Lightning's ddp: trained, saved after an epoch, and resumed; its records are written down."""

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
    """A linear model that notes which records it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, 1)
        self.seen: list[list[int]] = []

    def training_step(self, batch: Any, _: int) -> Any:
        x, number, valid = batch
        self.seen.append(number[valid].tolist())
        return ((self.layer(x)[:, 0] - number / RECORDS).square() * valid).sum() / max(1, valid.sum())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def fit(path: Path, folder: Path, *, epochs: int, resume: str | None) -> Regression:
    """Train on two ranks; Lightning saves by default."""
    lightning.seed_everything(1, verbose=False)
    model = Regression()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=epochs, default_root_dir=folder, num_sanity_val_steps=0, **quiet
    )
    with loader_of(path, batch_size=BATCH // 2, distributed=True) as loader:
        trainer.fit(model, sl.for_torch(loader, ("x", "number", "valid")), ckpt_path=resume)
    return model


if __name__ == "__main__":
    path, folder, out = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    whole = fit(path, folder / "whole", epochs=2, resume=None)
    first = fit(path, folder / "parts", epochs=1, resume=None)
    torch.distributed.barrier()
    (saved,) = (folder / "parts").rglob("*.ckpt")
    rest = fit(path, folder / "parts", epochs=2, resume=str(saved))
    same = all(torch.equal(a, b) for a, b in zip(whole.parameters(), rest.parameters(), strict=True))
    answer = {"whole": whole.seen, "parts": first.seen + rest.seen, "same_weights": same}
    Path(f"{out}.{torch.distributed.get_rank()}").write_text(json.dumps(answer))
