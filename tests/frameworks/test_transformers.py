"""The Trainer of transformers, over the DataLoader form: resumed to the bit, each record once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from framework_data import RECORDS, STEPS, WIDTH, expected, flat, loader_of, write

import streamload as sl

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")
QUIET: dict[str, Any] = {"use_cpu": True, "report_to": [], "disable_tqdm": True}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """1,003 records."""
    return write(tmp_path / "data.h5")


class Regression(torch.nn.Module):
    """A model as the Trainer wants it, that notes which records it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, 1)
        self.seen: list[list[int]] = []

    def forward(self, x: Any, number: Any) -> Any:
        if self.training:
            self.seen.append(number.tolist())
        guess = self.layer(x)[:, 0]
        return {"loss": (guess - number / RECORDS).square().mean(), "logits": guess}


class Seek(transformers.TrainerCallback):
    """Stands the batches where the trainer goes on."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        batches = more["train_dataloader"]
        updates = -(-len(batches) // args.gradient_accumulation_steps)
        epoch, step = divmod(state.global_step, updates)
        batches.seek(epoch, step * args.gradient_accumulation_steps if args.ignore_data_skip else 0)


class Trainer(transformers.Trainer):
    """A Trainer that takes its batches as they are."""

    batches: Any

    def get_train_dataloader(self) -> Any:
        return self.batches

    def get_test_dataloader(self, _: Any) -> Any:
        return self.batches


def trained(path: Path, folder: Path, *, resume: Path | None = None, steps: int = -1, accumulate: int = 1, skip: bool = True) -> Regression:
    """A model that the Trainer trained for three epochs, or for some steps, and saved after as many."""
    transformers.set_seed(1)
    arguments = transformers.TrainingArguments(
        str(folder),
        num_train_epochs=3,
        max_steps=steps,
        save_steps=steps if steps > 0 else 500,
        ignore_data_skip=skip,
        gradient_accumulation_steps=accumulate,
        learning_rate=0.01,
        lr_scheduler_type="constant",
        logging_strategy="no",
        **QUIET,
    )
    model = Regression()
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, dataloader=True)
        trainer = Trainer(model, arguments, train_dataset=batches.dataset, callbacks=[Seek()])
        trainer.batches = batches
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        assert trainer.state.global_step == (steps if steps > 0 else 3 * -(-STEPS // accumulate))
    return model


@pytest.mark.parametrize("at", [5, STEPS, 20, 30])
def test_the_trainer_resumes_to_the_bit(path: Path, tmp_path: Path, at: int) -> None:
    """In the middle of an epoch and between two: records and weights of a run that was not interrupted."""
    whole = trained(path, tmp_path / "a")
    assert whole.seen == flat(expected(path, 3))
    trained(path, tmp_path / "b", steps=at)
    rest = trained(path, tmp_path / "b", resume=tmp_path / "b" / f"checkpoint-{at}")
    assert rest.seen == whole.seen[at:]
    assert torch.equal(whole.layer.weight, rest.layer.weight)


@pytest.mark.parametrize(("accumulate", "skip"), [(4, True), (3, False)], ids=["it divides an epoch", "the trainer skips"])
def test_the_trainer_resumes_where_gradients_are_accumulated(path: Path, tmp_path: Path, accumulate: int, skip: bool) -> None:
    """A step of the trainer is several of the loader, the last of an epoch fewer: that the trainer counts right only if it skips."""
    at = -(-STEPS // accumulate) + 2
    whole = trained(path, tmp_path / "a", accumulate=accumulate)
    trained(path, tmp_path / "b", steps=at, accumulate=accumulate)
    rest = trained(path, tmp_path / "b", resume=tmp_path / "b" / f"checkpoint-{at}", accumulate=accumulate, skip=skip)
    assert rest.seen == whole.seen[STEPS + 2 * accumulate :]
    assert torch.equal(whole.layer.weight, rest.layer.weight)


def test_the_trainer_predicts_in_order(path: Path, tmp_path: Path) -> None:
    """Each record once."""
    arguments = transformers.TrainingArguments(str(tmp_path), **QUIET, label_names=["number"])
    with loader_of(path, shuffle=False) as loader:
        batches = sl.for_torch(loader, dataloader=True)
        trainer = Trainer(Regression(), arguments)
        trainer.batches = batches
        predicted = trainer.predict(batches.dataset)
    assert predicted.label_ids.tolist() == list(range(RECORDS))
