"""Lightning: training with validation, resumed from every kind of checkpoint, is training that was never interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from framework_data import RECORDS, STEPS, WIDTH, expected, flat, loader_of, write

import streamload as sl

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    lightning = pytest.importorskip("pytorch_lightning")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """1,003 records."""
    return write(tmp_path / "data.h5")


class Regression(lightning.LightningModule):
    """A linear model that notes which records it was trained on, validated on and asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, 1)
        self.seen: list[list[int]] = []
        self.validated: list[list[int]] = []

    def loss_of(self, batch: Any) -> Any:
        x, number = batch
        return (self.layer(x)[:, 0] - number / RECORDS).square().mean()

    def training_step(self, batch: Any, _: int) -> Any:
        self.seen.append(batch[1].tolist())
        loss = self.loss_of(batch)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        self.validated.append(batch[1].tolist())
        self.log("val_loss", self.loss_of(batch))

    def predict_step(self, batch: Any, _: int) -> Any:
        return batch[1]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def fit(path: Path, folder: Path, *, resume: Any = None, validate: bool = False, **keywords: Any) -> Regression:
    """Train; checkpoints go to `folder`."""
    lightning.seed_everything(1, verbose=False)
    model = Regression()
    keywords = {"max_epochs": 3, "callbacks": [], **keywords}
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=2 if validate else 0,
        default_root_dir=folder,
        **keywords,
    )
    with loader_of(path) as train, loader_of(path, shuffle=False) as val:
        batches = sl.for_torch(train, ("x", "number"))
        trainer.fit(model, batches, sl.for_torch(val, ("x", "number")) if validate else None, ckpt_path=resume)
    return model


def same_weights(one: Regression, other: Regression) -> bool:
    """To the bit."""
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("validate", [False, True], ids=["alone", "with validation"])
def test_the_default_checkpoint_resumes_to_the_bit(path: Path, tmp_path: Path, validate: bool) -> None:
    """A run of three epochs, and one that ends after the first and goes on from what Lightning saves by default."""
    whole = fit(path, tmp_path / "a", validate=validate, enable_checkpointing=False)
    assert whole.seen == flat(expected(path, 3))
    first = fit(path, tmp_path / "b", validate=validate, max_epochs=1)
    (saved,) = (tmp_path / "b").rglob("*.ckpt")
    rest = fit(path, tmp_path / "b", validate=validate, resume=saved)
    assert first.seen + rest.seen == whole.seen
    assert same_weights(rest, whole)
    if validate:
        in_order = flat(expected(path, 1, shuffle=False))
        assert whole.validated == in_order[:2] + in_order * 3


@pytest.mark.parametrize("at", [5, STEPS - 1, STEPS, STEPS + 4, 2 * STEPS])
def test_a_checkpoint_within_an_epoch_resumes_to_the_bit(path: Path, tmp_path: Path, at: int) -> None:
    """Written every so many steps: in the middle, after the last batch of an epoch, in a later one."""
    whole = fit(path, tmp_path / "a", enable_checkpointing=False)
    each = lightning.callbacks.ModelCheckpoint(dirpath=tmp_path / "b", every_n_train_steps=at, save_top_k=-1, filename="{step}")
    fit(path, tmp_path / "b", callbacks=[each], max_steps=at, max_epochs=-1)
    rest = fit(path, tmp_path / "b", resume=tmp_path / "b" / f"step={at}.ckpt", enable_checkpointing=False)
    assert rest.seen == whole.seen[at:]
    assert same_weights(rest, whole)


def test_max_steps_and_limits(path: Path, tmp_path: Path) -> None:
    """A limit of batches makes every epoch begin at its start; max_steps ends in the middle of one."""
    whole = expected(path, 3)
    assert fit(path, tmp_path, enable_checkpointing=False, limit_train_batches=5).seen == [one for epoch in whole for one in epoch[:5]]
    assert fit(path, tmp_path, enable_checkpointing=False, max_steps=STEPS + 3).seen == flat(whole)[: STEPS + 3]


def test_loaders_that_are_asked_for_anew_each_epoch(path: Path, tmp_path: Path) -> None:
    """A data module makes a loader for every epoch: each trains the epoch that is meant."""

    class Data(lightning.LightningDataModule):
        def train_dataloader(self) -> Any:
            return sl.for_torch(loader_of(path), ("x", "number"))

    model = Regression()
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        reload_dataloaders_every_n_epochs=1, max_epochs=3, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, datamodule=Data())
    assert model.seen == flat(expected(path, 3))


def test_a_second_fit_and_predictions(path: Path, tmp_path: Path) -> None:
    """fit twice trains epochs 0 and 1, then 2; predict gives each record once, in order."""
    model = Regression()
    quiet: dict[str, Any] = {
        "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
        "enable_checkpointing": False, "default_root_dir": tmp_path,
    }  # fmt: skip
    trainer = lightning.Trainer(max_epochs=2, **quiet)
    with loader_of(path) as train, loader_of(path, shuffle=False) as test:
        batches = sl.for_torch(train, ("x", "number"))
        trainer.fit(model, batches)
        trainer.fit_loop.max_epochs = 3
        trainer.fit(model, batches)
        assert model.seen == flat(expected(path, 3))
        predicted = trainer.predict(model, sl.for_torch(test, ("x", "number")))
    assert torch.cat(predicted).tolist() == list(range(RECORDS))


