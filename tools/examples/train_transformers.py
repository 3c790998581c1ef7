"""Trains a small network on a file of images with the Trainer of transformers; `--resume` goes on from its last checkpoint."""

import argparse
from typing import Any

from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments

import streamload as sl

# What the demo's file holds. `streamload init FILE --framework transformers` writes this script for a file of your own.
PATH = "train.h5"
IMAGE, LABEL = "image", "label"
CLASSES, SHAPE = 12, (64, 64, 3)


class CountingNetwork(nn.Sequential):
    """Layers, and how many records they were right of."""

    def forward(self, /, **batch: Tensor) -> dict:  # noqa: D102
        label, scores = batch[LABEL].long(), super().forward(batch[IMAGE].float().div(127.5).sub(1))
        self.right, self.seen = self.right + int((scores.argmax(1) == label).sum()), self.seen + len(scores)
        return {"loss": nn.functional.cross_entropy(scores, label), "logits": scores}


class Tell(TrainerCallback):
    """Tells the data where the trainer goes on, which it does not do itself; and the user how it goes."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *told: Any, model: CountingNetwork, **more: Any) -> None:
        """Tell the data which step comes first."""
        model.right = model.seen = 0
        epoch, step = divmod(state.global_step, -(-len(more["train_dataloader"]) // args.gradient_accumulation_steps))
        more["train_dataloader"].seek(epoch, step * args.gradient_accumulation_steps)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, *told: Any, model: CountingNetwork, **more: Any) -> None:
        """Print the share of records that the epoch was right of."""
        print(f"epoch {round(state.epoch) - 1}: {model.right / model.seen:.1%} right", flush=True)
        model.right = model.seen = 0


def main() -> None:
    """Train, in each process that torchrun starts; the Trainer saves after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default=PATH)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    options = TrainingArguments("saved", num_train_epochs=given.epochs, learning_rate=2e-3, save_strategy="epoch", ignore_data_skip=True)
    layers = nn.Conv2d(SHAPE[2], 16, 5, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4)
    model = CountingNetwork(*layers, nn.Flatten(), nn.Linear(32 * 16, CLASSES))
    with sl.Loader(sl.open(given.path, (IMAGE, LABEL)), batch_size=given.batch, seed=0, distributed=True) as loader:
        batches = sl.for_torch(loader, device=options.device, channels_first=(IMAGE,), dataloader=True)
        trainer = Trainer(model, options, train_dataset=batches.dataset, callbacks=[Tell()])
        trainer.get_train_dataloader = lambda: batches
        trainer.train(resume_from_checkpoint=given.resume)


if __name__ == "__main__":
    main()