def quick(folder: Path, **keywords: Any) -> Any:
    """A trainer that writes nothing."""
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return lightning.Trainer(accelerator="cpu", devices=1, num_sanity_val_steps=0, default_root_dir=folder, **quiet, **keywords)


def test_a_state_that_was_loaded_by_hand(path: Path, tmp_path: Path) -> None:
    """fit goes on with the very next batch, though it makes several iterators before it takes one; batches may be dicts."""

    class OfDicts(Regression):
        def training_step(self, batch: Any, number: int) -> Any:
            return super().training_step((batch["x"], batch["number"]), number)

    model = OfDicts()
    with loader_of(path) as first:
        begun = iter(sl.for_torch(first))
        for _ in range(5):
            next(begun)
        state = first.state_dict()
    with loader_of(path) as train:
        batches = sl.for_torch(train)
        batches.load_state_dict(state)
        quick(tmp_path, max_epochs=2).fit(model, batches)
    assert model.seen == flat(expected(path, 2))[5:]


def test_several_loaders_at_once(path: Path, tmp_path: Path) -> None:
    """Two that Lightning combines, and validation every five batches."""

    class OfTwo(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.second: list[list[int]] = []

        def training_step(self, batch: Any, number: int) -> Any:
            self.second.append(batch["second"][1].tolist())
            return super().training_step(batch["first"], number)

    model = OfTwo()
    with loader_of(path) as first, loader_of(path, seed=9) as second, loader_of(path, shuffle=False) as val:
        both = {"first": sl.for_torch(first, ("x", "number")), "second": sl.for_torch(second, ("x", "number"))}
        quick(tmp_path, max_epochs=2, val_check_interval=5).fit(model, both, sl.for_torch(val, ("x", "number")))
    assert model.seen == flat(expected(path, 2))
    assert model.second == flat(expected(path, 2, seed=9))
    assert model.validated == flat(expected(path, 1, shuffle=False)) * 6


def test_overfitting_a_few_batches(path: Path, tmp_path: Path) -> None:
    """Lightning cannot turn off a shuffle of the loader's; without one it is the same batches again and again."""
    model = Regression()
    with loader_of(path, shuffle=False) as train:
        quick(tmp_path, max_epochs=3, overfit_batches=2).fit(model, sl.for_torch(train, ("x", "number")))
    assert model.seen == expected(path, 1, shuffle=False)[0][:2] * 3


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_checkpoint_on_an_exception_goes_on_after_the_batch_that_failed(path: Path, tmp_path: Path, error: type[BaseException]) -> None:
    """Every other batch comes once; as Lightning has it for every loader that has a state."""

    class Failing(Regression):
        def training_step(self, batch: Any, number: int) -> Any:
            if len(self.seen) == STEPS + 5:
                raise error
            return super().training_step(batch, number)

    model = Failing()
    saving = lightning.callbacks.OnExceptionCheckpoint(tmp_path, filename="failed")
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[saving],
        max_epochs=2, default_root_dir=tmp_path,
    )  # fmt: skip
    with loader_of(path) as train, pytest.raises((error, SystemExit)):
        trainer.fit(model, sl.for_torch(train, ("x", "number")))
    rest = fit(path, tmp_path, resume=tmp_path / "failed.ckpt", max_epochs=2, enable_checkpointing=False)
    whole = flat(expected(path, 2))
    assert model.seen == whole[: STEPS + 5]
    assert rest.seen == whole[STEPS + 6 :]


def test_ddp_spawn_on_two(path: Path, tmp_path: Path) -> None:
    """The loader is made in the processes that Lightning starts: rank by rank, the records of each step are those of one process."""
    arguments = "lightning_spawn_job.py", str(path), str(tmp_path / "out")
    found = job(*arguments, folder=tmp_path)
    if "`max_epochs=2` reached" in found.stderr and "terminate called without an active exception" in found.stderr:
        found = job(*arguments, folder=tmp_path)  # PyTorch's own threads abort, now and then, while a process that it spawned ends.
    assert found.returncode == 0, found.stderr[-4_000:]
    ranks = [json.loads((tmp_path / f"out.{rank}").read_text()) for rank in range(2)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == flat(expected(path, 2))


def job(script: str, *arguments: str, folder: Path, launch: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A script beside this one, run to its end."""
    beside = Path(__file__).with_name(script)
    path = os.pathsep.join([str(beside.parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    command = [sys.executable, "-W", "ignore", *launch, str(beside), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)


def test_ddp_on_two_resumes_from_the_default_checkpoint(path: Path, tmp_path: Path) -> None:
    """Rank by rank, the records of each step are those of one process; a resumed run equals one that was not interrupted."""
    out, launch = tmp_path / "out", ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = job("lightning_job.py", str(path), str(tmp_path), str(out), folder=tmp_path, launch=launch)
    assert done.returncode == 0, done.stderr[-4_000:]
    ranks = [json.loads(Path(f"{out}.{rank}").read_text()) for rank in range(2)]
    assert [first + second for first, second in zip(*(one["whole"] for one in ranks), strict=True)] == flat(expected(path, 2))
    assert all(one["parts"] == one["whole"] and one["same_weights"] for one in ranks)
